"""What a placeholder reads of an earlier answer is looked up before anything is sent."""

from __future__ import annotations

from pathlib import Path

import jinja2
import jsonschema_rs
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording
from servers import answer, completion, fault_server

import tablenodes as tn
from tablenodes import schemas
from tablenodes.errors import UsageError, WorkflowError
from tablenodes.schemas.subschemas import applied, properties
from tablenodes.templates.template import Template
from tablenodes.templates.template_ways import paths

PARAMETERS = [
    {"name": "urgency", "type": "string", "enumValues": ["now", "later"]},
    {"name": "parts", "type": "array"},
]
CALLING = tn.CreateChatCompletion(model="m", prompt="x", functions=[{"name": "f", "parameters": PARAMETERS}])
ASK = tn.CreateChatCompletion(model="m", prompt="x")
NOWHERE = tn.Connection("http://127.0.0.1:1/v1")
MESSAGE = "outputs.ask.choices[0].message"


def reading(expression, first=ASK):
    """Make a workflow whose second node reads something of the first."""
    return tn.Workflow({"ask": first, "later": tn.Return(text=f"{{{{ {expression} }}}}")})


# --- which ways a text goes down -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ outputs.a.choices[0].x }}", [("a", "choices", 0, "x")]),
        ("{{ outputs['a']['b c'][-1] }}", [("a", "b c", -1)]),
        ("{{ outputs.a.b.0 }}", [("a", "b", 0)]),
        ("{{ outputs.a.b[word].c }}", [("a", "b")]),
        ("{{ outputs.a.b[1:2].c }}", [("a", "b")]),
        ("{{ outputs[word].c }}", [()]),
        ("{{ outputs }}", [()]),
        ("{{ outputs.a.get('x') }}", [("a",)]),
        ("{{ outputs.a.get('x').y }}", [("a",)]),
        ("{{ outputs.a.x | first }} {{ (outputs.b.y | first).z }}", [("a", "x"), ("b", "y")]),
        ("{{ outputs.a[outputs.b.c].d if outputs.e else row['outputs'] }}", [("a",), ("b", "c"), ("e",)]),
        ("{{ outputs.a.x ~ outputs.a.x }}", [("a", "x")]),
        ("{{ (outputs.a.x | fromjson).y[0].z }} {{ (outputs.b | fromjson)['y'] }}", [("a", "x"), ("b",)]),
    ],
)
def test_a_way_is_followed_as_far_as_it_is_known(text, expected):
    """What is worked out in the row, a filter and a call end it."""
    assert sorted(Template(text, "p").reached["outputs"]) == sorted(expected)


def test_only_names_that_are_used_are_followed():
    """A text without outputs and inputs costs nothing."""
    assert Template("{{ word }} outputs.a", "p").reached == {}
    assert Template("{{ inputs.a }}", "p").reached == {"inputs": (("a",),)}


STEPS = st.lists(st.sampled_from(["choices", "message", "x y", "0"]) | st.integers(-2, 3), max_size=5)


@given(STEPS)
def test_any_way_of_constants_is_read_as_it_is_written(steps):
    """As items, and in whatever stands around them."""
    written = "".join(f"[{step!r}]" for step in steps)
    assert Template(f"a {{{{ outputs{written} | default('x') }}}}", "p").reached["outputs"] == (tuple(steps),)


def test_a_method_of_the_name_itself_is_no_step():
    """``outputs.get(…)`` may mean any node."""
    assert paths(jinja2.Environment(autoescape=True).parse("{{ outputs.get('a').b }}"), "outputs") == ((),)


# --- what cannot be there --------------------------------------------------------------------------------------------

WRONG = [
    f"{MESSAGE.replace('message', 'mesage')}.content",
    f"{MESSAGE}.contents",
    f"{MESSAGE}['Content']",
    "outputs.ask.choises",
    "outputs.ask.choices.message",
    "outputs.ask.usage[0]",
    "outputs.ask.usage.total_token",
    "outputs.ask.id.x",
    f"{MESSAGE}.tool_calls[0].functions.name",
    f"{MESSAGE}.tool_calls.function",
    f"({MESSAGE}.contnt | default('-')) ~ word",
    f"word[{MESSAGE}.contnt]",
]


