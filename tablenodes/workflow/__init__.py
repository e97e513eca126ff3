"""Workflows: nodes over one configuration table, in Python and in YAML."""

from .workflow import Workflow

__all__ = ["Workflow"]
