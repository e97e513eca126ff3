"""Nodes of an OpenAPI document's operations: what they send, where, and what becomes of the answers."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import orjson
import pandas as pd
import pytest
from sentences import wording
from servers import answer, fault_server, message, reset

import tablenodes as tn
from tablenodes import openapi
from tablenodes.cli import main
from tablenodes.errors import SettingError
from tablenodes.nodes import known_nodes

NOTES = Path(__file__).parent / "api_of_notes.yaml"
DOCUMENT = openapi.load(NOTES)
TRANSPORTS = ("curl", "requests")


@pytest.fixture(scope="module")
def server():
    def react(exchange):
        received = exchange.received
        sent = [received.method, received.path, received.body.decode(), received.headers.get("x-trace")]
        exchange.send(message(orjson.dumps({"sent": sent})) if received.method != "HEAD" else message(b""))

    with fault_server(react) as server:
        yield server


def asked(server, operation, table=None, transport="curl", **settings):
    """Return the requests that the server saw, and the output."""
    before = len(server.requests)
    frame = pd.DataFrame({"word": ["a"]}) if table is None else pd.DataFrame(table)
    node = DOCUMENT.node(operation)(**settings)
    out = node.run(frame, tn.Connection(server.url, "k" * 20, transport=transport), progress=False)
    return server.requests[before:], out


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("operation", "settings", "method", "path", "body"),
    [
        ("createNote", {"text": "{{ word }}"}, "POST", "/notes", b'{"text":"a"}'),
        ("listNotes", {"limit": "7"}, "GET", "/notes?limit=7", b""),
        ("countNotes", {}, "HEAD", "/notes", b""),
        ("getNote", {"note_id": "{{ word }}/b ä"}, "GET", "/notes/a%2Fb%20%C3%A4", b""),
        ("replaceNote", {"note_id": "{{ word }}", "text": "b"}, "PUT", "/notes/a", b'{"text":"b"}'),
        ("changeNote", {"note_id": "a", "extra_body": {"b": 1}}, "PATCH", "/notes/a", b'{"b":1}'),
        ("deleteNote", {"note_id": "a", "X_Trace": "t"}, "DELETE", "/notes/a", b""),
        ("cancelNote", {"note_id": "a"}, "POST", "/notes/a/cancel", b""),
        ("search", {"type": "text", "text": "a"}, "POST", "/search?beta=true", b'{"type":"text","text":"a"}'),
        ("getPart", {"note_id": "a", "part": ["b", "c"], "form": "txt"}, "GET", "/notes/a/b,c.txt", b""),
        (
            "listNotes",
            {"tag": ["a", "b&c"], "ids": [1, 2], "where": {"x": 1}, "sort": {"y": "z"}, "shown": True},
            "GET",
            "/notes?tag=a&tag=b%26c&ids=1,2&where%5Bx%5D=1&y=z&shown=true",
            b"",
        ),
        ("listNotes", {"filter": {"a": [1]}}, "GET", "/notes?filter=%7B%22a%22%3A%5B1%5D%7D", b""),
    ],
)
def test_a_request_is_what_the_document_says(server, transport, operation, settings, method, path, body):
    """Its method, path and query, and a body only where it has one."""
    (received,), out = asked(server, operation, transport=transport, **settings)
    assert (received.method, received.path, received.body) == (method, f"/v1{path}", body)
    assert ("content-type" in received.headers) is bool(body)
    assert list(out.log["outcome"]) == ["ok"]


def test_parameters_come_from_columns(server):
    """As properties of a body do, typed by the document; a name in two places has two."""
    table = {
        "note_id": [1, 2, None],
        "who": ["x", "y", "z"],
        "user__query": ["q", None, "q"],
        "max-days": [1, 2, 3],
    }
    requests, out = asked(server, "shareNote", table, user="{{ who }}", Tags=["t", "u"])
    requests.sort(key=lambda each: each.path)
    assert [each.path for each in requests] == ["/v1/notes/1/share?user=q", "/v1/notes/2/share"]
    assert orjson.loads(requests[0].body) == {"user": "x", "max-days": 1}
    assert requests[0].headers["tags"] == "t,u"
    assert requests[0].headers["content-type"] == "application/vnd.notes+json"
    assert list(out.log["outcome"]) == ["ok", "ok", "invalid_request"]


def test_an_answer_is_kept_as_it_came(server):
    """In the column of the answer, too; a list, or nothing, is an answer."""
    bodies = [b'[{"a": 1}]', b"", b'{"error": {"message": "of a job, not of the request"}}', b"plain"]
    with fault_server([answer(bodies[0]), answer(bodies[1], 204), answer(bodies[2]), answer(bodies[3])]) as other:
        node = DOCUMENT.node("getNote")(note_id="{{ i }}")
        table = pd.DataFrame({"i": [1, 2, 3, 4]})
        out = node.run(table, tn.Connection(other.url), limits=tn.Limits(concurrency=1), progress=False)
    assert list(out.log["outcome"]) == ["ok"] * 4
    assert [each.encode() for each in out.result["body"]] == bodies
    assert list(out.table["answer"]) == list(out.result["body"])
    again = node.parse(out.result)
    assert list(again.log["outcome"]) == ["ok"] * 4


def test_what_is_no_text_is_kept_as_base64(tmp_path):
    """The log says what it is; a journal keeps the bytes themselves."""
    sound = bytes(range(256))
    with fault_server(answer(sound, headers={"Content-Type": "audio/mpeg"})) as server:
        node, table = DOCUMENT.node("speak")(text="{{ w }}"), pd.DataFrame({"w": ["a", "b"]})
        for _ in range(2):
            out = node.run(table, tn.Connection(server.url), journal=tmp_path / "j", progress=False)
            assert [base64.b64decode(body) for body in out.result["body"]] == [sound] * 2
            wording(out.log["message"][0])
        assert len(server.requests) == 2
    assert list(tn.read_journal(tmp_path / "j")["body"]) == list(out.result["body"])


HOSTILE = [
    *(
        "../files",
        "..",
        ".",
        "a/../b",
        "/",
        "//evil.example",
        "\\..\\x",
        "%2e%2e",
        "%2F",
        "..%2f..",
        "a?b=c",
        "a#b",
        "?",
    ),
    *("#", "&", "=", "a&admin=1", "a;b", ";", "@evil.example", ":80", "http://evil.example/", "a b", " ", "\t", "\n"),
    *("a\r\nX-Evil: 1", "\r\n\r\nGET /evil HTTP/1.1", "\x00", "a\x00b", "\x7f", "ä", "日本", "😀", "e\u0301", "\u202e"),
    *("{note_id}", "{{ word }}", "$(id)", "`id`", "'", '"', "<script>", "*", "+", "%", "%zz", "a,b", "|", "[x]", "~"),
    "x" * 5000,
]


def test_no_cell_leaves_its_place(server):
    """Of 50 hostile ones, in a path, a query and a header: each arrives whole and alone, or its row is not sent."""
    assert len(HOSTILE) >= 50
    table = pd.DataFrame({"note_id": HOSTILE, "i": range(len(HOSTILE))})
    requests, out = asked(server, "cancelNote", table)
    rows = [row for row, outcome in enumerate(out.log["outcome"]) if outcome == "ok"]
    assert set(table["note_id"].drop(rows)) == {"..", "."}
    parts = [each.path.split("/") for each in requests]
    assert all(path[:3] == ["", "v1", "notes"] and path[4:] == ["cancel"] for path in parts)
    assert sorted(unquote(path[3]) for path in parts) == sorted(HOSTILE[row] for row in rows)
    requests, out = asked(server, "shareNote", table.rename(columns={"note_id": "user__query"}), note_id="a", user="u")
    assert {each.path.partition("?")[0] for each in requests} == {"/v1/notes/a/share"}
    queries = [parse_qsl(each.path.partition("?")[2], keep_blank_values=True) for each in requests]
    assert sorted(queries) == sorted([("user", each)] for each in HOSTILE)
    requests, out = asked(server, "getNote", table.rename(columns={"note_id": "X-Trace"}), note_id="a")
    rows = [row for row, outcome in enumerate(out.log["outcome"]) if outcome == "ok"]
    assert sorted(each.headers["x-trace"] for each in requests) == sorted(HOSTILE[row] for row in rows)
    assert not any("x-evil" in each.headers for each in requests)
    left = [each for each in HOSTILE if each not in {HOSTILE[row] for row in rows}]
    assert all(not each.isprintable() or each != each.strip() or max(each) > "\xff" for each in left)


def test_a_part_of_a_path_is_not_made_of_several_cells(server):
    """Two dots of two cells are refused as well."""
    requests, out = asked(server, "getPart", {"note_id": ["a"], "part": [["."]], "form": [""]})
    assert (requests, list(out.log["outcome"])) == ([], ["invalid_request"])
    assert "key" not in str(out.log["message"][0])


@pytest.mark.parametrize(("operation", "stops"), [("getNote", False), ("createNote", True)])
def test_what_is_not_found_by_its_path_stops_no_other_row(operation, stops):
    """Where each row has its own; where all go to one, 20 that are refused alike do."""
    settings = {"note_id": "{{ i }}"} if operation == "getNote" else {"text": "{{ i }}"}
    with fault_server(answer({"error": {"message": "not found"}}, 404)) as server:
        node = DOCUMENT.node(operation)(**settings)
        table = pd.DataFrame({"i": map(str, range(100))})
        out = node.run(table, tn.Connection(server.url), progress=False)
    assert ("not_sent" in set(out.log["outcome"])) is stops


def test_a_stream_is_kept_as_its_events(server):
    """Nothing is added to the request, and no text is told as it comes."""
    events = b'event: a\ndata: {"type": "a"}\n\n' * 2
    node, table = DOCUMENT.node("speak")(text="a", extra_body={"stream": True}), pd.DataFrame({"a": [1]})
    with fault_server(answer(events, headers={"Content-Type": "text/event-stream"})) as other:
        out = node.run(table, tn.Connection(other.url), progress=False)
        assert orjson.loads(other.requests[0].body) == {"text": "a", "stream": True}
    assert out.result["body"][0].encode() == events
    with wording.raises(SettingError):
        node.run(table, tn.Connection(server.url), on_text=print, progress=False)


def test_no_header_of_the_connection_is_a_row_s_to_say(server):
    """Its key least of all."""
    node = DOCUMENT.node("deleteNote")(note_id="a", X_Trace="row")
    connection = tn.Connection(server.url, "k" * 20, headers={"x-trace": "connection"})
    out = node.run(pd.DataFrame({"a": [1]}), connection, progress=False)
    assert orjson.loads(out.result["body"][0])["sent"][3] == "connection"


@pytest.mark.parametrize("method", ["getNote", "replaceNote", "deleteNote", "changeNote", "cancelNote"])
def test_what_may_be_sent_again_is(method):
    """A request of GET, HEAD, PUT or DELETE whose answer was lost, with no retry for what may have run; no other."""
    settings = {"note_id": "a"} | ({"X_Trace": "t"} if method == "deleteNote" else {})
    settings |= {"text": "a"} if method == "replaceNote" else {}
    with fault_server([reset(), answer()]) as server:
        node = DOCUMENT.node(method)(**settings)
        retry = tn.Retry(ambiguous=0, server_error=2)
        out = node.run(pd.DataFrame({"a": [1]}), tn.Connection(server.url), retry=retry, progress=False)
    assert list(out.log["outcome"]) == (["ok"] if method in ("getNote", "replaceNote", "deleteNote") else ["reset"])


def test_rows_of_other_places_share_no_answer(server, tmp_path):
    """In a journal, and where equal rows are asked once: the path, the query and the headers of a row count."""
    node, journal = DOCUMENT.node("getNote"), tmp_path / "j"
    connection = tn.Connection(server.url)
    frame = pd.DataFrame({"note_id": ["a", "b", "a"], "X-Trace": ["1", "1", "2"]})
    before = len(server.requests)
    first = node().run(frame, connection, journal=journal, progress=False)
    turned = node().run(frame.iloc[::-1], connection, journal=journal, progress=False)
    assert len(server.requests) - before == 3
    assert list(turned.result["body"]) == list(first.result["body"])[::-1]
    once = node().run(pd.concat([frame, frame]), connection, duplicates="once", progress=False)
    assert len(server.requests) - before == 6
    assert list(once.result["body"]) == list(first.result["body"]) * 2
    assert node().check(pd.concat([frame, frame])).duplicates == 3
    assert node().estimate(frame, connection, journal=journal).to_send == 0
    assert list(first.retry_failed(journal=journal, progress=False).result["body"]) == list(first.result["body"])


def test_a_node_of_a_document_is_a_value(server):
    """The same class for the same operation; it is pickled without the file, and found by no name of its own."""
    node = DOCUMENT.node("createNote")(text="{{ word }}", into="note")
    assert openapi.load(NOTES).node("POST /notes") is type(node)
    assert pickle.loads(pickle.dumps(node)) == node
    assert node.replace(stars=3) != node
    assert repr(node) == "CreateNote(text='{{ word }}', into='note')"
    assert "CreateNote" not in known_nodes()
    with wording.raises(SettingError):
        type(node)(txt="a")


def test_the_documentation_of_a_node_is_the_document_s():
    """Each setting with its type, its limits and what it means."""
    text = DOCUMENT.node("createNote").__doc__
    assert "What it says. [at most 40 characters]" in text
    assert text.startswith("Keep a note: POST /notes.")


FLOW = """
nodes:
  - {{id: note, type: "openapi:{path}#createNote", text: "{{{{ word }}}}"}}
  - {{id: part, type: "openapi:{path}#getNote", note_id: "{{{{ outputs.note.sent[0] }}}}"}}
  - {{id: said, type: Return, text: "{{{{ part }}}}"}}
