"""The published systems that defined this package: a test for each item of theirs, named by system and item.

``chat_node`` and ``completion_node`` are table nodes, ``async_node`` is one of a visual flow, ``task`` is one of an
orchestrator, and ``endpoint`` is an API page about answers with and without streaming.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import orjson
import pandas as pd
import pytest
from background import elsewhere, ending, nobody_at_work, told, work
from servers import answer, fault_server
from short_functions import REPLY, WRITTEN_OUT
from streamed import TWINS, chunks_of, either, stream_of, streaming

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import SettingError

OLDER = "openai-2024-05"
SCHEMAS = Path(__file__).parent.parent / "schemas" / OLDER
SAMPLES = Path(__file__).parent.parent / "sample_workflows"
KEY = "sk-canary-0123456789"
NO_RETRY = tn.Retry(not_executed=0, throttled=0, server_error=0, ambiguous=0)
HI = [{"role": "user", "content": "Hi"}]
FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
ARGUMENTS = {"response_urgency": "reply_later", "response_text": "Thank you!", "stars": 5}
ASK = tn.CreateChatCompletion(model="echo", prompt="{{ word }}")
LATER = tn.CreateChatCompletionAsync(model="echo", prompt="{{ word }}")
ERROR = {"error": {"message": "The service is down.", "type": "server_error", "param": None, "code": "down"}}
FAULTS = {
    "answers with an error": answer(ERROR, 503),
    "refuses the request": answer(ERROR, 400),
    "fails in the stream": streaming(
        stream_of(chunks_of(TWINS["text"])[:3], done=False) + b"data: %b\n\n" % orjson.dumps(ERROR)
    ),
    "cuts the stream": streaming(stream_of(chunks_of(TWINS["text"])[:3], done=False), then="close"),
}


def react(exchange):
    """Answer as the model is called: plainly or with a stream, as the request asks, or with a fault."""
    body = orjson.loads(exchange.received.body)
    if body["model"] in FAULTS:
        return FAULTS[body["model"]](exchange)
    if "functions" in body:
        call = {"name": body["functions"][0]["name"], "arguments": json.dumps(ARGUMENTS)}
        return either(one_choice({"role": "assistant", "content": None, "name": "bot", "function_call": call}))(
            exchange
        )
    said = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
    return either(TWINS.get(body["model"]) or one_choice({"role": "assistant", "content": said}))(exchange)


def one_choice(message):
    return TWINS["text"] | {"choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}]}


@pytest.fixture(scope="module")
def server():
    with fault_server(react) as serving:
        yield serving


def words(*texts):
    return pd.DataFrame({"word": list(texts or ("a",))})


def run(server, node, table=None, **manner):
    table = words() if table is None else table
    return node.run(table, tn.Connection(server.url, KEY), retry=NO_RETRY, progress=False, **manner)


def body_of(node, table=None):
    """Return what would be sent for the first row."""
    check = node.check(words() if table is None else table)
    assert check.valid == check.rows
    return check.request(0).body


def chat_body(**more):
    return {"model": "m", "messages": HI, **more}


def wrong(operation, body, schema=OLDER):
    """Return the properties in which a schema finds something wrong."""
    return {re.split(r"[.\[]", str(each.path))[1] for each in tn.validate(body, operation, schema)}


# --- 1. the chat completion of a table node --------------------------------------------------------------------------


def test_chat_node_input_is_a_configuration_table(server):
    """A request a row; each column of a property's name is one."""
    table = pd.DataFrame({"prompt": ["a", "b"], "temperature": [0, 1.5]})
    out = run(server, tn.CreateChatCompletion(model="echo"), table)
    assert list(out.text) == ["a", "b"]
    assert [orjson.loads(each.body)["temperature"] for each in server.requests[-2:]] in ([0, 1.5], [1.5, 0])


def test_chat_node_option_is_a_body_that_complies_with_the_schema():
    """19 properties, two of them required; the whole body may be a cell, or a setting for each property."""
    schema = json.loads((SCHEMAS / "create_chat_completion.json").read_text())
    assert (len(schema["properties"]), set(schema["required"])) == (19, {"messages", "model"})
    assert schema["properties"].keys() <= {*tn.CreateChatCompletion.__dataclass_fields__}
    whole = chat_body(temperature=0.5, top_p=1)
    node = tn.CreateChatCompletion(schema=OLDER)
    assert body_of(node, pd.DataFrame({"body": [json.dumps(whole)]})) == whole
    check = node.check(pd.DataFrame({"body": ["{}"]}))
    assert (check.valid, set(check.problems["path"])) == (0, {"$.messages", "$.model"})


CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}


@pytest.mark.parametrize("schema", [OLDER, "openai-2026-08"])
@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "You help."},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]},
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_1"},
        {"role": "function", "content": "sunny", "name": "weather"},
    ],
    ids=lambda message: f"{message['role']}-{'-'.join(message)}",
)
def test_chat_node_messages_are_of_five_kinds(message, schema):
    """Each as it is; without what its kind requires it is none."""
    node = tn.CreateChatCompletion(model="m", messages=[message], schema=schema)
    assert body_of(node)["messages"] == [message]
    required = {"tool": "tool_call_id", "function": "name", "user": "content", "system": "content"}
    if needed := required.get(message["role"]):
        broken = {key: value for key, value in message.items() if key != needed}
        assert wrong("create_chat_completion", chat_body(messages=[broken]), schema) == {"messages"}


def test_chat_node_message_of_no_kind_is_refused():
    """The kinds are known by their roles, and the details of images by their names."""
    for message in ({"role": "judge", "content": "x"}, {"role": "user", "content": [{"type": "smell"}]}):
        assert wrong("create_chat_completion", chat_body(messages=[message])) == {"messages"}
    loud = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "loud"}}
    assert wrong("create_chat_completion", chat_body(messages=[{"role": "user", "content": [loud]}])) == {"messages"}


@pytest.mark.parametrize("choice", ["none", "auto", {"type": "function", "function": {"name": "weather"}}, "weather"])
def test_chat_node_tools_and_tool_choice(choice):
    """None, the model's choice, or a function by its name, also in short."""
    tools = [{"type": "function", "function": FUNCTION}]
    body = body_of(tn.CreateChatCompletion(model="m", prompt="x", tools=tools, tool_choice=choice, schema=OLDER))
    named = {"type": "function", "function": {"name": "weather"}}
    assert (body["tools"], body["tool_choice"]) == (tools, named if choice == "weather" else choice)


def test_chat_node_deprecated_functions_and_function_call():
    """One to 128 of them, and which is called."""
    node = tn.CreateChatCompletion(model="m", prompt="x", functions=[FUNCTION], function_call={"name": "weather"})
    body = body_of(node.replace(schema=OLDER))
    assert (body["functions"], body["function_call"]) == ([FUNCTION], {"name": "weather"})
    found = {n: wrong("create_chat_completion", chat_body(functions=[FUNCTION] * n)) for n in (0, 1, 128, 129)}
    assert found == {0: {"functions"}, 1: set(), 128: set(), 129: {"functions"}}


def test_chat_node_result_is_the_raw_response(server):
    """What the server sent, and its status."""
    out = run(server, ASK.replace(model="text"))
    assert list(out.result.columns) == ["body", "status"]
    assert (json.loads(out.result["body"][0]), out.result["status"][0]) == (TWINS["text"], 200)


def test_chat_node_outputs_are_the_result_and_the_configuration(server):
    """The very table, so that a second node asks it again."""
    table = words("a", "b")
    _, configuration = run(server, ASK, table)
    second, again = run(server, ASK.replace(prompt="{{ word }}!"), configuration)
    assert again is configuration is table
    assert [json.loads(body)["choices"][0]["message"]["content"] for body in second["body"]] == ["a!", "b!"]


# --- 2. the completion of a table node -------------------------------------------------------------------------------


def test_completion_node_has_the_same_ports_and_result(server):
    """A Raw Response, and the table as it was."""
    table = words()
    result, configuration = run(server, tn.CreateCompletion(model="completion", prompt="{{ word }}"), table)
    assert configuration is table
    assert list(result.columns) == ["body", "status"]
    assert (json.loads(result["body"][0]), result["status"][0]) == (TWINS["completion"], 200)


def test_completion_node_body_complies_with_the_schema():
    """18 properties, two of them required, each a setting."""
    schema = json.loads((SCHEMAS / "create_completion.json").read_text())
    assert (len(schema["properties"]), set(schema["required"])) == (18, {"model", "prompt"})
    assert schema["properties"].keys() <= {*tn.CreateCompletion.__dataclass_fields__}
    assert wrong("create_completion", {}) == {"model", "prompt"}


