"""Connections that have a name: built in, in the user's file, in the project's."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from background import ending, nobody_at_work
from sentences import wording
from servers import answer, echo, fault_server

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.connection.connection import default_connection
from tablenodes.connection.environment import surrounding
from tablenodes.connection.probe import probe
from tablenodes.connection.profile_register import known_profiles, user_file
from tablenodes.connection.vendors import LOOKED_UP, built_in
from tablenodes.errors import ConnectionSettingError, UsageError, WorkflowError
from tablenodes.settings import beneath

CANARY = "sk-canary0123456789abcdef"
CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
WORDS = pd.DataFrame({"word": ["a", "b"]})
USER = {"role": "user", "content": "Hello!"}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
BEARER = {"Authorization": "Bearer ${key}", "Content-Type": "application/json"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """The current folder, with no file of profiles in it, and none of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in [each for each in os.environ if each.endswith("_API_KEY") or each.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    return tmp_path


def write(text, path="tablenodes.yaml"):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


def write_own(text):
    write(text, user_file())


def sent_to(server):
    return [(each.path, each.headers.get("authorization"), each.headers.get("api-key")) for each in server.requests]


def command(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err


# --- what is built in ------------------------------------------------------------------------------------------------

DOCUMENTED = {
    "openai": (
        "https://platform.openai.com/docs/api-reference/chat/create",
        "https://api.openai.com/v1/chat/completions",
        BEARER | {"Authorization": "Bearer $OPENAI_API_KEY"},
        {"model": "gpt-5.4", "messages": [{"role": "developer", "content": SYSTEM["content"]}, USER]},
    ),
    "azure": (
        "https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
        "https://YOUR-RESOURCE-NAME.openai.azure.com/openai/v1/chat/completions",
        JSON | {"api-key": "$AZURE_OPENAI_API_KEY"},
        {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "This is a test"}]},
    ),
    "ollama": (
        "https://docs.ollama.com/api/openai-compatibility",
        "http://localhost:11434/v1/chat/completions",
        JSON,
        {"model": "gpt-oss:20b", "messages": [{"role": "user", "content": "Say this is a test"}]},
    ),
    "vllm": (
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        "http://localhost:8000/v1/chat/completions",
        JSON,
        {"model": "NousResearch/Meta-Llama-3-8B-Instruct", "messages": [USER]},
    ),
    "lmstudio": (
        "https://lmstudio.ai/docs/developer/openai-compat",
        "http://localhost:1234/v1/chat/completions",
        JSON,
        {
            "model": "use the model identifier from LM Studio here",
            "messages": [{"role": "user", "content": "Say this is a test!"}],
            "temperature": 0.7,
        },
    ),
    "llamacpp": (
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        "http://localhost:8080/v1/chat/completions",
        JSON,  # the page also writes "Bearer no-key", which such a server does not look at
        {
            "model": "gpt-3.5-turbo",
            "messages": [{"role": "user", "content": "Write a limerick about python exceptions"}],
        },
    ),
    "openrouter": (
        "https://openrouter.ai/docs/quickstart",
        "https://openrouter.ai/api/v1/chat/completions",
        BEARER | {"Authorization": "Bearer $OPENROUTER_API_KEY"},
        {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "What is the meaning of life?"}]},
    ),
    "groq": (
        "https://console.groq.com/docs/openai",
        "https://api.groq.com/openai/v1/chat/completions",
        BEARER | {"Authorization": "Bearer $GROQ_API_KEY"},
        {"model": "llama-3.3-70b-versatile", "messages": [USER]},
    ),
    "mistral": (
        "https://docs.mistral.ai/getting-started/quickstart/",
        "https://api.mistral.ai/v1/chat/completions",
        BEARER | {"Authorization": "Bearer $MISTRAL_API_KEY"},
        {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Hello, Mistral!"}]},
    ),
    "deepseek": (
        "https://api-docs.deepseek.com/",
        "https://api.deepseek.com/chat/completions",
        BEARER | {"Authorization": "Bearer $DEEPSEEK_API_KEY"},
        {
            "model": "deepseek-v4-pro",
            "messages": [SYSTEM, USER],
            "reasoning_effort": "high",
            "stream": False,
            "thinking": {"type": "enabled"},
        },
    ),
    "together": (
        "https://docs.together.ai/docs/inference/openai-compatibility",
        "https://api.together.ai/v1/chat/completions",
        BEARER | {"Authorization": "Bearer $TOGETHER_API_KEY"},
        {"model": "openai/gpt-oss-20b", "messages": [USER]},
    ),
    "gemini": (
        "https://ai.google.dev/gemini-api/docs/openai",
        "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
        BEARER | {"Authorization": "Bearer $GEMINI_API_KEY"},
        {"model": "gemini-2.0-flash", "messages": [{"role": "user", "content": "Explain to me how AI works"}]},
    ),
}
"""By profile: the vendor's page, and the address, headers and body of the request that it shows, read in 2026-11.

Where a page shows OpenAI's own client (groq, ollama, together, vllm), it is what that sends.
"""


