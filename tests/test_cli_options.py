"""Every setting of how rows are sent is an option of the command line and a key of a workflow's file."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import click
import pandas as pd
import pytest
from sentences import wording
from servers import echo, fault_server

import tablenodes as tn
from tablenodes.cli.application import application
from tablenodes.cli.complaints import _SENTENCES, option_for
from tablenodes.cli.run_commands import equipped
from tablenodes.run import cures
from tablenodes.settings import ranges
from tablenodes.workflow.file_schema import file_schema

COMMANDS = ("run", "call", "submit")
NUMBERS = [(kind, each.name) for kind in (tn.Limits, tn.Retry, tn.Timeout) for each in fields(kind)]
PREFIXES = {tn.Limits: "", tn.Retry: "retry_", tn.Timeout: "timeout_"}
OTHERWISE = {
    "headers": ("headers", "header_envs"),
    "local_model": ("local",),
    "timeout": tuple(f"timeout_{each.name}" for each in fields(tn.Timeout)),
}
"""How the command line calls a setting of a connection whose name it does not have."""
NEVER = {"api_key", "session"}
"""A key is never an argument, and a session is an object of Python's."""


@pytest.fixture
def command(command, tmp_path, monkeypatch):
    """Runs the command line in a folder with a table; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"word": list("abcdefgh"), "lang": ["de", "en"] * 4}).to_csv("words.csv", index=False)

    return command


def parsed(name, *arguments):
    own = application.get_command(None, name)
    values = own.make_context(name, [*arguments]).params
    return SimpleNamespace(**values)


def equipped_by(*arguments, **parts):
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    given = parsed("call", "CreateChatCompletion", "words.csv", *map(str, arguments))
    return equipped(tn.Workflow({"ask": node}, **parts), given)


def read_yaml(tmp_path, text):
    Path(tmp_path, "w.yaml").write_text(f"{text}\nnodes: [{{id: a, type: Return, text: x}}]\n")
    return tn.Workflow.load(tmp_path / "w.yaml")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_setting_of_sending_is_an_option(name):
    """So a new field of these is one, or this fails."""
    known = {each.name for each in application.get_command(None, name).params}
    numbers = {f"{PREFIXES[kind]}{field}" for kind, field in NUMBERS}
    connection = {each.name for each in fields(tn.Connection) if each.init} - NEVER
    assert numbers - known == set()
    assert {called for each in connection for called in OTHERWISE.get(each, (each,))} - known == set()


def test_every_setting_of_sending_is_a_key_of_a_workflows_file():
    """So a new field of these is one, or this fails; ``api_key`` is one to say that none is needed."""
    document = file_schema()
    parts, connection = document["properties"], document["$defs"]["connection"]["properties"]
    keys = {"local" if each.name == "local_model" else each.name for each in fields(tn.Connection) if each.init}
    assert keys - {"session", "profile"} - connection.keys() == set()  # a profile is named in place of the keys
    for part, kind in ((parts["limits"], tn.Limits), (parts["retry"], tn.Retry), (connection["timeout"], tn.Timeout)):
        assert {each.name for each in fields(kind)} == part["properties"].keys()


def a_value(kind, name):
    """Return a value that is not the default, as it is written."""
    if name not in ranges(kind):
        return False, "no", "false"
    low = ranges(kind)[name][1].low
    return type(low)(low + 3), f"{low + 3}", f"{low + 3}"


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda each: getattr(each, "__name__", each))
def test_each_number_arrives_from_the_command_line_and_from_yaml(kind, name, tmp_path):
    """As the very value that Python makes; what is not said stays as the workflow has it."""
    value, word, written = a_value(kind, name)
    made = equipped_by(f"--{PREFIXES[kind]}{name}".replace("_", "-"), word, limits=tn.Limits(token_budget=10**6))
    found = {tn.Limits: made.limits, tn.Retry: made.retry, tn.Timeout: made.connection and made.connection.timeout}
    if kind is tn.Limits:
        assert found[kind] == tn.Limits(**{"token_budget": 10**6, name: value})
    else:
        assert found[kind] == kind(**{name: value})
    place = {tn.Limits: "limits: {%s}", tn.Retry: "retry: {%s}", tn.Timeout: "connection: {timeout: {%s}}"}[kind]
    read = read_yaml(tmp_path, place % f"{name}: {written}")
    known = {tn.Limits: read.limits, tn.Retry: read.retry, tn.Timeout: read.connection and read.connection.timeout}
    assert known[kind] == kind(**{name: value})


def test_a_limit_of_the_file_is_lifted_by_a_word():
    """None where a setting may be without a number."""
    before = tn.Limits(max_requests=5, requests_per_minute=60)
    made = equipped_by("--max-requests", "none", "--stop-after-alike", "none", limits=before)
    assert made.limits == tn.Limits(requests_per_minute=60, stop_after_alike=None)


def test_each_setting_of_a_connection_arrives(tmp_path, monkeypatch):
    """From the command line and from a file, as the same connection; a header of the file makes room for another."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"ca.pem": "x", "prices.json": '{"m": {"input": 1, "output": 2.5}}'}.items():
        Path(name).write_text(text)
    monkeypatch.setenv("GATEWAY", "secret-canary-1")
    options = ["--base-url", "https://example.test/v1", "--api-key-env", "MY_KEY", "--header", "X-Team: a: b"]
    options += ["--header-env", "x-gateway=GATEWAY", "--query-param", "api-version=2024=06", "--timeout", "7"]
    options += ["--proxy", "http://127.0.0.1:9", "--ca-bundle", "ca.pem", "--transport", "requests"]
    options += ["--api-key-header", "api-key", "--env-file", ".env"]
    made = equipped_by(*options, "--allow-insecure", "--prices", "prices.json").connection
    own = {
        "api_key_env": "MY_KEY",
        "api_key_header": "api-key",
        "env_file": ".env",
        "query": {"api-version": "2024=06"},
        "timeout": tn.Timeout(total=7),
        "proxy": "http://127.0.0.1:9",
        "ca_bundle": "ca.pem",
        "transport": "requests",
        "allow_insecure": True,
        "prices": {"m": {"input": 1, "output": 2.5}},
    }
    assert made.headers["x-gateway"] == "${GATEWAY}"
    assert "canary" not in repr(made)
    assert made == tn.Connection("https://example.test/v1", headers=made.headers, **own)
    assert {each.name for each in fields(made) if each.init} == {
        "base_url",
        "headers",
        *own,
        *NEVER,
        "local_model",
        "profile",
    }
    text = "headers: {X-Team: x}, query: {api-version: 1}, timeout: {total: 7}, proxy: 'http://127.0.0.1:9'"
    more = "transport: requests, allow_insecure: true, ca_bundle: ca.pem, prices: {m: {input: 1, output: 2.5}}"
    more += ", api_key_header: api-key, env_file: .env"
    read = read_yaml(
        tmp_path, f"connection: {{base_url: 'https://example.test/v1', api_key_env: MY_KEY, {text}, {more}}}"
    )
    again = equipped_by("--header", "x-team: a", "--query-param", "api-version=2024=06", connection=read.connection)
    kept = own | {name: str(tmp_path / own[name]) for name in ("ca_bundle", "env_file")}
    assert again.connection == tn.Connection("https://example.test/v1", headers={"x-team": "a"}, **kept)


