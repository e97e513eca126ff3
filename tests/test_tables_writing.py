"""Tables' files as they are written: whole or not at all, and holding what the table held."""

from __future__ import annotations

import datetime
import decimal
import errno
import io
import os
import stat

import commands
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Command
from permissions import permissions_bind
from sentences import wording

from tablenodes import disk, tables
from tablenodes.errors import TableError

ENDINGS = ["csv", "tsv", "jsonl", "parquet", "arrow", "csv.gz", "jsonl.zst"]
TABLE = pd.DataFrame({"a": ["x", None], "n": [1, 2]})


def text(table, form="csv"):
    """Return a table as text."""
    stream = io.StringIO()
    tables.write_stream(table, stream, form)
    return stream.getvalue()


def refused(table, path):
    """Return the message with which a file is not written, without its folder."""
    with pytest.raises(TableError) as caught:
        tables.write_table(table, path)
    return str(caught.value).replace(f"{os.path.dirname(path)}/", "")


# --- what is written --------------------------------------------------------------------------------------------------


def test_csv_quotes_only_what_needs_it():
    """Line ends, quotes and separators of any kind are quoted; null is nothing, an empty text two quotes."""
    table = pd.DataFrame({"a": ["x", "", None, 'say "x"', "a,b", "a;b", "a\tb", "a\nb", "a\rb", "\ufeffa", " x "]})
    assert text(table) == ('a\nx\n""\n\n"say ""x"""\n"a,b"\n"a;b"\n"a\tb"\n"a\nb"\n"a\rb"\n"\ufeffa"\n x \n')


def test_csv_writes_other_values_as_json():
    """A value that is no text reads as JSON, so that it means the same when it is read as text."""
    table = pd.DataFrame(
        {
            "b": [True, None],
            "i": pd.array([2**60 + 1, None], "Int64"),
            "x": [0.5, None],
            "n": [{"a": [1, None, "é"]}, None],
            "d": pd.to_datetime(["2024-02-29", None]),
        }
    )
    assert text(table) == (
        'b,i,x,n,d\ntrue,1152921504606846977,0.5,"{""a"":[1,null,""é""]}",2024-02-29T00:00:00\n,,,,\n'
    )


def test_tsv_separates_by_tabs():
    """Commas are quoted there too, which every reader takes."""
    assert text(pd.DataFrame({"a": ["x\ty"], "b": ["z"]}), "tsv") == 'a\tb\n"x\ty"\tz\n'


def test_json_lines_have_every_column_in_every_line():
    """Null is written, so each line tells all names."""
    table = pd.DataFrame({"a": ["é", None], "n": [{"x": None}, [1]]})
    assert text(table, "jsonl") == '{"a":"é","n":{"x":null}}\n{"a":null,"n":[1]}\n'


@pytest.mark.parametrize("kind", [pd.DataFrame, pa.table, pl.DataFrame])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_of_table_is_written_in_every_format(tmp_path, kind, ending):
    """And read back as what it was."""
    path = tmp_path / f"x.{ending}"
    tables.write_table(kind({"a": ["é", None, ""], "n": [1, 2, 3]}), path)
    found = tables.view(tables.read_table(path))
    number = str if ending.startswith(("csv", "tsv")) else int
    assert list(found.rows(["a", "n"])) == [("é", number(1)), (None, number(2)), ("", number(3))]


@pytest.mark.parametrize("ending", ENDINGS)
def test_many_rows_are_all_written(tmp_path, ending):
    """Rows are written in parts, which do not show."""
    path = tmp_path / f"x.{ending}"
    tables.write_table(pd.DataFrame({"a": [f"{number}é" for number in range(4321)]}), path)
    found = tables.view(tables.read_table(path))
    assert [cell for (cell,) in found.rows(["a"])] == [f"{number}é" for number in range(4321)]


