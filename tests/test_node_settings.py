"""A node's settings are given by their names, and a slip in one is said in a line."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re

import orjson
import pandas as pd
import pytest
from sentences import wording

import tablenodes as tn
from tablenodes import schemas
from tablenodes.errors import SettingError, SettingNameError
from tablenodes.nodes import known_nodes, reference
from tablenodes.nodes.node import METHODS, Declaration, own_names, setting_names, setting_of
from tablenodes.nodes.request_node import RequestNode
from tablenodes.run.check import refuse_invalid
from tablenodes.run.rows import PlanInputs

KINDS = sorted(known_nodes().values(), key=lambda kind: kind.__name__)
NODE = tn.CreateChatCompletion(model="m", prompt="p", extra_body={"top_k": 5})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_setting_of_no_node_is_said_with_the_nearest_name(kind):
    """Of all nodes alike."""
    name = setting_names(kind)[0]
    with pytest.raises(SettingNameError, match=rf"'{name}x'.*'{name}'"):
        kind(**{f"{name}x": "v"})


def test_a_wrong_name_is_an_error_of_both_kinds():
    """Whoever catches Python's own still does."""
    with pytest.raises(SettingError):
        tn.CreateChatCompletion(promt="x")
    with pytest.raises(TypeError):
        tn.CreateChatCompletion(promt="x")
    with pytest.raises(SettingNameError):
        NODE.replace(promt="x")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_setting_without_a_name_is_told_to_have_one(kind):
    """Settings have no order that anyone could know."""
    with pytest.raises(SettingNameError) as caught:
        kind("PATIENT-4711")
    assert setting_names(kind)[0] in str(caught.value)


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, dataclasses.replace, lambda node: pickle.loads(pickle.dumps(node))],
    ids=["copy", "deepcopy", "replace", "pickle"],
)
def test_a_node_is_copied_as_any_value_is(again):
    """With all that was set."""
    assert again(NODE) == NODE


def test_an_editor_completes_the_settings():
    """Their names are those of the call."""
    assert tuple(inspect.signature(tn.CreateChatCompletion).parameters) == tuple(
        field.name for field in dataclasses.fields(tn.CreateChatCompletion)
    )


def test_a_node_may_have_a_constructor_of_its_own():
    """A user's, which makes the settings of something else."""

    class Summary(tn.CreateChatCompletion):
        def __init__(self, topic):
            super().__init__(model="m", prompt=f"Sum up what is said about {topic}")

    assert Summary("tea").prompt == "Sum up what is said about tea"
    assert Summary(topic="tea") == Summary("tea")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_user_completes_settings_and_what_can_be_done(kind):
    """And nothing else: what a node is for the package has an underscore."""
    shown = {name for name in dir(kind) if not name.startswith("_")}
    asks = {"estimate", "parse", "run_batches", "mapper"} if issubclass(kind, RequestNode) else set()
    asks |= {"run_batches"} if kind is tn.RetrieveResponse else set()
    assert shown == {*setting_names(kind), "run", "check", "replace", *asks}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_docstring_describes_every_setting(kind):
    """In the words of the class, else in those of the schema; made when it is read."""
    described = {setting.name: setting.text for setting in reference.described(kind)}
    assert list(described) == list(setting_names(kind))
    assert all(described.values())
    parameters = inspect.getdoc(kind).partition("Parameters\n----------\n")[2]
    assert re.findall(r"^(\w+)(?: : .*)?$", parameters, re.MULTILINE) == list(setting_names(kind))


SENDING = [kind for kind in KINDS if kind._declared.operation]


@pytest.mark.parametrize("kind", SENDING, ids=lambda kind: kind.__name__)
def test_every_property_of_the_schema_is_a_setting(kind):
    """And what is no property is the node's own, or makes messages."""
    schema = schemas.load(schemas.DEFAULT_REVISION, kind._declared.operation)
    settings = {setting_of(kind, name) for name in schema.properties}
    made = {"image"} if kind._declared.form.images is not None else set()
    shortcuts = {"prompt", "system", "conversation"} if kind._declared.shortcuts else {*kind._declared.form.aliases}
    assert set(setting_names(kind)) == settings | shortcuts | made | {*own_names(kind)}
    assert not {*setting_names(kind)} & {*METHODS}


