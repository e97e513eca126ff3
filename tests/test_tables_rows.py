"""What the rows of a table are, whatever library and type its columns come from."""

from __future__ import annotations

import datetime
import decimal
import uuid

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

from tablenodes import tables
from tablenodes.errors import ColumnError
from tablenodes.problems import Unfit
from tablenodes.tables import views

BIG = 2**60 + 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def cells(column, name="a"):
    """Return what `rows` makes of one column, an `Unfit` as its reason."""
    table = pd.DataFrame({name: column})
    return shown(tables.view(table).rows([name]))


def arrow_cells(column):
    return shown(tables.view(pa.table({"a": column})).rows(["a"]))


def polars_cells(column):
    return shown(tables.view(pl.DataFrame({"a": column})).rows(["a"]))


def shown(rows):
    return [f"<{cell}>" if isinstance(cell, Unfit) else cell for (cell,) in rows]


def exactly(found, expected):
    """Equal, and of the same types: 1, 1.0 and True are three values."""
    assert found == expected
    assert [*map(type, found)] == [*map(type, expected)]


class Hostile(dict):
    """A mapping of somebody's own that cannot be read."""

    def items(self):
        raise RuntimeError("secret")


# --- pandas -----------------------------------------------------------------------------------------------------------

PANDAS = {
    "text": (["NA", "", "007", None], ["NA", "", "007", None]),
    "text as objects": (pd.Series(["a", None, np.nan, "é"], dtype=object), ["a", None, None, "é"]),
    "string[python]": (pd.array(["a", None, "é"], "string[python]"), ["a", None, "é"]),
    "string[pyarrow]": (pd.array(["a", None, "é"], "string[pyarrow]"), ["a", None, "é"]),
    "integers": ([1, BIG], [1, BIG]),
    "small integers": (np.array([1, 2], "uint8"), [1, 2]),
    "unsigned integers": (np.array([2**64 - 1], "uint64"), [2**64 - 1]),
    "nullable integers": (pd.array([16, None, BIG], "Int64"), [16, None, BIG]),
    "floats": ([0.5, np.nan], [0.5, None]),
    "infinities": ([0.5, np.inf, np.nan], [0.5, "<holds infinity>", None]),
    "short floats": (np.array([0.5, np.nan], "float32"), [0.5, None]),
    "nullable floats": (pd.array([0.5, None], "Float32"), [0.5, None]),
    "booleans": ([True, False], [True, False]),
    "nullable booleans": (pd.array([True, None], "boolean"), [True, None]),
    "categories": (pd.Categorical(["b", None, "a", "b"]), ["b", None, "a", "b"]),
    "categories of integers": (pd.Categorical([2, 1, None]), [2, 1, None]),
    "timestamps": (pd.to_datetime(["2024-02-29", None]), ["2024-02-29T00:00:00", None]),
    "days": (np.array(["2024-02-29", "NaT"], "datetime64[s]"), ["2024-02-29", None]),
    "seconds": (
        np.array(["2024-02-29", "2024-02-29T00:00:01"], "M8[s]"),
        ["2024-02-29T00:00:00", "2024-02-29T00:00:01"],
    ),
    "days of no calendar": (
        np.array(["12024-02-29", "NaT"], "datetime64[s]"),
        ["12024-02-29T00:00:00", None],
    ),
    "timestamps with a zone": (
        pd.to_datetime(["2024-02-29", None]).tz_localize("Europe/Paris"),
        ["2024-02-29T00:00:00+01:00", None],
    ),
    "durations": (pd.to_timedelta(["90s", None]), ["PT1M30S", None]),
    "periods": (pd.PeriodIndex(["2024-02", None], freq="M"), ["<holds a value of type Period>", None]),
    "sparse numbers": (pd.arrays.SparseArray([0.5, np.nan, 0.5]), [0.5, None, 0.5]),
    "Arrow integers": (pd.array([16, None, BIG], pd.ArrowDtype(pa.int64())), [16, None, BIG]),
    "Arrow floats": (pd.array([0.5, None], pd.ArrowDtype(pa.float64())), [0.5, None]),
    "Arrow floats that are not finite": (
        pd.arrays.ArrowExtensionArray(pa.chunked_array([[float("nan"), float("inf"), None]])),
        [None, "<holds infinity>", None],
    ),
    "Arrow structs": (
        pd.array([{"x": 1, "y": None}, None], pd.ArrowDtype(pa.struct([("x", pa.int64()), ("y", pa.string())]))),
        [{"x": 1}, None],
    ),
    "floats of 32 bits": (np.array([0.7, 2**30, -1e-7, np.nan], "float32"), [0.7, float(2**30), -1e-7, None]),
    "floats of 32 bits and infinity": (np.array([0.7, np.inf], "float32"), [0.7, "<holds infinity>"]),
    "floats of 32 bits, big end first": (np.array([0.7], ">f4"), [0.7]),
    "floats of 16 bits": (np.array([0.7, 65504], "float16"), [0.7, 65504.0]),
    "nullable floats of 32 bits": (pd.array([0.7, None], "Float32"), [0.7, None]),
    "categories of floats": (pd.Categorical(np.array([0.7, 0.1], "float32")), [0.7, 0.1]),
    "complex numbers": ([1j], ["<holds a value of type complex>"]),
}


