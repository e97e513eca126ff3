"""What a placeholder reaches below a name: ``outputs.ask.choices[0]`` as its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str | int, ...]


def paths(tree: nodes.Node, name: str) -> tuple[Path, ...]:
    """Return the steps of every way that goes down from a name, each as far as it is known.

    A step that is worked out in the row, a filter and a call end it: nothing is known of what is below.
    """
    return tuple(dict.fromkeys(_found(tree, name)))


def _found(node: nodes.Node, name: str) -> Iterator[Path]:
    if isinstance(node, nodes.Getattr | nodes.Getitem | nodes.Name):
        steps, root, aside = _steps(node)
        if isinstance(root, nodes.Name):
            if root.name == name:
                yield _known(steps)
        else:
            yield from _found(root, name)
        for each in aside:
            yield from _found(each, name)
        return
    for child in node.iter_child_nodes():
        for path in _found(child, name):
            is_method = isinstance(node, nodes.Call) and child is node.node and len(path) > 0
            yield path[:-1] if is_method else path


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


def _known(steps: list[Any]) -> Path:
    return tuple(steps[: steps.index(None)] if None in steps else steps)
