"""Answers of a said kind: asked for once, judged row by row, and columns of fixed types."""

from __future__ import annotations

import json
import pickle

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sentences import wording
from servers import fault_server, message

import tablenodes as tn
from tablenodes.answers import RowAnswers, usage_columns
from tablenodes.cli import main
from tablenodes.errors import ColumnError, SettingError, SettingNameError, UsageError

FIELDS = {"sentiment": ["positive", "negative"], "stars": int, "topics": [str], "when?": "date"}
GOOD = {"sentiment": "positive", "stars": 5, "topics": ["x"], "when": "2026-05-31"}
QUIET = {"progress": False}


def chat(content, *, finish_reason="stop", **more):
    choice = {"index": 0, "message": {"role": "assistant", "content": content} | more, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}).encode()


def calling(name, arguments):
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return chat(None, finish_reason="tool_calls", tool_calls=[call])


REPLIES = {
    "good": chat(json.dumps(GOOD)),
    "fenced": chat(f"```json\n{json.dumps(GOOD)}\n```"),
    "cut": chat('{"sentiment": "pos', finish_reason="length"),
    "refused": chat(None, refusal="no"),
    "filtered": chat(json.dumps(GOOD), finish_reason="content_filter"),
    "empty": chat(" "),
    "called_tool": calling("other", "{}"),
    "not_json": chat("It is good."),
    "does_not_fit": chat(json.dumps(GOOD | {"stars": "five"})),
}
REASONS = [name for name in REPLIES if name not in ("good", "fenced")]
NODE = tn.CreateChatCompletion(model="m", prompt="{{ word }}", answer=FIELDS)


def replying(exchange):
    exchange.send(message(REPLIES[json.loads(exchange.received.body)["messages"][-1]["content"]]))


@pytest.fixture
def server():
    with fault_server(replying) as running:
        yield running


def words(*names):
    return pd.DataFrame({"word": list(names)})


def run(node, table, server, **options):
    return node.run(table, tn.Connection(server.url, ""), **QUIET | options)


def asked(server):
    return json.loads(server.requests[-1].body)


def test_an_answer_that_is_not_whole_or_does_not_fit_is_unusable(server):
    """The reason is one of a few words, the message says more; what the server sent stays."""
    out = run(NODE, words("good", *REASONS), server)
    assert list(out.log["outcome"]) == ["ok"] + ["unusable"] * len(REASONS)
    assert list(out.log["reason"][1:]) == REASONS
    assert out.log["message"][1:].notna().all()
    assert list(out.result["body"]) == [REPLIES[name].decode() for name in ("good", *REASONS)]
    assert set(out.result["status"]) == {200}
    assert list(out.failed["word"]) == REASONS
    assert list(out.succeeded["word"]) == ["good"]
    assert list(out.succeeded["stars"]) == [5]
    wording("\n".join(out.log["message"][1:]))


def test_a_code_fence_is_taken_off_and_said(server):
    """JSON is never repaired; this is none of it."""
    out = run(NODE, words("fenced"), server)
    assert list(out.table["stars"]) == [5]
    wording(out.summary.notes[0])


def test_an_unusable_answer_is_asked_for_again_as_often_as_allowed(server):
    """Each is an attempt of the same row; the last one counts."""
    out = run(NODE, words("good", "not_json"), server, retry=tn.Retry(unusable=2))
    assert list(out.log["attempts"]) == [1, 3]
    assert list(out.log["outcome"]) == ["ok", "unusable"]
    assert out.summary.retries == {"unusable": 2}
    replies = iter([REPLIES["cut"], REPLIES["good"]])
    with fault_server(lambda exchange: exchange.send(message(next(replies)))) as mended:
        out = run(NODE, words("x"), mended, retry=tn.Retry(unusable=2))
    assert (list(out.log["outcome"]), list(out.log["attempts"])) == (["ok"], [2])


