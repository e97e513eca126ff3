"""Tables' files other than CSV, and everything about a file that is no matter of its format."""

from __future__ import annotations

import datetime
import decimal
import gzip
import os
import pickle
import re
import sys
import uuid

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from commands import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sentences import wording

from tablenodes import tables
from tablenodes.errors import ColumnError, TableError
from tablenodes.problems import Unfit

BIG = 2**60 + 1


def cells(path):
    """Read a file, and give its rows as dictionaries of plain cells."""
    found = tables.view(tables.read_table(path))
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows(found.columns)]


def refused(path, error=TableError):
    """Return the message with which a file is refused, without its folder."""
    with pytest.raises(error) as caught:
        tables.read_table(path)
    return str(caught.value).replace(f"{os.path.dirname(path)}/", "")


# --- which file -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_said_with_its_nearest_neighbour(tmp_path):
    """A typing mistake is found at a glance."""
    (tmp_path / "reviews.csv").write_bytes(b"a\n")
    wording(refused(tmp_path / "review.csv"))
    wording(refused(tmp_path / "zebra.jsonl"))


def test_a_folder_that_is_not_there_is_said_too(tmp_path):
    """The mistake may be in the folder's name."""
    with wording.raises(TableError):
        tables.read_table(tmp_path / "data" / "x.csv")


@pytest.mark.parametrize("name", ["x.txt", "x", "x.csv.zip", "x.xml", ".csv", "x.parquet.gz", "x.gz"])
def test_an_ending_that_is_not_known_is_refused_with_those_that_are(tmp_path, name):
    """Nothing is guessed from a file's content."""
    (tmp_path / name).write_bytes(b"a\n1\n")
    wording(refused(tmp_path / name))


def test_what_a_file_is_called_stands_in_its_message(tmp_path):
    """A workflow's inputs are told apart."""
    with wording.raises(TableError):
        tables.read_table(tmp_path / "x.csv", what="inputs")


def test_a_folder_is_not_a_table(tmp_path):
    """Whatever its name ends in."""
    (tmp_path / "x.csv").mkdir()
    wording(refused(tmp_path / "x.csv"))


def test_a_device_is_not_a_table(tmp_path):
    """Neither a device nor a pipe that nobody writes to is opened."""
    (tmp_path / "null.csv").symlink_to("/dev/null")
    os.mkfifo(tmp_path / "pipe.csv")
    wording(refused(tmp_path / "null.csv"))
    wording(refused(tmp_path / "pipe.csv"))


def test_a_file_that_the_system_refuses_is_said_in_its_words(tmp_path):
    """A name that is too long, a disk that fails."""
    wording(refused(tmp_path / f"{'x' * 300}.csv"))
    (tmp_path / "memory.csv").symlink_to("/proc/self/mem")
    wording(refused(tmp_path / "memory.csv"))


@pytest.mark.parametrize(
    "path",
    [
        5,
        b"x.csv",
        "a\0.csv",
        "https://example.com/x.csv",
    ],
)
def test_a_path_is_a_path(path):
    """What is none is said to be none."""
    with pytest.raises(TableError) as caught:
        tables.read_table(path)
    wording(caught.value)


