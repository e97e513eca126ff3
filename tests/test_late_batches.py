"""A stream that goes on where another run ended: what that has finished makes way for what is to be sent."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from unittest import mock

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from background import elsewhere
from hypothesis import given, settings
from hypothesis import strategies as st

import tablenodes as tn
from tablenodes import tables
from tablenodes.tables import batches

NODE = tn.CreateChatCompletion(model="m", prompt="{{ text }}", answer={"word": str, "length": int})
APART = {"latency", "started", "reused"}


def table_of(words):
    return pa.table({"id": pa.array(range(len(words)), pa.int32()), "text": list(words)})


def batches_of(table, size):
    return iter(table.to_batches(max_chunksize=size))


class Replies:
    """Answers well, but for words with a 7; keeps what was asked."""

    def __init__(self, ask=None):
        self.asked, self._ask = [], ask

    def __call__(self, body):
        text = body["messages"][-1]["content"]
        self.asked.append(text)
        if self._ask is not None:
            self._ask()
        if "7" in text:
            return 400, {"error": {"message": "no sevens", "code": "seven"}}
        return orjson.dumps({"word": text, "length": len(text)}).decode()


def resumed(table, journal, size, **more):
    """Return what comes of a stream, its summary, and what was asked."""
    replies = Replies()
    made = NODE.run_batches(
        batches_of(table, size), tn.testing.canned(replies), journal=journal, progress=False, **more
    )
    whole = made.read_all()
    return whole, made.summary, sorted(replies.asked)


def finished(words, journal):
    NODE.run(table_of(words), tn.testing.canned(Replies()), journal=journal, progress=False)
    return journal


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32).map(random.Random))
def test_a_resumed_stream_is_as_a_resumed_run(draw):
    """Whatever was finished before, however it is cut, and however little of it fits on the disk."""
    words = [draw.choice(["a", "b", "w7", f"w{draw.randrange(20, 90)}"]) for _ in range(draw.randrange(5, 40))]
    before = draw.choice([words[: draw.randrange(len(words))], draw.sample(words, len(words) - 2)])
    ways = {"retry_failed": draw.choice(["none", "all"])}
    size, spill = draw.choice([1, 3, 7, 50]), draw.choice([1, 2_000, 10**9])
    with tempfile.TemporaryDirectory() as folder:
        first = Path(folder, "first")
        if before:
            finished(before, first)
            shutil.copy(first, Path(folder, "second"))
        replies = Replies()
        run = NODE.run(table_of(words), tn.testing.canned(replies), journal=first, progress=False, **ways)
        made, summary, asked = resumed(table_of(words), Path(folder, "second"), size, spill=spill, **ways)
    assert asked == sorted(replies.asked)
    assert made.select(run.table.column_names).to_pydict() == run.table.to_pydict()
    assert made["reused"].to_pylist() == run.log["reused"].to_pylist()
    assert made["attempts"].to_pylist() == run.log["attempts"].to_pylist()
    assert (summary.outcomes, summary.reused) == (run.summary.outcomes, run.summary.reused)


def test_what_is_missing_is_sent_before_what_is_there_is_made(tmp_path):
    """Only the first of it has left by then, so that something is seen at once."""
    words = [f"w{at}" for at in range(1_500)]
    journal, left, counts = finished(words, tmp_path / "j"), [], []
    replies = Replies(lambda: counts.append(len(left)))
    source = batches_of(table_of([*words, "missing"]), 100)
    for batch in NODE.run_batches(source, tn.testing.canned(replies), journal=journal, progress=False):
        left.append(len(batch))
    assert replies.asked == ["missing"]
    assert counts[0] <= 2
    assert left == [100] * 15 + [1]


def test_no_more_is_put_off_than_may_wait(tmp_path):
    """Beyond the limit, the source is read no further than batches leave."""
    words, read, ahead = [f"w{at}" for at in range(300)], [], []
    journal = finished(words, tmp_path / "j")

    def source():
        for batch in batches_of(table_of(words), 10):
            read.append(batch)
            yield batch

    made = NODE.run_batches(source(), tn.testing.canned(Replies()), journal=journal, progress=False, spill=1)
    for left, _ in enumerate(made, 1):
        ahead.append(len(read) - left)
    assert (len(ahead), max(ahead) <= 3) == (30, True)


def test_what_can_be_read_again_does_not_wait_on_the_disk(tmp_path):
    """Batches with rows that are sent stand between those that are put off."""
    words = [f"w{at % 250}" for at in range(1_000)]
    journal, replies = finished(words[:450] + words[451:], tmp_path / "j"), Replies()
    with (
        mock.patch.object(tables.Spill, "put", side_effect=AssertionError),
        mock.patch.object(batches, "BATCH_ROWS", 90),
    ):
        made = NODE.run_batches(table_of(words), tn.testing.canned(replies), journal=journal, progress=False)
        whole = made.read_all()
    assert (whole["text"].to_pylist(), len(replies.asked)) == (words, 1)
    assert whole["word"].to_pylist() == [None if "7" in word else word for word in words]


def test_a_table_that_is_another_one_when_it_is_read_again_ends_the_stream(tmp_path):
    words = [f"x{at}" for at in range(30)]
    journal, table = finished(words, tmp_path / "j"), table_of(words)
    read = iter([table.to_batches(10), table.to_batches(7)])
    source = tables.BatchSource(table.schema, lambda: map(batches.table_of, next(read)), again=True, rows=30)
    with pytest.raises(tn.errors.TableError):
        NODE.run_batches(source, tn.testing.canned(Replies()), journal=journal, progress=False).read_all()


def test_a_stop_loses_nothing_of_what_is_there(tmp_path):
    """Rows that are in the journal come out with their answers; the others were not sent."""
    words = [f"w{at}" for at in range(60)]
    journal = finished(words[:20] + words[30:], tmp_path / "j")
    limits = tn.Limits(max_requests=50 + 3, concurrency=1)
    made, summary, asked = resumed(table_of(words), journal, 5, limits=limits)
    assert asked == ["w20", "w21", "w22"]
    assert made["outcome"].to_pylist()[23:30] == ["not_sent"] * 7
    assert (summary.reused, summary.outcomes["not_sent"], len(made)) == (50, 7, 60)


def test_what_is_closed_has_a_summary_of_what_was_put_off(tmp_path):
    words = [f"x{at}" for at in range(300)]
    journal = finished(words, tmp_path / "j")
    replies = Replies()
    with NODE.run_batches(
        batches_of(table_of(words), 10), tn.testing.canned(replies), journal=journal, progress=False
    ) as made:
        next(iter(made))
    assert (made.summary.reused, made.summary.rows, replies.asked) == (300, 300, [])


def test_a_damaged_answer_ends_the_stream(tmp_path):
    """Also one that is read only when its batch is handed out."""
    words = [f"x{at}" for at in range(30)]
    journal = finished(words, tmp_path / "j")
    with closing(sqlite3.connect(journal)) as database:
        database.execute("UPDATE block SET crc = crc + 1")
        database.commit()
    with pytest.raises(tn.errors.JournalError):
        resumed(table_of(words), journal, 10)


LEFT_OPEN = """
from tablenodes.tables import batches
batches.BATCH_ROWS = 5
node = tn.CreateChatCompletion(model="m", prompt="{{ text }}", answer={"word": str, "length": int})
table = pd.DataFrame({"id": range(20), "text": [f"w{at}" for at in range(20)]})
connection = tn.testing.canned(lambda _: '{"word": "w", "length": 1}')
made = node.run_batches(table, connection, journal=sys.argv[1], progress=False)
print(next(iter(made)).num_rows)
os.kept = made  # until long after the end of the script
"""


def test_a_script_that_ends_without_closing_a_stream_leaves_a_whole_journal(tmp_path):
    """What came is reused, and nothing is said at its end."""
    with elsewhere(LEFT_OPEN, str(tmp_path / "j")) as script:
        assert script.communicate(timeout=60) == ("5\n", "")
    assert [each.name for each in tmp_path.iterdir()] == ["j"]
    _, summary, _ = resumed(table_of([f"w{at}" for at in range(20)]), tmp_path / "j", 5)
    assert summary.reused >= 5


def test_a_stream_is_read_in_another_thread_than_it_was_made_in(tmp_path):
    """As databases read streams of Arrow."""
    table, journal = table_of([f"w{at}" for at in range(20)]), tmp_path / "j"
    made = NODE.run_batches(batches_of(table, 5), tn.testing.canned(Replies()), journal=journal, progress=False)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(made.read_all).result().num_rows == 20
    assert resumed(table, journal, 5)[1].reused == made.summary.rows == 20


@pytest.mark.parametrize("kind", ["files", "table"])
def test_values_that_are_others_when_they_are_read_again_end_the_stream(tmp_path, kind):
    """Also those of columns that no request reads: they stand beside the answers."""
    words, numbers = [f"x{at % 7}" for at in range(1_200)], np.arange(1_200)
    journal = finished(words, tmp_path / "j")
    source = pa.table({"id": numbers, "text": words})
    if kind == "files":
        for at in (0, 600):
            pq.write_table(source.slice(at, 600), tmp_path / f"{at:03}.parquet", row_group_size=100)
    with mock.patch.object(batches, "BATCH_ROWS", 100):
        read = str(tmp_path / "*.parquet") if kind == "files" else source
        made = iter(NODE.run_batches(read, tn.testing.canned(Replies()), journal=journal, progress=False))
        for _ in range(3):  # by now all was read once
            next(made)
        numbers[1_150] = -1
        if kind == "files":
            pq.write_table(pa.table({"id": numbers[600:], "text": words[600:]}), tmp_path / "other", row_group_size=100)
            (tmp_path / "other").replace(tmp_path / "600.parquet")
        with pytest.raises(tn.errors.TableError, match="values"):
            list(made)
