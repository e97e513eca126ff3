"""Whatever is wrong at the command line is said in its own words: options and files, never a call in Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from sentences import wording
from servers import answer, fault_server
from test_cli import WRONG, connection, folder, server  # noqa: F401 - fixtures

import tablenodes as tn
from tablenodes.cli.complaints import _SENTENCES
from tablenodes.errors import TableError

PYTHON = re.compile(
    r"\btn\.|\b[A-Z]\w+\(|\b\w+\.\w+\(|=…\)|\b[a-z_]+=(?=[\s,;:)…]|$)|(?<!-)\b[a-z_]+=[^\s=,]*\)|\.failed\b|\.output\b"
    r"|(?<!--set )\b[a-z_]+=\[|Traceback|\bNone\b|\bTrue\b|\bFalse\b"
)
"""What is written in Python alone."""
CHAT = ["call", "CreateChatCompletion", "words.csv", "--model", "m", "--no-key"]
ASK = [*CHAT, "--prompt", "{{ word }}"]
WRONG_SETTINGS = [
    *(
        "temperature=hot",
        "temperature=3",
        "n=0",
        "max_tokens=x",
        "stream=maybe",
        "stop=[1",
        "columns=[",
        "columns=nope",
    ),
    *("schema=nope", "schema=no.json", "extra_body=[1]", "api_key=x", "base_url=x", "top_k=1", "timeout=3", "engine=m"),
    *("response_model=x", "labels=a,b", "tools=[{}]", "tools=x", "functions=[]", "image_root=no", "client_timeout=x"),
    *("answer=int", "answer_mode=toll", "into=word", "logit_bias=x", 'response_format={"type": "text"}', "messages=[]"),
    *("messages=x", 'messages=[{"role": "user"}]', "stream_options={}", "top_logprobs=2", "best_of=2", "user={{"),
    *("user={{ wort }}", "user={{ word | nope }}", "user={% if x %}", "user={{ word.x() }}", "image={{ word }}"),
]
WRONG_OPTIONS = [
    *(["--prompt", text] for text in ("{{", "{{ wort }}", "{{ word | nope }}", "@no.txt", "{word}", "{{ word + 1 }}")),
    *(["--answer", text] for text in ("", "x", "@no.json", "stars=", "a=int,b", "stars=strang", "@words.csv")),
    *(["--rows", text] for text in ("x", "5:1", "-1", ":")),
    *(["--where", text] for text in ("wort == 1", "word ==", "{{ word }", "word.x()")),
    *(["--columns", text] for text in ("nope", "", "word,word")),
    *(
        ["--base-url", text]
        for text in ("x", "http://k:s@h/v1", "http://h/v1?a=b", "ftp://h", "http://h/v1/completions")
    ),
    *(["--output", text] for text in ("no/x.csv", "words.csv", "x.txt", ".", "-")),
    *(["--journal", text] for text in ("words.csv", "no/x", ".")),
    *(["--log", text] for text in ("words.csv", "no/x.csv", "x.txt", ".")),
    *(["--retry-failed", text] for text in ("some", "ok", "")),
    *(["--max-cost", text] for text in ("x", "-1", "1")),
    *(["--header", text] for text in ("x", "A: b\nc", "Authorization: x")),
    *(["--prices", text] for text in ("no.json", "words.csv")),
    *(["--ca-bundle", text] for text in ("no.pem", "words.csv")),
    *(["--into", text] for text in ("", "word")),
    *([option] for option in ("--jsonl", "--no-send", "--local", "--top-k", "--api-key", "--replace", "--again")),
    ["-q", "-v"],
    ["--no-journal", "--journal", "x"],
    ["--api-key-env", "NOT_THERE"],
    ["--duplicates", "twice"],
    ["--format", "csv"],
    ["--concurrency", "0"],
    ["--transport", "pigeon"],
    ["--proxy", "x"],
    ["--query-param", "x"],
    ["--set", "x"],
]
COMMANDS = {
    "what is wrong": [*WRONG.values()],
    "settings": [[*ASK, "--set", each] for each in WRONG_SETTINGS],
    "options": [[*ASK, *each] for each in WRONG_OPTIONS],
    "nodes": [
        *(["call", kind, "words.csv", "--no-key"] for kind in tn.nodes.known_nodes()),
        *(["call", kind, "words.csv", "--no-key", "-o", "o.csv"] for kind in tn.nodes.known_nodes()),
        *(["submit", kind, "words.csv", "--no-key", "--store", "s"] for kind in tn.nodes.known_nodes()),
        *(["submit", *ASK[1:], "--store", "s", "--set", each] for each in ("stop=a, {{", "stop={{ wort }}, b", "n=0")),
        ["call", "Chat", "words.csv"],
        ["call"],
        ["call", "CreateChatCompletion"],
    ],
    "tables": [
        *([*ASK[:2], name, *ASK[3:]] for name in ("no.csv", "ragged.csv", "nul.csv", "bad.jsonl", "bad.parquet", ".")),
        *([*ASK[:2], name, *ASK[3:]] for name in ("empty.csv", "twice.csv", "latin.csv", "words.txt", "body.csv")),
        ["retrieve", "words.csv"],
        ["retrieve", "no.csv"],
        ["retrieve", "resp_" + "0" * 40, "--store", "s"],
        ["retrieve", "resp_1"],
        ["retrieve", "words.csv", "--wait", "-1"],
    ],
    "others": [
        *(["check", "w.yaml", *more] for more in (["--table", "no.csv"], ["--input", "x=1"], ["--rows", "x"])),
        *(["schema", *more] for more in (["chat"], ["create_completion", "-p", "x"], ["-r", "nope"])),
        *([each, "no.yaml"] for each in ("run", "check", "graph", "convert")),
        *([each, "words.csv"] for each in ("run", "check", "graph", "convert", "journal")),
        *(["store", *more, "--store", "words.csv"] for more in ([], ["--clear", "x"], ["--conversation", "x"])),
        ["store", "--clear", "-1", "--store", "s"],
        ["journal", "no.journal"],
        ["nodes", "Chat"],
        ["walk"],
    ],
}


@pytest.mark.parametrize("what", COMMANDS)
def test_no_error_is_worded_in_python(what, folder, command, server, monkeypatch):  # noqa: F811
    """Of all commands with all that may be wrong; and no traceback."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("TABLENODES_STORE", str(folder / "a store"))
    for name, data in FILES.items():
        Path(name).write_bytes(data)
    found = {}
    for arguments in COMMANDS[what]:
        _, _, err = command(*arguments)
        if wrong := [line for line in err.splitlines() if PYTHON.search(line)]:
            found[" ".join(map(str, arguments))] = wrong
    assert found == {}


