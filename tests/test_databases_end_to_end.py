"""From a database, by the command line or a workflow's file, into a database: real files, a real server, real kills."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from commands import Command
from database_server import execute
from killing import oracle
from sentences import wording
from servers import answer, echo, fault_server
from signalling import Process
from test_databases import cells, database, sql  # noqa: F401 - a fixture

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.database_address import database_address

REFUSED = answer({"error": {"message": "no", "type": "invalid_request_error"}}, 400)
SECRET = "hunter2hunter2"


def fill(url, rows=3):
    """Make a table of reviews, whose ids are not their positions."""
    values = ", ".join(f"({7 * row + 1}, 'Say w{row}')" for row in range(rows))
    sql(url, "create table reviews (id bigint primary key, review text)", f"insert into reviews values {values}")


def call(url, server, *more, table="answers", source=None):
    """Return the arguments of a command that asks for the reviews' answers and writes them to a table beside."""
    how = ["--model", "m", "--prompt", "{{ review }}", "--base-url", server, "--no-key", "--no-progress"]
    read = [source or url, "--query", "select id, review from reviews order by id"]
    return ["call", "CreateChatCompletion", *read, *how, "-o", url, "--output-table", table, *more]


@pytest.fixture
def run(capsys):
    """Return a function that runs a command here, and returns its exit code and what it wrote."""

    def command(arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
        return ended.value.code, *capsys.readouterr()

    return command


@pytest.fixture
def shop(tmp_path):
    """Return the address of an empty SQLite database."""
    return f"sqlite:///{tmp_path}/shop.db"


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- there and back ---------------------------------------------------------------------------------------------------


def test_a_query_is_asked_and_its_answers_are_a_table(database, run):  # noqa: F811
    """With the columns that were read, as they were typed; the journal is beside the file, or here."""
    fill(database)
    with fault_server(echo()) as server:
        code, out, err = run(call(database, server.url))
    assert (code, out) == (0, "")
    wording(err.splitlines()[-1], path=database_address(database).shown)
    found = sql(database, "select id, review, answer, status, outcome, message from answers order by id")
    assert [(row[0], row[1], *row[3:]) for row in found] == [
        (1, "Say w0", 200, "ok", None),
        (8, "Say w1", 200, "ok", None),
        (15, "Say w2", 200, "ok", None),
    ]
    assert all(row[2] for row in found)
    path = database_address(database).path
    assert Path(f"{path}.answers.journal" if path else "answers.journal").exists()


def test_a_workflows_file_names_both_tables(shop, tmp_path, run):
    """With a query in a file; the same as any other table and output."""
    fill(shop)
    (tmp_path / "reviews.sql").write_text("select id, review from reviews order by id")
    with fault_server(echo()) as server:
        (tmp_path / "w.yaml").write_text(
            f"connection: {{base_url: '{server.url}', api_key: ''}}\n"
            f"table: {{url: '{shop}', query: '@reviews.sql'}}\n"
            "nodes:\n  - {id: ask, type: CreateChatCompletion, model: m, prompt: '{{ review }}'}\n"
            f"output: {{url: '{shop}', table: answers, key: id, columns: [id, ask]}}\n"
        )
        workflow = tn.Workflow.load("w.yaml")
        assert tn.Workflow.load("w.yaml") == workflow
        workflow.save("again.yaml")
        assert tn.Workflow.load("again.yaml") == workflow
        assert run(["check", "w.yaml"])[0] == 0
        for _ in range(2):
            assert run(["run", "again.yaml", "--no-progress"])[0] == 0
        names = [name for _, name, *_ in sql(shop, "pragma table_info(answers)")]
        assert names == ["id", "ask"]
        assert workflow.run(progress=False).table.shape == (3, 6)
    assert [row[0] for row in cells(shop, "select id, ask from answers order by id")] == [1, 8, 15]


def test_rows_that_failed_are_updated_by_the_run_that_asks_them_again(postgresql, run):
    """The table has the newest of every row, each once."""
    fill(postgresql, 4)
    with fault_server([echo(), REFUSED, echo(), REFUSED, echo()]) as server:
        more = ("--key-column", "id", "-c", "1")
        assert run(call(postgresql, server.url, *more))[0] == 3
        before = sql(
            postgresql, "select outcome, count(*), count(answer) from answers group by outcome order by outcome"
        )
        assert before == [("http_error", 2, 0), ("ok", 2, 2)]
        assert run(call(postgresql, server.url, *more, "--retry-failed", "all"))[0] == 0
        assert len(server.requests) == 6
    assert sql(postgresql, "select outcome, count(*), count(distinct id) from answers group by outcome") == [
        ("ok", 4, 4)
    ]


def test_ids_of_submitted_rows_are_a_table_that_is_retrieved(shop, run):
    """The worker's rows too."""
    fill(shop)
    with fault_server(echo()) as server:
        arguments = call(shop, server.url, "--submission", "s", table="ids")
        code, _, err = run(["submit", "CreateChatCompletionAsync", *arguments[2:]])
        assert code == 0, err
        out = ["-o", shop, "--output-table", "answers", "--wait", "30"]
        code, _, err = run(["retrieve", shop, "--query", "select * from ids", *out])
        assert code == 0, err
    assert sql(shop, "select count(*), count(answer) from answers") == [(3, 3)]


# --- before anything is sent ------------------------------------------------------------------------------------------


def test_what_cannot_be_written_is_known_before_anything_is_sent(shop, run):
    """A table that is there, columns that do not fit, a key that is no key; and nothing is changed by it."""
    fill(shop)
    sql(shop, "create table answers (id bigint, answer bigint, run text not null)", "create table other (id bigint)")
    with fault_server(echo()) as server:
        for more in (
            (),
            ("--if-exists", "append"),
            ("--key-column", "ids"),
            ("--key-column", "id", "--output-table", "other"),
            ("--columns", "answer", "--key-column", "id"),
            ("--output-table", ""),
        ):
            code, out, err = run(call(shop, server.url, *more))
            assert (code, out) == (1, "")
            wording.line(err, path=database_address(shop).shown)
        sql(shop, "insert into other values (1)", "create table twice as select 'a' as id, review from reviews")
        arguments = call(shop, server.url, "--key-column", "id", table="new")
        code, _, err = run(["call", "CreateChatCompletion", shop, "--query", "select * from twice", *arguments[5:]])
        assert code == 1
        wording.line(err)
        assert server.requests == []
    assert sql(shop, "select count(*) from answers") == [(0,)]


def test_what_may_not_be_written_is_known_too(postgresql, run):
    """The server says so, when it is tried."""
    fill(postgresql)
    schema = postgresql.rpartition("%3D")[2]
    execute(postgresql, f"create role r_{schema} login", f"grant usage on schema {schema} to r_{schema}")
    execute(postgresql, f"grant select on {schema}.reviews to r_{schema}")
    url = postgresql.replace("//tn@", f"//r_{schema}:{SECRET}@")
    with fault_server(echo()) as server:
        code, _, err = run(call(url, server.url))
        assert (code, server.requests) == (1, [])
    assert SECRET not in err
    wording.line(err, path=database_address(url).shown, schema=schema)


@pytest.mark.parametrize(
    "more",
    [
        ("--query", "select 1", "x.csv"),
        ("--output-table", "t", "x.csv"),
        ("--if-exists", "append", "x.csv"),
        ("--if-exists", "update", "x.csv"),
        ("--output", "sqlite:///x.db", "x.csv"),
        ("--output", "sqlite:///x.db", "--output-table", "t", "sqlite:///x.db"),
        ("--output", "mysql://h/db", "x.csv"),
    ],
)
def test_options_of_databases_are_for_databases(more, tmp_path, run):
    """Nobody believes that one had an effect; what is missing is named."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    sql("sqlite:///x.db", "create table t (a int)")
    *options, table = more
    code, out, err = run(["call", "CreateChatCompletion", table, "--model", "m", "--prompt", "x", *options])
    assert (code in (1, 2), out) == (True, "")
    wording.line(err)


@pytest.mark.parametrize("part", ["table", "output"])
def test_a_password_in_a_workflows_file_is_refused(part, tmp_path):
    """As a key is; and one that Python has is not written to a file."""
    told = {"table": "{url: URL, query: select 1}", "output": "{url: URL, table: t}"}[part]
    url = f"postgresql://u:{SECRET}@h/db"
    node = "{id: ask, type: CreateChatCompletion, model: m, prompt: x}"
    (tmp_path / "w.yaml").write_text(f"nodes:\n  - {node}\n{part}: {told.replace('URL', url)}\n")
    with wording.raises(tn.errors.WorkflowError) as caught:
        tn.Workflow.load("w.yaml")
    assert SECRET not in str(caught.value)
    parts = {"table": {"url": url, "query": "select 1"}, "output": {"url": url, "table": "t"}}
    workflow = tn.Workflow({"ask": tn.CreateChatCompletion(model="m", prompt="x")}, **{part: parts[part]})
    assert SECRET not in f"{workflow!r} {workflow._repr_html_()} {workflow.graph()}"
    with wording.raises(tn.errors.WorkflowError):
        workflow.to_yaml()


# --- runs that end early ----------------------------------------------------------------------------------------------


def test_a_run_that_ends_early_writes_what_a_later_one_does_not_repeat(shop, run):
    """With a key, the rows that were sent; without one nothing, since the journal has it; without a journal, all."""
    fill(shop, 5)
    with fault_server(echo()) as server:
        few = ("--max-requests", "2")
        code, _, err = run(call(shop, server.url, *few))
        assert (code, sql(shop, "select name from sqlite_master where name = 'answers'")) == (3, [])
        wording(next(line for line in err.splitlines() if "not written" in line))
        assert run(call(shop, server.url, *few, "--key-column", "id", table="keyed"))[0] == 3
        assert sql(shop, "select outcome, count(*) from keyed group by outcome") == [("ok", 2)]
        assert run(call(shop, server.url, *few, "--no-journal", table="lost"))[0] == 3
        assert sql(shop, "select count(*), count(answer) from lost") == [(5, 2)]
        assert run(call(shop, server.url))[0] == 0
        assert run(call(shop, server.url, "--key-column", "id", table="keyed"))[0] == 0
    for table in ("answers", "keyed"):
        assert sql(shop, f"select count(distinct id), count(answer) from {table}") == [(5, 5)]


@pytest.mark.parametrize(
    ("engine", "rows", "more"),
    [
        ("postgresql", 2_000, ("--key-column", "id")),
        ("sqlite", 300, ()),
        ("duckdb", 300, ("--if-exists", "replace")),
    ],
)
def test_no_row_is_missing_or_twice_after_a_kill(engine, rows, more, request, tmp_path, run):
    """In the middle of a run, and while the table is written; the same command goes on."""
    url = request.getfixturevalue("postgresql") if engine == "postgresql" else f"{engine}:///{tmp_path}/shop.{engine}"
    fill(url, rows)
    with oracle(0.0005) as server:
        arguments = call(url, server.url, *more, "-c", "16")
        with Command(arguments) as first, Process(first.pid) as victim:
            server.at_answers = (rows // 2, lambda: victim.send(signal.SIGKILL))
            assert first.wait(60) == -signal.SIGKILL
        assert _killed_in_the_write(arguments) == -signal.SIGKILL
        assert len(server.received) <= rows + 16
        assert not sql(url, _THERE[engine])[0][0]
        code, _, err = run(arguments)
        assert code == 0, err
        assert len(server.received) <= rows + 16
    told = "count(*), count(distinct id), count(answer), min(id), max(id)"
    assert sql(url, f"select {told} from answers") == [(rows, rows, rows, 1, 7 * (rows - 1) + 1)]


_THERE = {
    "sqlite": "select count(*) from sqlite_master where name = 'answers'",
    "duckdb": "select count(*) from duckdb_tables() where table_name = 'answers'",
    "postgresql": "select count(*) from pg_class where oid = to_regclass('answers')",
}
_KILLS_ITSELF = """
import os, signal
from tablenodes.tables import database_writer
from tablenodes.tables.database_engine import Engine
from importlib import import_module

def stage_of(made):
    kept = made.stage
    def stage(self, columns):
        kept(self, columns)
        rows = len(next(iter(columns.values())).column)
        if rows:  # not when it is only checked
            self.commit = lambda: os.kill(os.getpid(), signal.SIGKILL)
    return stage

for name in ("sqlite", "duckdb", "postgresql"):
    made = import_module(f"tablenodes.tables.{name}_engine").ENGINE
    made.stage = stage_of(made)
from tablenodes.__main__ import main
main()
"""


def _killed_in_the_write(arguments):
    """Run a command that is killed when all its rows are written, and not kept yet; return how it ended."""
    with Command(arguments, _KILLS_ITSELF) as process:
        process.communicate(timeout=60)
    return process.returncode


def test_a_write_that_fails_costs_no_answer(postgresql, run):
    """It is in the journal, and on the standard output; the same command writes it."""
    fill(postgresql, 20)

    def changed():
        execute(postgresql, "create view answers as select 1 as id")

    with oracle() as server:
        server.at_answers = (20, changed)
        code, out, err = run(call(postgresql, server.url))
        assert code == 1
        wording.line(err, path=database_address(postgresql).shown)
        assert "Say w19" in out
        execute(postgresql, "drop view answers")
        assert run(call(postgresql, server.url))[0] == 0
        assert len(server.received) == 20
    assert sql(postgresql, "select count(*) from answers") == [(20,)]