@pytest.mark.parametrize("name", PANDAS)
def test_a_pandas_column_gives_plain_cells(name):
    """Every dtype has one plain form, exact, with None for what pandas calls missing."""
    column, expected = PANDAS[name]
    exactly(cells(column), expected)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_float_of_32_bits_goes_out_as_its_shortest_decimal_wherever_it_stands(numbers):
    """The receiver gets the same float back, from no more digits than it takes; a whole number is itself."""
    narrow = np.array(numbers, "float32")
    expected = [number if number.is_integer() else float(str(np.float32(number))) for number in numbers]
    exactly(cells(narrow), expected)
    exactly(cells(pd.Series([*narrow], dtype=object)), expected)
    exactly(arrow_cells(pa.array(narrow)), expected)
    exactly(arrow_cells(pa.array([narrow.tolist()], pa.list_(pa.float32()))), [expected])
    assert (np.array(expected, "float32") == narrow).all()


OBJECTS = {
    "missing values": ([None, np.nan, pd.NA, pd.NaT, np.float32("nan"), decimal.Decimal("NaN")], [None] * 6),
    "mixed scalars": ([1, 1.0, True, "1", BIG], [1, 1.0, True, "1", BIG]),
    "decimals": (
        [decimal.Decimal("0.10"), decimal.Decimal("16.0"), decimal.Decimal("0.12345678901234567890")],
        [0.1, 16, "<holds a decimal with more digits than JSON can keep>"],
    ),
    "dates": (
        [datetime.date(2024, 2, 29), datetime.time(1, 2), uuid.UUID(int=0)],
        ["2024-02-29", "01:02:00", "00000000-0000-0000-0000-000000000000"],
    ),
    "floats of 32 bits": (
        [np.float32(0.7), np.float16(0.7), {"a": np.array([0.7, 3], "float32")}, np.array([[0.1]], "float32")],
        [0.7, 0.7, {"a": [0.7, 3.0]}, [[0.1]]],
    ),
    "lists of structs, as pandas reads them from Parquet": (
        [np.array([{"role": "user", "name": None, "parts": np.array([{"a": None}])}], object), {"a": None}],
        [[{"role": "user", "parts": [{}]}], {"a": None}],
    ),
    "cells that raise": (
        [decimal.Decimal("sNaN"), Hostile(a=1), [Hostile(a=1)], {"a": decimal.Decimal("sNaN")}, "good"],
        ["<holds a value that cannot be read>"] * 3 + ["<holds NaN>", "good"],
    ),
    "nested values": ([{"a": None}, {"b": 1}, [None, {"c": ()}]], [{"a": None}, {"b": 1}, [None, {"c": []}]]),
    "arrays": ([np.array([1, 2]), np.array([np.nan])], [[1, 2], "<holds NaN>"]),
    "what cannot be sent": (
        [b"x", "a\ud800", {"x": float("inf")}, {1, 2}, 2**64],
        [
            "<holds bytes>",
            "<holds half of a surrogate pair, which is not a character>",
            "<holds infinity>",
            "<holds a value of type set>",
            "<holds an integer of more than 64 bits>",
        ],
    ),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_column_gives_each_cell_as_it_is(name):
    """Objects are looked at one by one: nothing of one row shows in another."""
    values, expected = OBJECTS[name]
    exactly(cells(pd.Series(values, dtype=object)), expected)


def test_nested_objects_are_not_copied():
    """A cell that is plain already comes out as the object that stands in the table."""
    message = [{"role": "user", "content": "é"}]
    [(cell,)] = tables.view(pd.DataFrame({"messages": [message]})).rows(["messages"])
    assert cell is message


# --- Arrow ------------------------------------------------------------------------------------------------------------

STRUCT = pa.struct([("x", pa.int64()), ("y", pa.struct([("z", pa.timestamp("s"))]))])
ARROW = {
    "string": (pa.array(["a", None, ""]), ["a", None, ""]),
    "large string": (pa.array(["a", None], pa.large_string()), ["a", None]),
    "string view": (pa.array(["a", None], pa.string_view()), ["a", None]),
    "dictionary": (pa.array(["a", None, "a"]).dictionary_encode(), ["a", None, "a"]),
    "dictionary of views": (
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array(["a", "b"], pa.string_view())),
        ["b", "a", None],
    ),
    "dictionary of structs": (
        pa.DictionaryArray.from_arrays(pa.array([1, 0, None]), pa.array([{"a": 1}, {"b": 2}])),
        [{"b": 2}, {"a": 1}, None],
    ),
    "dictionary of dates": (
        pa.array([datetime.date(2024, 2, 29)]).dictionary_encode(),
        ["2024-02-29"],
    ),
    "integer": (pa.array([BIG, None]), [BIG, None]),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
    "boolean": (pa.array([True, None]), [True, None]),
    "null": (pa.nulls(2), [None, None]),
    "float": (pa.array([0.5, 1.0]), [0.5, 1.0]),
    "float with nulls": (
        pa.array([0.5, None, float("nan"), float("-inf")]),
        [0.5, None, "<holds NaN>", "<holds infinity>"],
    ),
    "half float": (pa.array(np.array([0.5], "float16")), [0.5]),
    "decimal": (pa.array([decimal.Decimal("0.10"), None]), [0.1, None]),
    "date": (pa.array([datetime.date(2024, 2, 29), None]), ["2024-02-29", None]),
    "timestamp": (pa.array([0, None], pa.timestamp("us", "UTC")), ["1970-01-01T00:00:00+00:00", None]),
    "timestamp of nanoseconds": (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
    "timestamp out of range": (
        pa.array([2**62, 0, None], pa.timestamp("us")),
        ["<holds a timestamp[us] that cannot be read>", "1970-01-01T00:00:00", None],
    ),
    "time": (pa.array([datetime.time(1, 2, 3)]), ["01:02:03"]),
    "time of nanoseconds": (
        pa.array([3_600_000_000_001, 1_500_000_000, 1_000_000_000, None], pa.time64("ns")),
        ["01:00:00.000000001", "00:00:01.500000", "00:00:01", None],
    ),
    "duration": (pa.array([90], pa.duration("s")), ["PT1M30S"]),
    "binary": (pa.array([b"x", None]), ["<holds bytes>", None]),
    "list": (pa.array([["a", None], None, []]), [["a", None], None, []]),
    "list of numbers": (pa.array([[1, 2]], pa.list_(pa.int8(), 2)), [[1, 2]]),
    "list of floats": (pa.array([[0.5, None], [float("nan")]]), [[0.5, None], "<holds NaN>"]),
    "list of dates": (pa.array([[datetime.date(2024, 2, 29)]], pa.large_list(pa.date32())), [["2024-02-29"]]),
    "struct": (pa.array([{"x": 1, "y": None}, None, {}], STRUCT), [{"x": 1}, None, {}]),
    "struct of structs": (
        pa.array([{"y": {"z": datetime.datetime(2024, 2, 29)}}, {"y": {}}], STRUCT),
        [{"y": {"z": "2024-02-29T00:00:00"}}, {"y": {}}],
    ),
    "floats of 32 bits": (pa.array([0.7, float(2**30), None], pa.float32()), [0.7, float(2**30), None]),
    "floats of 32 bits without a null": (pa.array([0.7, -0.1], pa.float32()), [0.7, -0.1]),
    "floats of 32 bits and NaN": (pa.array([0.7, float("nan"), None], pa.float32()), [0.7, "<holds NaN>", None]),
    "floats of 16 bits": (pa.array([np.float16(0.7), None], pa.float16()), [0.7, None]),
    "lists of floats of 32 bits": (
        pa.array([[0.7, 0.1], [None, 0.7], [], None], pa.list_(pa.float32())),
        [[0.7, 0.1], [None, 0.7], [], None],
    ),
    "structs of floats of 32 bits": (
        pa.array([{"a": 0.7, "b": [0.1]}], pa.struct([("a", pa.float32()), ("b", pa.list_(pa.float32(), 1))])),
        [{"a": 0.7, "b": [0.1]}],
    ),
    "lists of floats of 32 bits that are not finite": (
        pa.array([[0.7, float("inf")]], pa.list_(pa.float32())),
        ["<holds infinity>"],
    ),
    "list of structs": (
        pa.array([[{"a": 1}, {"b": "x"}, None]]),
        [[{"a": 1}, {"b": "x"}, None]],
    ),
    "struct of a field twice": (
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
        ["<holds a struct<a: int64, a: int64> that cannot be read>"],
    ),
    "map": (
        pa.array([[("k", 1), ("l", None)], None], pa.map_(pa.string(), pa.int64())),
        [{"k": 1, "l": None}, None],
    ),
    "map of dates": (
        pa.array([[(1, datetime.date(2024, 2, 29))]], pa.map_(pa.int64(), pa.date32())),
        [{"1": "2024-02-29"}],
    ),
    "map of a key twice": (
        pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int64())),
        ["<holds two keys that are the same text>"],
    ),
    "run ends": (
        pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", None])),
        ["a", "a", None],
    ),
    "text that is not UTF-8": (
        pa.Array.from_buffers(
            pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"\xffa")]
        ),
        ["<holds a string that cannot be read>", "a"],
    ),
}


