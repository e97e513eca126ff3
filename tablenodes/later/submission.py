"""How a node's requests are put into the store, to be sent by a worker and retrieved later."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import orjson

from .. import tables
from ..bodies.body_plan import BodyPlan
from ..connection.connection import Connection
from ..engine.calls import Request
from ..engine.journal import Keys
from ..engine.sink import NOT_SENT, SUBMITTED
from ..engine.transports.streams import STREAMED
from ..errors import Interrupted, SettingError, StoreError
from ..problems import Rejected
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
from .lock import ensure_worker
from .replaced_file import set_aside
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
        # Without a name of its own, what a journal is kept for is known by the node and its rows alone.
        self._is_named = options.submission is not None or options.journal is not None
        self._submission = _digest(options.submission) if options.submission is not None else ""
        self._asked = hashlib.sha256(asking.path.encode())
        self._about = Submission(secrets.token_bytes(8), _text(options.submission), "", None, time.time())
        self._known = 0
        self._key = ""
        self._ids: list[str | None] = [None] * len(view)
        self._errors: list[str | None] = [None] * len(view)
        self._outcomes = [NOT_SENT] * len(view)
        self._failure: StoreError | None = None

    def carry_out(self, plan: BodyPlan, connection: Connection, context: Context) -> NodeOutput[Any]:
        began = time.monotonic()
        with self._store:
            interrupted = self._handed_over(plan, connection, context)
            if self._failure is not None and context.scope and not any(self._ids):  # a workflow cannot use that table
                raise self._failure
            output = self._output(context, time.monotonic() - began)
            if self._how.progress is not False:
                self._say_known(output.summary.submitted)
        if interrupted:
            accepted = f"{output.summary.submitted:,} of {output.summary.rows:,} rows were submitted"
            raise Interrupted(f"interrupted: {accepted}", output, output_has="their ids")
        say_failures(self._asking.name, output.summary, output._ends(), progress=self._how.progress)
        return output

    def _handed_over(self, plan: BodyPlan, connection: Connection, context: Context) -> bool:
        """Store the rows and see that a worker sends them; return whether it was interrupted."""
        travelling: Travelling | None = None
        interrupted = False
        try:
            travelling = Travelling(connection, self._salt())
            self._asked.update(str(travelling.recipe.get("base_url")).encode())
            path = context.output and os.path.abspath(context.output)
            self._about = self._about._replace(node=context.scope or self._asking.name, output=path)
            if context.replaced:
                self._keep_replaced(plan, context, travelling)
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
        return interrupted

    def _say_known(self, submitted: int) -> None:
        """Say that rows were submitted before, and whether they keep their ids."""
        name = self._asking.name
        if self._known:
            new = submitted - self._known
            display.say(f"{name}: {self._known:,} of {submitted:,} rows submitted before, submitting {new:,}")
        about = self._about._replace(digest=self._asked.digest())
        with suppress(StoreError):
            if not self._is_named and submitted and self._futures.equal(about) is not None:
                display.say(
                    f"{name}: the same rows were submitted before, and are sent again. With a name "
                    "(submission) rows keep their ids from then on; tablenodes store --ids lists the earlier ones."
                )

    def _salt(self) -> bytes:
        try:
            return self._futures.salt()
        except StoreError as error:
            self._failure = error
            return b""

    def _keep_replaced(self, plan: BodyPlan, context: Context, travelling: Travelling) -> None:
        """Keep the file that the output replaces where its ids would be lost; if nobody asked, raise `SettingError`."""
        keys = self._keys(travelling, context)
        bodies = (body for body in prepared(plan, self._view, context) if not isinstance(body, Rejected))
        names = [] if keys is None else [_name(keys, body) for body in bodies]
        lost = len(context.replaced - self._futures.ids_of(names))
        if lost and self._how.replace:
            set_aside(str(context.output))
        elif lost:
            file = os.path.basename(context.output or "")
            raise SettingError(
                f"{context.output} has {counted(lost, 'id')} of submitted rows that these are not, and that would be "
                "in no file any more; nothing was submitted. Choose another output, or let it be replaced (replace): "
                f"the earlier file is kept as {file}.before",
                place="replace",
            )

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
        names = None if keys is None else [_name(keys, body) for body in bodies]
        for body in bodies:
            self._asked.update(len(body).to_bytes(8) + body)
        now = time.time()
        if some and self._failure is None:
            try:
                recipe = self._recipe(travelling, once, stream=any(STREAMED in body for body in bodies))
                about = self._about._replace(digest=self._asked.digest())
                ids, known = self._futures.submit(recipe, bodies, now, now + self._deadline, names, about)
            except StoreError as error:
                self._failure = error
            else:
                self._known += known
                self._key = key_of(recipe)
                for (row, _), future_id in zip(some, ids, strict=True):
                    self._ids[row] = future_id
                    self._outcomes[row] = SUBMITTED
        if self._failure is not None:
            for row, _ in some:
                self._fail(row, NOT_SENT, str(self._failure))

    def _fail(self, row: int, outcome: str, message: str) -> None:
        self._outcomes[row] = outcome
        self._errors[row] = message

    def _keys(self, travelling: Travelling, context: Context) -> Keys | None:
        """Return what names the rows, as a journal would: by all that is asked, and which of the equal rows it is."""
        if not self._is_named:
            return None
        where = {name: travelling.recipe.get(name) for name in ("base_url", "query", "local")}
        scope = orjson.dumps([self._submission, context.scope, where], option=orjson.OPT_SORT_KEYS).decode()
        return Keys(Request("POST", self._asking.path, ()), scope)

    def _once(self) -> str | None:
        """Return what keeps limits over all rows to those of this submission; None where there are none."""
        if self._how.limits.max_requests is None and self._how.limits.token_budget is None:
            return None
        place = self._how.submission or (self._how.journal and os.path.abspath(self._how.journal))
        return secrets.token_hex(8) if place is None else _digest(place)[:16]

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


def _name(keys: Keys, body: bytes) -> bytes:
    """Return the name of a row, in the order of the table."""
    digest, occurrence = keys.key(body)
    return digest + occurrence.to_bytes(8)


def _text(name: str | os.PathLike[str] | None) -> str | None:
    return None if name is None else os.fsdecode(name)


def _digest(name: str | os.PathLike[str]) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()


class Submitted(NodeOutput[Any]):
    """The ids of what was submitted; its two branches have them, or the errors, beside the configuration."""

    def _rows(self, *, ok: bool) -> Any:
        rows = [i for i, outcome in enumerate(self._outcomes) if (outcome == SUBMITTED) == ok]
        return tables.view(self.table).take(rows)
