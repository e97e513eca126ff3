"""The output of a run over batches: a stream of Arrow that sends as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .arrow_stream import ArrowStream
from .reportable import ReportableStream
from .summed_rows import SummedUp

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from ..tables import TableView
    from .batch_table import BatchColumns, BatchTable
    from .rows import Requested
    from .summary import Summary


class ResponseBatches(ArrowStream, SummedUp, ReportableStream):
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

    def __init__(
        self,
        columns: BatchColumns,
        schema: Any,
        batches: Generator[Any],
        result: Callable[[], tuple[Summary, BatchTable] | None],
        requested: Callable[[TableView], Requested],
    ) -> None:
        self._named, self.schema, self._batches, self._result = columns, schema, batches, result
        self._requests = requested

    @property
    def summary(self) -> Summary:
        """The run in numbers, once it is over."""
        return self._ended()[0]

    def _reported(self) -> Mapping[str, ResponseBatches]:
        self._ended()
        return {type(self).__name__ if self._provenance is None else self._provenance.node: self}

    def _account(self) -> BatchTable:
        return self._ended()[1]

    def _schema(self) -> Any:
        return self._account().read_schema

    def _requests_of(self, view: TableView) -> Requested:
        return self._requests(view)

    def _ended(self) -> tuple[Summary, BatchTable]:
        if (made := self._result()) is None:
            raise UsageError("the run is not over: read all batches first, or close it", code="not_over")
        return made
