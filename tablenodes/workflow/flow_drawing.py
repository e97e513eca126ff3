"""A workflow as SVG: its nodes in layers, each below what it reads, in the colours of the page around it."""

from __future__ import annotations

import html
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .flow_graph import edges_of, in_a_line
from .references import columns_read
from .table_source import called

if TYPE_CHECKING:
    from .definition import Definition

_LINE, _PAD, _GAP, _BETWEEN = 17, 9, 24, 38  # pixels: a line of text, around it, beside a box, between two layers
_SIGN, _LONGEST = 7.2, 30  # pixels of a sign, and the most of a line
_ABOUT = 500  # signs of a line that is shown when somebody points at a node
_BEND = 8  # the width of a line on its way past a layer
_ROUNDS = 12
_SPACE = ' xmlns="http://www.w3.org/2000/svg"'
_STYLE = (
    "<style>svg.tablenodes-flow{color:#1f2328}"
    "@media(prefers-color-scheme:dark){svg.tablenodes-flow{color:#e6edf3}}</style>"
)


@dataclass
class Box:
    """A node, the table, the output, or with no text a line's way past a layer."""

    lines: Sequence[str] = ()
    about: str = ""
    layer: int = 0
    is_file: bool = False
    x: float = 0  # of its middle
    above: list[Box] = field(default_factory=list)
    below: list[Box] = field(default_factory=list)

    @cached_property
    def width(self) -> float:
        """How wide it is, by the widths of its signs."""
        widest = max(
            (sum(1 + (unicodedata.east_asian_width(s) in "WF") for s in each) for each in self.lines), default=0
        )
        return widest * _SIGN + 2 * _PAD if self.lines else _BEND

    @property
    def height(self) -> float:
        """Return how high it is."""
        return len(self.lines) * _LINE + 2 * _PAD - 4 if self.lines else 0


def svg(workflow: Definition, *, alone: bool = True) -> str:
    """Return the drawing; `alone` says that it is a file of its own, and brings its colours, light and dark."""
    return drawing(*_graph(workflow), alone=alone)


def drawing(boxes: Sequence[Box], edges: Mapping[tuple[int, int], bool], *, alone: bool = True) -> str:
    """Return boxes, and lines down from one to another by their places, as SVG; a line is solid or dotted."""
    layers: dict[int, list[Box]] = defaultdict(list)
    for box in boxes:
        layers[box.layer].append(box)
    ways = [(_way(layers, boxes[a], boxes[b]), is_read) for (a, b), is_read in edges.items()]
    rows = [layers[each] for each in sorted(layers)]
    _arrange(rows)
    tops, left = [2.0], min(box.x - box.width / 2 for row in rows for box in row) - 2
    for row in rows:
        tops.append(tops[-1] + max(box.height for box in row) + _BETWEEN)
    drawn = [*(_edge(way, tops, is_read) for way, is_read in ways), *(_shape(box, tops) for box in boxes)]
    width = max(box.x + box.width / 2 for row in rows for box in row) - left + 2
    size = f'width="{width:.0f}" height="{tops[-1] - _BETWEEN + 2:.0f}"'
    view = f'viewBox="{left:.1f} 0 {width:.1f} {tops[-1] - _BETWEEN + 2:.1f}"'
    head = f'<svg{_SPACE if alone else ""} class="tablenodes-flow" role="img" {size} {view} fill="none"'
    font = 'stroke="currentColor" font-family="system-ui,sans-serif" font-size="13"'
    return f"{head} {font}>{_STYLE if alone else ''}{''.join(drawn)}</svg>"


def _graph(workflow: Definition) -> tuple[list[Box], dict[tuple[int, int], bool]]:
    """Return what is drawn, each in its layer, and what is read by what: True for more than what became of rows."""
    reading = dict(columns_read(workflow._steps, workflow._expressions))
    ids = [name for name, _ in workflow._steps]
    name = called(workflow.table or "table")
    boxes = [Box((_short(name),), is_file=True)] if reading or workflow.table is not None else []
    first, edges = len(boxes), dict[tuple[int, int], bool]()
    for place, (name, step) in enumerate(workflow._as_given):
        earlier = {first + ids.index(each): is_read for each, is_read in edges_of(workflow, place).items()}
        columns = ", ".join(reading.get(name, ())) or ("the whole row" if name in reading else "")
        more = [] if step.when is None else [f"when {step.when.strip().removeprefix('{{').removesuffix('}}').strip()}"]
        more += [f"reads {columns}"] if columns else []
        lines = [_short(each) for each in (name, type(step.node).__name__, *more)]
        about = "\n".join(in_a_line(each, _ABOUT) for each in (name, step.description or "", *more) if each)
        edges |= {(each, len(boxes)): is_read for each, is_read in earlier.items()}
        if name in reading and not earlier:
            edges[0, len(boxes)] = True
        boxes.append(Box(lines, about, max((boxes[each].layer for each in earlier), default=-1 + first) + 1))
    output: Any = workflow.output
    if output is not None:
        edges[len(boxes) - 1, len(boxes)] = True
        lowest = max(box.layer for box in boxes) + 1
        boxes.append(Box((_short(output.name),), layer=lowest, is_file=True))
    return boxes, edges