def test_a_path_may_be_written_in_several_ways(tmp_path, monkeypatch):
    """As text or as a path, from the home folder, with the ending in capitals."""
    (tmp_path / "X.CSV").write_bytes(b"a\n1\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in (tmp_path / "X.CSV", str(tmp_path / "X.CSV"), "~/X.CSV"):
        assert cells(path) == [{"a": "1"}]


@pytest.mark.parametrize("ending", ["gz", "bz2", "zst"])
def test_a_text_file_may_be_compressed(tmp_path, ending):
    """Both ways, by its second ending."""
    table = pd.DataFrame({"a": ["é", None, ""]})
    for name in (f"x.csv.{ending}", f"x.jsonl.{ending}"):
        tables.write_table(table, tmp_path / name)
        assert cells(tmp_path / name) == [{"a": "é"}, {"a": None}, {"a": ""}]
        assert b"a" not in (tmp_path / name).read_bytes()[:3]


def test_a_file_packed_in_parts_is_read_whole(tmp_path):
    """Log files are often gzip files that were put one behind the other."""
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    assert cells(tmp_path / "x.csv.gz") == [{"a": "1"}, {"a": "2"}]


def test_a_packed_file_that_is_cut_is_refused(tmp_path):
    """Half a file is never read as a whole one."""
    whole = gzip.compress(b"a\n" + os.urandom(1000).hex().encode() + b"\n")
    for content in (whole[:-200], b"a\n1\n"):
        (tmp_path / "x.csv.gz").write_bytes(content)
        wording(refused(tmp_path / "x.csv.gz"))


# --- JSON Lines -------------------------------------------------------------------------------------------------------


@pytest.fixture
def lines(tmp_path):
    """Return a function that writes bytes as a JSON Lines file and returns its path."""

    def write(content):
        (tmp_path / "x.jsonl").write_bytes(content)
        return tmp_path / "x.jsonl"

    return write


def test_rows_may_have_different_names(lines):
    """What a row does not have is a null there, and no null gets into what it has."""
    path = lines(b'{"a": 1}\n{"b": {"c": 2}}\n{"b": {"d": null}, "a": 3}\n')
    assert cells(path) == [{"a": 1, "b": None}, {"a": None, "b": {"c": 2}}, {"a": 3, "b": {"d": None}}]


def test_a_column_of_one_kind_has_its_type(lines):
    """So that it can be worked with as any data frame can."""
    table = tables.read_table(lines(b'{"t":"x","i":1,"n":0.5,"b":true,"m":1}\n{"t":null,"i":null,"m":"x"}\n'))
    assert [*map(str, table.dtypes)] == [str(pd.Series(["x"]).dtype), "Int64", "float64", "boolean", "object"]


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 2**63, 2**64 - 1])
def test_integers_are_exact(lines, number):
    """Up to 64 bits they are read as they are written, nulls beside them or not."""
    assert cells(lines(b'{"a": %d}\n{"a": null}\n' % number)) == [{"a": number}, {"a": None}]


def test_an_integer_that_no_request_can_carry_is_not_rounded(lines):
    """It is kept whole, and then said to be too long."""
    [row] = cells(lines(b'{"a": [123456789012345678901234567890]}\n'))
    assert isinstance(row["a"], Unfit)
    wording(str(row["a"]))


def test_blank_lines_and_a_byte_order_mark_are_passed_over(lines, capsys):
    """Lines may end as Windows ends them, the last one not at all; blank ones between rows are said."""
    assert cells(lines(b'\xef\xbb\xbf\n{"a": 1}\r\n{"a": 2}\n\n')) == [{"a": 1}, {"a": 2}]
    assert capsys.readouterr().err == ""
    assert cells(lines(b'\xef\xbb\xbf{"a": 1}\r\n\r\n  \n{"a": 2}')) == [{"a": 1}, {"a": 2}]
    wording(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('"cut \\ud83d"', "surrogate"),
        ('["cut \\ude42"]', "surrogate"),
        ("NaN", "NaN"),
        ('{"x": [NaN]}', "NaN"),
        ("Infinity", "infinity"),
        ("-Infinity", "infinity"),
        ("1e999", "infinity"),
        ("9" * 5_000, "infinity"),
        ("9" * 100, "64 bits"),
    ],
)
def test_a_value_that_no_request_can_carry_is_its_rows_own_trouble(lines, written, why):
    """The others are read as they are; what it is stays known, where the library's null would hide it."""
    path = lines(f'{{"a": 1, "b": "x"}}\n{{"a": {written}}}\n{{"b": "y"}}\n{{"a": {written}, "b": "z"}}\n'.encode())
    rows = cells(path)
    assert [row["a"] for row in rows[::2]] == [1, None]
    assert all(isinstance(row["a"], Unfit) and why in str(row["a"]) for row in rows[1::2])
    assert [row["b"] for row in rows] == ["x", None, "y", "z"]


