"""What must not be seen is not seen: the key is in the Authorization header alone, the prompt in the body alone."""

from __future__ import annotations

import ast
import base64
import contextlib
import http.client
import importlib.metadata
import io
import itertools
import json
import logging
import pickle
import random
import re
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import commands
import pandas as pd
import pytest
from exchanges import peak_memory
from faults import CHUNKED, FAULTS, NODE, PROMISED, Fault, Kit, meet, shorten_waits
from measuring import measures_memory
from servers import Exchange, answer, chunks, endless, fault_server, fin, head, message
from streamed import DONE, STREAM_HEAD, stream_of
from test_cli_process import call

import tablenodes as tn
from tablenodes.connection.endpoint import opened
from tablenodes.engine.journal import Journal
from tablenodes.engine.scheduling import Scheduler
from tablenodes.engine.sink import Records
from tablenodes.engine.transports import TRANSPORTS
from tablenodes.engine.transports import curl_transfer as curl_transfer

MOST = 500
"""Characters of the longest message."""
chance = random.SystemRandom()


def canary(kind):
    """A text that is nowhere by chance, and that every encoding changes."""
    letters = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=40))
    return f"{kind}-{letters[:20]}/{letters[20:]}+"


def forms_of(text):
    """The ways in which a text is told: plain, its halves, these backwards, in base64, in a URL, in hexadecimal."""
    half = len(text) // 2
    halves = (text[:half], text[half:])
    encoded = base64.b64encode(text.encode()).decode().rstrip("=")
    bearer = base64.b64encode(f"Bearer {text}".encode()).decode().rstrip("=")
    escaped = text.replace("/", "\\/")
    safe = (encoded.replace("+", "-").replace("/", "_"), quote(text, safe=""), quote(text), text.encode().hex())
    return [form.encode() for form in (*halves, *(each[::-1] for each in halves), encoded, bearer[12:], escaped, *safe)]


def told(text, data):
    """Which forms of a text are in some data."""
    data = data if isinstance(data, bytes) else data.encode(errors="replace")
    return [form.decode() for form in forms_of(text) if form in data]


class Overheard(logging.Handler):
    """Everything that is logged at any level, with its arguments."""

    def __init__(self):
        super().__init__(0)
        self.text = io.StringIO()

    def emit(self, record):
        self.text.write(f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text or ''} {vars(record)}\n")


@contextlib.contextmanager
def overhearing():
    """Listen to all loggers at their finest."""
    handler, root = Overheard(), logging.getLogger()
    names = ("urllib3", "urllib3.connectionpool", "requests", "tablenodes", "http.client")
    before = {name: logging.getLogger(name).level for name in names} | {"": root.level}
    root.addHandler(handler)
    for name in before:
        logging.getLogger(name).setLevel(1)
    try:
        yield handler.text
    finally:
        root.removeHandler(handler)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def echoing(make):
    """Send what is made from the Authorization header that came."""

    def react(exchange: Exchange):
        exchange.send(make(exchange.received.headers["authorization"]))
        exchange.close()

    return react


def in_body(status, encode=str):
    return echoing(lambda sent: message(json.dumps({"error": {"message": encode(sent.split()[1])}}).encode(), status))


def in_base64(text):
    return base64.b64encode(text.encode()).decode()


ECHOES = [
    Fault(f"S7 {name}", "", None, 0, False, None, script=(script,))
    for name, script in {
        "a refusal": in_body(401),
        "a refusal in base64": in_body(401, in_base64),
        "a refusal as in a URL": in_body(403, lambda text: quote(text, safe="")),
        "a server error": in_body(500),
        "a good status": in_body(200),
        "an error that is no object": echoing(lambda sent: message(sent.encode(), 400)),
        "a page": echoing(lambda sent: message(f"<html>{sent}</html>".encode(), 200)),
        "a reason": echoing(lambda sent: head(400, {"Content-Length": "0"}, sent)),
        "a header": echoing(lambda sent: message(b"{}", 400, {"X-Request-Id": sent, "Set-Cookie": f"k={sent}"})),
        "a redirect": echoing(lambda sent: message(b"", 302, {"Location": f"https://other.test/{quote(sent)}"})),
        "a status line that is none": echoing(lambda sent: sent.encode() + b"\r\n\r\n"),
        "a header that is none": echoing(lambda sent: b"HTTP/1.1 200 OK\r\n" + sent.encode() + b"\r\n\r\n{}"),
        "an encoding": echoing(lambda sent: message(b"{}", 200, {"Content-Encoding": sent})),
        "a length": echoing(lambda sent: head(200, {"Content-Length": sent}) + b"{}"),
        "a delay": echoing(lambda sent: message(b"{}", 429, {"Retry-After": sent})),
        "a cut answer": echoing(lambda sent: head(200, {"Content-Length": "9999"}) + sent.encode()),
        "half of a cut answer": echoing(lambda sent: head(200, {"Content-Length": "9999"}) + sent[:25].encode()),
    }.items()
]


