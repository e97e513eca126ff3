"""The short way to read an earlier answer: ``{{ ID }}`` is written out as ``{{ outputs.ID.answer }}``."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..bodies.recipe import parse_setting
from ..column_names import OUTPUTS
from ..nodes import Node
from ..templates.environment import environment
from .references import templates_in
from .step import Condition, Step, node_of

if TYPE_CHECKING:
    Nodes = Sequence[tuple[str, Node | Step | None]]


def written_out(nodes: Nodes) -> list[tuple[str, Any]]:
    """Return nodes, or steps, in whose placeholders the ids of earlier nodes with answers are written out."""
    made: list[tuple[str, Any]] = []
    ids: set[str] = set()
    given: Any
    for name, given in nodes:
        node = node_of(given)
        changed = node if node is None or not ids else _written_out(node, ids)
        is_step = isinstance(given, Step)
        made.append((name, replace(given, node=changed, when=_when(given.when, ids)) if is_step else changed))
        if node is not None and node._answer_columns(name):
            ids.add(name)
    return made


def _when(text: str | None, ids: Collection[str]) -> str | None:
    """Return the expression of a ``when``, in which ids are written out too."""
    if text is None or set(ids).isdisjoint((condition := Condition(text)).template.names):
        return text
    return str(_in_value(condition.written, {*condition.template.names}.intersection(ids)))


def _written_out(node: Node, ids: Collection[str]) -> Node:
    changed: dict[str, Any] = {}
    for name, value in node._written().items():
        templates = templates_in(parse_setting(name, value))
        if read := {each for template in templates for each in template.names}.intersection(ids):
            changed[name] = _in_value(value, read)
    return node.replace(**changed) if changed else node


def _in_value(value: Any, ids: Collection[str]) -> Any:
    if isinstance(value, str):
        return "".join(_pieces(value, ids)) if "{{" in value else value
    if isinstance(value, dict):
        return {key: _in_value(item, ids) for key, item in value.items()}
    return [_in_value(item, ids) for item in value] if isinstance(value, list) else value


def _pieces(text: str, ids: Collection[str]) -> Iterator[str]:
    """Yield the pieces of a text: a name inside of braces is an id's where nothing makes it an attribute or a word."""
    tokens = [(kind, piece) for _, kind, piece in environment().lex(text)]
    before, inside = "", False
    for at, (kind, piece) in enumerate(tokens):
        inside = kind == "variable_begin" or (inside and kind != "variable_end")
        if inside and kind == "name" and piece in ids and before not in (".", "|", "is") and not _is_word(tokens, at):
            yield f"{OUTPUTS}.{piece}.answer"
        else:
            yield piece
        before = piece if kind != "whitespace" else before


def _is_word(tokens: Sequence[tuple[str, str]], at: int) -> bool:
    """Check whether a name is that of an argument: ``default(value=…)``."""
    after = next((piece for kind, piece in tokens[at + 1 :] if kind != "whitespace"), "")
    return after == "="
