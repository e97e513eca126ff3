"""What becomes of a value on its way into a request: plain JSON, exactly, or a reason why not."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import subprocess
import sys
import types
import uuid

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording

from tablenodes.plain import DEPTH, plain
from tablenodes.problems import Unfit

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=30,
)


class Mood(enum.Enum):
    GOOD = "good"


class Word(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


class Rank(enum.IntEnum):
    FIRST = 1


def nested(levels: int) -> list:
    outer: list = []
    for _ in range(levels - 1):
        outer = [outer]
    return outer


@given(JSON)
def test_plain_json_comes_back_as_the_very_same_object(value):
    """A value that is plain already is checked, never copied."""
    assert plain(value) is value


@given(JSON)
def test_what_is_plain_survives_a_json_writer_and_reader(value):
    """Plain means that a JSON writer takes it and a reader gives the same back."""
    assert orjson.loads(orjson.dumps(plain(value))) == value


@given(JSON)
def test_tuples_and_subclasses_become_what_they_stand_for(value):
    """The same JSON comes out of tuples, ordered dictionaries and NumPy's own numbers and texts."""
    before = orjson.dumps(value)
    assert orjson.dumps(plain(disguised(value))) == before


def disguised(value):
    if isinstance(value, list):
        return tuple(disguised(item) for item in value)
    if isinstance(value, dict):
        return collections.OrderedDict((Word(name), disguised(item)) for name, item in value.items())
    if isinstance(value, bool):
        return np.bool_(value)
    if isinstance(value, int):
        return np.uint64(value) if value >= 0 else np.int64(value)
    if isinstance(value, float):
        return np.float64(value)
    return Word(value) if isinstance(value, str) else value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (datetime.datetime(2024, 2, 29, 12, 30), "2024-02-29T12:30:00"),
        (datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC), "2024-02-29T00:00:00+00:00"),
        (datetime.time(12, 30), "12:30:00"),
        (pd.Timestamp("2024-02-29 12:30:00.000000001"), "2024-02-29T12:30:00.000000001"),
        (np.datetime64("2024-02-29T12:30"), "2024-02-29T12:30:00"),
        (np.datetime64("2024-02"), "2024-02-01"),
        (np.datetime64("2024-02-29T12:30:00.5", "ns"), "2024-02-29T12:30:00.500000"),
        (np.datetime64("2024-02-29T12:30:00.123456789", "ns"), "2024-02-29T12:30:00.123456789"),
        (np.datetime64("2024-02-29T12:30:00", "ns"), "2024-02-29T12:30:00"),
        (np.datetime64("NaT", "s"), None),
        (datetime.timedelta(), "PT0S"),
        (datetime.timedelta(days=1, hours=2, minutes=3, seconds=4, milliseconds=500), "P1DT2H3M4.5S"),
        (datetime.timedelta(minutes=90), "PT1H30M"),
        (datetime.timedelta(days=2), "P2D"),
        (datetime.timedelta(seconds=-1.5), "-PT1.5S"),
        (datetime.timedelta(microseconds=1), "PT0.000001S"),
        (pd.Timedelta(1, "ns"), "PT0.000000001S"),
        (np.timedelta64(1, "ns"), "PT0.000000001S"),
        (np.timedelta64(3, "h"), "PT3H"),
        (np.timedelta64("NaT", "s"), None),
        (decimal.Decimal("16.00"), 16),
        (decimal.Decimal("0.10"), 0.1),
        (decimal.Decimal("1E+3"), 1000),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Mood.GOOD, "good"),
        (Rank.FIRST, 1),
        (Word("text"), "text"),
        (pd.NA, None),
        (pd.NaT, None),
        (np.float32(0.5), 0.5),
        (np.str_("a"), "a"),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array(5), 5),
        (np.array(["2024-02-29"], "datetime64[ns]"), ["2024-02-29T00:00:00"]),
        (np.array("2024-02-29", "datetime64[D]"), "2024-02-29"),
        (np.ma.masked, None),
        (np.array([{"a": (1,)}], object), [{"a": [1]}]),
        (pd.Series([1, 2]), [1, 2]),
        (pl.Series([1, None]), [1, None]),
        (pa.scalar(5), 5),
        (pa.scalar({"a": 1, "b": None}), {"a": 1}),
        (pa.array([{"a": [{"b": None}]}]), [{"a": [{}]}]),
        (types.MappingProxyType({"a": (1,)}), {"a": [1]}),
        ({1: "a", np.int64(2): "b", Mood.GOOD: "c"}, {"1": "a", "2": "b", "good": "c"}),
        ({"ä": 1}, {"ä": 1}),
    ],
)
def test_a_value_of_another_origin_becomes_plain(value, expected):
    """Each type of a table's cells has one plain form."""
    made = plain(value)
    assert made == expected
    assert type(made) is type(expected)


