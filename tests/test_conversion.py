"""Flows of an orchestrator as workflows: the published ones run, and what is not carried over is said."""

from __future__ import annotations

import json

import orjson
import pytest
from sentences import wording
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.cli import main

PROMPT = """\
id: openai
namespace: company.team

inputs:
  - id: prompt
    type: STRING
    defaults: What is data orchestration?

tasks:
  - id: completion
    type: io.kestra.plugin.openai.ChatCompletion
    apiKey: "yourOpenAIapiKey"
    model: gpt-4o
    prompt: "{{ inputs.prompt }}"

  - id: response
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.completion.choices[0].message.content }}"
"""
REVIEW = """\
id: openai
namespace: company.team

inputs:
  - id: prompt
    type: STRING
    defaults: I love your product and would purchase it again!

tasks:
  - id: prioritize_response
    type: io.kestra.plugin.openai.ChatCompletion
    apiKey: "yourOpenAIapiKey"
    model: gpt-4o
    messages:
      - role: user
        content: "{{ inputs.prompt }}"
    functions:
      - name: respond_to_review
        description: Given the customer product review provided as input,
          determines how urgently a reply is required and then provides suggested response text.
        parameters:
          - name: response_urgency
            type: string
            description: How urgently this customer review needs a reply. Bad reviews
                         must be addressed immediately before anyone sees them. Good reviews can
                         wait until later.
            required: true
            enumValues:
              - reply_immediately
              - reply_later
          - name: response_text
            type: string
            description: The text to post online in response to this review.
            required: true

  - id: response_urgency
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs.prioritize_response.choices[0].message.function_call.arguments.response_urgency }}"

  - id: response_text
    type: io.kestra.core.tasks.debugs.Return
    format: "{{outputs.prioritize_response.choices[0].message.function_call.arguments.response_text}}"
"""
ODD = """\
id: my-flow
triggers: [{id: daily, type: io.kestra.plugin.core.trigger.Schedule}]
inputs:
  - {id: the-word, type: STRING}
  - {id: n, type: INT, defaults: 2}
  - {id: file, type: FILE, required: false}
  - {id: 2nd, type: STRING, defaults: x, required: false}
tasks:
  - id: ask-it
    type: io.kestra.plugin.openai.ChatCompletion
    apiKey: "{{ secret('MY_KEY') }}"
    model: gpt-4o
    maxTokens: "{{ inputs.n }}"
    topP: 0.5
    clientTimeout: 20
    retry: {type: constant}
    prompt: "{{ inputs['the-word'] }} {{ inputs.n }}"
  - id: ask-it-2
    type: io.kestra.plugin.openai.ChatCompletion
    apiKey: "{{ secret('ANOTHER_KEY') }}"
    model: gpt-4o
    messages: [{role: user, content: "{{ inputs['the-word'] }} {{ inputs.2nd }}"}]
  - {id: log, type: io.kestra.plugin.core.log.Log, message: hello}
  - id: first
    type: io.kestra.plugin.core.debug.Return
    format: "{{ outputs['ask-it'].choices[0].message.content | upper }} {{ outputs.ask-it-2.id }}"
  - {id: last, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.first.value | slugify }}"}
"""