@pytest.mark.parametrize("name", DOCUMENTED)
def test_a_profile_makes_the_request_that_the_vendors_page_shows(name, monkeypatch):
    """As curl, to be pasted: address, headers and body, the key as its variable; it need not be set for that."""
    page, url, headers, body = DOCUMENTED[name]
    if name == "azure":
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://YOUR-RESOURCE-NAME.openai.azure.com/")
    more = {key: value for key, value in body.items() if key == "thinking"}
    node = tn.CreateChatCompletion(**{key: body[key] for key in body.keys() - more.keys()}, extra_body=more)
    words = shlex.split(node.check(WORDS, name).curl(0).replace("\\\n", ""))
    made = [each.split(": ", 1) for flag, each in pairwise(words) if flag == "-H"]
    assert words[2] == url
    assert {key: value for key, value in made if key != "User-Agent"} == headers
    assert json.loads(words[words.index("--data-raw") + 1]) == body
    assert (built_in()[name].page, LOOKED_UP[:7]) == (page, "2026-11")


def test_every_built_in_profile_is_documented():
    """By its vendor, and on our page."""
    assert set(built_in()) == set(DOCUMENTED)
    ours = (Path(__file__).parents[1] / "docs" / "servers.md").read_text()
    for name, profile in built_in().items():
        key = profile.settings.get("api_key_env")
        begin = f"| `{name}` | `{profile.settings['base_url']}` | {f'`{key}`' if key else 'none'}"
        assert [line.endswith(f"({profile.page}) |") for line in ours.splitlines() if line.startswith(begin)] == [True]
    assert LOOKED_UP in ours