FILES = {
    "bad.yaml": b"nods: []\n",
    "other.csv": b"wort\nx\n",
    "ragged.csv": b"word,n\na,1,2,3\n",
    "nul.csv": b"word\na\0b\n",
    "bad.jsonl": b'{"word": 1\n',
    "bad.parquet": b"PAR1",
    "empty.csv": b"",
    "twice.csv": b"word,word\na,b\n",
    "latin.csv": b"word\n\xe9t\xe9\n",
    "words.txt": b"a\n",
    "body.csv": b'word,body\na,"{""choices"": []}"\n',
}


@pytest.mark.parametrize("body", ["", '{"error": {"message": "no", "code": "x"}}'])
@pytest.mark.parametrize("status", [200, 307, 401, 403, 404, 422, 429, 500])
def test_no_failed_row_is_worded_in_python(status, body, folder, command, monkeypatch):  # noqa: F811
    """Whatever the server answered: not in the terminal, nor in the table."""
    never = [f"--retry-{kind}=0" for kind in ("not-executed", "throttled", "server-error", "ambiguous")]
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with fault_server(answer(body, status, {"Location": "http://127.0.0.1:1/"})) as other:
        arguments = [each for each in ASK if each != "--no-key"]
        _, _, err = command(*arguments, "--base-url", other.url, "-o", "out.csv", "--answer", "int", *never)
    told = Path("out.csv").read_text()
    assert [line for line in (err + told).splitlines() if PYTHON.search(line)] == []


