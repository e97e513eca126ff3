"""The output of a workflow's run over batches: a stream of Arrow that sends as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..run.arrow_stream import ArrowStream
from ..run.reportable import ReportableStream
from ..run.summed_rows import SummedUp

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping

    from ..run.account import Account
    from ..run.failures import RowEnd
    from ..run.provenance import Provenance
    from ..run.rows import Requested
    from ..run.summary import Summary
    from ..tables import TableView
    from .stream_table import StreamColumns


class NodeEnd(SummedUp):
    """What became of one node's rows, once the run is over."""

    def __init__(
        self,
        summary: Summary,
        provenance: Provenance,
        account: Account,
        schema: Any,
        requested: Callable[[TableView], Requested] | None,
        skipped: str | None,
    ) -> None:
        self.summary, self._provenance = summary, provenance
        self._own, self._read, self._requests, self._skipped = account, schema, requested, skipped

    def _account(self) -> Account:
        return self._own

    def _schema(self) -> Any:
        return self._read

    def _requests_of(self, view: TableView) -> Requested | None:
        return None if self._requests is None else self._requests(view)

    def _ends(self) -> Iterator[RowEnd]:
        """Yield the end of the first row that was skipped."""
        yield "skipped", None, self._skipped, None, None


class WorkflowBatches(ArrowStream, ReportableStream):
    """A workflow's run that comes in batches of rows, in the table's order: a stream of Arrow, to be read once.

    Rows are sent while it is read: by iterating, by `read_all`, or by whatever takes a stream of Arrow data. Closed
    before its end (``with``), it sends nothing more, and what is in flight comes to its end.

    Attributes
    ----------
    schema : pyarrow.Schema
        The columns and their types, the same in every batch: those of the table that `Workflow.run` writes.
    """

    def __init__(
        self,
        columns: StreamColumns,
        schema: Any,
        batches: Generator[Any],
        result: Callable[[], Mapping[str, NodeEnd] | None],
    ) -> None:
        self._named, self.schema, self._batches, self._result = columns, schema, batches, result

    @property
    def summaries(self) -> dict[str, Summary]:
        """The run in numbers, by node, once it is over."""
        return {name: end.summary for name, end in self._ended().items()}

    def _reported(self) -> Mapping[str, NodeEnd]:
        return self._ended()

    def _ended(self) -> Mapping[str, NodeEnd]:
        if (made := self._result()) is None:
            raise UsageError("the run is not over: read all batches first, or close it", code="not_over")
        return made
