"""HTML of what a notebook shows: escaped, bounded, dark and light, whole without scripts and outside the notebook."""

from __future__ import annotations

import html as escaping
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from ..notices import counted

ROWS = 10  # of a grid at the most
COLUMNS = 10
REASONS = 8
PARTS = 12
_FACTS = 40
_CELL = 320  # bytes of a cell at the most, as they are written: a grid has up to a hundred of them
_LINE = 500
_TEXT = 8_000
_ALL = 60_000  # bytes of it all; what comes after that is left out
_SHOWN = "\n\t\u200c\u200d"  # beside what is printable: the last two join letters and emoji
_TIMES = "\u00d7"
_TONES = dict.fromkeys(("ok", "valid", "to send", "reused"), "good") | {"unusable": "warn"}
_TONES |= dict.fromkeys(("pending", "submitted"), "wait") | dict.fromkeys(("not_sent", "skipped"), "idle")

# Two classes, since a notebook's own rules for tables and lists have one. A host's own colours first; else the panel
# brings a background of its own, so that the two always fit together.
_STYLE = """<style>
.tablenodes{--tn-ink:var(--jp-content-font-color1,var(--vscode-editor-foreground,#1f2328));
--tn-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,#59636e));
--tn-line:var(--jp-border-color2,var(--vscode-panel-border,#d1d9e0));
--tn-back:var(--jp-layout-color0,var(--vscode-editor-background,#fff));
--tn-good:#2da44e;--tn-warn:#d4900b;--tn-wait:#3b82d6;--tn-idle:#8c959f;--tn-bad:#d1383d;
color:var(--tn-ink);background:var(--tn-back);font-size:13px;line-height:1.45;padding:4px 0;max-width:100%;
font-family:var(--jp-ui-font-family,system-ui,sans-serif)}
@media (prefers-color-scheme:dark){.tablenodes{
--tn-ink:var(--jp-content-font-color1,var(--vscode-editor-foreground,#e6edf3));
--tn-dim:var(--jp-content-font-color2,var(--vscode-descriptionForeground,#9198a1));
--tn-line:var(--jp-border-color2,var(--vscode-panel-border,#3d444d));
--tn-back:var(--jp-layout-color0,var(--vscode-editor-background,#0d1117))}}
.tablenodes.tn .tn-head{margin:0 0 4px}.tablenodes.tn .tn-head b{font-weight:600}
.tablenodes.tn .tn-dim{color:var(--tn-dim)}
.tablenodes.tn .tn-bar{display:flex;height:8px;max-width:640px;margin:6px 0;border-radius:4px;overflow:hidden;
background:var(--tn-line)}
.tablenodes.tn .tn-bar i{display:block;min-width:3px}
.tablenodes.tn .tn-good{--tn-tone:var(--tn-good)}.tablenodes.tn .tn-warn{--tn-tone:var(--tn-warn)}
.tablenodes.tn .tn-wait{--tn-tone:var(--tn-wait)}.tablenodes.tn .tn-idle{--tn-tone:var(--tn-idle)}
.tablenodes.tn .tn-bad{--tn-tone:var(--tn-bad)}
.tablenodes.tn .tn-bar i,.tablenodes.tn .tn-dot{background:var(--tn-tone)}
.tablenodes.tn .tn-dot{display:inline-block;width:8px;height:8px;border-radius:50%;margin:0 5px 0 0}
.tablenodes.tn .tn-count{display:inline-block;margin:0 14px 0 0;white-space:nowrap}
.tablenodes.tn ul{margin:4px 0;padding:0;list-style:none}
.tablenodes.tn li{margin:2px 0;overflow-wrap:anywhere}
.tablenodes.tn li.tn-reason{border-left:3px solid var(--tn-tone);padding:0 0 0 8px}
.tablenodes.tn .tn-wide{overflow-x:auto;max-width:100%;margin:6px 0}
.tablenodes.tn table{border-collapse:collapse;margin:0;font-size:12px;table-layout:auto;border:0;color:inherit;
width:max-content}
.tablenodes.tn th,.tablenodes.tn td{text-align:left;vertical-align:top;padding:3px 10px 3px 0;max-width:min(28em,60vw);
border:0;border-bottom:1px solid var(--tn-line);background:none;white-space:pre-wrap;overflow-wrap:break-word;
color:inherit}
.tablenodes.tn thead th{font-weight:600;white-space:nowrap}.tablenodes.tn tbody th{font-weight:400;color:var(--tn-dim);
padding-left:8px}
.tablenodes.tn tr.tn-failed th:first-child{box-shadow:inset 3px 0 var(--tn-bad)}
.tablenodes.tn .tn-number{text-align:right;white-space:nowrap}
.tablenodes.tn pre{margin:2px 0 6px;padding:6px 8px;border:1px solid var(--tn-line);border-radius:4px;background:none;
color:inherit;font-size:12px;white-space:pre-wrap;overflow-wrap:anywhere;word-break:normal;
font-family:var(--jp-code-font-family,ui-monospace,monospace)}
.tablenodes.tn .tn-part{border-left:1px solid var(--tn-line);padding:0 0 0 10px;margin:8px 0}
</style>"""