# --- all that is written ----------------------------------------------------------------------------------------------

PYTHON_ALONE = {
    "connection/connection.py": "what is given as a connection and is none",
    "later/retrieval.py": "what an output of Python's says of itself",
    "nodes/retrieval_node.py": "a text that is given as a table",
    "tables/batch_files.py": "what is given to run_batches",
    "nodes/conversation_nodes.py": "an output that is given as a table or a setting",
    "nodes/neighbours.py": "it words what it says by the door",
    "nodes/request_node.py": "an argument of estimate",
    "run/last_output.py": "what an interrupt has",
    "run/output.py": "what an output's methods refuse",
    "run/second_run.py": "what an output's methods refuse",
    "run/run.py": "what an output's methods refuse",
    "run/summary.py": "the line at a run's end, which the command line says by itself",
    "tables/kinds.py": "what is no table",
    "tables/views.py": "names that no file has",
    "workflow/inputs.py": "inputs that are no mapping",
    "errors.py": "the output of an error",
}
"""Files whose words of Python nobody sees at the command line, and why."""
_REPR = ("engine/calls.py", "local/server.py", "schemas/schema.py")


SAID = re.compile(r"\btn\.|\b[a-z_]+=(?=[\s,;:)…]|$)")


def texts(tree):
    """Return every text of a module but its docstrings, with its line."""
    docs = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    inner = {id(part) for each in ast.walk(tree) if isinstance(each, ast.JoinedStr) for part in each.values}
    for each in ast.walk(tree):
        if isinstance(each, ast.JoinedStr | ast.Constant) and id(each) not in docs | inner:
            parts = each.values if isinstance(each, ast.JoinedStr) else [each]
            yield "".join(str(getattr(part, "value", "")) for part in parts), each.lineno


def codes_around(tree, line):
    """Return the codes of errors and remarks in the function or the statement that a line is in."""
    kinds = (ast.FunctionDef, ast.Assign)
    around = [each for each in ast.walk(tree) if isinstance(each, kinds) and each.lineno <= line <= each.end_lineno]
    words = (each for place in around for each in ast.walk(place) if isinstance(each, ast.keyword))
    return {each.value.value for each in words if each.arg == "code" and isinstance(each.value, ast.Constant)}


