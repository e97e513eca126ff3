"""What a check of a workflow finds, and where it says that it stands."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from sentences import wording
from servers import echo, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import TableError, UsageError, WorkflowError

NODES = 'nodes:\n  - id: show\n    type: Return\n    text: "{{ word }}"\n'
NOWHERE = tn.Connection("http://127.0.0.1:1/v1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Stand in a folder with a table."""
    monkeypatch.chdir(tmp_path)
    Path("words.csv").write_text("word\na\nb\n")
    return tmp_path


def refusal(text, **given):
    """Return what a check and a run refuse a file with, which is the same."""
    Path("w.yaml").write_text(text)
    said = []
    for does in (tn.Workflow.check, tn.Workflow.run):
        with pytest.raises(UsageError) as caught:
            does(tn.Workflow.load("w.yaml"), connection=NOWHERE, **given)
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


# --- the output ------------------------------------------------------------------------------------------------------


def test_an_output_of_an_unknown_kind_is_refused_by_the_check(folder):
    """As by the run, with its line."""
    said = refusal(f"table: words.csv\n{NODES}output: x.xyz\n")
    wording(said)


def test_an_output_in_a_folder_that_is_not_there_is_refused_by_the_check(folder):
    """The line is that of the path, where it has one of its own."""
    said = refusal(f"table: words.csv\n{NODES}output:\n  raw: true\n  path: nodir/x.csv\n")
    wording(said)


def test_the_table_is_no_output(folder):
    """It is never written over."""
    wording(refusal(f"table: words.csv\n{NODES}output: words.csv\n"))


def test_an_output_of_the_command_line_has_no_line(folder, capsys):
    """It is in no file."""
    Path("w.yaml").write_text(f"table: words.csv\n{NODES}output: x.csv\n")
    with pytest.raises(SystemExit):
        main(["run", "w.yaml", "--output", "x.xyz"])
    wording.line(capsys.readouterr().err)
    with wording.raises(TableError):
        tn.Workflow({"show": tn.Return(text="x")}, output="x.xyz").check()


# --- inputs and tables -----------------------------------------------------------------------------------------------


def test_an_input_that_is_missing_is_said_with_the_line_of_its_declaration(folder):
    """Or with that of the first, where there are several."""
    inputs = "inputs:\n  tone: kind\n  count:\n    type: integer\n"
    wording(refusal(f"table: words.csv\n{inputs}{NODES}"))
    said = refusal(f"table: words.csv\n{inputs}  size: {{type: integer}}\n{NODES}")
    wording(said)


def test_an_input_of_another_type_is_said_with_the_line_of_its_declaration(folder):
    """What was given is not shown."""
    text = f"table: words.csv\ninputs:\n  tone: kind\n  count: 3\n{NODES}"
    said = refusal(text, inputs={"count": "canary"})
    wording(said)
    wording(refusal(text, inputs={"tone": b"canary"}))


def test_a_default_of_another_type_is_said_with_its_own_line(folder):
    """Not with that of the name."""
    inputs = "inputs:\n  count:\n    type: integer\n    default: canary\n"
    with wording.raises(WorkflowError):
        refusal_at_load(f"table: words.csv\n{inputs}{NODES}")


def refusal_at_load(text):
    """Read a file."""
    Path("w.yaml").write_text(text)
    tn.Workflow.load("w.yaml")


@pytest.mark.parametrize("table", ["", "table:\n", "id: x\ntable: null\n"])
def test_a_table_that_is_missing_is_said_with_a_line(folder, table):
    """That of the empty table, or of the node that reads it."""
    said = refusal(table + NODES)
    wording(said)


@pytest.mark.parametrize(
    ("written", "meant"), [("output.a.text", "outputs"), ("input.tone", "inputs"), ("output['a'].text", "outputs")]
)
def test_a_name_that_is_nearly_one_of_workflows_is_told_it(folder, written, meant):
    """With a table and without; a column may be called so, and is where nothing is looked up below it."""
    name = written[: len(meant) - 1]
    nodes = f'inputs: {{tone: kind}}\nnodes:\n  - {{id: show, type: Return, text: "{{{{ a }}}} {{{{ {written} }}}}"}}\n'
    said = refusal(nodes)
    wording(said)
    wording(refusal(nodes, table=pd.DataFrame({"a": [1]})))
    bare = refusal(nodes.replace(written, name), table=pd.DataFrame({"a": [1]}))
    wording(bare)


def warnings_of(text):
    """Return what the check warns of, with file and line, as the command line says it."""
    Path("w.yaml").write_text(text)
    workflow = tn.Workflow.load("w.yaml")
    found = workflow.check(pd.DataFrame({"word": ["a"]}), connection=NOWHERE)
    return [
        f"{workflow._place_of(i, said.place)}{said}" for i, each in enumerate(found.values()) for said in each.warnings
    ]