def in_stream(*cuts, end=DONE):
    """Stream the key as the text of a chat, cut at these places."""

    def make(sent):
        key = sent.split()[1]
        places = [0, *cuts, len(key)]
        texts = ["The key is ", *(key[start:end] for start, end in itertools.pairwise(places)), ", I think."]
        return STREAM_HEAD + chunks(stream_of({"choices": [{"delta": {"content": text}}]} for text in texts) + end)

    return echoing(make)


ECHOES += [
    Fault(f"S7 {name}", "", None, 0, False, None, script=(script,), stream=True)
    for name, script in {
        "a stream": in_stream(),
        "a stream in halves": in_stream(22),
        "a stream in letters": in_stream(*range(1, 48)),
        "a cut stream in halves": in_stream(22, end=b""),
        "a failing stream in halves": in_stream(22, end=b'data: {"error": {"code": 400}}\n\n'),
        "a broken stream in halves": in_stream(22, end=b"data: oops\n\n"),
        "an error in a stream": echoing(
            lambda sent: STREAM_HEAD + chunks(b'data: {"error": {"message": "%s"}}\n\n' % sent.encode())
        ),
    }.items()
]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return Kit(tmp_path_factory.mktemp("tls"))


def cells_of(table):
    """Return the bytes in which every cell of a table stands as it is: a tenth of what writing CSV costs."""
    return pickle.dumps(table)


def shown_by(met):
    """Everything of a run that can be looked at but for the user's own table, by its name."""
    out, connection = met.output, met.connection
    yield "result", cells_of(out.result)
    yield "log", cells_of(out.log)
    yield "summary", f"{out.summary!r} {out.summary} {vars(out.summary)}"
    yield "text", repr(out.texts())
    yield "connection", f"{connection!r} {connection} {connection:} {vars(connection)}"
    yield "pickles", pickle.dumps(connection) + pickle.dumps(NODE)
    yield "node", f"{NODE!r} {vars(NODE)}"
    with opened(connection, {}) as endpoint:
        yield "endpoint", f"{endpoint!r} {vars(endpoint)} {endpoint.request('POST', '/x')!r}"


def held_in(path):
    """Return a file's bytes; of a journal also what it has of each answer, which is compressed there."""
    held = path.read_bytes()
    if path.suffix == ".journal":
        with contextlib.closing(Journal(path, looks=True)) as journal:
            held += b"".join(repr(entry.last).encode() for entry in journal)
    return held


@pytest.mark.timeout(240)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_whatever_fails_nothing_shows_the_key_or_the_prompt(transport, kit, tmp_path, monkeypatch, capfd):
    """The table of faults, and servers that repeat the key, with everybody's loggers at their finest."""
    shorten_waits(monkeypatch)
    key, prompt = canary("sk"), canary("prompt")
    hits = []
    scanned = [*(FAULTS if transport == "curl" else PROMISED), *ECHOES]

    def scan(fault):
        journal = tmp_path / f"{abs(hash(fault.name))}.journal"
        met = meet(fault, transport, kit, key=key, more=f" {prompt}", journal=journal)
        for name, data in shown_by(met):
            hits.extend((fault.name, name, form) for form in (*told(key, data), *told(prompt, data)))
        table = repr(met.output).encode() + cells_of(met.output.table)
        hits.extend((fault.name, "table", form) for form in told(key, table))
        for request in met.requests:
            assert request.headers["authorization"] == f"Bearer {key}"
            others = {name: value for name, value in request.headers.items() if name != "authorization"}
            hits.extend((fault.name, "request", form) for form in told(key, f"{request.path} {others} {request.body}"))
            hits.extend((fault.name, "request", form) for form in told(prompt, f"{request.path} {request.headers}"))

    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with overhearing() as log, warnings.catch_warnings(record=True) as warned, ThreadPoolExecutor(4) as threads:
        warnings.simplefilter("always")
        list(threads.map(scan, scanned))
    for name, data in {"log": log.getvalue(), "warnings": repr([str(each.message) for each in warned])}.items():
        hits.extend((name, form) for form in (*told(key, data), *told(prompt, data)))
    for path in tmp_path.rglob("*"):
        data = held_in(path) if path.is_file() else b""
        hits.extend((path.name, form) for form in (*told(key, data), *told(prompt, data)))
    out, err = capfd.readouterr()
    hits.extend(("streams", form) for form in (*told(key, out + err), *told(prompt, out + err)))
    assert hits == []
    assert len(list(tmp_path.glob("*.journal"))) == len(scanned)
    assert transport == "curl" or "urllib3" in log.getvalue()  # they were indeed overheard


