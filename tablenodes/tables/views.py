"""What a table is to the rest of the package, whatever library it comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from operator import eq
from typing import Any, ClassVar, NamedTuple, Self

import numpy

from ..column_names import free_names, own_name
from ..errors import ColumnError, nearest
from ..problems import Unfit
from .typed_columns import ColumnType, arrow_array

ROWS = 2_000  # rows that are converted at a time
BYTES = 32 * 2**20  # fewer rows are converted at a time where they are longer than this together
_SHOWN = 5
OBJECT = "object"  # the type of a column of Python objects, where a table `holds_objects`


class WrittenNumber(float):
    """NaN or infinity that a file of JSON lines has, written as it was read.

    No missing value: a row that uses it is not sent without it.
    """

    def __str__(self) -> str:
        return "NaN" if self != self else "Infinity" if self > 0 else "-Infinity"  # noqa: PLR0124 - NaN alone


class Column(NamedTuple):
    """How the cells of one column are read; their `size` is in bytes, about, 0 where reading costs no new memory."""

    read: Callable[[int, int], list[Any]]
    size: Callable[[int, int], int] = lambda _start, _stop: 0
    is_text_or_number: Callable[[], bool] = lambda: False


class TableView(ABC):
    """A table that somebody gave: its rows as plain values, and tables of its kind made for it."""

    kind: ClassVar[str]
    holds_objects: ClassVar[bool] = False  # whether a column may hold any Python object: of the type ``object``

    folder: str | None = None  # of the file that the table was read from; None of a table in memory

    def __init__(self, table: Any, names: Iterable[Any], *, one_shot: bool = False) -> None:
        self.table = self.given = table
        self.columns = checked_names(names)
        self.one_shot = one_shot

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    def held(self) -> Self:
        """Return the view of rows that stay as they are now, whatever their owner writes into the table later."""
        return self

    @abstractmethod
    def without(self, names: Collection[str]) -> TableView:
        """Return the view of the table without some of its columns; it has as many rows, also with no column left."""

    @property
    def index(self) -> Any:
        """The labels of the rows; None where the library has none."""
        return None

    def labelled(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return values by their names, as the table's library holds such."""
        return dict(values)

    def rows(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Return the rows in their order, as tuples of plain JSON cells; at most `ROWS` at a time are converted."""
        columns = [own_name(name) for name in columns]
        for name in columns:
            if name not in self.columns:
                raise ColumnError(f"the table has no column {name!r}{nearest(name, self.columns)}")
        if len(columns) == 0:
            return repeat((), len(self))
        return chain.from_iterable(self._parts([self._column(name) for name in columns]))

    def _parts(self, columns: list[Column]) -> Iterator[Iterator[tuple[Any, ...]]]:
        start, length = 0, len(self)
        while start < length:
            stop = min(start + ROWS, length)
            while stop - start > 1 and sum(column.size(start, stop) for column in columns) > BYTES:
                stop = start + (stop - start) // 2
            yield zip(*(column.read(start, stop) for column in columns), strict=True)
            start = stop

    def is_text_or_number(self, name: str) -> bool:
        """Check, without work per cell, that a column has but texts, numbers and the like; False says nothing."""
        return self._column(name).is_text_or_number()

    @abstractmethod
    def _column(self, name: str) -> Column:
        """Return the way to read one column's cells."""

    @abstractmethod
    def cell(self, name: str, position: int) -> Any:
        """Return one cell as the table's own library does, for what `rows` gives an `Unfit`."""

    def labels(self, positions: Sequence[int]) -> tuple[str, Any]:
        """Return what the labels of rows are called, and those of some rows; positions where there is no index."""
        return "row", [*positions]

    def take(self, positions: Sequence[int]) -> Any:
        """Return a table of the same kind with the rows at these positions, their index kept."""
        return self._take(numpy.asarray(positions, dtype=numpy.int64))

    @abstractmethod
    def _take(self, positions: Any) -> Any: ...

    def has_in_order(self, positions: Sequence[int], other: TableView) -> bool:
        """Check whether another table's rows are those at these positions, in their order: by their cells."""
        if any(name not in other.columns for name in self.columns):
            return False
        mine: TableView = type(self)(self.take(positions))  # type: ignore[call-arg] # each kind takes a table alone
        return all(map(eq, map(repr, mine.rows(self.columns)), map(repr, other.rows(self.columns))))

    def make(
        self,
        columns: Mapping[str, Sequence[Any]],
        types: Mapping[str, ColumnType],
        rows: Sequence[int] | None = None,
    ) -> Any:
        """Return a new table of the same kind with the same index; that of `rows`, by position, if they are said."""
        made = {
            name: values if types[name] == OBJECT else arrow_array(values, types[name])
            for name, values in columns.items()
        }
        return self._make(made, _nullable(types)) if rows is None else self._make_of(rows, made, _nullable(types))

    def _make_of(self, rows: Sequence[int], columns: Mapping[str, Any], nullable: frozenset[str]) -> Any:
        """Return the table of these Arrow arrays, with the index of these rows where a table has one."""
        return self._make(columns, nullable)

    @abstractmethod
    def _make(self, columns: Mapping[str, Any], nullable: frozenset[str] = frozenset()) -> Any:
        """Return the table of these Arrow arrays; the numbers of `nullable` columns tell null from NaN."""

    def series(self, name: str, values: Sequence[Any], of: ColumnType) -> Any:
        """Return one new column, with the table's index: a Series, or a ChunkedArray in Arrow."""
        return self._series(name, arrow_array(values, of), nullable=not isinstance(of, str))

    @abstractmethod
    def _series(self, name: str, column: Any, *, nullable: bool = False) -> Any: ...

    def select(self, names: Sequence[str]) -> Any:
        """Return a new table of some of its columns, in this order."""
        return self._replacing(self._make({}), list(names))

    def beside(self, columns: Mapping[str, Sequence[Any]], types: Mapping[str, ColumnType]) -> Any:
        """Return the table with these columns to its right; ``text`` becomes ``text_2`` where it has one."""
        names = free_names(columns, self.columns)
        return self.replacing(
            {names[name]: values for name, values in columns.items()}, {names[name]: of for name, of in types.items()}
        )

    def replacing(
        self, columns: Mapping[str, Sequence[Any]], types: Mapping[str, ColumnType], without: Collection[str] = ()
    ) -> Any:
        """Return a new table: the given one with these columns in place of those of the same names, or to its right."""
        made = {name: arrow_array(values, types[name]) for name, values in columns.items()}
        return self._replacing(
            self._make(made, _nullable(types)),
            [name for name in self.columns if name not in made and name not in without],
        )

    @abstractmethod
    def _replacing(self, made: Any, kept: list[str]) -> Any:
        """Return the table's columns `kept`, with those of `made` to their right."""


def checked_names(names: Iterable[Any]) -> tuple[str, ...]:
    """Return a table's column names, all of them text and none of them twice."""
    names = tuple(names)
    wrong = [name for name in names if not isinstance(name, str) or not is_text(name)]
    if wrong:
        raise ColumnError(f"column names must be text, but {_listed(wrong)} not; use table.rename(columns=str)")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ColumnError(f"column names must differ, but {_listed(repeated)} there more than once; rename them")
    return tuple(map(str, names))


def is_text(text: str) -> bool:
    """Check whether a text has no half of a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _listed(names: Sequence[Any]) -> str:
    shown = [repr(name)[:60] for name in names[:_SHOWN]]
    more = [f"{len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return f"{', '.join(shown + more)} {'is' if len(names) == 1 else 'are'}"


def attempt(convert: Callable[[Any], Any], cell: Any) -> Any:
    """Convert a cell; return the `Unfit` in its place where that cannot be."""
    try:
        return convert(cell)
    except Unfit as unfit:
        made = Unfit(*unfit.args)  # a fresh one: the one that was raised keeps its frames alive
    except Exception:  # noqa: BLE001 - whatever a foreign class raises: one bad cell never stops a run
        made = Unfit("holds a value that cannot be read")
    made.value = cell
    return made


def _nullable(types: Mapping[str, ColumnType]) -> frozenset[str]:
    return frozenset(name for name, of in types.items() if not isinstance(of, str))
