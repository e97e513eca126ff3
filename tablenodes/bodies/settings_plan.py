"""What a node makes of a table's rows, before any of them is looked at."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..column_names import OUTPUTS, RESERVED, known, own_name, planned_name
from ..errors import ColumnError, nearest
from ..problems import Problem
from ..schemas import Schema
from ..schemas.subschemas import TYPES
from ..templates.bounds import Room
from .schema_types import Typing
from .values import CellValue, Row, is_varying


class RowPlan:
    """What becomes of the rows of one table: the base of every plan, of a node that sends nothing as it stands.

    `columns` are read, and `encode` is given their cells in that order; `sources` says where each setting or property
    comes from; `taken` are the columns that are used because of their names; `warnings` say what was perhaps not meant,
    and a run says those that are in `passed_over` too; `schema` is the bodies', None where nothing is sent;
    `refused` is what the server would refuse in every row.
    """

    columns: tuple[str, ...] = ()
    sources: Mapping[str, str] = MappingProxyType({})
    taken: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    schema: Schema | None = None
    refused: tuple[Problem, ...] = ()
    method = "POST"
    is_placed = False  # rows go to places of their own: `encode` returns a `PlacedBody`
    _columns_of: Mapping[str, str]
    _else_from: str | None = None

    def note(self, lines: Sequence[str]) -> None:
        """Have a check and a run say these lines too."""
        self.warnings, self.passed_over = (*self.warnings, *lines), (*self.passed_over, *lines)

    def ahead(self, rows: Iterable[Any]) -> Iterable[Any]:
        """Return the same rows; what they need from elsewhere is read for many at a time."""
        return rows

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Return what a row becomes, such as the bytes of a body; raise `Rejected` if nothing can be made of it."""
        raise NotImplementedError

    def draft(self, cells: tuple[Any, ...]) -> tuple[bytes, tuple[Problem, ...]]:
        """Return a row's body, and why it cannot be sent; raise `Rejected` where none can be made."""
        raise NotImplementedError

    def outline(self) -> Any:
        """Return what is known of what every row becomes, where the rest cannot be made yet."""
        return b"{}"

    def column_of(self, path: str) -> str | None:
        """Return the column or columns that a place was filled from, or None."""
        return self._columns_of.get(top_of(path), self._else_from)

    def looks_like_json(self, body: Mapping[str, Any]) -> set[str]:
        """Return the places of a body, without their numbers, whose text was probably meant as a JSON array."""
        return set()

    def noted(self, *, alike: bool) -> Iterator[str]:
        """Yield what is to be said of the values that were met, and with `alike` of texts that only look like JSON."""
        return iter(())

    def wrong_settings(self) -> list[Problem]:
        """Return what is wrong with settings that are the same in every row."""
        return []


class SettingsPlan(RowPlan):
    """The settings of a node that sends nothing, row by row: plain values, and those that depend on the row.

    `defaults` names, for settings that are not set, the column that gives them where the table has it; `constants` is
    what ``inputs`` and ``outputs`` stand for; `becomes` makes of a row's settings what the row becomes; settings that
    are `structured` are lists or objects, also where they are written as JSON texts.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        table: Sequence[str],
        *,
        defaults: Mapping[str, str] | None = None,
        constants: Mapping[str, Any] | None = None,
        becomes: Callable[[dict[str, Any]], Any] | None = None,
        structured: Collection[str] = (),
    ) -> None:
        self._becomes = becomes
        constants = constants or {}
        values = dict(settings)
        for name, column in (defaults or {}).items():
            if name not in values and column in table:
                values[name] = CellValue(column, name)
        varying = {name: value for name, value in values.items() if is_varying(value)}
        for value in varying.values():
            value.check(table, tuple(constants))
        self.columns = columns_read(values, table)
        self.taken = tuple(c for n, c in (defaults or {}).items() if n not in settings and c in table)
        self._columns_of = columns_of(values)
        self.sources = {name: source(name in settings, self._columns_of.get(name)) for name in values}
        self._room = Room()
        row = Row(tuple(table), {name: i for i, name in enumerate(self.columns)}, constants, None, self._room)
        anything = Typing(lambda path: TYPES - {"string"} if len(path) == 1 and path[0] in structured else TYPES)
        self._constants = {name: value for name, value in values.items() if name not in varying}
        self._gives = [(name, value.bind(row, anything.below(name), f"$.{name}")) for name, value in varying.items()]

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Return what a row's settings become; a setting of a null cell is None."""
        self._room.begin()
        settings = {**self._constants, **{name: give(cells) for name, give in self._gives}}
        return settings if self._becomes is None else self._becomes(settings)


def columns_read(values: Mapping[str, Any], table: Sequence[str], *more: str) -> tuple[str, ...]:
    """Return the columns that values read, as plans call them, and `more`; raise `ColumnError` for one not there."""
    varying = [value for value in values.values() if is_varying(value)]
    read = dict.fromkeys(map(planned_name, table)) if any(value.whole_row() for value in varying) else {}
    read |= dict.fromkeys(name for value in varying for name in value.columns()) | dict.fromkeys(more)
    for name in read:
        if own_name(name) not in table and name not in RESERVED:
            raise ColumnError(f"no column {name!r}{nearest(name, table) or known(table)}")
    return tuple(read)


def columns_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each value that varies, the columns that it reads."""
    return {name: ", ".join(dict.fromkeys(value.columns())) for name, value in values.items() if is_varying(value)}


def source(is_set: bool, columns: str | None) -> str:
    """Return where a value comes from: what is set, or the columns that it reads."""
    if is_set and columns:
        return f"setting, with {', '.join('earlier answers' if n == OUTPUTS else n for n in columns.split(', '))}"
    if is_set:
        return "setting"
    return f"column {columns}"


def top_of(path: str) -> str:
    """Return the property that a path such as ``$.messages[0].role`` begins with."""
    return path.removeprefix("$.").partition(".")[0].partition("[")[0]


def needed(column: str, table: Sequence[str]) -> None:
    """Raise `ColumnError` where a table lacks a column that a node cannot do without."""
    if column not in table:
        raise ColumnError(f"no column {column!r}{nearest(column, table) or known(table)}")