def test_the_scan_finds_what_it_looks_for():
    """Each form of a text is found where it is."""
    text = canary("x")
    for shown in (
        text, text[:22], text[22:], text[::-1], in_base64(text), in_base64(f"Bearer {text}"), quote(text, safe=""),
        repr(text), json.dumps(text), json.dumps(text).replace("/", "\\/"), text.encode().hex(),
    ):  # fmt: skip
        assert told(text, f"… {shown} …"), shown
    assert told(text, canary("x")) == []


# --- errors ---------------------------------------------------------------------------------------------------------


def shown_of(error):
    """Everything of an error and those behind it, with the local variables of every frame."""
    error.__traceback__ = error.__traceback__.tb_next  # the test's own frame knows the key
    yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    while error is not None:
        yield f"{error} {error!r} {error.args!r} {vars(error)} {getattr(error, 'object', '')}"
        error = error.__cause__ or error.__context__


def fails(*arguments, **named):
    raise RuntimeError("it fails here")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("seam", ["records", "scheduler", "wait", "judge", "options", "send"])
def test_an_error_in_this_program_shows_no_key(transport, seam, monkeypatch):
    """Wherever it is raised: tools that print the local variables of a traceback print no secret."""
    from tablenodes.engine.transports.curl_transport import CurlTransport
    from tablenodes.engine.transports.requests_transport import RequestsTransport

    transports = {"curl": CurlTransport, "requests": RequestsTransport}
    key = canary("sk")
    patches = {
        "records": (Records, "accept", fails),
        "scheduler": (Scheduler, "started", fails),
        "wait": (transports[transport], "wait", fails),
        "judge": (Scheduler, "answered", fails),
        "options": (curl_transfer.pycurl, "HTTPHEADER", 999_999),
        "send": (Scheduler, "may_send", fails),
    }
    monkeypatch.setattr(*patches[seam])
    with fault_server(answer(b"{}", 401)) as server:
        connection = tn.Connection(server.url, key, headers={"X-Token": f"{key}-x"}, transport=transport)
        caught, out = None, None
        try:
            out = NODE.run(pd.DataFrame({"prompt": ["p"]}), connection, progress=False)
        except (RuntimeError, TypeError, tn.errors.TablenodesError) as error:
            caught = error
    if caught is None:  # the session's thread has made a row's end of it
        assert transport == "requests"
        assert seam in ("options", "send")
        assert told(key, out.result.to_csv()) == []
    else:
        shown = "\n".join(shown_of(caught))
        assert "it fails here" in shown or seam == "options"
        assert told(key, shown) == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_errors_of_a_run_show_no_key_and_no_prompt(transport, tmp_path, monkeypatch):
    """A setting, a journal, rows that cannot be sent."""
    key, prompt = canary("sk"), canary("prompt")
    (tmp_path / "foreign").write_text("no journal")
    table = pd.DataFrame({"prompt": [prompt], "temperature": [9.0]})
    connection = tn.Connection("http://127.0.0.1:1/v1", key, transport=transport)
    raised = []
    for act in (
        lambda: NODE.run(table, connection, journal=tmp_path / "foreign", progress=False),
        lambda: NODE.run(table, connection, on_invalid="raise", progress=False),
        lambda: NODE.run(table, connection, on_invalid="rise", progress=False),
        lambda: NODE.run(table, connection, limits=3, progress=False),
        lambda: opened(tn.Connection("http://api.test/v1", key), {}).__enter__(),
        lambda: tn.Connection("http://127.0.0.1/v1", f"{key}\r\nX: y"),
        lambda: tn.Connection("http://127.0.0.1/v1", headers={"Authorization": f"Bearer {key}\n"}),
        lambda: tn.Connection(f"http://me:{key.replace('/', '')}@127.0.0.1/v1"),
    ):
        with pytest.raises(tn.errors.TablenodesError) as caught:
            act()
        raised.append(caught.value)
    for error in raised:
        text = f"{error} {error!r} {error.args!r}"
        assert told(key, text) == []
        assert told(prompt, text) == []
        assert len(str(error)) <= MOST


