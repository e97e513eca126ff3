"""Ten tables that fail in ten ways: cause and cure are plain from the command line's words and the output's column."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import re
import struct
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from commands import Command
from sentences import wording
from servers import Exchange, answer, fault_server, refusing_port

from tablenodes.engine.outcomes.rules import Failure
from tablenodes.run.failures import failures

WRONG = "sk-canary-0123456789"
ROWS = 6
MILLISECONDS = re.compile(r"\d+ ms")


def error(message: str, code: str | None, status: int, kind: str = "invalid_request_error"):
    return answer(json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}), status)


def said(text: str, reason: str = "stop"):
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return answer(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}))


WRONG_KEY = error(
    f"Incorrect API key provided: {WRONG}. You can find your API key at https://platform.openai.com/account/api-keys.",
    "invalid_api_key",
    401,
)
NO_MODEL = error("The model `gpt-9` does not exist or you do not have access to it.", "model_not_found", 404)
RENAMED = error(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
    "unsupported_parameter",
    400,
)
TOO_LONG = error(
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. "
    "Please reduce the length of the messages.",
    "context_length_exceeded",
    400,
)
FILTERED = error(
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
    "Please modify your prompt and retry.",
    "content_filter",
    400,
)
NO_CREDIT = error(
    "You exceeded your current quota, please check your plan and billing details.",
    "insufficient_quota",
    429,
    "insufficient_quota",
)


def react(exchange: Exchange) -> None:
    """Fail as the request asks for it."""
    request = exchange.received
    if not request.path.startswith("/v1/"):
        return answer("<html><title>404 Not Found</title></html>", 404)(exchange)
    body = orjson.loads(request.body)
    text = body["messages"][-1]["content"]
    of_texts = {"long": TOO_LONG, "filter": FILTERED, "rude": said('{"answer": 9}'), "cut": said('{"ans', "length")}
    found = next((each for sign, each in of_texts.items() if sign in text), None)
    found = found or {"Bearer poor": NO_CREDIT, f"Bearer {WRONG}": WRONG_KEY}.get(
        request.headers.get("authorization", "")
    )
    found = found or (RENAMED if "max_tokens" in body else NO_MODEL if body["model"] == "gpt-9" else None)
    return (found or said('{"answer": 4}' if "response_format" in body else "4"))(exchange)


@pytest.fixture(scope="module")
def server():
    with fault_server(react) as running:
        yield running


class Case(NamedTuple):
    """A table that fails: its texts and temperatures, the options, the key, and the address."""

    texts: tuple[str, ...] = ()
    temperatures: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    key: str = "sk-good-0123456789"
    address: str = "{url}"

    def rows(self) -> Iterator[str]:
        for at in range(ROWS):
            text = self.texts[at] if at < len(self.texts) else f"text {at}"
            yield f"{at},{text},{self.temperatures[at] if at < len(self.temperatures) else 1}\n"


CASES = {
    "a wrong key": Case(key=WRONG),
    "an unknown model": Case(options=("--model", "gpt-9")),
    "a parameter that was renamed": Case(options=("--set", "max_tokens=5")),
    "rows that are too long": Case(("long 123", "long 4567")),
    "rows that a filter dislikes": Case(("text", "filter this")),
    "a row without a text": Case(("text", "")),
    "a cell of a wrong type": Case(temperatures=("1", "hot", "warm")),
    "no credit": Case(key="poor"),
    "a server that is down": Case(
        options=("--retry-outage-patience", "0", "--retry-not-executed", "0"), address="http://127.0.0.1:{port}/v1"
    ),
    "answers that do not fit": Case(("text", "rude"), options=("--answer", "@schema.json")),
    "an answer that was cut": Case(("cut",), options=("--answer", "int")),
    "an address that is no API's": Case(address="{root}"),
}


@pytest.mark.parametrize("name", CASES)
def test_cause_and_cure_are_plain(name, command, server, tmp_path, monkeypatch):
    """The terminal says how many rows failed, why, in the server's words, and what to do; the file says why of each."""
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_KEY", case.key)
    Path("in.csv").write_text("id,text,temperature\n" + "".join(case.rows()))
    Path("schema.json").write_text('{"type": "integer", "maximum": 5}')
    with refusing_port() as port:
        address = case.address.format(url=server.url, root=server.url.removesuffix("/v1"), port=port)
        called = ["call", "CreateChatCompletion", "in.csv", "--prompt", "{{ text }}", "--base-url", address]
        called += [] if "--model" in case.options else ["--model", "m"]
        code, _, err = command(*called, "--api-key-env", "A_KEY", "-o", "out.csv", *case.options)
    written = Path("out.csv").read_text()
    assert code == 3
    assert case.key not in err + written
    rows = csv.DictReader(written.splitlines())
    told = {MILLISECONDS.sub("{ms}", row["message"]): None for row in rows if row["outcome"] != "ok"}
    wording(err, port=port, url=server.url, root=address, ms=MILLISECONDS)
    wording(told, port=port)


