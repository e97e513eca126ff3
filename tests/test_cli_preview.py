"""What a command would do: its requests, as they would be sent or as curl commands, a check, an estimate."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from sentences import wording
from servers import echo, fault_server

import tablenodes as tn

KEY = "sk-canary-0123456789"
TEXTS = [
    'it\'s "so" \\ $(touch x) `id` $HOME !!',
    "two\nlines\r\ttab",
    "ü \U0001f600 \x7f \x9b31m\u202e \x1b[2J",
    "@file",
]
WORKFLOW = """\
table: t.csv
nodes:
  - {id: ask, type: CreateChatCompletion, model: m, prompt: "{{ text }}", answer: {stars: int, why: str}}
  - {id: reply, type: CreateChatCompletion, model: m, prompt: "To {{ text }}: {{ ask.stars }} {{ ask.why | upper }}"}
  - id: rest
    type: CreateChatCompletion
    model: m
    prompt: "{{ outputs.reply.choices[0].message.content }}"
    max_tokens: "{{ ask.stars }}"
  - {id: either, type: CreateChatCompletion, model: m, prompt: "{{ 'a' if ask.stars > 3 else 'b' }}", when: n != '1'}
  - {id: made, type: Return, text: "{{ reply }}"}
output: out.csv
"""


@pytest.fixture
def command(command, tmp_path, monkeypatch):
    """Runs a command in a folder with a table, without a key; afterwards nothing more is in that folder."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TABLENODES_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    with Path("t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "n"), *((text, n) for n, text in enumerate(TEXTS)), ("", 4)])
    Path("w.yaml").write_text(WORKFLOW)
    before = {*tmp_path.iterdir()}

    yield command
    assert {*tmp_path.iterdir()} == before


ASK = ["CreateChatCompletion", "t.csv", "--model", "gpt-4o-mini", "--prompt", "{{ text }}"]


@pytest.mark.parametrize("name", ["call", "submit"])
def test_a_dry_run_shows_the_first_request_without_a_key(command, name):
    """Method, address, headers with the key masked, body; or that of each row that is chosen."""
    code, out, _ = command(name, *ASK, "--dry-run", "--header", "X-Team: a", "--query-param", "v=1")
    head, _, body = out.partition("\n\n")
    assert code == 0
    assert json.loads(body)["messages"] == [{"role": "user", "content": TEXTS[0]}]
    wording(head)
    _, out, _ = command(name, *ASK, "--dry-run", "--rows", "1:3")
    assert [line for line in out.splitlines() if line.startswith("#")] == ["# row 1", "# row 2"]
    assert "\x9b" not in out
    assert "\x1b" not in out


@pytest.mark.parametrize("show", ["--dry-run", "--curl", "--check", "--estimate"])
def test_all_files_of_a_pattern_are_the_table(command, tmp_path_factory, show):
    """As in a run; what matches none is said without a guess."""
    parts = tmp_path_factory.mktemp("parts")
    for name in "ab":
        (parts / f"{name}.csv").write_text(f"n,text\n1,{name} one\n2,{name} two\n")
    more = ["--model", "gpt-4o-mini", "--prompt", "{{ text }}", show]
    code, out, _ = command("call", "CreateChatCompletion", f"{parts}/*.csv", *more)
    assert code == 0
    assert {"--check": "4 of 4 rows", "--estimate": "4 "}.get(show, "a one") in out
    code, out, _ = command("call", "CreateChatCompletion", f"{parts}/*.csv", *more, "--rows", "3:4")
    assert code == 0
    assert {"--check": "1 of 1 row", "--estimate": "1 "}.get(show, "b two") in out
    code, _, err = command("call", "CreateChatCompletion", f"{parts}/*.csw", *more)
    assert (code, "no file matches" in err, "did you mean" in err) == (1, True, False)


@pytest.mark.parametrize("show", ["--dry-run", "--curl"])
def test_of_several_servers_it_is_said_that_a_row_is_shown_at_the_first(command, show):
    where = ["--base-url", "http://127.0.0.1:9/v1", "--base-url", "http://127.0.0.1:10/v1", "--no-key"]
    code, out, _ = command("call", *ASK, show, *where)
    assert code == 0
    assert out.splitlines()[0] == "# row 0, at the first of 2 servers"
    assert "127.0.0.1:10" not in out


def test_in_python_too_it_is_said_at_which_of_several_servers_a_row_is_shown():
    node, table = tn.CreateChatCompletion(model="m", prompt="{{ text }}"), {"text": ["a"]}
    several = tn.Connection(["http://127.0.0.1:9/v1", "http://127.0.0.1:10/v1"], "")
    check, alone = (
        node.check(pd.DataFrame(table), each) for each in (several, tn.Connection(several.base_urls[0], ""))
    )
    assert check.curl(0) == f"# at the first of 2 servers\n{alone.curl(0)}"
    assert repr(check.request(0)) == f"# at the first of 2 servers\n{alone.request(0)!r}"
    assert "at the first of 2 servers" in check.request(0)._repr_html_()
    assert "servers" not in alone.request(0)._repr_html_() + alone.curl(0)


