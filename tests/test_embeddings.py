"""Embeddings: every row's vector in its place, in every kind of table and file."""

from __future__ import annotations

import base64
import pickle

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc, parquet

import tablenodes as tn
from tablenodes.engine.vector_bodies import VectorBodies
from tablenodes.vectors import vector_of

NODE = tn.CreateEmbedding(input="{{ text }}", model="m")
TEXTS = pd.DataFrame({"text": ["a", "bb", "bad", "dddd"]}, index=[5, 6, 7, 8])
REFUSED = (400, {"error": {"message": "no", "code": "refused"}})


def reply(request):
    """Answer a text with numbers that tell its length."""
    size = len(request["input"])
    return REFUSED if request["input"] == "bad" else [size, size / 2, 0.1]


SERVER = tn.testing.canned(reply)


def expected(texts):
    rows = [[np.nan] * 3 if text == "bad" else [len(text), len(text) / 2, 0.1] for text in texts]
    return np.array(rows, np.float32)


def run(table=TEXTS, node=NODE, server=SERVER, **more):
    return node.run(table, server, progress=False, **more)


def test_a_vector_is_a_columns_cell_and_all_are_a_matrix():
    """Null where a row failed: NaN in the matrix."""
    out = run()
    assert list(out.table.columns) == ["text", "embedding", "status", "outcome", "message"]
    np.testing.assert_array_equal(out.vectors.to_numpy(), expected(TEXTS["text"]))
    np.testing.assert_array_equal(np.asarray(out.vectors), expected(TEXTS["text"]))
    assert out.vectors.to_numpy().dtype == np.float32
    frame = TEXTS.assign(vector=out.vectors)
    assert frame["vector"].loc[7] is None
    assert frame["vector"].loc[8].tolist() == out.vectors.to_numpy()[3].tolist()
    assert list(out.vectors.index) == list(TEXTS.index)
    assert out.text.isna().all()


@pytest.mark.parametrize("kind", [pa.Table.from_pandas, pl.from_pandas], ids=["arrow", "polars"])
def test_arrow_and_polars_have_a_type_of_a_fixed_size(kind):
    """And null, where a row failed."""
    vectors = run(kind(TEXTS.reset_index(drop=True))).vectors
    if isinstance(vectors, pl.Series):
        assert vectors.dtype == pl.Array(pl.Float32, 3)
        vectors = vectors.to_arrow()
    assert vectors.type == pa.list_(pa.float32(), 3)
    assert vectors.null_count == 1
    assert vectors.to_pylist()[3] == expected(["dddd"])[0].tolist()


def test_files_have_a_fixed_size_list_or_a_list_in_json(tmp_path):
    """Numbers are written as the shortest decimals that stand for them."""
    table = run().table
    for name in ("x.parquet", "x.arrow", "x.csv", "x.jsonl"):
        tn.write_table(table, tmp_path / name)
    stored = [parquet.read_table(tmp_path / "x.parquet"), ipc.open_file(tmp_path / "x.arrow").read_all()]
    for each in stored:
        kind = each.schema.field("embedding").type
        assert (kind.list_size, kind.value_type) == (3, pa.float32())
        assert each.column("embedding").to_pylist()[2:] == [None, expected(["dddd"])[0].tolist()]
    assert tn.read_table(tmp_path / "x.csv")["embedding"].iloc[0] == "[1.0,0.5,0.1]"
    assert orjson.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])["embedding"] == [1.0, 0.5, 0.1]


def test_a_stream_has_lists_unless_the_dimension_is_said():
    """For its types are known before the first vector."""
    some = NODE.run_batches(TEXTS, SERVER, progress=False).read_all()
    assert some.schema.field("embedding").type == pa.list_(pa.float32())
    same = NODE.replace(dimensions=3).run_batches(TEXTS, SERVER, progress=False).read_all()
    assert same.schema.field("embedding").type == pa.list_(pa.float32(), 3)
    assert some.column("embedding").to_pylist() == same.column("embedding").to_pylist()
    assert some.column("embedding").to_pylist()[2:] == [None, expected(["dddd"])[0].tolist()]


def test_a_mapper_returns_vectors_of_its_own_type():
    """As its schema says, whatever its batch has."""
    mapper = NODE.replace(dimensions=3).mapper(SERVER)
    made = mapper(pa.table({"text": ["a", "bad"]}))
    assert made.schema == mapper.schema
    assert made.column("embedding").to_pylist() == [expected(["a"])[0].tolist(), None]


BODY = '{"object":"list","data":[{"object":"embedding","index":0,"embedding":%s}],"model":"m"}'


