"""Estimates: what a run would use, before anything is sent, and by what its first answers used."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import pandas as pd
import pytest
from sentences import wording
from servers import fault_server, message

import tablenodes as tn
from tablenodes.answers import answer_guess, listed_prices
from tablenodes.cli import main
from tablenodes.errors import SettingError, TableError
from tablenodes.testing import canned

TEXTS = json.loads(Path(__file__).with_name("token_counts.json").read_text())
CORPORA = [name for name in TEXTS if name != "counted"]
NODE = tn.CreateChatCompletion(model="m", prompt="{{ text }}", max_tokens=50)
PRICES = {"m": {"input": 2, "output": 8}}
AROUND = 7  # tokens around the text of one message


def table_of(corpus, rows=None):
    return pd.DataFrame({"text": [text for text, *_ in TEXTS[corpus][:rows]]})


def counting(tokens):
    """Answer as a server that counts tokens by a vocabulary, and writes ten or so."""

    def react(exchange):
        text = json.loads(exchange.received.body)["messages"][0]["content"]
        usage = {"prompt_tokens": tokens[text] + AROUND, "completion_tokens": 9 + len(text) % 3}
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        exchange.send(message(json.dumps({"model": "m", "choices": [choice], "usage": usage}).encode()))

    return react


@pytest.mark.parametrize("vocabulary", [1, 2])
@pytest.mark.parametrize("corpus", CORPORA)
def test_the_true_tokens_are_within_the_range(corpus, vocabulary):
    """Of texts in English, German and Chinese, of code and of JSON, by two vocabularies; without a tokenizer."""
    found = NODE.estimate(table_of(corpus), tn.Connection("http://127.0.0.1:1/v1")).input_tokens
    true = sum(row[vocabulary] + AROUND for row in TEXTS[corpus])
    assert found.low < true < found.high
    assert true == pytest.approx(found.likely, rel=0.4)


@pytest.mark.parametrize("corpus", CORPORA)
def test_fifty_answers_say_what_the_others_use(corpus, tmp_path):
    """To 5 %; they are sent once, and kept: the run that follows sends only the others."""
    tokens = {text: number for text, number, _ in TEXTS[corpus]}
    table, journal = table_of(corpus), tmp_path / "j"
    with fault_server(counting(tokens)) as server:
        connection = tn.Connection(server.url, "", prices=PRICES)
        found = NODE.estimate(table, connection, journal=journal, sample=50)
        assert len(server.requests) == 50
        again = NODE.estimate(table, connection, journal=journal)
        assert len(server.requests) == 50
        out = NODE.run(table, connection, journal=journal, progress=False)
        assert len(server.requests) == len(table)
    left = [row for row, reused in enumerate(out.log["reused"]) if not reused]
    used = out.usage.iloc[left]
    assert found.reused == again.reused == 50
    assert found.to_send == len(left) == len(table) - 50
    assert used["prompt_tokens"].sum() == pytest.approx(found.input_tokens.likely, rel=0.05)
    assert found.input_tokens.low <= used["prompt_tokens"].sum() <= found.input_tokens.high
    assert found.output_tokens.low <= used["completion_tokens"].sum() <= found.output_tokens.high
    assert used["cost"].sum() == pytest.approx(found.cost.likely, rel=0.1)
    assert found.cost == again.cost


def test_an_estimate_counts_rows():
    """Those that cannot be sent, that are asked twice, that will be sent."""
    table = pd.DataFrame({"text": ["a", "a", None, "b"]})
    found = NODE.estimate(table, tn.Connection("http://127.0.0.1:1/v1", prices=PRICES))
    assert (found.rows, found.invalid, found.duplicates, found.reused, found.to_send) == (4, 1, 1, 0, 3)
    assert found.output_tokens == (15, 150, 150)
    assert found.cost.low < found.cost.likely < found.cost.high
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.rows = 3
    assert "input tokens" in found._repr_html_()
    wording(repr(found))


@pytest.mark.parametrize(("url", "model"), [("https://api.openai.com/v1", "gpt-4o"), ("https://llm.example/v1", "m")])
def test_an_estimate_says_what_it_rests_on(url, model):
    """The day of the prices, or that there is none; no key is needed."""
    found = NODE.replace(model=model, max_tokens=None).estimate(table_of("english", 3), tn.Connection(url))
    assert (found.cost is None) == (model == "m")
    listed = listed_prices()
    wording(repr(found).replace(listed.date, "{date}").replace(listed.source, "{source}"))


def test_an_estimate_heeds_limits():
    """What a minute allows, and how many are in flight."""
    connection = tn.Connection("http://127.0.0.1:1/v1")
    found = NODE.estimate(table_of("english"), connection, limits=tn.Limits(requests_per_minute=1))
    assert found.seconds.low == 60 * 60
    slow = NODE.estimate(table_of("english"), connection, limits=tn.Limits(concurrency=1))
    fast = NODE.estimate(table_of("english"), connection, limits=tn.Limits(concurrency=60))
    assert slow.seconds.likely == pytest.approx(60 * fast.seconds.likely)

    minute = NODE.estimate(table_of("english"), connection, limits=tn.Limits(tokens_per_minute=100))
    tokens = zip(minute.input_tokens, minute.output_tokens, strict=True)
    assert list(minute.seconds) == pytest.approx([(read + wrote) / 100 * 60 for read, wrote in tokens])


def test_the_embedded_model_costs_nothing_and_has_its_own_places():
    """However many might be in flight."""
    found = NODE.replace(model=None).estimate(table_of("english"), tn.Connection.local())
    assert found.cost is None
    wording([each for each in found.assumptions if "embedded" in each or "in flight" in each])


def test_a_service_tier_has_its_own_prices():
    """Where the list has some."""
    asked = NODE.replace(model="gpt-5-mini")
    connection = tn.Connection("https://api.openai.com/v1")
    usual, cheap = (
        each.estimate(table_of("english", 3), connection).cost for each in (asked, asked.replace(service_tier="flex"))
    )
    assert cheap.likely == pytest.approx(usual.likely / 2)


# What answers teach.

TWENTY = pd.DataFrame({"text": [f"row {number}" for number in range(20, 40)]})


def learned(journal, counts, model="m", **more):
    """Return what is estimated of twenty rows after others had prompts of these tokens, and ten in each choice."""
    left = iter(counts)

    def reply(request):
        number = request.get("n", 1)
        usage = {"prompt_tokens": next(left), "completion_tokens": 10 * number}
        choice = {"message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        return 200, {"choices": [{"index": index, **choice} for index in range(number)], "usage": usage}

    node = NODE.replace(model=None, **more)
    known = pd.DataFrame({"text": [f"row {number}" for number in range(len(counts))], "model": "m"})
    node.run(known, canned(reply), journal=journal, limits=tn.Limits(concurrency=1), progress=False)
    return node.estimate(pd.concat([known, TWENTY.assign(model=model)]), canned("x"), journal=journal)


def test_a_model_without_answers_is_measured_by_those_of_others(tmp_path):
    """As well as the one that has them."""
    same = learned(tmp_path / "a", [400] * 10)
    assert same.input_tokens.likely == pytest.approx(20 * 400, rel=0.1)
    assert learned(tmp_path / "b", [400] * 10, model="other").input_tokens == same.input_tokens


def test_answers_that_differ_leave_a_wider_range(tmp_path):
    """Those that do not leave a few percent."""
    steady, uneven = (
        learned(tmp_path / str(at), counts).input_tokens for at, counts in enumerate(([40] * 20, [10, 70] * 10))
    )
    assert steady.high - steady.low == pytest.approx(0.1 * steady.likely)
    assert uneven.high - uneven.low > 0.5 * uneven.likely


def test_each_answer_of_several_counts(tmp_path):
    """Measured or guessed; what a refusal says of tokens does not."""
    assert learned(tmp_path / "j", [40] * 20, n=3).output_tokens.likely == 20 * 3 * 10
    one, three = (node.estimate(TWENTY, canned("x")).output_tokens for node in (NODE, NODE.replace(n=3)))
    assert list(three) == [3 * each for each in one]
    refusal = 400, {"error": {"message": "no"}, "usage": {"prompt_tokens": 10**6, "completion_tokens": 10**6}}
    NODE.run(TWENTY[:1], canned(refusal), journal=tmp_path / "k", progress=False)
    found = NODE.estimate(TWENTY, canned("x"), journal=tmp_path / "k")
    assert (found.reused, found.input_tokens.likely < 10**5) == (1, True)


def test_a_request_takes_as_long_as_the_one_in_the_middle_did(tmp_path):
    """Neither as the quickest nor as the slowest one."""
    pauses = iter([0, 0.1, 0.1])

    def react(exchange):
        exchange.pause(next(pauses))
        counting({f"row {number}": 4 for number in range(20, 40)})(exchange)

    with fault_server(react) as server:
        connection, one = tn.Connection(server.url, ""), tn.Limits(concurrency=1)
        NODE.run(TWENTY[:3], connection, journal=tmp_path / "j", limits=one, progress=False)
        assert NODE.estimate(TWENTY, connection, journal=tmp_path / "j", limits=one).seconds.likely >= 17 * 0.1


def test_a_check_of_a_workflow_estimates_too(tmp_path, capsys):
    """Each node that sends; what earlier nodes answer is not known, and a row that `when` leaves out is no mistake."""
    ask = tn.CreateChatCompletion(model="m", prompt="{{ text }}", max_tokens=50)
    again = ask.replace(prompt="{{ outputs.ask.choices[0].message.content }}!")
    connection = tn.Connection("http://127.0.0.1:1/v1", prices=PRICES)
    nodes = {"ask": ask, "again": again, "some": tn.Step(ask, when="text | length > 100")}
    tn.Workflow({**nodes, "told": tn.Return(text="{{ text }}")}, connection=connection).save(tmp_path / "w.yaml")
    table_of("english", 8).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "w.yaml"), "--table", str(tmp_path / "t.csv"), "--estimate"])
    assert not ended.value.code
    wording(capsys.readouterr().out)


def replying(answer):
    """Answer every request with one text, counting four signs as a token."""

    def reply(request):
        read = sum(len(each["content"]) // 4 + 4 for each in request["messages"])
        choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": read, "completion_tokens": len(answer) // 4}}

    return canned(reply, prices=PRICES)


SPOKEN = {
    "start": tn.CreateConversation(system="Be kind to {{ text }}."),
    "ask": tn.AddUserMessage(text="{{ text }}?"),
    "reply": tn.CreateChatCompletion(model="m", max_tokens=40),
    "more": tn.AddUserMessage(text="And what of this: {{ text }}", continue_from="reply"),
    "last": tn.CreateChatCompletion(model="m", max_tokens=40),
}
READING = {
    "ask": NODE,
    "told": tn.Return(text="In short, {{ ask }}"),
    "again": NODE.replace(prompt="Translate: {{ told }}, then {{ text }}"),
    "some": tn.Step(NODE.replace(prompt="Sum up: {{ again }}"), when="ask | length > 10"),
}


@pytest.mark.parametrize("nodes", [SPOKEN, READING], ids=["spoken", "reading"])
@pytest.mark.parametrize("answer", ["Yes, by the end of this week.", "A somewhat longer answer. " * 6])
def test_what_a_workflow_uses_lies_in_its_range(nodes, answer, tmp_path, monkeypatch):
    """Also what later nodes are sent of conversations and earlier answers, which is not known before."""
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path / "store"))
    flow, table = tn.Workflow(nodes, connection=replying(answer)), table_of("english", 8)
    found = flow.estimate(table)
    out = flow.run(table, progress=False)
    for name, each in found.items():
        used = out[name].usage[["prompt_tokens", "completion_tokens", "cost"]].sum()
        for spread, true in zip((each.input_tokens, each.output_tokens, each.cost), used, strict=True):
            assert spread.low <= true <= spread.high
    total = found.total
    assert total.to_send == sum(each.to_send for each in found.values())
    assert total.cost.high == pytest.approx(sum(each.cost.high for each in found.values()))
    assert total.seconds.likely == sum(each.seconds.likely for each in found.values())
    assert "in all" in found._repr_html_()
    wording(repr(found).splitlines()[-6:])


def test_an_estimate_of_a_workflow_keeps_what_every_row_asks():
    """The model and its limit are known, although the messages are not."""
    flow = tn.Workflow(SPOKEN, connection=replying("x"))
    last = flow.estimate(table_of("english", 8))["last"]
    assert (last.output_tokens.high, last.cost is None) == (8 * 40, False)
    assert flow.estimate(table_of("english", 8), limits=tn.Limits(requests_per_minute=1))["last"].seconds.low == 8 * 60
    assert flow.check(table_of("english", 8))["last"].prompts == ()


def test_a_workflow_without_a_cost_or_a_request_says_so():
    """Of the embedded model there is none; a stream is refused."""
    found = tn.Workflow({"ask": NODE, "more": NODE}).estimate(table_of("english", 2), connection="local")
    assert found.total.cost is None
    nothing = tn.Workflow({"told": tn.Return(text="{{ text }}")})
    assert repr(nothing.estimate(table_of("english", 2))) == "no node sends anything"
    with wording.raises(TableError):
        nothing.estimate(Stream())


def test_what_cannot_be_estimated_is_refused(tmp_path):
    """A sample that would be lost, a stream that can be read only once."""
    connection = tn.Connection("http://127.0.0.1:1/v1")
    for more in ({"sample": 5}, {"sample": -1, "journal": tmp_path / "j"}):
        with wording.raises(SettingError):
            NODE.estimate(table_of("english"), connection, **more)
    with wording.raises(TableError):
        NODE.estimate(Stream(), connection)
    assert NODE.estimate(table_of("english", 0), connection).seconds == (0, 0, 0)


class Stream:
    """A table that can be read only once."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pd.DataFrame({"text": ["a"]}).__arrow_c_stream__(requested_schema)