def test_headers_and_the_query_are_sent(command, monkeypatch):
    """The value of a variable too, which stands nowhere else."""
    monkeypatch.setenv("GATEWAY", "secret-canary-1")
    with fault_server(echo()) as server:
        options = ["--base-url", server.url, "--no-key", "--header", "X-Team: it's", "--query-param", "v=a b"]
        asked = ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "{{ word }}", *options]
        code, out, err = command(*asked, "--header-env", "api-key=GATEWAY", "--retry-max-attempts", "1")
        sent = server.requests
    assert (code, "canary" in out + err) == (0, False)
    assert {each.headers["api-key"] for each in sent} == {"secret-canary-1"}
    assert {(each.headers["x-team"], each.path.partition("?")[2]) for each in sent} == {("it's", "v=a+b")}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-requests", "-1"],
        ["--timeout", "no"],
        ["--timeout-idle", "nan"],
        ["--retry-throttled", "2.5"],
        ["--warm-up", "yes"],
        ["--transport", "culr"],
        ["--header", "X-Team"],
        ["--header", "Authorization: Bearer canary"],
        ["--header", "a: 1", "--header", "A: 2"],
        ["--header-env", "api-key"],
        ["--header-env", "api-key=NOT_THERE_CANARY_KEY"],
        ["--header", "bad name: 1"],
        ["--query-param", "v"],
        ["--query-param", "v=1", "--query-param", "v=2"],
        ["--query-param", "token=canary"],
        ["--proxy", "http://me:canary@127.0.0.1:9"],
        ["--proxy", "127.0.0.1"],
        ["--prices", "none.json"],
        ["--prices", "words.csv"],
        ["--ca-bundle", "none.pem"],
        ["--local", "--proxy", "http://127.0.0.1:9"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_one_line(command, arguments):
    """Before anything is sent, and no secret stands in it."""
    asked = ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--prompt", "{{ word }}"]
    code, out, err = command(*asked, *arguments)
    assert code in (1, 2)
    assert (out, err.count("\n"), "canary" in err) == ("", 1, False)
    wording(err)


def known(name):
    return {option for each in application.get_command(None, name).params for option in each.opts}


@pytest.mark.parametrize("name", ["call", "run", "submit", "retrieve"])
def test_every_option_that_a_cure_names_is_one_of_its_command(name):
    """That of the command that runs, or that of the command which the sentence names."""
    held = [vars(cures)[each] for each in vars(cures) if each.startswith("_") and not each.startswith("__")]
    templates = [each for each in held if isinstance(each, str)]
    templates += [text for each in held if isinstance(each, dict) for text in each.values()]
    settings = {each for text in templates for each in re.findall(r"{(\w+)}", text) if each != "key"}
    own = application.get_command(None, name)
    root = click.Context(application, info_name="tablenodes")
    with click.Context(own, parent=root, info_name=name) as context:
        context.params = {"file": "w.yaml"} if name == "run" else {}
        told = {each: option_for(each) for each in sorted(settings | {"answer_mode", "n", "prompt"})}
    assert len(told) > 10
    for each, words in told.items():
        if not words.startswith("-"):
            assert (name, words.endswith(" in w.yaml") or each == "settings") == ("run", True)
            continue
        option, _, command = words.partition(" of tablenodes ")
        assert option.partition(" ")[0] in known(command or name), words


def test_every_option_in_a_sentence_is_one_of_a_command_that_sends():
    """Whichever of them says it."""
    options = {each for text in _SENTENCES.values() for each in re.findall(r"--[a-z][a-z-]*", text)}
    assert len(options) > 10
    assert options <= known("call") | known("store") | {"--query"}