@pytest.mark.parametrize("name", ARROW)
def test_an_arrow_column_gives_plain_cells(name):
    """Every type has one plain form; NaN is no null; structs have only the fields that their row has."""
    column, expected = ARROW[name]
    exactly(arrow_cells(column), expected)


@pytest.mark.parametrize("chunks", [0, 2, 3])
def test_the_chunks_of_a_column_do_not_show(chunks):
    """A chunked column, one with an empty chunk and one without any read as one."""
    column = pa.chunked_array([["a"], [], ["b", None]][:chunks], pa.string())
    assert arrow_cells(column) == ["a", "b", None][: {0: 0, 2: 1, 3: 3}[chunks]]


def test_an_extension_type_is_read_as_what_it_stores():
    """No code of a type's own runs on the cells."""

    class Refused(pa.ExtensionType):
        def __init__(self):
            super().__init__(pa.string(), "tests.refused")

        def __arrow_ext_serialize__(self):
            return b""

        @classmethod
        def __arrow_ext_deserialize__(cls, storage_type, serialized):
            raise AssertionError("a type was built from data")

        def __arrow_ext_scalar_class__(self):
            raise AssertionError("a cell was built by its type")

    stored = pa.array(["a", None])
    assert arrow_cells(pa.ExtensionArray.from_storage(Refused(), stored)) == ["a", None]
    nested = pa.ListArray.from_arrays([0, 1], pa.array([1.5]))
    assert arrow_cells(nested) == [[1.5]]


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="this pyarrow has no UUIDs")
def test_arrows_own_extension_types_read_as_what_they_mean():
    """A UUID is its text, an 8-bit boolean a boolean, JSON its text."""
    number = uuid.UUID(int=7)
    assert arrow_cells(pa.array([number.bytes, None], pa.uuid())) == [str(number), None]
    assert arrow_cells(pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8()))) == [True, None]
    assert arrow_cells(pa.array(['{"a": 1}'], pa.json_())) == ['{"a": 1}']


