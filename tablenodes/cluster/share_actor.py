"""The actor of a share: a ledger on a Dask cluster, which its workers lease from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import SettingError, StoreError
from .share_ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.scheduling.lease import Lease, Report
    from ..settings import Limits

_PATIENCE = 10.0  # seconds that a lease is waited for


class ShareActor:
    """Keeps a ledger of limits in one of a cluster's workers."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._ledger = limits, Ledger()

    def renew(self, report: Report) -> Lease:
        """Return a process's next lease, for what it reports."""
        return self._ledger.renew(report, self._limits, time.monotonic())


@dataclass(frozen=True)
class ActorHandle:
    """The handle of an actor, which travels with whatever is sent to the cluster."""

    actor: Any

    @property
    def renew(self) -> Callable[[Report], Lease]:
        """What returns a process's next lease, for what it reports.

        A worker finds the actor only in the thread of a task; what it has found may be called in any.
        """
        try:
            return partial(_renewed, self.actor.renew)
        except Exception as error:
            raise _lost(error) from error


def _renewed(ask: Callable[[Report], Any], report: Report) -> Lease:
    try:
        lease: Lease = ask(report).result(timeout=_PATIENCE)
    except Exception as error:
        raise _lost(error) from error
    return lease


def _lost(error: Exception) -> StoreError:
    told = f"the share's actor cannot be asked ({type(error).__name__}): its worker may have ended"
    return StoreError(told, code="actor")


def acting(limits: Limits, client: Any) -> ActorHandle:
    """Return the handle of a new actor on a Dask cluster."""
    if not hasattr(client, "submit"):
        raise SettingError(f"client must be a distributed.Client, not {type(client).__name__}", place="client")
    return ActorHandle(client.submit(ShareActor, limits, actor=True, pure=False).result())
