"""Nodes: what is done with every row. Importing this loads none of them."""

from __future__ import annotations

TYPE_CHECKING = False  # the package's own names come from here, and typing is loaded only where it is needed
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .node import Node
    from .request_node import RequestNode

NODES = {
    **dict.fromkeys(("CreateChatCompletion", "CreateCompletion", "CreateEmbedding"), "declarations"),
    **dict.fromkeys(("CreateModeration", "CreateResponse"), "declarations"),
    **dict.fromkeys(("CreateChatCompletionAsync", "CreateCompletionAsync", "CreateResponseAsync"), "async_nodes"),
    "RetrieveResponse": "retrieval_node",
    **dict.fromkeys(("CreateConversation", "AddSystemMessage", "AddUserMessage"), "conversation_nodes"),
    **dict.fromkeys(("AddAssistantMessage", "AddToolMessage", "AppendReply"), "conversation_nodes"),
    "Return": "table_node",
}
"""The nodes of this package and their modules, in the order in which they are shown: a new node is one name here."""
_WORD = 4  # letters that say enough of a name
_HOMES = {"Node": "node", "RequestNode": "request_node"}

__all__ = ["NODES", "Node", "RequestNode", "find_node", "known_nodes", "nearest_node"]


def __getattr__(name: str) -> object:
    from importlib import import_module  # noqa: PLC0415 - loaded when it is first used

    home = NODES.get(name) or _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)


def known_nodes() -> dict[str, type[Node]]:
    """Return every node that can be used, by its name: those of this package, then subclasses of yours."""
    return _nodes(NODES)


def _nodes(names: Iterable[str]) -> dict[str, type[Node]]:
    """Return nodes of this package by their names, and all that are loaded."""
    from .node import Node  # noqa: PLC0415 - importing the package loads no node

    found: dict[str, type[Node]] = {name: __getattr__(name) for name in names}  # type: ignore[misc]
    waiting = list(Node.__subclasses__())
    while waiting:
        node = waiting.pop(0)
        waiting.extend(node.__subclasses__())
        if node._declared.does and not node._declared.known_as:
            found[node.__name__] = node
    return found


def find_node(name: str, folder: str = ".") -> type[Node]:
    """Return the node of a name; raise `SettingError` if there is none, with the nearest name.

    A name such as ``openapi:spec.yaml#createImage`` is that of an operation of an API document in a folder.
    """
    from ..errors import SettingError, nearest  # noqa: PLC0415 - loaded where it is needed

    if "#" in name or name.startswith("openapi:"):
        from ..openapi import node_at  # noqa: PLC0415 - loaded where it is used

        return node_at(name, folder)
    nodes = _nodes({name} & NODES.keys())
    if name not in nodes:
        nodes = known_nodes()
        hint = nearest_node(name, nodes) or nearest(name, nodes) or f"; the nodes are {', '.join(nodes)}"
        raise SettingError(f"no node {name!r}{hint}")
    return nodes[name]


def nearest_node(name: str, nodes: Iterable[str] = NODES) -> str:
    """Return a hint for a name that ends as a node's does, such as ``ChatCompletion``, or an empty text."""
    from ..column_names import plainly  # noqa: PLC0415 - loaded where it is needed

    end = plainly(name.rpartition(".")[2])
    alike = [each for each in nodes if plainly(each).endswith(end)] if len(end) >= _WORD else []
    return f"; did you mean {min(alike, key=len)!r}?" if alike else ""