def test_an_input_that_no_node_reads_is_a_warning(folder):
    """With the line of its declaration; where a name is worked out, it may be any."""
    inputs = "inputs:\n  tone: kind\n  count: 3\n"
    node = NODES.replace("word }}", "inputs.tone }}")
    wording(warnings_of(inputs + node))
    assert warnings_of(inputs + NODES.replace("word", "inputs[word]")) == []
    assert warnings_of(inputs + NODES.replace("word", "inputs")) == []
    assert main_says("check", "w.yaml") == 0


def main_says(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return ended.value.code


def test_an_input_that_is_required_and_has_a_default_is_a_warning(folder):
    """The default is its value where a run gives none."""
    inputs = "inputs:\n  tone: {default: kind, required: %s}\n"
    node = NODES.replace("word }}", "inputs.tone }}")
    wording(warnings_of(inputs % "true" + node))
    assert warnings_of(inputs % "false" + node) == []
    assert tn.Workflow.load("w.yaml").run(progress=False)["show"].table["text"].tolist() == ["kind"]


@pytest.mark.parametrize("inputs", ["[tone]", "[{id: tone, type: STRING}]", "tone"])
def test_inputs_that_are_no_mapping_are_said_once(folder, inputs):
    """Nobody is told to declare what is there."""
    with wording.raises(WorkflowError) as caught:
        refusal_at_load(f"inputs: {inputs}\n{NODES.replace('word', 'inputs.tone')}")
    assert not hasattr(caught.value, "__notes__")


def test_a_tables_file_that_is_not_there_is_said_with_its_line(folder):
    """Not where another is given to the run."""
    text = f"id: x\ntable: wrds.csv\n{NODES}"
    assert refusal(text).startswith("w.yaml:2: table ")
    wording(refusal(text))
    wording(refusal(text, table="nope.csv"))


# --- conversations ---------------------------------------------------------------------------------------------------

ASK = tn.CreateChatCompletion(model="m")


@pytest.mark.parametrize("begin", [tn.CreateConversation(), tn.CreateConversation(messages=[])])
def test_a_conversation_in_which_nothing_is_said_is_refused(begin):
    """No row could be sent: a chat needs a message."""
    for node in (ASK, ASK.replace(conversation=tn.col("conversation"))):
        with pytest.raises(WorkflowError) as caught:
            tn.Workflow({"begin": begin, "ask": node}).check(pd.DataFrame({"word": ["a"]}), connection=NOWHERE)
        wording(caught.value)


@pytest.mark.parametrize(
    "nodes",
    [
        {"begin": tn.CreateConversation(system="x"), "ask": ASK},
        {"begin": tn.CreateConversation(messages=tn.col("m")), "ask": ASK},
        {"begin": tn.CreateConversation(), "add": tn.AddUserMessage(text="x"), "ask": ASK},
        {"begin": tn.CreateConversation(), "ask": ASK.replace(prompt="x", columns=())},
        {"begin": tn.CreateConversation(), "ask": ASK.replace(messages=[{"role": "user", "content": "x"}])},
        {"begin": tn.CreateConversation(), "again": tn.CreateConversation(system="x"), "ask": ASK},
    ],
)
def test_a_conversation_in_which_something_may_be_said_is_not(nodes):
    """Now or later, or where the chat does not read it."""
    found = tn.Workflow(nodes).check(pd.DataFrame({"m": [[{"role": "user", "content": "x"}]]}), connection=NOWHERE)
    assert found["ask"].valid == 1


# --- the journal -----------------------------------------------------------------------------------------------------


def test_a_new_journal_has_nothing_to_reuse(tmp_path, capsys):
    """What an earlier node of the same run has put there is not spoken of; in the next run it is."""
    ask = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    workflow = tn.Workflow({"first": ask, "second": ask.replace(prompt="Again: {{ word }}")})
    with fault_server(echo()) as server:
        for reused in (0, 2):
            workflow.run(
                pd.DataFrame({"word": ["a", "b"]}),
                connection=tn.Connection(server.url),
                journal=tmp_path / "j.journal",
                progress=True,
            )
            said = [line for line in capsys.readouterr().err.splitlines() if "from the journal, sending" in line]
            assert [line.partition(": ")[2] for line in said] == [
                f"{name}: {reused} of 2 rows reused from the journal, sending 0"
                for name in ("first", "second")
                if reused
            ]


def test_no_prompt_is_shown_of_a_conversation_that_does_not_exist_yet():
    """The node's own is; what an earlier node makes has no text before it ran."""
    ask = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    turn = tn.AddUserMessage(text="{{ word }}")
    nodes = {"first": ask, "begin": tn.CreateConversation(), "turn": turn, "second": tn.CreateChatCompletion(model="m")}
    found = tn.Workflow(nodes).check(pd.DataFrame({"word": ["a long word"]}))
    assert [each.text for each in found["first"].prompts] == ["a long word"]
    assert found["second"].prompts == ()