@pytest.mark.parametrize("kind", SENDING, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", [*METHODS, "columns", "schema", "extra_body", "client_timeout"])
def test_a_property_named_like_a_method_or_an_own_setting_has_an_underscore(kind, name):
    """Its setting alone: in the body, and as a column, it has the API's name."""
    made_up = {"type": "object", "properties": {"model": {"type": "string"}, name: {"type": "integer"}}}
    setting = setting_of(kind, name)
    assert setting == f"{name}_"
    odd = dataclasses.make_dataclass(
        "Odd", [(setting, object, dataclasses.field(default=None))], bases=(kind,), frozen=True, kw_only=True
    )
    try:
        node = odd(model="m", schema=made_up, **{setting: tn.col("n")})
        body = orjson.loads(node._plan(["n"], PlanInputs()).encode((7,)))
        assert {name: body[name] for name in body if name != "store"} == {"model": "m", name: 7}
        node = odd(model="m", schema=made_up, columns=[name])
        assert orjson.loads(node._plan([name], PlanInputs()).encode((7,))) == body
        assert getattr(node.replace(**{setting: 8}), setting) == 8
    finally:
        odd._declared = Declaration()  # it is no node that can be found


def _node(**settings):
    return tn.CreateChatCompletion(model="m", prompt="p", **settings)


def _flow(folder, text):
    path = folder / "w.yaml"
    path.write_text(text)
    return tn.Workflow.load(path)


_X, _SAY = pd.DataFrame({"x": [1]}), "- {id: say, type: Return, text: '{{ %s }}'}\n"
FLOW = "nodes:\n- {id: a, type: CreateChatCompletion, model: m, prompt: p%s}\n"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        (lambda folder: tn.ChatCompletion, "'CreateChatCompletion'"),
        (
            lambda folder: _flow(folder, FLOW.replace("CreateChat", "io.kestra.plugin.openai.Chat") % ""),
            "'CreateChatCompletion'",
        ),
        (lambda folder: _node(topK=5), 'extra_body={"top_k": 5}'),
        (lambda folder: _flow(folder, FLOW % ", top_k: 5"), "extra_body: {top_k: 5}"),
        (lambda folder: _node(apiKey="sk-x"), "Connection(api_key_env=…)"),
        (lambda folder: _flow(folder, FLOW % ", apiKey: sk-x"), "api_key_env under connection"),
        (lambda folder: _flow(folder, "api_key: sk-x\n" + FLOW % ""), "api_key_env under connection"),
        (lambda folder: _node(base_url="https://x.example"), "Connection(base_url=…)"),
        (lambda folder: _node(max_new_tokens=5), "'max_tokens'"),
        (lambda folder: _node(maxTokens=5), "'max_tokens'"),
        (lambda folder: _flow(folder, "inputs: {x: {type: FLOAT}}\n" + FLOW % ""), "'number'"),
        (
            lambda folder: _node(functions=[{"name": "f", "parameters": [{"name": "p", "type": "FLOAT"}]}]).check(
                pd.DataFrame({"x": [1]})
            ),
            "'number'",
        ),
        (lambda folder: _flow(folder, FLOW % ", maxRetries: 5"), "write retry: beside nodes:"),
        (lambda folder: _flow(folder, FLOW % ", rate_limit: 5"), "write limits: beside nodes:"),
        (lambda folder: _flow(folder, FLOW % ", runIf: x"), "write when:"),
        (lambda folder: _flow(folder, FLOW % ", dependsOn: [x]"), "in their order"),
        (lambda folder: _flow(folder, FLOW % ", foreach: x"), "for each row"),
        (lambda folder: _node(retries=3), "retry=Retry(…)"),
        (lambda folder: _flow(folder, FLOW % "" + _SAY % "ask.outcome").check(_X), "no column or earlier node 'ask'"),
        (lambda folder: _flow(folder, FLOW % "" + _SAY % "a.outcome"), "write outputs.a.outcome"),
        (lambda folder: _flow(folder, FLOW % "" + _SAY % "tasks.a.value").check(_X), "{{ outputs.ID }}"),
        (lambda folder: _flow(folder, FLOW.replace(": p", ": '{{ taskrun.id }}'") % "").check(_X), "{{ inputs.NAME }}"),
    ],
)
def test_a_misspelt_or_foreign_name_is_answered_with_what_to_write(tmp_path, written, hint):
    """At each door, in its own words."""
    with wording.raises((tn.errors.UsageError, AttributeError)) as raised:
        written(tmp_path)
    assert hint in str(raised.value)


