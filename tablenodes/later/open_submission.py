"""A submission that rows are added to, in their order, until it is closed: how they are named, asked and stored."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

import orjson

from ..engine.sink import NOT_SENT, SUBMITTED
from ..engine.transports.streams import STREAMED
from ..errors import SettingError, StoreError
from ..problems import Rejected, Remark
from ..run import display
from ..run.display import counted
from ..store import StoreFile
from ..store.futures import Futures
from ..store.recipe_keys import key_of
from ..store.submissions import Submission
from .identity import Identity
from .lock import ensure_worker
from .replaced_file import place_beside, set_aside
from .stored_connection import VERSION, StoredConnection

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from ..run.options import RunOptions
    from ..run.rows import Asking, Context

_ROWS = 10_000  # that go into one transaction at most
_BYTES = 32 * 2**20  # of bodies that go into one transaction, or are kept from a first look
_BETWEEN = 5.0  # seconds between two looks at whether a worker is at work: as long as one waits for more


class OpenSubmission:
    """Rows on their way into the store; `known` of them were submitted before.

    `failure` is why nothing more can be stored: then the rest has no ids.
    """

    def __init__(self, asking: Asking, connection: Connection, context: Context, options: RunOptions) -> None:
        self._asking, self._context, self._options = asking, context, options
        self._store = StoreFile(options.store)
        self._futures = Futures(self._store)
        self.known = 0
        self.failure: StoreError | None = None
        self._key: str | None = None  # that the rows are sent with, once some are in the store
        self._looked = float("-inf")
        try:
            self._stored = StoredConnection(connection, self._salt())
        except BaseException:
            self._store.close()
            raise
        self.identity = Identity(asking.path, self._stored.recipe, context, options)
        self._name = self.identity.naming()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the store go."""
        self._store.close()

    def _salt(self) -> bytes:
        try:
            return self._futures.salt()
        except StoreError as error:
            self.failure = error
            return b""

    @property
    def reads_ahead(self) -> bool:
        """Whether the bodies of all rows must be known before the first is stored."""
        return bool(self._context.replaced) or self.identity.is_kept_by_rows

    def begin(self, bodies: Iterable[bytes] = ()) -> None:
        """Prepare for rows; `bodies` are those of all where it `reads_ahead`. Raise `SettingError` if ids were lost."""
        identity, lost, pool = self.identity, set(self._context.replaced), None
        name = identity.naming()
        for some in in_parts((name(body) for body in bodies), len) if identity.keeps else ():
            found = self._futures.ids_of(some)
            lost -= found
            pool = pool or identity.pool_of(self._futures, found)
        if lost:
            self._keep_replaced(lost)
        self._recipe = self._asked(pool or identity.pool(self._futures))
        path = None if self._context.output is None else os.path.abspath(self._context.output)
        node = self._context.scope or self._asking.name
        self._about = Submission(secrets.token_bytes(8), identity.name, node, path, time.time())

    def _keep_replaced(self, lost: set[bytes]) -> None:
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

    def _asked(self, pool: str | None) -> Callable[[bool], str]:
        """Return how the rows are asked; rows that are asked alike share the server's allowance and its refusals.

        It is called with whether their answers come as streams.
        """
        recipe = {
            "version": VERSION,
            "connection": self._stored.recipe,
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

    def put(self, bodies: Sequence[bytes]) -> Sequence[str] | None:
        """Store some rows, all of them or none; return their ids, None where that failed."""
        names = [self._name(body) for body in bodies]
        if self.failure is not None:
            return None
        how, now = self._recipe(any(STREAMED in body for body in bodies)), time.time()
        deadline, keeps = now + self._options.deadline, self.identity.keeps
        try:
            made = self._futures.submit(how, bodies, now, deadline, names, self._about, keeps=keeps)
        except StoreError as error:
            self.failure = error
            return None
        self.known += made.known
        self._key = key_of(how)
        return made.ids

    def start_worker(self, *, at_end: bool = True) -> None:
        """See that a worker is at work on the rows; while more are to come, only now and then."""
        if self._key is None or not (at_end or time.monotonic() >= self._looked + _BETWEEN):
            return
        self._looked = time.monotonic()
        try:
            ensure_worker(self._store.path, self._key, self._stored.secrets)
        except StoreError as error:
            if at_end:
                display.say(f"{error}; the rows are in the store, and a retrieval tries again")

    def say_known(self, submitted: int) -> None:
        """Say how many of the rows were submitted before, if any were."""
        if not self.known or self._options.progress is False:
            return
        name, known = self._asking.name, f"{self.known:,} of {counted(submitted, 'row')}"
        if self.identity.keeps:
            display.say(Remark(f"{name}: {known} submitted before, submitting {submitted - self.known:,}"))
            return
        told = (
            f"{name}: {known} submitted before, and sent again. With a name (submission=) rows keep their ids from "
            "then on; tablenodes store --ids lists the earlier ones."
        )
        display.say(Remark(told, code="submitted_again", values={"name": name, "known": known}))


class HandedRows:
    """What became of the rows of a table that were handed to a submission: an id, or why there is none."""

    def __init__(self, rows: int) -> None:
        self.ids: list[str | None] = [None] * rows
        self.errors: list[str | None] = [None] * rows
        self.outcomes = [NOT_SENT] * rows

    def sendable(self, made: Iterable[Any]) -> Iterator[tuple[int, bytes]]:
        """Yield each row that can be sent and its body; the others have their ends."""
        for row, body in enumerate(made):
            if isinstance(body, Rejected):
                self.outcomes[row], self.errors[row] = body.outcome, reason_of(body)
            else:
                yield row, body

    def hand(self, submission: OpenSubmission, rows: Iterable[tuple[int, bytes]]) -> None:
        """Hand rows and their bodies to a submission."""
        for some in in_parts(rows, lambda each: len(each[1])):
            ids = submission.put([body for _, body in some])
            for at, (row, _) in enumerate(some):
                if ids is None:
                    self.errors[row] = str(submission.failure)
                else:
                    self.ids[row], self.outcomes[row] = ids[at], SUBMITTED

    def say_why(self, reason: str) -> None:
        """Record why the rows have no ids that nobody came to."""
        for row, outcome in enumerate(self.outcomes):
            if outcome == NOT_SENT and self.errors[row] is None:
                self.errors[row] = reason


def reason_of(why: Rejected) -> str:
    """Return why a row cannot be submitted, and where that is."""
    place, rule, message, _ = why.problem
    return message if rule == "upstream" else f"{place}: {message}"  # an earlier node is named in the message


def in_parts(items: Iterable[Any], size_of: Callable[[Any], int]) -> Iterator[list[Any]]:
    """Yield rows, or what stands for them, in parts that go into one transaction each."""
    some, size = list[Any](), 0
    for each in items:
        some.append(each)
        size += size_of(each)
        if len(some) >= _ROWS or size >= _BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some
