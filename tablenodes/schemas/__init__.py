"""Schemas: find one, load it, let a body through or say why not."""

from .loading import DEFAULT_REVISION, load, operations, response, revisions, validate
from .schema import Schema

__all__ = ["DEFAULT_REVISION", "Schema", "load", "operations", "response", "revisions", "validate"]
