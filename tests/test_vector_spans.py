"""Vectors read where they stand in an answer: all comes out as if it had been read as JSON."""

from __future__ import annotations

import base64
from functools import partial
from unittest.mock import patch

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablenodes.answers.embeddings import UsableVectors
from tablenodes.engine import packs
from tablenodes.engine.calls import Answer, Call, Request
from tablenodes.engine.journal.recorder import Recorder
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.pack_answers import Parts
from tablenodes.engine.packs import Packs
from tablenodes.engine.sink import Tally
from tablenodes.engine.vector_bodies import Around, VectorBodies
from tablenodes.engine.vector_spans import spans_of

REQUEST = Request("POST", "https://packs.invalid/v1/embeddings", ())


def written(*numbers):
    return base64.b64encode(np.array(numbers, "<f4")).decode()


def told(data, rows, bodies):
    """Return what the rows of a pack have of an answer; its verdict where they have nothing."""
    made = Packs(Tally(), Recorder(), rows, UsableVectors(), bodies)
    plain = partial(judge, needs_choices=False)
    calls = (Call(row, REQUEST, b'{"input":"t%d"}' % row, 9.0, plain) for row in range(rows))
    (call,) = made.packed(calls)
    verdict = call.judge(Answer(call.key, 200, b"Content-Type: application/json\r\n", data), call.body)
    parts = made.packs[call.key].parts
    return verdict if parts is None else parts


def plain(parts):
    return [(parts.body(row, row), own) for row, own in enumerate(parts.verdicts)] if type(parts) is Parts else parts


def read_as_json(data, rows):
    with patch.object(packs, "spans_of", return_value=None):
        return told(data, rows, VectorBodies(rows))


def answer(*embeddings, item='{"object":"embedding","index":%d,"embedding":%s}', more=""):
    """Return an answer whose items are written so."""
    items = ",".join(item % (index, each) for index, each in enumerate(embeddings))
    return b'{"data":[%s],"usage":{"prompt_tokens":7,"total_tokens":7}%s}' % (items.encode(), more.encode())


GOOD = [f'"{written(index, 0.5)}"' for index in range(3)]
NAN = f'"{written(0, np.nan)}"'
PLACES = st.sampled_from(
    [
        *GOOD,
        *(
            NAN,
            f'"{written(1)}"',
            '"AACAPwAAgD8="',
            '"AACAPwAAgD9="',
            '"AAC-PwAAgD8="',
            '""',
            '"A"',
            '"AACAP\\u0077AAgD8="',
        ),
        *(
            "[1.0,0.5]",
            "[]",
            "null",
            "5406172839400000000",
            "5406172839400000001",
            "{}",
            '{"embedding":"AACAPwAAgD8="}',
        ),
    ]
)
ITEMS = st.sampled_from(
    [
        '{"object":"embedding","index":%d,"embedding":%s}',
        '{\n  "object": "embedding",\n  "index": %d,\n  "embedding": %s\n}',
        '{"index":%d,"embedding" : %s}',
        '{"index":%d,"\\"embedding":%s}',
        '{"index":%d,"embedding":"AACAPwAAgD8=","embedding":%s}',
        '{"index":%d,"embeddin\\u0067":%s}',
        '{"index":%d,"other":{"embedding":%s},"embedding":5406172839400000000}',
    ]
)
MORE = st.sampled_from(["", ',"embedding":"AACAPwAAgD8="', ',"note":"\\"embedding\\":\\"AACAPwAAgD8="', "}"])


@given(st.lists(PLACES, min_size=2, max_size=4), ITEMS, MORE, st.booleans())
def test_whatever_an_answer_holds_it_is_as_if_it_was_read_as_json(embeddings, item, more, are_kept):
    """Bodies to the byte, verdicts, and whose vector it is; with and without a matrix to which they go."""
    data, rows = answer(*embeddings, item=item, more=more), len(embeddings)
    expected = read_as_json(data, rows)
    assert plain(told(data, rows, VectorBodies(rows) if are_kept else None)) == plain(expected)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_vectors_go_to_their_rows_by_index(order):
    """Straight into the matrix, whose rows are the table's; a body is made where somebody asks for it."""
    items = [b'{"index":%d,"embedding":%s}' % (index, GOOD[index].encode()) for index in order]
    kept = VectorBodies(3)
    parts = told(b'{"data":[%s]}' % b",".join(items), 3, kept)
    assert [type(body) for body in parts.bodies] == [Around] * 3
    assert kept.matrix.tolist() == [[0, 0.5], [1, 0.5], [2, 0.5]]
    kept.put(0, parts.bodies, range(3))
    assert [orjson.loads(kept[row])["data"][0]["embedding"] for row in range(3)] == [each[1:-1] for each in GOOD]
    vectors = kept.vectors([0, 1, 2], [True] * 3)
    assert np.shares_memory(vectors.matrix, kept.matrix)
    assert [*vectors] == [[0, 0.5], [1, 0.5], [2, 0.5]]


def test_a_row_that_is_not_ok_has_none():
    """One that shares another's end has that one's, one that failed or never came has none."""
    kept = VectorBodies(4)
    kept.put(0, [answer(each) for each in GOOD[:2]] + [b"{}"], [0, 2, 3])
    vectors = kept.vectors([0, 0, 1, -1], [True, True, True, False])
    assert [*vectors] == [[0, 0.5], [0, 0.5], [1, 0.5], None]
    assert np.shares_memory(vectors.matrix, kept.matrix)
    hidden = kept.vectors([0, 0, 1, -1], [False, True, True, False])  # whose body is still asked for
    assert [*hidden] == [None, [0, 0.5], [1, 0.5], None]
    assert kept[0].encode() == answer(GOOD[0])


def test_an_answer_with_another_number_of_vectors_is_read_as_json():
    """Which says how many there are."""
    assert spans_of(answer(*GOOD), 3).size == 2
    assert spans_of(answer(*GOOD), 2) is None
