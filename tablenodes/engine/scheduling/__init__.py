"""Scheduling: what is sent when, and what is sent again."""

from .admission import Admission
from .budget import Budget
from .scheduler import Scheduler

__all__ = ["Admission", "Budget", "Scheduler"]