@pytest.mark.parametrize(
    ("again", "sent"), [("transient", 0), ("none", 0), (["http_error"], 0), ("all", 7), (["unusable"], 7)]
)
def test_a_later_run_asks_again_for_unusable_answers_where_it_is_told_to(server, tmp_path, again, sent):
    """By all failures, or by this outcome; never by itself."""
    table = words("good", *REASONS)
    run(NODE, table, server, journal=tmp_path / "j")
    before = len(server.requests)
    out = run(NODE, table, server, journal=tmp_path / "j", retry_failed=again)
    assert len(server.requests) - before == sent
    assert list(out.log["reason"][1:]) == REASONS


def test_a_run_stops_where_the_server_ignores_what_an_answer_is(tmp_path):
    """After twenty answers and three from further on; the rest was not sent, says why, and is sent by a later run."""
    replies = {"says": chat("It is good.")}
    table, four = words(*map(str, range(60))), tn.Limits(concurrency=4)
    with fault_server(lambda exchange: exchange.send(message(replies["says"]))) as server:
        out = run(NODE, table, server, journal=tmp_path / "j", limits=four)
        sent = len(server.requests)
        assert 23 <= sent <= 23 + 4
        assert out.summary.stopped == "not_json"
        assert out.log["outcome"].value_counts().to_dict() == {"unusable": sent, "not_sent": 60 - sent}
        wording(out.log["message"][out.log["outcome"] == "not_sent"].iloc[0])
        replies["says"] = REPLIES["good"]
        out = run(NODE, table, server, journal=tmp_path / "j", limits=four)
        assert out.log["outcome"].value_counts().to_dict() == {"unusable": sent, "ok": 60 - sent}
        out = run(NODE, table, server, journal=tmp_path / "j", limits=four, retry_failed=["transient", "unusable"])
    assert set(out.log["outcome"]) == {"ok"}


@pytest.mark.parametrize(("body", "outcome"), [(REPLIES["not_json"], "unusable"), (b"It is", "decode_error")])
@pytest.mark.parametrize("then", [500, 404, 204])
def test_an_answer_that_was_paid_outlasts_failures_behind_it(tmp_path, body, outcome, then):
    """It is what the row has, here and in the journal, whatever came of asking again."""
    replies = iter([message(body), *[message(b"", then)] * 9])
    again = tn.Retry(unusable=1, server_error=1)
    with fault_server(lambda exchange: exchange.send(next(replies))) as server:
        out = run(NODE, words("x"), server, retry=again, journal=tmp_path / "j")
        kept = run(NODE, words("x"), server, journal=tmp_path / "j", retry_failed="none")
        once_more = run(NODE, words("x"), server, retry=again, journal=tmp_path / "j", retry_failed="all")
        last = run(NODE, words("x"), server, journal=tmp_path / "j", retry_failed="none")
    for each in (out, kept, last):
        assert (list(each.log["outcome"]), list(each.result["status"])) == ([outcome], [200])
        assert list(each.result["body"]) == [body.decode()]
    assert list(out.log["attempts"]) == [2 if then == 404 or (then == 204 and outcome == "decode_error") else 3]
    assert list(once_more.log["outcome"]) != ["ok"]


def test_an_outcome_to_retry_must_be_one_of_a_failed_row():
    """The nearest is named."""
    with pytest.raises(SettingError) as caught:
        NODE.run(words("good"), retry_failed=["unusble"])
    wording(str(caught.value))


