"""The nodes that send: one request a row."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .. import schemas
from ..bodies.body_plan import BodyPlan
from ..bodies.recipe import Recipe
from ..connection.endpoint import default_properties
from ..errors import SettingError
from ..run.rows import Context
from ..settings import Timeout
from ..templates.template import Column
from .node import Node

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from ..connection.connection import Connection
    from ..run.check import Check
    from ..run.options import OnInDoubt, OnInvalid, RetryFailed, RunOptions
    from ..run.output import NodeOutput, Responses
    from ..settings import Limits, Retry
    from ..store.conversations import Conversations

    Schema = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, repr=False)
class RequestNode(Node):
    """What is asked of every row.

    Parameters
    ----------
    columns : "auto" or sequence of str
        Which table columns set the request properties of their names. "auto" takes all but ``n``, ``best_of``,
        ``user``, ``store``, ``metadata``, ``stream`` and ``seed``; a sequence takes exactly those; ``()`` takes none.
        A column ``body`` holds whole requests; with "auto" it is left alone where a setting reads it, as the text of an
        e-mail in ``prompt="{{ body }}"``, and so it is with ``()``.
    extra_body : mapping, optional
        Properties put on top of every body: those of a certain server, or an explicit null.
    schema : str, path or mapping
        The schema of the request body: a bundled revision, a JSON file, or the schema itself.
    client_timeout : float or str, optional
        Seconds that one attempt may take in all, 0.001 to 86,400; goes before the connection's own.
    """

    own: ClassVar[tuple[str, ...]] = ("columns", "extra_body", "schema", "client_timeout")
    sends: ClassVar[bool] = True
    operation: ClassVar[str] = ""
    """The operation's name in the schemas."""
    path: ClassVar[str] = ""
    """The operation's path below the base URL."""
    shortcuts: ClassVar[bool] = False
    """Whether ``prompt`` and ``system`` make messages."""
    choices: ClassVar[bool] = True
    """Whether an answer without choices is no success."""
    bodies: ClassVar[type[BodyPlan]] = BodyPlan
    """What makes the request bodies."""

    columns: str | Sequence[str] = "auto"
    extra_body: Mapping[str, Any] | None = None
    schema: Schema = schemas.DEFAULT_REVISION
    client_timeout: float | str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = self.settings()
        for name in self.extra_body or ():
            if name in settings:
                raise SettingError(f"{name} is set twice, as a setting and in extra_body", place=name)
        for given, others in _ALONE.items() if self.shortcuts else ():
            for name in others:
                if given in settings and name in settings:
                    raise SettingError(f"{name} makes messages of its own: set {name} or {given}, not both", place=name)

    def kept(self, name: str, value: Any) -> Any:
        """Give a setting's value as the node's own."""
        if name == "columns":
            return _checked_columns(value)
        if name == "extra_body" and value is not None and not isinstance(value, Mapping):
            raise SettingError(f"extra_body must be a mapping, not {type(value).__name__}", place=name)
        if name == "client_timeout":
            return _checked_seconds(value)
        if name == "schema":
            return copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
        return super().kept(name, value)

    @classmethod
    def does(cls) -> str:
        """Give the method and the path."""
        return f"POST {cls.path}" if cls.operation else ""

    def recipe(self) -> Recipe:
        """Give what the node says about its request bodies."""
        columns = self.columns if isinstance(self.columns, str) else tuple(self.columns)
        return Recipe(self.settings(), columns, self.shortcuts, dict(self.extra_body or {}))

    def parsed(self) -> dict[str, Any]:
        """Give the settings as plain JSON, or as values that depend on the row; the shortcuts have become messages."""
        return self.recipe().parsed()

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> BodyPlan:
        """Give how a table's rows become request bodies; see `Node.plan`. Conversations are looked up in `store`."""
        return self.bodies(
            self.recipe(),
            schemas.load(self.schema, self.operation),
            columns,
            defaults=default_properties(connection),
            constants=constants,
            conversations=partial(_conversations, store),
        )

    def check(self, table: Any, *, store: str | os.PathLike[str] | None = None) -> Check:
        """Find out, without sending anything, what would be sent, what cannot be, and why.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One request a row. A stream that can be read only once is refused.
        store : path, optional
            The file that conversations are looked up in. Default: ``TABLENODES_STORE`` of the environment, else one in
            the user's data folder.

        Returns
        -------
        Check
            Counts, problems by row, and where each property comes from.

        Raises
        ------
        UsageError
            If the node and the table do not fit together: a column that is not there, a schema that cannot be read.
        """
        from ..run.check import check  # noqa: PLC0415 - pandas is loaded where it is needed

        return check(partial(self.plan, store=store), table)

    def carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> NodeOutput:
        """Run the node as a part of a workflow; see `Node.carry_out`."""
        from ..run.run import run  # noqa: PLC0415 - the engine is loaded where it is needed

        return run(self, table, connection, context, options)

    def run(
        self,
        table: Any,
        connection: Connection | None = None,
        *,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        on_in_doubt: OnInDoubt = "resend",
        on_text: Callable[[int, str], None] | None = None,
        retry_failed: RetryFailed = "transient",
        store: str | os.PathLike[str] | None = None,
    ) -> Responses:
        """Send one request a row and give every answer in its row's place.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One request a row.
        connection : Connection, optional
            Default: ``Connection()``, which reads the environment.
        limits : Limits, optional
            What the run may use at most.
        retry : Retry, optional
            How often a row is tried again.
        journal : path, optional
            A file that keeps every answer as it comes; a later run of the same rows sends only what is missing.
        progress : bool, optional
            Whether to show a bar. Default: in a terminal or a notebook, once the work lasts.
        on_invalid : {"report", "raise"}
            What happens with rows that cannot be sent: they are reported in their place, or nothing is sent.
        on_in_doubt : {"resend", "report"}
            What happens with rows that an earlier run sent without seeing an answer.
        on_text : callable, optional
            Called with a row's position and the text of its first choice as it arrives: piece by piece where ``stream``
            is set, else once with all of it. An empty text says that the row is tried again and its text starts anew:
            what came of it before is void. The text of a row whose answer is in the journal is not told. Secrets are
            masked. Where it raises, it is not called again, nothing more is sent, what is in flight comes to its end,
            and an `EndedError` has it as its cause, or, after `KeyboardInterrupt`, an `Interrupted` is raised. No bar
            is shown.
        retry_failed : {"transient", "all", "none"}
            Which rows that failed in an earlier run of the same journal are sent again.
        store : path, optional
            The file that conversations are looked up in. Default: ``TABLENODES_STORE`` of the environment, else one in
            the user's data folder.

        Returns
        -------
        Responses
            Unpacks into the Raw Response table and the configuration, the very table that was given.

        Raises
        ------
        UsageError
            If something does not fit together; nothing has been sent then.
        InvalidRequests
            If rows cannot be sent and `on_invalid` is "raise"; nothing has been sent then.
        JournalError
            If the journal is in use, foreign, damaged or cannot be written. Where it fails in the middle of a run,
            what was in flight comes to its end, and ``.output`` has it.
        Interrupted
            If the run was stopped; ``.output`` has what came by then.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..run.run import run  # noqa: PLC0415

        options = RunOptions.of(
            limits=limits,
            retry=retry,
            journal=journal,
            progress=progress,
            on_invalid=on_invalid,
            on_in_doubt=on_in_doubt,
            on_text=on_text,
            retry_failed=retry_failed,
            store=store,
        )
        return run(self, table, connection, Context(), options)


_ALONE = {"messages": ("prompt", "system", "conversation"), "conversation": ("prompt", "system")}
"""What is the whole of the messages, and what makes messages too."""


def _conversations(store: str | os.PathLike[str] | None) -> Conversations:
    from ..store.conversations import Conversations  # noqa: PLC0415 - loaded where it is needed

    return Conversations(store)


def _checked_seconds(value: Any) -> float | None:
    """Give a timeout as the number that it is; it may be written as a text."""
    if value is None:
        return None
    try:
        seconds = float(value) if isinstance(value, str) else value
        return float(Timeout(total=seconds).total)
    except ValueError:  # what Timeout raises is one too
        filled_in = isinstance(value, Column) or (isinstance(value, str) and "{{" in value)
        clause = "; it is the same in every row, and no placeholder is filled in" if filled_in else ""
        message = f"client_timeout must be a number of seconds from 0.001 to 86,400{clause}"
        raise SettingError(message, place="client_timeout") from None


def _checked_columns(columns: Any) -> Any:
    if isinstance(columns, str) and columns == "auto":
        return columns
    if isinstance(columns, str | Mapping) or not isinstance(columns, Iterable):
        raise SettingError('columns must be "auto" or a list of column names', place="columns")
    names = tuple(columns)
    if not all(isinstance(name, str) for name in names):
        raise SettingError("columns must be a list of column names, texts", place="columns")
    return names
