"""The output of a run over batches: a stream of Arrow that sends as it is read."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import SettingError, UsageError
from .arrow_stream import ArrowStream
from .reportable import Reportable

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Generator, Mapping

    from ..tables import TableView
    from .batch_table import BatchColumns, BatchTable
    from .failures import Failed
    from .provenance import Provenance
    from .row_sums import RowSums
    from .rows import Requested
    from .summary import Summary


class ResponseBatches(ArrowStream, Reportable):
    """A run that comes in batches of rows, in the table's order: a stream of Arrow record batches, to be read once.

    Rows are sent while it is read: by iterating, by `read_all`, or by whatever takes a stream of Arrow data, such as
    ``pyarrow.RecordBatchReader.from_stream(it)`` and ``polars.DataFrame(it)``. Closed before its end (``with``), it
    sends nothing more, and what is in flight comes to its end.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns and their types, the same in every batch: the configuration's, the answer's, ``status``,
        ``outcome``, ``message``, ``body``, the tokens, ``model`` and ``cost``, and what else `Responses.log` has.
    """

    _provenance: Provenance | None = None  # which node makes it, and how

    def __init__(
        self,
        columns: BatchColumns,
        schema: Any,
        batches: Generator[Any],
        result: Callable[[], tuple[Summary, BatchTable] | None],
        requested: Callable[[TableView], Requested],
    ) -> None:
        self._named, self.schema, self._batches, self._result = columns, schema, batches, result
        self._requests_of = requested

    @property
    def summary(self) -> Summary:
        """The run in numbers, once it is over."""
        return self._ended()[0]

    def report(self, path: str | os.PathLike[str], *, samples: int = 0) -> None:
        """Write a report of the run once it is over; see `Responses.report`.

        Of its rows there are sums: how long attempts took is right to a hundredth part. No rows are shown, as none are
        kept (``samples=0``).
        """
        if samples:
            raise SettingError("samples: a stream keeps no rows: read them where you wrote them", place="samples")
        super().report(path)

    def _reported(self) -> Mapping[str, ResponseBatches]:
        self._ended()
        return {type(self).__name__ if self._provenance is None else self._provenance.node: self}

    def _measured(self) -> RowSums:
        return self._ended()[1].sums

    def _failures(self) -> list[Failed]:
        """Return why rows failed, the most first."""
        return self._ended()[1].failures.listed()

    @cached_property
    def _view(self) -> TableView:
        """The first rows of reasons why rows failed."""
        return self._ended()[1].first_rows

    @cached_property
    def _requested(self) -> Requested:
        return self._requests_of(self._view)

    def _place_of(self, row: int) -> int | None:
        return self._places.get(row)

    @cached_property
    def _places(self) -> dict[int, int]:
        return self._ended()[1].firsts.places

    def _ended(self) -> tuple[Summary, BatchTable]:
        if (made := self._result()) is None:
            raise UsageError("the run is not over: read all batches first, or close it", code="not_over")
        return made