KINDS = [pd.DataFrame, pl.DataFrame, pa.table]
TYPES = {
    pd.DataFrame: {"sentiment": "category", "stars": "Int64", "topics": "object", "when": "datetime64[s]"},
    pl.DataFrame: {
        "sentiment": "Enum(categories=['positive', 'negative'])",
        "stars": "Int64",
        "topics": "List(String)",
        "when": "Date",
    },
    pa.table: {
        "sentiment": "dictionary<values=large_string, indices=int32, ordered=0>",
        "stars": "int64",
        "topics": "list<item: large_string>",
        "when": "date32[day]",
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [(), ("good",), ("not_json",), ("good", "cut")])
def test_the_types_of_columns_do_not_hang_on_the_answers(server, kind, rows):
    """Nor on how many there are, for every kind of table."""
    out = run(NODE, kind({"word": pa.array(rows, pa.string()) if kind is pa.table else list(rows)}), server)
    made = out.answers
    types = made.schema.types if kind is pa.table else made.dtypes
    assert dict(zip(TYPES[kind], map(str, types), strict=True)) == TYPES[kind]


def test_every_type_comes_as_its_column(server):
    """Moments in UTC, numbers that may be null, labels with all members, records as they are."""
    value = {"f": 1, "b": True, "t": "é", "m": "2026-01-02T03:04:05+02:00", "s": [{"a": 1, "d": None}], "n": 2}
    answer = {"f": float, "b": bool, "t": str, "m": "datetime", "s": [{"a": int, "d?": "date"}], "n": [1, 2]}
    with fault_server(lambda exchange: exchange.send(message(chat(json.dumps(value))))) as running:
        out = run(NODE.replace(answer=answer), words("x"), running)
    row = out.answers.iloc[0]
    assert [str(each) for each in out.answers.dtypes][:2] == ["Float64", "boolean"]
    assert (row.f, row.b, row.t, row.n) == (1.0, True, "é", 2)
    assert row.m == pd.Timestamp("2026-01-02T01:04:05Z")
    assert row.s == [{"a": 1, "d": None}]


def test_an_answer_of_one_value_is_one_column(server):
    """Labels, or a bare type; asked for as an object, and taken out of it."""
    node = NODE.replace(answer=["yes", "no"])
    with fault_server(lambda exchange: exchange.send(message(chat('{"answer": "yes"}')))) as running:
        out = run(node, words("x"), running)
        assert list(run(node.replace(into="kind"), words("x"), running).table["kind"]) == ["yes"]
    assert list(out.answer) == ["yes"]
    assert list(out.answer.cat.categories) == ["yes", "no"]
    assert list(out.text) == ['{"answer": "yes"}']
    with pytest.raises(UsageError) as caught:
        run(NODE, words("good"), server).answer  # noqa: B018
    wording(str(caught.value))


def test_the_server_is_asked_as_the_mode_says(server):
    """By a strict schema, by any JSON object, by a tool that must be called."""
    run(NODE, words("good"), server)
    sent = asked(server)["response_format"]["json_schema"]
    assert (sent["strict"], [*sent["schema"]["properties"]]) == (True, ["sentiment", "stars", "topics", "when"])
    run(NODE.replace(answer_mode="json_object"), words("good"), server)
    assert asked(server)["response_format"] == {"type": "json_object"}
    with fault_server(lambda exchange: exchange.send(message(calling("answer", json.dumps(GOOD))))) as running:
        out = run(NODE.replace(answer_mode="tool"), words("x"), running)
        assert asked(running)["tool_choice"] == {"type": "function", "function": {"name": "answer"}}
    assert list(out.table["stars"]) == [5]


def test_a_name_that_the_table_has_is_refused_before_anything_is_sent(server):
    """An answer must never be mixed up with what it is compared with; into= names the answers."""
    table = words("good").assign(stars=1)
    for go in (NODE.check, lambda table: run(NODE, table, server)):
        with pytest.raises(ColumnError) as caught:
            go(table)
        wording(str(caught.value))
    assert server.requests == []
    out = run(NODE.replace(into="new"), table, server)
    names = ["new_sentiment", "new_stars", "new_topics", "new_when", "new_status", "new_outcome", "new_message"]
    assert list(out.table.columns) == ["word", "stars", *names]
    with pytest.raises(ColumnError):
        run(tn.CreateChatCompletion(model="m", prompt="x"), table.assign(answer=1), server)


def test_status_outcome_and_message_that_are_taken_get_a_suffix_and_it_is_said(server, capsys):
    """Those of the table stay."""
    out = NODE.run(words("good").assign(status="mine"), tn.Connection(server.url, ""))
    assert list(out.table.columns[-3:]) == ["status_2", "outcome", "message"]
    assert list(out.table["status"]) == ["mine"]
    wording(capsys.readouterr().err.strip())


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": ["a", "b"]},
        {"schema": {"type": "object", "properties": {"stars": {"type": "integer"}}}},
        {"response_format": ["a", "b"]},
        {"answer": int, "response_format": {"type": "json_object"}},
        {"answer": int, "answer_mode": "tool", "tools": []},
        {"answer": []},
        {"answer": int, "answer_mode": "xml"},
        {"into": ""},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_what_another_tool_calls_it_is_answered_with_what_to_write(settings):
    """And what contradicts an answer is refused."""
    with pytest.raises(SettingError) as caught:
        tn.CreateChatCompletion(**settings)
    wording(str(caught.value))


@pytest.mark.parametrize("node", [tn.CreateCompletion, tn.Return])
def test_a_node_that_takes_no_answer_says_which_does(node):
    """It is a setting of chats."""
    with pytest.raises(SettingNameError) as caught:
        node(answer=int)
    wording(str(caught.value))


def test_what_a_server_refuses_is_a_problem_once_and_nothing_is_sent(server):
    """Of a server that nobody knows it is a warning."""
    node = NODE.replace(answer={"x": {"type": "string", "minLength": 3}})
    found = node.check(words("good", "good"), tn.Connection("https://api.openai.com/v1", "k"))
    assert (found.valid, list(found.problems["path"]), list(found.problems["rule"])) == (0, ["answer.x"], ["minLength"])
    wording(str(found))
    with pytest.raises(SettingError) as caught:
        node.run(words("good"), tn.Connection("https://api.openai.com/v1", "k"))
    wording(str(caught.value))
    assert node.check(words("good"), tn.Connection(server.url, "")).valid == 1


def test_a_body_that_asks_for_its_own_format_is_not_sent(server):
    """The answer's is made by the node."""
    body = {"model": "m", "messages": [{"role": "user", "content": "good"}], "response_format": {"type": "text"}}
    out = run(tn.CreateChatCompletion(answer=int), pd.DataFrame({"body": [json.dumps(body)]}), server)
    assert list(out.log["outcome"]) == ["invalid_request"]
    wording(out.log["message"][0])


def test_a_node_keeps_what_an_answer_is(server):
    """It compares, travels, and nobody else can change it."""
    given = {"labels": ["a", "b"]}
    node = tn.CreateChatCompletion(model="m", prompt="x", answer=given)
    given["labels"].append("c")
    assert node.answer == {"labels": ["a", "b"]}
    assert pickle.loads(pickle.dumps(node)) == node
    out = pickle.loads(pickle.dumps(run(NODE, words("good"), server)))
    assert list(out.answers["stars"]) == [5]


def test_the_columns_of_an_answer_that_became_a_message_are_left_out(tmp_path, server):
    """So that the next turn's have their places."""
    store = tmp_path / "store"
    node = tn.CreateChatCompletion(model="m", answer=FIELDS)
    begun = tn.AddUserMessage(text="good").run(tn.CreateConversation().run(words("x"), store=store).table, store=store)
    out = run(node, begun.table, server, store=store)
    longer = tn.AddUserMessage(text="{{ word }}: good").run(out.table, continue_from=out, store=store).table
    assert list(longer.columns) == ["word", "conversation"]


def test_the_command_line_says_what_an_answer_is(server, tmp_path, monkeypatch):
    """Field by field, or a file of its schema."""
    monkeypatch.chdir(tmp_path)
    words("good", "cut").to_csv("words.csv", index=False)
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"stars": {"type": "integer"}}}')
    fields = ["--answer", "sentiment=positive,negative", "--answer", "stars=int", "--answer", "topics=[str]"]
    given = ["call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}", "--model", "m", "--no-key"]
    given += ["--base-url", server.url, "--no-progress", "--output"]
    with pytest.raises(SystemExit) as ended:
        main([*given, "a.csv", *fields, "--answer", "when?=date"])
    assert ended.value.code == 3
    assert list(pd.read_csv("a.csv")["outcome"]) == ["ok", "unusable"]
    assert asked(server)["response_format"]["json_schema"]["schema"]["required"] == [*GOOD]
    with pytest.raises(SystemExit):
        main([*given, "b.csv", "--answer", "@s.json"])
    assert [*asked(server)["response_format"]["json_schema"]["schema"]["properties"]] == ["stars"]