@dataclass(frozen=True)
class Reason:
    """Why rows failed, once for all that failed alike; `first` is the position of the first of them."""

    count: int
    message: str
    outcome: str = ""
    first: int | None = None


class Grid(NamedTuple):
    """Some rows of a table: their labels and cells, how many of them, the first ones, failed, and what is left out."""

    columns: Sequence[str]
    labels: Sequence[Any]
    rows: Sequence[Sequence[Any]]
    failed: int = 0
    more: int = 0
    label: str = "row"


@dataclass(frozen=True)
class Panel:
    """What is shown of one value, from its title down."""

    title: str
    about: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)  # rows by outcome, which the bar shows
    reasons: Sequence[Reason] = ()
    facts: Sequence[tuple[str, Any]] = ()
    lines: Sequence[str] = ()
    texts: Sequence[tuple[str, str]] = ()  # longer ones, with their captions
    drawing: str = ""  # SVG, whose texts are escaped
    grid: Grid | None = None
    parts: Sequence[Panel] = ()


def html(panel: Panel) -> str:
    """Return a panel as HTML."""
    made, left = [], _ALL - len(_STYLE) - 200
    for piece in _pieces(panel):
        left -= len(piece.encode())
        if left < 0:
            made.append('<p class="tn-dim">… and more</p>')
            break
        made.append(piece)
    return f'{_STYLE}<div class="tablenodes tn">{"".join(made)}</div>'


def bar(counts: Mapping[str, int], left: int = 0) -> str:
    """Return a bar of counts beside each other; `left` is how many are none of them yet."""
    made = (f'<i class="tn-{_tone(name)}" style="flex:{count}"></i>' for name, count in counts.items() if count)
    rest = f'<span style="flex:{left}"></span>' if left else ""
    return f'<div class="tn-bar">{"".join(made)}{rest}</div>'


def live(counts: Mapping[str, int], left: int, text: str) -> str:
    """Return what is shown of work that goes on: a bar, and where it is."""
    return f'{_STYLE}<div class="tablenodes tn">{bar(counts, left)}<span>{_text(text, _LINE)}</span></div>'


def _pieces(panel: Panel) -> Iterator[str]:
    about = f' <span class="tn-dim">{_text(panel.about, _LINE)}</span>' if panel.about else ""
    yield f'<p class="tn-head"><b>{_text(panel.title, _LINE)}</b>{about}</p>'
    if panel.counts:
        yield bar(panel.counts) + f"<div>{''.join(map(_count, panel.counts.items()))}</div>"
    yield from _listed((_reason(each) for each in panel.reasons), len(panel.reasons), "reason")
    if panel.facts:
        rows = "".join(f"<tr><th>{_text(name, _CELL)}</th><td>{_cell(value)}</td></tr>" for name, value in _few(panel))
        yield f'<div class="tn-wide"><table><tbody>{rows}</tbody></table></div>'
    if len(panel.drawing) <= _ALL // 2:
        yield f'<div class="tn-wide">{panel.drawing}</div>' if panel.drawing else ""
    yield from _listed((f"<li>{_text(line, _LINE)}</li>" for line in panel.lines), len(panel.lines), "line")
    for caption, text in panel.texts:
        yield f'<div class="tn-dim">{_text(caption, _LINE)}</div><pre>{_text(text, _TEXT)}</pre>'
    if panel.grid is not None and panel.grid.columns:
        yield _grid(panel.grid)
    for part in panel.parts[:PARTS]:
        yield f'<div class="tn-part">{"".join(_pieces(part))}</div>'
    if len(panel.parts) > PARTS:
        yield f'<p class="tn-dim">… {len(panel.parts) - PARTS:,} more</p>'