@pytest.mark.parametrize("prompt", ["Once", ["Once", "Twice"], [1, 2], [[1, 2], [3]]])
def test_completion_node_prompt_is_texts_or_tokens(prompt):
    """As a setting, and as a cell."""
    node = tn.CreateCompletion(model="m", schema=OLDER)
    assert body_of(node.replace(prompt=prompt))["prompt"] == prompt
    assert body_of(node, pd.DataFrame({"prompt": [prompt]}))["prompt"] == prompt


def test_completion_node_prompt_may_be_null():
    """Where the author says so, for all rows or for those whose cell is empty."""
    node = tn.CreateCompletion(model="m", schema=OLDER)
    empty = pd.DataFrame({"prompt": [None]}, dtype=object)
    assert body_of(node.replace(extra_body={"prompt": None}))["prompt"] is None
    assert body_of(node.replace(prompt="{{ prompt | default(none) }}"), empty)["prompt"] is None
    assert node.check(empty).valid == 0


@pytest.mark.parametrize(
    ("name", "right", "not_right"),
    [
        ("best_of", [0, 20], [-1, 21, 1.5]),
        ("echo", [True, False], ["yes"]),
        ("logprobs", [0, 5], [-1, 6, True]),
        ("suffix", ["", "The end."], [1]),
        ("stream_options", [{"include_usage": True}], [{"include_usage": "yes"}, []]),
        ("seed", [2**63 - 1, -(2**63)], [2**63, -(2**63) - 1, 0.5]),
    ],
)
def test_completion_node_bounds_its_properties(name, right, not_right):
    """The bounds are the schema's, and are kept to before anything is sent."""
    body = {"model": "m", "prompt": "x"}
    for value in right:
        node = tn.CreateCompletion(**body, schema=OLDER, **{name: value})
        assert body_of(node) == body | {name: value}
    for value in not_right:
        assert wrong("create_completion", body | {name: value}) == {name}


# --- 3. the chat completion of a visual flow, whose answer comes later -----------------------------------------------


@pytest.fixture
def store(tmp_path):
    with ending(tmp_path / "store.sqlite") as path:
        yield path


def submitted(server, store, node=LATER, table=None):
    with nobody_at_work(store):
        return node.run(words() if table is None else table, tn.Connection(server.url), store=store, progress=False)


def retrieved(table, store):
    with nobody_at_work(store):
        return tn.RetrieveResponse().run(table, 0, store=store, progress=False)


def messages_of(transcript):
    return list(zip(transcript["row"], transcript["role"], transcript["content"], strict=True))


def test_async_node_takes_a_model_and_a_conversation(server, store):
    """The id of a conversation that was created and then extended."""
    begun = tn.CreateConversation(system="You help.").run(words(), store=store).table
    asked = tn.AddUserMessage(text="{{ word }}?").run(begun, store=store).table
    out = submitted(server, store, tn.CreateChatCompletionAsync(model="echo"), asked)
    work(store)
    assert list(retrieved(out, store).text) == ["a?"]
    expected = [{"role": "system", "content": "You help."}, {"role": "user", "content": "a?"}]
    assert orjson.loads(server.requests[-1].body)["messages"] == expected


@pytest.mark.parametrize(
    ("name", "right", "not_right"),
    [
        ("temperature", [0, 2], [-0.1, 2.1]),
        ("top_p", [0, 1], [1.1]),
        ("n", [1, 128], [0]),
        ("stream", [True, False], []),
        ("max_tokens", [16], [1.5]),
        ("presence_penalty", [-2, 2], [-2.1, 2.1]),
        ("frequency_penalty", [-2, 2], [-2.1, 2.1]),
        ("user", ["u-1"], []),
    ],
)
def test_async_node_optional_inputs(name, right, not_right):
    """Each within its bounds, as a setting or from a column."""
    for value in right:
        assert body_of(LATER.replace(**{name: value}))[name] == value
        assert body_of(LATER.replace(**{name: tn.col("v")}), words().assign(v=[value]))[name] == value
    for value in not_right:
        assert LATER.replace(**{name: tn.col("v")}).check(words().assign(v=[value])).valid == 0