def test_bytes_of_half_a_character_are_its_rows_own_trouble_too(lines):
    """As UTF-8 has no form for them, but some programs write one."""
    bad, good = cells(lines(b'{"a": "\xed\xa0\xbd"}\n{"a": "b"}\n'))
    assert (type(bad["a"]), good["a"]) == (Unfit, "b")


READING = """
import resource, sys
import tablenodes as tn
from tablenodes.tables import table_files
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
for path in sys.argv[1:]:
    try:
        tn.read_table(path)
    except tn.errors.TableError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded in the way of Linux")
def test_a_file_that_does_not_fit_into_memory_is_one_line(tmp_path):
    """In Python as on the command line, whatever its kind."""
    paths = [tmp_path / f"large.{ending}" for ending in ("csv", "jsonl", "parquet")]
    for path in paths[:2]:
        with path.open("wb") as file:
            file.truncate(2**36)  # which takes no place on the disk
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), ["x" * 10_000])
    pq.write_table(pa.table({"a": repeated}), paths[-1], store_schema=False)
    said, _ = Command(paths, program=READING).communicate(timeout=60)
    assert [line.rpartition("(")[0] for line in said.splitlines()] == [f"table '{path}' " for path in paths]
    wording(re.sub(r"\([0-9,]+ bytes\)", "(SIZE)", said))


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": 1}\n{"a": 1\n',
        b"\n{'a': 1}\n",
        b'{"a": 1}\n{"a": 1 2}\n',
        b'[\n{"a": 1}\n]\n',
        b'{"a": ' + b"[" * 100_000,
        b"[1]\n",
        b'{"a": 1}\nnull\n',
        b'"x"\n',
        b"true\n",
        b"1.5\n",
        b'{"a": 1}\n{"a": "\xe9"}\n',
        b"\n \n",
        b"",
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_a_line_that_is_no_object_is_named(lines, content):
    """The number is that of the line in the file, and none of its text is shown."""
    wording(refused(lines(content)))


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["a", "b", "é", ""]),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**63), 2**64 - 1)
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(st.characters(exclude_categories=["Cs"])),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
                max_leaves=8,
            ),
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, max_examples=30)
def test_what_is_written_as_json_lines_is_read_back(tmp_path_factory, rows):
    """Every JSON value, at any depth, with every number exact."""
    names = sorted({name for row in rows for name in row})
    path = tmp_path_factory.mktemp("round") / "trip.jsonl"
    table = pd.DataFrame({name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names})
    tables.write_table(table.set_axis(range(len(rows))), path)
    expected = [{name: row.get(name) for name in names} for row in rows]
    assert orjson.dumps(cells(path)) == orjson.dumps(expected)


# --- Parquet and Arrow ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["x.parquet", "x.arrow", "x.feather", "x.ipc"])
def columnar(request, tmp_path):
    """Return a function that writes an Arrow table as each format, with Arrow's own means, and returns its path."""
    path = tmp_path / request.param

    def write(table):
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        elif path.suffix == ".feather":
            pyarrow.feather.write_feather(table, path)
        else:
            new = pa.ipc.new_file if path.suffix == ".ipc" else pa.ipc.new_stream
            with new(str(path), table.schema) as writer:
                writer.write_table(table)
        return path

    return write


def test_columns_with_nulls_keep_their_types(columnar):
    """Integers with nulls stay integers, to the last digit."""
    table = pa.table(
        {
            "i": pa.array([BIG, None]),
            "u": pa.array([2**63, None], pa.uint64()),
            "s": pa.array([1, None], pa.int8()),
            "b": [True, None],
            "t": ["", None],
        }
    )
    path = columnar(table)
    assert cells(path) == table.to_pylist()
    assert [*map(str, tables.read_table(path).dtypes[:4])] == ["Int64", "UInt64", "Int8", "boolean"]


def test_columns_without_nulls_are_plain_pandas(columnar):
    """As `pandas.read_parquet` would have them."""
    read = tables.read_table(columnar(pa.table({"i": [1, 2], "b": [True, False], "x": [0.5, 1.0], "t": ["a", "b"]})))
    assert [*map(str, read.dtypes)] == ["int64", "bool", "float64", str(pd.Series(["x"]).dtype)]


