"""Nodes: what is done with every row."""

from .conversations import (
    AddAssistantMessage,
    AddSystemMessage,
    AddToolMessage,
    AddUserMessage,
    AppendReply,
    CreateConversation,
)
from .declarations import CreateChatCompletion, CreateCompletion
from .futures import CreateChatCompletionAsync, CreateCompletionAsync, RetrieveResponse
from .node import Node
from .registry import find_node, known_nodes
from .request import RequestNode
from .returning import Return

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