@pytest.mark.parametrize(
    "given",
    [
        "labels=a,b",
        "response_format=[a, b]",
        "response_format=bool",
        'schema={"stars": "int"}',
        "output_schema=@s.json",
    ],
)
def test_every_door_has_its_own_line_for_an_answer(tmp_path, capsys, monkeypatch, given):
    """What other tools call it, and what is set on the request."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.csv").write_text("word\ngood\n")
    name, _, value = given.partition("=")
    value = value if value.startswith(("[", "{")) else f'"{value}"'
    (tmp_path / "w.yaml").write_text(f"id: w\nnodes:\n  - {{id: ask, type: CreateChatCompletion, {name}: {value}}}\n")
    for command in (["call", "CreateChatCompletion", "w.csv", "--set", given], ["check", "w.yaml"]):
        with pytest.raises(SystemExit):
            main(command)
    wording(capsys.readouterr().err)


def test_the_command_line_names_the_answers_column(server, tmp_path, capsys, monkeypatch):
    """``--into``, as an error says where the table has such a column."""
    monkeypatch.chdir(tmp_path)
    words("good").assign(stars=1).to_csv("words.csv", index=False)
    given = ["call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}", "--model", "m", "--no-key"]
    given += ["--answer", "sentiment=positive,negative", "--answer", "stars=int", "--answer", "topics=[str]"]
    given += ["--answer", "when?=date", "--base-url", server.url, "--no-progress", "--output", "a.csv"]
    for more, code in ((), 1), (("--into", "model"), 0):
        with pytest.raises(SystemExit) as ended:
            main([*given, *more])
        assert ended.value.code == code
    assert list(pd.read_csv("a.csv"))[:3] == ["word", "stars", "model_sentiment"]
    wording(capsys.readouterr().err.splitlines()[0])


def test_a_workflow_file_says_what_an_answer_is(server, tmp_path):
    """A schema's file is looked for beside it; what was said in Python can be written, and means the same."""
    (tmp_path / "s.json").write_text('{"type": "object", "properties": {"stars": {"type": "integer"}}}')
    file = tmp_path / "w.yaml"
    node = "id: w\nnodes:\n  - {id: ask, type: CreateChatCompletion, model: m, prompt: x, %s}\n"
    file.write_text(node % 'answer: "@s.json"')
    assert dict(tn.Workflow.load(file)._steps)["ask"]._answers.types.keys() == {"stars"}
    file.write_text(node % "labels: [a, b]")
    with pytest.raises(UsageError) as caught:
        tn.Workflow.load(file)
    wording(str(caught.value).replace(str(tmp_path), "."))
    for answer in (FIELDS, bool, ["a", "b"], {"a": [{"b": float}]}):
        given = tn.CreateChatCompletion(model="m", prompt="x", answer=answer)
        tn.Workflow({"ask": given}).save(file)
        assert dict(tn.Workflow.load(file)._steps)["ask"]._answers == given._answers