@pytest.mark.parametrize("endpoint", ["", "/", "/openai/v1", "/openai/v1/"])
def test_azure_is_reached_by_its_endpoint_however_it_is_written(endpoint, monkeypatch):
    """With the key in the header that it wants, and nowhere else."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", CANARY)
    with fault_server(echo()) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1") + endpoint)
        out = CHAT.run(WORDS, "azure", progress=False)
    assert list(out.log["outcome"]) == ["ok", "ok"]
    assert sent_to(server) == [("/openai/v1/chat/completions", None, CANARY)] * 2
    assert CANARY not in repr(tn.Connection.from_profile("azure"))


def test_what_is_not_set_is_named(monkeypatch):
    """A check warns of it; a run is refused before anything is sent."""
    warned = CHAT.check(WORDS, "azure").warnings
    wording(warned[-1])
    with wording.raises(ConnectionSettingError) as caught:
        CHAT.run(WORDS, "azure", progress=False)
    assert caught.value.code == "variable_unset"
    with pytest.raises(ConnectionSettingError) as caught:
        CHAT.run(WORDS, tn.Connection("https://${canary_perhaps_a_key}/v1"), progress=False)
    assert "canary" not in str(caught.value)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "not an address")
    with wording.raises(ConnectionSettingError):
        CHAT.run(WORDS, "azure", progress=False)


@pytest.mark.parametrize("name", ["azur", "gpt", CANARY, "two words", ""])
def test_another_name_is_refused_with_the_nearest(name):
    """What looks like a key is not shown."""
    with wording.raises(UsageError) as caught:
        CHAT.run(WORDS, name, progress=False)
    assert (caught.value.code, caught.value.place) == ("no_profile", "connection")
    assert "canary" not in str(caught.value)


# --- files -----------------------------------------------------------------------------------------------------------


def test_the_projects_file_goes_before_the_users_and_both_before_what_is_built_in(monkeypatch):
    """One with an address stands alone; one without adds to the one beneath it."""
    write_own(
        "groq: {model: of-user, limits: {concurrency: 3, requests_per_minute: 60}}\nmine: {base_url: http://a.de}"
    )
    write("groq: {model: of-project, limits: {concurrency: 5}}\nopenai: {base_url: 'http://127.0.0.1:9/v1'}")
    known = known_profiles(tn.Connection)
    groq = known["groq"]
    assert groq.settings == {"base_url": "https://api.groq.com/openai/v1", "api_key_env": "GROQ_API_KEY"}
    assert (groq.model, groq.limits) == ("of-project", tn.Limits(concurrency=5, requests_per_minute=60))
    assert known["openai"].settings == {"base_url": "http://127.0.0.1:9/v1"}
    assert (known["mine"].source, groq.source) == (str(user_file()), "tablenodes.yaml")
    assert tn.Connection.from_profile("mine") == tn.Connection("http://a.de", profile=known["mine"])


def test_the_pages_own_example_can_be_read(monkeypatch):
    """And says what it says there."""
    ours = (Path(__file__).parents[1] / "docs" / "servers.md").read_text()
    examples = [each.partition("```")[0] for each in ours.split("```yaml\n")[2:]]
    examples.sort(key=lambda each: "\ngpu-box:" not in each)
    write(examples[0])
    known = known_profiles(tn.Connection)
    assert known["azure"].settings == built_in()["azure"].settings
    assert (known["azure"].model, known["gpu-box"].limits) == ("my-deployment", tn.Limits(concurrency=16))
    assert default_connection().profile == known["azure"]
    for text in examples[1:]:
        write(text)
        assert known_profiles(tn.Connection)


WRONG = {
    "key": f"a:\n  base_url: https://a.de/v1\n  api_key: {CANARY}",
    "comment": f"a: {{base_url: https://a.de/v1}}\n# export KEY={CANARY}",
    "authorization": "a:\n  base_url: https://a.de/v1\n  headers:\n    Authorization: canary",
    "bearer": "a:\n  base_url: https://a.de/v1\n  headers:\n    X-Auth: Bearer canary0123456789abcdef",
    "header": "a:\n  base_url: https://a.de/v1\n  headers: {Ocp-Apim-Subscription-Key: canary}",
    "query": "a:\n  base_url: https://a.de/v1\n  query:\n    token: canary",
    "password": "a: {base_url: 'https://me:canary@a.de/v1'}",
    "proxy": "a: {base_url: https://a.de/v1, proxy: 'http://me:canary@a.de:9'}",
    "name of the variable": "a: {base_url: https://a.de/v1, api_key_env: can-ary}",
    "apikey": "a:\n  base_url: https://a.de/v1\n  apikey: canary",
    "unknown": "a:\n  base_url: https://a.de/v1\n  modle: m",
    "limit": "a: {base_url: https://a.de/v1, limits: {concurency: 3}}",
    "range": "a:\n  base_url: https://a.de/v1\n  limits:\n    concurrency: 0",
    "no address": "azur: {model: m}",
    "no mapping": "a: https://a.de/v1",
    "twice": "a: {base_url: https://a.de/v1}\na: {base_url: https://b.de/v1}",
    "local": "local: {base_url: https://a.de/v1}",
    "variable": "a: {base_url: 'https://${A-B}.de/v1'}",
    "list": "- a",
    "empty": "# nothing",
    "default": "default: [a]",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_a_file_that_is_wrong_or_holds_a_key_is_refused_with_its_line(text):
    """And with the way; what it holds is not shown."""
    write(text)
    with wording.raises(ConnectionSettingError) as caught:
        tn.Connection.from_profile("openai")
    assert str(caught.value).startswith("tablenodes.yaml:")
    assert "canary" not in str(caught.value)


def test_a_header_and_the_query_may_come_from_variables(monkeypatch):
    """Read at each run; in a request that is shown they are masked, in curl they are variables."""
    write(
        "gate:\n  base_url: ${GATE}/v1\n  api_key_env: MY_KEY\n  query: {key: '${GATE_KEY}', v: 1}\n"
        "  headers: {X-Gate: 'Token$(id) ${GATE_KEY}', X-Team: \"it's\"}"
    )
    monkeypatch.setenv("MY_KEY", CANARY)
    with fault_server(echo()) as server:
        monkeypatch.setenv("GATE", server.url.removesuffix("/v1"))
        for key in ("canary one", "canary two"):
            monkeypatch.setenv("GATE_KEY", key)
            CHAT.run(WORDS[:1], "gate", progress=False)
        found = CHAT.check(WORDS, "gate")
    assert [each.headers["x-gate"] for each in server.requests] == ["Token$(id) canary one", "Token$(id) canary two"]
    assert server.requests[1].path == "/v1/chat/completions?key=canary+two&v=1"
    assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {CANARY}"}
    assert "canary" not in repr(found.request(0)) + found.curl(0) + repr(tn.Connection.from_profile("gate"))
    wording(found.curl(0).partition("--data-raw")[0])
    monkeypatch.setenv("GATE_KEY", "two\nlines")
    with wording.raises(ConnectionSettingError):
        CHAT.run(WORDS, "gate", progress=False)


def test_a_variable_never_travels_in_the_open():
    """What comes from one is a secret, whatever the header is called."""
    connection = tn.Connection("http://a.de/v1", "", headers={"X-Team": "${TEAM}"}, env_file="some.env")
    write("TEAM=x", "some.env")
    with pytest.raises(ConnectionSettingError) as caught:
        CHAT.run(WORDS, connection, progress=False)
    assert caught.value.code == "key_unencrypted"


def test_a_file_of_variables_is_read_where_it_is_named_and_nowhere_else(project, monkeypatch):
    """What the environment says goes before it, and nothing of it goes there."""
    write("A_KEY=canary-of-file\nB_KEY='canary # 2' # a remark\nexport C_KEY = x # y\n\n# D_KEY=x\nE_KEY=\n", ".env")
    monkeypatch.setenv("C_KEY", "of the environment")
    with fault_server(echo()) as server:
        write(f"a: {{base_url: '{server.url}', api_key_env: A_KEY, env_file: .env, headers: {{x-b: '${{B_KEY}}'}}}}")
        CHAT.run(WORDS[:1], "a", progress=False)
        with pytest.raises(ConnectionSettingError):
            CHAT.run(WORDS, tn.Connection(server.url, api_key_env="A_KEY"), progress=False)
    (request,) = server.requests
    assert (request.headers["authorization"], request.headers["x-b"]) == ("Bearer canary-of-file", "canary # 2")
    assert "A_KEY" not in os.environ
    found = surrounding(project / ".env", {"C_KEY": "of the environment"})
    kept = {"A_KEY": "canary-of-file", "B_KEY": "canary # 2", "C_KEY": "of the environment", "E_KEY": ""}
    assert {**found} == kept


@pytest.mark.parametrize("text", ["canary", "A B=canary", "A='canary", 'A="can"ary"', b"A=\xff", None])
def test_a_file_of_variables_that_cannot_be_read_is_said_without_what_it_holds(text):
    if text is not None:
        Path(".env").write_bytes(text if isinstance(text, bytes) else f"X=1\n{text}\n".encode())
    with wording.raises(ConnectionSettingError) as caught:
        CHAT.run(WORDS, tn.Connection("http://127.0.0.1:9/v1", env_file=".env"), progress=False)
    assert "canary" not in str(caught.value)


# --- what is not said ------------------------------------------------------------------------------------------------


def test_a_run_without_a_connection_says_first_where_a_profile_sends_it(monkeypatch, capsys):
    """TABLENODES_PROFILE goes before the project's default; a connection that is given goes before both."""
    with fault_server(echo()) as one, fault_server(echo()) as other:
        write(f"default: b\na: {{base_url: '{one.url}'}}\nb: {{base_url: '{other.url}'}}")
        CHAT.run(WORDS[:1], progress=True)
        assert (len(one.requests), len(other.requests)) == (0, 1)
        wording(capsys.readouterr().err.splitlines()[0])
        monkeypatch.setenv("TABLENODES_PROFILE", "a")
        tn.Workflow({"x": CHAT, "y": CHAT}).run(WORDS[:1], progress=True)
        assert (len(one.requests), len(other.requests)) == (2, 1)
        told = capsys.readouterr().err
        wording(told.splitlines()[0])
        assert told.count("sending to") == 1
        CHAT.run(WORDS[:1], tn.Connection(other.url), progress=True)
        assert "sending to" not in capsys.readouterr().err
    assert tn.Connection().profile is None
    assert CHAT.check(WORDS).request(0).url == f"{one.url}/chat/completions"
    monkeypatch.setenv("TABLENODES_PROFILE", "local")
    assert default_connection().local_model is not None
    monkeypatch.setenv("TABLENODES_PROFILE", "aa")
    with wording.raises(ConnectionSettingError):
        CHAT.check(WORDS)


