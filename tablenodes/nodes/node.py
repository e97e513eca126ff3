"""Node: what every node is."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ..arguments import explaining
from ..bodies.body_plan import BodyPlan
from ..bodies.recipe import parse_setting
from ..bodies.request_form import PLAIN, RequestForm
from ..errors import SettingError, SettingNameError, among
from ..plain import plain
from ..problems import Unfit
from ..templates.template import Column, LiteralText

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ..answers import RowAnswers
    from ..answers.foreign_settings import Door
    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import Connection, GivenConnection
    from ..notebook.markup import Panel
    from ..run.check import Check
    from ..run.options import RunOptions
    from ..run.output import AnyOutput
    from ..run.rows import Asking, Context, PlanInputs
    from ..run.table_run import Making
    from ..schemas import Schema
    from ..tables import TableView
    from .answer_shapes import Shape

    Nodes = Sequence[tuple[str, "Node | None"]]
    """The nodes of a workflow by their ids; None for one that cannot be read."""

METHODS = ("run", "check", "replace", "estimate", "parse", "run_batches", "mapper")
"""What can be done with a node; no setting has one of these names."""
OWN = MappingProxyType({"own": True})
"""The metadata of a field that says something about the node itself; all others are filled in row by row."""


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """What a kind of node is, apart from its settings."""

    gives: str = ""  # in a word or two what becomes of a row, of a node that sends nothing itself
    makes: Mapping[str, str] = field(default_factory=dict)  # its columns, and their types
    handed_on: frozenset[str] = frozenset()  # those that later nodes read by name: they replace what they were made of
    defaults: Mapping[str, str] = field(default_factory=dict)  # by a setting that is not set: the column that gives it
    structured: frozenset[str] = frozenset()  # settings that are lists or objects, of a node that sends nothing itself
    operation: str = ""  # its name in the schemas; empty where nothing is asked
    method: str = "POST"
    path: str = ""  # below the base URL
    known_as: str = ""  # its type in a workflow's file, where that is not its class's name
    names: Mapping[str, str] = field(default_factory=dict)  # of properties, by their settings, where the two differ
    supplied: Mapping[str, Any] = field(default_factory=dict)  # properties of a request where nobody sets them
    shortcuts: bool = False  # ``prompt`` and ``system`` make messages
    form: RequestForm = PLAIN  # of its requests
    packs: bool = False  # its setting ``pack`` is how many rows go in one request
    answers: Callable[[Any], RowAnswers] | None = None  # how a node's answers are read, where they are no texts
    choices: bool = True  # an answer without choices is no success
    as_it_came: bool = False  # an answer is kept, and its status alone says whether it is good
    bodies: type[BodyPlan] = BodyPlan
    later: bool = False  # a worker sends the requests, and the answers are retrieved

    @property
    def does(self) -> str:
        """In a word or two what becomes of a row, such as ``POST /completions``; empty for a node's mere base."""
        return f"{self.method} {self.path}{', later' if self.later else ''}" if self.path else self.gives

    @property
    def writes(self) -> bool:
        """Whether a model writes what is answered, as far as that is known."""
        return self.choices or self.as_it_came

    @property
    def said(self) -> Collection[str]:
        """The settings that are texts, whatever the property is that they make."""
        return ("prompt", "system") if self.shortcuts else self.form.aliases

    @property
    def sends(self) -> bool:
        """Whether the node sends requests itself, and so needs the embedded model's server where that is used."""
        return bool(self.operation) and not self.later


_CALLS = ("check", "estimate", "run", "run_batches", "mapper")


def _option_elsewhere(node: Node, name: str) -> str | None:
    from .neighbours import option_elsewhere  # noqa: PLC0415 - loaded where it is needed

    return option_elsewhere(type(node)._declared.later, name, setting_names(type(node)))


