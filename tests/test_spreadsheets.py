"""Spreadsheets that other programs wrote, read as a person sees them; and what is written, read by other programs."""

from __future__ import annotations

import builtins
import datetime
import io
import sys
import zipfile

import odf  # noqa: F401 - pandas reads and writes .ods with it
import openpyxl
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_runs import exit_code_of
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes import tables
from tablenodes.errors import ColumnError, TableError

DAY, MOMENT = datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, 3, 4, 5)


def rows(table):
    view = tables.view(table)
    return [dict(zip(view.columns, row, strict=True)) for row in view.rows(view.columns)]


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Return a function that writes sheets, each a list of rows, with openpyxl."""
    monkeypatch.chdir(tmp_path)

    def write(name="x.xlsx", change=lambda _: None, **sheets):
        made = openpyxl.Workbook()
        made.remove(made.active)
        for title, cells in sheets.items():
            sheet = made.create_sheet(title)
            for row in cells:
                sheet.append(row)
        change(made)
        made.save(name)
        return name

    return write


# --- what is read -----------------------------------------------------------------------------------------------------


def test_cells_are_what_a_person_sees(book):
    """Texts stay texts, whole numbers have no fraction, dates and times are those of ISO 8601."""
    times = (datetime.time(10, 30), datetime.timedelta(hours=26, minutes=30))
    read = tn.read_table(
        book(
            S=[
                ["id", "n", "price", "day", "moment", "time", "sum", "mixed", "yes", 2024],
                ["007", 5, 5, DAY, MOMENT, *times, "a", True, "=x"],
                ["1e5", 10**14, 5.5, None, DAY, *times, 7, False, "NA"],
                [None, None, None, DAY, None, None, None, DAY, None, " x\n y "],
            ],
            change=lambda made: setattr(made["S"]["J2"], "data_type", "s"),
        )
    )
    first = {"id": "007", "n": 5, "price": 5, "day": "2024-01-02", "moment": "2024-01-02T03:04:05", "time": "10:30:00"}
    second = {"id": "1e5", "n": 10**14, "price": 5.5, "day": None, "moment": "2024-01-02T00:00:00", "time": "10:30:00"}
    third = dict.fromkeys(first) | {"day": "2024-01-02", "sum": None, "mixed": "2024-01-02", "yes": None}
    assert rows(read) == [
        first | {"sum": "26:30:00", "mixed": "a", "yes": True, "2024": "=x"},
        second | {"sum": "26:30:00", "mixed": 7, "yes": False, "2024": "NA"},
        third | {"2024": " x\n y "},
    ]
    assert [str(read[name].dtype) for name in ("n", "day", "moment", "yes")] == [
        "Int64",
        "datetime64[s]",
        "datetime64[us]",
        "boolean",
    ]


@pytest.mark.parametrize(("name", "engine"), [("x.xlsx", "openpyxl"), ("x.xlsx", "xlsxwriter"), ("x.ods", "odf")])
def test_what_pandas_wrote_is_read(tmp_path, name, engine):
    """With three libraries; the index without a name too."""
    frame = pd.DataFrame({"id": ["007", "a,b"], "n": [1, 2], "x": [1.5, None], "day": [pd.Timestamp(DAY)] * 2})
    frame.to_excel(tmp_path / name, engine=engine)
    expected = [{"": 0, "id": "007", "n": 1, "x": 1.5}, {"": 1, "id": "a,b", "n": 2, "x": None}]
    assert [{**row, "day": str(row["day"])[:10]} for row in rows(tn.read_table(tmp_path / name))] == [
        row | {"day": "2024-01-02"} for row in expected
    ]


def test_what_is_empty_is_left_out(book, capsys):
    """Rows above, between and below, columns at both sides; a cell that is only formatted is empty."""
    path = book(S=[[], [None, "a", "b", None], [], [None, "x", 1], [None, None, 2], [], [None] * 9], change=_bold)
    assert rows(tn.read_table(path)) == [{"a": "x", "b": 1}, {"a": None, "b": 2}]
    wording(capsys.readouterr().err)


def _bold(made):
    made["S"]["J20"].font = openpyxl.styles.Font(bold=True)


def test_the_first_sheet_that_is_shown_is_read_and_the_others_are_named(book, capsys):
    """Another one is chosen by its name, at every door."""
    sheets = {"Hidden": [["h"], [0]], "One": [["a"], [1]], "Two": [["a"], [2]]}
    path = book(change=lambda made: setattr(made["Hidden"], "sheet_state", "hidden"), **sheets)
    assert rows(tn.read_table(path)) == [{"a": 1}]
    wording(capsys.readouterr().err)
    assert rows(tn.read_table(path, sheet="Two")) == [{"a": 2}]
    assert rows(tn.read_table(path, sheet="Hidden")) == [{"h": 0}]
    with wording.raises(TableError):
        tn.read_table(path, sheet="Tow")
    flow = tn.Workflow({"say": tn.Return(text="{{ a }}")}, table={"path": path, "sheet": "Two"})
    assert flow.run(progress=False).table["say"].tolist() == ["2"]
    assert exit_code_of("call", "Return", path, "--sheet", "Two", "--set", "text={{ a }}", "-o", "-") == 0
    assert capsys.readouterr().out == "a,text\n2,2\n"


def test_merged_cells_and_errors_are_said(book, capsys):
    """They read as empty, which a person should know."""

    def change(made):
        made["S"].merge_cells("A2:A3")
        made["S"]["B3"] = "#N/A"

    found = rows(tn.read_table(book(S=[["a", "b"], ["x", 1], [None, 2], ["y", 3]], change=change)))
    assert found == [{"a": "x", "b": 1}, {"a": "y", "b": 3}]
    wording(capsys.readouterr().err)


def test_a_formula_is_its_value_and_one_that_was_never_computed_is_refused(book, tmp_path):
    """A library writes formulas without their values: they would read as empty."""
    import xlsxwriter

    with xlsxwriter.Workbook(tmp_path / "computed.xlsx") as made:
        made.add_worksheet().write_column(0, 0, ["a", 20])
        made.worksheets()[0].write_formula(2, 0, "=A2+1", value=21)
    assert rows(tn.read_table(tmp_path / "computed.xlsx")) == [{"a": 20}, {"a": 21}]
    with wording.raises(TableError):
        tn.read_table(book(S=[["a"], [1], ["=A2+1"]]))


@pytest.mark.parametrize(
    "cells",
    [[], [[], []], [["a", None, None], [1, 2, 3]], [["a", "a"], [1, 2]]],
    ids=["none", "empty", "unnamed", "twice"],
)
def test_a_sheet_that_is_no_table_says_why(book, cells):
    """With its name, and the cells that have no name."""
    with wording.raises((TableError, ColumnError)):
        tn.read_table(book(S=cells))


@pytest.mark.parametrize("name", ["x.xlsx", "x.ods", "x.xls"])
@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"PK\x03\x04rest", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)]
)
def test_what_is_no_spreadsheet_is_refused(tmp_path, name, content):
    """Whatever it is."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError):
        tn.read_table(tmp_path / name)