def test_nested_columns_have_no_null_of_another_row(columnar):
    """A struct has only the fields of its own row."""
    rows = [
        {"m": [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1"}], "s": {"a": 1}},
        {"m": None, "s": {"b": [1.5]}},
    ]
    assert cells(columnar(pa.table({"m": [row["m"] for row in rows], "s": [row["s"] for row in rows]}))) == rows


def test_other_types_are_read(columnar):
    """Dates, decimals, dictionaries, bytes, floats with nulls."""
    table = pa.table(
        {
            "d": [datetime.date(2024, 2, 29), None],
            "ts": pa.array([0, None], pa.timestamp("us", "UTC")),
            "dec": [decimal.Decimal("1.10"), None],
            "dict": pa.array(["a", None]).dictionary_encode(),
            "raw": [b"x", None],
            "x": [0.5, None],
        }
    )
    first, second = cells(columnar(table))
    wording(str(first.pop("raw")))
    assert first == {"d": "2024-02-29", "ts": "1970-01-01T00:00:00+00:00", "dec": 1.1, "dict": "a", "x": 0.5}
    assert set(second.values()) == {None}


def test_an_index_that_was_saved_is_an_index_again(tmp_path):
    """As pandas does it."""
    table = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="id"))
    tables.write_table(table, tmp_path / "x.parquet")
    assert_frame_equal(tables.read_table(tmp_path / "x.parquet"), table)


@pytest.mark.parametrize("said", [b"garbage", b"[]", b'{"index_columns": ["gone"], "columns": 5}'])
def test_what_a_file_says_of_its_index_may_be_nonsense(columnar, said):
    """The columns are read all the same."""
    table = pa.table({"a": [1, 2]}).replace_schema_metadata({b"pandas": said})
    assert cells(columnar(table)) == [{"a": 1}, {"a": 2}]


def test_a_date_that_python_has_not_is_refused_in_a_line(columnar):
    """Instead of with an error of pandas' own."""
    path = columnar(pa.table({"a": pa.array([2**31 - 1], pa.date32())}))
    wording(refused(path))


def test_a_folder_named_as_a_partition_adds_no_column(tmp_path):
    """A file is what is in it."""
    (tmp_path / "year=2024").mkdir()
    pq.write_table(pa.table({"a": [1]}), tmp_path / "year=2024" / "x.parquet")
    assert cells(tmp_path / "year=2024" / "x.parquet") == [{"a": 1}]


def test_names_must_differ_in_a_columnar_file(columnar):
    """Two columns of one name are refused with the file's name."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    message = refused(columnar(table), ColumnError)
    wording(message)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1garbagePAR1", b"ARROW1garbage", b"\xff\xff\xff\xff"])
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, name, content):
    """In one line, whatever is wrong with it."""
    (tmp_path / name).write_bytes(content)
    wording(refused(tmp_path / name))


def test_texts_that_are_not_utf_8_are_found(tmp_path):
    """An Arrow file can claim that its bytes are text; it is not believed."""
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), pa.schema([("a", pa.string())])) as writer:
        writer.write_table(pa.table({"a": broken}))
    wording(refused(tmp_path / "x.arrow"))


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self._path = str(path)

    def __reduce__(self):
        return os.mkdir, (self._path,)


@pytest.mark.filterwarnings("ignore:pickle-based:RuntimeWarning", "ignore:pyarrow.PyExtensionType:FutureWarning")
@pytest.mark.parametrize("name", ["arrow.py_extension_type", "somebodys.type"])
def test_an_extension_type_in_a_file_is_read_as_what_it_stores(columnar, tmp_path, name):
    """No pickle inside a file is ever loaded, and no type is built from one."""
    metadata = {
        "ARROW:extension:name": name,
        "ARROW:extension:metadata": pickle.dumps(Canary(tmp_path / "canary")),
    }
    field = pa.field("a", pa.string(), metadata=metadata)
    path = columnar(pa.Table.from_arrays([pa.array(["x", None])], schema=pa.schema([field])))
    assert cells(path) == [{"a": "x"}, {"a": None}]
    assert not (tmp_path / "canary").exists()


class Registered(pa.ExtensionType):
    """A type of the user's own, known to Arrow while a test runs."""

    def __init__(self):
        super().__init__(pa.int64(), "tests.registered")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


