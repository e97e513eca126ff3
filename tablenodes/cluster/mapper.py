"""The mapper: a node as a function of a batch, which any engine can send to its workers."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from .. import addresses
from ..connection.connection import is_custom
from ..errors import ConnectionSettingError, SettingError, TableError, UsageError, framed
from ..notices import voiced
from ..secret import Secret, Veiled

if TYPE_CHECKING:
    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection
    from ..run.batch_table import BatchTable
    from ..run.options import RunOptions
    from ..run.rows import Asking
    from ..tables import TableView
    from .partition_run import Part, Place
    from .share import Share

_OF_ALL = ("max_requests", "token_budget", "max_cost")
_ADDRESS = "OPENAI_BASE_URL"


class Mapper:
    """A node as a function of a batch: a pandas or Polars DataFrame, an Arrow Table or RecordBatch; the same comes out.

    Called with a batch, it returns the columns that the node makes, one row a row, in the batch's order and with its
    index: the answer's columns, ``status``, ``outcome``, ``message``, ``body``, the tokens, ``model``, ``cost`` and
    what else `Responses.log` has. Their names and types are the same for every batch. `beside` and `batches` return
    them to the right of the batch's own columns. It can be pickled, and says nothing where it works: ``outcome`` and
    ``message`` have what became of each row.
    """

    def __init__(self, asking: Asking, connection: Connection, options: RunOptions, share: Share | None = None) -> None:
        self._asking, self._connection, self._options, self._share = asking, connection, options, share
        self.__name__ = asking.name  # what engines call it by
        self._run = f"{int(time.time()):x}{secrets.token_hex(4)}"
        _check_connection(connection)
        is_said = connection.base_urls or connection.local_model is not None
        self._address = "" if is_said else os.environ.get(_ADDRESS, "")
        if self._address:
            addresses.split_base_url(self._address, _ADDRESS)
        if share is None:
            _check_limits(options)

    @property
    def schema(self) -> Any:
        """The `pyarrow.Schema` of the columns that it makes."""
        return self.schema_beside(None)

    @property
    def meta(self) -> Any:
        """The columns that it makes as a `pandas.DataFrame` without rows."""
        return self.meta_beside(None)

    def schema_beside(self, schema: Any) -> Any:
        """Return the schema of what `beside` returns for Arrow batches of a schema."""
        from .. import tables  # noqa: PLC0415 - loaded where it is needed

        return self._table(tables.rowless(schema, "pyarrow")).empty().schema

    def meta_beside(self, frame: Any) -> Any:
        """Return the data frame without rows of what `beside` returns for data frames like this one."""
        from .. import tables  # noqa: PLC0415 - loaded where it is needed

        return self._table(tables.rowless(frame, "pandas")).empty()

    def __call__(self, batch: Any) -> Any:
        """Send one request a row of a batch; return the columns that the node makes.

        Raises
        ------
        UsageError
            If the node and the batch do not fit together, or the worker has no key.
        JournalError
            If the journal's folder cannot be used; what was answered before is kept.
        """
        return self._carried_out(batch, beside=False)[0]

    def beside(self, batch: Any) -> Any:
        """Send one request a row of a batch; return the batch with the columns that the node makes to its right."""
        return self._carried_out(batch, beside=True)[0]

    def batches(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield what `beside` returns for each batch, for engines that call a function with an iterator of batches."""
        return map(self.beside, batches)

    def checked(self, columns: Any) -> BodyPlan:
        """Return how rows with these columns become requests; raise `UsageError` if the two do not fit together."""
        from ..connection.endpoint import as_shown  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..run.rows import Context  # noqa: PLC0415
        from ..run.run import planned, refuse  # noqa: PLC0415
        from ..tables import rowless  # noqa: PLC0415

        plan = planned(self._asking, rowless(columns, "pandas"), as_shown(self._connection), Context(), self._options)
        refuse(plan)
        return plan

    def carried_out(self, batch: Any, place: Callable[[str], Place]) -> tuple[Any, Part]:
        """Return what `beside` does, and how it went; `place` returns where the batch stands in a run."""
        return self._carried_out(batch, beside=True, place=place)

    def _carried_out(
        self, batch: Any, *, beside: bool, place: Callable[[str], Place] | None = None
    ) -> tuple[Any, Part]:
        from .. import tables  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..connection.endpoint import opened  # noqa: PLC0415
        from ..run.rows import Context  # noqa: PLC0415
        from ..run.run import planned, refuse  # noqa: PLC0415
        from .partition_run import Part, PartitionRun, Place  # noqa: PLC0415

        if isinstance(batch, dict):
            how = 'give it pandas or Arrow tables; in Ray Data, map_batches(…, batch_format="pyarrow")'
            raise TableError(f"a mapper takes no dict of columns: {how}")
        view, context = tables.view(batch), Context()
        if not len(view) and not view.columns:  # what engines have in the place of a part that is empty
            return tables.like_given(self._table(view).empty(), batch), Part({}, [], [])
        with voiced(_nothing), ExitStack() as stack:
            try:
                endpoint = stack.enter_context(opened(self._connection, self._environ(), path=self._asking.path))
            except ConnectionSettingError as error:
                raise framed(error, f"on {socket.gethostname()}, process {os.getpid()}: ") from None
            plan = planned(self._asking, view, endpoint, context, self._options)
            refuse(plan)
            where = Place(self._run) if place is None else place(self._run)
            given = {"asking": self._asking, "plan": plan, "view": view, "endpoint": endpoint, "context": context}
            run = PartitionRun(where, self._share, self._options, **given, stack=stack)
            made, part = run.made(view if beside else view.without(view.columns))
        return tables.like_given(made, batch), part

    def _environ(self) -> Veiled | None:
        """Return a worker's environment, with the address of where the mapper was made if it names none itself."""
        if not self._address or os.environ.get(_ADDRESS):
            return None
        return Veiled({**os.environ, _ADDRESS: self._address})

    def _table(self, view: TableView) -> BatchTable:
        from ..run.batch_table import BatchTable  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..run.spending import pricing_of  # noqa: PLC0415

        own = view, self._asking.answers, pricing_of(self._connection, "http://localhost"), lambda _: ()
        return BatchTable(*own, has_servers=len(self._connection.base_urls) > 1)

    def __reduce__(self) -> tuple[Callable[..., Mapper], tuple[Any, ...]]:
        connection = self._connection
        if connection.session is not None or is_custom(connection.transport):
            what = "session" if connection.session is not None else "transport"
            raise SettingError(f"the connection's {what} is an object of this process, and cannot be sent to another")
        return _restored, (self.__dict__,)

    def __repr__(self) -> str:
        kept = "" if self._options.journal is None else f", journal={str(self._options.journal)!r}"
        return f"Mapper({self._asking.name}, {self._connection!r}{kept})"