def test_a_spreadsheet_of_another_name_is_named(book):
    """A file that was downloaded as .csv, or comes through a pipe."""
    book(S=[["a"], [1]])
    with open("x.xlsx", "rb") as file, open("y.csv", "wb") as copy:
        copy.write(file.read())
    with wording.raises(TableError):
        tn.read_table("y.csv")
    assert rows(tn.read_table("y.csv", format="xlsx")) == [{"a": 1}]


# --- what is written --------------------------------------------------------------------------------------------------

TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff")
CELLS = st.none() | st.booleans() | st.integers(-(10**15) + 1, 10**15 - 1) | st.text(TEXT, min_size=1, max_size=30)
CELLS |= st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(CELLS, st.just("x")), min_size=1, max_size=20))
@example([(1.7126972312470796e46, "x"), (-5e-324, "x"), (0.1 + 0.2, "x"), (1e15, "x")])
def test_an_xlsx_file_holds_every_cell(tmp_path_factory, cells):
    """Of any text, with control characters too, and any number."""
    path = tmp_path_factory.mktemp("any") / "x.xlsx"
    tables.write_table(pd.DataFrame(cells, columns=["a", "b"], dtype=object), path)
    assert [row["a"] for row in rows(tn.read_table(path))] == [_seen(cell) for cell, _ in cells]


def _seen(cell):
    return int(cell) if type(cell) is float and cell.is_integer() and abs(cell) < 10**15 else cell


@pytest.mark.parametrize("kind", [pd.DataFrame, pa.table, pl.DataFrame])
@pytest.mark.parametrize("name", ["x.xlsx", "x.ods"])
def test_a_table_is_read_again_as_it_was_written(tmp_path, kind, name):
    """Dates are dates, what is nested is JSON, numbers with more digits than a spreadsheet has are texts."""
    cells = {"t": ["007", None], "n": [1, 10**17], "x": [0.5, 2.0], "day": [DAY, DAY], "at": [MOMENT, None]}
    cells |= {"list": [[1], []], "yes": [True, None]}
    if kind is pd.DataFrame:
        cells |= {"day": pd.to_datetime(cells["day"]), "at": pd.to_datetime(cells["at"])}
    assert tables.write_table(kind(cells), tmp_path / name) == []
    read = rows(tn.read_table(tmp_path / name))
    assert [row["n"] for row in read] == [1, str(10**17)]
    assert [row["list"] for row in read] == ["[1]", "[]"]
    assert read[0] | {"n": 1} == read[0]
    assert [read[0][each] for each in ("t", "x", "day", "yes")] == ["007", 0.5, "2024-01-02", True]
    other = pd.read_excel(tmp_path / name, engine="openpyxl" if name == "x.xlsx" else "odf", dtype={"t": str})
    assert other["t"][0] == "007"
    assert other["at"][0] == pd.Timestamp(MOMENT)