WHOLE = """\
id: whole
variables: {tone: kind, topic: {name: tea}, ask: "About {{ inputs.prompt }}: {{ vars.topic.name }}", unread: x}
pluginDefaults:
  - {type: io.kestra.plugin.openai, values: {apiKey: "{{ secret('KEY') }}", model: gpt-4o, clientTimeout: 20}}
  - {type: io.kestra.plugin.openai.ChatCompletion, forced: true, values: {temperature: 0}}
inputs:
  - {id: prompt, type: STRING, defaults: I love it}
  - {id: tone, type: STRING, required: false}
  - {id: loud, type: BOOLEAN, defaults: true}
  - {id: key, type: SECRET}
  - {id: words, type: JSON, defaults: "[1, 2]"}
tasks:
  - id: both
    type: io.kestra.plugin.core.flow.Parallel
    concurrent: 2
    tasks:
      - {id: sorted, type: io.kestra.plugin.openai.ChatCompletion, prompt: "{{ render(vars.ask) }}", temperature: 1}
      - id: named
        type: io.kestra.plugin.openai.ChatCompletion
        messages: [{role: system, content: "{{ vars.tone }} ?? {{ inputs.tone ?? vars.tone ?? 'a ?? b' | upper }}"}]
        prompt: "{{ vars.topic.name }}"
        jsonResponseSchema: '{"type": "object"}'
  - id: check
    type: io.kestra.plugin.core.flow.If
    condition: "{{ outputs.sorted.choices[0].message.content == 'x' }}"
    runIf: "{{ inputs.loud }}"
    then: [{id: outputs, type: io.kestra.plugin.core.log.Log, message: ["a", "{{ outputs.named.model }}"]}]
    else:
      - {id: other, type: io.kestra.plugin.openai.ChatCompletion, prompt: "{{ inputs.prompt }}"}
      - {id: both, type: io.kestra.plugin.core.flow.Switch, value: "{{ inputs.prompt }}", cases: {I love it: [
          {id: loved, type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.other.model ?? inputs.prompt }}"}
        ]}, defaults: [{id: unloved, type: io.kestra.plugin.core.debug.Return, format: no}]}
  - {type: io.kestra.plugin.core.debug.Return, format: "{{ outputs.outputs.value ?? 'nobody said it' }}"}
"""
UNKNOWN = """\
id: unknown
tasks:
  - id: each
    type: io.kestra.plugin.core.flow.ForEach
    values: [a, b]
    tasks:
      - {id: ask, type: io.kestra.plugin.openai.ChatCompletion, model: m, prompt: "{{ taskrun.value }} {{ vars.x }}"}
      - {id: ask, type: io.kestra.plugin.openai.ChatCompletion, model: m, prompt: "{{ outputs.ask[taskrun.value].id }}"}
  - {id: file, type: io.kestra.plugin.core.debug.Return, format: "{{ read('x.txt') }} {% if a %}", runIf: "{{ a }} b"}
  - {id: off, type: io.kestra.plugin.openai.ChatCompletion, disabled: true}
  - {id: bare}
  - {type: x.Y}
  - {id: until, type: io.kestra.plugin.core.flow.LoopUntil, tasks: [
      {id: answered, type: io.kestra.plugin.openai.Responses, input: x}]}
"""


def react(exchange):
    """Call the function where there is one, else answer with what was said."""
    body = orjson.loads(exchange.received.body)
    called = {"response_urgency": "reply_later", "response_text": "Thank you!"}
    message = {"content": body["messages"][-1]["content"]}
    if "functions" in body:
        call = {"name": body["functions"][0]["name"], "arguments": json.dumps(called)}
        message = {"content": None, "function_call": call}
    answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})(exchange)


def run(*arguments):
    """Return what a command ends with."""
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return ended.value.code or 0


def convert(folder, text, capsys):
    """Return the converted file's path and what was said."""
    (folder / "kestra.yaml").write_text(text)
    assert run("convert", folder / "kestra.yaml", "-o", folder / "flow.yaml", "--replace") == 0
    return folder / "flow.yaml", capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROMPT, {"response": "What is data orchestration?"}),
        (REVIEW, {"response_urgency": "reply_later", "response_text": "Thank you!"}),
    ],
)
def test_the_published_flows_run_as_they_are(tmp_path, monkeypatch, capsys, text, expected):
    """But for the key, which is never in a file; the results are in the table."""
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    path, said = convert(tmp_path, text, capsys)
    wording(said)
    assert "yourOpenAIapiKey" not in path.read_text()
    with fault_server(react) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        table = tn.Workflow.load(path).run(progress=False).table
    assert {name: table[name][0] for name in expected} == expected


def test_what_is_not_carried_over_is_said(tmp_path, capsys):
    """Each thing once; names that are no names here are written otherwise wherever they are read."""
    path, said = convert(tmp_path, ODD, capsys)
    wording(said)
    wording(path.read_text())