@pytest.mark.parametrize("expression", WRONG)
def test_what_no_answer_has_is_refused_when_the_workflow_is_made(expression):
    """With the nearest name, before there is a table."""
    with pytest.raises(WorkflowError) as caught:
        reading(expression)
    wording(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        f"{MESSAGE}.content",
        f"{MESSAGE}.content.upper()",
        f"{MESSAGE}.content[0]",
        f"{MESSAGE}.tool_calls",
        f"{MESSAGE}.function_call",
        f"{MESSAGE}.reasoning_content",
        "outputs.ask.choices[0].native_finish_reason",
        "outputs.ask.choices[-1].finish_reason",
        "outputs.ask.choices[0].logprobs.content[0].top_logprobs[1].token",
        "outputs.ask.choices | length",
        "outputs.ask.choices[0:1]",
        "outputs.ask.get('choises')",
        "outputs.ask[word]",
        "outputs.ask.id",
        "outputs.ask.model",
        "outputs.ask.object",
        "outputs.ask.usage.completion_tokens_details.reasoning_tokens",
        "outputs.ask.metadata.anything",
        "outputs.ask.moderation.input.results[0].categories.anything",
        "outputs.ask",
    ],
)
def test_what_an_answer_may_have_is_read(expression):
    """All that the API describes, what well-known servers add, and what is not known before the row."""
    workflow = reading(expression)
    found = workflow.check(pd.DataFrame({"word": ["a"]}), connection=NOWHERE)
    assert found["later"].valid == 1


@pytest.mark.parametrize("name", ["zodiac", "weather", "citation"])
def test_what_neither_the_api_nor_a_known_server_has_is_warned_of(name):
    """A server may add it; get is looked for at the run."""
    workflow = reading(f"outputs.ask.choices[0].{name}.sign")
    warnings = workflow.check(pd.DataFrame({"word": ["a"]}), connection=NOWHERE)["later"].warnings
    wording([each for each in warnings if name in each])
    reading(f"outputs.ask.choices[0].get('{name}')")


def test_what_only_one_server_adds_is_read_with_get():
    """At the run, where it is there."""
    odd = {**orjson.loads(completion(b"x")), "zodiac": "leo"}
    with fault_server(answer(odd)) as server:
        workflow = reading("outputs.ask.get('zodiac')")
        out = workflow.run(pd.DataFrame({"word": ["a"]}), connection=tn.Connection(server.url), progress=False)
    assert list(out["later"].table["text"]) == ["leo"]


def test_a_completions_answer_has_its_own_shape():
    """A text in place of a message."""
    first = tn.CreateCompletion(model="m", prompt="x")
    reading("outputs.ask.choices[0].text", first)
    reading("outputs.ask.choices[0].zodiac", first)
    with wording.raises(WorkflowError):
        reading("outputs.ask.choices[0].texts", first)


COMPLETE = tn.CreateCompletion(model="m", prompt="x")
CHAT_TEXT, TEXT = "outputs.ask.choices[0].message.content", "outputs.ask.choices[0].text"


@pytest.mark.parametrize(
    ("expression", "node"),
    [
        ("outputs.ask.text", ASK),
        ("outputs.ask.content", ASK),
        ("outputs.ask.message.content", ASK),
        ("outputs.ask.choices[0].text", ASK),
        ("outputs.ask.choices[0].message.text", ASK),
        ("outputs.ask.text", tn.RetrieveResponse()),
        ("outputs.ask.text", COMPLETE),
        ("outputs.ask.choices[0].message.content", COMPLETE),
    ],
)
def test_who_looks_for_the_text_is_told_where_it_is(expression, node):
    """A chat's or a completion's."""
    with pytest.raises(WorkflowError) as caught:
        reading(expression, node)
    wording(caught.value)


