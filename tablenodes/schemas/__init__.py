"""Schemas: find one, load it, let a body through or say why not."""

from .schema import Schema
from .schema_source import DEFAULT_REVISION, copied, load, operations, response, revisions, validate

__all__ = ["DEFAULT_REVISION", "Schema", "copied", "load", "operations", "response", "revisions", "validate"]
