"""How a node's requests are put into the store, to be sent by a worker and retrieved later."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import orjson

from .. import tables
from ..bodies.body_plan import BodyPlan
from ..connection.connection import Connection
from ..engine.sink import NOT_SENT, SUBMITTED
from ..engine.transports.streams import STREAMED
from ..errors import Interrupted, SettingError, StoreError
from ..problems import Rejected, Remark
from ..run import display
from ..run.check import check_rows, refuse_invalid
from ..run.cost_limit import refuse_later
from ..run.display import counted
from ..run.options import RunOptions, checked, over
from ..run.output import NodeOutput
from ..run.rows import Asking, Context, PlanInputs, prepared
from ..run.summary import Summary, say_failures
from ..store import StoreFile
from ..store.futures import Futures
from ..store.recipe_keys import key_of
from ..store.submissions import Submission
from ..tables import TableView
from .identity import Identity
from .lock import ensure_worker
from .replaced_file import place_beside, set_aside
from .stored_connection import VERSION, StoredConnection

_ROWS = 10_000  # that go into one transaction at most
_BYTES = 32 * 2**20  # of bodies that go into one transaction, or are kept from a first look
_Recipe = Callable[[bool], str]  # whether an answer comes as a stream -> how the rows are asked


def submit(
    asking: Asking,
    makes: Mapping[str, str],
    table: Any,
    connection: Connection | None,
    context: Context,
    options: RunOptions,
) -> NodeOutput[Any]:
    """Store every row and return the ids under which the answers will be found, in columns `makes`."""
    given, connection = connection, checked(connection)
    options = over(connection.profile, options)
    view = tables.view(table).held()
    plan = asking.plan(
        view.columns,
        PlanInputs(
            context.constants,
            connection,
            options.store,
            options.limits.body_bytes,
            folder=context.folder or view.folder,
        ),
    )
    if options.progress is not False:
        if given is None:
            display.announce_default(connection)
        display.announce(asking.name, plan, len(view))
    if options.limits.max_cost is not None:
        refuse_later()
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    return _Submission(asking, plan, view, context, options).carry_out(makes, connection)


class _Submission:
    """Rows on their way into the store, and what became of each."""

    def __init__(self, asking: Asking, plan: BodyPlan, view: TableView, context: Context, options: RunOptions) -> None:
        self._asking, self._plan, self._view = asking, plan, view
        self._context, self._options = context, options
        self._store = StoreFile(options.store)
        self._futures = Futures(self._store)
        self._key: str | None = None  # that the rows are sent with, once some are in the store
        self._known = 0
        self._ids: list[str | None] = [None] * len(view)
        self._errors: list[str | None] = [None] * len(view)
        self._outcomes = [NOT_SENT] * len(view)
        self._failure: StoreError | None = None

    def carry_out(self, makes: Mapping[str, str], connection: Connection) -> NodeOutput[Any]:
        """Store the rows, see that a worker sends them, and return their ids."""
        began = time.monotonic()
        with self._store:
            identity, interrupted = self._handed_over(connection)
            if self._failure is not None and self._context.scope and not any(self._ids):
                raise self._failure  # a workflow cannot use that table
            output = self._output(makes, time.monotonic() - began)
        if self._known and self._options.progress is not False:
            display.say(self._said_of_known(output.summary.submitted, keeps=identity is None or identity.keeps))
        if interrupted:
            accepted = f"{output.summary.submitted:,} of {output.summary.rows:,} rows were submitted"
            raise Interrupted(f"interrupted: {accepted}", output, output_has="their ids")
        say_failures(self._asking.name, output.summary, output._failures, progress=self._options.progress)
        return output

    def _handed_over(self, connection: Connection) -> tuple[Identity | None, bool]:
        """Store the rows and see that a worker sends them; return what they are known by, and if it was interrupted."""
        stored: StoredConnection | None = None
        identity: Identity | None = None
        interrupted = False
        try:
            stored = StoredConnection(connection, self._salt())
            identity = Identity(self._asking.path, stored.recipe, self._context, self._options)
            self._put_all(stored, identity)
        except KeyboardInterrupt:  # what was accepted has its ids
            interrupted = True
        if stored is not None and self._key is not None:
            try:
                ensure_worker(self._store.path, self._key, stored.secrets)
            except StoreError as error:
                display.say(f"{error}; the rows are in the store, and a retrieval tries again")
            except KeyboardInterrupt:
                interrupted = True
        return identity, interrupted

    def _said_of_known(self, submitted: int, *, keeps: bool) -> Remark:
        """Return what is said of rows that were submitted before."""
        name, known = self._asking.name, f"{self._known:,} of {counted(submitted, 'row')}"
        if keeps:
            return Remark(f"{name}: {known} submitted before, submitting {submitted - self._known:,}")
        return Remark(
            f"{name}: {known} submitted before, and sent again. With a name (submission=) rows keep their ids from "
            "then on; tablenodes store --ids lists the earlier ones.",
            code="submitted_again",
            values={"name": name, "known": known},
        )

    def _salt(self) -> bytes:
        try:
            return self._futures.salt()
        except StoreError as error:
            self._failure = error
            return b""

    def _put_all(self, stored: StoredConnection, identity: Identity) -> None:
        bodies = self._bodies()
        earlier = frozenset[bytes]()
        if self._context.replaced or identity.is_kept_by_rows:
            bodies, names = self._looked_over(bodies, identity)
            earlier = frozenset(self._futures.ids_of(names)) if identity.keeps else earlier
        if lost := self._context.replaced - earlier:
            self._keep_replaced(lost)
        recipe, name = self._recipe(stored, identity.pool(self._futures, earlier)), identity.naming()
        path = None if self._context.output is None else os.path.abspath(self._context.output)
        about = Submission(secrets.token_bytes(8), identity.name, self._node, path, time.time())
        for some in _in_parts(bodies):
            self._put(some, [name(body) for _, body in some], recipe, about, keeps=identity.keeps)

    def _bodies(self) -> Iterator[tuple[int, bytes]]:
        """Yield each row that can be sent and its body; the others have their ends."""
        for row, body in enumerate(prepared(self._plan, self._view, self._context)):
            if isinstance(body, Rejected):
                problem = body.problem
                self._fail(row, body.outcome, f"{problem.path}: {problem.message}")
            else:
                yield row, body

    def _looked_over(
        self, bodies: Iterator[tuple[int, bytes]], identity: Identity
    ) -> tuple[Iterator[tuple[int, bytes]], list[bytes]]:
        """Return the same rows, and the names of all; they are made a second time where they are too many to keep."""
        name, kept, size = identity.naming(), list[tuple[int, bytes]](), 0
        names = []
        for row, body in bodies:
            names.append(name(body))
            size += len(body)
            if size <= _BYTES:
                kept.append((row, body))
        return iter(kept) if size <= _BYTES else self._bodies(), names

    def _keep_replaced(self, lost: frozenset[bytes]) -> None:
        """Keep the file that the output replaces, whose ids would be lost; if nobody asked, raise `SettingError`."""
        path = str(self._context.output)
        if self._options.replace:
            set_aside(path)
            return
        ids, beside = counted(len(lost), "id"), place_beside(path)[0].name
        if is_foreign := not self._futures.find(lost):
            whose = f"that the store {self._store.path} does not have"
            way = "Name the store that has them (store), or choose another output"
        else:
            whose, way = "of other rows, which would be in no file any more", "Choose another output"
        raise SettingError(
            f"{path} has {ids} {whose}; nothing was submitted. {way}; or keep the file as {beside} (replace=True)",
            code="ids_elsewhere" if is_foreign else "ids_lost",
            place="replace",
            values={"path": path, "ids": ids, "file": self._store.path, "beside": beside},
        )

    def _put(
        self, some: list[tuple[int, bytes]], names: list[bytes], recipe: _Recipe, about: Submission, *, keeps: bool
    ) -> None:
        """Store some rows, all of them or none."""
        bodies = [body for _, body in some]
        now = time.time()
        if self._failure is None:
            try:
                how = recipe(any(STREAMED in body for body in bodies))
                made = self._futures.submit(how, bodies, now, now + self._options.deadline, names, about, keeps=keeps)
            except StoreError as error:
                self._failure = error
            else:
                self._known += made.known
                self._key = key_of(how)
                for (row, _), future_id in zip(some, made.ids, strict=True):
                    self._ids[row] = future_id
                    self._outcomes[row] = SUBMITTED
        if self._failure is not None:
            for row, _ in some:
                self._fail(row, NOT_SENT, str(self._failure))

    def _fail(self, row: int, outcome: str, message: str) -> None:
        self._outcomes[row] = outcome
        self._errors[row] = message

    @property
    def _node(self) -> str:
        return self._context.scope or self._asking.name

    def _recipe(self, stored: StoredConnection, pool: str | None) -> _Recipe:
        """Return how the rows are asked; rows that are asked alike share the server's allowance and its refusals."""
        recipe = {
            "version": VERSION,
            "connection": stored.recipe,
            "method": "POST",
            "path": self._asking.path,
            "choices": self._asking.choices,
            "total": self._asking.seconds,
            "limits": asdict(self._options.limits),
            "retry": asdict(self._options.retry),
            "once": pool,
        }

        def streamed(is_streamed: bool) -> str:
            made = recipe | {"stream": is_streamed}
            return orjson.dumps(made, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()

        return streamed

    def _output(self, makes: Mapping[str, str], seconds: float) -> NodeOutput[Any]:
        columns = dict(zip(makes, (self._ids, self._errors), strict=True))
        summary = Summary.of(Counter(self._outcomes), seconds=seconds)
        found = next(iter(makes))
        # Where the id is there, the table is one of ours, and what else it says of it is of no use any more.
        handed_on = {*makes} if found in self._view.columns else {found, *self._context.made}
        return Submitted(self._view, columns, makes, self._outcomes, self._errors, summary, handed_on)


def _in_parts(bodies: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Yield rows in parts that go into one transaction each."""
    some, size = list[tuple[int, bytes]](), 0
    for each in bodies:
        some.append(each)
        size += len(each[1])
        if len(some) >= _ROWS or size >= _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


class Submitted(NodeOutput[Any]):
    """The ids of what was submitted; its two branches have them, or the errors, beside the configuration."""

    def _rows(self, *, ok: bool) -> Any:
        rows = [i for i, outcome in enumerate(self._outcomes) if (outcome == SUBMITTED) == ok]
        return tables.view(self.table).take(rows)