# --- how many choices there are --------------------------------------------------------------------------------------

LATER = tn.CreateChatCompletionAsync(model="m", prompt="x", columns=())
TOLD = ASK.replace(columns=())
PROMPTS = tn.CreateCompletion(model="m", columns=(), prompt=["x", "y"])


@pytest.mark.parametrize(
    ("index", "node"),
    [
        (1, TOLD),
        (-2, TOLD),
        (3, TOLD.replace(n=3)),
        (2, TOLD.replace(n="2")),
        (2, TOLD.replace(extra_body={"n": 2})),
        (1, TOLD.replace(extra_body={"n": None})),
        (1, PROMPTS.replace(prompt="{{ word }}")),
        (4, PROMPTS.replace(n=2)),
        (2, PROMPTS.replace(prompt=["x", "{{ word }}"])),
    ],
)
def test_a_choice_that_is_not_asked_for_is_refused(index, node):
    """The answers would be paid for, and each row would fail then."""
    with pytest.raises(WorkflowError) as caught:
        reading(f"outputs.ask.choices[{index}].finish_reason", node)
    wording(caught.value)
    reading(f"outputs.ask.choices[{index - 1 if index > 0 else index + 1}].finish_reason", node)


def test_choices_that_are_retrieved_are_those_that_were_asked_for():
    """By the node that submitted them."""
    nodes = {"ids": LATER, "ask": tn.RetrieveResponse()}
    tn.Workflow({**nodes, "later": tn.Return(text="{{ outputs.ask.choices[0].index }}")})
    with wording.raises(WorkflowError):
        tn.Workflow({**nodes, "later": tn.Return(text="{{ outputs.ask.choices[1].index }}")})


@pytest.mark.parametrize(
    "node",
    [
        TOLD.replace(n=tn.col("word")),
        TOLD.replace(n="{{ word }}"),
        TOLD.replace(n="two"),
        ASK.replace(columns=["n"]),
        ASK,
        PROMPTS.replace(prompt=tn.col("word")),
        PROMPTS.replace(prompt=None, columns=["prompt"]),
        tn.RetrieveResponse(),
    ],
)
def test_where_the_number_of_choices_is_not_known_any_may_be_there(node):
    """A cell may say it, or a whole request in the column body."""
    reading("outputs.ask.choices[7].finish_reason", node)


def test_without_a_column_that_may_say_it_the_number_of_choices_is_known():
    """A column called n is taken only where it is named."""
    with wording.raises(WorkflowError):
        reading("outputs.ask.choices[1].index").check(pd.DataFrame({"n": ["2"]}), connection=NOWHERE)
    reading("outputs.ask.choices[1].index").check(pd.DataFrame({"body": ["{}"]}), connection=NOWHERE)


def test_a_choice_that_is_not_asked_for_is_said_with_its_line(file):
    """By the check and by the run."""
    file.write_text(FILE.replace("choices[0].mesage", "choices[1].message"))
    wording(errors_of(file))


def test_what_a_table_node_makes_is_all_that_it_has():
    """Its columns."""
    nodes = {"ask": tn.Return(text="x")}
    tn.Workflow({**nodes, "later": tn.Return(text="{{ outputs.ask.text }}")})
    with wording.raises(WorkflowError):
        tn.Workflow({**nodes, "later": tn.Return(text="{{ outputs.ask.choices[0] }}")})


# --- below the arguments of functions --------------------------------------------------------------------------------

ARGUMENTS = f"{MESSAGE}.function_call.arguments"


FUNCTION = {"name": "f", "parameters": PARAMETERS}
TOOL_ARGUMENTS = f"{MESSAGE}.tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    ("said", "node"), [(ARGUMENTS, CALLING), (TOOL_ARGUMENTS, ASK.replace(tools=[FUNCTION]))], ids=["function", "tool"]
)
def test_arguments_are_those_of_the_nodes_functions(said, node):
    """Where these are the same in every row."""
    reading(f"{said}.urgency", node)
    reading(f"{said}.parts[0].anything", node)
    with wording.raises(WorkflowError):
        reading(f"{said}.urgncy", node)
    with wording.raises(WorkflowError):
        reading(f"{said}.zodiac", node)
    with wording.raises(WorkflowError):
        reading(f"{said}.urgency.x", node)


