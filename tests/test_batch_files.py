"""Files in batches: what is read of a file piece by piece is what is read of it at once."""

from __future__ import annotations

import gzip
import io
import json
import os

import orjson
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import tablenodes as tn
from tablenodes import tables
from tablenodes.errors import TableError
from tablenodes.tables import batch_source, batch_writer, csv_batches, json_batches
from tablenodes.tables.views import TableView


def cells_of(view: TableView):
    return [tuple(map(repr, row)) for row in view.rows(view.columns)]


def in_batches(path):
    source = batch_source(path)
    return list(source.schema.names), [row for view in source.views() for row in cells_of(view)]


def at_once(path):

    view = tables.view(tn.read_table(path))
    return list(view.columns), cells_of(view)


FIELDS = st.sampled_from(
    ["", '""', "a", "é", '"x,y"', '"two\nlines"', '"a ""b"""', "7", " ", '"\r\n"', "b\rc", '"q\t"']
)
CSVS = st.builds(
    lambda names, rows, end, last: end.join([",".join(names), *(",".join(row[: len(names)]) for row in rows)]) + last,
    st.sampled_from([["id"], ["id", "text"], ["id", '"a b"', "c"]]),
    st.lists(st.lists(FIELDS, min_size=3, max_size=3), min_size=1, max_size=30),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["", "\n", "\n\n"]),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example('a,b\n1,"two\n\nlines"\n3,4\n', 4)
@given(CSVS, st.integers(1, 64))
def test_csv_in_pieces_is_csv_at_once(tmp_path, monkeypatch, text, block):
    """Wherever a piece ends: in a line, between the two signs of a line's end, in quotes."""
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    expected, problem = None, ""
    try:
        expected = at_once(path)
    except TableError as error:
        problem = str(error)
    monkeypatch.setattr(csv_batches, "BLOCK", block)
    if problem:
        with pytest.raises(TableError):
            in_batches(path)
    else:
        assert in_batches(path) == expected


def test_columns_without_a_name_are_left_out_by_the_first_piece(tmp_path, monkeypatch):
    """A text in one of them that comes later is no part of any column."""
    path = tmp_path / "t.csv"
    path.write_text("a,b,,\n1,2,,\n3,4,,\n")
    monkeypatch.setattr(csv_batches, "BLOCK", 12)
    assert in_batches(path) == at_once(path)
    path.write_text("a,b,,\n1,2,,\n3,4,,\n5,6,x,\n")
    with pytest.raises(TableError, match="before line 5: text in a column that has no name"):
        in_batches(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n3\n4,5\n", "line 3: 1 field where the header has 2"),
        ('a,b\n1,2\n3,4\n5,"6\n7,8\n', "line 4: an opening quote is never closed"),
        ('a,b\n1,2\n3,4\n5,"6"x\n', "line 4: text after a closing quote"),
    ],
)
def test_a_broken_record_is_named_with_its_line(tmp_path, monkeypatch, text, told):
    """However many pieces came before it."""
    path = tmp_path / "t.csv"
    path.write_text(text)
    monkeypatch.setattr(csv_batches, "BLOCK", 5)
    with pytest.raises(TableError, match=told):
        in_batches(path)


OBJECTS = st.lists(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([1, 2**40, 2**70, 1.5, "x", "ü", True, None, [1, "y"], {"z": 2}, "\ud800"]),
        min_size=1,
    ),
    min_size=1,
    max_size=20,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OBJECTS, st.integers(1, 7))
def test_json_lines_in_batches_are_json_lines_at_once(tmp_path, monkeypatch, objects, rows):
    """Nested values and columns of several types are read as what they are."""
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, objects)))
    monkeypatch.setattr(json_batches, "ROWS", rows)
    columns, expected = at_once(path)
    assert in_batches(path) == (columns, expected)


def test_json_lines_that_are_read_once_have_the_types_of_the_first_batch(monkeypatch):
    """A whole number fits into a column of numbers; what does not fit is named with its line."""
    monkeypatch.setattr(json_batches, "ROWS", 2)

    def read(*rows):
        made = json_batches.JsonBatches(io.BytesIO(b"\n".join(map(orjson.dumps, rows))), "table 't.jsonl'")
        return pa.concat_tables(made).to_pydict()

    assert read({"a": 1.5}, {"a": 2.5}, {"a": 3}) == {"a": [1.5, 2.5, 3.0]}
    assert read({"a": None}, {"a": None}, {"a": 3}, {"a": "x"}) == {"a": [None, None, "3", '"x"']}  # whatever comes
    with pytest.raises(TableError, match=r"line 3: 'a' is text, and integer in the rows before"):
        read({"a": 1}, {"a": 2}, {"a": "x"})
    with pytest.raises(TableError, match=r"line 3: a column 'b' that the rows before have not"):
        read({"a": 1}, {"a": 2}, {"a": 1, "b": 2})


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "csv.gz", "csv.xz", "tsv", "jsonl", "json"])
def test_each_format_is_read_in_batches(tmp_path, ending):
    """The rows of the file, in its order."""
    path, table = tmp_path / f"t.{ending}", pa.table({"id": ["1", "2", None], "text": ["x", "", "y"]})
    tn.write_table(table, path)
    assert in_batches(path) == at_once(path)