@pytest.mark.parametrize(("stop", "sent"), [("a, b", ["a", "b"]), ('["a, b"]', ["a, b"]), ("end", "end")])
def test_async_node_stop_is_comma_separated(stop, sent):
    """A JSON array says where a comma is part of one."""
    assert body_of(LATER.replace(stop=stop))["stop"] == sent


def test_async_node_logit_bias_is_a_json_object_as_text():
    """As a setting, and as a cell."""
    text = '{"50256": -100}'
    assert body_of(LATER.replace(logit_bias=text))["logit_bias"] == {"50256": -100}
    assert body_of(LATER, words().assign(logit_bias=[text]))["logit_bias"] == {"50256": -100}


def test_async_node_returns_at_once_an_id_or_an_error(server, store):
    """Nothing is sent by then; execution goes on with the rows that were accepted, and with those that were not."""
    before = len(server.requests)
    out = submitted(server, store, table=words("a", None))
    assert len(server.requests) == before
    assert list(out.result.columns) == ["future_response_id", "error_message"]
    assert out.result["future_response_id"].isna().tolist() == [False, True]
    assert out.result["error_message"].isna().tolist() == [True, False]
    assert (list(out.succeeded["word"]), len(out.failed)) == (["a"], 1)
    assert list(out.log["outcome"]) == ["submitted", "invalid_request"]


def test_async_node_response_is_fetched_later_by_its_id(server, store):
    """It is worked on in the background; until then it is pending."""
    (identity,) = submitted(server, store).result["future_response_id"]
    assert list(retrieved(identity, store).log["outcome"]) == ["pending"]
    work(store)
    out = retrieved(identity, store)
    assert (list(out.text), list(out.result["status"])) == (["a"], [200])


def test_async_node_outlives_the_process_that_started_it(server, store, tmp_path):
    """The table is saved in either form, its process ends, and this one has the answers."""
    files = [tmp_path / "later.parquet", tmp_path / "later.csv"]
    code = (
        "node = tn.CreateChatCompletionAsync(model='echo', prompt='{{ word }}')\n"
        "table = pd.DataFrame({'word': ['a', 'b']})\n"
        "out = node.run(table, tn.Connection(sys.argv[1]), store=sys.argv[2], progress=False).table\n"
        "out.to_parquet(sys.argv[3])\n"
        "out.to_csv(sys.argv[4], index=False)\n"
        "print(os.getpid())"
    )
    told(elsewhere(code, server.url, str(store), *map(str, files)))
    for file in files:
        out = tn.RetrieveResponse().run(tn.read_table(file), 60, store=store, progress=False)
        assert (list(out.text), list(out.result["status"])) == (["a", "b"], [200, 200])


def test_async_node_conversations_never_change(store):
    """Adding a message gives another id, the same one each time: a notebook's cell may run twice."""
    begun = tn.CreateConversation(system="You help.").run(words(), store=store).table
    first, second = (tn.AddUserMessage(text="{{ word }}").run(begun, store=store).table for _ in range(2))
    assert first.equals(second)
    assert first["conversation"][0] != begun["conversation"][0]
    assert messages_of(tn.transcript(begun, store=store)) == [(0, "system", "You help.")]


def test_async_node_two_branches_start_from_one_conversation(store):
    """Each has what was said before, and its own message."""
    begun = tn.CreateConversation(system="You help.").run(words(), store=store).table
    for text in ("One?", "Two?"):
        branch = tn.AddUserMessage(text=text).run(begun, store=store).table
        assert messages_of(tn.transcript(branch, store=store)) == [(0, "system", "You help."), (0, "user", text)]


# --- 4. the task of an orchestrator ----------------------------------------------------------------------------------


def test_task_requires_a_key_and_a_model():
    """The key is the connection's, so that no file holds it."""
    asked = tn.Connection("https://api.example.com/v1", KEY)
    sent = ASK.check(words(), asked).request(0)
    assert (sent.headers["Authorization"], sent.body["model"]) == ("Bearer ***", "echo")
    assert KEY not in str(sent)
    assert set(tn.CreateChatCompletion(prompt="x").check(words()).problems["path"]) == {"$.model"}
    with pytest.raises(tn.errors.UsageError):
        ASK.run(words(), progress=False)


