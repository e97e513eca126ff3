"""CSV as people have it: read as it stands, or refused with the line that is wrong, before anything is sent."""

from __future__ import annotations

import csv
import io

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

from tablenodes import tables
from tablenodes.errors import ColumnError, TableError
from tablenodes.tables import csv_reader as csv_reading

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('",;\t\r\n\ufeff \0'))


@pytest.fixture
def read(tmp_path):
    """Return a function that reads bytes as a CSV file: its columns' names, and its rows."""

    def read_bytes(content, name="reviews.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        table = tables.read_table(path)
        found = tables.view(table)
        return found.columns, list(found.rows(found.columns))

    return read_bytes


@pytest.fixture
def refuse(read, tmp_path):
    """Return a function that reads bytes and returns the message of their refusal, without the path."""

    def refused(content, name="reviews.csv", error=TableError):
        with pytest.raises(error) as caught:
            read(content, name)
        return str(caught.value).replace(f"table {str(tmp_path / name)!r}", "FILE")

    return refused


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["NA", "N/A", "NaN", "null", "None", "nan", "007", "1e5", "true", " x ", "#", "-"])
def test_every_text_stays_text(read, text):
    """No text is a number, a truth value or a null to us."""
    assert read(f"a,b\n{text},1\n".encode()) == (("a", "b"), [(text, "1")])


def test_an_empty_cell_is_null_and_a_quoted_one_an_empty_text(read):
    """The two are told apart, and both differ from every other text."""
    assert read(b'a,b\n,""\n"",\n') == (("a", "b"), [(None, ""), ("", None)])


def test_a_byte_order_mark_is_no_part_of_the_first_name(read):
    """Excel begins its UTF-8 files with one."""
    assert read(b'\xef\xbb\xbf"a",b\n1,2\n') == (("a", "b"), [("1", "2")])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_lines_end_as_any_system_ends_them(read, end, last):
    """Unix, Windows and old Mac line ends, with or without one at the file's end."""
    content = end.join(["a,b", "1,2", "3,"]) + (end if last else "")
    assert read(content.encode()) == (("a", "b"), [("1", "2"), ("3", None)])


def test_quoted_cells_hold_anything(read):
    """Separators, line ends and doubled quotes inside quotes are text, byte for byte."""
    assert read(b'a,b\n"x,""y""\r\nz\n\rw",2\n') == (("a", "b"), [('x,"y"\r\nz\n\rw', "2")])


def test_names_may_be_quoted_too(read):
    """A name is read as a cell is."""
    assert read(b'"a,""1""\n2",b\n1,2\n') == (('a,"1"\n2', "b"), [("1", "2")])


def test_a_quote_inside_an_unquoted_cell_is_text(read):
    """Inches and the like need no quoting."""
    assert read(b'size,n\n5" pipe,x"y"\n') == (("size", "n"), [('5" pipe', 'x"y"')])


def test_a_nul_inside_a_cell_is_text(read):
    """JSON can carry one, so it is passed on."""
    assert read(b"a,b\n1,x\0y\n") == (("a", "b"), [("1", "x\0y")])


def test_a_cell_of_ten_megabytes_is_read(read):
    """Nothing bounds a cell but memory."""
    long = "é" * 5_000_000
    assert read(f'a,b\n1,2\n"{long}",3\n4,5\n'.encode()) == (("a", "b"), [("1", "2"), (long, "3"), ("4", "5")])


def test_blank_lines_are_skipped_in_a_file_of_several_columns(read):
    """Also before the header and at the end."""
    assert read(b"\n\r\na,b\n\n1,2\n\r\n3,4\n\n") == (("a", "b"), [("1", "2"), ("3", "4")])
    assert read(b"a,b\n\n\n") == (("a", "b"), [])


def test_a_blank_line_is_a_null_cell_in_a_file_of_one_column(read):
    """Skipping it would shift every answer that follows."""
    assert read(b'a\nx\n\n""\ny\n\n') == (("a",), [("x",), (None,), ("",), ("y",), (None,)])
    assert read(b"a\n\n") == (("a",), [(None,)])


@pytest.mark.parametrize("content", [b"a,b", b"a,b\n", b"a,b\r\n"])
def test_a_header_alone_is_a_table_of_no_rows(read, content):
    """Its columns are text, as always."""
    assert read(content) == (("a", "b"), [])


