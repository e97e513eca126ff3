"""What a template reaches below a name: the ways down from it, and without which of them it has no value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jinja2 import nodes

from ..column_names import OUTPUTS

Path = tuple[str | int, ...]
"""The steps of ``outputs.ask.choices[0]`` below the name that it begins with."""


def written(way: Path) -> str:
    """Return a way as it is written in a placeholder: to an answer the short way, ``first.stars``."""
    if way[0] == OUTPUTS and way[2:3] == ("answer",):
        return written((way[1], *way[3:]))
    steps = (f"[{s}]" if isinstance(s, int) else f".{s}" if s.isidentifier() else f"[{s!r}]" for s in way[1:])
    return f"{way[0]}{''.join(steps)}"


def chains(tree: nodes.Node) -> Iterator[Path]:
    """Return every way down from a name in a template, the name first, and each beginning of one."""
    return filter(None, map(chain, tree.find_all((nodes.Getattr, nodes.Getitem))))


def chain(node: nodes.Node) -> Path:
    """Return the way down from a name that a node is, the name first; none where it is something else."""
    steps, root, _ = _steps(node)
    return (root.name, *steps) if steps and isinstance(root, nodes.Name) and None not in steps else ()


_OF_NOTHING = frozenset({"none", "defined", "undefined"})
"""Tests that have a result of what is not there too."""


def names_in(tree: nodes.Template, mapping: str) -> tuple[set[str], bool]:
    """Return the names reached as ``mapping["…"]`` or ``mapping.…``, and whether it is used in another way too."""
    lookups: Iterator[Any] = tree.find_all((nodes.Getattr, nodes.Getitem))
    below = [node for node in lookups if _is_named(node.node, mapping)]
    steps = [node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None) for node in below]
    named = [step for step in steps if isinstance(step, str)]
    uses = sum(_is_named(node, mapping) for node in tree.find_all(nodes.Name))
    return set(named), uses > len(named)


def _is_named(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.name == name


def paths(tree: nodes.Node, name: str) -> tuple[Path, ...]:
    """Return the steps of every way that goes down from a name, until one is worked out, called or filtered."""
    return tuple(dict.fromkeys(found(tree, name)))


def found(node: nodes.Node, name: str, *, unmet: bool = False) -> Iterator[Path]:
    """Return the steps of every way down from a name; of the `unmet` only those without which there is no value."""
    is_of_nothing = isinstance(node, nodes.Test) and node.name in _OF_NOTHING
    if unmet and (is_of_nothing or _is_default(node)):
        of: Any = node
        for part in _needed_in([of.node, nodes.Const(None)] if is_of_nothing else _chain(node), name):
            yield from found(part, name, unmet=unmet)
        return
    if unmet and isinstance(node, nodes.CondExpr):
        yield from _unmet_branches(node, name)
        return
    if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Name):
        steps, root, aside = _steps(node)
        if isinstance(root, nodes.Name):
            if root.name == name:
                yield tuple(steps[: steps.index(None)] if None in steps else steps)
        else:
            yield from found(root, name, unmet=unmet)
        for each in aside:
            yield from found(each, name, unmet=unmet)
        return
    for child in node.iter_child_nodes():
        for path in found(child, name, unmet=unmet):
            is_method = isinstance(node, nodes.Call) and child is node.node and len(path) > 0
            yield path[:-1] if is_method else path


def _unmet_branches(node: nodes.CondExpr, name: str) -> Iterator[Path]:
    asked = {path[:1] for path in found(node.test, name)}  # what a condition asks about, its branches may lack
    yield from found(node.test, name, unmet=True)
    for branch in filter(None, (node.expr1, node.expr2)):
        yield from (path for path in found(branch, name, unmet=True) if path[:1] not in asked)


def _is_default(node: nodes.Node | None) -> bool:
    return isinstance(node, nodes.Filter) and node.name in ("default", "d") and node.node is not None


def _chain(node: nodes.Node) -> list[nodes.Node]:
    """Return what a value is, the first of which there is: ``a | default(b) | default("c")`` is a, b or "c"."""
    if not _is_default(node):
        return [node]
    first: Any = node
    return [*_chain(first.node), *(each for argument in first.args[:1] for each in _chain(argument))]


def _needed_in(chain: Sequence[nodes.Node], name: str) -> Iterator[nodes.Node]:
    """Return the parts of a chain without which it has no value, whatever is missing."""
    *met, last = chain
    for each in met:
        _, root, aside = _steps(each)
        yield from (*([] if isinstance(root, nodes.Name) else [each]), *aside)
    if not (_way(last, name) and any(_way(each, name) for each in met)):
        yield last


def _way(node: nodes.Node, name: str) -> Path:
    """Return the steps down from a name that a node is; none where it is something else."""
    steps, root, _ = _steps(node)
    return tuple(steps) if isinstance(root, nodes.Name) and root.name == name and None not in steps else ()


def instead_of(node: nodes.Node, name: str) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Return each way down from a name that is needed only where others, behind it, lead to nothing."""
    parts = _chain(node)
    *met, last = [_way(each, name) for each in parts]
    if last and any(met):
        yield last, tuple(filter(None, met))
    for part in parts:
        for child in part.iter_child_nodes():
            yield from instead_of(child, name)


def compared(tree: nodes.Node, name: str) -> Iterator[tuple[Path, str]]:
    """Return each way down from a name that is compared with a text of the author's, and the text."""
    for node in tree.find_all(nodes.Compare):
        left: nodes.Node = node.expr
        for operand in node.ops:
            for side, other in ((left, operand.expr), (operand.expr, left)):
                is_list = isinstance(other, nodes.List | nodes.Tuple)
                if operand.op in ("eq", "ne") or (operand.op in ("in", "notin") and side is left and is_list):
                    texts = other.items if isinstance(other, nodes.List | nodes.Tuple) else [other]
                    yield from (
                        (way, text) for text in map(_text, texts) if text is not None and (way := _way(side, name))
                    )
            left = operand.expr


def _text(node: nodes.Node) -> str | None:
    return node.value if isinstance(node, nodes.Const) and isinstance(node.value, str) else None


def _steps(node: nodes.Node) -> tuple[list[Any], nodes.Node, list[nodes.Node]]:
    """Return the steps from the root on, None for those that are worked out; the root; and what works them out."""
    steps: list[Any] = []
    aside: list[nodes.Node] = []
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        if isinstance(node, nodes.Getattr):
            steps.append(node.attr)
        else:
            steps.append(_constant(node.arg))
            aside.append(node.arg)
        node = node.node
    return steps[::-1], node, aside


def _constant(argument: nodes.Expr) -> str | int | None:
    try:
        value = argument.as_const()
    except nodes.Impossible:
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None
