"""pandas data frames: each dtype has its own shortest way to plain cells."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy
import pandas
import pyarrow
from pyarrow import timestamp, types

from ..plain import plain
from .arrow_cells import arrow_column, widened
from .origin import folder_of, set_folder
from .typed_columns import arrow_array, is_vector, vector_rows
from .views import ROWS, Column, TableView, WrittenNumber, attempt, is_text

_PYTHONS_YEARS = (1, 9999)
_DATES = numpy.dtype("datetime64[s]")


class PandasView(TableView):
    """A `pandas.DataFrame`."""

    kind = "pandas"
    holds_objects = True

    def __init__(self, table: pandas.DataFrame) -> None:
        super().__init__(table, table.columns)
        # Shares the values. Whoever sorts or filters the frame in place later does not move the answers.
        self._rows_given = table.copy(deep=False)
        self.folder = folder_of(table)

    def held(self) -> Self:
        """Return the view with rows of its own, where pandas would write into those that it shares."""
        if not _copies_on_write():
            self._rows_given = self._rows_given.copy()
        return self

    def __len__(self) -> int:
        return len(self._rows_given)

    def _column(self, name: str) -> Column:
        return pandas_column(self._rows_given[name])

    def cell(self, name: str, position: int) -> Any:
        """Return one cell as the table's own library does."""
        return self._rows_given[name].array[position]

    def labels(self, positions: Sequence[int]) -> tuple[str, Any]:
        """Return the index's labels of the rows at these positions, and its name."""
        index = self._rows_given.index
        is_default = index.equals(pandas.RangeIndex(len(index)))
        name = ", ".join(map(str, filter(None, index.names))) or ("row" if is_default else "index")
        return name, index.to_flat_index().take(numpy.asarray(positions, dtype=numpy.int64))

    def without(self, names: Collection[str]) -> PandasView:
        """Return the view of the table without some of its columns; it has as many rows, also with no column left."""
        return PandasView(self._rows_given.drop(columns=[*names]))

    @property
    def index(self) -> Any:
        """The labels of the rows."""
        return self._rows_given.index

    def labelled(self, name: str, values: Mapping[str, Any]) -> Any:
        """Return values by their names as a Series."""
        return pandas.Series({key: numpy.nan if value is None else value for key, value in values.items()}, name=name)

    def _take(self, positions: Any) -> Any:
        return self._rows_given.iloc[positions]

    def has_in_order(self, positions: Sequence[int], other: TableView) -> bool:
        """Check whether another table's rows are those at these positions, in their order: by their index if it can."""
        index, theirs = self._rows_given.index, getattr(other.table, "index", None)
        if index.is_unique and isinstance(theirs, pandas.Index):
            return bool(index.take(numpy.asarray(positions, dtype=numpy.int64)).equals(theirs))
        return super().has_in_order(positions, other)

    def _make(self, columns: Mapping[str, Any], nullable: frozenset[str] = frozenset()) -> Any:
        return _frame(columns, self._rows_given.index, nullable)

    def _make_of(self, rows: Sequence[int], columns: Mapping[str, Any], nullable: frozenset[str]) -> Any:
        return _frame(columns, self._rows_given.index.take(numpy.asarray(rows, numpy.int64)), nullable)

    def _series(self, name: str, column: Any, *, nullable: bool = False) -> Any:
        cells = pandas_array(column, nullable=nullable)
        if is_vector(column.type):
            return VectorSeries.of(column, cells, self._rows_given.index, name)
        return pandas.Series(cells, index=self._rows_given.index, name=name, copy=False)

    def _replacing(self, made: Any, kept: list[str]) -> Any:
        rows = self._rows_given  # whose selection would copy every column, where all are kept
        table = pandas.concat([rows if tuple(kept) == self.columns else rows[kept], made], axis=1)
        return table if self.folder is None else set_folder(table, self.folder)