"""


def test_a_workflow_s_file_names_an_operation(server, tmp_path, monkeypatch):
    """By a path from its own folder; a later node reads the answer, as a text or by its fields."""
    folder = tmp_path / "flows"
    folder.mkdir()
    (folder / "notes.yaml").write_text(NOTES.read_text())
    (folder / "flow.yaml").write_text(FLOW.format(path="notes.yaml"))
    flow = tn.Workflow.load(folder / "flow.yaml")
    out = flow.run(pd.DataFrame({"word": ["a"]}), connection=tn.Connection(server.url), progress=False)
    assert json.loads(out.table["said"][0])["sent"][:2] == ["GET", "/v1/notes/POST"]
    assert list(out.table["note_outcome"]) == ["ok"]
    flow.save(tmp_path / "again.yaml")
    assert 'type: "openapi:flows/notes.yaml#createNote"' in (tmp_path / "again.yaml").read_text()
    assert tn.Workflow.load(tmp_path / "again.yaml").nodes == flow.nodes
    with wording.raises(tn.errors.WorkflowError):
        (folder / "flow.yaml").write_text(FLOW.format(path="gone.yaml"))
        tn.Workflow.load(folder / "flow.yaml")


def run_command(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*map(str, arguments)])
    return ended.value.code or 0


def test_the_command_line_calls_an_operation(server, tmp_path, capsys, monkeypatch):
    """And lists what a document has."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "k" * 20)
    table = tmp_path / "t.csv"
    table.write_text("note_id,X-Trace\na/b,t\n")
    written = tmp_path / "out.csv"
    assert run_command("call", f"{NOTES}#deleteNote", table, "-o", written, "-q") == 0
    assert json.loads(pd.read_csv(written)["answer"][0])["sent"] == ["DELETE", "/v1/notes/a%2Fb", "", "t"]
    assert run_command("nodes", NOTES) == 0
    listed = capsys.readouterr().out
    assert "createNote" in listed
    assert "no: the body is not JSON: multipart/form-data" in listed
    assert run_command("nodes", f"{NOTES}#createNote") == 0
    assert "What it says." in capsys.readouterr().out
    assert run_command("submit", f"{NOTES}#createNote", table) == 2
