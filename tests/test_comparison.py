"""Two prompts or models side by side, and every combination of settings as rows."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pytest
from sentences import wording
from servers import fault_server, message
from test_raw_tables import KINDS, body, cells, choice, names

import tablenodes as tn
from tablenodes.errors import ColumnError, SettingError, UsageError

LABELS = ["good", "bad"]


def outputs(kind=pd.DataFrame, model="m-1"):
    """Two outputs of four rows, of which the second changes its mind once and fails once."""
    made = []
    for said in (["good", "bad", "good", "bad"], ["good", "good", "good", None]):
        bodies = [body(choice(json.dumps({"kind": word, "n": 1})), model=model) if word else "{}" for word in said]
        table = {"review": list("abcd"), "body": bodies, "status": [200 if word else 500 for word in said]}
        made.append(tn.CreateChatCompletion(model="m", answer={"kind": LABELS, "n": int}).parse(kind(table)))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_agreement_is_the_share_of_rows_in_which_both_say_the_same(kind):
    """Of those that both answered; the rows that differ have both values, beside what was asked."""
    first, second = outputs(kind)
    made = first.compare(second)
    assert (made.rows, made.answered) == (4, 3)
    assert dict(made.agreement) == {"kind": 2 / 3, "n": 1.0}
    assert names(made.changed) == ["review", "kind", "kind_other", "n", "n_other"]
    assert cells(made.changed, "review") == ["b", "d"]
    assert cells(made.changed, "kind") == ["bad", "bad"]
    assert cells(made.changed, "kind_other") == ["good", None]
    assert isinstance(made.agreement, pd.Series) == (kind is pd.DataFrame)
    assert made.cost == {"this": None, "other": None}
    wording(repr(made))
    shown = made._repr_html_()
    assert "66.7% agree" in shown
    assert shown.index(">kind_other<") < shown.index(">review<")


def test_the_cost_of_each_is_known_where_its_model_has_a_price():
    """As `.usage` has it."""
    first, second = outputs(model="gpt-4o-mini")
    made = first.compare(second)
    assert made.cost["this"] == pytest.approx(first.usage["cost"].sum())
    assert 0 < made.cost["other"] < made.cost["this"]
    assert "gpt" not in repr(made)
    assert "$" in repr(made)
    raw, own = first.result, tn.Connection("http://localhost/v1", "", prices={"gpt-4o-mini": {"input": 1, "output": 2}})
    assert list(tn.CreateChatCompletion(model="m").parse(raw, own).usage["cost"]) == pytest.approx([11e-6] * 4)


def test_answers_under_other_names_are_compared_by_their_fields():
    """And what only one of them has is left out."""
    table = pd.DataFrame({"body": [body(choice('{"a": 1, "b": 2}'))], "status": [200]})
    node = tn.CreateChatCompletion(model="m", answer={"a": int, "b": int})
    other = node.replace(answer={"b": int, "c?": int}, into="new").parse(
        table.assign(body=body(choice('{"b":2,"c":null}')))
    )
    assert dict(node.parse(table).compare(other).agreement) == {"b": 1.0}
    with pytest.raises(UsageError) as caught:
        node.parse(table).compare(tn.CreateChatCompletion(model="m").parse(table))
    wording(str(caught.value))
    nobody = node.parse(table.assign(status=500)).compare(node.parse(table))
    assert nobody.answered == 0
    assert nobody.agreement.isna().all()
    wording(repr(nobody))


def test_a_column_of_the_tables_own_keeps_its_name_and_a_cost_may_be_unknown():
    """What stands beside it gets a suffix; of two models one may have a price."""
    node = tn.CreateChatCompletion(model="m")
    table = {"answer_other": ["mine"], "status": [200]}
    made = [
        node.parse(pd.DataFrame(table | {"body": [body(choice(text), model=model)]}))
        for text, model in (("a", "gpt-4o-mini"), ("b", "nobody-s"))
    ]
    found = made[0].compare(made[1])
    assert list(found.changed.columns) == ["answer_other", "answer", "answer_other_2"]
    assert list(found.changed.iloc[0]) == ["mine", "a", "b"]
    assert repr(found).endswith("other unknown")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_not_the_same_are_refused(kind):
    """Fewer of them, or others; a prompt and a model may differ. The message has no cell's value."""
    node = tn.CreateChatCompletion(model="m")
    raw = {"body": [body(choice("x"))] * 2, "status": [200] * 2, "photo": [b"\xff", b"\xfe"]}
    first = node.parse(kind(raw | {"review": ["secret", "b"], "model": ["m", "m"], "prompt_name": ["s", "s"]}))
    second = node.parse(kind(raw | {"review": ["secret", "b"], "model": ["n", "n"], "prompt_name": ["l", "l"]}))
    assert len(first.compare(second).changed) == 0
    for other in ({"review": ["b", "secret"]}, {"review": ["secret", None]}):
        with pytest.raises(UsageError) as caught:
            first.compare(node.parse(kind(raw | other)))
        assert "secret" not in str(caught.value)
        wording(str(caught.value))
    with pytest.raises(UsageError) as caught:
        first.compare(node.parse(kind({name: values[:1] for name, values in raw.items()})))
    wording(str(caught.value))
    if kind is pd.DataFrame:
        with pytest.raises(UsageError) as caught:
            first.compare(node.parse(pd.DataFrame(raw, index=[1, 0])))
        wording(str(caught.value))
    with pytest.raises(UsageError) as caught:
        first.compare(first.table)
    wording(str(caught.value))


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_comes_with_every_combination(kind):
    """Texts are rendered; the names of values are a column; a row's combinations stand together."""
    made = tn.cross(
        kind({"review": ["é", "{{ x }}"]}), prompt={"short": "S {{ review }}", "long": "L"}, model=["a", "b"]
    )
    assert names(made) == ["review", "prompt", "prompt_name", "model"]
    assert type(made) is (pa.Table if kind is pa.table else kind)
    assert cells(made, "prompt") == ["S é", "S é", "L", "L", "S {{ x }}", "S {{ x }}", "L", "L"]
    assert cells(made, "prompt_name") == ["short", "short", "long", "long"] * 2
    assert cells(made, "model") == ["a", "b"] * 4
    assert cells(made, "review") == ["é"] * 4 + ["{{ x }}"] * 4
    assert names(
        tn.cross(
            kind({"review": ["a"]}).head(0)
            if kind is not pa.table
            else pa.table({"review": pa.array([], pa.string())}),
            model=["a"],
        )
    ) == ["review", "model"]