def test_every_sentence_of_python_has_one_for_the_command_line():
    """A text that names an argument belongs to a code that the command line words by itself."""
    package = Path(tn.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        source = path.read_text()
        elsewhere = name in PYTHON_ALONE or name in _REPR
        is_left_out = elsewhere or name.startswith(("cli/", "cluster/", "local/", "notebook/", "testing"))
        if is_left_out or not SAID.search(source):
            continue
        tree = ast.parse(source)
        for text, line in texts(tree):
            if " " in text and "\n" not in text and SAID.search(text) and not codes_around(tree, line) & {*_SENTENCES}:
                found.append(f"{name}:{line}: {text}")
    assert found == []


PASSWORD = "geheim"
ADDRESSES = [f"{scheme}://tn:{PASSWORD}@h/x" for scheme in ("postgresq", "mysqll", "http", "foo")]


@pytest.mark.parametrize("where", ["table", "--output", "--query", "--output-table", "--journal", "--log", "--prompt"])
def test_a_password_in_an_address_is_never_shown(where, folder, command):  # noqa: F811
    """Wherever a path or an address is meant, and whatever is wrong with it; a misspelt database is named."""
    said = []
    for address in ADDRESSES:
        table = address if where in ("table", "--query") else "words.csv"
        given = {"table": [], "--query": ["--query", "q"], "--prompt": ["--prompt", f"@{address}"]}
        given["--output-table"] = ["-o", address, "--output-table", "t"]
        asked = [] if where == "--prompt" else ["--prompt", "{{ word }}"]
        code, out, err = command(*CHAT[:2], table, *CHAT[3:], *asked, *given.get(where, [where, address]))
        said.append(err)
        assert code in (1, 2)
        assert PASSWORD not in out + err
    wording("".join(said))


def test_an_error_masks_the_password_of_an_address():
    """Also in Python, and with characters that an address cannot have."""
    with wording.raises(TableError) as caught:
        tn.read_table("foo://tn:ge@he/im 'x@host/x.csv")
    assert "im" not in str(caught.value)
    assert str(TableError("no 'http://h:80/v1/@cf/x' and no 'a:/b:c@d?password=e&f'")) == (
        "no 'http://h:80/v1/@cf/x' and no 'a:/b:***@d?password=***&f'"
    )


def test_a_prompts_file_has_lines_of_one_kind_and_is_not_empty(folder, command, server):  # noqa: F811
    """Whatever system wrote it: the server gets line feeds; a file with nothing in it is no prompt."""
    Path("prompt.txt").write_bytes(b"\xef\xbb\xbfone {{ word }}\r\ntwo\r\n")
    code, out, _ = command(*CHAT, "--prompt", "@prompt.txt", "--base-url", server.url, "--dry-run")
    assert (code, r"\r" in out, r"\ntwo" in out, r"two\n" in out) == (0, False, True, False)
    for empty in (b"", b"\xef\xbb\xbf\r\n"):
        Path("prompt.txt").write_bytes(empty)
        code, _, err = command(*CHAT, "--prompt", "@prompt.txt", "--base-url", server.url)
        assert code == 1
        wording(err)


MEANT = {
    "--key-column": ["--key-column", "nope", "-o", "sqlite:///a.db", "--output-table", "t"],
    "--columns": ["--columns", "word,answr"],
    "--columns of a database": ["-o", "sqlite:///there.db", "--output-table", "t", "--if-exists", "append"],
    "--if-exists": ["-o", "sqlite:///there.db", "--output-table", "t"],
    "--sheet": ["--sheet", "A"],
    "--prices": ["--estimate"],
    "--header-env": ["--header-env", "X-Team=sk-0123456789abcdefgh"],
    "--timeout": ["--timeout", "5s"],
    "--rows": ["--rows", "3:1"],
}


@pytest.mark.parametrize("option", MEANT)
def test_what_is_wrong_is_said_of_the_option_that_was_given(option, folder, command, server):  # noqa: F811
    """And no part of a secret that was written in a variable's place is shown."""
    tn.write_table(tn.read_table("words.csv")[["n"]], "sqlite:///there.db", table="t")
    _, out, err = command(*ASK, *MEANT[option], "--base-url", server.url)
    assert option.partition(" ")[0] in out + err
    assert "sk-" not in err
    wording("\n".join(line for line in (out + err).splitlines() if "tablenodes: CreateChat" not in line))


def test_a_shown_request_says_where_no_key_is_set(folder, command, monkeypatch):  # noqa: F811
    """And has the mask where one is."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    _, unset, _ = command(*CHAT[:-1], "--prompt", "a", "--dry-run")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0123456789abcdef")
    _, given, _ = command(*CHAT[:-1], "--prompt", "a", "--dry-run")
    assert [re.findall("Authorization: (.*)", each) for each in (unset, given)] == [
        ["Bearer (not set)"],
        ["Bearer ***"],
    ]


def test_a_hint_at_a_prompt_of_the_shell_has_no_tag_of_a_file(folder, command):  # noqa: F811
    """Nor a call: neither can be typed there."""
    _, _, err = command(*CHAT, "--prompt", "{{ none_such }}")
    assert "literal" not in err
    wording.line(err)
