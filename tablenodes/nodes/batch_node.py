"""What a node that sends does with tables that do not fit into memory."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

from ..connection.connection import given_connection
from ..errors import SettingError
from .node import Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..cluster.mapper import Mapper
    from ..connection.connection import Connection, GivenConnection
    from ..run.options import Duplicates, OnInDoubt, OnInvalid, RetryFailed, RunOptions
    from ..run.response_batches import ResponseBatches
    from ..run.rows import Asking, Context
    from ..settings import Limits, Retry
    from ..tables import BatchSource

_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kKMGT]?)(i?)[bB]?\s*")
SPILL = 10_000_000_000
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class BatchNode(Node):
    """A node that can be run over batches."""

    def _asking(self, scope: str) -> Asking:
        raise NotImplementedError

    def _row_by_row(self, scope: str) -> Asking | None:
        return None if self._declared.later else self._asking(scope)

    def run_batches(
        self,
        source: Any,
        connection: GivenConnection | None = None,
        *,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        on_in_doubt: OnInDoubt = "resend",
        retry_failed: RetryFailed = "transient",
        duplicates: Duplicates = "send",
        check: Literal["lazy", "first", False] = "lazy",
        window: str | int = "64MB",
        spill: str | int = "10GB",
        query: str | None = None,
    ) -> ResponseBatches:
        """Send one request a row of a table that need not fit into memory; the answers come in batches, in its order.

        Rows are read, sent and handed out as the batches are taken. Rows behind a slow one go on; what they were
        answered waits in memory, and beyond `window` in a temporary file.

        Parameters
        ----------
        source : path, address of a database, table, Arrow stream or dataset, or iterator of batches
            One request a row. Batches are tables of any kind, with the columns and types of the first.
        connection, limits, retry, journal, progress, on_in_doubt, retry_failed
            As in `run`.
        on_invalid : {"report", "raise"}
            What happens with rows that cannot be sent: they are reported in their place, or, with ``check="first"``,
            nothing is sent.
        duplicates : {"send", "once"}
            As in `run`; what equal rows share waits in a temporary file, beside the journal if there is one.
        check : {"lazy", "first", False}
            When the rows are checked: as they come, or all before the first is sent, for which the source is read
            twice. With False, bodies are not checked against the schema; it is for the server to refuse them.
        window : str or int
            Bytes of finished rows that wait in memory, such as ``"64MB"``.
        spill : str or int
            Bytes that the temporary file may have; beyond them no new row is sent until the slow one has ended.
        query : str, optional
            Of a database, whose address (``postgresql://…``) is the source: what to read of it, in SQL.

        Returns
        -------
        ResponseBatches
            A stream of Arrow record batches: the configuration, the answer's columns, ``status``, ``outcome``,
            ``message``, ``body``, the tokens, ``model`` and ``cost``. At its end it has ``.summary`` and
            ``.report(path)``.

        Raises
        ------
        UsageError, InvalidRequests
            If something does not fit together, or a row cannot be sent and `on_invalid` is "raise"; nothing has been
            sent then.
        JournalError, Interrupted
            While it is read, after the rows that have come.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..run.rows import Context  # noqa: PLC0415

        check_batch_options(check, on_invalid)
        options = RunOptions.of(
            limits=limits,
            retry=retry,
            journal=journal,
            progress=progress,
            on_invalid=on_invalid,
            on_in_doubt=on_in_doubt,
            retry_failed=retry_failed,
            duplicates=duplicates,
        )
        return self._in_batches(
            source,
            given_connection(connection, SettingError),
            options,
            Context(),
            check=check,
            window=size_in_bytes(window, "window"),
            spill=size_in_bytes(spill, "spill"),
            query=query,
        )

    def mapper(
        self,
        connection: GivenConnection | None = None,
        *,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: str | os.PathLike[str] | None = None,
        share: Any = None,
    ) -> Mapper:
        """Return the node as a function of a batch, which can be sent to the workers of a cluster.

        ``ddf.map_partitions(mapper, meta=mapper.meta)`` in Dask; `tablenodes.cluster.map` does that with progress.

        Parameters
        ----------
        connection : Connection or str, optional
            As in `run`. No secret goes with a mapper: the key is that of the environment variable that ``api_key_env``
            names, else of ``OPENAI_API_KEY``, where a batch is worked on.
        limits : Limits, optional
            What each batch may use at a time. Limits of a whole run are a `Share`'s.
        retry : Retry, optional
            How often a row is tried again.
        journal : path, optional
            A folder that keeps every answer, on a disk that all workers share. It is one journal: whatever batches the
            rows come in later, only what is missing is sent.
        share : Share, optional
            One limit for all processes, in place of `limits`.

        Raises
        ------
        UsageError
            If a key is given as a text, or the options do not fit together.
        """
        if self._declared.later:
            name = type(self).__name__
            how = f"set the same on {name.removesuffix('Async')}, whose mapper asks at once"
            raise SettingError(f"{name} hands its rows to a worker: {how}", code="sends_later")
        from ..cluster.mapper import mapper_of  # noqa: PLC0415 - loaded where it is needed

        given = {"limits": limits, "retry": retry, "journal": journal}
        return mapper_of(self._asking(""), given_connection(connection, SettingError), given, share)

    def _in_batches(
        self,
        source: Any,
        connection: Connection | None,
        options: RunOptions,
        context: Context,
        *,
        check: str | bool = "lazy",
        window: int,
        spill: int = SPILL,
        query: str | None = None,
        reading: Mapping[str, str] | None = None,
        rows: slice | None = None,
        logged: bool = False,
    ) -> ResponseBatches:
        """Run the node over batches, or `rows` of them; the context's scope is its id in a workflow.

        `reading` says how a file is read, as `read_table` is told; batches have what a log has, `logged` or not.
        """
        from ..run.stream import stream  # noqa: PLC0415 - the engine is loaded where it is needed

        batches = source_of(source, query, reading, rows)
        asking = self._asking(context.scope)
        return stream(asking, batches, connection, options, context, check=check, window=window, spill=spill)


def source_of(
    source: Any, query: str | None, reading: Mapping[str, str] | None = None, rows: slice | None = None
) -> BatchSource:
    """Return a source of batches, or of some of its rows; `reading` says how a file is read."""
    from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed

    batches = tables.batch_source(source, query, None if reading is None else tables.Reading(**reading))
    return batches if rows is None else batches.part(rows)


def check_batch_options(check: Any, on_invalid: str) -> None:
    """Raise `SettingError` for options of a run over batches that do not fit together."""
    if check not in ("lazy", "first", False):
        raise SettingError('check must be "lazy", "first" or False', place="check")
    if on_invalid == "raise" and check != "first":
        raise SettingError('on_invalid="raise" needs check="first"', place="on_invalid")


def size_in_bytes(given: str | int, name: str) -> int:
    """Return a size in bytes."""
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    size = 0 if found is None else int(float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()])
    if size <= 0:
        raise SettingError(f'{name} must be a size, such as "64MB", or a number of bytes', place=name)
    return size
