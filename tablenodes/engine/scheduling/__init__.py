"""Scheduling: what is sent when, and what is sent again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .admission import Admission
from .budget import Budget, Budgets
from .scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...settings import Limits, Retry
    from .lease import Rate

__all__ = ["Admission", "Budget", "Budgets", "Scheduler", "admission_for", "scheduler_for"]


def admission_for(servers: int, limits: Limits, retry: Retry, learned: Rate | None = None) -> Admission:
    """Return what stands between rows and their calls, for so many servers."""
    if servers == 1:
        return Admission(limits, retry, learned)
    from .fleet_member import FleetAdmission  # noqa: PLC0415 - most have one server

    return FleetAdmission(servers, limits, retry, learned)


def scheduler_for(
    servers: int,
    limits: Limits,
    retry: Retry,
    *,
    seconds_left: Callable[[int], float] | None = None,
    **options: Any,
) -> Scheduler:
    """Return what decides for the rows of a run over so many servers."""
    if servers == 1:
        return Scheduler(limits, retry, seconds_left=seconds_left, **options)
    from .fleet import Fleet  # noqa: PLC0415 - most have one server

    return Fleet(servers, limits, retry, seconds_left=seconds_left, **options)