def test_a_task_waits_as_long_as_in_its_flow(tmp_path, capsys):
    """Ten seconds where that does not say how long."""
    path, said = convert(tmp_path, ODD.replace(" | slugify", ""), capsys)
    nodes = [node for _, node in tn.Workflow.load(path)._steps if isinstance(node, tn.CreateChatCompletion)]
    assert [node.client_timeout for node in nodes] == [20, 10]
    assert said.count("10 s") == 1


def test_a_whole_flow_is_carried_over(tmp_path, monkeypatch, capsys):
    """What is within others, under which conditions; defaults of types, variables, what takes the place of a null."""
    path, said = convert(tmp_path, WHOLE, capsys)
    wording(said)
    wording(path.read_text())
    monkeypatch.setenv("KEY", "a-key")
    with fault_server(react) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        table = tn.Workflow.load(path).run(progress=False).table
        sent = [orjson.loads(each.body) for each in server.requests]
    assert [each["messages"][-1]["content"] for each in sent] == ["About I love it: tea", "tea", "I love it"]
    assert sent[1]["messages"][0]["content"] == "kind ?? KIND"
    assert sent[1]["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert {each["temperature"] for each in sent} == {0}
    assert table[["loved", "unloved", "outputs_2", "return"]].fillna("").values.tolist() == [
        ["I love it", "", "", "nobody said it"]
    ]


def test_what_is_not_known_here_is_named(tmp_path, capsys):
    """Placeholders and tasks, each once and with its task; what is within an unknown task is looked at."""
    path, said = convert(tmp_path, UNKNOWN, capsys)
    wording(said)
    wording(path.read_text())


def test_a_flow_that_asks_no_model_is_not_converted(tmp_path, capsys):
    """Nothing is written; what was found in place of it is said."""
    (tmp_path / "x.yaml").write_text("tasks: [{id: a, type: io.kestra.plugin.openai.Responses}]\n")
    assert run("convert", tmp_path / "x.yaml", "-o", tmp_path / "y.yaml") == 1
    assert not (tmp_path / "y.yaml").exists()
    wording(capsys.readouterr().err)


@pytest.mark.parametrize("text", ["nodes: []\n", "id: x\n"])
def test_what_is_no_flow_is_refused(tmp_path, capsys, text):
    """In one line; a workflow is one already."""
    (tmp_path / "x.yaml").write_text(text)
    assert run("convert", tmp_path / "x.yaml") == 1
    wording(capsys.readouterr().err)


def test_a_flow_is_no_workflow(tmp_path):
    """Where one is read as such, the way to convert it is said, and nothing else."""
    (tmp_path / "kestra.yaml").write_text(ODD)
    with wording.raises(tn.errors.WorkflowError) as caught:
        tn.Workflow.load(tmp_path / "kestra.yaml")
    assert not getattr(caught.value, "__notes__", ())


def test_no_file_is_lost_by_converting(tmp_path, capsys):
    """Neither the flow nor a workflow that was changed since; what would be the same is written again."""
    flow, made = tmp_path / "kestra.yaml", tmp_path / "flow.yaml"
    flow.write_text(PROMPT)
    (tmp_path / "linked.yaml").symlink_to(flow)
    for output in (flow, tmp_path / "linked.yaml"):
        assert run("convert", flow, "-o", output, "--replace") == 1
        assert flow.read_text() == PROMPT
    assert [run("convert", flow, "-o", made) for _ in range(2)] == [0, 0]
    text = made.read_text()
    made.write_text(f"{text}# mine\n")
    capsys.readouterr()
    assert run("convert", flow, "-o", made) == 1
    assert made.read_text() == f"{text}# mine\n"
    wording.line(capsys.readouterr().err.splitlines()[-1])
    assert run("convert", flow, "-o", made, "--replace") == 0
    assert made.read_text() == text


def test_a_dash_is_the_standard_output(tmp_path, monkeypatch, capsys):
    """As it is for tables; no file has that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kestra.yaml").write_text(PROMPT)
    assert run("convert", "kestra.yaml", "-o", "-") == 0
    assert (capsys.readouterr().out[:10], [each.name for each in tmp_path.iterdir()]) == ("id: openai", ["kestra.yaml"])
