"""Nodes: what is done with every row."""

from .declarations import CreateChatCompletion, CreateCompletion
from .node import Node, find_node, known_nodes
from .request import RequestNode
from .returning import Return

__all__ = ["CreateChatCompletion", "CreateCompletion", "Node", "RequestNode", "Return", "find_node", "known_nodes"]