class VectorSeries(pandas.Series):
    """A column of vectors, which NumPy sees as one matrix: NaN where a row has none."""

    _metadata = ["_matrix"]  # noqa: RUF012 - as pandas wants it
    _matrix: Any = None

    @classmethod
    def of(cls, column: Any, cells: Any, index: pandas.Index[Any], name: str) -> VectorSeries:
        """Return the column of an Arrow array whose vectors are the cells."""
        made = cls(cells, index=index, name=name, copy=False)
        made._matrix = vector_rows(column)[0]
        return made

    @property
    def _constructor(self) -> Any:
        return pandas.Series

    def to_numpy(self, dtype: Any = None, copy: bool = False, na_value: Any = None) -> Any:  # type: ignore[override]
        """Return the vectors as a matrix of 32-bit floats: one row a row, NaN where it has none."""
        made = self._matrix if na_value is None else numpy.where(numpy.isnan(self._matrix), na_value, self._matrix)
        return made.astype(made.dtype if dtype is None else dtype, copy=copy)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.to_numpy(dtype, copy=bool(copy))

    def __reduce__(self) -> Any:
        return pandas.Series, ([*self], self.index, object, self.name)


def _copies_on_write() -> bool:
    """Check whether pandas copies shared values before it writes to them: always from its version 3 on."""
    is_always_on = int(pandas.__version__.partition(".")[0]) >= 3
    return is_always_on or pandas.get_option("mode.copy_on_write") is True


def frame(columns: Mapping[str, Sequence[Any]], types: Mapping[str, str]) -> pandas.DataFrame:
    """Return a new data frame whose rows are counted from 0."""
    made = {name: arrow_array(values, types[name]) for name, values in columns.items()}
    return _frame(made, pandas.RangeIndex(len(next(iter(made.values()), ()))))


def long_frame(batches: Iterable[Mapping[str, Sequence[Any]]], types: Mapping[str, str]) -> pandas.DataFrame:
    """Return a new data frame of batches of rows, of which only one at a time is held as Python's values."""
    chunks: dict[str, list[Any]] = {name: [arrow_array([], of)] for name, of in types.items()}
    for batch in batches:
        for name, of in types.items():
            chunks[name].append(arrow_array(batch[name], of))
    made = {name: pyarrow.chunked_array(parts) for name, parts in chunks.items()}
    return _frame(made, pandas.RangeIndex(len(next(iter(made.values()), ()))))


def _frame(
    columns: Mapping[str, Any], index: pandas.Index[Any], nullable: frozenset[str] = frozenset()
) -> pandas.DataFrame:
    arrays = {
        name: pandas.Series(_of_objects(column), index, dtype=object)  # not looked through for texts
        if isinstance(column, list)
        else pandas_array(column, nullable=name in nullable)
        for name, column in columns.items()
    }
    return pandas.DataFrame(arrays, index=index, copy=False)


def pandas_array(column: Any, *, nullable: bool = False) -> Any:
    """Return an Arrow array of one of the types of a made column as the array that pandas has for it."""
    dtype: Any = None
    if types.is_dictionary(column.type):
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return pandas.Categorical.from_codes(codes, pandas.Index(pandas_array(column.dictionary)))
    if is_vector(column.type) and types.is_fixed_size_list(column.type):
        rows = zip(*vector_rows(column), strict=True)
        return _of_objects([vector if is_there else None for vector, is_there in rows])
    if types.is_nested(column.type):
        return _of_objects(column.to_pylist())
    if types.is_temporal(column.type):
        return _moments(column)
    if nullable and types.is_floating(column.type):
        dtype = pandas.Float64Dtype()
    if types.is_integer(column.type):
        dtype = pandas.Int64Dtype()
    elif types.is_boolean(column.type):
        dtype = pandas.BooleanDtype()
    elif types.is_large_string(column.type):
        dtype = pandas.Series([""]).dtype  # pandas' own for text: objects before its version 3
    if hasattr(dtype, "__from_arrow__"):
        return dtype.__from_arrow__(column)
    return column.to_numpy(zero_copy_only=False)


def _of_objects(values: list[Any]) -> Any:
    return numpy.fromiter(values, dtype=object, count=len(values))


def _moments(column: Any) -> Any:
    """Return dates, or moments in UTC."""
    if types.is_date(column.type):
        return pandas.Series(column.to_numpy(zero_copy_only=False).astype(_DATES)).array
    naive = column.cast(timestamp("us")).to_numpy(zero_copy_only=False)
    return pandas.Series(naive.astype("datetime64[us]")).dt.tz_localize("UTC").array


