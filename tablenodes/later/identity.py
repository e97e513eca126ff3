"""What a submission and its rows are known by: a name, else the node, the server and what is asked."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from ..engine.calls import Request
from ..engine.journal import Keys
from ..run.options import RunOptions
from ..run.output import NodeOutput
from ..run.rows import Context
from ..store import ids
from ..store.futures import Futures
from ..tables import view
from .replaced_file import COLUMN


class Identity:
    """What a submission is known by, wherever its files are."""

    def __init__(self, path: str, connection: Mapping[str, Any], context: Context, options: RunOptions) -> None:
        """Take the path below the base URL, and the connection as it is stored."""
        self.name = None if options.submission is None else os.fsdecode(options.submission)
        self.keeps = options.submission is not None or options.journal is not None
        """Whether rows that were submitted before keep their ids; else each is new."""
        self._digest = "" if self.name is None else hashlib.sha256(os.fsencode(self.name)).hexdigest()
        self._is_limited = options.limits.max_requests is not None or options.limits.token_budget is not None
        where = {name: connection.get(name) for name in ("base_url", "query", "local")}
        self._scope = orjson.dumps([self._digest, context.scope, where], option=orjson.OPT_SORT_KEYS).decode()
        self._request = Request("POST", path, ())
        self._context = context

    @property
    def is_kept_by_rows(self) -> bool:
        """Whether limits over all rows are those of an earlier submission of some of them."""
        return self._is_limited and self.keeps and self.name is None

    def naming(self) -> Callable[[bytes], bytes]:
        """Return what names rows by their bodies, in the order of the table: equal ones differ by their turn."""
        keys = Keys(self._request, self._scope)

        def named(body: bytes) -> bytes:
            digest, occurrence = keys.key(body)
            return digest + occurrence.to_bytes(8)

        return named

    def pool(self, futures: Futures) -> str | None:
        """Return what limits over all rows are counted by where no row has it already; None where there are none.

        Without a name, that is the one of the rows in the file that the output replaces, or of the run's earlier nodes.
        """
        if not self._is_limited:
            return None
        if self.name is not None:
            return self._digest[:16]
        earlier = _submitted(self._context.outputs) | self._context.replaced
        return self.pool_of(futures, earlier) or secrets.token_hex(8)

    def pool_of(self, futures: Futures, known: Iterable[bytes]) -> str | None:
        """Return what limits over all rows are counted by where one of the rows which are `known` has it."""
        return futures.pool(known) if self.is_kept_by_rows else None


def _submitted(outputs: Mapping[str, NodeOutput[Any]]) -> frozenset[bytes]:
    """Return the ids that earlier nodes of a run have submitted their rows under."""
    tables_of = (view(output.result) for output in outputs.values() if output.summary.submitted)
    cells = (cell for each in tables_of for (cell,) in each.rows((COLUMN,)))
    return frozenset(found for cell in cells if (found := ids.read(cell)) is not None)