def test_the_columns_of_no_rows_are_text_too(tmp_path):
    """The types of a table do not depend on how many rows it has."""
    (tmp_path / "none.csv").write_bytes(b"a,b\n")
    (tmp_path / "some.csv").write_bytes(b"a,b\nx,\n")
    none, some = tables.read_table(tmp_path / "none.csv"), tables.read_table(tmp_path / "some.csv")
    assert list(none.dtypes) == list(some.dtypes) == [pd.Series(["x"]).dtype] * 2


def test_semicolons_separate_where_commas_do_not(read):
    """Excel writes them in much of Europe; a file of one column whose texts hold some stays one of one column."""
    assert read(b'a;b\n1,5;"x;y"\n') == (("a", "b"), [("1,5", "x;y")])
    assert read(b'"a";"b"\n1;2\n') == (("a", "b"), [("1", "2")])
    assert read(b"a\nx;y\nz\n") == (("a",), [("x;y",), ("z",)])
    assert read(b'"a;b"\nx\n') == (("a;b",), [("x",)])
    assert read(b"a;b,c\n1;2,3\n") == (("a;b", "c"), [("1;2", "3")])


@pytest.mark.parametrize("separator", [b"\t", b"|"])
def test_tabs_and_bars_separate_where_commas_do_not(read, separator):
    """What databases write is often called .csv; the rule is that of semicolons."""
    assert read(b'a|b\n1,5|"x|y"\n'.replace(b"|", separator)) == (("a", "b"), [("1,5", f"x{separator.decode()}y")])
    assert read(b"a\nx|y\nz\n".replace(b"|", separator)) == (("a",), [(f"x{separator.decode()}y",), ("z",)])
    assert read(b'"a|b"\nx\n'.replace(b"|", separator)) == ((f"a{separator.decode()}b",), [("x",)])
    assert read(b"a|b,c\n1|2,3\n".replace(b"|", separator))[0] == (f"a{separator.decode()}b", "c")


def test_tabs_separate_a_tsv_file(read):
    """And commas are text there."""
    assert read(b'a\tb\n1,5\t"x\ty"\n', "x.tsv") == (("a", "b"), [("1,5", "x\ty")])


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (
            b'a\tb\n1\t"It never closes\n2\tends with a quote"\n3\tok\n',
            ['"It never closes', 'ends with a quote"', "ok"],
        ),
        (b'a\tb\r\n1\t"Hello" she said\r\n2\tok', ['"Hello" she said', "ok"]),
        (b'a\tb\n1\t"\n2\t""\n', ['"', '""']),
        (b'a\tb\n1\t5" pipe\n\n2\t"never\n', ['5" pipe', '"never']),
    ],
)
@pytest.mark.parametrize("name", ["x.tsv", "x.csv"])
def test_quotes_are_ordinary_where_each_line_of_a_tab_separated_file_has_all_fields(read, capsys, content, rows, name):
    """As data sets are written: no line becomes a part of another's cell; and that is said."""
    assert read(content, name) == (("a", "b"), [(str(at), text) for at, text in enumerate(rows, start=1)])
    wording.line(capsys.readouterr().err)


def test_quotes_are_ordinary_in_a_file_of_one_column_that_could_not_be_read_otherwise(read):
    """It has no fields to count; quotes that fit are heeded as ever."""
    assert read(b't\n"Hello" she\nok\n', "x.tsv")[1] == [('"Hello" she',), ("ok",)]
    assert read(b't\n"Hello\nshe"\nok\n', "x.tsv")[1] == [("Hello\nshe",), ("ok",)]


@pytest.mark.parametrize(
    "content",
    [b'a\tb\n1\t"x\ty"\n2\t"x\nz"\n', b'a,b\n1,"x\n2,y"\n', b"a,b\n1,2\n\n3,4\n\n", b'a\n"x\n\ny"\n'],
)
def test_fewer_rows_than_lines_are_said(read, capsys, content):
    """With the line where a quote begins to swallow others."""
    assert len(read(content)[1]) < len(content.strip().splitlines()) - 1
    wording.line(capsys.readouterr().err)


@pytest.mark.parametrize("content", [b"a,b\n1,2\n\n\n", b'a,b\n1,"2"\n', b"a\n\nx\n", b"a,b", b"\n\na,b\r\n1,2\r\n"])
def test_as_many_rows_as_lines_are_nothing_to_say(read, capsys, content):
    """Blank lines at the end are none."""
    read(content)
    assert capsys.readouterr().err == ""


