"""Node: what every node is, and how one is found by its name."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..bodies import Recipe, parse_setting
from ..errors import SettingError, nearest
from ..plain import plain
from ..problems import Unfit
from ..schemas import DEFAULT_REVISION
from ..templates import Column, LiteralText

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from ..connection import Connection
    from ..output import NodeOutput
    from ..settings import Limits, Retry
    from .check import Check

    Schema = str | os.PathLike[str] | Mapping[str, Any]

_OWN = ("columns", "extra_body", "schema")


@dataclass(frozen=True, kw_only=True, repr=False)
class Node:
    """What is asked of every row; `run` is told how.

    A node is an immutable record: it compares by its settings, can be pickled, and holds no connection and no state.

    Parameters
    ----------
    columns : "auto" or sequence of str
        Which table columns set the request properties of their names. "auto" takes all but ``n``, ``best_of``,
        ``user``, ``store``, ``metadata``, ``stream`` and ``seed``; a sequence takes exactly those; ``()`` takes none.
    extra_body : mapping, optional
        Properties put on top of every body: those of a certain server, or an explicit null.
    schema : str, path or mapping
        The schema of the request body: a bundled revision, a JSON file, or the schema itself.
    """

    operation: ClassVar[str] = ""
    """The operation's name in the schemas."""
    path: ClassVar[str] = ""
    """The operation's path below the base URL."""
    shortcuts: ClassVar[bool] = False
    """Whether ``prompt`` and ``system`` make messages."""
    choices: ClassVar[bool] = True
    """Whether an answer without choices is no success."""

    columns: str | Sequence[str] = "auto"
    extra_body: Mapping[str, Any] | None = None
    schema: Schema = DEFAULT_REVISION

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in {"columns", "schema"}:
                object.__setattr__(self, field.name, _own(value, field.name))
            elif isinstance(value, Mapping):
                object.__setattr__(self, field.name, copy.deepcopy(dict(value)))
        self._check_columns()
        self._check_settings()

    def _check_settings(self) -> None:
        if self.extra_body is not None and not isinstance(self.extra_body, Mapping):
            raise SettingError(f"extra_body must be a mapping, not {type(self.extra_body).__name__}")
        settings = self.settings()
        for name, value in settings.items():
            parse_setting(name, value)
        for name in self.extra_body or ():
            if name in settings:
                raise SettingError(f"{name} is set twice, as a setting and in extra_body")
        if self.shortcuts and "messages" in settings:
            for name in ("prompt", "system"):
                if name in settings:
                    raise SettingError(f"{name} makes messages of its own: set {name} or messages, not both")

    def _check_columns(self) -> None:
        if self.columns == "auto":
            return
        if isinstance(self.columns, str) or not isinstance(self.columns, Iterable):
            raise SettingError('columns must be "auto" or a list of column names')
        names = tuple(self.columns)
        if not all(isinstance(name, str) for name in names):
            raise SettingError("columns must be a list of column names, texts")
        object.__setattr__(self, "columns", names)

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Give the names of all settings, in their declared order, the request's properties first."""
        names = [field.name for field in fields(cls)]
        return (*(name for name in names if name not in _OWN), *_OWN)

    def settings(self) -> dict[str, Any]:
        """Give the request settings that are set, by their names."""
        names = (name for name in self.setting_names() if name not in _OWN)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def recipe(self) -> Recipe:
        """Give what the node says about its request bodies."""
        columns = self.columns if isinstance(self.columns, str) else tuple(self.columns)
        return Recipe(self.settings(), columns, self.shortcuts, dict(self.extra_body or {}))

    def replace(self, **settings: Any) -> Self:
        """Give a node with some settings changed.

        Raises
        ------
        SettingError
            If there is no such setting, or its value cannot be used.
        """
        check_names(type(self), settings)
        return replace(self, **settings)

    def __repr__(self) -> str:
        shown = []
        for name in self.setting_names():
            value = getattr(self, name)
            default = next(field.default for field in fields(self) if field.name == name)
            if value is not None and value != default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def check(self, table: Any) -> Check:
        """Find out, without sending anything, what would be sent, what cannot be, and why.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One request a row. A stream that can be read only once is refused.

        Returns
        -------
        Check
            Counts, problems by row, and where each property comes from.

        Raises
        ------
        UsageError
            If the node and the table do not fit together: a column that is not there, a schema that cannot be read.
        """
        from .check import check  # noqa: PLC0415 - pandas is loaded where it is needed

        return check(self, table)

    def run(
        self,
        table: Any,
        connection: Connection | None = None,
        *,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        on_invalid: str = "report",
        on_in_doubt: str = "resend",
        on_text: Callable[[int, str], None] | None = None,
        retry_failed: str = "transient",
    ) -> NodeOutput:
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
            For streamed answers, which this version does not read yet: refused.
        retry_failed : {"transient", "all", "none"}
            Which rows that failed in an earlier run of the same journal are sent again.

        Returns
        -------
        NodeOutput
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
        from .run import run  # noqa: PLC0415 - the engine is loaded where it is needed

        return run(
            self,
            table,
            connection,
            limits=limits,
            retry=retry,
            journal=journal,
            progress=progress,
            on_invalid=on_invalid,
            on_in_doubt=on_in_doubt,
            on_text=on_text,
            retry_failed=retry_failed,
        )


def _own(value: Any, place: str) -> Any:
    """Give a setting's value as the node's own: plain lists and dicts that nobody else can change."""
    if value is None or isinstance(value, str | int | float | Column | LiteralText):
        return value
    if isinstance(value, Mapping):
        return {_name(key, place): _own(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_own(item, f"{place}[{i}]") for i, item in enumerate(value)]
    try:
        return plain(value)
    except Unfit as error:
        raise SettingError(f"{place} {error}") from None


def _name(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise SettingError(f"{place}: a name must be a text, not {type(key).__name__}")
    return key


def check_names(node: type[Node], settings: Mapping[str, Any]) -> None:
    """Raise `SettingError` for a setting that the node does not have, with the nearest name."""
    names = node.setting_names()
    for name in settings:
        if name not in names:
            raise SettingError(f"{node.__name__} has no setting {name!r}{nearest(str(name), names)}")


def known_nodes() -> dict[str, type[Node]]:
    """Give every node that can be used, by its name: those of this package, and subclasses of yours."""
    from . import declarations  # noqa: F401, PLC0415 - declaring them is what makes them known

    found: dict[str, type[Node]] = {}
    waiting = list(Node.__subclasses__())
    while waiting:
        node = waiting.pop(0)
        waiting.extend(node.__subclasses__())
        if node.operation:
            found[node.__name__] = node
    return found


def find_node(name: str) -> type[Node]:
    """Give the node of a name.

    Raises
    ------
    SettingError
        If there is none, with the nearest name.
    """
    nodes = known_nodes()
    if name not in nodes:
        raise SettingError(f"no node {name!r}{nearest(name, nodes) or '; there are ' + ', '.join(nodes)}")
    return nodes[name]
