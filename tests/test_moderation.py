"""Moderations: whether a row is flagged, for what, and the scores, as columns."""

from __future__ import annotations

import pandas as pd
import pytest
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn

TABLE = pd.DataFrame({"input": ["kind", "cruel", "odd"]}, index=[7, 8, 9])
NODE = tn.CreateModeration(model="m")


def found(*results):
    return {"id": "modr-1", "model": "m", "results": [*results]}


def result(flagged, **scores):
    categories = {name: score > 0.5 for name, score in scores.items()}
    return {"flagged": flagged, "categories": categories, "category_scores": scores}


def run(bodies, table=TABLE, node=NODE):
    with fault_server([answer(each) for each in bodies]) as server:
        connection = tn.Connection(server.url, "k" * 20)
        return node.run(table, connection, limits=tn.Limits(concurrency=1), retry=tn.Retry(ambiguous=0), progress=False)


KIND, CRUEL = result(False, violence=0.1, hate=0.2), result(True, violence=0.9, hate=0.3)


def test_flags_are_columns_and_null_where_a_row_failed():
    out = run([found(KIND), found(CRUEL), {"error": {"message": "no", "code": "c"}}])
    assert list(out.table["flagged"])[:2] == [False, True]
    assert pd.isna(out.table["flagged"].iloc[2])
    assert list(out.table["flags"])[:2] == [[], ["violence"]]
    assert list(out.flags) == ["flagged", "violence", "hate"]
    assert list(out.flags.index) == [7, 8, 9]
    assert list(out.flags["violence"])[:2] == [False, True]
    assert pd.isna(out.flags["violence"].iloc[2])
    assert out.scores["hate"].tolist()[:2] == [0.2, 0.3]
    assert pd.isna(out.scores["hate"].iloc[2])
    assert list(out.log["outcome"]) == ["ok", "ok", "in_band_error"]


def test_several_texts_are_judged_as_one():
    """Flagged if one of them is, with the highest scores."""
    out = run([found(KIND, CRUEL, KIND)], pd.DataFrame({"a": ["x"]}), NODE.replace(input=["{{ a }}", "y", "z"]))
    assert out.table["flagged"][0]
    assert out.table["flags"][0] == ["violence"]
    assert out.scores.iloc[0].to_dict() == {"violence": 0.9, "hate": 0.3}


@pytest.mark.parametrize("body", [{"choices": []}, found(), found("x"), {"data": [1]}])
def test_an_answer_without_results_is_none(body):
    out = run([body], TABLE[:1])
    assert out.log["outcome"].iloc[0] == "in_band_error"
    assert pd.isna(out.flags["flagged"].iloc[0])
    wording(out.log["message"].iloc[0])


def test_categories_are_those_of_the_server_and_flag_a_row_by_themselves():
    """Some servers do not say whether a text is flagged at all."""
    out = run(
        [found({"categories": {"law": True, "health": False}, "category_scores": {"law": 1, "health": "?"}})], TABLE[:1]
    )
    assert out.flags.iloc[0].to_dict() == {"flagged": True, "law": True, "health": False}
    assert list(out.scores) == ["law"]


def test_scores_are_in_the_table_where_that_is_asked():
    out = run([found(CRUEL)], TABLE[:1], NODE.replace(scores=True, into="m"))
    assert list(out.table)[1:4] == ["m_flagged", "m_flags", "m_scores"]
    assert out.table["m_scores"].iloc[0] == '{"violence":0.9,"hate":0.3}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("look", [{"type": "text", "text": "look"}]),
        (None, []),
        ([{"type": "text", "text": "look"}], [{"type": "text", "text": "look"}]),
    ],
)
def test_an_image_stands_beside_the_text_or_alone(text, expected):
    node = tn.CreateModeration(model="m", input=text, image="https://a.b/c.png")
    image = {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}
    assert node.check(TABLE[["input"]].rename(columns={"input": "x"})).request(0).body["input"] == [*expected, image]


def test_an_image_goes_with_no_list_of_texts():
    check = NODE.replace(input=["a", "b"], image="https://a.b/c.png").check(TABLE)
    assert check.valid == 0
    wording(str(check.problems["message"].iloc[0]))


def test_only_moderations_have_flags():
    out = tn.CreateChatCompletion(model="m", prompt="x").run(TABLE, tn.testing.canned("y"), progress=False)
    with pytest.raises(tn.errors.UsageError) as error:
        _ = out.flags
    wording(str(error.value))


@pytest.mark.parametrize("reply", [True, "violence", ["violence"], {"violence": 0.9, "hate": 0.1}])
def test_canned_moderations_are_said_in_short(reply):
    out = NODE.run(TABLE, tn.testing.canned(reply), progress=False)
    assert list(out.flags["flagged"]) == [True] * 3
    assert NODE.parse(out.result).table["flagged"].all()


def test_a_later_node_asks_only_what_is_not_flagged():
    """By ``when``; batches and workers make the same columns."""
    canned = tn.testing.canned(lambda body: body["input"] == "cruel")
    steps = {"check": NODE, "say": tn.Step(tn.Return(text="{{ input }}"), when="{{ not check.flagged }}")}
    out = tn.Workflow(steps, connection=canned).run(TABLE, progress=False)
    assert list(out.table["check_flagged"]) == [False, True, False]
    assert list(out["say"].log["outcome"]) == ["ok", "skipped", "ok"]
    batches = NODE.run_batches(TABLE, canned, progress=False).read_all()
    assert batches["flagged"].to_pylist() == [False, True, False]
    assert batches["flags"].to_pylist() == [[], [], []]


def test_no_model_writes_a_moderation():
    estimate = NODE.estimate(TABLE)
    assert estimate.output_tokens.high == 0
    wording(repr(estimate).partition("assumed: an")[2].partition("\n")[0])
