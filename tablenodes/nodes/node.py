"""Node: what every node is."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..bodies.recipe import parse_setting
from ..errors import SettingError, SettingNameError, nearest
from ..plain import plain
from ..problems import Unfit
from ..templates.template import Column, LiteralText

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import Connection
    from ..run.check import Check
    from ..run.options import RunOptions
    from ..run.output import NodeOutput
    from ..run.rows import Context


@dataclass(frozen=True, kw_only=True, repr=False)
class Node:
    """What is done with every row; `run` is told how.

    A node is an immutable record: it compares by its settings, can be pickled, and holds no connection and no state.
    """

    own: ClassVar[tuple[str, ...]] = ()
    """Settings that say something about the node itself; all others are filled in row by row."""
    makes: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The columns that it makes, and their types."""
    handed_on: ClassVar[frozenset[str]] = frozenset()
    """Those of them that take the place of what they were made of, for later nodes read them by their names."""
    sends: ClassVar[bool] = False
    """Whether it sends requests itself, and so needs the embedded model's server where that is the connection."""

    def __new__(cls, *unnamed: Any, **settings: Any) -> Self:
        """Make a node, of settings that it has."""
        if _is_made_of_settings(cls):  # type: ignore[arg-type]
            if unnamed:
                first = cls.setting_names()[0]
                raise SettingNameError(f"{cls.__name__} takes settings by their names only, such as {first}=…")
            check_names(cls, settings)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, self.kept(field.name, getattr(self, field.name)))
        self.parsed()

    def kept(self, name: str, value: Any) -> Any:
        """Give a setting's value as the node's own, which nobody else can change."""
        return own_copy(value, name)

    @classmethod
    def does(cls) -> str:
        """Say in a word or two what becomes of a row, such as ``POST /completions``; empty for a node's mere base."""
        return ""

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Give the names of all settings, in their declared order, the node's own last."""
        names = [field.name for field in fields(cls)]
        return (*(name for name in names if name not in cls.own), *cls.own)

    def settings(self) -> dict[str, Any]:
        """Give the settings that are set and filled in row by row, by their names."""
        names = (name for name in self.setting_names() if name not in self.own)
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def parsed(self) -> dict[str, Any]:
        """Give the settings as plain JSON, or as values that depend on the row."""
        return {name: parse_setting(name, value) for name, value in self.settings().items()}

    def follows(self) -> dict[str, str]:
        """Give the ids of earlier nodes of a workflow that settings name, by the settings' names."""
        return {}

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> RowPlan:
        """Give what becomes of a table's rows.

        Parameters
        ----------
        columns : sequence of str
            The table's columns.
        constants : mapping, optional
            What ``inputs`` and ``outputs`` stand for in placeholders.
        connection : Connection, optional
            Where requests will go, for what its server supplies.

        Raises
        ------
        UsageError
            If the node and the columns do not fit together.
        """
        raise NotImplementedError

    def carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> NodeOutput:
        """Run the node as a part of a workflow.

        Parameters
        ----------
        table : table
            As in `run`.
        connection : Connection or None
            The workflow's, opened.
        context : Context
            What earlier nodes and the workflow's inputs give.
        options : RunOptions
            How; a node heeds those that mean something to it.
        """
        raise NotImplementedError

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
        from ..run.check import check  # noqa: PLC0415 - pandas is loaded where it is needed

        return check(self.plan, table)

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


def own_copy(value: Any, place: str) -> Any:
    """Give a setting's value as the node's own: plain lists and dicts that nobody else can change."""
    if value is None or isinstance(value, str | int | float | Column | LiteralText):
        return value
    if isinstance(value, Mapping):
        return {_name(key, place): own_copy(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [own_copy(item, f"{place}[{i}]") for i, item in enumerate(value)]
    try:
        return plain(value)
    except Unfit as error:
        raise SettingError(f"{place} {error}", place=place) from None


def _name(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise SettingError(f"{place}: a name must be a text, not {type(key).__name__}", place=place)
    return key


@lru_cache(maxsize=256)
def _is_made_of_settings(node: type[Node]) -> bool:
    """Tell whether a node is made of its settings: one of a user's may have a constructor of its own."""
    return inspect.signature(node.__init__).parameters.keys() - {"self"} == {*node.setting_names()}


def check_names(node: type[Node], settings: Mapping[str, Any]) -> None:
    """Raise `SettingNameError` for a setting that the node does not have, with the nearest name."""
    names = node.setting_names()
    for name in settings:
        if name in ("api_key", "apiKey"):
            where = "Connection(api_key_env=…), or --api-key-env"
            raise SettingNameError(f"{name}: a key belongs to the connection: {where}")
        if name not in names:
            raise SettingNameError(f"{node.__name__} has no setting {name!r}{nearest(str(name), names)}")