def test_a_carriage_return_alone_is_text_where_lines_end_otherwise(read):
    """In a name as in a cell; and the two that a broken program writes at a line's end are one end."""
    assert read(b"a\n1\rx\n2\n") == (("a",), [("1\rx",), ("2",)])
    assert read(b'"a\rb",c\r\n1,x\ry\r\n"2\r",z\r\n') == (("a\rb", "c"), [("1", "x\ry"), ("2\r", "z")])
    assert read(b"a,b\r\r\n1,2\r\r\n") == (("a", "b"), [("1", "2")])


@pytest.mark.parametrize("content", [b"a,b,,\n1,2,,\n", b"a,b\n1,2,,\n", b'a;b;\n1;2;""\n', b"a,b,\n1,2,\n"])
def test_empty_columns_at_the_right_are_left_out(read, capsys, content):
    """As spreadsheets leave them, whether the header has them or not; and that is said."""
    assert read(content) == (("a", "b"), [("1", "2")])
    wording.line(capsys.readouterr().err)


def test_a_column_without_a_name_that_holds_something_stays(read):
    """At the right as well as at the left, where pandas writes its index."""
    assert read(b"a,b,\n1,2,x\n") == (("a", "b", ""), [("1", "2", "x")])
    assert read(b",a\n0,x\n,y\n") == (("", "a"), [("0", "x"), (None, "y")])


@pytest.mark.parametrize("block", [64, 1000])
def test_a_file_may_be_longer_than_one_block(read, monkeypatch, block):
    """Records that lie across two blocks are read as any other."""
    monkeypatch.setattr(csv_reading, "_BLOCK", block)
    rows = [(f"text {number}", "a\nb" if number % 2 else None) for number in range(200)]
    content = "a,b\n" + "".join(f'{a},"{b}"\n' if b else f"{a},\n" for a, b in rows)
    assert read(content.encode()) == (("a", "b"), rows)


@given(
    names=st.lists(TEXT.filter(lambda name: "\0" not in name), min_size=1, max_size=3, unique=True),
    cells=st.lists(st.none() | TEXT, max_size=12),
    ending=st.sampled_from([".csv", ".tsv"]),
)
@settings(deadline=None, max_examples=30)
def test_what_is_written_is_read_back(tmp_path_factory, names, cells, ending):
    """Any texts, empty texts and nulls, under any names, in one column or several."""
    rows = [tuple(cells[at : at + len(names)]) for at in range(0, len(cells) - len(names) + 1, len(names))]
    path = tmp_path_factory.mktemp("round") / f"trip{ending}"
    table = pd.DataFrame(rows, columns=names, dtype=object)
    tables.write_table(table, path)
    found = tables.view(tables.read_table(path))
    assert found.columns == tuple(names)
    assert list(found.rows(names)) == rows


@given(st.lists(st.lists(st.text("ab, \"'\n\r;x", min_size=1), min_size=2, max_size=2), max_size=8))
@settings(deadline=None, max_examples=40)
def test_what_python_writes_is_read_as_python_reads_it(tmp_path_factory, rows):
    """A file of the standard library's writer means the same to both."""
    written = io.StringIO()
    csv.writer(written).writerows([["first", "second"], *rows])
    path = tmp_path_factory.mktemp("python") / "x.csv"
    path.write_bytes(written.getvalue().encode())
    found = tables.view(tables.read_table(path))
    assert [list(row) for row in found.rows(found.columns)] == rows


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,2\n1,2,3\n",
        b"a,b\n1,2,,\n3,4\n",
        b'a\tb\n1\t"x\n2\n',
        b"a,b\n1\n",
        b"a;b\n1;2;3\n",
        b'a,b\r\n"x\r\ny",1\r\n\r\n1\r\n',
        b"a,b\r1,2\r1\r",
        b'a,b\n1,2\n3,"x\n4,5\n',
        b'a,"b\n1,2\n',
        b'a,b\n1,"He said "no" to me"\n',
        b'a,b\n"x\ny"z,2\n',
    ],
)
def test_a_broken_record_is_named_by_its_line(refuse, content):
    """The line is the one that an editor shows, quoted line ends counted."""
    wording(refuse(content))


