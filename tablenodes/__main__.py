"""``python -m tablenodes`` and the command ``tablenodes``, whose loading may be interrupted too."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from .cli import main as command  # noqa: PLC0415 - what takes time is loaded where Ctrl-C is no traceback

        command()
    except KeyboardInterrupt:
        print("tablenodes: interrupted", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    main()