@pytest.mark.parametrize("kind", KINDS)
def test_usage_has_what_the_server_counted(kind):
    """Cached and reasoning tokens too; null where it does not say, or says nonsense."""
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    usage |= {"prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": -1}}
    body = json.dumps(json.loads(chat("x")) | {"model": "m-2", "usage": usage}).encode()
    replies = iter([message(body), message(b"{}", 400)])
    with fault_server(lambda exchange: exchange.send(next(replies))) as running:
        node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
        limits = tn.Limits(concurrency=1)
        out = run(node, kind({"word": ["a", "b"]}), running, limits=limits).usage
    rows = out.to_pylist() if kind is pa.table else out.to_dicts() if kind is pl.DataFrame else out.to_dict("records")
    assert list(rows[0].values()) == [9, 8, 4, rows[0]["reasoning_tokens"], 13, "m-2", rows[0]["cost"]]
    assert all(pd.isna(each) for each in [*rows[1].values(), rows[0]["reasoning_tokens"], rows[0]["cost"]])


@pytest.mark.parametrize("more", [{"into": "model"}, {"answer": {"system": str, "stars": int, "prompt": str}}])
def test_a_column_of_an_answer_that_would_be_a_setting_is_said(more):
    """A later node would send it; in a workflow, the id stands before it, and nothing is said of other names."""
    node, table = tn.CreateChatCompletion(model="m", prompt="{{ word }}"), words("x")
    running = tn.testing.canned("yes")
    (line,) = node.replace(**more).check(table, running).warnings
    wording(line)
    assert node.replace(into="kind").check(table, running).warnings == ()
    assert (
        tn.Workflow({"ask": node.replace(answer=more.get("answer"))}).check(table, None, running)["ask"].warnings == ()
    )