# --- Polars and DuckDB ------------------------------------------------------------------------------------------------

POLARS = {
    "text": (["a", None, ""], ["a", None, ""]),
    "integers": ([BIG, None], [BIG, None]),
    "floats": ([0.5, None, float("nan")], [0.5, None, "<holds NaN>"]),
    "booleans": ([True, None], [True, None]),
    "nothing": ([None, None], [None, None]),
    "categories": (pl.Series(["a", None], dtype=pl.Categorical), ["a", None]),
    "enumeration": (pl.Series(["a", None], dtype=pl.Enum(["a"])), ["a", None]),
    "decimals": ([decimal.Decimal("1.10")], [1.1]),
    "dates": ([datetime.date(2024, 2, 29)], ["2024-02-29"]),
    "timestamps": ([datetime.datetime(2024, 2, 29, 1)], ["2024-02-29T01:00:00"]),
    "times": ([datetime.time(1, 2, 3, 4)], ["01:02:03.000004"]),
    "durations": ([datetime.timedelta(seconds=90)], ["PT1M30S"]),
    "bytes": ([b"x"], ["<holds bytes>"]),
    "lists": ([["a"], None], [["a"], None]),
    "arrays": (pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), [[1, 2]]),
    "structs": ([{"a": 1, "b": None}, {"a": None, "b": "x"}], [{"a": 1}, {"b": "x"}]),
    "lists of structs": ([[{"a": 1}, {"b": "x"}]], [[{"a": 1}, {"b": "x"}]]),
    "objects": (pl.Series([{1}, "a"], dtype=pl.Object), ["<holds a value of type set>", "a"]),
}