def test_task_takes_a_prompt_or_messages():
    """The prompt is sent as one message of the user; both at once are an error."""
    assert body_of(ASK)["messages"] == [{"role": "user", "content": "a"}]
    assert body_of(tn.CreateChatCompletion(model="m", messages=HI))["messages"] == HI
    with pytest.raises(SettingError):
        tn.CreateChatCompletion(model="m", prompt="x", messages=HI).check(words())


TASK = {
    "clientTimeout": ("client_timeout", 20),
    "temperature": ("temperature", 0.5),
    "topP": ("top_p", 0.5),
    "n": ("n", 2),
    "stop": ("stop", ["a", "b", "c", "d"]),
    "maxTokens": ("max_tokens", 16),
    "presencePenalty": ("presence_penalty", -1.5),
    "frequencyPenalty": ("frequency_penalty", 1.5),
    "logitBias": ("logit_bias", {"50256": -100}),
    "user": ("user", "u-1"),
    "functions": ("functions", [REPLY]),
    "functionCall": ("function_call", "respond_to_review"),
}


def converted(folder, tasks, inputs=()):
    """Write a flow in the orchestrator's own form, convert it, and load what came of it."""
    flow = {"id": "flow", "namespace": "company.team", "inputs": [*inputs], "tasks": tasks}
    (folder / "kestra.yaml").write_text(json.dumps(flow))
    with pytest.raises(SystemExit) as ended:
        main(["convert", str(folder / "kestra.yaml"), "-o", str(folder / "flow.yaml")])
    assert not ended.value.code
    return tn.Workflow.load(folder / "flow.yaml")


def chat_task(**more):
    return {
        "id": "completion",
        "type": "io.kestra.plugin.openai.ChatCompletion",
        "apiKey": KEY,
        "model": "echo",
        **more,
    }


def return_task(name, text):
    return {"id": name, "type": "io.kestra.plugin.core.debug.Return", "format": text}


@pytest.fixture
def environment(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)


@pytest.mark.parametrize("as_text", [False, True])
def test_task_optional_properties(tmp_path, environment, capsys, as_text):
    """All of them, each under our name; a number may be a text, as templates render."""
    given = {name: str(v) if as_text and isinstance(v, int | float) else v for name, (_, v) in TASK.items()}
    (_, node), *_ = converted(tmp_path, [chat_task(prompt="Hi", **given)])._steps
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "carried over" in line)
    assert "the key itself" in said
    body = body_of(node)
    timeout, *others = TASK.values()
    assert float(node.client_timeout) == timeout[1]
    assert {name: body[name] for name, _ in others[:-2]} == dict(others[:-2])
    assert body["function_call"] == {"name": "respond_to_review"}


def test_task_client_timeout_is_in_seconds(server):
    """It bounds one attempt; without it the connection's own bounds hold, 10 seconds to connect."""
    out = run(server, ASK.replace(client_timeout=20))
    assert list(out.text) == ["a"]
    assert "client_timeout" not in orjson.loads(server.requests[-1].body)
    assert tn.Timeout().connect == 10


def test_task_bounds_of_stop_and_logit_bias():
    """Up to four sequences; whole numbers by token."""
    for name, value in (("stop", ["a"] * 5), ("logit_bias", {"50256": "much"})):
        assert wrong("create_chat_completion", chat_body(**{name: value})) == {name}


def test_task_function_call_is_auto_or_a_name():
    """Left out it is the server's default, which is auto."""
    node = ASK.replace(functions=[REPLY])
    assert "function_call" not in body_of(node)
    assert body_of(node.replace(function_call="auto"))["function_call"] == "auto"
    assert body_of(node.replace(function_call="respond_to_review"))["function_call"] == {"name": "respond_to_review"}


def test_task_functions_are_simplified():
    """A flat list of parameters becomes a JSON Schema object."""
    assert body_of(ASK.replace(functions=[REPLY]))["functions"] == [WRITTEN_OUT]


