"""Nodes: what is asked of every row."""

from .declarations import CreateChatCompletion, CreateCompletion
from .node import Node, find_node, known_nodes

__all__ = ["CreateChatCompletion", "CreateCompletion", "Node", "find_node", "known_nodes"]