def answering(embedding):
    return tn.testing.canned((200, BODY % orjson.dumps(embedding).decode()))


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [
        ("not base64", "does_not_fit"),
        ("AAA=", "does_not_fit"),  # two bytes are no number
        (base64.b64encode(np.array([np.nan], "<f4").tobytes()).decode(), "does_not_fit"),
        ([], "does_not_fit"),
        ([1.0, None], "does_not_fit"),
        ([1.0, "2"], "does_not_fit"),
        ([1e300], "does_not_fit"),
        ([True], "does_not_fit"),
        (None, "empty"),
    ],
)
def test_what_is_no_vector_is_unusable(embedding, reason):
    """Under a good status too; its body stays."""
    out = run(TEXTS[:1], server=answering(embedding))
    assert (out.log["outcome"].iloc[0], out.log["reason"].iloc[0]) == ("unusable", reason)
    assert out.vectors.iloc[0] is None
    assert out.result["body"].iloc[0] == BODY % orjson.dumps(embedding).decode()


def test_one_run_has_one_dimension():
    """That of its first vector, or the one that was asked for."""
    short = tn.testing.canned(lambda request: [1.0] * (2 if request["input"] == "bb" else 3))
    out = run(server=short, limits=tn.Limits(concurrency=1))
    assert list(out.log["outcome"]) == ["ok", "unusable", "ok", "ok"]
    assert out.log["reason"].loc[6] == "does_not_fit"
    assert np.isnan(out.vectors.to_numpy()[1]).all()
    asked = run(node=NODE.replace(dimensions=2), server=short)
    assert list(asked.log["outcome"]) == ["unusable", "ok", "unusable", "unusable"]
    assert asked.vectors.to_numpy().shape == (4, 2)


def test_lists_and_base64_are_the_same_vectors():
    """Base64 is asked for where nobody says; a list is taken as well."""
    plain = run(node=NODE.replace(encoding_format="float"))
    assert '"embedding":[1.0,0.5,0.1' in plain.result["body"].iloc[0]
    packed = run()
    assert '"embedding":"' in packed.result["body"].iloc[0]
    np.testing.assert_array_equal(plain.vectors.to_numpy(), packed.vectors.to_numpy())


def test_an_output_keeps_its_vectors_wherever_it_goes():
    """Pickled, parsed again from its raw table, and with a second run in its place."""
    out = run()
    for again in (pickle.loads(pickle.dumps(out)), NODE.parse(out.result)):
        np.testing.assert_array_equal(again.vectors.to_numpy(), expected(TEXTS["text"]))
    assert pickle.loads(pickle.dumps(out.vectors)).iloc[2] is None
    second = run(out.failed, server=tn.testing.canned([3.0, 1.5, 0.1]))
    np.testing.assert_array_equal(out.updated(second).vectors.to_numpy()[2], np.array([3, 1.5, 0.1], np.float32))


def test_other_nodes_have_no_vectors():
    """Which is said."""
    chat = tn.CreateChatCompletion(model="m", prompt="{{ text }}").run(TEXTS, tn.testing.canned("x"), progress=False)
    with pytest.raises(tn.errors.UsageError):
        _ = chat.vectors


def test_an_estimate_has_no_tokens_of_answers():
    """A vector is no text."""
    estimate = NODE.estimate(TEXTS, SERVER)
    assert estimate.output_tokens.high == 0 < estimate.input_tokens.likely


@given(
    st.lists(
        st.one_of(
            st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=4).map(
                lambda numbers: base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()
            ),
            st.lists(st.floats(width=32), min_size=1, max_size=4),
            st.text(max_size=8),
            st.none(),
        ),
        max_size=6,
    ),
    st.sampled_from(["", " ", "\n"]),
)
def test_a_body_is_kept_to_the_byte(embeddings, blank):
    """Whatever is in it, and however it is written."""
    bodies = [
        b'{"data":%s[{"embedding":%s%s}]}' % (blank.encode(), blank.encode(), orjson.dumps(e)) for e in embeddings
    ]
    kept = VectorBodies(len(bodies) + 1)
    kept.put(0, bodies, range(len(bodies)))
    slots = [*range(len(bodies)), -1]
    assert list(kept.at(slots, None)) == [*(body.decode() for body in bodies), None]
    vectors = kept.vectors(slots, [True] * len(bodies) + [False])
    for embedding, vector in zip(embeddings, vectors, strict=False):
        assert vector is None or vector_of(embedding).tolist() == vector
    assert list(kept.at(slots, None)) == [*(body.decode() for body in bodies), None]
