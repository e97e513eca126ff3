"""Batches that an earlier run has finished are known by what is in them, and are not made again."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
from array import array
from contextlib import closing
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_late_batches import NODE, Replies, batches_of, table_of

import tablenodes as tn
from tablenodes import tables
from tablenodes.bodies.body_plan import BodyPlan
from tablenodes.engine.journal import Journal, finder
from tablenodes.engine.journal import seen_digests as seen
from tablenodes.engine.journal.batch_marks import REJECTED, mark_of, places_of
from tablenodes.run import batch_chain
from tablenodes.run.rows import PlanInputs
from tablenodes.tables import batches

KINDS = {
    "text": (pa.string(), st.text(max_size=3)),
    "large text": (pa.large_string(), st.text(max_size=3)),
    "number": (pa.int16(), st.integers(-3, 3)),
    "decimal": (pa.float64(), st.sampled_from([0.0, 1.5])),
    "truth": (pa.bool_(), st.booleans()),
    "list": (pa.list_(pa.string()), st.lists(st.one_of(st.none(), st.text(max_size=2)), max_size=2)),
    "record": (pa.struct([("a", pa.int8())]), st.fixed_dictionaries({"a": st.one_of(st.none(), st.integers(0, 3))})),
    "few texts": (pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b"])),
}


@st.composite
def columns(draw):
    kind, values = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    return pa.array(draw(st.lists(st.one_of(st.none(), values), min_size=1, max_size=9)), kind)


def bytes_of(column, name="a"):
    return bytes(tables.bytes_of(tables.view(pa.table({name: column, "unused": range(len(column))})), {name}))


@settings(max_examples=40, deadline=None)
@given(columns(), st.integers(0, 9), st.integers(0, 9), st.data())
def test_equal_values_are_equal_however_they_were_sliced_and_no_others_are(column, before, cut, data):
    around = pa.concat_arrays([column[:1]] * before + [column] + [column[:1]] * 3)
    sliced = around.slice(before, len(column))
    chunked = pa.chunked_array([sliced[:cut], sliced[cut:]], column.type)
    assert bytes_of(column) == bytes_of(sliced) == bytes_of(chunked)
    other = data.draw(columns())
    assert (bytes_of(other) == bytes_of(column)) == (other.type == column.type and other.equals(column))
    assert bytes_of(column, "b") != bytes_of(column)
    at = data.draw(st.integers(0, len(column) - 1))
    if column[at].is_valid:
        erased = pa.array(
            [None if place == at else value for place, value in enumerate(column.to_pylist())], column.type
        )
        assert bytes_of(erased) != bytes_of(column)


def identity(names=("text", "more"), connection=None, checked=True, **more):
    node = tn.CreateChatCompletion(**{"model": "m", "prompt": "{{ text }}", "columns": ()} | more)
    plan = node._plan(names, PlanInputs({"number": 1}, connection))
    return (plan if checked else plan.unchecked()).identity()


@pytest.mark.parametrize(
    "more",
    [
        {"model": "n"},
        {"prompt": "{{ text }}."},
        {"prompt": "{{ more }}"},
        {"prompt": tn.literal("{{ text }}")},
        {"system": "Be brief."},
        {"temperature": 0},
        {"columns": "auto"},
        {"extra_body": {"top_k": 3}},
        {"answer": {"word": str}},
        {"answer": {"word": int}},
        {"schema": "openai-2024-05"},
        {"names": ("text", "more", "others")},
        {"checked": False},
    ],
)
def test_whatever_decides_bodies_is_part_of_what_a_batch_is_known_by(more):
    assert identity() == identity() is not None
    assert identity(**more) not in (None, identity())


@pytest.mark.parametrize(
    "more",
    [{"image": "{{ text }}"}, {"names": ("text", "body"), "columns": ["body"]}, {"n": "{{ text }}"}],
    ids=["files", "whole bodies", "counts of choices"],
)
def test_a_plan_that_reads_more_than_cells_knows_no_batch(more):
    assert identity(**more) is None


@pytest.mark.parametrize(
    ("prompt", "is_known"),
    [("Say {{ text }}", True), ("{{ text }}", False), (["Say {{ text }}"], False), (tn.col("text"), False)],
)
def test_batches_of_prompts_are_known_that_are_texts(prompt, is_known):
    """A list of prompts asks for so many choices."""
    plan = tn.CreateCompletion(model="m", prompt=prompt, columns=())._plan(("text",), PlanInputs({}, None))
    assert (plan.identity() is not None) == is_known


@pytest.mark.parametrize("few", [0, 2**14], ids=["many", "few"])
def test_digests_that_are_put_in_at_once_count_as_those_that_are_added(few):
    """However often each is there."""
    draw = random.Random(few)
    digests = [draw.randbytes(32) for _ in range(20)]
    added, put = seen.SeenDigests(), seen.SeenDigests()
    with mock.patch.object(seen, "_FEW", few):
        for _ in range(4):
            several = [*dict.fromkeys(draw.choices(digests, k=9))]
            put.put(b"".join(seen.start_of(digest, added.add(digest)) for digest in several))
            one = draw.choice(digests)
            assert put.add(one) == added.add(one)


@given(st.lists(st.one_of(st.integers(1, 40), st.just(REJECTED)), min_size=1, max_size=30))
def test_a_mark_has_the_places_that_were_put_into_it(places):
    mark = mark_of(b"f" * 32, array("I", places), 7)
    assert [*places_of(mark)] == places
    assert places_of((*mark[:2], mark[2] + 1, *mark[3:])) is None


class Made:
    """Counts the bodies that are made."""

    def __init__(self):
        self.count, self._right = 0, BodyPlan.build

    def __enter__(self):
        def build(plan, cells):
            self.count += 1
            return self._right(plan, cells)

        self._patch = mock.patch.object(BodyPlan, "build", build)
        self._patch.start()
        return self

    def __exit__(self, *_):
        self._patch.stop()


def streamed(words, journal, size=100, node=NODE, again=False, **more):
    """Return what comes of a stream, its summary, what was asked, and how many bodies were made.

    `again`: the source can be read twice.
    """
    replies, table = Replies(), table_of(words)
    connection, source = tn.testing.canned(replies), table if again else batches_of(table, size)
    with Made() as made, mock.patch.object(batches, "BATCH_ROWS", size):
        out = node.run_batches(source, connection, journal=journal, progress=False, **more)
        whole = out.read_all()
    return whole, out.summary, sorted(replies.asked), made.count


WORDS = [f"w{at}" for at in range(400)]


def test_a_finished_batch_is_not_made_again(tmp_path):
    """But for its first row, whose key must be the one that the journal has."""
    first, _, _, made = streamed(WORDS, tmp_path / "j")
    assert made == 400
    with mock.patch.object(finder, "_Places", side_effect=AssertionError):  # reads all of the journal
        again, summary, asked, made = streamed([*WORDS, "new"], tmp_path / "j")
    assert (made, asked, summary.reused) == (4 + 1, ["new"], 400)
    apart = ["latency", "started", "reused"]
    assert again.slice(0, 400).drop_columns(apart).equals(first.drop_columns(apart))
    _, summary, asked, made = streamed([*WORDS[:150], "new", *WORDS[150:]], tmp_path / "j")
    assert (made, asked, summary.reused) == (1 + 301, [], 401)  # from the changed batch on, each row is looked up


def test_rows_without_a_request_are_made_again_to_say_why(tmp_path):
    words = [None, *WORDS[:98], None]
    first, before, _, _ = streamed(words, tmp_path / "j")
    again, summary, asked, made = streamed(words, tmp_path / "j")
    assert (made, asked) == (1 + 2, [])
    assert (summary.outcomes, again["message"]) == (before.outcomes, first["message"])


@pytest.mark.parametrize(
    ("more", "asked"), [({"retry_failed": "all"}, 1), ({"retry_failed": ["http_error"]}, 1), ({}, 0)]
)
def test_failures_of_known_batches_are_asked_again_as_those_of_rows(tmp_path, more, asked):
    words = [*WORDS[:6], "x7", *["x"] * 93]
    streamed(words, tmp_path / "j")
    assert [len(streamed(words, tmp_path / "j", **more)[2]) for _ in range(2)] == [asked] * 2


def test_what_made_a_run_say_something_is_made_again(tmp_path):
    node = tn.CreateChatCompletion(model="m", prompt="{{ id }}", stop=tn.col("text"))
    words = [*["."] * 100, *['["a", "b"]'] * 100, *["!"] * 100]
    _, first, _, _ = streamed(words, tmp_path / "j", node=node)
    _, second, _, made = streamed(words, tmp_path / "j", node=node)
    assert len(first.notes) == 1
    assert (second.notes, made) == (first.notes, 1 + 100 + 1)


def change(journal, statement):
    with closing(sqlite3.connect(journal)) as database:
        database.execute(statement)
        database.commit()


def test_a_damaged_mark_is_not_believed(tmp_path):
    """Nor is the journal taken for whole; its rows are looked up."""
    streamed(WORDS, tmp_path / "j")
    change(tmp_path / "j", "UPDATE batch SET first = first + 1")
    with closing(Journal(tmp_path / "j", looks=True)) as journal, pytest.raises(tn.errors.JournalError):
        journal.verify()
    _, summary, asked, made = streamed(WORDS, tmp_path / "j")
    assert (made, asked, summary.reused) == (400, [], 400)
    assert streamed(WORDS, tmp_path / "j")[3] == 4  # it has new marks


def test_a_row_in_doubt_among_known_ones_is_sent_again(tmp_path):
    """Whatever the mark says: what became of the rows is looked up."""
    streamed(WORDS, tmp_path / "j")
    with closing(Journal(tmp_path / "j")) as journal:
        entry = journal.entry(*journal.read(250, 250))
        journal.intend(entry)  # and its answer never came
    assert streamed(WORDS, tmp_path / "j")[2:] == (["w249"], 3 + 1 + 100 - 1 + 1)


def test_a_compact_journal_knows_its_batches(tmp_path):
    streamed(WORDS, tmp_path / "j")
    with closing(Journal(tmp_path / "j")) as journal:
        journal.compact()
        journal.verify()
    assert streamed(WORDS, tmp_path / "j")[3] == 4


def test_rows_in_another_order_are_found_by_the_keys_of_marks(tmp_path):
    """None is read and checked for that; a key that is another than when it was marked is not believed."""
    words, read, right = [*WORDS[:3], *WORDS[:397]], [], Journal.between
    streamed(words, tmp_path / "j")

    def between(journal, first, last):
        read.extend(range(first, last + 1))
        return right(journal, first, last)

    with mock.patch.object(Journal, "between", between):
        assert streamed([*reversed(words)], tmp_path / "j")[2] == []
    assert read == []
    change(tmp_path / "j", "UPDATE row SET digest = zeroblob(32) WHERE id = 200")
    with pytest.raises(tn.errors.JournalError):
        streamed([*reversed(words)], tmp_path / "j")


def _changed(draw, words):
    """Return the words of a second run, and its options."""
    words = [*words]
    for _ in range(draw.randrange(3)):
        at = draw.randrange(len(words) + 1)
        words[at : at + draw.randrange(3)] = draw.choices(["a", "b", None, "w7", "new"], k=draw.randrange(3))
    return words or ["a"], {"retry_failed": draw.choice(["none", "all", "transient"])}


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32).map(random.Random))
def test_a_stream_that_knows_batches_ends_as_a_run_that_looks_up_each_row(draw):
    """Equal rows over batches, rows that failed or were rejected, that came or went, and runs that were cut off."""
    words = draw.choices(["a", "b", "w7", None, *WORDS[:30]], k=draw.randrange(1, 40))
    sizes = draw.choice([1, 3, 7]), draw.choice([1, 3, 7])
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(batch_chain, "_WORTH", 1):
        first, second = Path(folder, "first"), Path(folder, "second")
        with NODE.run_batches(
            batches_of(table_of(words), sizes[0]), tn.testing.canned(Replies()), journal=second, progress=False
        ) as made:
            for _, _ in zip(range(draw.randrange(1, 12)), made, strict=False):
                pass
        for _ in range(draw.randrange(1, 4)):
            words, ways = _changed(draw, words)
            shutil.copy(second, first)
            replies = Replies()
            run = NODE.run(table_of(words), tn.testing.canned(replies), journal=first, progress=False, **ways)
            whole, summary, asked, _ = streamed(words, second, draw.choice(sizes), again=draw.random() < 0.5, **ways)
            assert asked == sorted(replies.asked)
            assert whole.select(run.table.column_names).to_pydict() == run.table.to_pydict()
            assert whole["reused"].to_pylist() == run.log["reused"].to_pylist()
            assert whole["attempts"].to_pylist() == run.log["attempts"].to_pylist()
            assert (summary.outcomes, summary.reused) == (run.summary.outcomes, run.summary.reused)