def with_named_index(table: pandas.DataFrame) -> pandas.DataFrame:
    """Return the table with the levels of its index that have a name of their own as columns on its left."""
    names = [name for name in table.index.names if isinstance(name, str) and name not in table.columns]
    return table.reset_index(level=names) if names else table


def pandas_column(column: Any) -> Column:
    """Return the way to read a column."""
    dtype, cells = column.dtype, column.array
    if isinstance(dtype, pandas.ArrowDtype) or getattr(dtype, "storage", "").startswith("pyarrow"):
        return arrow_column(cells.__arrow_array__(), nan_is_null=True)
    if isinstance(dtype, pandas.CategoricalDtype):
        return _categories(cells)
    convert = _days if _are_days(dtype, cells) else _reader(dtype)
    return Column(
        lambda start, stop: convert(cells[start:stop]), is_text_or_number=lambda: _is_text_or_number(dtype, cells)
    )


def _is_text_or_number(dtype: Any, cells: Any) -> bool:
    kind = getattr(dtype, "kind", "O")
    if kind == "M":
        return _is_in_pythons_years(cells)
    if kind != "O":
        return kind in "biuf"
    values = numpy.asarray(cells, dtype=object)
    texts = values[~pandas.isna(values)]
    try:
        for start in range(0, len(texts), ROWS):
            joined = "".join(texts[start : start + ROWS].tolist())
            if not joined.isascii() and not is_text(joined):
                return False
    except TypeError:  # other objects
        return False
    return True


def _is_in_pythons_years(cells: Any) -> bool:
    return bool(_PYTHONS_YEARS[0] <= cells.min().year and cells.max().year <= _PYTHONS_YEARS[1])


def _are_days(dtype: Any, cells: Any) -> bool:
    """Check whether a column has dates alone: pandas has no type for these but moments that are counted in seconds."""
    if dtype != _DATES or not _is_in_pythons_years(cells):
        return False
    moments = cells.to_numpy()
    return bool(((moments == moments.astype("datetime64[D]")) | numpy.isnat(moments)).all())


def _days(part: Any) -> list[str | None]:
    """Return dates as ISO 8601 texts."""
    moments = part.to_numpy()
    texts = numpy.datetime_as_string(moments, unit="D").tolist()
    return [None if is_missing else text for text, is_missing in zip(texts, numpy.isnat(moments), strict=True)]


def _reader(dtype: Any) -> Callable[[Any], list[Any]]:
    """Return the function that turns a part of a column of this dtype into plain cells."""
    if isinstance(dtype, numpy.dtype) and dtype.kind in "biu":
        return lambda part: part.to_numpy().tolist()
    if isinstance(dtype, numpy.dtype) and dtype.kind == "f":
        return lambda part: _floats(part.to_numpy())
    if isinstance(dtype, pandas.api.extensions.ExtensionDtype) and dtype.kind in "biu" and dtype.na_value is pandas.NA:
        return lambda part: part.to_numpy(dtype=object, na_value=None).tolist()
    if isinstance(dtype, pandas.Float32Dtype | pandas.Float64Dtype):
        return lambda part: _floats(part.to_numpy(dtype=dtype.name.lower(), na_value=numpy.nan))
    return lambda part: _objects(numpy.asarray(part, dtype=object).tolist())


def _categories(cells: Any) -> Column:
    known = pandas_column(cells.categories)
    values = [*known.read(0, len(cells.categories)), None]  # the code of a missing value is -1: the last
    return Column(
        lambda start, stop: [values[code] for code in cells.codes[start:stop].tolist()],
        is_text_or_number=known.is_text_or_number,
    )


def _floats(numbers: Any) -> list[Any]:
    found: list[Any] = widened(numbers).tolist()
    return found if numpy.isfinite(numbers).all() else _objects(found)


def _objects(cells: list[Any]) -> list[Any]:
    return [cell if type(cell) is str and (cell.isascii() or is_text(cell)) else _object(cell) for cell in cells]


def _object(cell: Any) -> Any:
    return None if cell is None else attempt(_known_or_missing, cell)


def _known_or_missing(cell: Any) -> Any:
    if type(cell) is WrittenNumber:
        return plain(float(cell))  # which raises
    is_missing = isinstance(cell, float | numpy.floating | decimal.Decimal) and bool(pandas.isna(cell))  # type: ignore[arg-type]
    return None if is_missing else plain(cell)
