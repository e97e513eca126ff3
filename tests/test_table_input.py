"""Files as people have them: in other encodings, of JSON, compressed, or coming through a pipe."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_runs import exit_code_of
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes import tables
from tablenodes.cli import command_options
from tablenodes.errors import TableError, UsageError, WorkflowError
from tablenodes.tables import formats
from tablenodes.tables.encodings import _LETTERS
from tablenodes.workflow import file_schema

TEXTS = {
    "cp1252": ["name\nMüller schön\n", "id,review\n1,“super” – 5 €\n", "a\nit’s fine\n", "navn\nØrsted\nBjørn\n"],
    "cp1250": ["jméno,město\nŽižka,Plzeň\n", "imię\nŁukasz\nŚwięty\n", "név\nŐr Árvíztűrő tükörfúrógép\n"],
    "cp1251": ["имя,город\nИван,Москва\n", "id,отзыв\n1,плохо\n"],
    "cp932": ["名前,感想\n田中,とても良いです\n", "id,レビュー\n1,この商品は素晴らしい\n"],
    "gb18030": ["姓名,评论\n张三,非常好\n李四,不好\n", "id,评价\n1,这个产品很好用\n"],
    "big5": ["姓名,評論\n張三,非常好用\n"],
    "euc_kr": ["이름,리뷰\n김철수,아주 좋아요\n"],
}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a function that writes bytes to a file of a name, in the current folder, and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(name, content):
        Path(name).write_bytes(content)
        return name

    return write


@pytest.fixture
def stdin(monkeypatch, tmp_path):
    """Return a function that makes bytes the standard input."""
    monkeypatch.chdir(tmp_path)

    def give(content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def rows(table):
    view = tables.view(table)
    return [dict(zip(view.columns, row, strict=True)) for row in view.rows(view.columns)]


# --- encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts])
def test_an_encoding_is_named_and_read_on_request(file, encoding, text):
    """Never guessed: the error has the very argument that reads the file."""
    path = file("x.csv", text.encode(encoding))
    with pytest.raises(TableError) as caught:
        tn.read_table(path)
    assert (caught.value.code, caught.value.values["encoding"]) == ("encoding", encoding)
    assert f'encoding="{encoding}"' in str(caught.value)
    read = tn.read_table(path, encoding=encoding)
    assert rows(read) == pd.read_csv(path, encoding=encoding, dtype=str).to_dict("records")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(("name", "text"), [("x.csv", "a\tb\né\t1\n"), ("x.json", '[{"a": "é", "b": "1"}]')])
def test_the_unicode_text_of_a_spreadsheet_is_named_and_read(file, encoding, name, text):
    """Excel's "Unicode text" is UTF-16 with tabs."""
    path = file(name, text.encode(encoding))
    with pytest.raises(TableError) as caught:
        tn.read_table(path)
    assert caught.value.values["encoding"] == encoding
    assert rows(tn.read_table(path, encoding=encoding)) == [{"a": "é", "b": "1"}]


def test_a_file_of_no_encoding_that_is_known_says_how_to_name_one(file):
    """With the line; and what does not fit an encoding that was named is an error too."""
    path = file("x.csv", b"a,b\n1,2\n\x81\x8d\x90\x9d,\xfe\xff\n")
    with pytest.raises(TableError) as caught:
        tn.read_table(path)
    assert caught.value.code == "encoding_unknown"
    wording(caught.value)
    with wording.raises(TableError):
        tn.read_table(path, encoding="cp1252")
    with wording.raises(TableError):
        tn.read_table(path, encoding="cp12552")
    with wording.raises(TableError):
        tn.read_table(path, encoding="rot13")


@settings(deadline=None, max_examples=30)
@given(st.binary(max_size=40))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, content):
    """Under every encoding that is named, never with an error of another library."""
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_bytes(content)
    for encoding in (None, *_LETTERS, "utf-16", "utf-7"):
        try:
            tn.read_table(path, encoding=encoding)
        except UsageError:
            continue


# --- separators -------------------------------------------------------------------------------------------------------


def test_a_separator_that_is_said_is_the_only_one(file):
    """A decimal comma in every row makes columns of commas too: only a person knows."""
    path = file("x.csv", b"a;b,c\n1;2,5\n3;4,5\n")
    assert [*tn.read_table(path).columns] == ["a;b", "c"]
    assert rows(tn.read_table(path, separator=";")) == [{"a": "1", "b,c": "2,5"}, {"a": "3", "b,c": "4,5"}]
    path = file("tabs.csv", b"a\tb,c\n1\t2,3\n")
    for tab in ("\t", "\\t", "tab"):
        assert rows(tn.read_table(path, separator=tab)) == [{"a": "1", "b,c": "2,3"}]
    path = file("tilde.tsv", b"a~b\n1~2\n")
    assert rows(tn.read_table(path, separator="~")) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n", "§"])
