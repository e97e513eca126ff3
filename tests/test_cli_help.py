"""Help is short and complete, its examples work, and a shell completes what can be written."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import orjson
import pandas as pd
import pytest
from servers import answer, fault_server

from tablenodes.cli.application import application, model
from tablenodes.cli.examples import EXAMPLES

FLOW = """\
table: reviews.csv
nodes: [{id: ask, type: CreateChatCompletion, model: m, prompt: "{{ review }}"}]
output: flow.csv
"""
KESTRA = """\
id: flow
tasks:
  - {id: ask, type: io.kestra.plugin.openai.ChatCompletion, model: m, prompt: hello}
"""
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
STARTED = {"submit", "retrieve", "worker", "store", "install", "status", "remove"}
"""What starts processes, or depends on what is on a machine: their examples are only read."""
LINES = [(name, line.replace("\\\n", " ")) for name, lines in EXAMPLES.items() for line in lines]


def commands():
    found = {name: application.get_command(None, name) for name in application.list_commands(None)}
    return {name: each for name, each in found.items() if not isinstance(each, click.Group)} | {
        name: model.get_command(None, name) for name in model.list_commands(None)
    }


def arguments_of(line):
    """Return the arguments of the one command of ours that a line of a shell has."""
    words = shlex.split(line.replace("$(", " ( ").replace(')"', ' ) "'), comments=False)
    words = (
        words[words.index("tablenodes") + 1 :]
        if "tablenodes" in words
        else shlex.split(line.partition("tablenodes ")[2].rstrip(')"'))
    )
    ends = [words.index(each) for each in ("|", ">", ")") if each in words]
    return words[: min(ends, default=None)]


def test_every_command_has_two_examples_in_its_help(command, monkeypatch):
    """Each as it is typed, and no wider than a screen."""
    monkeypatch.setenv("COLUMNS", "80")
    assert EXAMPLES.keys() == commands().keys()
    for name in commands():
        within = ["model"] if name in model.list_commands(None) else []
        code, out, _ = command(*within, name, "--help")
        shown = out.partition("\nExamples:\n")[2]
        assert (code, shown.count("tablenodes")) == (0, 2 + (shown.count("/tablenodes.fish")))
    assert [line for each in EXAMPLES.values() for text in each for line in text.splitlines() if len(line) > 78] == []


@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{name}: {line}" for name, line in LINES])
def test_every_example_can_be_read(name, line):
    """By its own command, with every option that it has."""
    arguments = arguments_of(line)
    own = model if arguments[0] == "model" else application
    arguments = arguments[1:] if own is model else arguments
    assert arguments[0] == name
    own.get_command(None, name).make_context(name, arguments[1:])


def shout(exchange):
    """Answer with what fits every example's question."""
    asked = orjson.loads(exchange.received.body)
    text = '{"stars": 5}' if "response_format" in asked else "short"
    message = {"role": "assistant", "content": text}
    answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE})(exchange)


def test_the_examples_that_send_or_show_something_do(command, tmp_path, monkeypatch):
    """Over a table such as they name, one after the other, as a reader tries them."""
    monkeypatch.chdir(tmp_path)
    reviews = {"review": ["good", "bad"] * 60, "lang": ["de", "en"] * 60}
    pd.DataFrame(reviews).to_csv("reviews.csv", index=False)
    for name, text in {"flow.yaml": FLOW, "kestra.yaml": KESTRA, "prompt.txt": "Read: {{ review }}\n"}.items():
        Path(name).write_text(text)
    with fault_server(shout) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
        Path("prices.json").write_text('{"m": {"input": 1, "output": 1}}')
        for name, line in sorted(LINES, key=lambda each: each[0] == "journal"):
            if name in STARTED:
                continue
            more = ["--prices", "prices.json"] if "--max-cost" in line else []  # this server has no prices of its own
            code, _, err = command(*arguments_of(line), *more)
            assert (code, "error" in err) == (0, False), (line, err)
    assert len(pd.read_csv("out.csv")) == len(pd.read_csv("flow.csv")) == 120
    assert len(pd.read_csv("a.csv")) == 20


@pytest.fixture
def completed(command, monkeypatch):
    """Returns what a shell is told of a line whose last word has just begun."""
    monkeypatch.setenv("_TABLENODES_COMPLETE", "bash_complete")

    def told(*words):
        monkeypatch.setenv("COMP_WORDS", " ".join(("tablenodes", *words)))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        return command()[1].split()

    return told


def test_a_shell_completes_commands_nodes_settings_kinds_words_and_files(completed):
    """By what stands before; a setting of the very node."""
    assert completed("ca") == ["plain,call"]
    assert completed("call", "CreateCompl") == ["plain,CreateCompletion", "plain,CreateCompletionAsync"]
    assert completed("call", "CreateCompletion", "t.csv", "--set", "suf") == ["plain,suffix="]
    assert completed("call", "CreateCompletion", "t.csv", "--retry-unu") == ["plain,--retry-unusable"]
    assert completed("call", "CreateCompletion", "t.csv", "--retry-failed", "no") == ["plain,none"]
    assert completed("call", "CreateChatCompletion", "t.csv", "--answer", "fl") == ["plain,float"]
    assert completed("schema", "create_chat") == ["plain,create_chat_completion"]
    assert completed("run", "w") == ["file,w"]
    assert completed("nodes", "App") == ["plain,AppendReply"]
    assert completed("sample", "support") == ["plain,support_chat"]
    assert completed("sample", "support_chat", "--to", "w") == ["dir,w"]
    assert completed("model", "in") == ["plain,install"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed(command, shell):
    """And asks this command."""
    code, out, err = command("completion", shell)
    assert (code, err) == (0, "")
    assert f"_TABLENODES_COMPLETE={shell}_complete" in out
    assert command("completion", "tcsh")[0] == 2