def test_explicit_nulls_of_python_objects_stay():
    """Only Arrow's and Polars' structs lose null fields: in a dictionary somebody wrote them."""
    assert plain({"a": None, "b": [None]}) == {"a": None, "b": [None]}
    assert plain(pd.Series([{"a": None}])) == [{"a": None}]


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        np.float32("nan"),
        np.array([1.0, np.nan]),
        [0.5] * 20 + [float("inf")],
        decimal.Decimal("NaN"),
        decimal.Decimal("-Infinity"),
        decimal.Decimal("0.1234567890123456789"),
        decimal.Decimal("1E+400"),
        decimal.Decimal(2**64),
        2**64,
        -(2**63) - 1,
        [1] * 20 + [2**64],
        [-(2**63) - 1] * 20,
        "a\ud800",
        ["\ud83d\ude00"] * 20,
        {"\ud800": 1},
        b"a",
        np.bytes_(b"a"),
        memoryview(b"a"),
        {1, 2},
        object(),
        1j,
        np.complex128(1j),
        np.longdouble(1),
        pd.Period("2024-01"),
        pd.DataFrame(),
        np.timedelta64(1, "M"),
        {True: 1},
        {None: 1},
        {0.5: 1},
        {(1, 2): 1},
        {datetime.date(2024, 1, 1): 1},
        {1: "a", "1": "b"},
        nested(DEPTH + 1),
    ],
)
def test_what_is_no_json_is_refused_with_its_reason(value):
    """The reason continues "column 'x' …", and does so at any depth."""
    with pytest.raises(Unfit) as alone:
        plain(value)
    with pytest.raises(Unfit) as inside:
        plain({"a": [value]})
    wording(alone.value)
    assert str(inside.value) == str(alone.value)


def test_the_deepest_value_that_is_taken_can_be_written():
    """The bound on depth lies within the JSON writer's own."""
    deepest = nested(DEPTH)
    assert plain(deepest) is deepest
    assert orjson.loads(orjson.dumps(deepest)) == deepest


@pytest.mark.parametrize("links", [1, 2])
def test_a_value_that_holds_itself_is_refused_at_once(links):
    """A cycle ends in a reason, not in a crash or in a walk without end."""
    cycle: list = []
    cycle.extend([{"again": cycle}] * links)
    with wording.raises(Unfit):
        plain(cycle)


def test_a_value_met_twice_is_no_cycle():
    """The same list may stand in two places."""
    shared = [1]
    assert plain([shared, shared]) == [[1], [1]]


def test_the_given_value_is_never_changed():
    """Conversion makes a new object and leaves the caller's alone."""
    value = {"a": [1, (2,)], "b": {"c": np.int64(3)}}
    assert plain(value) == {"a": [1, [2]], "b": {"c": 3}}
    assert value == {"a": [1, (2,)], "b": {"c": np.int64(3)}}
    assert type(value["a"][1]) is tuple


def test_a_wide_and_deep_value_is_walked_once():
    """Changing a leaf far down does not convert the levels above it again."""
    visits = 0

    class Counted(collections.UserDict):
        def items(self):
            nonlocal visits
            visits += 1
            return super().items()

    value: object = Counted()
    for _ in range(20):
        value = {"a": 1, "b": value}
    plain(value)
    assert visits == 1


@pytest.mark.parametrize("value", [list(range(1000)), [0.5] * 1000, ["a"] * 1000, [2**64 - 1, -(2**63)] * 500])
def test_a_long_list_of_one_kind_is_taken_as_it_is(value):
    """Token ids and embeddings are not copied."""
    assert plain(value) is value


def test_no_table_library_is_loaded_by_it():
    """Values are told apart by their types' names, so plain values cost no import."""
    program = "import sys, tablenodes.plain; print({'numpy', 'pandas', 'pyarrow'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert out.stdout == "set()\n"
