"""A node of a workflow that streams whose rows are handed to a worker: one submission, to which rows are added."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..later.open_submission import HandedRows, OpenSubmission
from ..later.submission import handed_on, prepare
from ..run.table_run import Handed, Making

if TYPE_CHECKING:
    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection
    from ..problems import Rejected
    from ..run.options import RunOptions
    from ..run.rows import Context
    from ..tables import TableView


class StreamSubmission:
    """The submission of a node's rows: some at a time, in the order in which they come to it."""

    def __init__(self, node: Any, connection: Connection, view: TableView, context: Context, options: RunOptions):
        asking, makes = node._asking(context.scope), node._declared.makes
        node._check_sent(context, options)
        connection, plan, options = prepare(asking, view, sys.maxsize, connection, context, options)
        self.plan: BodyPlan = plan
        self.making = Making(
            context.scope, makes, handed_on(view.columns, makes), asking.plan, self._hand, lambda _: None, later=True
        )
        self._submission = OpenSubmission(asking, connection, context, options)
        self._count = 0

    def begin(self) -> None:
        """Prepare for the first rows."""
        self._submission.begin()

    def _hand(self, rows: Iterable[bytes | Rejected], _: Context, __: RunOptions) -> Iterator[Handed]:
        """Yield what became of each row that is handed over."""
        made, submission = [*rows], self._submission
        handed = HandedRows(len(made))
        handed.hand(submission, handed.sendable(made))
        self._count += len(made) - handed.ids.count(None)
        if submission.failure is not None and not self._count:
            raise submission.failure  # a workflow cannot use that table
        submission.start_worker(at_end=False)
        return map(Handed, handed.ids, handed.errors, handed.outcomes)

    def close(self) -> None:
        """See that a worker sends what was handed over."""
        self._submission.start_worker()
        self._submission.close()
        self._submission.say_known(self._count)