def test_the_arguments_of_several_functions_are_put_together_and_tools_have_their_own():
    """Any of the functions may be called; a tool is called in another place."""
    other = {"name": "g", "parameters": [{"name": "colour", "type": "string"}]}
    reading(f"{ARGUMENTS}.urgency ~ {ARGUMENTS}.colour", ASK.replace(functions=[FUNCTION, other]))
    node = CALLING.replace(tools=[other])
    reading(f"{ARGUMENTS}.urgency ~ {TOOL_ARGUMENTS}.colour", node)
    with wording.raises(WorkflowError):
        reading(f"{TOOL_ARGUMENTS}.urgency", node)


CALLED_IN_VAIN = {
    "neither": (ASK, ARGUMENTS),
    "tools alone": (ASK.replace(tools=[FUNCTION]), ARGUMENTS),
    "functions alone": (CALLING, TOOL_ARGUMENTS),
    "an empty list": (ASK.replace(functions=[]), ARGUMENTS),
}


@pytest.mark.parametrize("case", CALLED_IN_VAIN)
def test_a_call_of_what_a_node_does_not_have_is_refused(case):
    """When the table is known: a column may list what the node does not; and at once where no column is taken."""
    node, said = CALLED_IN_VAIN[case]
    if case != "an empty list":
        workflow = reading(f"{said}.a", node)
        with pytest.raises(WorkflowError) as caught:
            workflow.check(pd.DataFrame({"word": ["a"]}), connection=NOWHERE)
        wording(caught.value)
    with pytest.raises(WorkflowError) as caught:
        reading(f"{said}.a", node.replace(columns=()))
    wording(caught.value)


@pytest.mark.parametrize("column", ["functions", "body"])
def test_a_column_may_list_what_the_node_does_not(column):
    """By its name, or as a whole body."""
    cell = [FUNCTION] if column == "functions" else '{"model": "m"}'
    found = reading(f"{ARGUMENTS}.a").check(pd.DataFrame({column: [cell]}), connection=NOWHERE)
    assert found["later"].valid == 1
    reading(f"{ARGUMENTS}.a", ASK.replace(columns=(column,)))


def test_a_node_may_be_called_as_a_call_is():
    """Its id is no step of an answer."""
    later = tn.Return(text="{{ outputs.function_call.choices[0].message.content }}")
    made = tn.Workflow({"function_call": ASK.replace(columns=()), "later": later})
    assert made.check(pd.DataFrame({"x": [1]}), connection=NOWHERE)["later"].valid == 1
    wrong = tn.Return(text="{{ outputs.function_call.choices[0].mesage.content }}")
    with wording.raises(tn.errors.WorkflowError):
        tn.Workflow({"function_call": ASK.replace(columns=()), "later": wrong})


def test_what_the_extra_body_lists_is_listed():
    """It goes before everything."""
    tools = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    with pytest.raises(tn.errors.WorkflowError):
        reading(f"{TOOL_ARGUMENTS}.anything", ASK.replace(columns=()))
    found = reading(f"{TOOL_ARGUMENTS}.anything", ASK.replace(columns=(), extra_body=tools))
    assert found.check(pd.DataFrame({"x": [1]}), connection=NOWHERE)["later"].valid == 1