def _restored(state: dict[str, Any]) -> Mapper:
    made = Mapper.__new__(Mapper)
    made.__dict__.update(state)
    return made


def _nothing(_: str) -> None:
    """Say nothing: where it works, nobody listens."""


def _check_connection(connection: Connection) -> None:
    """Raise `SettingError` for a secret that is given as a text: it would have to travel."""
    key = connection.api_key
    if isinstance(key, Secret) and (key.missing or key.reveal()):
        how = "name the environment variable that has it on the workers, with api_key_env="
        raise SettingError(f"a mapper is sent to other processes, and takes no key with it: {how}", place="api_key")
    for name in ("headers", "query"):
        for each, value in (getattr(connection, name) or {}).items():
            if isinstance(value, Secret):
                how = f"write {each} as ${{NAME}}, an environment variable of the workers"
                raise SettingError(f"a mapper takes no secret with it: in {name}, {how}", place=name)
    if isinstance(connection.proxy, Secret):
        how = "leave proxy out, and set HTTPS_PROXY where the workers start"
        raise SettingError(f"a mapper takes no password with it: {how}", place="proxy")


def _check_limits(options: RunOptions) -> None:
    """Raise `SettingError` for limits of a whole run: each batch would have them for itself."""
    for name in _OF_ALL:
        if getattr(options.limits, name) is not None:
            how = "each batch would have it for itself; leave it out, or share one limit with share="
            raise SettingError(f"{name}: {how}", place=name)


def _folder(path: str | os.PathLike[str]) -> str:
    """Return the absolute path of a journal's folder: the workers' current folder may be another one."""
    text = os.fspath(path)
    if "://" in text:
        raise SettingError("journal must be a folder on a disk that the workers share, not an address", place="journal")
    if os.path.exists(path) and not os.path.isdir(path):
        how = "each batch writes a file of its own, so give it a folder"
        raise SettingError(f"journal: {text!r} is a file; {how}", place="journal")
    return os.path.abspath(os.path.expanduser(text))


def mapper_of(asking: Asking, connection: Connection | None, given: dict[str, Any], share: Any) -> Mapper:
    """Return the mapper of a node; see `BatchNode.mapper`."""
    from ..run.options import RunOptions, checked, over  # noqa: PLC0415 - the engine is loaded where it is needed

    if share is not None and given["limits"] is not None:
        raise UsageError("limits= and share= say the same: give the limits to the Share", place="limits")
    if share is not None:
        from .share import Share  # noqa: PLC0415 - loaded where it is needed

        if not isinstance(share, Share):
            raise SettingError(f"share must be a Share, not {type(share).__name__}", place="share")
        given = {**given, "limits": share.limits}
    if given["journal"] is not None:
        given = {**given, "journal": _folder(given["journal"])}
    own = checked(connection)
    return Mapper(asking, own, over(own.profile, RunOptions.of(**given, progress=False)), share)
