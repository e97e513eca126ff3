"""Tables that are made for a given one: of its kind, with its index, and never at its cost."""

from __future__ import annotations

import array
import copy

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal, assert_index_equal
from sentences import wording

from tablenodes import tables
from tablenodes.errors import ColumnError, TableError

VALUES = {"body": ["é", None, ""], "status": [200, None, 404], "seconds": [0.5, None, 2], "reused": [True, None, False]}
TYPES = {"body": "text", "status": "integer", "seconds": "number", "reused": "boolean"}

INDEXES = {
    "of texts": pd.Index(["x", "y", "z"], name="id"),
    "with repeats": pd.Index([7, 7, 1]),
    "of several levels": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)], names=["p", "q"]),
    "of dates": pd.date_range("2024-02-29", periods=3),
}


def of(kind, columns):
    return {"pandas": pd.DataFrame, "pyarrow": pa.table, "polars": pl.DataFrame}[kind](columns)


def as_dict(table):
    """Return any kind of table as a dictionary of lists."""
    if isinstance(table, pd.DataFrame):
        return {name: [None if pd.isna(cell) else cell for cell in table[name].tolist()] for name in table.columns}
    return table.to_pydict() if isinstance(table, pa.Table) else table.to_dict(as_series=False)


# --- make -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_a_made_table_is_of_the_kind_that_was_given(kind):
    """Values and nulls come back from a table of the same library, columns in the order given."""
    found = tables.view(of(kind, {"a": [1, 2, 3]}))
    made = found.make(VALUES, TYPES)
    assert found.kind == kind
    assert type(made) is type(found.table)
    assert as_dict(made) == VALUES
    assert list(as_dict(made)) == list(VALUES)


def test_the_types_of_arrow_columns():
    """Text is large: the answers of a run may be more than 2 GB together."""
    made = tables.view(pa.table({"a": [1, 2, 3]})).make(VALUES, TYPES)
    assert made.schema.types == [pa.large_string(), pa.int64(), pa.float64(), pa.bool_()]


def test_the_types_of_polars_columns():
    """Polars has one type for each."""
    made = tables.view(pl.DataFrame({"a": [1, 2, 3]})).make(VALUES, TYPES)
    assert made.dtypes == [pl.String, pl.Int64, pl.Float64, pl.Boolean]


def test_the_types_of_pandas_columns():
    """Text is what pandas itself makes of texts, integers and booleans are nullable."""
    made = tables.view(pd.DataFrame({"a": [1, 2, 3]})).make(VALUES, TYPES)
    assert [*map(str, made.dtypes)] == [str(pd.Series(["x"]).dtype), "Int64", "float64", "boolean"]


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_the_types_do_not_depend_on_the_values(kind):
    """A run of no rows, and one in which nothing was answered, make a table of the same types."""
    full = tables.view(of(kind, {"a": [1, 2, 3]})).make(VALUES, TYPES)
    nulls = tables.view(of(kind, {"a": [1]})).make({name: [None] for name in VALUES}, TYPES)
    empty = tables.view(of(kind, {"a": []})).make({name: [] for name in VALUES}, TYPES)
    types_of = {
        "pandas": lambda table: [*map(str, table.dtypes)],
        "pyarrow": lambda table: table.schema.types,
        "polars": lambda table: table.dtypes,
    }[kind]
    assert types_of(full) == types_of(nulls) == types_of(empty)


@pytest.mark.parametrize("name", INDEXES)
def test_a_pandas_index_is_kept(name):
    """The very index of the given table labels what is made for it, repeats and levels included."""
    table = pd.DataFrame({"a": [1, 2, 3]}, index=INDEXES[name])
    found = tables.view(table)
    assert_index_equal(found.make(VALUES, TYPES).index, table.index)
    assert_index_equal(found.series("text", VALUES["body"], "text").index, table.index)
    assert_index_equal(found.beside(VALUES, TYPES).index, table.index)
    assert found.take([2, 0]).index.equals(table.index[[2, 0]])


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_arrays_are_taken_as_lists_are(kind):
    """Columns that were gathered in arrays of `array` need not be copied into lists; NaN is a null there."""
    found = tables.view(of(kind, {"a": [1, 2]}))
    made = found.make(
        {"n": array.array("q", [1, 2]), "x": array.array("d", [0.5, float("nan")]), "y": [1.0, float("nan")]},
        {"n": "integer", "x": "number", "y": "number"},
    )
    assert as_dict(made) == {"n": [1, 2], "x": [0.5, None], "y": [1.0, None]}


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_half_a_surrogate_pair_does_not_cost_the_other_answers(kind):
    """No table library can hold one: it is replaced, and everything else is as it was."""
    made = tables.view(of(kind, {"a": [1, 2, 3]})).make({"t": ["a\ud800b", None, "é😀"]}, {"t": "text"})
    assert as_dict(made) == {"t": ["a\ufffdb", None, "é😀"]}