SIZES = {
    "labels": (["positive", "negative"], "negative"),
    "yes or no": (bool, True),
    "fields": (
        {"sentiment": ["positive", "negative"], "stars": int, "topics": [str], "since?": "date"},
        {"sentiment": "positive", "stars": 5, "topics": ["price", "size"], "since": None},
    ),
    "objects in each other": (
        {"people": [{"name": str, "age?": int}]},
        {"people": [{"name": "Ann", "age": 5}, {"name": "Bo", "age": None}]},
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_what_an_answer_must_be_says_how_long_it_is(name):
    """A label costs a few tokens, not two hundred; what is written lies in the range."""
    answer, said = SIZES[name]
    node = tn.CreateChatCompletion(model="m", prompt="x", answer=answer)
    found = node.estimate(pd.DataFrame(index=range(1)), tn.Connection("http://127.0.0.1:9", "")).output_tokens
    text = json.dumps(said if isinstance(said, dict) else {"answer": said}, indent=2)
    assert found.low <= len(text) / 4 <= found.high
    assert found.likely < 200


def test_what_an_answer_must_be_counts_its_items_and_holds_for_a_tool_too():
    """A list of thirty truth values has thirty tokens at the least."""
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 30, "maxItems": 30}
    found = answer_guess({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}})
    assert 30 <= found.low < found.high < 200
    table, connection = pd.DataFrame(index=range(1)), tn.Connection("http://127.0.0.1:9", "")
    node = tn.CreateChatCompletion(model="m", prompt="x", answer=["yes", "no"])
    plain, tool = (each.estimate(table, connection) for each in (node, node.replace(answer_mode="tool")))
    assert tool.output_tokens == plain.output_tokens


def test_rows_that_cannot_be_sent_are_said_with_their_reason_and_nothing_is_guessed():
    found = tn.CreateChatCompletion(prompt="{{ word }}").estimate(pd.DataFrame({"word": ["a", "b"]}))
    assert (found.invalid, found.to_send, len(found.problems), found.assumptions) == (2, 0, 1, ())
    wording(repr(found))


def test_a_model_without_a_price_is_told_by_the_one_that_has_one():
    node = tn.CreateChatCompletion(model="gpt-4o-min", prompt="{{ word }}")
    found = node.estimate(pd.DataFrame({"word": ["a"]}), tn.Connection("https://api.openai.com/v1", "k"))
    wording([each for each in found.assumptions if "price" in each])