FIRST = "outputs.completion.choices[0]"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (f"{FIRST}.index", "0"),
        (f"{FIRST}.finish_reason", "stop"),
        (f"{FIRST}.message.role", "assistant"),
        (f"{FIRST}.message.name", "bot"),
        (f"{FIRST}.message.content | default('-', true)", "-"),
        (f"{FIRST}.message.function_call.name", "respond_to_review"),
        (f"{FIRST}.message.function_call.arguments.stars + 1", "6"),
        ("outputs.completion.id", "chatcmpl-1"),
        ("outputs.completion.model", "m"),
        ("outputs.completion.object", "chat.completion"),
        ("outputs.completion.usage.total_tokens", "21"),
        ("inputs.prompt", "Hi"),
    ],
)
def test_task_outputs_are_read_by_later_steps(server, expression, expected):
    """Every part of an answer, the arguments of a call parsed."""
    ask = tn.CreateChatCompletion(model="echo", prompt="{{ inputs.prompt }}", functions=[REPLY])
    nodes = [("completion", ask), ("said", tn.Return(text=f"{{{{ {expression} }}}}"))]
    flow = tn.Workflow(nodes, inputs={"prompt": "Hi"}, connection=tn.Connection(server.url))
    assert list(flow.run(progress=False)["said"].result["text"]) == [expected]


def test_task_properties_are_templates(server):
    """Of inputs and of earlier answers, within messages and wherever else a text may stand."""
    messages = [{"role": "user", "content": f"{{{{ {FIRST}.message.content }}}} {{{{ inputs.more }}}}"}]
    second = tn.CreateChatCompletion(model="echo", messages=messages, user="{{ inputs.more }}", stop=["{{ word }}"])
    nodes = [("completion", ASK), ("second", second)]
    flow = tn.Workflow(nodes, inputs={"more": "and more"}, connection=tn.Connection(server.url))
    out = flow.run(words(), progress=False)
    assert list(out["second"].text) == ["a and more"]
    body = orjson.loads(server.requests[-1].body)
    assert (body["user"], body["stop"]) == ("and more", ["a"])


def test_task_published_example_of_a_prompt(tmp_path, environment):
    """A prompt with a default, its completion, and a step that returns the text."""
    inputs = [{"id": "prompt", "type": "STRING", "defaults": "What is data orchestration?"}]
    tasks = [
        chat_task(prompt="{{ inputs.prompt }}"),
        return_task("response", "{{ outputs.completion.choices[0].message.content }}"),
    ]
    flow = converted(tmp_path, tasks, inputs)
    assert list(flow.run(progress=False).table["response"]) == ["What is data orchestration?"]
    assert list(flow.run(inputs={"prompt": "Why?"}, progress=False).table["response"]) == ["Why?"]


def test_task_published_example_of_a_review(tmp_path, environment, server):
    """A function with an enum and a text; two later steps read the two arguments."""
    inputs = [{"id": "prompt", "type": "STRING", "defaults": "I love your product!"}]
    called = "outputs.completion.choices[0].message.function_call.arguments"
    tasks = [
        chat_task(messages=[{"role": "user", "content": "{{ inputs.prompt }}"}], functions=[REPLY]),
        return_task("response_urgency", f"{{{{ {called}.response_urgency }}}}"),
        return_task("response_text", f"{{{{ {called}.response_text }}}}"),
    ]
    table = converted(tmp_path, tasks, inputs).run(progress=False).table
    assert (table["response_urgency"][0], table["response_text"][0]) == ("reply_later", "Thank you!")
    body = orjson.loads(server.requests[-1].body)
    assert body["functions"][0]["parameters"]["properties"]["response_urgency"]["enum"] == ["reply_now", "reply_later"]


# --- 5. the endpoint with and without streaming ----------------------------------------------------------------------


@pytest.mark.parametrize("stream", [None, False, True])
def test_endpoint_streams_as_the_payload_asks(server, stream):
    """Also by a column; the request for a stream asks for usage too, and the answer has it either way."""
    out = run(server, ASK.replace(stream=tn.col("s")), words().assign(s=[stream]))
    body = orjson.loads(server.requests[-1].body)
    assert body.get("stream") == stream
    assert body.get("stream_options") == ({"include_usage": True} if stream else None)
    assert json.loads(out.result["body"][0])["usage"] == TWINS["text"]["usage"]
    assert list(out.usage["total_tokens"]) == [21]


def test_endpoint_has_a_bearer_token(server):
    """In the header of that name."""
    run(server, ASK)
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("stream", [None, True])
@pytest.mark.parametrize(("fault", "status"), [("answers with an error", 503), ("refuses the request", 400)])
def test_endpoint_errors_of_a_service_are_a_status_and_a_message(server, fault, status, stream):
    """As the service said it, of a plain request and of one for a stream."""
    out = run(server, ASK.replace(model=fault, stream=stream))
    assert (list(out.result["status"]), json.loads(out.result["body"][0])) == ([status], ERROR)
    assert "The service is down." in out.log["message"][0]