@pytest.mark.parametrize("cell", ["x" * 10_000, ["y" * 10_000], {"z" * 10_000: 1}, -(10**300), "\x1b[31m" * 1000])
def test_what_is_said_of_a_cell_is_short_and_without_the_cell(cell):
    """Worded from the rule and its limit, whatever is in the cell."""
    table = pd.DataFrame({"prompt": ["p"], "temperature": pd.Series([cell], dtype=object)})
    with fault_server(answer(b"{}")) as server:
        out = NODE.run(table, tn.Connection(server.url, "k" * 20), progress=False)
    assert server.requests == []
    said = out.result["body"].iloc[0]
    assert out.log["outcome"].iloc[0] == "invalid_request"
    assert len(json.loads(said)["error"]["message"]) <= MOST
    assert not re.search("xxx|yyy|zzz|000000|\x1b|u001b", said)


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [in_body(401), fin(), echoing(lambda sent: sent.encode())])
def test_the_command_line_shows_no_key(script, tmp_path, monkeypatch):
    """Neither in its words nor in its files."""
    key, prompt = canary("sk"), canary("prompt")
    table = tmp_path / "words.csv"
    table.write_text(f"word\n{prompt}\n")
    monkeypatch.setenv("MY_KEY", key)
    output = tmp_path / "out.csv"
    with fault_server(script) as server:
        arguments = call(table, server, "--api-key-env", "MY_KEY", "--output", output)
        _, out, err = commands.run(arguments)
    assert server.requests, err
    assert output.exists(), err
    assert told(key, (out + err).encode()) == []
    assert told(prompt, err) == []
    for path in tmp_path.iterdir():
        assert told(key, held_in(path)) == [], path
    assert told(prompt, b"".join(held_in(path) for path in tmp_path.glob("*.journal*"))) == []


# --- cells are data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_column_never_sets_where_or_how_a_request_is_sent(transport):
    """Names that look like a connection's settings pass through the table, and that is all."""
    with fault_server(answer(b"{}")) as other, fault_server(answer(b'{"choices":[{}]}')) as server:
        names = ["base_url", "api_key", "url", "headers", "Authorization", "extra_headers", "method", "path", "id"]
        names += ["timeout", "proxy", "session", "transport", "ca_bundle", "query", "host", "allow_insecure", "journal"]
        table = pd.DataFrame({"prompt": ["p"]} | {name: [other.url] for name in names})
        out = NODE.run(table, tn.Connection(server.url, "k" * 20, transport=transport), progress=False)
        assert other.connections == 0
    (request,) = server.requests
    assert list(out.log["outcome"]) == ["ok"]
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer " + "k" * 20
    assert str(other.port) not in f"{request.headers} {request.body}"