def test_a_type_that_is_registered_is_read_as_what_it_stores_too(columnar):
    """A table's types are those that requests are made of."""
    pa.register_extension_type(Registered())
    try:
        path = columnar(pa.table({"a": pa.ExtensionArray.from_storage(Registered(), pa.array([1, None]))}))
        assert cells(path) == [{"a": 1}, {"a": None}]
    finally:
        pa.unregister_extension_type("tests.registered")


@pytest.mark.skipif(not hasattr(pa, "uuid"), reason="this pyarrow has no UUIDs")
def test_arrows_own_extension_types_are_read_as_what_they_mean(columnar):
    """A UUID is its text, an 8-bit boolean a boolean."""
    number = uuid.UUID(int=7)
    flags = pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, None], pa.int8()))
    path = columnar(pa.table({"u": pa.array([number.bytes, None], pa.uuid()), "b": flags}))
    assert cells(path) == [{"u": str(number), "b": True}, {"u": None, "b": None}]


def test_a_pandas_type_comes_back(tmp_path):
    """pandas' own extension types are restored by pandas."""
    table = pd.DataFrame({"p": pd.PeriodIndex(["2024-02"], freq="M")})
    tables.write_table(table, tmp_path / "x.parquet")
    assert_frame_equal(tables.read_table(tmp_path / "x.parquet"), table)


def test_views_of_texts_are_read(tmp_path):
    """Newer writers store texts as views."""
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), pa.schema([("a", pa.string_view())])) as writer:
        writer.write_table(pa.table({"a": pa.array(["x", None], pa.string_view())}))
    assert cells(tmp_path / "x.arrow") == [{"a": "x"}, {"a": None}]


def test_types_that_pandas_has_not_stay_arrows(columnar):
    """Nothing is lost on the way: times of nanoseconds, maps."""
    table = pa.table(
        {
            "t": pa.array([1, None], pa.time64("ns")),
            "m": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    assert cells(columnar(table)) == [{"t": "00:00:00.000000001", "m": {"k": 1}}, {"t": None, "m": None}]


@given(
    st.lists(
        st.tuples(
            st.none() | st.text(st.characters(exclude_categories=["Cs"])),
            st.none() | st.integers(-(2**63), 2**63 - 1),
            st.none() | st.booleans(),
            st.none()
            | st.dictionaries(st.sampled_from(["a", "b"]), st.lists(st.integers(0, 9)), min_size=1, max_size=2),
        ),
        max_size=5,
    ),
    st.sampled_from(["x.parquet", "x.arrow"]),
)
@settings(deadline=None, max_examples=20)
def test_what_is_written_as_columns_is_read_back(tmp_path_factory, rows, name):
    """Texts, integers, booleans and nested values, each row its own."""
    path = tmp_path_factory.mktemp("round") / name
    columns = [*zip(*rows, strict=True)] or [[]] * 4
    table = pd.DataFrame(
        {
            "t": pd.Series(columns[0], dtype=object),
            "i": pd.array(columns[1], "Int64"),
            "b": pd.array(columns[2], "boolean"),
            "d": pd.Series(columns[3], dtype=object),
        }
    )
    tables.write_table(table, path)
    assert [tuple(row.values()) for row in cells(path)] == rows


def test_the_rows_of_what_is_no_file_are_not_counted(tmp_path):
    """A pipe would be waited for; a packed file may hold more than there is memory for."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    (tmp_path / "plain.csv").write_text('a\n"1\n2"\n3')
    (tmp_path / "plain.jsonl").write_text('{"a": "\\""}\n{"a": 2}')
    names = ("pipe.csv", "packed.csv.gz", "plain.csv", "plain.jsonl", "none.csv")
    assert [tables.count_rows(tmp_path / name) for name in names] == [None, None, 2, 2, None]