@pytest.mark.parametrize(
    "content",
    [
        "a,b\n1,2\ncafé,3\n".encode("latin-1"),
        "café,b\n1,2\n".encode("latin-1"),
        'a,b\n"x\ny",2\n1,“quote”\n'.encode("windows-1252"),
        b"a,b\n\xff,1\n1,2,3\n",
    ],
)
def test_another_encoding_is_named_with_its_first_line(refuse, content):
    """What is not UTF-8 is never guessed at, and it is said before anything else of a later line."""
    wording(refuse(content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_mark_of_utf_16_is_known(refuse, encoding):
    """Excel's "Unicode text" is UTF-16."""
    content = "\ufeffa,b\n1,2\n".encode(encoding) if encoding.endswith("be") else "a,b\n1,2\n".encode(encoding)
    wording(refuse(content))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-be", "utf-32-le"])
def test_utf_16_without_a_mark_is_known_by_its_first_letters(refuse, encoding):
    """A NUL among the first four bytes is no text that anybody wrote."""
    wording(refuse("a,b\n1,2\n".encode(encoding)))


def test_a_spreadsheet_under_another_name_is_known(refuse):
    """An .xlsx that was renamed is not read as one long name."""
    wording(refuse(b"PK\x03\x04\x14\x00\x06\x00"))


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n", b"\r\n\r\n"])
def test_a_file_of_nothing_has_no_header(refuse, content):
    """An empty file is a mistake; a table of no rows has its header."""
    wording(refuse(content))


def test_names_must_differ(refuse):
    """Names without one are names too: two of them are one name twice."""
    message = "FILE: column names must differ, but 'a' is there more than once; rename them"
    assert refuse(b"a,b,a\n1,2,3\n", error=ColumnError) == message
    message = "FILE: column names must differ, but '' is there more than once; rename them"
    assert refuse(b"a,,\n1,2,3\n", error=ColumnError) == message


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(("start", "end"), [("", "\n"), ("\ufeff", "\r\n"), ('"', '"\r')])
def test_the_line_that_names_the_separator_is_no_header(read, separator, start, end):
    """Spreadsheets write ``sep=;`` before the header: it is heeded, and the separator needs no guess."""
    content = f"{start}sep={separator}{end}a{separator}b,c;d\n1{separator}'2\n"
    if separator in ",;":
        content = f"{start}sep={separator}{end}a{separator}b\n1{separator}'2\n"
    columns, rows = read(content.encode())
    assert (columns[0], rows) == ("a", [("1", "'2")])
    assert len(columns) == 2


def test_lines_are_counted_with_the_one_that_names_the_separator(refuse):
    """As an editor counts them."""
    wording.line(refuse(b"sep=;\na;b\n1,2\n"))


@pytest.mark.parametrize("content", [b"sep=;", b"sep=;\r\n", b'"sep=;"\n\n'])
def test_a_file_with_nothing_but_its_separator_is_empty(refuse, content):
    """There is no header in it."""
    wording(refuse(content))


def test_a_column_may_be_called_sep(read):
    """Only the whole line is more than a name."""
    assert read(b"sep=x,b\n1,2\n") == (("sep=x", "b"), [("1", "2")])


def test_a_record_longer_than_a_block_is_refused_in_a_line(refuse, monkeypatch):
    """The converter's own bound has a message of ours."""
    monkeypatch.setattr(csv_reading, "_BLOCK", 64)
    wording(refuse(b"a,b\n1," + b"x" * 500 + b"\n"))


@given(st.binary(max_size=60) | TEXT.map(str.encode))
@settings(deadline=None, max_examples=75)
def test_no_bytes_end_in_a_traceback(tmp_path_factory, content):
    """Whatever a file holds, it is a table or one line about it without its text."""
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(content)
    try:
        tables.view(tables.read_table(path))
    except (TableError, ColumnError) as refused:
        message = str(refused)
    else:
        message = ""
    assert len(message) < 500
    assert "\n" not in message


def test_a_message_holds_no_cell(refuse):
    """What a broken record says stays in the file."""
    assert "secret" not in refuse(b"a,b\nsecret,secret,secret\n")
    assert "secret" not in refuse(b'a,b\n"secret" secret,secret\n')
    assert "secret" not in refuse(b"a,b\nsecret,\xff\n")


def test_the_time_grows_with_the_file_and_not_faster(tmp_path):
    """A file that is broken in its last line is judged as fast as one that is not: nothing is tried twice over."""
    line = b'1,"' + b'""a,' * 200 + b'",' + b"x" * 200 + b"\n"
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b,c\n" + line * 20_000 + b'1,"' + b'""' * 100_000)
    with wording.raises(TableError):
        tables.read_table(path)


def test_the_separator_that_is_asked_for_goes_before_what_the_file_says(tmp_path, capsys):
    """And a line says so where they differ."""
    path = tmp_path / "a.csv"
    path.write_text("sep=;\na;b,c\n1;2,3\n")
    assert list(tables.read_table(path, separator=",").columns) == ["a;b", "c"]
    wording(capsys.readouterr().err)
    assert list(tables.read_table(path, separator=";").columns) == ["a", "b,c"]
    assert capsys.readouterr().err == ""