@explaining(*_CALLS, hint=_option_elsewhere)
@dataclass(frozen=True, kw_only=True, repr=False)
class Node:
    """What is done with every row; `run` is told how.

    A node is an immutable record: it compares by its settings, can be pickled, and holds no connection and no state.
    Names with an underscore are for this package: a node shows its settings, and what can be done with it.
    """

    _declared: ClassVar[Declaration] = Declaration()
    _of_settings: ClassVar[bool]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        explaining(*_CALLS, hint=_option_elsewhere)(cls)

    def __new__(cls, *unnamed: Any, **settings: Any) -> Self:
        """Make a node, of settings that it has."""
        if cls._is_made_of_settings():
            if unnamed:
                first = setting_names(cls)[0]
                raise SettingNameError(f"{cls.__name__} needs its settings by name, such as {first}=…")
            check_names(cls, settings)
        return super().__new__(cls)

    @classmethod
    def _is_made_of_settings(cls) -> bool:
        """Return whether a node is made of its settings: one of a user's may have a constructor of its own."""
        if "_of_settings" not in vars(cls):  # kept by the class itself: what is kept elsewhere would keep the class
            given = inspect.signature(cls.__init__).parameters.keys() - {"self"}
            cls._of_settings = given == {*setting_names(cls)}
        return cls._of_settings

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, self._kept(each.name, getattr(self, each.name)))
        self._parsed()

    @classmethod
    def _described_by(cls) -> Schema | None:
        """Return the schema that says what its settings are; None where it asks nothing."""
        from .. import schemas  # noqa: PLC0415 - loaded where it is needed

        operation = cls._declared.operation
        return schemas.load(getattr(cls, "schema", schemas.DEFAULT_REVISION), operation) if operation else None

    def _kept(self, name: str, value: Any) -> Any:
        """Return a setting's value as the node's own, which nobody else can change."""
        return own_copy(value, name)

    def _settings(self) -> dict[str, Any]:
        """Return the settings that are set and filled in row by row, by the names of the properties that they are."""
        return {property_of(type(self), name): value for name, value in Node._written(self).items()}

    def _written(self) -> dict[str, Any]:
        """Return the settings that are set and in which placeholders are filled in, by their own names."""
        given = {each.name: getattr(self, each.name) for each in fields(self) if "own" not in each.metadata}
        return {name: value for name, value in given.items() if value is not None}

    def _values(self) -> dict[str, Any]:
        """Return each setting as plain JSON, or as a value that depends on the row."""
        return {name: parse_setting(name, value) for name, value in self._settings().items()}

    def _parsed(self) -> dict[str, Any]:
        """Return what the settings make, as plain JSON, or as values that depend on the row."""
        return self._values()

    def _pieces(self) -> Mapping[str, Any]:
        """Return the values of which a row is made piece by piece: one that cannot be made leaves the others."""
        return {}

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> RowPlan:
        """Return what becomes of a table's rows; raise `UsageError` if the node and the columns do not fit together."""
        raise NotImplementedError

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        """Run the node, perhaps as a part of a workflow; it heeds the options that mean something to it."""
        raise NotImplementedError

    def _follows(self) -> dict[str, str]:
        """Return the ids of earlier nodes of a workflow that settings name, by the settings' names."""
        return {}

    def _answer_shape(self, earlier: Nodes, columns: Sequence[str] | None) -> Shape | None:
        """Return what is known of the node's answers beforehand, from earlier nodes and, if known, the columns."""
        from .answer_shapes import Shape  # noqa: PLC0415 - loaded where it is needed

        made = self._declared.makes
        return Shape({"type": "object", "properties": {name: {} for name in made}}) if made else None

    def _answer_columns(self, name: str) -> Mapping[str, Any]:
        """Return the columns that a workflow's table has of the node's answers, and their types; `name` is its id."""
        return {}

    def _row_by_row(self, scope: str) -> Asking | Making | None:
        """Return what it asks or makes of each row; None where it must see the table as a whole."""
        return None

    def _retrieves(self, earlier: Nodes) -> str | None:
        """Return the id of the node whose answers this one retrieves; None where there is none, or none is known."""
        return None

    def _hands_on(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of the table that later nodes of a workflow find, of those that this one finds."""
        return (*columns, *(name for name in self._declared.makes if name not in columns))

    @property
    def _pack(self) -> int | None:
        """How many rows go in one request; None where each has its own."""
        return getattr(self, "pack", None) if self._declared.packs else None

    def _begins_empty(self) -> bool:
        """Return whether the conversations that it makes may have no message yet."""
        return False

    def check(
        self, table: Any, connection: GivenConnection | None = None, *, store: str | os.PathLike[str] | None = None
    ) -> Check:
        """Return what would be sent, and which rows cannot be sent and why; nothing is sent.

        Parameters
        ----------
        table, connection, store
            As in `CreateChatCompletion.run`; a stream that can be read only once is refused. What a server would refuse
            depends on whose it is, and `Check.request` shows where a request would go.

        Raises
        ------
        UsageError
            If the node and the table do not fit together: a column that is not there, a schema that cannot be read.
        """
        from ..run.check import check  # noqa: PLC0415 - pandas is loaded where it is needed
        from ..run.options import checked  # noqa: PLC0415
        from ..run.rows import PlanInputs  # noqa: PLC0415

        connection = checked(connection)

        def plan(view: TableView) -> RowPlan:
            return self._plan(view.columns, PlanInputs(connection=connection, store=store, folder=view.folder))

        return check(plan, table, self._declared.path, connection)

    def replace(self, **settings: Any) -> Self:
        """Return a node with some settings changed; raise `SettingError` for one that it has not or cannot use."""
        check_names(type(self), settings)
        return replace(self, **settings)

    def _shown(self) -> dict[str, Any]:
        """Return the settings that were set."""
        defaults = {each.name: each.default for each in fields(self)}
        given = {name: getattr(self, name) for name in setting_names(type(self))}
        return {name: value for name, value in given.items() if value is not None and value != defaults[name]}

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self._shown().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _panel(self) -> Panel:
        """Return what a notebook shows of it."""
        from ..notebook.markup import Panel  # noqa: PLC0415 - loaded where it is used

        facts = [(name, value if isinstance(value, str) else repr(value)) for name, value in self._shown().items()]
        return Panel(type(self).__name__, self._declared.does, facts=facts)

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used

        return html(self._panel())


def own_names(kind: type[Node]) -> tuple[str, ...]:
    """Return the names of the settings that say something about the node itself."""
    return tuple(each.name for each in fields(kind) if "own" in each.metadata)


def setting_names(kind: type[Node]) -> tuple[str, ...]:
    """Return the names of all settings of a kind of node, as they are declared, a base's behind those of its own.

    Those that say something about the node itself are the last.
    """
    own, bases = own_names(kind), [base for base in kind.__mro__[::-1] if is_dataclass(base)]
    depth = {each.name: at for at, base in reversed([*enumerate(bases)]) for each in fields(base)}
    declared = sorted(fields(kind), key=lambda each: -depth[each.name])
    return (*(each.name for each in declared if each.name not in own), *own)


def setting_of(kind: type[Node], name: str) -> str:
    """Return what the setting of a request property is called: ``check_`` where a node's method is called ``check``."""
    for setting, known_as in kind._declared.names.items():
        if known_as == name:
            return setting
    return f"{name}_" if name in METHODS or name in own_names(kind) else name


def property_of(kind: type[Node], setting: str) -> str:
    """Return the request property that a setting is."""
    declared = kind._declared
    if (known_as := declared.names.get(setting) or declared.form.aliases.get(setting)) is not None:
        return known_as
    name = setting.removesuffix("_")
    return name if name != setting and setting_of(kind, name) == setting else setting


def own_copy(value: Any, place: str) -> Any:
    """Return a setting's value as the node's own: plain lists and dicts that nobody else can change."""
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


def check_names(kind: type[Node], settings: Mapping[str, Any], *, door: Door = "python") -> None:
    """Raise `SettingNameError` for a setting that the node does not have, with the nearest name."""
    names = setting_names(kind)
    for name in settings:
        if name not in names:
            told = instead(kind, name, settings[name], door=door)
            clause = f"; {told}" if told else among(str(name), names)
            raise SettingNameError(f"{kind.__name__} has no setting {name!r}{clause}")
    check_request_settings(kind, settings, door=door)


def instead(kind: type[Node], name: str, value: Any, *, door: Door = "python") -> str | None:
    """Return what to write in the place of a setting that another tool or another node has; None for any other."""
    from ..answers import foreign_setting  # noqa: PLC0415 - loaded where it is needed
    from .neighbours import neighbour  # noqa: PLC0415 - loaded where it is needed

    names = setting_names(kind)
    if name in ("answer", "answer_mode", "image", "image_root") and "answer" not in names:
        return "CreateChatCompletion has it" if kind._declared.operation else "set it on the chat that is asked"
    told = foreign_setting(name, value, door=door) if "answer" in names else None
    return told or neighbour(str(name), value, names, door)


def check_request_settings(kind: type[Node], settings: Mapping[str, Any], *, door: Door = "python") -> None:
    """Raise `SettingError` where a setting of the request says what an answer is."""
    from .. import schemas  # noqa: PLC0415 - loaded where it is needed
    from ..answers import foreign_setting  # noqa: PLC0415

    given = {name: settings[name] for name in ("schema", "response_format") if settings.get(name) is not None}
    if not given or "answer" not in setting_names(kind):
        return
    properties = schemas.load(schemas.DEFAULT_REVISION, kind._declared.operation).properties
    for name, value in given.items():
        is_no_answer = isinstance(value, os.PathLike | Column | LiteralText)
        if told := None if is_no_answer else foreign_setting(name, value, tuple(properties), door=door):
            raise SettingError(told, place=name)