def test_a_separator_is_one_character(file, separator):
    """And none that CSV has for something else."""
    with pytest.raises(TableError) as caught:
        tn.read_table(file("x.csv", b"a\n1\n"), separator=separator)
    assert caught.value.place == "separator"
    wording(caught.value)


@pytest.mark.parametrize("said", [{"separator": ";"}, {"encoding": "cp1252"}])
def test_what_a_format_has_not_is_refused(file, said):
    """Rather than passed over."""
    pd.DataFrame({"a": [1]}).to_parquet(file("x.parquet", b""))
    with wording.raises(TableError):
        tn.read_table("x.parquet", **said)


# --- formats ----------------------------------------------------------------------------------------------------------


def test_the_command_line_knows_the_formats_that_there_are():
    """It lists them without loading what reads them."""
    assert command_options.FORMATS == formats.FORMATS
    assert {*command_options.FORMATS} - {*formats.TEXTS} == {*command_options.BINARY}


@pytest.mark.parametrize("form", ["csv", "CSV", "csv.gz"])
def test_a_format_that_is_said_goes_before_the_name(file, form):
    """As for Excel's .txt."""
    content = b"a,b\n1,2\n"
    path = file("x.txt", gzip.compress(content) if "gz" in form else content)
    with pytest.raises(TableError):
        tn.read_table(path)
    assert rows(tn.read_table(path, format=form)) == [{"a": "1", "b": "2"}]


def test_a_format_that_is_not_known_is_refused(file):
    """With the nearest that is."""
    with wording.raises(TableError):
        tn.read_table(file("x.txt", b"a\n1\n"), format="cvs")


@pytest.mark.parametrize("name", ["x.json", "x.json.gz", "x.json.bz2", "x.json.zst", "x.json.xz", "x.csv.xz"])
@pytest.mark.parametrize("written", [[{"a": "é", "b": None}, {"a": "", "b": "2"}], []])
def test_a_compressed_file_is_read_as_it_was_written(tmp_path, name, written):
    """And each text format may be compressed in four ways."""
    table = pd.DataFrame(written, columns=["a", "b"]).astype("str" if not written else object)
    tables.write_table(table, tmp_path / name)
    if written:
        assert rows(tn.read_table(tmp_path / name)) == written
    elif name == "x.json":
        assert (tmp_path / name).read_text() == "[]\n"