@pytest.mark.parametrize("name", POLARS)
def test_a_polars_column_gives_plain_cells(name):
    """Polars' cells follow Arrow's rules, those that Arrow has no type for included."""
    column, expected = POLARS[name]
    exactly(polars_cells(column), expected)


@pytest.mark.skipif(not hasattr(pl, "Int128"), reason="this Polars has no wide integers")
def test_polars_wide_integers_are_read():
    """Arrow has no type for them."""
    values = pl.Series([1, None, 2**64], dtype=pl.Int128)
    exactly(polars_cells(values), [1, None, "<holds an integer of more than 64 bits>"])


def test_a_duckdb_relation_gives_plain_cells():
    """DuckDB's nested, decimal and JSON columns come through Arrow."""
    relation = duckdb.sql(
        """SELECT 'a' t, 16 i, 1.10::DECIMAL(5,2) d, [1, NULL] l, {'x': 1, 'y': NULL} s,
                  MAP {'k': 1} m, DATE '2024-02-29' d2, NULL n, '{"a":1}'::JSON j"""
    )
    found = tables.view(relation)
    [row] = found.rows(found.columns)
    assert row == ("a", 16, 1.1, [1, None], {"x": 1}, {"k": 1}, "2024-02-29", None, '{"a":1}')


# --- the same for all -------------------------------------------------------------------------------------------------

KINDS = {"pandas": pd.DataFrame, "pyarrow": pa.table, "polars": pl.DataFrame}