# --- the screen -----------------------------------------------------------------------------------------------------


def screen(arguments, columns: int, rows: int = 24) -> list[str]:
    """Run the command in a terminal of this size, and return what it shows at the end."""
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    with Command(arguments, stdin=its, stdout=its, stderr=its, env=environ) as process, open(ours, "rb") as shown:
        os.close(its)
        text = b""
        with contextlib.suppress(OSError):  # the end, where nobody has the terminal any more
            while piece := shown.read1(65_536):
                text += piece
        assert process.wait(60) == 3
    lines = [line.rpartition("\r")[2] for line in text.decode().replace("\r\n", "\n").splitlines()]
    shown = [line[at : at + columns] for line in lines for at in range(0, max(len(line), 1), columns)]
    return shown[1 - rows :]  # the cursor is in the last line


@pytest.mark.parametrize("columns", [80, 60])
def test_the_last_screen_says_what_happened_and_where_the_table_is(columns, server, tmp_path, monkeypatch):
    """60 rows, 6 of which failed in three ways: the numbers, each reason, the files; no word is cut at the edge."""
    monkeypatch.chdir(tmp_path)
    texts = {3: "long 3", 17: "filter 17", 23: "long 23", 31: "filter 31", 50: "", 51: "long 51"}
    Path("in.csv").write_text("id,text\n" + "".join(f"{at},{texts.get(at, 'text')}\n" for at in range(60)))
    called = ["call", "CreateChatCompletion", "in.csv", "--model", "m", "--prompt", "{{ text }}", "--no-key"]
    shown = screen([*called, "--base-url", server.url, "-o", "out.csv", "--log", "log.csv"], columns)
    assert max(map(len, shown)) <= columns
    wording(shown)


def test_a_workflows_last_screen_says_once_why_later_nodes_have_nothing(server, tmp_path, monkeypatch):
    """What failed at the first node is told there, with what its file must change; what follows from it is one line."""
    monkeypatch.chdir(tmp_path)
    texts = ["text", "long 1", "filter 2", "", "text"]
    Path("in.csv").write_text("id,text\n" + "".join(f"{at},{text}\n" for at, text in enumerate(texts)))
    Path("w.yaml").write_text(
        f'connection: {{base_url: "{server.url}"}}\ntable: in.csv\nnodes:\n'
        '  - {id: ask, type: CreateChatCompletion, model: m, prompt: "{{ text }}"}\n'
        '  - {id: say, type: Return, text: "{{ ask }}!"}\noutput: out.csv\n'
    )
    wording(screen(["run", "w.yaml"], 80))


def test_rows_that_fail_with_one_status_for_several_reasons_are_told_apart():
    """Numbers and the names of requests aside; the most frequent first, with the first of their rows."""
    refused = [("http_error", 400, f"limit {at} of request req_{at}a", "x", Failure.FINAL) for at in range(3)]
    other = ("http_error", 400, "limit 1 of request req_1a", "y", Failure.SERVER_ERROR)
    unfit = [("unusable", status, "does not fit", "does_not_fit", Failure.UNUSABLE) for status in (200, 201)]
    ok = ("ok", 200, None, None, None)
    found = failures([ok, other, *refused, ok, *unfit])
    assert [(each.rows, each.row, each.reason, each.passes) for each in found] == [
        (3, 2, "x", False),
        (2, 6, "does_not_fit", False),
        (1, 1, "y", True),
    ]