def test_numbers_that_no_json_has_are_written_as_text():
    """A column that a run only passes through never costs the output of that run."""
    table = pd.DataFrame(
        {
            "x": [np.inf, -np.inf],
            "o": pd.Series([2**70, decimal.Decimal("0.12345678901234567890")], dtype=object),
        }
    )
    assert text(table) == "x,o\ninf,1180591620717411303424\n-inf,0.12345678901234567890\n"
    assert text(table, "jsonl").splitlines()[0] == '{"x":"inf","o":"1180591620717411303424"}'
    assert text(pa.table({"x": [float("nan")]})) == "x\nnan\n"


def test_half_a_character_is_written_as_a_replacement_for_it():
    """Such a row was not sent, and its cell costs no output either."""
    halves = pd.Series(["x\ud800", ["\ud800"], [float("nan")]], dtype=object)
    for table in (pd.DataFrame({"a": halves[:1]}), pd.DataFrame({"a": halves})):
        tables.check_writing(table, "csv")
        assert text(table, "jsonl").splitlines()[0] == '{"a":"x\ufffd"}'
    assert text(table) == 'a\nx\ufffd\n"[""\\ud800""]"\n[NaN]\n'


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_no_text_can_hold_is_named(form):
    """Row, column and reason, without the value."""
    table = pd.DataFrame({"a": ["x", "y"], "raw": [None, b"secret"]})
    with pytest.raises(TableError) as caught:
        text(table, form)
    wording(caught.value)


def test_what_cannot_even_be_read_is_named_too():
    """A date that Python has no object for."""
    with wording.raises(TableError):
        text(pa.table({"a": pa.array([2**62], pa.timestamp("us"))}))


def test_an_index_with_a_name_is_written_as_a_column():
    """An index that somebody named holds something; a mere count of rows does not."""
    named = pd.DataFrame({"a": [1]}, index=pd.Index(["x"], name="id"))
    levels = pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 2)], names=["p", None]))
    taken = pd.DataFrame({"id": [1]}, index=pd.Index(["x"], name="id"))
    assert text(named) == "id,a\nx,1\n"
    assert text(levels) == "p,a\nx,1\n"
    assert text(taken) == "id\n1\n"
    assert text(pd.DataFrame({"a": [1]}, index=[7])) == "a\n1\n"
    assert list(named.columns) == ["a"]


def test_a_column_that_parquet_cannot_hold_is_written_as_json(tmp_path):
    """Mixed objects, empty objects, unions: nothing of a table is lost for its type."""
    mixed = pd.DataFrame({"a": ["x", {"b": [1]}, 2], "e": [{}, None, {}], "t": ["p", "q", None]})
    tables.write_table(mixed, tmp_path / "x.parquet")
    found = tables.view(tables.read_table(tmp_path / "x.parquet"))
    assert list(found.rows(["a", "e", "t"])) == [("x", "{}", "p"), ('{"b":[1]}', None, "q"), ("2", "{}", None)]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_columns_of_other_kinds_that_a_format_cannot_hold_are_written_as_json(tmp_path, ending):
    """The same for Arrow's own types and for Polars' objects; the other columns keep theirs."""
    union = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["x", "y"])])
    path = tmp_path / f"x.{ending}"
    tables.write_table(pa.table({"n": [5, 6], "u": union}), path)
    assert list(tables.view(tables.read_table(path)).rows(["n", "u"]))[1] == (6, "y")
    twice = pa.DictionaryArray.from_arrays(pa.array([0, 0]), pa.array([{"a": 1}]))
    tables.write_table(pa.table({"n": [5, 6], "d": twice}), path)
    expected = '{"a":1}' if ending == "parquet" else {"a": 1}
    assert list(tables.view(tables.read_table(path)).rows(["n", "d"])) == [(5, expected), (6, expected)]
    tables.write_table(pl.DataFrame({"n": [5, 6], "o": pl.Series([{"a": 1}, "y"], dtype=pl.Object)}), path)
    assert list(tables.view(tables.read_table(path)).rows(["n", "o"])) == [(5, '{"a":1}'), (6, "y")]


