"""Dask data frames with a node's columns to their right, and what their workers tell of them."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..errors import SettingError, TableError

if TYPE_CHECKING:
    from ..connection.connection import GivenConnection
    from ..nodes.batch_node import BatchNode
    from ..run.failures import Failed
    from ..run.progress import Progress
    from ..settings import Limits, Retry
    from .mapper import Mapper

_BETWEEN = 1.0  # seconds between two events of a worker
_QUIET = 2.0  # seconds without news after which a part of a table is taken for all that was wanted
_WHERE = "the columns outcome and message say which and why"


def map(  # noqa: A001 - what Dask calls it, too
    ddf: Any,
    node: BatchNode,
    connection: GivenConnection | None = None,
    *,
    limits: Limits | None = None,
    retry: Retry | None = None,
    journal: str | os.PathLike[str] | None = None,
    share: Any = None,
    progress: bool | None = None,
) -> Any:
    """Ask every row of a Dask DataFrame; return it with the columns that the node makes to its right.

    Nothing is sent before it is computed, and without a journal each computation sends every row again: call
    ``persist()`` on it, or write it, where it is used more than once. Where a `distributed.Client` is there, one bar
    shows all workers' rows, and what is to be said of all of them is said once.

    Parameters
    ----------
    ddf : dask.dataframe.DataFrame
        One request a row.
    node : node that sends
        What is asked.
    connection, limits, retry, journal, share
        As in the node's `mapper`.
    progress : bool, optional
        Whether to show a bar, and to say what is to be said. Default: a bar in a terminal or a notebook.

    Returns
    -------
    dask.dataframe.DataFrame

    Raises
    ------
    UsageError
        If the node does not fit the columns, or a key is given as a text; nothing has been sent then.
    """
    from ..run import display  # noqa: PLC0415 - loaded where it is needed

    meta = getattr(ddf, "_meta", None)
    if meta is None or not hasattr(meta, "columns") or not hasattr(ddf, "map_partitions"):
        how = "make one with dask.dataframe.from_pandas(it, npartitions=8)"
        raise TableError(f"a {type(ddf).__name__} is no Dask DataFrame: {how}")
    if not hasattr(node, "mapper"):
        raise SettingError(f"node must be a node that sends, such as CreateChatCompletion, not {type(node).__name__}")
    mapper = node.mapper(connection, limits=limits, retry=retry, journal=journal, share=share)
    plan = mapper.checked(meta)
    topic = f"tablenodes-{secrets.token_hex(8)}"
    if progress is not False:
        display.announce(mapper.__name__, plan, sys.maxsize)
    if (client := _client()) is not None and progress is not False:
        client.subscribe_topic(topic, _Listener(mapper.__name__, ddf.npartitions, progress, client.loop))
    return ddf.map_partitions(_Partition(mapper, topic), meta=mapper.meta_beside(meta))


def _client() -> Any:
    """Return the client of the cluster that computes; None where there is none."""
    distributed = sys.modules.get("distributed")
    try:
        return None if distributed is None else distributed.get_client()
    except ValueError:
        return None


class _Partition:
    """What a worker does with a partition."""

    def __init__(self, mapper: Mapper, topic: str) -> None:
        self._mapper, self._topic = mapper, topic
        self.__name__ = mapper.__name__  # what Dask calls its tasks by

    def __call__(self, frame: Any, partition_info: Any = None) -> Any:
        from .partition_run import Place  # noqa: PLC0415 - loaded where it is needed

        number = partition_info and partition_info["number"]
        with _Reporter(self._topic, number) as reporter:
            made, part = self._mapper.carried_out(frame, lambda run: Place(run, number, reporter))
            reporter.tell(part.outcomes, failures=part.failures, notes=part.notes, is_done=True)
        return made


class _Reporter:
    """Tells the client how far a partition is: drawn by the run as its bar."""

    def __init__(self, topic: str, number: int | None) -> None:
        self._topic, self._number, self._next = topic, number, 0.0
        distributed = sys.modules.get("distributed")
        try:
            self._worker = None if distributed is None else distributed.get_worker()
        except ValueError:
            self._worker = None

    def tell(self, outcomes: dict[str, int], *, is_done: bool = False, **more: Any) -> None:
        """Send an event; what a partition says takes the place of what it said before."""
        if self._worker is not None:
            event = {"number": self._number, "outcomes": outcomes, "is_done": is_done, **more}
            self._worker.log_event(self._topic, event)

    def draw(self, settled: int, ok: int, waits_for: str) -> None:
        """Tell how many rows have ended, once a second."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + _BETWEEN
            self.tell({"ok": ok, "failed": settled - ok})

    def refresh(self) -> None:
        """Do nothing: nobody looks at it."""

    def end(self, line: str) -> None:
        """Do nothing: the end is told with all that is known of it."""

    def __enter__(self) -> _Reporter:
        self.tell({})
        return self

    def __exit__(self, kind: Any, *exception: object) -> None:
        if kind is not None:
            self.tell({}, is_done=True)


class _Listener:
    """Hears what workers tell of one table: shows one bar, and says once what is to be said of all its rows."""

    def __init__(self, name: str, partitions: int, progress: bool | None, loop: Any) -> None:
        self._name, self._partitions, self._progress, self._loop = name, partitions, progress, loop
        self._told: dict[Any, Any] = {}
        self._bar: Progress | None = None
        self._events = 0

    def __call__(self, event: tuple[float, dict[str, Any]]) -> None:
        from ..run.progress import Progress  # noqa: PLC0415 - loaded where it is needed

        _, told = event
        self._events += 1
        self._told[told["number"]] = told
        if self._bar is None:
            self._bar, self._began = Progress(None, self._progress), time.monotonic()
        settled, ok = self._rows()
        done = sum(each["is_done"] for each in self._told.values())
        self._bar.show(settled, ok, f"{done:,} of {self._partitions:,} partitions")
        if done == self._partitions:
            self._end()
        elif done == len(self._told):
            self._loop.call_later(_QUIET, self._end_if_quiet, self._events)

    def _rows(self) -> tuple[int, int]:
        outcomes = self._outcomes()
        return outcomes.total(), outcomes["ok"]

    def _outcomes(self) -> Counter[str]:
        return sum((Counter(each["outcomes"]) for each in self._told.values()), Counter())

    def _end_if_quiet(self, events: int) -> None:
        if self._bar is not None and events == self._events:
            self._end()

    def _end(self) -> None:
        """Put a line in the bar's place, and say why rows failed."""
        from ..run.display import say  # noqa: PLC0415 - loaded where it is needed
        from ..run.summary import Summary, say_failures  # noqa: PLC0415

        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close(*self._rows())
        told = [*self._told.values()]
        summary = Summary.of(self._outcomes(), seconds=time.monotonic() - self._began)
        say_failures(self._name, summary, lambda: _joined(told), progress=self._progress, where=_WHERE)
        for note in dict.fromkeys(note for each in told for note in each.get("notes", ())):
            say(f"{self._name}: {note}")
        self._told.clear()


def _joined(told: list[dict[str, Any]]) -> list[Failed]:
    """Return why rows failed over all partitions, the most first."""
    from ..run.failures import Failed, alike  # noqa: PLC0415 - loaded where it is needed

    found: dict[Any, Failed] = {}
    for each in (Failed(*each) for part in told for each in part.get("failures", ())):
        key = each.outcome, each.status, each.reason, alike(each.message)
        found[key] = each._replace(rows=each.rows + (found[key].rows if key in found else 0))
    return sorted(found.values(), key=lambda each: -each.rows)