@pytest.mark.parametrize(
    "node",
    [
        ASK,
        ASK.replace(functions=tn.col("f")),
        ASK.replace(tools=tn.col("t")),
        ASK.replace(functions=[{"name": "f"}]),
        ASK.replace(functions=[{"name": "f", "parameters": {"type": "object"}}]),
        ASK.replace(functions=[{"name": "f", "parameters": [{"name": "p", "type": "wrong"}]}]),
        ASK.replace(functions=["f"]),
        ASK.replace(tools=[{"type": "custom", "custom": {"name": "f"}}]),
        ASK.replace(functions=[{"name": "f", "parameters": {"type": "object", "properties": {"a": True}}}]),
    ],
)
def test_where_the_parameters_are_not_known_anything_may_be_there(node):
    """From a column (perhaps), without properties, or wrong themselves, which is said elsewhere."""
    for said in (ARGUMENTS, TOOL_ARGUMENTS):
        made = reading(f"{said}.{'a.b' if 'True' in repr(node) else 'anything'}", node)
        assert [name for name, _ in made._steps][-1] == "later"


# --- answers that come later ----------------------------------------------------------------------------------------

LATER = tn.CreateChatCompletionAsync(model="m", prompt="x", columns=())


def retrieving(expression, *, submit=LATER, get=None, between=()):
    """Make a workflow that reads something of what it has retrieved."""
    nodes = {"submit": submit, **dict(between), "ask": get or tn.RetrieveResponse()}
    return tn.Workflow({**nodes, "later": tn.Return(text=f"{{{{ {expression} }}}}")})


BY_ID = tn.RetrieveResponse(future_response_id="{{ outputs.submit.future_response_id }}")


@pytest.mark.parametrize("get", [None, BY_ID, tn.RetrieveResponse(future_response_id=tn.col("future_response_id"))])
def test_what_is_retrieved_has_the_shape_of_what_was_submitted(get):
    """By the column that the node makes, or by a reference to it."""
    retrieving(f"{MESSAGE}.content", get=get)
    with wording.raises(WorkflowError):
        retrieving("outputs.ask.choices[0].mesage.content", get=get)
    with wording.raises(WorkflowError):
        retrieving("outputs.ask.choices[0].text", get=get)
    with wording.raises(WorkflowError):
        retrieving(f"{ARGUMENTS}.a", get=get)


def test_the_latest_ids_are_those_that_are_retrieved():
    """A completion's answer has a text; where the earlier node is named, it is the earlier one's."""
    between = {"second": tn.CreateCompletionAsync(model="m", prompt="x"), "first": BY_ID}
    retrieving("outputs.ask.choices[0].text", between=between)
    retrieving(f"{MESSAGE}.content", between=between, get=BY_ID)
    with wording.raises(WorkflowError):
        retrieving(f"{MESSAGE}.content", between=between)


@pytest.mark.parametrize("get", [tn.RetrieveResponse(), tn.RetrieveResponse(future_response_id="{{ word }}")])
def test_answers_to_who_knows_what_are_a_chats_or_a_completions(get):
    """Where the ids come from the table."""
    for path in (f"{MESSAGE}.content", "outputs.ask.choices[0].text", f"{ARGUMENTS}.a", "outputs.ask.usage"):
        reading(path, get)
    with wording.raises(WorkflowError):
        reading("outputs.ask.choices[0].mesage.content", get)


# --- in a file -------------------------------------------------------------------------------------------------------

