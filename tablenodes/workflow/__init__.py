"""Workflows: nodes over one configuration table, in Python and in YAML."""

from .step import Step
from .workflow import Workflow
from .workflow_output import WorkflowOutput

__all__ = ["Step", "Workflow", "WorkflowOutput"]