def test_an_index_survives_parquet(tmp_path):
    """Also beside a column that had to be written as JSON."""
    table = pd.DataFrame({"a": ["x", 1]}, index=pd.Index(["p", "q"], name="id"))
    tables.write_table(table, tmp_path / "x.parquet")
    read = tables.read_table(tmp_path / "x.parquet")
    assert read.index.tolist() == ["p", "q"]
    assert read["a"].tolist() == ["x", "1"]
    assert table["a"].tolist() == ["x", 1]


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_pandas_reads_nested_columns_back(tmp_path, ending):
    """Lists, objects and times pass through a run as pandas wrote them."""
    given, written = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    table = pd.DataFrame({"l": [[1], [2, 3]], "d": [{"a": 1}, {"a": 2}], "t": [datetime.time(1), datetime.time(2)]})
    write = table.to_parquet if ending == "parquet" else table.to_feather
    read = pd.read_parquet if ending == "parquet" else pd.read_feather
    write(given)
    tables.write_table(tables.read_table(given), written)
    pd.testing.assert_frame_equal(read(written), read(given))


# --- before it is written ---------------------------------------------------------------------------------------------

UNHELD = {
    "bytes": pd.DataFrame({"a": [None, b"x"]}),
    "among texts": pd.DataFrame({"a": pd.Series(["x", b"y"], dtype=object)}),
    "inside of a list": pd.DataFrame({"a": [["x"], [b"x"]]}),
    "a category": pd.DataFrame({"a": pd.Categorical.from_codes([-1, 0], categories=[b"x"])}),
    "in the index": pd.DataFrame({"b": [1, 2]}, index=pd.Index([1, b"x"], name="a")),
    "arrow": pa.table({"a": [None, b"x"]}),
    "arrow's dictionary": pa.table({"a": pa.array([None, b"x"]).dictionary_encode()}),
    "texts that are not UTF-8": pa.table({"a": pa.array([None, b"\xff"]).view(pa.string())}),
    "polars": pl.DataFrame({"a": [None, b"x"]}),
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "x.tsv", "x.csv.gz"])
@pytest.mark.parametrize("table", UNHELD.values(), ids=UNHELD)
def test_what_text_cannot_hold_is_found_before_it_is_written(table, form):
    """In the words of the writer, which refuses the same cell."""
    with pytest.raises(TableError) as written:
        text(table, "jsonl")
    with pytest.raises(TableError) as found:
        tables.check_writing(table, form)
    assert str(found.value) == str(written.value)
    wording(found.value)


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_what_parquet_cannot_hold_is_found_before_it_is_written(ending):
    """A column of several types is written as text, which cannot hold bytes; an index has one type."""
    tables.check_writing(pd.DataFrame({"a": ["x", 1], "b": [b"x", None]}), f"x.{ending}")
    with wording.raises(TableError):
        tables.check_writing(pd.DataFrame({"a": [1, b"x"]}), f"x.{ending}")
    with wording.raises(TableError):
        tables.check_writing(pd.DataFrame({"a": [1, 2]}, index=["x", 1]), f"x.{ending}")


HELD = {
    "text": pd.DataFrame({"a": ["é", None]}),
    "objects": pd.DataFrame({"a": pd.Series(["é", None, float("nan")], dtype=object)}),
    "numbers": pd.DataFrame({"a": [1.5, np.inf], "b": pd.array([1, None], "Int64"), "c": [True, False]}),
    "long numbers": pd.DataFrame({"a": pd.Series([2**70, decimal.Decimal("0.1")], dtype=object)}),
    "dates": pd.DataFrame({"a": pd.to_datetime(["2024-02-29", None]), "b": [datetime.date(1, 1, 1), None]}),
    "nested": pd.DataFrame({"a": [[1], {"b": "x"}]}),
    "arrow": pa.table({"a": ["x", None], "b": [float("nan"), 1], "c": pa.array(["x", "x"]).dictionary_encode()}),
    "polars": pl.DataFrame({"a": ["x", None], "b": [1, 2]}),
}