def _way(layers: Mapping[int, list[Box]], start: Box, end: Box) -> list[Box]:
    """Return a line's way from box to box, with a place in each layer that it passes."""
    bends = [Box(layer=layer) for layer in range(start.layer + 1, end.layer)]
    for bend in bends:
        layers[bend.layer].append(bend)
    way = [start, *bends, end]
    for upper, lower in pairwise(way):
        upper.below.append(lower)
        lower.above.append(upper)
    return way


def _arrange(rows: Sequence[list[Box]]) -> None:
    """Order each layer by what its boxes hang on, and move every box towards the middle of that."""
    for row in rows:
        _spread(row, [0.0] * len(row))
    for turn in range(_ROUNDS):
        for row in rows if turn % 2 == 0 else reversed(rows):
            wanted = {id(box): _middle(box, up=turn % 2 == 0) for box in row}
            if turn < _ROUNDS // 2:
                row.sort(key=lambda box, wanted=wanted: wanted[id(box)])  # type: ignore[misc]
            _spread(row, [wanted[id(box)] for box in row])


def _middle(box: Box, *, up: bool) -> float:
    near = (box.above or box.below) if up else (box.below or box.above)
    return sum(each.x for each in near) / len(near) if near else box.x


def _spread(row: Sequence[Box], wanted: Sequence[float]) -> None:
    """Put the boxes of a layer where they are wanted, as far as they fit beside each other."""
    steps = [(one.width + other.width) / 2 + _GAP for one, other in pairwise(row)]
    right, left = [*wanted], [*wanted]
    for at, step in enumerate(steps):
        right[at + 1] = max(right[at + 1], right[at] + step)
    for at in range(len(steps) - 1, -1, -1):
        left[at] = min(left[at], left[at + 1] - steps[at])
    for box, one, other in zip(row, left, right, strict=True):
        box.x = (one + other) / 2


def _edge(way: Sequence[Box], tops: Sequence[float], is_read: bool) -> str:
    """Return a line that turns only between layers, so that it crosses no box."""
    x, y = way[0].x, tops[way[0].layer] + way[0].height
    path = [f"M{x:.1f} {y:.1f}"]
    for upper, lower in pairwise(way):
        x, y, end = lower.x, tops[lower.layer], tops[upper.layer + 1] - _BETWEEN
        half = (y + end) / 2
        path.append(f"V{end:.1f}C{upper.x:.1f} {half:.1f} {x:.1f} {half:.1f} {x:.1f} {y:.1f}")
    dots = "" if is_read else ' stroke-dasharray="3 4"'
    tip = f'<path d="M{x - 4:.1f} {y - 6:.1f}L{x:.1f} {y - 1:.1f}L{x + 4:.1f} {y - 6:.1f}z" fill="currentColor"/>'
    return f'<g opacity=".6"><path d="{"".join(path)}"{dots}/>{tip}</g>'


def _shape(box: Box, tops: Sequence[float]) -> str:
    top, round_ = tops[box.layer], box.height / 2 if box.is_file else 5
    at = f'x="{box.x - box.width / 2:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    title = f"<title>{html.escape(box.about)}</title>" if box.about else ""
    shape = f'<rect {at} rx="{round_}" stroke-opacity=".4" fill="currentColor" fill-opacity=".05"/>'
    return f"<g>{title}{shape}{''.join(_words(box, top))}</g>"


def _words(box: Box, top: float) -> Iterator[str]:
    for place, line in enumerate(box.lines):
        how = ' font-weight="600"' if place == 0 and not box.is_file else ' fill-opacity=".7" font-size="12"'
        at = f'x="{box.x:.1f}" y="{top + _PAD + _LINE * (place + 0.65):.1f}" text-anchor="middle"'
        yield f'<text {at} stroke="none" fill="currentColor"{how}>{html.escape(line)}</text>'


def _short(text: str) -> str:
    return in_a_line(text, _LONGEST)