def test_only_the_projects_file_has_a_default():
    write_own("default: a\na: {base_url: https://a.de/v1}")
    assert default_connection() == tn.Connection()
    with wording.raises(ConnectionSettingError):
        tn.Connection.from_profile("a")


def test_no_file_is_read_as_yaml_where_there_is_none():
    """The parser costs a start 50 ms."""
    code = (
        "import sys, tablenodes as tn; from tablenodes.connection.connection import default_connection\n"
        "default_connection(); tn.Connection.from_profile('azure'); print('ruamel' in str([*sys.modules]))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# --- what goes with it -----------------------------------------------------------------------------------------------


def test_limits_retries_and_the_model_of_a_profile_are_used_where_nobody_says_others():
    """Field by field, also where one is said to be what it is by default."""
    own = tn.Limits(concurrency=3, requests_per_minute=60)
    assert beneath(tn.Limits(concurrency=64), own) == tn.Limits(concurrency=64, requests_per_minute=60)
    assert beneath(tn.Limits(), own) == own
    again = replace(tn.Limits(max_requests=5), concurrency=8)
    assert beneath(again, own) == tn.Limits(concurrency=8, requests_per_minute=60, max_requests=5)
    with fault_server(answer({"error": {"message": "no"}}, 500)) as server:
        more = "model: of-profile, limits: {max_requests: 1}"
        write(f"a: {{base_url: '{server.url}', {more}}}\nb: {{base_url: '{server.url}', retry: {{server_error: 0}}}}")
        ask = CHAT.replace(model=None)
        out = ask.run(WORDS, "a", progress=False)
        assert sorted(out.log["outcome"]) == ["http_error", "not_sent"]
        CHAT.run(WORDS, "a", progress=False, limits=tn.Limits(max_requests=2), retry=tn.Retry(server_error=0))
        CHAT.run(WORDS[:1], "b", progress=False)
    assert [json.loads(each.body)["model"] for each in server.requests] == ["of-profile"] + ["m"] * 3
    assert ask.estimate(WORDS, "a").rows == 2


def test_a_workflow_names_its_connections(project, capsys):
    """At its top and at a node, in a file and in Python; it is written again as it was."""
    with fault_server(echo()) as one, fault_server(echo()) as other:
        write(f"a: {{base_url: '{one.url}', timeout: 7}}\nb: {{base_url: '{other.url}', model: m}}")
        nodes = "nodes:\n- {id: x, type: CreateChatCompletion, model: m, prompt: '{{ word }}'}\n"
        nodes += "- {id: y, type: CreateChatCompletion, connection: b, prompt: '{{ x }}'}\n"
        write(f"connection: a\n{nodes}", "w.yaml")
        workflow = tn.Workflow.load("w.yaml")
        out = workflow.run(WORDS, progress=False)
        assert [list(each.log["outcome"]) for each in out.values()] == [["ok", "ok"]] * 2
        assert (len(one.requests), len(other.requests)) == (2, 2)
        assert workflow.connection.timeout == tn.Timeout(total=7, connect=7)
        workflow.save("again.yaml")
        assert tn.Workflow.load("again.yaml") == workflow
        assert ("connection: a" in workflow.to_yaml(), "connection: b" in workflow.to_yaml()) == (True, True)
        assert tn.Workflow({"x": CHAT}, connection="a").connection == workflow.connection
    for text in ("connection: aa\n", "connection: https://a.de/v1\n"):
        write(f"{text}{nodes}", "w.yaml")
        with wording.raises(WorkflowError):
            tn.Workflow.load("w.yaml")


def test_what_a_profile_allows_is_shared_by_the_nodes_that_use_it():
    """As the workflow's own limits are; nodes of other profiles have their own."""
    with fault_server(echo()) as server:
        write(
            f"a: {{base_url: '{server.url}', limits: {{max_requests: 3}}}}\n"
            f"b: {{base_url: '{server.url}', limits: {{max_requests: 2}}}}"
        )
        nodes = {"x": CHAT, "y": CHAT.replace(prompt="y {{ word }}"), "z": tn.Step(CHAT, connection="b")}
        out = tn.Workflow(nodes, connection="a").run(WORDS, progress=False)
    assert [list(each.log["outcome"]).count("ok") for each in out.values()] == [2, 1, 2]


def test_rows_that_are_submitted_over_a_profile_are_sent_with_the_variables_of_whoever_sends_them(project, monkeypatch):
    """By their names, which alone are in the store; the key in its own header, and one of a file."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", CANARY)
    write("TEAM=canary-of-the-file", ".env")
    node = tn.CreateChatCompletionAsync(prompt="{{ word }}")
    with ending(project / "store") as store, fault_server(echo()) as server:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", server.url.removesuffix("/v1"))
        more = "env_file: .env, headers: {X-Team: '${TEAM}'}, limits: {concurrency: 7}"
        write(f"azure: {{model: of-profile, {more}}}")
        with nobody_at_work(store):
            table = node.run(WORDS, "azure", store=store, progress=False).table
        out = tn.RetrieveResponse().run(table, store=store, progress=False)
        kept = store.read_bytes()
        with closing(sqlite3.connect(store)) as file:
            (recipe,) = file.execute("SELECT recipe FROM recipe").fetchone()
    assert list(out.log["outcome"]) == ["ok", "ok"]
    assert sent_to(server) == [("/openai/v1/chat/completions", None, CANARY)] * 2
    assert {each.headers["x-team"] for each in server.requests} == {"canary-of-the-file"}
    assert {json.loads(each.body)["model"] for each in server.requests} == {"of-profile"}
    assert b"canary" not in kept
    assert json.loads(recipe)["limits"]["concurrency"] == 7


# --- the command line ------------------------------------------------------------------------------------------------


def test_the_command_line_names_a_profile(capsys, monkeypatch):
    """Wherever a connection goes; options go before what it says, and another address is no profile's."""
    WORDS.to_csv("words.csv", index=False)
    monkeypatch.setenv("MY_KEY", CANARY)
    with fault_server(echo()) as server:
        write(f"a: {{base_url: '{server.url}', model: m, api_key_env: NOT_THERE, limits: {{max_requests: 1}}}}")
        asked = ["call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}", "--profile", "a"]
        code, _, err = command(capsys, *asked)
        assert code == 1
        wording.line(err)
        code, out, err = command(capsys, *asked, "--api-key-env", "MY_KEY", "--max-requests", "2")
        assert (code, out.count(",ok,"), "canary" in out + err) == (0, 2, False)
        assert {each.headers["authorization"] for each in server.requests} == {f"Bearer {CANARY}"}
        nodes = "nodes: [{id: x, type: CreateChatCompletion, prompt: '{{ word }}', connection: local}]"
        write(f"table: words.csv\n{nodes}", "w.yaml")
        code, out, _ = command(capsys, "run", "w.yaml", "--profile", "a", "--no-key", "--max-requests", "none")
        assert (code, len(server.requests)) == (0, 4)
        assert command(capsys, "check", "w.yaml", "--profile", "a")[0] == 0
        code, _, err = command(capsys, *asked, "--base-url", server.url)
        assert code == 2
        wording(err)
        code, _, err = command(capsys, *asked[:-1], "b")
        assert code == 1
        wording(err)


def test_connections_are_listed_with_what_they_need(capsys, monkeypatch):
    """Name, address, variables, model and where it is written."""
    monkeypatch.setenv("GROQ_API_KEY", CANARY)
    write_own("mine: {base_url: https://a.de/v1, api_key_env: MY_KEY, model: big}\ngroq: {model: small}")
    code, out, err = command(capsys, "connections")
    assert (code, err, "canary" in out) == (0, "", False)
    wording(out)
    code, out, _ = command(capsys, "connections", "groq")
    assert code == 0
    wording(out)
    code, out, err = command(capsys, "connections", "grok")
    assert (code, out) == (1, "")


def models(*names):
    return answer({"object": "list", "data": [{"id": name} for name in names]})


PROBED = {
    "models": (models("m", "n"), "usable"),
    "another model": (models("n"), "usable"),
    "no list": (answer({"detail": "Not Found"}, 404), "usable"),
    "refused": (answer({"error": {"message": f"Incorrect API key provided: {CANARY}"}}, 401), "refused"),
    "broken": (answer("oops", 500), "unreachable"),
    "no JSON": (answer("<html>"), "usable"),
}


@pytest.mark.parametrize("name", PROBED)
def test_a_check_asks_for_the_models_and_says_what_came(name, capsys, monkeypatch):
    """With the key, and once; nothing that is billed is sent."""
    react, outcome = PROBED[name]
    monkeypatch.setenv("MY_KEY", CANARY)
    with fault_server(react) as server:
        write(f"a: {{base_url: '{server.url}', api_key_env: MY_KEY, model: m}}")
        code, out, err = command(capsys, "connections", "--check", "a")
    (request,) = server.requests
    assert (request.method, request.path, request.body) == ("GET", "/v1/models", b"")
    assert request.headers["authorization"] == f"Bearer {CANARY}"
    assert (code, err, "canary" in out) == (0 if outcome == "usable" else 1, "", False)
    wording(out)


def test_a_server_that_is_not_there_or_says_nothing_is_said_within_seconds(capsys, monkeypatch):
    """All at the same time, each in its line; where a variable is missing, nothing is asked."""
    monkeypatch.setattr("tablenodes.connection.probe.SECONDS", 0.5)
    with socket.socket() as silent, socket.socket() as closed, fault_server(models("m")) as server:
        for each in (silent, closed):
            each.bind(("127.0.0.1", 0))
        silent.listen()
        addresses = {"silent": silent.getsockname()[1], "closed": closed.getsockname()[1]}
        profiles = {name: probe(tn.Connection(f"http://127.0.0.1:{port}/v1")) for name, port in addresses.items()}
        began = time.monotonic()
        assert probe(tn.Connection(server.url)).message == "reachable, lists 1 model"
        assert probe(tn.Connection(server.url, api_key_env="NOT_THERE")).outcome == "not_set"
        assert probe(tn.Connection.local()).outcome == "usable"
        assert time.monotonic() - began < 3
    assert [each.outcome for each in profiles.values()] == ["unreachable"] * 2
    wording(profiles["silent"].message.partition(" after ")[0])
    assert len(server.requests) == 1


# --- what is wrong in a file ------------------------------------------------------------------------------------------

WRONG_LINES = {
    "a password": "  base_url: http://u:pw@h/v1",
    "a query": "  base_url: http://h/v1?a=b",
    "a limit": "  base_url: http://h/v1\n  limits: {max_cost: -1}",
    "a retry": "  base_url: http://h/v1\n  retry:\n    ambiguous: x",
    "warm up": "  base_url: http://h/v1\n  limits: {warm_up: 1}",
    "a timeout": "  base_url: http://h/v1\n  timeout: {total: 0}",
    "a variable": "  base_url: http://h/v1\n  api_key_env: a b",
}


@pytest.mark.parametrize("what", WRONG_LINES)
def test_what_is_wrong_in_a_file_is_said_with_its_line_in_its_own_words(what, capsys):
    """By each door, and never as an option or a class of Python."""
    write(f"haus:\n{WRONG_LINES[what]}\n")
    with wording.raises(ConnectionSettingError) as caught:
        tn.Connection.from_profile("haus")
    Path("t.csv").write_text("a\n1\n")
    for arguments in (["connections", "haus"], ["call", "CreateChatCompletion", "t.csv", "--profile", "haus"]):
        code, _, err = command(capsys, *arguments)
        assert (code, err.splitlines()[-1]) == (1, f"tablenodes: error: {caught.value}")