def test_an_unknown_key_shows_the_three_nearest_and_not_all(tmp_path):
    """Of few there are all."""
    with wording.raises(tn.errors.WorkflowError):
        _flow(tmp_path, FLOW % ", qqqqq: 5")
    with wording.raises(tn.errors.WorkflowError):
        _flow(tmp_path, "qqqqq: 5\n" + FLOW % "")


@pytest.mark.parametrize(
    "given",
    [
        *({"base_url": "{{ url }}"}, {"base_url": tn.col("url")}, {"api_key_env": "{{ name }}"}),
        *({"headers": {"X-Team": "{{ team }}"}}, {"timeout": "{{ t }}"}),
    ],
    ids=str,
)
def test_what_is_the_same_for_every_row_says_so(given):
    """A connection has no placeholders; nor have a node's time-out and its column's name."""
    with wording.raises(tn.errors.ConnectionSettingError):
        tn.Connection(**given)


def test_a_time_out_and_a_name_of_a_column_have_no_placeholders():
    """What they say is about the whole run."""
    for setting in ({"client_timeout": "{{ t }}"}, {"into": "{{ t }}"}, {"extra_body": tn.col("t")}):
        with wording.raises(SettingError):
            _node(**setting)


def test_a_retrieval_sends_no_rows():
    """A check says how many can be used."""
    found = tn.RetrieveResponse().check(pd.DataFrame({"future_response_id": ["x", "y"]}))
    wording.line(found, "of 2 rows")
    with wording.raises(tn.errors.InvalidRequests):
        refuse_invalid(found)


# --- What a call is given that it has no name for --------------------------------------------------------------------

LATER, TABLE = tn.CreateChatCompletionAsync(model="m", prompt="x"), pd.DataFrame({"x": ["a"]})
MISFITS = {
    "a node's run": lambda: NODE.run(TABLE, jornal="x"),
    "another node's option": lambda: NODE.run(TABLE, submission="x"),
    "a setting": lambda: NODE.run(TABLE, model="x"),
    "a part of the connection": lambda: NODE.run(TABLE, base_url="x"),
    "retries": lambda: NODE.run(TABLE, retries=3),
    "a later node's run": lambda: LATER.run(TABLE, submision="x"),
    "a later node's journal": lambda: LATER.run(TABLE, journal="x"),
    "a check": lambda: NODE.check(TABLE, conection="x"),
    "an estimate": lambda: NODE.estimate(TABLE, sampel=1),
    "no table": lambda: NODE.run(),
    "too many": lambda: NODE.check(TABLE, None, "store"),
    "a table node": lambda: tn.AppendReply().run(TABLE, continue_form="x"),
    "ids": lambda: tn.RetrieveResponse().run(TABLE, wiat=1),
    "a workflow": lambda: tn.Workflow({"a": NODE}, inpts={}),
    "a workflow's run": lambda: tn.Workflow({"a": NODE}).run(TABLE, conection="x"),
    "a workflow's check": lambda: tn.Workflow({"a": NODE}).check(TABLE, tabel="x"),
    "a workflow's estimate": lambda: tn.Workflow({"a": NODE}).estimate(TABLE, jornal="x"),
    "limits": lambda: tn.Limits(concurency=1),
    "retry": lambda: tn.Retry(max_atempts=1),
    "timeout": lambda: tn.Timeout(conect=1),
    "connection": lambda: tn.Connection("http://x.invalid/v1", api_kye="sk-nobodys-key"),
    "step": lambda: tn.Step(NODE, wen="x"),
}


@pytest.mark.parametrize("call", MISFITS.values(), ids=MISFITS)
def test_an_argument_that_a_call_has_no_name_for_is_answered_in_one_line(call):
    """With the name that the user knows and the nearest one; it is a TypeError too."""
    with pytest.raises(TypeError) as caught:
        call()
    assert isinstance(caught.value, tn.errors.SettingNameError)
    wording(caught.value)


def test_what_explains_its_arguments_keeps_its_signature():
    """For help and for editors; a TypeError from within is what it was."""
    assert [*inspect.signature(NODE.run).parameters][:3] == ["table", "connection", "limits"]
    assert [*inspect.signature(tn.Limits).parameters][:2] == ["concurrency", "requests_per_minute"]
    assert tn.Workflow.run.__doc__.startswith("Run every node")

    class Odd(tn.Return):
        def run(self, table):
            return None + table

    with pytest.raises(TypeError, match="unsupported operand") as caught:
        Odd(text="x").run("a")
    assert type(caught.value) is TypeError