@pytest.mark.parametrize("form", ["csv", "jsonl", "x.parquet"])
@pytest.mark.parametrize("table", HELD.values(), ids=HELD)
def test_what_can_be_written_is_not_refused(table, form):
    """Numbers that no JSON has are written as text."""
    tables.check_writing(table, form)
    if form in ("csv", "jsonl"):
        text(table, form)


@pytest.mark.parametrize("dtype", ["str", object])
def test_texts_are_not_looked_at_one_by_one(monkeypatch, dtype):
    """They are most of any table, and there may be millions."""
    view = tables.view(pd.DataFrame({"a": ["é", None]}, dtype=dtype))
    assert view.is_text_or_number("a")
    monkeypatch.setattr(type(view), "rows", None)
    tables.check_writing(view.table, "csv")


def test_text_holds_a_table_without_some_of_its_columns():
    """What was answered is printed, whatever stands beside it."""
    for table in (pd.DataFrame({"a": ["x"], "b": [b"x"]}), pa.table({"a": ["x"], "b": [b"x"]})):
        part, left_out = tables.text_part(table)
        assert (text(part), left_out) == ("a\nx\n", ["b"])


# --- to a stream ------------------------------------------------------------------------------------------------------


def test_a_stream_over_bytes_gets_utf_8():
    """Whatever encoding and line ends the terminal is set to: the output is a file's content."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1", newline="\r\n")
    stream.write("before\n")
    tables.write_stream(pd.DataFrame({"a": ["é€"]}), stream)
    assert raw.getvalue() == b"before\r\n" + "a\né€\n".encode()


def test_a_reader_that_has_gone_is_not_our_error():
    """`… | head` ends the program as it ends any other."""
    program = (
        "import sys, pandas as pd\nfrom tablenodes import tables\n"
        "try:\n    tables.write_stream(pd.DataFrame({'a': ['x' * 100] * 100_000}), sys.stdout)\n"
        "except BrokenPipeError:\n    sys.stderr.write('gone')\n    sys.stderr.flush()\n    import os; os._exit(0)\n"
    )
    child = Command([], program, text=False)
    child.stdout.read(10)
    child.stdout.close()
    assert child.stderr.read() == b"gone"
    child.stderr.close()
    assert child.wait() == 0


# --- where it is written ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_but_the_file_is_left(tmp_path, ending):
    """What was written on the way has taken the file's place."""
    for _ in range(2):
        tables.write_table(TABLE, tmp_path / f"x.{ending}")
    assert os.listdir(tmp_path) == [f"x.{ending}"]