@pytest.mark.parametrize("kind", KINDS)
@given(values=st.lists(st.none() | TEXT))
@settings(deadline=None, max_examples=25)
def test_texts_go_out_as_they_came_in(kind, values):
    """No text is changed, trimmed or taken for a null, whatever it says."""
    table = KINDS[kind]({"a": pa.array(values, pa.large_string()).to_pandas() if kind == "pandas" else values})
    assert [cell for (cell,) in tables.view(table).rows(["a"])] == values


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [0, 1, views.ROWS - 1, views.ROWS, 2 * views.ROWS + 1])
def test_every_row_comes_once_and_in_order(kind, length):
    """The parts in which rows are converted do not show."""
    table = KINDS[kind]({"n": [*range(length)], "t": [f"é{n}" for n in range(length)]})
    found = tables.view(table)
    assert len(found) == length
    assert list(found.rows(["t", "n"])) == [(f"é{n}", n) for n in range(length)]
    assert list(found.rows([])) == [()] * length


@pytest.mark.parametrize("kind", KINDS)
def test_columns_come_in_the_order_that_is_asked_for(kind):
    """A column may be asked for in any order, and twice."""
    table = KINDS[kind]({"a": [1], "b": ["x"]})
    assert list(tables.view(table).rows(["b", "a", "b"])) == [("x", 1, "x")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_is_not_there_is_named_at_once(kind):
    """The error comes before the first row, with the nearest name."""
    table = KINDS[kind]({"review": ["x"]})
    with wording.raises(ColumnError):
        tables.view(table).rows(["reviews"])


def test_only_the_columns_that_are_asked_for_are_converted():
    """A column that nobody asked for costs nothing, not even where it cannot be read."""
    table = pd.DataFrame({"a": [1], "b": pd.Series([object()], dtype=object)})
    found = tables.view(table)
    read = []
    original = found._column
    found._column = lambda name: read.append(name) or original(name)
    assert list(found.rows(["a"])) == [(1,)]
    assert read == ["a"]


@pytest.mark.parametrize("kind", ["pyarrow", "polars"])
@pytest.mark.parametrize("text_type", [pa.string(), pa.string_view()])
def test_long_cells_are_converted_a_few_at_a_time(kind, text_type, monkeypatch):
    """Rows of a megabyte each do not come into memory two thousand at a time."""
    monkeypatch.setattr(views, "BYTES", 1000)
    sizes = []
    table = pa.table({"a": pa.array([None, *(["x" * 400] * 50), *(["y"] * 100)], text_type)})
    found = tables.view(table if kind == "pyarrow" else pl.from_arrow(table))
    original = found._column

    def watched(name):
        column = original(name)
        return column._replace(read=lambda start, stop: sizes.append(stop - start) or column.read(start, stop))

    found._column = watched
    assert [len(cell or "") for (cell,) in found.rows(["a"])] == [0, *([400] * 50), *([1] * 100)]
    assert max(sizes[:20]) <= 3
    assert max(sizes) >= 40


def test_a_single_cell_over_the_bound_is_read_alone(monkeypatch):
    """The bound on memory never loses a row."""
    monkeypatch.setattr(views, "BYTES", 1)
    assert arrow_cells(pa.array(["x" * 100, "y" * 100])) == ["x" * 100, "y" * 100]


def test_a_cell_that_cannot_be_sent_keeps_nothing_alive():
    """Its stand-in carries a reason, not the frames (and with them the cells) of the failure."""
    [(unfit,)] = tables.view(pd.DataFrame({"a": pd.Series([b"x"], dtype=object)})).rows(["a"])
    assert unfit.__traceback__ is None
    assert unfit.__context__ is None
    assert unfit.__cause__ is None


def test_one_cell_is_given_as_its_library_has_it():
    """What has no plain form can still be looked at."""
    assert tables.view(pd.DataFrame({"a": [0.5, np.inf]})).cell("a", 1) == np.inf
    assert tables.view(pa.table({"a": [b"x"]})).cell("a", 0) == b"x"
    assert tables.view(pl.DataFrame({"a": [b"x"]})).cell("a", 0) == b"x"