PAYLOADS = [
    *("{{ 7*7 }}", "{{7*'7'}}", "{% for x in range(9) %}x{% endfor %}", "{# gone #}", "${7*7}", "#{7*7}", "<%= 7*7 %>"),
    *("{x.__class__}", "{0}", "{}", "%s%s%n", "%(x)s", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    *("{{ self.__init__.__globals__ }}", "{{ cycler.__init__.__globals__.os.popen('id').read() }}"),
    *("{{ config }}", "{{ request }}", "{{ prompt }}", "${HOME}", "$HOME", "`id`", "$(id)", "; rm -rf /", "| cat"),
    *("a\r\nX-Injected: yes\r\n\r\n", "\r\n0\r\n\r\n", "HTTP/1.1 200 OK", "../../etc/passwd", "\\u0041 \\n"),
    *("__import__('os').system('id')", "<script>alert(1)</script>", '"}],"model":"x', "' OR 1=1 --"),
    *("=cmd|' /C calc'!A0", "\x1b[2J", "\x7f\u202e\u2028"),
]  # fmt: skip


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_cell_arrives_to_the_letter(transport):
    """Nothing in it is evaluated, and no header comes of it."""
    assert len(PAYLOADS) >= 30
    with fault_server(answer(b'{"choices":[{}]}')) as server:
        connection = tn.Connection(server.url, "k" * 20, transport=transport)
        limits = tn.Limits(concurrency=1)
        out = NODE.run(pd.DataFrame({"prompt": PAYLOADS}), connection, limits=limits, progress=False)
    assert out.summary.ok == len(PAYLOADS)
    assert [json.loads(request.body)["messages"][0]["content"] for request in server.requests] == PAYLOADS
    assert all("x-injected" not in request.headers for request in server.requests)


# --- what a server may do to this process ---------------------------------------------------------------------------


@measures_memory
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("what", ["body", "headers"])
def test_memory_is_bounded_by_the_limits(transport, what):
    """Eight answers without end at a time, so many megabytes allowed to each; headers have a limit of their own."""
    limit = {"body": 2**20, "headers": 8 * 2**20}[what]
    script = {
        "body": endless(CHUNKED, chunks(b"x" * 60_000, end=False)),
        "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"y" * 60_000 + b"\r\n"),
    }[what]
    table = pd.DataFrame({"prompt": [f"{n}" for n in range(8)]})
    with fault_server([answer(b"{}")] * 8) as server:  # what a first run loads is not measured
        NODE.run(table, tn.Connection(server.url, "k" * 20, transport=transport), retry=tn.Retry(ambiguous=0))
    with fault_server(script) as server:
        peak = peak_memory()
        connection = tn.Connection(server.url, "k" * 20, transport=transport, timeout=20)
        limits = tn.Limits(concurrency=8, body_bytes=limit)
        out = NODE.run(table, connection, limits=limits, retry=tn.Retry(ambiguous=0), progress=False)
        grown = peak()
    assert set(out.log["outcome"]) == {"body": {"too_large"}, "headers": {"protocol"}}[what]
    assert grown <= 2 * limit * 8 + 8 * 2**20  # the rows, the table and the server's own threads come on top


HOSTILE = {
    "deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "in_band_error"),
    "never closed": (b'{"a":' * 100_000, "decode_error"),
    "a long number": (b'{"choices": [{"n": ' + b"9" * 5_000 + b"}]}", "ok"),
    "very many names": (lambda: b"{" + b",".join(b'"%d":1' % n for n in range(60_000)) + b"}", "in_band_error"),
    "equal names": (b'{"choices": [], "choices": [{}]}', "ok"),
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_harms_nobody(transport, name):
    """It is kept as text, its row has an outcome, and the rows after it go on."""
    body, outcome = HOSTILE[name]
    body = body() if callable(body) else body
    with fault_server([answer(body), answer(b'{"choices":[{}]}')]) as server:
        connection = tn.Connection(server.url, "k" * 20, transport=transport)
        manner = {"limits": tn.Limits(concurrency=1), "retry": tn.Retry(ambiguous=0), "progress": False}
        out = NODE.run(pd.DataFrame({"prompt": ["a", "b"]}), connection, **manner)
    assert list(out.log["outcome"]) == [outcome, "ok"]
    assert out.result["body"].iloc[0] == body.decode()
    assert out.text.iloc[0] is None or pd.isna(out.text.iloc[0])


# --- what is not there ----------------------------------------------------------------------------------------------


def test_nothing_of_a_table_or_a_server_is_ever_executed():
    """No eval, exec, pickle.loads or YAML object loader anywhere in the package."""
    forbidden = {"eval", "exec", "compile", "__import__", "loads_pickle", "unsafe_load", "full_load", "literal_eval"}
    found = []
    # A file without any of these words has none of the nodes below.
    words = re.compile(rf"(?<![.\w])({'|'.join(forbidden)})\b|pickle|marshal|shelve|dill|yaml|shell")
    for path in Path(tn.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text if words.search(text) else "")):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name in forbidden:
                    found.append((path.name, name))
                case ast.Attribute(value=ast.Name(id="pickle" | "marshal" | "shelve" | "dill"), attr=name):
                    found.append((path.name, name))
                case ast.Attribute(value=ast.Name(id="yaml"), attr="load" | "unsafe_load" | "full_load"):
                    found.append((path.name, "yaml"))
                case ast.keyword(arg="shell", value=ast.Constant(value=True)):
                    found.append((path.name, "shell"))
    assert found == []


@pytest.mark.parametrize(("package", "floor"), [("requests", "2.32.4"), ("urllib3", "2.7.0"), ("pyarrow", "14.0.1")])
def test_versions_with_known_holes_are_not_installed(package, floor):
    """The package asks for versions in which they are closed, and they are there."""

    def numbers(version):
        return tuple(int(part) for part in re.findall(r"\d+", version)[:3])

    text = (Path(tn.__file__).parents[1] / "pyproject.toml").read_text()
    asked = re.search(rf'"{package}>=([0-9.]+)"', text)
    assert asked is not None
    assert numbers(asked[1]) >= numbers(floor)
    assert numbers(importlib.metadata.version(package)) >= numbers(asked[1])


def test_every_test_that_the_documentation_names_exists():
    """A promise without its test is none."""
    folder = Path(__file__).parent
    text = (folder.parent / "docs" / "promises.md").read_text()
    named = set(re.findall(r"(test_\w+\.py)::(test_\w+)", text))
    assert len(named) >= 40
    assert text.count(".py::") == len(re.findall(r"`test_\w+\.py::test_\w+`", text))
    missing = [f"{file}::{name}" for file, name in sorted(named) if f"def {name}(" not in (folder / file).read_text()]
    assert missing == []