def _few(panel: Panel) -> Sequence[tuple[str, Any]]:
    more = len(panel.facts) - _FACTS
    return panel.facts if more <= 0 else [*panel.facts[:_FACTS], ("…", f"{more:,} more")]


def _count(each: tuple[str, int]) -> str:
    name, count = each
    return f'<span class="tn-count"><span class="tn-dot tn-{_tone(name)}"></span>{count:,} {_text(name, _CELL)}</span>'


def _tone(outcome: str) -> str:
    return _TONES.get(outcome, "bad")


def _listed(items: Iterable[str], count: int, what: str) -> Iterator[str]:
    if count:
        shown = "".join(item for item, _ in zip(items, range(REASONS), strict=False))
        more = count - REASONS
        rest = f'<li class="tn-dim">… {counted(more, f"more {what}")}</li>' if more > 0 else ""
        yield f"<ul>{shown}{rest}</ul>"


def _reason(reason: Reason) -> str:
    first = "" if reason.first is None else f"first at row {reason.first:,}"
    where = ", ".join(filter(None, (reason.outcome, first)))
    more = f' <span class="tn-dim">({_text(where, _CELL)})</span>' if where else ""
    told = _text(reason.message, _LINE)
    return f'<li class="tn-reason tn-{_tone(reason.outcome)}"><b>{reason.count:,} {_TIMES}</b> {told}{more}</li>'


def _grid(grid: Grid) -> str:
    columns = grid.columns[:COLUMNS]
    numeric = [all(_is_number(row[at]) for row in grid.rows) and bool(grid.rows) for at in range(len(columns))]
    kinds = [' class="tn-number"' if each else "" for each in numeric]
    named = zip(columns, kinds, strict=True)
    label = _text(grid.label, _CELL // 2)
    head = "".join(f"<th{kind}>{_text(name, _CELL // 2)}</th>" for name, kind in named)
    body = "".join(_row(grid, at, kinds) for at in range(min(len(grid.rows), ROWS)))
    table = f"<table><thead><tr><th>{label}</th>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="tn-wide">{table}</div>{_left_out(grid)}'


def _row(grid: Grid, at: int, kinds: Sequence[str]) -> str:
    cells = "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(grid.rows[at], kinds, strict=False))
    kind = ' class="tn-failed"' if at < grid.failed else ""
    return f"<tr{kind}><th>{_cell(grid.labels[at])}</th>{cells}</tr>"


def _left_out(grid: Grid) -> str:
    rows = grid.more + max(0, len(grid.rows) - ROWS)
    parts = [f"… {counted(rows, 'more row')}"] if rows else []
    if others := grid.columns[COLUMNS:]:
        parts.append(f"… {counted(len(others), 'more column')}: {', '.join(others[:20])}")
    return f'<div class="tn-dim">{_text("; ".join(parts), _LINE)}</div>' if parts else ""


def _is_number(cell: Any) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _cell(cell: Any) -> str:
    """Return a value as a cell shows it: null as such, what is no text as JSON."""
    if cell is None:
        return '<span class="tn-dim">null</span>'
    if isinstance(cell, list | dict | bool):
        try:
            cell = orjson.dumps(cell).decode()
        except (TypeError, ValueError):
            cell = repr(cell)
    return _text(cell if isinstance(cell, str) else str(cell), _CELL)


def _text(text: str, most: int) -> str:
    """Return a text escaped, in at most so many bytes, with a mark where it is cut."""
    cut = "".join(sign if sign in _SHOWN or sign.isprintable() else "�" for sign in text[: most + 1])
    escaped, size = escaping.escape(cut), len(cut)
    while len(escaped.encode("utf-8", "replace")) > most and size > 1:
        size = size * 3 // 4
        escaped = escaping.escape(cut[:size])
    return escaped if size >= len(text) else f"{escaped}…"
