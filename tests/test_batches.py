"""Runs over batches: what comes out is what a run over the whole table gives, with little of it in memory."""

from __future__ import annotations

import shutil
import sys
import threading

import orjson
import polars
import pyarrow as pa
import pyarrow.dataset
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording
from servers import completion, fault_server, message

import tablenodes as tn
from tablenodes.engine.sink import End
from tablenodes.run import windows
from tablenodes.run.failures import Failures
from tablenodes.tables import Spill

NODE = tn.CreateChatCompletion(model="m", prompt="{{ text }}", answer={"word": str, "length": int})


def words(count, first=0):
    return [f"w{at}" for at in range(first, first + count)]


def batches_of(table, size):
    return iter(table.to_batches(max_chunksize=size))


def judged(body):
    text = body["messages"][-1]["content"]
    if text.endswith("7"):
        return 400, {"error": {"message": "no sevens", "code": "seven"}}
    return orjson.dumps({"word": text, "length": len(text)}).decode()


def table_of(count):
    return pa.table({"id": pa.array(range(count), pa.int32()), "text": words(count)})


def test_the_batches_of_a_run_are_its_table():
    """The configuration, the answers, the ends and what they used: each column as in a run over the whole table."""
    table, server = table_of(100), tn.testing.canned(judged)
    whole = NODE.run(table, server, progress=False)
    made = NODE.run_batches(batches_of(table, 7), server, progress=False)
    batches = list(made)
    assert [len(batch) for batch in batches] == [7] * 14 + [2]
    together = pa.Table.from_batches(batches, made.schema)
    assert together.select(whole.table.column_names).to_pydict() == whole.table.to_pydict()
    assert together["body"].to_pylist() == whole.result["body"].to_pylist()
    assert together["total_tokens"].to_pylist() == whole.usage["total_tokens"].to_pylist()
    assert made.summary.outcomes == whole.summary.outcomes
    assert made.summary.prompt_tokens == whole.summary.prompt_tokens


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(lambda table: table, id="a table of Arrow"),
        pytest.param(lambda table: table.to_pandas(), id="pandas"),
        pytest.param(polars.DataFrame, id="polars"),
        pytest.param(lambda table: table.to_reader(3), id="a reader"),
        pytest.param(lambda table: batches_of(table, 4), id="an iterator of batches"),
        pytest.param(lambda table: iter([table.to_pandas(), table.to_pandas()]), id="an iterator of data frames"),
        pytest.param(lambda table: pytest.importorskip("pyarrow.dataset").dataset(table), id="a dataset"),
        pytest.param(lambda table: pytest.importorskip("duckdb").from_arrow(table), id="duckdb"),
    ],
)
def test_a_source_is_whatever_has_rows(source):
    """Of any library that has Arrow data, and an iterator of tables of any kind."""
    made = NODE.run_batches(source(table_of(10)), tn.testing.canned(judged), progress=False).read_all()
    assert made["text"].to_pylist() in (words(10), words(10) * 2)


def test_any_library_reads_it():
    """It is a stream of Arrow data."""
    made = NODE.run_batches(table_of(10), tn.testing.canned(judged), progress=False)
    assert polars.DataFrame(made)["length"].to_list() == [2] * 7 + [None] + [2] * 2


@pytest.mark.parametrize(
    ("batches", "told"),
    [
        ([], "has no batch"),
        ([{"a": [1]}, {"b": [1]}], "has no column 'a'"),
        ([{"a": [1]}, {"a": [1], "b": [1]}], "a column 'b'"),
        ([{"a": [1]}, {"a": ["x"]}], "column 'a' is string in a batch, and int64 in the first one"),
    ],
)
def test_batches_that_are_unlike_are_refused(batches, told):
    """A column of the first one that is missing, is new, or is of a type that does not fit."""
    node = tn.CreateChatCompletion(model="m", prompt="hi", columns=())
    with pytest.raises(tn.errors.TableError, match=told):
        node.run_batches(map(pa.table, batches), tn.testing.canned("x"), progress=False).read_all()