def test_the_key_is_masked(command, monkeypatch):
    """Wherever it comes from."""
    monkeypatch.setenv("MY_KEY", KEY)
    options = ["--api-key-env", "MY_KEY", "--header-env", "api-key=MY_KEY"]
    for show in ("--dry-run", "--curl"):
        code, out, err = command("call", *ASK, show, "--base-url", "https://example.test/v1", *options)
        assert (code, "canary" in out + err) == (0, False)
        wording(out.partition("\n\n")[0])


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_what_is_pasted_into_a_shell_is_what_a_run_sends(command, tmp_path_factory):
    """Whatever is in it; the file of commands runs as it is, and nothing in it moves a terminal's cursor."""
    with fault_server(echo()) as server:
        where = ["--base-url", server.url, "--rows", "4"]
        assert command("call", *ASK, *where, "--no-key", "-c", "1", "--no-progress")[0] == 0
        sent = server.requests.copy()
        del server.requests[:]
        code, out, _ = command("call", *ASK, *where, "--curl", "--api-key-env", "MY_KEY")
        assert (code, server.requests) == (0, [])
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "MY_KEY": KEY}
        folder = tmp_path_factory.mktemp("shell")
        subprocess.run(["sh"], input=out.encode(), cwd=folder, env=environment, check=True, capture_output=True)
        pasted = server.requests
    assert [json.loads(each.body) for each in pasted] == [json.loads(each.body) for each in sent]
    assert {each.headers["authorization"] for each in pasted} == {f"Bearer {KEY}"}
    assert all(sign.isprintable() or sign in "\n\t" for sign in out)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("show", ["--dry-run", "--curl"])
def test_of_a_workflow_every_node_is_shown_as_far_as_it_is_known(command, show):
    """The places of answers that have not come stand in a request; a command with such is none."""
    code, out, _ = command("run", "w.yaml", show, "--rows", "1:2", "--base-url", "http://127.0.0.1:9/v1", "--no-key")
    assert code == 0
    wording(
        "\n".join(line for line in out.splitlines() if line.startswith("#") or "content" in line or "max_t" in line)
    )


@pytest.mark.parametrize("show", ["--dry-run", "--curl"])
def test_a_row_that_cannot_be_sent_says_why_and_the_others_are_shown(command, show):
    """With the exit code of a check; a row that is left out is no failure."""
    code, out, _ = command("call", *ASK, show, "--rows", "3:", "--set", "user={{ n }}")
    assert code == 1
    wording([line for line in out.splitlines() if line.startswith("#")])
    code, out, _ = command("call", *ASK, show, "--rows", "2:4", "--set", "temperature={{ n }}")
    assert (code, out.startswith("# row 2\n")) == (1, True)
    wording([line for line in out.splitlines() if line.startswith("# row 3")])
    code, out, _ = command("call", *ASK, show, "--rows", "2", "--where", "n == '1'")
    assert (code, [line for line in out.splitlines() if line.startswith("#")]) == (
        0,
        ["# row 0: --where is false in this row", "# row 1"],
    )
    assert command("call", *ASK, show, "--where", "n == '2'")[1].startswith("# row 2\n")
    assert command("call", *ASK, show, "--rows", "0")[0] == 0


@pytest.mark.parametrize("name", ["call", "submit"])
def test_a_node_is_checked_and_estimated_as_a_workflow_is(command, name):
    """Each alone or both; the exit code is that of the check."""
    code, out, _ = command(name, *ASK, "--check")
    assert code == 1
    wording(out)
    code, out, _ = command(name, *ASK, "--estimate")
    assert code == 0
    assert out.startswith("5 rows: 1 invalid, 4 to send\n")
    code, out, _ = command(name, *ASK, "--check", "--estimate", "--rows", "2")
    assert (code, out.partition("\n")[0]) == (0, "2 of 2 rows can be sent")
    assert "2 rows: 2 to send" in out


def test_an_estimate_heeds_the_options(command):
    """Prices and limits among them, as in a workflow's file; also of the command check."""
    prices = ["--base-url", "https://example.test/v1", "--requests-per-minute", "1"]
    _, out, _ = command("call", *ASK, "--estimate", *prices)
    assert "no price for gpt-4o-mini" in out
    assert "4 min 00 s  4 min 00 s" in out
    _, out, _ = command("check", "w.yaml", "--estimate", *prices)
    assert "ask: 5 rows" in out


@pytest.mark.parametrize(
    "arguments", [["--dry-run", "--check"], ["--curl", "--estimate"], ["--curl", "--local"]], ids=" ".join
)
def test_what_cannot_be_shown_is_one_line(command, arguments):
    """What excludes each other, and a model without an address."""
    code, _, err = command("call", *ASK, *arguments)
    assert code in (1, 2)
    wording.line(err)
