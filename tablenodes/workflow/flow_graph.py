"""A workflow as a drawing: Mermaid text, which documents and notebooks show as a graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..bodies.recipe import CONVERSATION
from .references import columns_read, reading_of, templates, upstream
from .table_source import called

if TYPE_CHECKING:
    from ..nodes import Node
    from .definition import Definition

_SIGNS = {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "{": "#123;", "}": "#125;", "`": "#96;"}
_LONGEST = 60


def mermaid(workflow: Definition) -> str:
    """Return the nodes and what each reads: dotted where that is only what became of an earlier one's rows."""
    ids = [name for name, _ in workflow._steps]
    reading = {name for name, _ in columns_read(workflow._steps, workflow._expressions)}
    lines = ["flowchart TD"]
    if workflow.table is not None or reading:
        lines.append(f'    table[("{_shown(called(workflow.table or "table"))}")]')
    for place, (name, step) in enumerate(workflow._as_given):
        when = [f"when {step.when}"] if step.when is not None else []
        texts = [name, type(step.node).__name__, *when, *([step.description] if step.description else [])]
        lines.append(f'    n{place}["{"<br/>".join(map(_shown, texts))}"]')
    lines += [f"    table --> n{place}" for place, name in enumerate(ids) if name in reading]
    for place in range(len(ids)):
        for earlier, is_read in edges_of(workflow, place).items():
            lines.append(f"    n{ids.index(earlier)} {'-->' if is_read else '-.->'} n{place}")
    output: Any = workflow.output
    if output is not None:
        lines += [f'    output[("{_shown(output.name)}")]', f"    n{len(ids) - 1} --> output"]
    return "\n".join(lines) + "\n"


def edges_of(workflow: Definition, place: int) -> dict[str, bool]:
    """Return the earlier nodes that a node reads, and whether it reads more than what became of their rows."""
    earlier, (name, node) = workflow._steps[:place], workflow._steps[place]
    ids = [each for each, _ in earlier]
    condition = workflow._whens.get(name)
    found: dict[str, bool] = {}
    for read in (upstream(node, ids), condition and reading_of([condition.template], ids)):
        for each, reading in (read or {}).items():
            found[each] = found.get(each, False) or reading.answer or reading.rest
    handed_on = [*node._follows().values(), node._retrieves(earlier), *_conversation(node, earlier)]
    return found | {each: True for each in handed_on if each is not None}


def _conversation(node: Node, earlier: Any) -> Iterator[str]:
    """Yield the node whose conversations another goes on with, as the column that they are is called."""
    named = {column for template in templates(node) for column in template.columns}
    own = node._settings().keys() & {"prompt", "messages", CONVERSATION}
    goes_on = CONVERSATION in node._declared.defaults or (node._declared.shortcuts and not own) or CONVERSATION in named
    makers = [name for name, each in earlier if CONVERSATION in each._declared.makes] if goes_on else []
    yield from makers[-1:]


def _shown(text: str) -> str:
    return "".join(_SIGNS.get(sign, sign) for sign in in_a_line(text, _LONGEST))


def in_a_line(text: str, longest: int) -> str:
    """Return a text in one line of so many signs at most, each of them printable."""
    line = "".join(sign if sign.isprintable() else "�" for sign in " ".join(text.split()))
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
