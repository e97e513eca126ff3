"""One limit for many processes: a rate, places, requests, tokens and money that all of them share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..errors import SettingError
from ..settings import Limits
from .share_actor import ActorHandle, acting
from .share_file import ShareFile

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.scheduling.lease import Lease, Report


class Share:
    """Limits that all processes of a cluster, or of a machine, keep together; give it to a node's `mapper`.

    Each process is leased a part of them for the next quarter of a second, by what it uses: of `concurrency` and of
    the paces at any time, of `max_requests`, `token_budget` and `max_cost` in all. The rate that a server serves is
    learned by all of them together, and a pause that it asks of one is kept by all. What a process had been granted
    that ended without a word stays counted. A share may be pickled: it travels as the name of its file, or the handle
    of its actor.

    Parameters
    ----------
    limits : Limits
        What all processes together may use. Requests and money count from the making of the share on.
    client : distributed.Client, optional
        A Dask cluster, on which an actor keeps the share. By default a file does, for the processes of this machine.
    path : path, optional
        Where that file is, if others are to find it: they make a `Share` of the same limits and path. By default a
        file in the folder of temporary files, which goes with this object.

    Raises
    ------
    SettingError
        If these are no limits, or the file keeps other ones.
    StoreError
        If the file cannot be used.
    """

    def __init__(self, limits: Limits, client: Any = None, *, path: str | os.PathLike[str] | None = None) -> None:
        if not isinstance(limits, Limits):
            raise SettingError(f"limits must be a Limits, not {type(limits).__name__}", place="limits")
        if client is not None and path is not None:
            raise SettingError("client= and path= both say who keeps the share: leave one out", place="path")
        self._limits = limits
        self._keeper: ShareFile | ActorHandle = ShareFile(limits, path) if client is None else acting(limits, client)

    @property
    def limits(self) -> Limits:
        """The limits of all together."""
        return self._limits

    @property
    def renew(self) -> Callable[[Report], Lease]:
        """What returns a process's next lease, for what it reports; to be found in the process's own thread."""
        return self._keeper.renew

    def __reduce__(self) -> tuple[Callable[..., Share], tuple[Any, ...]]:
        return _restored, (self._limits, self._keeper)

    def __repr__(self) -> str:
        return f"Share({self._limits!r})"


def _restored(limits: Limits, keeper: Any) -> Share:
    made = Share.__new__(Share)
    made._limits, made._keeper = limits, keeper  # noqa: SLF001 - it is ours
    return made