@pytest.mark.parametrize("name", ["x.xlsx", "x.ods"])
def test_no_text_is_ever_a_formula_or_a_link(tmp_path, name):
    """A model's answer must not run a program on the machine of whoever opens the file."""
    texts = ["=cmd|' /C calc'!A0", "+1+1", "-1", "@SUM(A1)", "http://example.com", "\t=1", "<b>&amp;"]
    tables.write_table(pd.DataFrame({"a": texts}), tmp_path / name)
    with zipfile.ZipFile(tmp_path / name) as packed:
        whole = b"".join(packed.read(each) for each in packed.namelist())
    assert b"<f>" not in whole
    assert b"formula=" not in whole
    assert b"<hyperlink" not in whole
    assert b":a " not in whole
    assert [row["a"].strip("\t") for row in rows(tn.read_table(tmp_path / name))] == [
        text.strip("\t") for text in texts
    ]


def test_a_text_that_no_cell_holds_is_refused_before_anything_is_sent(tmp_path, monkeypatch, capsys):
    """In the table that is read; of an answer it is cut, and said."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"a": ["x", "y" * 32_768]}).to_csv("long.csv", index=False)
    with fault_server(answer(REPLY)) as server:
        assert exit_code_of(*ask(server.url, "long.csv", "-o", "out.xlsx")) == 1
        assert len(server.requests) == 0
        wording(capsys.readouterr().err)
        pd.DataFrame({"a": ["x"]}).to_csv("short.csv", index=False)
        assert exit_code_of(*ask(server.url, "short.csv", "-o", "out.xlsx")) == 0
        wording.line(capsys.readouterr().err, "cut")
    assert len(tn.read_table("out.xlsx")["answer"][0]) == 32_767


REPLY = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "é" * 40_000}, "finish_reason": "stop"}]}


def ask(url, table, *more):
    sent = ["--model", "m", "--prompt", "{{ a }}", "--base-url", url, "--no-key", "--no-progress"]
    return ["call", "CreateChatCompletion", table, *sent, *more]


@pytest.mark.parametrize(
    ("table", "form"),
    [
        ({"a": pd.Series("x", range(1_048_576))}, "xlsx"),
        ({str(at): [1] for at in range(16_385)}, "ods"),
        ({"a": ["😀" * 16_384]}, "xlsx"),
        ({"a": ["\x01"]}, "ods"),
    ],
    ids=["rows", "columns", "wide characters", "control"],
)
def test_what_no_sheet_holds_is_found_before(table, form):
    """Rows, columns, and characters as a spreadsheet counts them."""
    with wording.raises(TableError):
        tables.check_writing(pd.DataFrame(table), form)


def test_what_an_ods_file_cannot_hold_is_replaced_and_said(tmp_path):
    """An answer is there, whatever it has in it."""
    (said,) = tables.write_table(pd.DataFrame({"a": ["x", "a\x01b"]}), tmp_path / "x.ods")
    wording(said)
    assert rows(tn.read_table(tmp_path / "x.ods"))[1] == {"a": "a\ufffdb"}


def test_a_spreadsheet_of_old_or_with_macros_is_not_written(tmp_path):
    """It is only read."""
    with wording.raises(TableError):
        tables.check_output(tmp_path / "x.xls")


def test_without_the_libraries_the_extra_is_named(tmp_path, monkeypatch):
    """In one line, before anything is sent."""
    known = builtins.__import__

    def absent(name, *more):
        if name in ("python_calamine", "xlsxwriter"):
            raise ImportError(name)
        return known(name, *more)

    monkeypatch.setattr(builtins, "__import__", absent)
    (tmp_path / "x.ods").write_bytes(b"PK")
    with wording.raises(TableError):
        tn.read_table(tmp_path / "x.ods")
    with wording.raises(TableError):
        tables.check_output(tmp_path / "x.xlsx")


def test_a_spreadsheet_goes_in_and_comes_out(book, capsysbinary, monkeypatch):
    """By the command line, through a file and through a pipe."""
    path = book(S=[["a", "day"], ["hello", DAY]])
    reply = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "=yes"}, "finish_reason": "stop"}]}
    with fault_server(answer(reply)) as server:
        assert exit_code_of(*ask(server.url, path, "-o", "out.xlsx")) == 0
        capsysbinary.readouterr()
        with open(path, "rb") as file:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read())))
        assert exit_code_of(*ask(server.url, "-", "--input-format", "xlsx", "-o", "-", "--format", "ods")) == 0
    sheet = openpyxl.load_workbook("out.xlsx").active
    expected = ["hello", datetime.datetime.combine(DAY, datetime.time()), "=yes", 200, "ok", None]
    assert [cell.value for cell in sheet[2]] == expected
    assert (sheet["C2"].data_type, sheet["B2"].number_format) in {("s", "yyyy-mm-dd"), ("inlineStr", "yyyy-mm-dd")}
    piped = pd.read_excel(io.BytesIO(capsysbinary.readouterr().out), engine="odf")
    assert piped["answer"].tolist() == ["=yes"]