@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_has_the_mode_that_the_system_gives(tmp_path, mask):
    """As of any file that the user makes."""
    before = os.umask(mask)
    try:
        tables.write_table(TABLE, tmp_path / "x.csv")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.csv").stat().st_mode) == 0o666 & ~mask


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    """What somebody made private stays private."""
    path = tmp_path / "x.csv"
    path.write_text("old")
    path.chmod(0o600)
    tables.write_table(TABLE, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "a,n\nx,1\n,2\n"


def test_a_file_is_private_while_it_is_written(tmp_path, monkeypatch):
    """Half a file is nobody's business, and it is on the disk before it has its name."""
    seen = []
    real = os.fsync

    def watched(descriptor):
        seen.append((stat.S_IMODE(os.fstat(descriptor).st_mode), sorted(os.listdir(tmp_path))))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    tables.write_table(TABLE, tmp_path / "x.csv")
    (mode, [part]), (_, after) = seen
    assert (mode, part.startswith("."), after) == (0o600, True, ["x.csv"])


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    """But not what another one is writing, nor what is no file."""
    path = tmp_path / "x.csv"
    with disk.new_file(path) as handle:
        handle.write(b"first")
        (mine,) = os.listdir(tmp_path)
        tables.write_table(TABLE, path)
        assert sorted(os.listdir(tmp_path)) == [mine, "x.csv"]
    assert path.read_bytes() == b"first"
    (tmp_path / mine).write_text("half")
    tables.write_table(TABLE, path)
    assert os.listdir(tmp_path) == ["x.csv"]
    (tmp_path / mine).symlink_to(path)
    path.write_text("old")
    tables.write_table(TABLE, path)
    assert (tmp_path / mine).is_symlink()
    assert path.read_text() == "a,n\nx,1\n,2\n"


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    """The file behind it is replaced."""
    (tmp_path / "real").mkdir()
    (tmp_path / "x.csv").symlink_to(tmp_path / "real" / "y.csv")
    for _ in range(2):
        tables.write_table(TABLE, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").is_symlink()
    assert os.listdir(tmp_path / "real") == ["y.csv"]


def test_a_path_that_leads_nowhere_is_said_in_the_systems_words(tmp_path):
    """A link to itself, a name that is too long."""
    (tmp_path / "x.csv").symlink_to(tmp_path / "x.csv")
    wording(refused(TABLE, tmp_path / "x.csv"))
    wording(refused(TABLE, tmp_path / f"{'x' * 300}.csv"))


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path, monkeypatch):
    """Some file systems cannot; the file itself is on the disk by then."""
    real = os.fsync

    def for_files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", for_files_only)
    tables.write_table(TABLE, tmp_path / "x.csv")
    assert os.listdir(tmp_path) == ["x.csv"]


def test_a_relative_path_is_written_from_here(tmp_path, monkeypatch):
    """`..` too: where a file goes is the user's own decision."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tables.write_table(TABLE, "x.csv")
    tables.write_table(TABLE, "../y.csv")
    assert sorted(os.listdir(tmp_path)) == ["here", "y.csv"]
    assert os.listdir(tmp_path / "here") == ["x.csv"]


def test_a_folder_a_device_and_a_pipe_are_not_written_to(tmp_path):
    """Only files are."""
    # A terminal of the test's own, in a folder where nothing can be replaced: were the rule broken, a test that
    # runs as root would put a file in the place of a device that the whole machine needs.
    ours, theirs = os.openpty()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "terminal.csv").symlink_to(os.ttyname(theirs))
    os.mkfifo(tmp_path / "pipe.csv")
    wording(refused(TABLE, tmp_path / "folder.csv"))
    wording(refused(TABLE, tmp_path / "terminal.csv"))
    wording(refused(TABLE, tmp_path / "pipe.csv"))
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("name", ["CON.csv", "con.csv.gz", "nul.parquet", "COM1.jsonl", "lpt9.csv"])
def test_a_name_that_is_a_device_elsewhere_is_refused(tmp_path, name):
    """A file of such a name cannot be opened on Windows."""
    wording(refused(TABLE, tmp_path / name))
    tables.write_table(TABLE, tmp_path / f"a{name}")


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """It is more often a typing mistake than a wish."""
    with wording.raises(TableError):
        tables.write_table(TABLE, tmp_path / "results" / "x.csv")


def test_an_ending_that_is_not_known_is_refused(tmp_path):
    """With those that are."""
    wording(refused(TABLE, tmp_path / "x.txt"))
    with wording.raises(TableError):
        tables.write_table(TABLE, tmp_path / "x.txt", what="result")


def test_what_is_no_table_is_not_written(tmp_path):
    """And no file is begun."""
    with wording.raises(TableError):
        tables.write_table([1], tmp_path / "x.csv")
    assert os.listdir(tmp_path) == []


@permissions_bind
def test_a_protected_file_or_folder_is_not_written_to(tmp_path):
    """Replacing is not a way around a write protection."""
    (tmp_path / "x.csv").write_text("old")
    (tmp_path / "x.csv").chmod(0o400)
    wording(refused(TABLE, tmp_path / "x.csv"))
    tmp_path.chmod(0o500)
    message = refused(TABLE, tmp_path / "y.csv")
    tmp_path.chmod(0o700)
    wording(message)


def test_a_file_that_may_not_be_written_is_said_to_be_protected(tmp_path, monkeypatch):
    """The same for a user who may do everything, with the system's answer taken for granted."""
    (tmp_path / "x.csv").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    wording(refused(TABLE, tmp_path / "x.csv"))
    wording(refused(TABLE, tmp_path / "y.csv"))
    assert (tmp_path / "x.csv").read_text() == "old"


@pytest.mark.parametrize("name", ["folder.csv", "loop.csv", "nowhere/x.csv", "x.txt", "CON.csv", f"{'x' * 300}.csv"])
def test_an_output_is_refused_before_anything_is_sent_as_it_would_be_after(tmp_path, name):
    """In the same words, and nothing is written by asking."""
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(TableError) as caught:
        tables.check_output(tmp_path / name)
    assert str(caught.value).replace(f"{os.path.dirname(tmp_path / name)}/", "") == refused(TABLE, tmp_path / name)
    tables.check_output(tmp_path / "fine.csv")
    assert sorted(os.listdir(tmp_path)) == before


# --- when it fails ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("step", ["fsync", "replace", "open", "chmod"])
def test_a_failure_at_any_step_leaves_the_old_file(tmp_path, monkeypatch, ending, step):
    """And nothing beside it, and says what the system said."""
    path = tmp_path / f"x.{ending}"
    tables.write_table(TABLE, path)
    before = path.read_bytes()

    def failing(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, failing)
    message = refused(pd.DataFrame({"new": [1]}), path)
    monkeypatch.undo()
    wording(message)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_full_disk_leaves_the_old_file(tmp_path, ending):
    """In a process whose files the system really cuts short, after some bytes are written."""
    program = """
import resource, signal, sys, random
import pandas as pd
from tablenodes import tables
from tablenodes.errors import TableError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = sys.argv[1]
tables.write_table(pd.DataFrame({"a": ["old"]}), path)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
random.seed(1)
try:
    tables.write_table(pd.DataFrame({"a": [random.randbytes(50).hex() for _ in range(20_000)]}), path)
except TableError as error:
    print(str(error).rpartition(": ")[2])
print(tables.read_table(path)["a"].tolist())
"""
    path = tmp_path / f"x.{ending}"
    _, out, err = commands.run([path], program)
    assert (out, err) == ("File too large\n['old']\n", "")
    assert os.listdir(tmp_path) == [path.name]


def test_a_cell_that_cannot_be_written_leaves_the_old_file(tmp_path):
    """Also when thousands of rows before it could."""
    path = tmp_path / "x.csv"
    tables.write_table(TABLE, path)
    before = path.read_bytes()
    broken = pd.DataFrame({"a": [*(["x"] * 5000), b"y"]})
    wording(refused(broken, path))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.csv"]


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch):
    """Ctrl-C is a failure like any other here, and goes on to the caller."""
    path = tmp_path / "x.csv"
    tables.write_table(TABLE, path)

    def interrupted(_descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tables.write_table(pd.DataFrame({"new": [1]}), path)
    monkeypatch.undo()
    assert path.read_text() == "a,n\nx,1\n,2\n"
    assert os.listdir(tmp_path) == ["x.csv"]


def test_a_value_that_a_format_cannot_hold_is_an_error_in_a_line(tmp_path):
    """Without the words of the writer, which hold the value."""
    table = pa.table({"a": pa.array([0, 2**62], pa.timestamp("s"))})
    try:
        pq.write_table(table, pa.BufferOutputStream())
    except pa.ArrowInvalid:
        pass
    else:
        pytest.skip("this pyarrow writes it")
    wording(refused(table, tmp_path / "x.parquet"))
    assert os.listdir(tmp_path) == []
