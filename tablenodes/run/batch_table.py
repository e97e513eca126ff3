"""The tables of a stream's batches: the configuration, and all that is known of its answers beside it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import tables
from ..answers import USAGE_TYPES
from ..answers.row_answers import BESIDE
from ..column_names import free_names
from ..engine.sink import Records, SharedEnd
from .account import Account
from .output import LOG_TYPES
from .spending import Spending

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from ..answers import Pricing, RowAnswers
    from ..engine.sink import End
    from ..tables import TableView

SERVER = "server"  # what the column of a log is called that says where a row's last answer is from
_ENDS = dict(zip(BESIDE, ("integer", "text", "text"), strict=True)) | {"body": "text"}
_LOGGED = {name: kind for name, kind in LOG_TYPES.items() if name not in (*_ENDS, *USAGE_TYPES)}


class BatchColumns(NamedTuple):
    """The names of a stream's columns: those of the table, of the raw responses, of usage, of the log."""

    table: tuple[str, ...]
    raw: tuple[str, ...]
    usage: tuple[str, ...]
    log: tuple[str, ...]


class BatchTable(Account):
    """Makes the table of each batch: of the same columns and types, whatever the answers are.

    To the right of the configuration stand the answer's columns, ``status``, ``outcome`` and ``message``, then
    ``body``, what the answer used and cost, and what else a log has. It is the account of the run too. `models` returns
    the models that a batch asks for, where that is known; `in_place_of` are columns of the table that say the same as
    the answers and their ends. Where there are several servers, `served` is set before the first batch to what returns
    which of them has answered the rows at some positions.
    """

    served: Callable[[Sequence[int]], Sequence[Any]]

    def __init__(
        self,
        view: TableView,
        answers: RowAnswers,
        pricing: Pricing,
        models: Callable[[TableView], Sequence[str | None]] | None,
        in_place_of: Sequence[str] = (),
        *,
        has_servers: bool = False,
    ) -> None:
        super().__init__(pricing)
        answers = answers.streamed()
        self._answers, self._pricing, self._models, self._view = answers, pricing, models, view
        types: dict[str, Any] = {**answers.types, **{answers.named(name): kind for name, kind in _ENDS.items()}}
        self._own_server = dict.fromkeys([SERVER] if has_servers else [], "text")
        types |= {**USAGE_TYPES, **_LOGGED, **self._own_server}
        free = dict(zip(types, in_place_of, strict=False))
        free |= free_names([name for name in types if name not in free], view.columns)
        self._types = {free[name]: kind for name, kind in types.items()}
        ends = [free[answers.named(name)] for name in _ENDS]
        known = {name: free[answers.named(name) if name in _ENDS else name] for name in (*USAGE_TYPES, *LOG_TYPES)}
        known |= {name: free[name] for name in self._own_server}
        kept = [name for name in view.columns if name not in in_place_of]
        self.columns = BatchColumns(
            (*kept, *(free[name] for name in answers.types), *ends[:3]),
            (ends[3], ends[0]),
            tuple(known[name] for name in USAGE_TYPES),
            tuple(known[name] for name in (*LOG_TYPES, *self._own_server)),
        )

    def price(self, pricing: Pricing) -> None:
        """Have the batches that follow priced in this way."""
        self._pricing = pricing

    @property
    def read_schema(self) -> Any:
        """The schema of the table that is read."""
        return self._view.table.schema

    def empty(self) -> Any:
        """Return the table of no rows, of a table that has none itself: it has the columns and types of all others."""
        answered = self._answers.columns((), ())
        return self._table(self._view, Records(0), Spending((), (), self._pricing), answered)

    def __call__(self, view: TableView, records: Records, start: int, left_out: Collection[int] = ()) -> Any:
        """Return the table of a batch whose first row is at `start`; rows that are left out end later."""
        return self._made(view, records, range(start, start + len(records)), left_out)

    def _made(self, view: TableView, records: Records, rows: Sequence[int], left_out: Collection[int] = ()) -> Any:
        answered, used = self._answers.with_usage(records.body, records.outcome)
        for row in records.shared:  # which have not paid for it
            for values in used.values():
                values[row] = None
        models = None if self._models is None else partial(self._models, view)
        spending = Spending(paid_bodies(records), records.reused, self._pricing, models, self.taken(), used)
        self.add(view, records, spending, rows, left_out)
        return self._table(view, records, spending, answered, rows)

    def patched(self, table: Any, late: dict[int, End], start: int) -> Any:
        """Return the table with the ends of rows that were left out of it."""
        rows = sorted(late)
        view = tables.view(table.select([*self._view.columns]).take(rows))
        records = Records(len(rows))
        for at, row in enumerate(rows):
            records.accept(at, late[row])
        records.finish(None)
        records.shared = {at: at for at, row in enumerate(rows) if type(late[row]) is SharedEnd}
        return tables.patched(table, rows, self._made(view, records, [start + row for row in rows]))

    def _table(
        self,
        view: TableView,
        records: Records,
        spending: Spending,
        answered: Mapping[str, Sequence[Any]],
        rows: Sequence[int] = (),
    ) -> Any:
        told = [None if outcome == "ok" else why for outcome, why in zip(records.outcome, records.message, strict=True)]
        used = {**spending.columns, "cost": spending.cost}
        ends = (*answered.values(), records.status, records.outcome, told, records.body)
        values = (*ends, *(used[name] for name in USAGE_TYPES), *(getattr(records, name) for name in _LOGGED))
        servers = [self.served(rows) if rows else []] if self._own_server else []
        return view.replacing(dict(zip(self._types, (*values, *servers), strict=True)), self._types)


def paid_bodies(records: Records) -> Any:
    """Return the bodies that were paid for: not those of rows that share another one's."""
    shared, bodies = records.shared, records.body
    return [None if row in shared else body for row, body in enumerate(bodies)] if shared else bodies