def test_a_series_is_a_column_of_the_kind():
    """One column alone is what the table's library has for it."""
    values = ["x", None]
    pandas = tables.view(pd.DataFrame({"a": [1, 2]})).series("text", values, "text")
    arrow = tables.view(pa.table({"a": [1, 2]})).series("text", values, "text")
    polars = tables.view(pl.DataFrame({"a": [1, 2]})).series("text", values, "text")
    assert (pandas.name, pandas.isna().tolist()) == ("text", [False, True])
    assert isinstance(arrow, pa.ChunkedArray)
    assert arrow.to_pylist() == values
    assert (polars.name, polars.to_list()) == ("text", values)


def test_a_report_is_a_data_frame():
    """`frame` makes a data frame from nothing, with rows counted from 0."""
    made = tables.frame({"row": [3, 5], "rule": ["x", None]}, {"row": "integer", "rule": "text"})
    assert_index_equal(made.index, pd.RangeIndex(2))
    assert as_dict(made) == {"row": [3, 5], "rule": ["x", None]}
    assert len(tables.frame({"row": []}, {"row": "integer"})) == 0
    assert tables.frame({}, {}).shape == (0, 0)


# --- beside -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_columns_go_to_the_right_of_the_table(kind):
    """All columns of the table come first, unchanged."""
    found = tables.view(of(kind, {"a": [1, 2, 3], "b": ["x", None, "z"]}))
    made = found.beside({"text": ["1", None, "3"]}, {"text": "text"})
    assert as_dict(made) == {"a": [1, 2, 3], "b": ["x", None, "z"], "text": ["1", None, "3"]}


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_a_name_that_is_taken_gets_a_suffix(kind):
    """Nothing is overwritten, neither of the table nor of the other new columns."""
    found = tables.view(of(kind, {"text": ["own"], "text_2": ["own 2"], "status": ["own"]}))
    made = found.beside(
        {"text": ["new"], "status": [200], "status_2": [1]},
        {"text": "text", "status": "integer", "status_2": "integer"},
    )
    assert as_dict(made) == {
        "text": ["own"],
        "text_2": ["own 2"],
        "status": ["own"],
        "text_3": ["new"],
        "status_3": [200],
        "status_2": [1],
    }


@given(taken=st.sets(st.sampled_from(["a", "a_2", "a_3", "b", "b_2"])), wanted=st.permutations(["a", "a_2", "b"]))
@settings(deadline=None)
def test_free_names_are_free(taken, wanted):
    """Every new column gets a name of its own, its first choice where that is free."""
    given_ = pd.DataFrame({name: [0] for name in ["z", *sorted(taken)]})
    made = tables.view(given_).beside({name: [1] for name in wanted}, dict.fromkeys(wanted, "integer"))
    assert len(set(made.columns)) == len(taken) + 4
    assert made[sorted(taken)].eq(0).all(axis=None)
    assert all(made[name].tolist() == [1] for name in wanted if name not in taken)


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_the_given_table_is_never_changed(kind):
    """Making, taking, and writing into what was made leave it as it was."""
    table = of(kind, {"a": [1, 2, 3], "text": ["x", "y", "z"]})
    before = copy.deepcopy(as_dict(table))
    found = tables.view(table)
    made = found.beside({"text": ["1", None, "3"]}, {"text": "text"})
    taken = found.take([0, 1])
    if kind == "pandas":
        made.loc[0, "a"] = 99
        taken.iloc[0, 0] = 99
    assert as_dict(table) == before
    assert found.table is table


# --- take -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
@pytest.mark.parametrize("positions", [[], [1], [0, 2], [2, 0, 1], [1, 1]])
def test_rows_are_taken_by_position(kind, positions):
    """In the order asked for, none, once or twice."""
    table = of(kind, {"a": [1, 2, 3], "b": ["x", None, "z"]})
    taken = tables.view(table).take(positions)
    assert type(taken) is type(table)
    assert as_dict(taken) == {"a": [[1, 2, 3][at] for at in positions], "b": [["x", None, "z"][at] for at in positions]}


@pytest.mark.slow
def test_rows_of_more_than_two_gigabytes_are_taken():
    """Arrow's plain strings end at 2 GB a chunk, so the chunks of a table are never put together."""
    chunk = pa.array(["x" * 1_000_000] * 800)
    taken = tables.view(pa.table({"a": pa.chunked_array([chunk] * 3)})).take(range(2400))
    assert taken.num_rows == 2400


@pytest.mark.parametrize("kind", ["pandas", "pyarrow", "polars"])
def test_what_was_taken_has_the_types_of_the_table(kind):
    """Also when no row is left: the rows that failed can be run again as they are."""
    table = of(kind, {"a": [1], "b": ["x"]})
    taken = tables.view(table).take([])
    assert len(taken) == 0
    if kind == "pandas":
        assert_frame_equal(taken, table.iloc[:0])
    else:
        assert taken.schema == table.schema


# --- what a table is --------------------------------------------------------------------------------------------------


class Subclass(pd.DataFrame):
    @property
    def _constructor(self):
        return Subclass


def test_a_subclass_of_a_data_frame_stays_one():
    """What is taken from it is of its own class."""
    assert type(tables.view(Subclass({"a": [1, 2]})).take([0])) is Subclass


