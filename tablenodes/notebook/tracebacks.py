"""A mistake of the user's as a notebook shows it: their own lines and ours in one, without the frames between."""

from __future__ import annotations

import linecache
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

_PACKAGE = str(Path(__file__).parents[1])
_OTHERS = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_MOST = 5
_LINE = 300  # characters


def short(error: BaseException) -> list[str]:
    """Return what IPython shows of a mistake; all of its frames to whoever asked for them by ``%xmode Verbose``."""
    shell = _shell()
    if shell is not None and shell.InteractiveTB.mode == "Verbose":
        return whole(error)
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    return [*_places(error, shell), f"{type(error).__name__}: {error}", *notes]


def whole(error: BaseException) -> list[str]:
    """Return what IPython shows of any other error."""
    shell = _shell()
    if shell is None:
        return traceback.format_exception(error)
    return list(shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__))


def _places(error: BaseException, shell: Any) -> list[str]:
    """Return the user's own lines on the way to the error, the last ones."""
    steps = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    found = [(_place(file, shell), file, line) for file, line in steps]
    own = [(place, file, line) for place, file, line in found if place]
    return [
        f"{place}, line {line}: {linecache.getline(file, line).strip()[:_LINE]}" for place, file, line in own[-_MOST:]
    ]


def _place(file: str, shell: Any) -> str:
    """Return what a file of the user's is called; empty for this package's, Python's own and those of others."""
    cell = shell.compile.format_code_name(file) if shell is not None else None
    if cell:
        return " ".join(cell)
    return "" if file.startswith((_PACKAGE, *_OTHERS, "<")) or "site-packages" in file else file


def _shell() -> Any:
    """Return the running IPython, None where there is none."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()