def test_what_was_read_before_a_source_broke_is_there():
    """The error comes after the rows that came out of it."""

    def broken():
        yield table_of(10)
        raise OSError("the disk is gone")

    made = NODE.run_batches(broken(), tn.testing.canned(judged), progress=False)
    assert len(next(iter(made))) == 10
    with pytest.raises(OSError, match="disk is gone"):
        made.read_all()
    assert made.summary.rows == 10


def test_numbers_fit_where_nothing_is_lost():
    """A batch whose integers are narrower has the first one's type."""
    parts = iter([pa.table({"a": [1]}), pa.table({"a": pa.array([2], pa.int8())})])
    node = tn.CreateChatCompletion(model="m", prompt="{{ a }}", columns=())
    assert node.run_batches(parts, tn.testing.canned("x"), progress=False).read_all()["a"].to_pylist() == [1, 2]


def test_sending_goes_on_behind_a_slow_row():
    """What was answered waits on the disk, in batches that are whole and in those with the slow row in them."""
    last, seen = "w299", threading.Event()

    def reaction(exchange):
        text = orjson.loads(exchange.received.body)["messages"][-1]["content"]
        if text == last:
            seen.set()
        if text == "w3":
            assert seen.wait(20)
        exchange.send(message(completion(exchange.received.body)))

    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
    with fault_server(reaction) as server:
        connection = tn.Connection(server.url, "key")
        made = node.run_batches(
            batches_of(table_of(300), 10), connection, progress=False, window=3_000, limits=tn.Limits(concurrency=8)
        )
        together = made.read_all()
    assert together["id"].to_pylist() == list(range(300))
    assert made.summary.ok == 300


def test_rows_that_fail_late_are_named_by_their_own_places():
    """Those of a batch whose other rows went to the disk before them."""
    seen = threading.Event()

    def reaction(exchange):
        text = orjson.loads(exchange.received.body)["messages"][-1]["content"]
        if text == "w199":
            seen.set()
        if text in ("w2", "w7"):
            assert seen.wait(20)
            words = "no two" if text == "w2" else "not the seventh"
            exchange.send(message(orjson.dumps({"error": {"message": words}}), 400))
        else:
            exchange.send(message(completion(exchange.received.body)))

    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
    with fault_server(reaction) as server:
        how = {"progress": False, "window": 3_000, "limits": tn.Limits(concurrency=8)}
        made = node.run_batches(batches_of(table_of(200), 10), tn.Connection(server.url, "key"), **how)
        together = made.read_all()
    assert {(each.row, each.message) for each in made._failures()} == {(2, "no two"), (7, "not the seventh")}
    assert [at for at, end in enumerate(together["outcome"].to_pylist()) if end != "ok"] == [2, 7]


def test_rows_after_a_stop_are_not_sent_and_none_is_missing():
    """The rest of the source is read, and comes out as what it is."""
    server = tn.testing.canned(lambda body: (401, {"error": {"message": "no"}}))
    made = NODE.run_batches(batches_of(table_of(500), 10), server, progress=False)
    assert made.read_all()["outcome"].to_pylist()[-1] == "not_sent"
    assert (made.summary.rows, made.summary.ok) == (500, 0)


def test_what_is_closed_sends_nothing_more():
    """What came by then is in the journal's hands, and the summary has it."""
    sent = []
    server = tn.testing.canned(lambda body: sent.append(body) or "x")
    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
    with node.run_batches(batches_of(table_of(50_000), 10), server, progress=False) as made:
        assert len(next(iter(made))) == 10
    assert len(sent) < 5_000
    assert made.summary.ok == len(sent)


def test_what_is_closed_before_it_began_lets_go_of_all(tmp_path):
    """The journal is closed, and nothing was sent."""
    server = tn.testing.canned("x")
    with NODE.run_batches(table_of(3), server, journal=tmp_path / "a.journal", progress=False) as made:
        pass
    assert (made.summary.requests, made.summary.rows) == (0, 0)
    assert [each.name for each in tmp_path.iterdir()] in ([], ["a.journal"])
    with NODE.run_batches(table_of(3), server, journal=tmp_path / "a.journal", progress=False) as made:
        assert made.read_all().num_rows == 3


