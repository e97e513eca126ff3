"""OpenAPI documents: nodes made of the operations of an API that a user has a description of."""

from .api_document import ApiDocument, load, node_at

__all__ = ["ApiDocument", "load", "node_at"]
