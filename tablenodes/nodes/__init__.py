"""Nodes: what is done with every row."""

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
from .registry import find_node, known_nodes
from .request_node import RequestNode
from .table_node import Return

__all__ = [
    "AddAssistantMessage",
    "AddSystemMessage",
    "AddToolMessage",
    "AddUserMessage",
    "AppendReply",
    "CreateChatCompletion",
    "CreateChatCompletionAsync",
    "CreateCompletion",
    "CreateCompletionAsync",
    "CreateConversation",
    "Node",
    "RequestNode",
    "RetrieveResponse",
    "Return",
    "find_node",
    "known_nodes",
]