def test_several_files_are_one_table(tmp_path):
    """Those of a pattern in the order of their names; each has the columns of the first."""
    for at in range(3):
        (tmp_path / f"part-{at}.csv").write_text(f"id,text\n{at},x\n")
    assert [first for first, _ in in_batches(str(tmp_path / "part-*.csv"))[1]] == ["'0'", "'1'", "'2'"]
    assert [first for first, _ in in_batches([tmp_path / "part-1.csv", tmp_path / "part-0.csv"])[1]] == ["'1'", "'0'"]
    (tmp_path / "part-2.csv").write_text("id\n2\n")
    with pytest.raises(TableError, match=r"part-2.csv' has no column 'text'"):
        in_batches(str(tmp_path / "part-*.csv"))
    with pytest.raises(TableError, match="no file matches"):
        in_batches(str(tmp_path / "other-*.csv"))


@pytest.mark.parametrize(
    ("second", "told"),
    [("", "2.csv' is empty"), ("id\n1\n", "has no column 'text'"), ("id,text,x\n", "has a column 'x'")],
)
def test_a_further_file_that_is_unlike_is_named_before_a_row_is_read(tmp_path, second, told):
    (tmp_path / "1.csv").write_text("id,text\n1,a\n")
    (tmp_path / "2.csv").write_text(second)
    with pytest.raises(TableError, match=told):
        batch_source(str(tmp_path / "*.csv"))


