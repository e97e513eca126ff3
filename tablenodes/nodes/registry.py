"""The nodes that can be used, by their names."""

from __future__ import annotations

from ..errors import SettingError, nearest
from .async_nodes import CreateChatCompletionAsync, CreateCompletionAsync, RetrieveResponse
from .conversation_nodes import (
    AddAssistantMessage,
    AddSystemMessage,
    AddToolMessage,
    AddUserMessage,
    AppendReply,
    CreateConversation,
)
from .declarations import CreateChatCompletion, CreateCompletion
from .node import Node
from .table_node import Return

BUNDLED: tuple[type[Node], ...] = (
    CreateChatCompletion,
    CreateCompletion,
    CreateChatCompletionAsync,
    CreateCompletionAsync,
    RetrieveResponse,
    CreateConversation,
    AddSystemMessage,
    AddUserMessage,
    AddAssistantMessage,
    AddToolMessage,
    AppendReply,
    Return,
)
"""The nodes of this package, in the order in which they are shown."""


def known_nodes() -> dict[str, type[Node]]:
    """Give every node that can be used, by its name: those of this package, then subclasses of yours."""
    found = {node.__name__: node for node in BUNDLED}
    waiting = list(Node.__subclasses__())
    while waiting:
        node = waiting.pop(0)
        waiting.extend(node.__subclasses__())
        if node._declared.does:
            found[node.__name__] = node
    return found


def find_node(name: str) -> type[Node]:
    """Give the node of a name.

    Raises
    ------
    SettingError
        If there is none, with the nearest name.
    """
    nodes = known_nodes()
    if name not in nodes:
        raise SettingError(f"no node {name!r}{nearest(name, nodes) or '; there are ' + ', '.join(nodes)}")
    return nodes[name]