def test_a_combined_table_is_asked_as_it_stands():
    """The columns are settings by their names; each combination has its answer."""

    def replying(exchange):
        asked = json.loads(exchange.received.body)
        exchange.send(message(body(choice(f"{asked['model']}: {asked['messages'][-1]['content']}")).encode()))

    table = tn.cross(
        pd.DataFrame({"word": ["w"]}, index=["i"]), prompt=["Say {{ word }}", tn.col("word")], model=["a", "b"]
    )
    with fault_server(replying) as server:
        out = tn.CreateChatCompletion().run(table, tn.Connection(server.url, ""), progress=False)
    assert list(out.answer) == ["a: Say w", "b: Say w", "a: w", "b: w"]
    assert list(out.table.index) == ["i"] * 4


def test_values_of_all_kinds_become_columns_that_a_node_reads(capsys):
    """Numbers stay numbers, lists are JSON; a text that reads an empty cell is null, which is said."""
    made = tn.cross(pd.DataFrame({"w": ["a", None]}), temperature=[0, 0.5], stop=["x", ["y", "z"]], prompt=["{{ w }}!"])
    assert str(made["temperature"].dtype) == "float64"
    assert list(made["stop"][:2]) == ["x", '["y","z"]']
    assert made["prompt"].isna().tolist() == [False] * 4 + [True] * 4
    assert str(tn.cross(made[["w"]], n=[1, None])["n"].dtype) == "Int64"
    assert list(tn.cross(made[["w"]], stop=["x", True])["stop"][:2]) == ["x", "true"]
    wording(capsys.readouterr().err)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"model": "a"},
        {"model": []},
        {"w": ["a"]},
        {"prompt": {1: "a"}},
        {"prompt": ["{{ v }}"]},
        {"prompt": ["{{"]},
        {"prompt": {"a": "x"}, "prompt_name": ["b"]},
        {"prompt_2": {"a": "x"}},
    ],
    ids=str,
)
def test_what_cannot_be_combined_gets_a_line(settings):
    """A name that the table has, a value that is no list, a column that is not there."""
    with pytest.raises((SettingError, ColumnError, UsageError)) as caught:
        tn.cross(pd.DataFrame({"w": ["x"], "prompt_2_name": ["x"]}), **settings)
    wording(str(caught.value))
