"""The page of a report: put together, kept small, and written whole or not at all."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import jinja2

from .. import disk, tables
from .._version import __version__
from ..errors import SettingError, TableError
from ..run.cures import set_in_python
from ..run.display import duration
from . import charts
from .sections import Manner, Part, drawn, section, shortened

_MOST = 290_000  # bytes of a page; charts that do not fit are left out
_SHOWN = 190_000  # bytes of a page with rows, without its charts
_FITS = ((400, 100), (150, 50), (60, 20), (30, 5), (0, 0))  # characters of a cell, and rows of a kind, that may fit
_ROWS = 100  # of each kind that are shown at the most


def write(
    outputs: Mapping[str, Any],
    path: str | os.PathLike[str],
    *,
    samples: int = 0,
    how_set: Callable[[str], str] = set_in_python,
) -> None:
    """Write the report of outputs, by their nodes' names; `how_set` returns how a setting is set where it is asked for.

    Raises `SettingError` for what cannot be asked for, and `TableError` where the file cannot be written.
    """
    if isinstance(samples, bool) or not isinstance(samples, int) or not 0 <= samples <= _ROWS:
        raise SettingError(f"samples must be a number of rows from 0 to {_ROWS}", place="samples")
    check_file(path)
    page = html(outputs, Manner(how_set, samples, max(4, 40 // max(1, len(outputs)))))
    try:
        disk.write_file(path, page.encode("utf-8", "replace"))
    except OSError as error:
        raise TableError(f"report {os.fspath(path)!r}: cannot write it ({error.strerror})") from None


def check_file(path: str | os.PathLike[str]) -> None:
    """Raise `TableError` where a report cannot be written to this file, `SettingError` where charts cannot be drawn."""
    if os.path.splitext(os.fspath(path))[1].lower() not in (".html", ".htm"):
        raise TableError(f"report {os.fspath(path)!r}: a report is a page of HTML; name it .html", place="report")
    tables.check_place(path, "report")
    charts.require()


def html(outputs: Mapping[str, Any], manner: Manner) -> str:
    """Return the page."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=False, undefined=jinja2.StrictUndefined)
    template = environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    parts = [Part(place, name, output) for place, (name, output) in enumerate(outputs.items())]
    sections = [section(part, manner) for part in parts]
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    made = f"Made on {now} with tablenodes {__version__}, Python {platform.python_version()}."
    page = {"title": _title(sections), "about": _about(sections), "made": made, "duration": duration}

    def size_of(found: list[dict[str, Any]]) -> int:
        bare = [each | {"over_time": None, "latencies": None, "left_out": True} for each in found]
        return len(template.render(sections=bare, **page).encode("utf-8", "replace"))

    fits = iter(_FITS if manner.samples else ())
    while size_of(sections) > _SHOWN and (fit := next(fits, None)) is not None:
        sections = [shortened(each, *fit) for each in sections]
    left = _MOST - size_of(sections)
    for each, part in zip(sections, parts, strict=True):
        latencies, over_time = drawn(part) if left > 0 else (None, None)
        size = sum(chart.size for chart in (latencies, over_time) if chart is not None)
        is_fit = 0 < size <= left
        each |= {"latencies": latencies if is_fit else None, "over_time": over_time if is_fit else None}
        each["left_out"] = left <= 0 or size > left
        left -= size
    return template.render(sections=sections, **page)


def _title(sections: list[dict[str, Any]]) -> str:
    names = ", ".join(each["name"] for each in sections)
    return f"Report of {names}"[:200]


def _about(sections: list[dict[str, Any]]) -> str:
    """Return what ran, when and with which versions."""
    first = sections[0] if sections else {}
    kinds = ", ".join(dict.fromkeys(each["kind"] for each in sections))
    began = f" · began {first['began']}" if first.get("began") else ""
    versions = f" · {first['versions']}" if first.get("versions") else ""
    return f"{kinds}{began}{versions}"[:400]