def test_a_check_of_all_rows_counts_them_all(capsys):
    """Beforehand, with the number of the first one that cannot be sent."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}", temperature="{{ id }}")
    table = pa.table({"id": [1] * 12 + [5] * 3, "text": words(15)})
    source = pyarrow.dataset.dataset(table)
    with pytest.raises(
        tn.errors.InvalidRequests, match=r"^3 of 15 rows cannot be sent; nothing was sent; first row 12"
    ):
        node.run_batches(source, tn.testing.canned("x"), check="first", on_invalid="raise", progress=False)
    made = node.run_batches(source, tn.testing.canned("x"), check="first", progress=True)
    assert "rows cannot be sent; first row 12" in capsys.readouterr().err
    assert made.read_all()["outcome"].to_pylist() == ["ok"] * 12 + ["invalid_request"] * 3


def test_a_run_that_is_not_over_has_no_summary():
    """It is there once all is read."""
    made = NODE.run_batches(table_of(5), tn.testing.canned(judged), progress=False)
    with pytest.raises(tn.errors.UsageError, match="not over"):
        made.summary  # noqa: B018
    made.read_all()
    assert made.summary.rows == 5


def test_a_second_run_sends_what_is_missing(tmp_path):
    """The journal is one of any run, whatever the batches were."""
    sent = []

    def reply(body):
        sent.append(body)
        return judged(body)

    path = tmp_path / "run.journal"
    first = NODE.run_batches(
        batches_of(table_of(60), 7), tn.testing.canned(reply), journal=path, progress=False
    ).read_all()
    asked = len(sent)
    second = NODE.run_batches(batches_of(table_of(60), 11), tn.testing.canned(reply), journal=path, progress=False)
    apart = ["reused", "latency", "started"]
    assert second.read_all().drop_columns(apart).to_pydict() == first.drop_columns(apart).to_pydict()
    assert (asked, len(sent), second.summary.reused) == (60, 60, 60)


def test_finished_batches_leave_before_the_source_is_read_on(tmp_path):
    """Of a run that is resumed, too: what the journal has of the rest is looked up as it comes."""
    read, server, path = [], tn.testing.canned(judged), tmp_path / "run.journal"
    NODE.run_batches(table_of(3_000), server, journal=path, progress=False).read_all()

    def source():
        for batch in batches_of(table_of(3_000), 100):
            read.append(batch)
            yield batch

    with NODE.run_batches(source(), server, journal=path, progress=False) as made:
        next(iter(made))
        assert len(read) < 10


def test_what_is_handed_out_is_in_the_journal(tmp_path):
    """However the process ends while somebody looks at a batch: its answers are on the disk."""
    path, copy, taken = tmp_path / "run.journal", tmp_path / "copy.journal", 0
    with NODE.run_batches(batches_of(table_of(60), 5), tn.testing.canned(judged), journal=path, progress=False) as made:
        for batch in made:
            taken += len(batch)
            for end in ("", "-wal"):
                shutil.copyfile(f"{path}{end}", f"{copy}{end}")
            assert tn.read_journal(copy)["outcome"].isin(["ok", "http_error"]).sum() >= taken


def test_what_the_journal_has_is_said_of_a_stream(tmp_path, capsys):
    """Before anything is sent: all of a short one, of a long one its beginning; and where nothing fits, that."""
    ways = {"journal": tmp_path / "run.journal"}
    for node, count, size in ((NODE, 20, 5), (NODE, 30, 40), (NODE, 30, 5), (NODE.replace(model="n"), 9, 40)):
        node.run_batches(batches_of(table_of(count), size), tn.testing.canned(judged), **ways).read_all()
    told = [line for line in capsys.readouterr().err.splitlines() if "journal" in line and "no journal" not in line]
    wording(told)


def test_rows_are_checked_first_where_that_is_asked_for():
    """Then nothing is sent where one of them cannot be; a source that is read once cannot be checked so."""
    table, sent = table_of(30).set_column(1, "text", pa.array([*words(29), None])), []
    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
    server = tn.testing.canned(lambda body: sent.append(body) or "x")
    with pytest.raises(tn.errors.InvalidRequests):
        node.run_batches(table, server, check="first", on_invalid="raise", progress=False)
    with pytest.raises(tn.errors.SettingError, match="only once"):
        node.run_batches(batches_of(table, 9), server, check="first", progress=False)
    assert sent == []
    assert node.run_batches(table, server, progress=False).read_all()["outcome"].to_pylist()[-1] == "invalid_request"


def test_rows_that_are_not_checked_are_for_the_server_to_refuse():
    """What it is asked is what the cells say."""
    table = pa.table({"text": ["a", "b"], "temperature": [1.0, 99.0]})
    node = tn.CreateChatCompletion(model="m", prompt="{{ text }}")
    ends = [node.run_batches(table, tn.testing.canned("x"), check=how, progress=False) for how in ("lazy", False)]
    assert [each.read_all()["outcome"].to_pylist() for each in ends] == [["ok", "invalid_request"], ["ok", "ok"]]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_windows_hand_out_every_batch_once_and_in_order(data):
    """In whatever order rows end, however little fits into memory."""
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=8))
    order = data.draw(st.permutations(range(sum(sizes))))
    spill = Spill()
    made = windows.Windows(Plain(), spill, data.draw(st.sampled_from([1, 900, 10_000])), 10**9)
    for size in sizes:
        made.begin(range(size))
    taken = []
    for row in order:
        made.accept(row, End("ok", b"%d" % row))
        while made.has_news():
            taken.append(made.take())
    rows = iter(range(sum(sizes)))
    assert [table["body"].to_pylist() for table in taken] == [[str(next(rows)) for _ in range(size)] for size in sizes]
    assert spill.bytes == 0
    spill.close()


def test_what_waits_is_on_the_disk_and_no_row_begins_beyond_its_limit():
    """Whole batches behind an open one, and open ones with rows that have ended; taken, the file is empty again."""
    spill = Spill()
    made = windows.Windows(Plain(), spill, 1_000, 2_000)
    for _ in range(3):
        made.begin(range(10))
    for row in range(1, 10):  # the first batch has one row on its way
        made.accept(row, End("ok", b"x" * 200))
    assert spill.bytes > 0
    for row in range(10, 30):
        made.accept(row, End("ok", b"x" * 200))
    assert (made.room, made.has_news()) == (1, False)  # where none is on its way
    made.accept(0, End("ok", b"late"))
    assert [made.take()["body"][0].as_py()[:4] for _ in range(3)] == ["late", "xxxx", "xxxx"]
    assert (spill.bytes, made.room) == (0, sys.maxsize)
    spill.close()


def test_a_run_whose_limit_is_reached_comes_to_its_end():
    """However little may wait: the first batch gets the rows that it needs."""
    node, batches = tn.CreateChatCompletion(model="m", prompt="{{ text }}"), batches_of(table_of(40), 5)
    made = node.run_batches(batches, tn.testing.canned("x"), progress=False, window=1, spill=1)
    assert made.read_all()["id"].to_pylist() == list(range(40))


def test_the_first_row_of_a_reason_is_the_first_in_the_table():
    """Whichever batch ends first; its own words are shown."""
    found = Failures()
    for start, words in ((20, "no 20"), (10, "no 10"), (30, "no 30")):
        found.add([("http_error", 400, words, None, None)], [start])
    assert [(each.row, each.rows, each.message) for each in found.listed()] == [(10, 3, "no 10")]


class Plain:
    """Makes tables of bodies alone."""

    def __call__(self, view, records, start, left_out=()):
        return pa.table({"body": pa.array(records.body, pa.string())})

    def patched(self, table, late, start):
        bodies = table["body"].to_pylist()
        for row, end in late.items():
            bodies[row] = end.body.decode()
        return pa.table({"body": bodies})
