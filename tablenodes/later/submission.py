"""How a node's requests are put into the store, to be sent by a worker and retrieved later."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from .. import tables
from ..bodies.body_plan import BodyPlan
from ..connection.connection import Connection
from ..engine.calls import Request
from ..engine.journal import Keys
from ..engine.sink import NOT_SENT, OK
from ..engine.transports.streams import STREAMED
from ..errors import Interrupted, StoreError
from ..problems import Rejected
from ..run import display
from ..run.check import check_rows, refuse_invalid
from ..run.cost_limit import refuse_later
from ..run.options import RunOptions, checked
from ..run.output import NodeOutput
from ..run.rows import Asking, Context, PlanInputs, prepared
from ..run.summary import Summary, say_failures
from ..store import StoreFile
from ..store.futures import Futures
from ..store.recipe_keys import key_of
from ..tables import TableView
from .lock import ensure_worker
from .stored_connection import VERSION, Travelling

_ROWS = 10_000  # that go into one transaction at most
_BYTES = 32 * 2**20  # of bodies that go into one transaction


def submit(
    asking: Asking,
    makes: Mapping[str, str],
    table: Any,
    connection: Connection | None,
    context: Context,
    options: RunOptions,
) -> NodeOutput[Any]:
    """Store every row and return the ids under which the answers will be found, in columns `makes`."""
    connection = checked(connection)
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
        display.announce(asking.name, plan)
    if options.limits.max_cost is not None:
        refuse_later()
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    return _Submission(asking, makes, view, options).carry_out(plan, connection, context)


class _Submission:
    def __init__(self, asking: Asking, makes: Mapping[str, str], view: TableView, options: RunOptions) -> None:
        self._asking = asking
        self._makes = makes
        self._view = view
        self._how = options
        self._store = StoreFile(options.store)
        self._futures = Futures(self._store)
        self._deadline = options.deadline
        name = options.submission
        self._submission = None if name is None else hashlib.sha256(os.fsencode(name)).hexdigest()
        self._known = 0
        self._key = ""
        self._ids: list[str | None] = [None] * len(view)
        self._errors: list[str | None] = [None] * len(view)
        self._outcomes = [NOT_SENT] * len(view)
        self._failure: StoreError | None = None

    def carry_out(self, plan: BodyPlan, connection: Connection, context: Context) -> NodeOutput[Any]:
        began = time.monotonic()
        travelling: Travelling | None = None
        interrupted = False
        with self._store:
            try:
                travelling = Travelling(connection, self._salt())
                self._put_all(plan, context, travelling)
            except KeyboardInterrupt:  # what was accepted has its ids
                interrupted = True
            if travelling is not None and any(self._ids):
                try:
                    ensure_worker(self._store.path, self._key, travelling.secrets)
                except StoreError as error:
                    display.say(f"{error}; the rows are in the store, and a retrieval tries again")
                except KeyboardInterrupt:
                    interrupted = True
        if self._failure is not None and context.scope and not any(self._ids):  # a workflow has no use for that table
            raise self._failure
        output = self._output(context, time.monotonic() - began)
        if self._known and self._how.progress is not False:
            new = output.summary.ok - self._known
            name = self._asking.name
            display.say(f"{name}: {self._known:,} of {output.summary.ok:,} rows submitted before, submitting {new:,}")
        if interrupted:
            accepted = f"{output.summary.ok:,} of {output.summary.rows:,} rows were submitted"
            raise Interrupted(f"interrupted: {accepted}", output, output_has="their ids")
        say_failures(self._asking.name, output.summary, output._ends(), progress=self._how.progress)
        return output

    def _salt(self) -> bytes:
        try:
            return self._futures.salt()
        except StoreError as error:
            self._failure = error
            return b""

    def _put_all(self, plan: BodyPlan, context: Context, travelling: Travelling) -> None:
        some: list[tuple[int, bytes]] = []
        size = 0
        keys = self._keys(travelling, context)
        once = self._once()
        for row, body in enumerate(prepared(plan, self._view, context)):
            if isinstance(body, Rejected):
                problem = body.problem
                self._fail(row, body.outcome, f"{problem.path}: {problem.message}")
                continue
            some.append((row, body))
            size += len(body)
            if len(some) >= _ROWS or size >= _BYTES:
                self._put(some, travelling, once, keys)
                some, size = [], 0
        self._put(some, travelling, once, keys)

    def _put(self, some: list[tuple[int, bytes]], travelling: Travelling, once: str | None, keys: Keys | None) -> None:
        """Store some rows, all of them or none."""
        bodies = [body for _, body in some]
        named = None if keys is None else map(keys.key, bodies)
        names = None if named is None else [key.digest + key.occurrence.to_bytes(8) for key in named]
        now = time.time()
        if some and self._failure is None:
            try:
                recipe = self._recipe(travelling, once, stream=any(STREAMED in body for body in bodies))
                ids, known = self._futures.submit(recipe, bodies, now, now + self._deadline, names)
            except StoreError as error:
                self._failure = error
            else:
                self._known += known
                self._key = key_of(recipe)
                for (row, _), future_id in zip(some, ids, strict=True):
                    self._ids[row] = future_id
                    self._outcomes[row] = OK
        if self._failure is not None:
            for row, _ in some:
                self._fail(row, NOT_SENT, str(self._failure))

    def _fail(self, row: int, outcome: str, message: str) -> None:
        self._outcomes[row] = outcome
        self._errors[row] = message

    def _keys(self, travelling: Travelling, context: Context) -> Keys | None:
        """Return what names the rows, as a journal would: by all that is asked, and which of the equal rows it is."""
        if self._submission is None:
            return None
        where = {name: travelling.recipe.get(name) for name in ("base_url", "query", "local")}
        scope = orjson.dumps([self._submission, context.scope, where], option=orjson.OPT_SORT_KEYS).decode()
        return Keys(Request("POST", self._asking.path, ()), scope)

    def _once(self) -> str | None:
        """Return what keeps limits over all rows to those of this submission; None where there are none."""
        if self._how.limits.max_requests is None and self._how.limits.token_budget is None:
            return None
        return secrets.token_hex(8) if self._submission is None else self._submission[:16]

    def _recipe(self, travelling: Travelling, once: str | None, *, stream: bool) -> str:
        """Return how the rows are asked; rows that are asked alike share the server's allowance and its refusals."""
        recipe = {
            "version": VERSION,
            "connection": travelling.recipe,
            "method": "POST",
            "path": self._asking.path,
            "choices": self._asking.choices,
            "stream": stream,
            "total": self._asking.seconds,
            "limits": asdict(self._how.limits),
            "retry": asdict(self._how.retry),
            "once": once,
        }
        return orjson.dumps(recipe, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()

    def _output(self, context: Context, seconds: float) -> NodeOutput[Any]:
        makes = self._makes
        columns = dict(zip(makes, (self._ids, self._errors), strict=True))
        summary = Summary.of(Counter(self._outcomes), seconds=seconds)
        found = next(iter(makes))
        # Where the id is there, the table is one of ours, and what else it says of it is of no use any more.
        handed_on = {*makes} if found in self._view.columns else {found, *context.made}
        return Submitted(self._view, columns, makes, self._outcomes, self._errors, summary, handed_on)


class Submitted(NodeOutput[Any]):
    """The ids of what was submitted; its two branches have them, or the errors, beside the configuration."""

    def _rows(self, *, ok: bool) -> Any:
        rows = [i for i, outcome in enumerate(self._outcomes) if (outcome == OK) == ok]
        return tables.view(self.table).take(rows)
