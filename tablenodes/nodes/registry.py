"""The nodes that can be used, by their names: a new node is one line here."""

from __future__ import annotations

TYPE_CHECKING = False  # the package's own names come from here, and typing is loaded only where it is needed
if TYPE_CHECKING:
    from .node import Node

NODES = {
    "CreateChatCompletion": "declarations",
    "CreateCompletion": "declarations",
    "CreateChatCompletionAsync": "async_nodes",
    "CreateCompletionAsync": "async_nodes",
    "RetrieveResponse": "async_nodes",
    "CreateConversation": "conversation_nodes",
    "AddSystemMessage": "conversation_nodes",
    "AddUserMessage": "conversation_nodes",
    "AddAssistantMessage": "conversation_nodes",
    "AddToolMessage": "conversation_nodes",
    "AppendReply": "conversation_nodes",
    "Return": "table_node",
}
"""The nodes of this package and their modules, in the order in which they are shown."""


def known_nodes() -> dict[str, type[Node]]:
    """Return every node that can be used, by its name: those of this package, then subclasses of yours."""
    from importlib import import_module  # noqa: PLC0415 - importing the package loads no node

    from .node import Node  # noqa: PLC0415

    found: dict[str, type[Node]] = {
        name: getattr(import_module(f".{module}", __package__), name) for name, module in NODES.items()
    }
    waiting = list(Node.__subclasses__())
    while waiting:
        node = waiting.pop(0)
        waiting.extend(node.__subclasses__())
        if node._declared.does:
            found[node.__name__] = node
    return found


def find_node(name: str) -> type[Node]:
    """Return the node of a name; raise `SettingError` if there is none, with the nearest name."""
    from ..errors import SettingError, nearest  # noqa: PLC0415 - loaded where it is needed

    nodes = known_nodes()
    if name not in nodes:
        raise SettingError(f"no node {name!r}{nearest(name, nodes) or '; the nodes are ' + ', '.join(nodes)}")
    return nodes[name]