def test_endpoint_errors_of_processing_are_a_message(server):
    """A row that cannot be made a request, and a server that is not there: an error of the API's shape, no status."""
    invalid = run(server, ASK, words(None))
    nowhere = ASK.run(words(), tn.Connection("http://127.0.0.1:1/v1", KEY), retry=NO_RETRY, progress=False)
    for out, outcome in ((invalid, "invalid_request"), (nowhere, "connect")):
        assert (list(out.log["outcome"]), list(out.result["status"].isna())) == ([outcome], [True])
        assert json.loads(out.result["body"][0])["error"]["message"]


def test_endpoint_errors_in_a_stream_are_a_message(server):
    """Whatever came before."""
    out = run(server, ASK.replace(model="fails in the stream", stream=True))
    assert list(out.log["outcome"]) != ["ok"]
    assert "The service is down." in out.log["message"][0]


BODY = {
    "messages": HI,
    "model": "echo",
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [FUNCTION],
    "logit_bias": {"50256": -100},
    "max_tokens": 16,
    "n": 1,
    "presence_penalty": 0.5,
    "response_format": {"type": "json_object"},
    "seed": 7,
    "stop": ["end"],
    "stream": False,
    "temperature": 0.5,
    "tool_choice": "auto",
    "tools": [{"type": "function", "function": FUNCTION}],
    "top_p": 0.5,
    "user": "u-1",
}


def test_endpoint_body(server):
    """All 18 properties reach the server as they are."""
    assert len(BODY) == 18
    run(server, tn.CreateChatCompletion(**BODY))
    assert orjson.loads(server.requests[-1].body) == BODY


@pytest.mark.parametrize("stream", [None, True])
def test_endpoint_response(server, stream):
    """Its six parts, and what kind it is."""
    body = json.loads(run(server, ASK.replace(model="text", stream=stream)).result["body"][0])
    assert {"choices", "created", "id", "model", "system_fingerprint", "usage"} <= body.keys()
    assert (body["system_fingerprint"], body["object"]) == ("fp_1", "chat.completion")


@pytest.mark.parametrize("name", sorted(TWINS.keys() - {"completion"}))
def test_endpoint_stream_is_the_same_row_as_a_plain_request(server, name):
    """Every choice, tool calls, log probabilities, a refusal, usage."""
    plain, streamed = (run(server, ASK.replace(model=name, stream=stream)) for stream in (None, True))
    assert json.loads(streamed.result["body"][0]) == json.loads(plain.result["body"][0]) == TWINS[name]
    assert list(streamed.result["status"]) == [200]


def test_endpoint_shows_live_text_where_someone_watches(server):
    """Piece by piece, in order."""
    pieces = []
    out = run(server, ASK.replace(model="text", stream=True), on_text=lambda row, text: pieces.append((row, text)))
    assert len(pieces) > 1
    assert {row for row, _ in pieces} == {0}
    assert "".join(text for _, text in pieces) == out.text[0] == TWINS["text"]["choices"][0]["message"]["content"]


def test_endpoint_never_reports_a_cut_stream_as_whole(server):
    """It is no answer, though what came is kept."""
    out = run(server, ASK.replace(model="cuts the stream", stream=True))
    assert list(out.log["outcome"]) == ["stream_truncated"]
    assert out.text.isna().all()
    assert out.result["body"][0].startswith("data: {")
    assert len(out.failed) == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("review_sentiment", "CreateChatCompletion"),
        ("complete_openings", "CreateCompletion"),
        ("answers_later", "CreateChatCompletionAsync"),
        ("return_completion", "Return"),
        ("review_reply", "Return"),
        ("streamed_answer", "CreateChatCompletion"),
    ],
)
def test_each_system_has_a_sample_workflow(name, kind):
    """Of its own kind of node; that of streaming asks for a stream."""
    nodes = [node for _, node in tn.Workflow.load(SAMPLES / f"{name}.yaml")._steps]
    assert kind in {type(node).__name__ for node in nodes}
    assert (name == "streamed_answer") == any(getattr(node, "stream", None) is True for node in nodes)