def test_a_check_warns_of_a_key_that_is_not_there():
    """In a workflow, too: only a run would be refused."""
    node, table = tn.CreateChatCompletion(model="m", prompt="{{ word }}"), words("x")
    unset = tn.Connection("https://api.example.com/v1", api_key_env="TABLENODES_TEST_UNSET")
    (line,) = node.check(table, unset).warnings
    wording(line)
    assert tn.Workflow({"ask": node}).check(table, None, unset)["ask"].warnings == (line,)


def test_the_embedded_model_is_shown_no_images():
    """Its server would refuse each request; nothing is started."""
    node = tn.CreateChatCompletion(prompt="{{ word }}", image="x.png")
    with wording.raises(SettingError):
        node.run(words("x"), tn.Connection.local())


ODD = [
    None,
    "",
    "no JSON",
    "[1]",
    '{"usage": 5}',
    '{"usage": {"prompt_tokens": true}}',
    '{"usage": {"total_tokens": -1}}',
]
ODD += ['{"model": 4, "usage": {"prompt_tokens": 9007199254740992, "completion_tokens": 9007199254740991}}']
ODD += ['{"model": "m\\ud800", "choices": [{"message": {"content": "a\\ud800"}}], "usage": {"prompt_tokens": 3}}']


@pytest.mark.parametrize("answers", [RowAnswers(), RowAnswers(is_whole=True)])
def test_bodies_that_are_read_once_say_what_they_say_alone(answers):
    """What the answers are and what they used, read together or apart, also of bodies that are no answers."""
    bodies = [*(reply.decode() for reply in REPLIES.values()), *ODD] * 50
    outcomes = [("ok", "http_error")[at % 7 == 3] for at in range(len(bodies))]
    alone = [usage_columns([body]) for body in bodies]
    made, used = answers.with_usage(bodies, outcomes)
    assert used == {name: [one[name][0] for one in alone] for name in alone[0]}
    assert {name: [*values] for name, values in made.items()} == {
        name: [*values] for name, values in answers.columns(bodies, outcomes).items()
    }
    assert alone[len(REPLIES) + 7]["prompt_tokens"] == [None]
    assert alone[len(REPLIES) + 7]["completion_tokens"] == [2**53 - 1]
    assert [one["prompt_tokens"] for one in alone[len(REPLIES) :][4:7]] == [[None]] * 3