@pytest.mark.parametrize("content", [lzma.compress(b"a\n1\n")[:-9], b"a\n1\n"])
def test_a_file_of_xz_that_is_cut_is_refused(file, content):
    """Half a file is never read as a whole one."""
    with wording.raises(TableError):
        tn.read_table(file("x.csv.xz", content))


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("x.csv", gzip.compress(b"a\n1\n"), "csv.gz"),
        ("x.jsonl", bz2.compress(b"{}\n"), "jsonl.bz2"),
        ("x.tsv", lzma.compress(b"a\n1\n"), "tsv.xz"),
        ("x.csv", b"PAR1rest", "parquet"),
        ("x.json", b'{"a": 1}\n{"a": 2}\n', "jsonl"),
        ("-", b'\xef\xbb\xbf {"a": 1}\n', "jsonl"),
        ("-", b'\n[\n{"a": 1}]', "json"),
        ("-", gzip.compress(b"a\n1\n"), "csv.gz"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_another_format_is_named(file, stdin, name, content, form):
    """With the argument that reads it; it is never guessed silently."""
    if name == "-":
        stdin(content)
    with pytest.raises(TableError) as caught:
        tn.read_table(name if name == "-" else file(name, content))
    assert (caught.value.code, caught.value.values["form"]) == ("input_format", form)
    wording(caught.value)


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_an_array_of_objects_is_a_table(file):
    """As JSON lines are: nested values stay, a name that a row has not is null there; pandas wrote one of them."""
    path = file("x.json", b'[{"a": {"b": [1]}, "n": 12},\n {"a": "x", "c": NaN}]')
    assert rows(tn.read_table(path))[0] == {"a": {"b": [1]}, "n": 12, "c": None}
    frame = pd.DataFrame({"id": ["007", "008"], "n": [1, 2], "x": [1.5, None]})
    frame.to_json("pandas.json", orient="records", indent=1)
    assert rows(tn.read_table("pandas.json")) == [{"id": "007", "n": 1, "x": 1.5}, {"id": "008", "n": 2, "x": None}]
    tables.write_table(frame, "again.json")
    assert json.loads(Path("again.json").read_text()) == json.loads(Path("pandas.json").read_text())


@pytest.mark.parametrize(
    "content",
    [
        b'{"data": [{"a": 1}], "n": 1}',
        b'{"a": {"0": 1}}',
        b'[{"a": 1},\n{"a": 2},\n\n  3, {"a": 4}]',
        b'[{"a": 1},\n{"a": 2,}\n]',
        b'[{"a": 1},\n{"a": 2',
        b"[]",
        b"7",
        b"[" * 100_000,
        '[{"a": "é"}]'.encode("cp1252"),
    ],
)
def test_json_that_is_no_table_says_where_and_why(file, content):
    """The line is the one that an editor shows."""
    with wording.raises(TableError):
        tn.read_table(file("x.json", content))


# --- the standard input -----------------------------------------------------------------------------------------------


def test_the_standard_input_is_csv_unless_it_is_said(stdin):
    """Or any other format."""
    stdin("a;b\né;1\n".encode("cp1252"))
    assert rows(tn.read_table("-", encoding="cp1252")) == [{"a": "é", "b": "1"}]
    stdin(b'{"a": 1}\n')
    assert rows(tn.read_table("-", format="jsonl")) == [{"a": 1}]
    packed = io.BytesIO()
    pd.DataFrame({"a": [1, 2]}).to_parquet(packed)
    stdin(packed.getvalue())
    assert rows(tn.read_table("-", format="parquet")) == [{"a": 1}, {"a": 2}]
    stdin(b"")
    with wording.raises(TableError):
        tn.read_table("-")


def shout(exchange):
    """Answer with the prompt in capitals."""
    said = json.loads(exchange.received.body)["messages"][-1]["content"].upper()
    choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
    answer({"choices": [choice]})(exchange)


def ask(url, *more):
    return ["call", "CreateChatCompletion", *more, "--model", "m", "--prompt", "{{ a }}", "--base-url", url, "--no-key"]


def test_every_door_reads_a_file_in_the_same_way(file, stdin, capsysbinary):
    """The workflow's file says what the options say; each of these goes before it."""
    file("x.txt", "a;b\né;1\n".encode("cp1252"))
    flow = "nodes: [{id: say, type: Return, text: '{{ a }}!'}]\ntable: "
    said = "{path: x.txt, format: csv, encoding: cp1252, separator: ';'}"
    file("w.yaml", f"{flow}{said}".encode())
    file("bare.yaml", f"{flow}x.txt".encode())
    options = ["--input-format", "csv", "--encoding", "cp1252", "--separator", ";"]
    expected = "a,b,say,say_outcome,say_message\né,1,é!,ok,\n".encode()
    assert exit_code_of("run", "w.yaml", "-o", "-") == 0
    assert capsysbinary.readouterr().out == expected
    assert exit_code_of("run", "bare.yaml", "-o", "-", *options) == 0
    assert capsysbinary.readouterr().out == expected
    assert exit_code_of("check", "bare.yaml", *options) == 0
    stdin(Path("x.txt").read_bytes())
    assert exit_code_of("run", "w.yaml", "-t", "-", "--rows", "1", "-o", "-", "--encoding", "cp1252") == 0
    assert capsysbinary.readouterr().out.endswith(expected)
    stdin(Path("x.txt").read_bytes())
    workflow = tn.Workflow({"say": tn.Return(text="{{ a }}!")}, table={"path": "-", "encoding": "cp1252"})
    assert rows(workflow.run(progress=False).table) == [
        {"a": "é", "b": "1", "say": "é!", "say_outcome": "ok", "say_message": None}
    ]
    assert exit_code_of("run", "bare.yaml", "-o", "-", "--input-format", "csv") == 1
    assert b"--encoding cp1252" in capsysbinary.readouterr().err
    assert exit_code_of("run", "w.yaml", "-t", "x.txt", "-o", "-") == 1
    wording(capsysbinary.readouterr().err.decode())


@pytest.mark.parametrize("table", [{"encoding": "x"}, {"path": "x", "encodin": "y"}, {"path": 1}, 7])
def test_a_table_of_a_workflow_is_a_path_or_a_mapping_with_one(table):
    """And is saved as it was given."""
    with wording.raises(WorkflowError):
        tn.Workflow({"say": tn.Return(text="x")}, table=table)


def test_how_a_table_is_read_is_saved_with_its_workflow(tmp_path):
    """The path becomes relative; the schema of the file admits it."""
    table = {"path": str(tmp_path / "x.txt"), "encoding": "cp1252", "format": "csv"}
    for said in (table, "-", {"path": "-", "format": "jsonl"}):
        workflow = tn.Workflow({"say": tn.Return(text="x")}, table=said)
        workflow.save(tmp_path / "w.yaml")
        assert tn.Workflow.load(tmp_path / "w.yaml") == workflow
    assert "path: x.txt" not in (tmp_path / "w.yaml").read_text()
    assert "encoding" in str(file_schema.file_schema()["properties"]["table"])


@pytest.mark.parametrize("form", command_options.FORMATS)
def test_the_standard_output_has_every_format(file, stdin, capsysbinary, form):
    """Parquet and Arrow too, in a pipe."""
    stdin(b"a,b\nx,1\n")
    assert exit_code_of("call", "Return", "-", "--set", "text={{ a }}!", "--format", form, "-o", "-") == 0
    stdin(capsysbinary.readouterr().out)
    assert rows(tn.read_table("-", format=form)) == [{"a": "x", "b": "1", "text": "x!"}]


@pytest.mark.parametrize("form", command_options.BINARY)
def test_what_is_no_text_does_not_go_to_a_terminal(file, monkeypatch, capsys, form):
    """Before anything is read or sent."""
    monkeypatch.setattr("tablenodes.cli.run_commands.is_terminal", lambda: True)
    assert exit_code_of("call", "Return", file("x.csv", b"a\n1\n"), "--set", "text=x", "--format", form) == 2
    wording(capsys.readouterr().err)


def test_a_table_goes_through_a_pipe(file):
    """``cat x.csv | tablenodes call … - -o - --format jsonl | jq``, all of it in processes of their own."""
    file("x.csv", b"a,b\nhello,1\nyou,2\n")
    jq = ["jq", "-r", ".answer"] if shutil.which("jq") else [sys.executable, "-c", PICK]
    with fault_server(shout) as server:
        source = subprocess.Popen(["cat", "x.csv"], stdout=subprocess.PIPE)
        asked = [sys.executable, "-m", "tablenodes", *ask(server.url, "-", "-o", "-", "--format", "jsonl")]
        call = subprocess.Popen(asked, stdin=source.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with source, call:
            source.stdout.close()
            picked = subprocess.run(jq, stdin=call.stdout, capture_output=True, text=True, check=True, timeout=60)
            told = call.stderr.read().decode()
    assert (call.returncode, picked.stdout.split()) == (0, ["HELLO", "YOU"]), told
    assert not [name for name in os.listdir() if "journal" in name]


PICK = "import json, sys; [print(json.loads(line)['answer']) for line in sys.stdin]"


def test_arrow_data_of_any_library_is_a_table():
    """A stream of record batches, DuckDB's relations, and whatever has the protocol."""
    duckdb = pytest.importorskip("duckdb")
    table = pa.table({"a": ["x", "y"]})

    class Producer:
        def __arrow_c_stream__(self, requested_schema=None):
            return table.__arrow_c_stream__(requested_schema)

    for source in (table.to_reader(), Producer(), duckdb.from_arrow(table), table.to_batches()[0]):
        out = tn.Return(text="{{ a }}!").run(source, progress=False)
        assert rows(out.table) == [{"a": "x", "text": "x!"}, {"a": "y", "text": "y!"}]
        assert isinstance(out.table, pa.Table)


class Dataset:
    """What one of Hugging Face has of Arrow: its rows, once its format is Arrow's."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, table):
        self._table = table

    def __len__(self):
        return len(self._table)

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, rows):
        return self._table[rows]

    def to_pandas(self):
        raise AssertionError("its Arrow data is read")


@pytest.mark.parametrize("kind", ["like it", "real"])
def test_a_dataset_of_hugging_face_is_a_table(kind):
    """The rows that were chosen, in their order; what comes back is Arrow, of which it makes a Dataset again."""
    table = Dataset(pa.table({"a": ["y", "x"]}))
    if kind == "real":
        datasets = pytest.importorskip("datasets")
        table = datasets.Dataset.from_dict({"a": ["x", "z", "y"]}).select([2, 0])
    out = tn.Return(text="{{ a }}!").run(table, progress=False)
    assert rows(out.table) == [{"a": "y", "text": "y!"}, {"a": "x", "text": "x!"}]
    assert isinstance(out.table, pa.Table)
    assert out.configuration is table
    if kind == "real":
        assert datasets.Dataset(out.table)[:] == {"a": ["y", "x"], "text": ["y!", "x!"]}
        for other in (datasets.DatasetDict({"train": table}), table.to_iterable_dataset()):
            with pytest.raises(TableError, match=r"\['train'\]|from_list"):
                tn.Return(text="x").run(other)
