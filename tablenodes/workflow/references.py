"""What the nodes of a workflow refer to: earlier nodes and inputs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ..bodies.values import ArrayValue, ObjectValue, SpokenValue, TextValue, is_varying
from ..errors import WorkflowError, nearest
from ..templates.template import INPUTS, OUTPUTS, RESERVED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ..nodes import Node
    from ..templates.template import Template

_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Loose(NamedTuple):
    """A reference to something that is not there.

    Attributes
    ----------
    node : int
        The node's position.
    place : str
        Where in its settings, such as ``messages[0].content``.
    message : str
        What is wrong.
    """

    node: int
    place: str
    message: str


def check_id(name: object, earlier: Collection[str]) -> None:
    """Raise `WorkflowError` for what cannot be a node's id, so that ``outputs.ID`` always means one node."""
    if not isinstance(name, str) or not _ID.fullmatch(name):
        message = "id: must be made of at most 64 letters, digits and underscores, no digit first"
        raise WorkflowError(message, place="id")
    if name in earlier:
        raise WorkflowError(f"id: {name!r} is the id of an earlier node", place="id")


def loose(nodes: Sequence[tuple[str, Node | None]], inputs: Iterable[str] | None) -> Iterator[Loose]:
    """Give every reference to an input or to an earlier node that is not there.

    None stands for a node, and for inputs, that cannot be read.
    """
    known_inputs, ids = None if inputs is None else tuple(inputs), [name for name, _ in nodes]
    for position, (_, node) in enumerate(nodes):
        yield from _unfollowed(nodes, position)
        for template in templates(node):
            for name in template.upstream or ():
                if name not in ids[:position]:
                    yield Loose(position, template.place, _no_node(name, ids, position))
            for name in dict.fromkeys(str(path[0]) for path in template.reached.get(INPUTS, ()) if path):
                if known_inputs is not None and name not in known_inputs:
                    yield Loose(position, template.place, _no_input(name, known_inputs))


def _no_input(name: str, inputs: Sequence[str]) -> str:
    known = f"; there are {', '.join(inputs)}" if inputs else "; declare it under inputs"
    return f"no input {name!r}{nearest(name, inputs) or known}"


def unread_inputs(nodes: Sequence[tuple[str, Node]], inputs: Iterable[str]) -> frozenset[str]:
    """Give the inputs that no node reads, as far as that is known: a name that is worked out may be any."""
    paths = [path for _, node in nodes for template in templates(node) for path in template.reached.get(INPUTS, ())]
    return frozenset() if () in paths else frozenset(inputs) - {str(path[0]) for path in paths}


def _unfollowed(nodes: Sequence[tuple[str, Node | None]], position: int) -> Iterator[Loose]:
    """Give every setting that names a node that is not earlier, or gives no answers."""
    node, ids = nodes[position][1], [name for name, _ in nodes]
    for place, name in node._follows().items() if node is not None else ():
        if name not in ids[:position]:
            yield Loose(position, place, _no_node(name, ids, position))
            continue
        earlier = nodes[ids.index(name)][1]
        if earlier is not None and earlier._declared.makes:
            yield Loose(position, place, f"node {name!r} gives no answers of a model, which could be continued from")


def _no_node(name: str, ids: Sequence[str], position: int) -> str:
    earlier = ids[:position]
    if name == ids[position]:
        return f"node {name!r} cannot read its own answer"
    if name in ids:
        return f"node {name!r} comes later: only the answers of earlier nodes can be read"
    known = f"; earlier are {', '.join(earlier)}" if earlier else "; it is the first node"
    return f"no earlier node {name!r}{nearest(name, earlier) or known}"


def upstream(node: Node, earlier: Sequence[str]) -> tuple[str, ...] | None:
    """Give the ids of the nodes whose answers a node reads, in their order; None where it reads none.

    Where a placeholder may mean any, all earlier ones are given.
    """
    reading = [template for template in templates(node) if OUTPUTS in template.names]
    if not reading:
        return None
    if any(template.upstream is None for template in reading):
        return tuple(earlier)
    named = {name for template in reading for name in template.upstream or ()}
    return tuple(name for name in earlier if name in named)


def columns_read(nodes: Sequence[tuple[str, Node]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Give each node that must have a table, with the columns that its settings name; none for the whole row."""
    made: set[str] = set()
    for name, node in nodes:
        varying = [value for value in node._parsed().values() if is_varying(value)]
        columns = dict.fromkeys(column for value in varying for column in value.columns())
        read = tuple(column for column in columns if column not in made and column not in RESERVED)
        if read or any(value.whole_row() for value in varying):
            yield name, read
        made |= set(node._declared.makes)


def templates(node: Node | None) -> Iterator[Template]:
    """Give every text with placeholders in a node's settings."""
    for value in node._parsed().values() if node is not None else ():
        yield from _templates(value)


def _templates(value: Any) -> Iterator[Template]:
    if isinstance(value, TextValue):
        yield value.template
    elif isinstance(value, SpokenValue):
        yield from _templates(value.system)
        yield from _templates(value.prompt)
    elif isinstance(value, ObjectValue | ArrayValue):
        for item in value.items.values() if isinstance(value, ObjectValue) else value.items:
            yield from _templates(item)
