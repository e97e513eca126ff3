"""Workflows: nodes over one configuration table, in Python and in YAML."""

from .workflow import Workflow
from .workflow_output import WorkflowOutput

__all__ = ["Workflow", "WorkflowOutput"]
