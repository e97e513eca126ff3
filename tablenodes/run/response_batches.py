"""The output of a run over batches: a stream of Arrow that sends as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .arrow_stream import ArrowStream

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .batch_table import BatchColumns
    from .failures import Failed, Failures
    from .provenance import Provenance
    from .summary import Summary


class ResponseBatches(ArrowStream):
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
        result: Callable[[], tuple[Summary, Failures] | None],
    ) -> None:
        self._named, self.schema, self._batches, self._result = columns, schema, batches, result

    @property
    def summary(self) -> Summary:
        """The run in numbers, once it is over."""
        return self._ended()[0]

    def _failures(self) -> list[Failed]:
        """Return why rows failed, the most first."""
        return self._ended()[1].listed()

    def _ended(self) -> tuple[Summary, Failures]:
        if (made := self._result()) is None:
            raise UsageError("the run is not over: read all batches first, or close it", code="not_over")
        return made
