"""Nodes: what is done with every row. Importing this loads none of them."""

from .registry import NODES, find_node, known_nodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .node import Node
    from .request_node import RequestNode

_HOMES = {**NODES, "Node": "node", "RequestNode": "request_node"}

__all__ = ["NODES", "Node", "RequestNode", "find_node", "known_nodes"]


def __getattr__(name: str) -> "Any":
    from importlib import import_module  # noqa: PLC0415 - loaded when it is first used

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
