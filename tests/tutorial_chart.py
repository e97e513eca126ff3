"""The tutorial, run with the embedded model; ``python tests/tutorial_chart.py`` writes the chart that it shows anew."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from pages import DOCS, Block, blocks, reader

CHART = DOCS / "tutorial_chart.svg"
_DATE = re.compile(r"\s*<dc:date>.*?</dc:date>")


def steps() -> list[Block]:
    """Return the blocks of the tutorial that need no key."""
    return [block for block in blocks("tutorial.md") if block.mark != "run openai"]


def follow(found: list[Block], names: dict[str, Any]) -> list[str]:
    """Run blocks one after the other in the current folder; return what was printed and is not as the page shows it."""
    return [printed for block in found for printed in [block.run(names)] if block.shown not in (None, printed)]


if __name__ == "__main__":
    import matplotlib as mpl

    mpl.rcParams["svg.hashsalt"] = "tutorial"
    with tempfile.TemporaryDirectory() as folder, reader(Path(folder), "nobody is asked"):
        if differing := follow(steps(), {}):
            sys.exit("the page shows something else:\n\n" + "\n".join(differing))
        CHART.write_text(_DATE.sub("", Path("chart.svg").read_text()))