def test_it_is_known_how_much_of_files_has_been_read(tmp_path, monkeypatch):
    """From nothing to all of it, packed or not, and from the beginning where they are read again."""
    monkeypatch.setattr(csv_batches, "BLOCK", 500)
    text = "id,text\n" + "".join(f"{at},w{at}\n" for at in range(3_000))
    (tmp_path / "1.csv").write_text(text)
    (tmp_path / "2.csv.gz").write_bytes(gzip.compress(text.encode()))
    source = batch_source([tmp_path / "1.csv", tmp_path / "2.csv.gz"])
    for _ in range(2):
        seen = [source.meter.done for _ in source.views()]
        assert seen == sorted(seen)
        assert seen[0] < source.meter.total // 4
        assert seen[len(seen) // 4] < source.meter.total // 2
        assert source.meter.done == source.meter.total
    assert source.meter.told().endswith("MB read (100%)")


def test_what_was_read_of_a_parquet_file_does_not_stay_in_memory(tmp_path):
    """However many groups of rows it has, and however long they are: those before are let go of."""
    cells = [os.urandom(2**18).hex() for _ in range(96)]
    schema = pa.schema([("text", pa.string())])
    with pyarrow.parquet.ParquetWriter(
        tmp_path / "a.parquet", schema, compression="none", use_dictionary=False
    ) as file:
        for cell in cells:
            file.write_table(pa.table({"text": [cell]}))
    before, held = pa.total_allocated_bytes(), []
    for view in batch_source(tmp_path / "a.parquet").views():
        assert len(view) <= 16
        held.append(pa.total_allocated_bytes() - before)
    assert max(held) < 24 * 2**20


def test_blank_lines_between_rows_are_told_once(tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    assert sum(len(view) for view in batch_source(tmp_path / "a.jsonl").views()) == 2
    assert capsys.readouterr().err.count("blank line") == 1


def test_bytes_are_refused_by_a_file_of_text_before_anything_is_written(tmp_path):
    with (
        pytest.raises(TableError, match="column 'b' holds bytes"),
        batch_writer(tmp_path / "a.csv", pa.schema([("b", pa.binary())])),
    ):
        pass
    assert [*tmp_path.iterdir()] == []


def test_a_file_of_another_encoding_is_read_where_it_is_named(tmp_path):
    """Else the message names it."""
    path = tmp_path / "t.csv"
    path.write_bytes("id,text\n1,Grüße\n".encode("cp1252"))
    with pytest.raises(TableError, match='encoding="cp1252"'):
        in_batches(path)


def test_a_damaged_file_says_so(tmp_path):
    """Whatever the library raises."""
    for name, content in {
        "a.csv.gz": gzip.compress(b"id\n1\n" * 99)[:-9],
        "b.parquet": b"PAR1xx",
        "c.arrow": b"ARROW1",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TableError, match="damaged or cut off"):
            in_batches(tmp_path / name)


TABLE = pa.table(
    {
        "id": [1, 2, None, 4],
        "text": ["x", "", None, 'a "b"\tc\n'],
        "score": [0.5, None, 2.0, 1e30],
        "labels": pa.array([["a"], [], None, ["b", "c"]]),
    }
)


@pytest.mark.parametrize(
    ("ending", "rows"),
    [(each, len(TABLE)) for each in ("parquet", "arrow", "csv", "csv.gz", "csv.xz", "tsv", "jsonl")]
    + [(each, 0) for each in ("parquet", "arrow", "csv", "tsv")],
)
def test_what_is_written_in_batches_is_what_is_written_at_once(tmp_path, ending, rows):
    """Each batch follows the one before; the file is there when the last one is."""
    table = TABLE.slice(0, rows)
    at_once_, in_parts = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    tn.write_table(table, at_once_)
    with batch_writer(in_parts, table.schema) as write:
        for batch in table.to_batches(max_chunksize=3):
            write(batch)
            assert not in_parts.exists()
    assert in_batches(in_parts) == in_batches(at_once_)
    assert [path.name for path in tmp_path.iterdir() if path not in (at_once_, in_parts)] == []


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_json_has_not_is_written_as_it_was_read(tmp_path, ending, number):
    """It is the same text whether the table was whole or came in batches; beyond all numbers is infinity."""
    (tmp_path / "t.jsonl").write_text(f'{{"x": 1.5}}\n{{"x": {number}}}\n')
    at_once_, in_parts = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    tn.write_table(tn.read_table(tmp_path / "t.jsonl"), at_once_)
    source = batch_source(tmp_path / "t.jsonl")
    with batch_writer(in_parts, source.schema) as write:
        for view in source.views():
            write(*view.table.to_batches())
    assert at_once_.read_text() == in_parts.read_text()
    assert ("Infinity" if number == "1e999" else number) in in_parts.read_text()


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_column_with_a_number_that_json_has_not_is_text_where_columns_have_one_type(tmp_path, ending):
    """Whole and in batches: NaN is no missing value, and a batch's type is known before NaN is seen."""
    (tmp_path / "t.jsonl").write_text('{"x": 1.5, "y": 1}\n{"x": NaN, "y": 2}\n{"x": null, "y": 3}\n{"x": -1e999}\n')
    at_once_, in_parts = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    tn.write_table(tn.read_table(tmp_path / "t.jsonl"), at_once_)
    source = batch_source(tmp_path / "t.jsonl")
    with batch_writer(in_parts, source.schema) as write:
        for view in source.views():
            write(*view.table.to_batches())
    whole, parts = in_batches(at_once_), in_batches(in_parts)
    assert whole == parts
    assert [row[0] for row in whole[1]] == ["'1.5'", "'NaN'", "None", "'-Infinity'"]


@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "jsonl"])
def test_what_was_written_before_an_end_is_kept_beside(tmp_path, ending):
    """An earlier file stays as it was."""
    path = tmp_path / f"out.{ending}"
    tn.write_table(TABLE.slice(0, 1), path)
    before = path.read_bytes()

    def interrupted():
        with batch_writer(path, TABLE.schema) as write:
            write(TABLE.to_batches()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == before
    kept = tmp_path / f"out.{ending}.partial"
    assert len(in_batches(kept)[1]) == len(tn.read_table(kept)) == len(TABLE)
    with pytest.raises(TableError, match="must end in one of"):
        tn.write_table(TABLE, kept)


def test_a_format_that_is_written_whole_is_refused(tmp_path):
    """A spreadsheet, say."""
    with pytest.raises(TableError, match="choose one of csv, tsv, jsonl, parquet, arrow"):
        batch_writer(tmp_path / "out.xlsx", TABLE.schema).__enter__()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.jsonl.xz", "a.parquet", "a.arrow"])
def test_whether_a_file_has_more_rows_is_known_without_reading_it_as_a_table(tmp_path, name):
    """Of what cannot be read, it is not said that it has: that is told when it is read."""
    tn.write_table(pa.table({"text": ["a", "b", "c"]}), tmp_path / name)
    assert [tables.has_more_rows(tmp_path / name, most) for most in (2, 3)] == [True, False]
    (tmp_path / name).write_bytes(b"\x1f\x8b\xff")
    assert not tables.has_more_rows(tmp_path / name, 0)
    assert not tables.has_more_rows(tmp_path / f"no-{name}", 0)
