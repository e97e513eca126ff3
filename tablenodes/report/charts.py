"""Charts of a report as SVG: their colours are the page's own, dark or light, and their texts are texts."""

from __future__ import annotations

import importlib.util
import io
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy

from ..errors import SettingError

TONES = ("ink", "dim", "line", "good", "bad", "warn", "wait", "idle", "calm")
_COLOURS = {tone: f"#{at:02x}fa{at:02x}" for at, tone in enumerate(TONES, 1)}  # each stands for a colour of the page
_STANDS_FOR = {colour: f"var(--{tone})" for tone, colour in _COLOURS.items()}
_COLOUR = re.compile("|".join(_STANDS_FOR))
_PLACES = re.compile(r'\b(?:d|x|y|transform)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d+")
_PATH = re.compile(r'\bd="(M[ML\d.\s-]*z?)\s*"')
_STEP = re.compile(r"([ML]) (\S+) (\S+)")
_ID = re.compile(r'(id="|href="#|url\(#)')
_LEFT_OUT = re.compile(r'<metadata>.*?</metadata>| xmlns(:\w+)?="[^"]*"|<!--.*?-->', re.DOTALL)
_FONT = re.compile(r"font: (?:[\w ]*?)([\d.]+)px [^;\"]*")
_BREAKS = re.compile(r"\s*\n\s*")
_UNITS = ((7_200, 3_600, "hours"), (180, 60, "minutes"), (0, 1, "seconds"))
WIDE, NARROW = 860, 330  # pixels; a screen that is too narrow for the first has the second
_SIZE = 12
_MISSING = "a report draws its charts with matplotlib: pip install 'tablenodes[report]'"


class Mark(NamedTuple):
    """A line across a chart, and what it says."""

    at: float
    label: str


class Lane(NamedTuple):
    """One of several charts above each other on the same axis of time: its series by their names, with their tones.

    They are stacked where they are parts of a whole, else each is a line.
    """

    title: str
    series: Mapping[str, tuple[Any, str]]
    stacked: bool = True


class Band(NamedTuple):
    """A time in which nothing was sent, and the tone of why."""

    start: float
    end: float
    tone: str


def require() -> None:
    """Raise `SettingError` where the library that draws is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingError(_MISSING, code="no_charts", place="report")


def histogram(name: str, counts: Any, edges: Any, marks: Sequence[Mark], *, logarithmic: bool) -> tuple[str, str]:
    """Return a distribution of seconds, for a wide and for a narrow screen; `marks` are its quantiles.

    The `name` is that of no other chart in the page.
    """

    def draw(figure: Any, width: int) -> None:
        axes = figure.add_subplot()
        axes.stairs(counts, edges, fill=True, color=_COLOURS["calm"])
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xlabel("seconds an attempt took", color=_COLOURS["dim"])
        top, (low, high) = float(max(counts)) * (1.3 if width == WIDE else 1.5) or 1.0, (edges[0], edges[-1])
        axes.set_ylim(0, top)
        for place, mark in enumerate(marks):
            axes.axvline(mark.at, color=_COLOURS["ink"], linewidth=1, linestyle=(0, (4, 3)))
            share = math.log(mark.at / low) / math.log(high / low) if logarithmic else (mark.at - low) / (high - low)
            is_right = share > (0.85 if width == WIDE else 0.55)
            label = {"ha": "right" if is_right else "left", "va": "top", "fontsize": _SIZE}
            put = (mark.at, top * (0.99 - 0.085 * place))
            axes.annotate(mark.label, put, (-4 if is_right else 4, 0), textcoords="offset points", **label)
        _ticks(axes, "x", _seconds, 7 if width == WIDE else 4, logarithmic=logarithmic)
        _ticks(axes, "y", _count, 4)

    return _both(name, draw, 230)


def lanes(
    name: str, given: Sequence[Lane], edges: Any, bands: Iterable[Band], marks: Sequence[Mark] = ()
) -> tuple[str, str]:
    """Return lanes above each other on one axis of time, for a wide and for a narrow screen; `edges` are in seconds."""
    scale, unit = next((each, unit) for least, each, unit in _UNITS if edges[-1] >= least)
    at, shaded = numpy.asarray(edges, dtype=float) / scale, [*bands]

    def draw(figure: Any, width: int) -> None:
        every = figure.subplots(len(given), 1, sharex=True, squeeze=False)[:, 0]
        for lane, axes in zip(given, every, strict=True):
            for band in shaded:
                axes.axvspan(band.start / scale, band.end / scale, color=_COLOURS[band.tone], alpha=0.28, linewidth=0)
            for mark in marks:
                axes.axvline(mark.at / scale, color=_COLOURS["dim"], linewidth=1, linestyle=(0, (2, 2)))
            _draw_lane(axes, lane, at)
        every[-1].set_xlim(at[0], at[-1])
        every[-1].set_xlabel(f"{unit} from the run's first moment", color=_COLOURS["dim"])
        _ticks(every[-1], "x", _count, 9 if width == WIDE else 4)

    return _both(name, draw, 56 + 120 * len(given))


def _draw_lane(axes: Any, lane: Lane, at: Any) -> None:
    base, top = numpy.zeros(len(at) - 1), 0.0
    for values, tone in lane.series.values():
        if lane.stacked:
            axes.stairs(base + values, at, baseline=base, fill=True, color=_COLOURS[tone])
            base = base + values
            top = max(top, float(base.max(initial=0.0)))
        else:
            axes.stairs(values, at, baseline=None, color=_COLOURS[tone], linewidth=1.6)
            top = max(top, float(numpy.nan_to_num(values).max(initial=0.0)))
    axes.set_ylim(0, top * 1.12 or 1.0)
    axes.set_title(lane.title, loc="left", fontsize=_SIZE, color=_COLOURS["ink"], pad=5)
    _ticks(axes, "y", _count, 3)


def _ticks(axes: Any, name: str, told: Callable[[float], str], most: int, *, logarithmic: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter  # noqa: PLC0415 - an extra

    axis = getattr(axes, f"{name}axis")
    axis.set_major_formatter(FuncFormatter(lambda value, _: told(value)))
    if logarithmic:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if most > 4 else (1,), numticks=12))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))


def _count(value: float) -> str:
    for least, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= least:
            return f"{value / (1e3 if unit == 'k' else least):g} {unit}"
    return f"{value:g}"


def _seconds(value: float) -> str:
    return f"{value:,.3g}" if value < 1_000 else f"{value:,.0f}"


def _both(name: str, draw: Callable[[Any, int], None], height: int) -> tuple[str, str]:
    wide, narrow = (_as_part(_svg(draw, width, height), f"{name}-{width}") for width in (WIDE, NARROW))
    return wide, narrow


def _svg(draw: Callable[[Any, int], None], width: int, height: int) -> str:
    """Return a drawing as the file that the library writes."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    dim, ink, line = _COLOURS["dim"], _COLOURS["ink"], _COLOURS["line"]
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "tablenodes",
        "font.size": _SIZE,
        "text.color": ink,
        "axes.edgecolor": line,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": dim,
        "ytick.labelcolor": dim,
        "xtick.labelsize": _SIZE,
        "ytick.labelsize": _SIZE,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "font.family": "sans-serif",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": line,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "path.simplify": True,
        "path.simplify_threshold": 0.3,
        "figure.dpi": 72,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(width / 72, height / 72))
        figure.subplots_adjust(46 / width, 42 / height, 1 - 14 / width, 1 - 24 / height, hspace=0.42)
        FigureCanvasSVG(figure)
        draw(figure, width)
        kept = io.StringIO()
        figure.savefig(kept, format="svg", transparent=True, metadata={"Date": None})
    return kept.getvalue()


def _in_short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")


def _as_steps(path: re.Match[str]) -> str:
    """Return a path whose lines mostly go along one axis, in a third of the characters."""
    made, x, y = [], "", ""
    for sign, to_x, to_y in _STEP.findall(path[1]):
        if sign == "M" or (to_x != x and to_y != y):
            made.append(f"{sign}{to_x} {to_y}")
        elif to_x != x or to_y != y:
            made.append(f"H{to_x}" if to_y == y else f"V{to_y}")
        x, y = to_x, to_y
    return f'd="{"".join(made)}{"z" if path[1].endswith("z") else ""}"'


def _as_part(svg: str, name: str) -> str:
    """Return an SVG file as a part of a page: its colours are variables, and nothing in it is an address."""
    found = _LEFT_OUT.sub("", svg[svg.index("<svg") :])
    found = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', found, count=1)
    found = _FONT.sub(r"font-size: \1px", _COLOUR.sub(lambda each: _STANDS_FOR[each[0]], found))
    found = _PLACES.sub(lambda each: _NUMBER.sub(_in_short, each[0]), found)
    found = _PATH.sub(_as_steps, found)
    return _BREAKS.sub("\n", _ID.sub(rf"\g<1>{name}-", found)).strip()
