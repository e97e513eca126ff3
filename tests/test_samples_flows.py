"""The sample workflows of an orchestrator: a completion that is returned, a function call that later nodes read."""

from __future__ import annotations

import csv
import io

import orjson
import pytest
from sample_runs import copy_samples, run_command
from servers import Exchange, answer, fault_server

import tablenodes as tn


@pytest.fixture
def in_a_copy(tmp_path, monkeypatch):
    """Stand in a folder that has the sample workflows, so that no output falls into the project."""
    copy_samples(tmp_path, None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def chat(**message):
    choice = {"index": 0, "message": {"role": "assistant", "content": None, **message}, "finish_reason": "stop"}
    return answer({"id": "c-1", "object": "chat.completion", "model": "m", "choices": [choice]})


def on_a_server(workflow, url):
    """Return the workflow with a model that is asked for by name, and the server in place of the embedded model."""
    nodes = [(n, node.replace(model="m") if hasattr(node, "model") else node) for n, node in workflow._steps]
    return workflow.replace(nodes=nodes, connection=tn.Connection(url), output=None)


def test_a_completion_is_returned(in_a_copy):
    """The input's default is asked, and the answer's text comes back as the row's own."""
    workflow = tn.Workflow.load("sample_workflows/return_completion.yaml")
    with fault_server(chat(content="Paris.")) as server:
        out = on_a_server(workflow, server.url).run(progress=False)
    (request,) = server.requests
    assert orjson.loads(request.body)["messages"] == [{"role": "user", "content": workflow.inputs["prompt"].default}]
    assert list(out["answer"].result["text"]) == ["Paris."]
    assert list(out.table["answer"]) == list(out.table["completion"]) == ["Paris."]


def test_another_prompt_may_be_given(in_a_copy):
    """As an input of the run."""
    workflow = tn.Workflow.load("sample_workflows/return_completion.yaml")
    with fault_server(chat(content="Rome.")) as server:
        on_a_server(workflow, server.url).run(inputs={"prompt": "And of Italy?"}, progress=False)
    assert orjson.loads(server.requests[0].body)["messages"][0]["content"] == "And of Italy?"


def respond(exchange: Exchange) -> None:
    """Call the function that is asked for, with arguments by what the review says."""
    body = orjson.loads(exchange.received.body)
    urgent = "money back" in body["messages"][-1]["content"]
    arguments = {"response_urgency": "reply_now" if urgent else "reply_later", "response_text": f"Thanks, {len(body)}"}
    call = {"name": body["function_call"]["name"], "arguments": orjson.dumps(arguments).decode()}
    chat(function_call=call)(exchange)


def test_later_nodes_read_the_arguments_of_a_function_call(in_a_copy):
    """The functions are sent as the API wants them; each argument is read, parsed, for its own row."""
    workflow = tn.Workflow.load("sample_workflows/review_reply.yaml")
    with fault_server(respond) as server:
        out = on_a_server(workflow, server.url).run(progress=False)
    body = orjson.loads(server.requests[0].body)
    (function,) = body["functions"]
    assert body["function_call"] == {"name": "respond_to_review"}
    assert function["parameters"]["required"] == ["response_urgency", "response_text"]
    assert function["parameters"]["properties"]["response_urgency"]["enum"] == ["reply_now", "reply_later"]
    rows = len(out["prioritize"].configuration)
    assert list(out["urgency"].result["text"]) == ["reply_now"] + ["reply_later"] * (rows - 1)
    assert out["reply"].result["text"][0] == f"[reply_now] Thanks, {len(body)}"
    assert out["reply"].summary.ok == rows


def test_tools_work_as_functions_do(in_a_copy):
    """The same parameters as a tool, and its arguments read from tool_calls."""
    workflow = tn.Workflow.load("sample_workflows/review_reply.yaml")
    first = workflow._steps[0][1]
    asking = first.replace(functions=None, function_call=None, tools=first.functions, tool_choice=first.function_call)
    said = "outputs.prioritize.choices[0].message.tool_calls[0].function.arguments"
    workflow = workflow.replace(
        nodes={"prioritize": asking, "urgency": tn.Return(text=f"{{{{ {said}.response_urgency }}}}")}
    )
    call = {"id": "1", "type": "function", "function": {"name": "x", "arguments": '{"response_urgency": "reply_now"}'}}
    with fault_server(chat(tool_calls=[call])) as server:
        out = on_a_server(workflow, server.url).run(progress=False)
    body = orjson.loads(server.requests[0].body)
    assert body["tools"][0]["function"]["parameters"]["required"] == ["response_urgency", "response_text"]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "respond_to_review"}}
    assert set(out["urgency"].result["text"]) == {"reply_now"}


@pytest.mark.parametrize("name", ["return_completion", "review_reply"])
def test_the_samples_pass_their_check(name, in_a_copy):
    """Nothing is installed or sent for that."""
    code, printed = run_command("check", f"sample_workflows/{name}.yaml")
    assert code == 0
    assert "cannot" not in printed


@pytest.mark.model
@pytest.mark.timeout(300)
def test_a_completion_is_returned_by_the_embedded_model(sample):
    """Without a table: one row, printed."""
    (row,) = csv.DictReader(io.StringIO(sample("return_completion").printed))
    assert row["answer"]
    assert row["answer"] == row["completion"]


@pytest.mark.model
@pytest.mark.timeout(300)
def test_every_review_is_replied_to_by_the_embedded_model(sample):
    """Each row has an urgency of the two that there are, and a text; a complaint and a praise are told apart."""
    assert told_apart(sample("review_reply").folder / "review_reply.csv", ["Ana", "Ben"]) == 2


@pytest.mark.slow
@pytest.mark.model
def test_most_complaints_and_praises_are_told_apart(in_a_copy):
    """Of the first four customers."""
    table = in_a_copy / "sample_workflows" / "data" / "customer_reviews.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:5]))
    assert run_command("run", "sample_workflows/review_reply.yaml", "--no-progress")[0] == 0
    assert told_apart("review_reply.csv", ["Ana", "Ben", "Chidi", "Dora"]) >= 3


def told_apart(path, customers):
    written = tn.read_table(path)
    assert list(written["customer"]) == customers
    assert written["reply"].str.match(r"\[reply_(now|later)\] .").all()
    complains = written["customer"].isin(["Ana", "Chidi"])
    return (written["reply"].str.startswith("[reply_now]") == complains).sum()