FILE = """\
table: words.csv
inputs: {word: x}
nodes:
  - id: ask
    type: CreateChatCompletion
    model: m
    prompt: "{{ word }}"
  - id: later
    type: CreateChatCompletion
    model: m
    messages:
      - role: user
        content: "{{ outputs.ask.choices[0].mesage.content }}"
"""


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Stand in a folder with a table and a workflow."""
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("word\na\nb\n")
    Path("w.yaml").write_text(FILE)
    return Path("w.yaml")


def errors_of(file):
    with pytest.raises(UsageError) as caught:
        tn.Workflow.load(file).check(connection=NOWHERE)
    return [str(caught.value), *getattr(caught.value, "__notes__", ())]


def test_a_wrong_path_is_said_with_its_file_and_line(file):
    """When it is loaded."""
    with pytest.raises(WorkflowError) as caught:
        tn.Workflow.load(file)
    wording(caught.value)


def test_all_that_is_wrong_with_a_file_is_said(file):
    """One line each, the others as notes; a node that is wrong does not hide the next one."""
    file.write_text(
        FILE.replace("{word: x}", "{word: {type: txt}, n: {type: integer, defualt: 3}}")
        + "    maxTokens: 5\n    topP: 1\n  - id: third\n    type: CreateChatCompletion\n"
        + '    prompt: "{{ outputs.fourth.x }} {{ inputs.wrd }}"\n  - {id: fourth, type: Retrun}\noutput: {pth: x}\n'
    )
    wording(errors_of(file))


TYPES = "string, number, integer, boolean, array, object, null"


def test_settings_that_the_schema_refuses_are_said_once_with_their_lines(file):
    """Those of every node, and columns that are not there; not a line a row."""
    file.write_text(
        FILE.replace("mesage", "message").replace('"{{ word }}"', '"{{ wrd }}"')
        + "    temperature: 9\n    stop: [a, b, c, d, e]\n  - id: third\n    type: CreateChatCompletion\n"
        + "    prompt: x\n    functions: [{name: f, parameters: [{name: p, type: strng}]}]\n"
    )
    wording(errors_of(file)[0])
    wording(sorted(errors_of(file)[1:]))


CAMEL = {
    "topP": "top_p",
    "maxTokens": "max_tokens",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "logitBias": "logit_bias",
    "functionCall": "function_call",
    "clientTimeout": "client_timeout",
}


@pytest.mark.parametrize("name", CAMEL)
def test_a_name_in_another_spelling_is_answered_with_ours(file, name):
    """Other tools write them in camel case."""
    file.write_text(FILE.replace("mesage", "message") + f"    {name}: 1\n")
    wording(errors_of(file))


@pytest.mark.parametrize("name", ["apiKey", "api_key"])
def test_a_key_belongs_to_no_node(file, name):
    """One line says where it belongs, without it."""
    file.write_text(FILE.replace("mesage", "message") + f"    {name}: canary\n")
    (error,) = errors_of(file)
    wording(error)


def test_columns_are_a_list_of_names(file):
    """A mapping is none."""
    file.write_text(FILE.replace("mesage", "message") + "    columns: {a: 5}\n")
    wording(errors_of(file))


# --- the schemas of answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["create_chat_completion", "create_completion"])
def test_the_schemas_of_answers_are_json_schemas(operation):
    """All of them bundled, none of them an operation of its own."""
    schema = schemas.response(operation)
    jsonschema_rs.validator_for(schema.document)
    assert {"id", "object", "created", "model", "choices", "usage"} <= set(properties(schema.document))
    assert operation in schemas.operations(schemas.DEFAULT_REVISION)
    assert not any(name.endswith(".response") for name in schemas.operations(schemas.DEFAULT_REVISION))
    assert all(layer for layer in applied(schema.document, schema.document))


def test_a_real_answer_fits_the_schema():
    """What it must have aside: servers leave things out."""
    answer = orjson.loads(completion(b"x"))
    document = {**schemas.response("create_chat_completion").document, "required": []}
    document["$defs"]["choice"]["required"] = document["$defs"]["message"]["required"] = []
    assert jsonschema_rs.validator_for(document).is_valid(answer)


def test_an_operation_without_such_a_schema_may_answer_anything():
    """As those of nodes of your own."""
    assert schemas.response("create_image") is None
    assert schemas.response("") is None


@pytest.mark.parametrize("path", ["citations[1]", "search_results[2].url", "choices[0].message.annotations[3]"])
def test_only_choices_are_counted(path):
    """Other lists are as long as the server makes them."""
    ask = tn.CreateChatCompletion(model="m", prompt="p")
    workflow = tn.Workflow({"ask": ask, "later": tn.Return(text=f"{{{{ outputs.ask.{path} }}}}")})
    assert workflow.check(pd.DataFrame({"a": [1]}), connection=NOWHERE)["later"].valid == 1
