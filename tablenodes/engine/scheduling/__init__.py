"""Scheduling: what is sent when, and what is sent again."""

from .scheduler import Scheduler

__all__ = ["Scheduler"]