def test_columns_are_the_names_in_their_order():
    """The view knows a table's columns and its length."""
    found = tables.view(pd.DataFrame({"b": [1], "a": [2]}))
    assert (found.columns, len(found), found.one_shot) == (("b", "a"), 1, False)


@pytest.mark.parametrize(
    "make", [lambda: pa.record_batch({"a": [1, 2]}), lambda: duckdb.sql("SELECT unnest([1, 2]) a")]
)
def test_another_producer_is_read_into_an_arrow_table(make):
    """A record batch, a DuckDB relation: the view has the table that was read, and can read it again."""
    table = make()
    found = tables.view(table)
    assert isinstance(found.table, pa.Table)
    assert not found.one_shot
    assert list(found.rows(["a"])) == [(1,), (2,)]
    assert list(tables.view(table, read=False).rows(["a"])) == [(1,), (2,)]


class OnlyArray:
    """A producer of the array interface alone."""

    def __arrow_c_array__(self, requested_schema=None):
        return pa.record_batch({"a": [1]}).__arrow_c_array__(requested_schema)


def test_a_producer_of_a_single_batch_is_read():
    """The array interface is enough."""
    assert list(tables.view(OnlyArray()).rows(["a"])) == [(1,)]


def stream():
    batch = pa.record_batch({"a": [1, 2]})
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


class Unknown:
    """A stream of a library that nobody knows."""

    def __init__(self):
        self._stream = stream()

    def __arrow_c_stream__(self, requested_schema=None):
        return self._stream.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("make", [stream, Unknown])
def test_a_stream_is_read_once_and_said_to_be_one(make):
    """Reading gives a table that can be read again; the view says that the object itself cannot."""
    found = tables.view(make())
    assert found.one_shot
    assert isinstance(found.table, pa.Table)
    assert list(found.rows(["a"])) == list(found.rows(["a"])) == [(1,), (2,)]


@pytest.mark.parametrize("make", [stream, Unknown])
def test_a_stream_that_must_not_be_read_is_not(make):
    """Without leave to read, the stream is afterwards as whole as before, and what needs rows says so."""
    given_ = make()
    found = tables.view(given_, read=False)
    assert found.one_shot
    assert found.table is given_
    for use in (
        lambda: len(found),
        lambda: found.rows([]),
        lambda: found.take([0]),
        lambda: found.make({"a": [1]}, {"a": "integer"}),
        lambda: found.series("a", [1], "integer"),
        lambda: found.beside({"b": [1]}, {"b": "integer"}),
        lambda: found.cell("a", 0),
    ):
        with wording.raises(TableError):
            use()
    assert list(tables.view(given_).rows(["a"])) == [(1,), (2,)]


def test_the_columns_of_an_unread_stream_are_known():
    """A schema can be looked at without reading; its rows cannot."""
    found = tables.view(stream(), read=False)
    assert found.columns == ("a",)
    with wording.raises(TableError):
        found.rows(["a"])


def test_a_stream_that_fails_is_an_error_without_its_words():
    """What a producer says of its failure may hold a cell; only its class is named."""

    def batches():
        raise pa.ArrowInvalid("could not convert 'a secret cell'")
        yield

    broken = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    with wording.raises(TableError):
        tables.view(broken)


def test_a_relation_whose_query_fails_is_an_error_without_its_words():
    """The same where the library raises an error of its own."""
    broken = duckdb.sql("SELECT CAST(t AS INTEGER) FROM (SELECT 'secret' || range t FROM range(3))")
    with wording.raises(TableError):
        tables.view(broken)


class Foreign:
    def to_pandas(self):
        raise NotImplementedError


@pytest.mark.parametrize(
    "table",
    [
        pl.LazyFrame({"a": [1]}),
        pd.Series([1]),
        pl.Series([1]),
        pa.array([1]),
        pa.chunked_array([[1]]),
        "reviews.csv",
        [{"a": 1}],
        {"a": [1]},
        Foreign(),
        None,
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(table):
    """The message names the type that was given, never its content."""
    with pytest.raises(TableError) as refused:
        tables.view(table)
    wording(refused.value)


def test_a_path_is_no_table(tmp_path):
    """Files are read by `read_table`, on purpose and by name."""
    with wording.raises(TableError):
        tables.view(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["a", "a", "b"],
        ["a", "b", "a", "b"],
        [0, 1],
        ["a", None],
        [*range(7)],
    ],
)
def test_column_names_must_be_texts_that_differ(names):
    """Names are how settings and placeholders find a column: two of one name would be a guess."""
    with pytest.raises(ColumnError) as refused:
        tables.view(pd.DataFrame(np.zeros((1, len(names))), columns=pd.Index(names, dtype=object)))
    wording(refused.value)


def test_a_name_that_no_text_file_can_hold_is_refused():
    """Half a surrogate pair in a name would break every message and file that it goes into."""
    with wording.raises(ColumnError):
        tables.view(pd.DataFrame([[1]], columns=pd.Index(["\ud800"], dtype=object)))


def test_arrow_column_names_must_differ_too():
    """The rule is the same for every kind."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with wording.raises(ColumnError):
        tables.view(table)
