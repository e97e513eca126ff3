"""Tables of SQLite, DuckDB and PostgreSQL: what is read of them, and what is written to them, all of it or nothing."""

from __future__ import annotations

import datetime
import decimal
import sqlite3
import sys
import uuid
from contextlib import closing
from urllib.parse import quote

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from adbc_driver_postgresql import dbapi
from database_server import PASSWORD, execute
from sentences import wording

import tablenodes as tn
from tablenodes import tables
from tablenodes.database_address import DatabaseTarget, database_address
from tablenodes.errors import ColumnError, TableError
from tablenodes.tables import database_writer
from tablenodes.tables.database_writer import check_target, write_rows

ENGINES = ("sqlite", "duckdb", "postgresql")
SECRET = "hunter2hunter2"


def sql(url, *statements):
    """Execute statements by the engine's own library; return the rows of the last one."""
    address = database_address(url)
    if address.engine == "postgresql":
        return execute(url, *statements)
    library = sqlite3 if address.engine == "sqlite" else duckdb
    with closing(library.connect(address.path)) as database:
        for statement in statements:
            cursor = database.execute(statement)
        rows = cursor.fetchall()
        database.commit() if address.engine == "sqlite" else None
    return rows


@pytest.fixture(params=ENGINES)
def database(request, tmp_path):
    """Return the address of an empty database of each engine."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql")
    return f"{request.param}:///{tmp_path}/base.{request.param}"


def target(url, table="answers", **more):
    return DatabaseTarget(database_address(url), table, **more)


def cells(url, query):
    """Return the rows of a query, each as a tuple of plain cells."""
    view = tables.view(tn.read_table(url, query=query))
    return [*view.rows(view.columns)]


def test_rows_are_read_in_batches_as_they_are_read_at_once(database):
    """The same cells in the same order, texts as they are; a query that cannot be is said in the engine's words."""
    values = ", ".join(f"({at}, 'w{at}', {at / 4}, {'null' if at % 3 else at})" for at in range(50))
    kinds = "id integer, text varchar(9), score double precision, part integer"
    sql(database, f"create table rows ({kinds})", f"insert into rows values {values}")
    source = tables.batch_source(database, "select * from rows order by id")
    made = [row for view in source.views() for row in view.rows(view.columns)]
    assert made == cells(database, "select * from rows order by id")
    assert [row for view in source.views() for row in view.rows(("id",))] == [(at,) for at in range(50)]
    with pytest.raises(TableError, match="rowz"):
        tables.batch_source(database, "select * from rowz")
    with pytest.raises(TableError, match="say what to read of it"):
        tables.batch_source(database)


def test_columns_of_several_types_are_read_in_batches_as_what_they_are(tmp_path):
    """SQLite keeps any value in any column."""
    url = f"sqlite:///{tmp_path}/base.sqlite"
    sql(
        url,
        "create table rows (any, bytes)",
        "insert into rows values (1, x'00ff'), ('x', null), (null, x''), (2.5, x'01')",
    )
    (view,) = tables.batch_source(url, "select * from rows").views()
    assert [any_ for any_, _ in view.rows(view.columns)] == [1, "x", None, 2.5]


# --- what is read -----------------------------------------------------------------------------------------------------


OF_POSTGRESQL = [
    ("7::int2", "int16", 7),
    ("9007199254740993::int8", "int64", 2**53 + 1),
    ("0.7::float4", "float32", np.float32(0.7)),
    ("true", "bool", True),
    ("12345678901234567890.12345::numeric", "object", decimal.Decimal("12345678901234567890.12345")),
    ("1.10::numeric(10, 2)", "object", decimal.Decimal("1.10")),
    ("'NA'::varchar(9)", "str", "NA"),
    ("timestamptz '2024-01-02 03:04:05+02'", "datetime64[us, UTC]", pd.Timestamp("2024-01-02 01:04:05Z")),
    ("timestamp '2024-01-02 03:04:05.678901'", "datetime64[us]", pd.Timestamp("2024-01-02 03:04:05.678901")),
    ("date '2024-02-29'", "object", datetime.date(2024, 2, 29)),
    ("time '01:02:03'", "object", datetime.time(1, 2, 3)),
    ("interval '1 day 2 hours'", "str", "1 day 02:00:00"),
    ("'{\"a\": [1, null, 123456789012345678901]}'::json", "object", {"a": [1, None, 123456789012345678901]}),
    ("'[{\"a\": 1.5}]'::jsonb", "object", [{"a": 1.5}]),
    ("array[1, 2, null]", "object", [1, 2, None]),
    ("array[[1, 2], [3, 4]]", "object", [[1, 2], [3, 4]]),
    ("array['x', null]", "object", ["x", None]),
    ("row(1, 'x')", "object", {"f1": 1, "f2": "x"}),
    ("'\\x0001ff'::bytea", "object", b"\x00\x01\xff"),
    ("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", "str", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("'10.0.0.1'::inet", "str", "10.0.0.1/32"),
    ("int4range(1, 3)", "str", "[1,3)"),
    ("timetz '01:02:03+02'", "str", "01:02:03+02"),
    ("1.5::money", "str", "$1.50"),
]


def test_a_value_of_postgresql_is_read_as_what_it_is(postgresql):
    """Exact, with its time zone, structured; what Python has no type for is the text that psql shows."""
    told = ", ".join(f"{expression} as c{at}" for at, (expression, _, _) in enumerate(OF_POSTGRESQL))
    found = tn.read_table(postgresql, query=f"select {told}; \n-- whatever")
    assert [(str(found[name].dtype), found[name][0]) for name in found] == [each[1:] for each in OF_POSTGRESQL]


def test_a_value_of_duckdb_is_read_as_what_it_is(tmp_path):
    """Its nested types are nested, and what Arrow has no type for is text."""
    query = (
        "select 2::hugeint as h, 1.10::decimal(10, 2) as d, '{\"a\": 1}'::json as j, interval 1 day as i, [1, 2] as l,"
        " {'a': 1} as s, timestamptz '2024-01-01 00:00:00+02' as z, 'a'::enum('a', 'b') as e, null as n,"
        " '101'::bit as b"
    )
    (row,) = cells("duckdb:///:memory:", query)
    assert row == (2, 1.1, {"a": 1}, "1 day", [1, 2], {"a": 1}, "2023-12-31T22:00:00+00:00", "a", None, "101")
    assert tn.read_table("duckdb:///:memory:", query=query)["d"][0] == decimal.Decimal("1.10")


def test_a_column_of_sqlite_holds_whatever_it_holds(tmp_path):
    """Its types say nothing: the values do, of all rows, not of the first ones."""
    url = f"sqlite:///{tmp_path}/a.db"
    sql(
        url,
        "create table t (i int, x real, m, t text, b blob, n)",
        "insert into t values (1, 1.5, 1, 'NA', x'00', null)",
    )
    sql(url, *["insert into t values (null, 2, 1.5, '007', null, null)"] * 2_000, "insert into t (m) values (2)")
    found = tn.read_table(url, query="select * from t")
    assert [str(each) for each in found.dtypes] == ["Int64", "float64", "float64", "str", "object", "object"]
    sql(url, "insert into t (m, i) values ('text', 1.5)")
    found = tn.read_table(url, query="select m, i from t")
    assert [found["m"][0], found["m"][1], found["m"].iloc[-1]] == [1, 1.5, "text"]
    assert (found["i"][0], found["i"].iloc[-1]) == (1, 1.5)


def test_no_row_is_a_table_with_its_columns(database):
    """A query that finds nothing is no error."""
    sql(database, "create table t (a int, b text)")
    found = tn.read_table(database, query="select a, b from t")
    assert (list(found.columns), len(found)) == (["a", "b"], 0)


def test_a_null_is_null_in_every_type(database):
    """Nothing is made up for it."""
    sql(database, "create table t (a int, b text, c double precision, d date)", "insert into t (a) values (null)")
    assert cells(database, "select * from t") == [(None,) * 4]


def test_reading_writes_nothing(database):
    """The connection can only read, whatever the query says."""
    sql(database, "create table t (a int)", "insert into t values (1)")
    with pytest.raises(TableError, match=r"(?i)read.?only"):
        tn.read_table(database, query="delete from t" + (" returning a" * (not database.startswith("duckdb"))))
    assert sql(database, "select count(*) from t") == [(1,)]


def test_a_database_without_a_query_says_which_tables_it_has(database):
    """What can be read is said, and how."""
    sql(database, "create table reviews (a int)", "create view seen as select 1 as a")
    with wording.raises(TableError, path=_path(database)) as caught:
        tn.read_table(database)
    assert caught.value.code == "no_query"


def _path(url):
    return database_address(url).shown


def test_a_query_may_be_in_a_file(tmp_path):
    """A long one is easier to edit there."""
    (tmp_path / "q.sql").write_text("-- é\nselect 1 as a;\n")
    url = f"sqlite:///{tmp_path}/a.db"
    sql(url, "create table t (a int)")
    assert cells(url, f"@{tmp_path}/q.sql") == [(1,)]
    with wording.raises(TableError):
        tn.read_table(url, query=f"@{tmp_path}/no.sql")


def test_what_is_wrong_with_a_query_is_said_in_the_engines_words(database):
    """One line, with the engine's own hint."""
    sql(database, "create table reviews (stars int)")
    for query in ("selec 1", "select star from reviews", "select 1 as a, 2 as a"):
        with wording.raises((TableError, ColumnError), path=_path(database)):
            tn.read_table(database, query=query)


# --- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://file.db",
        "sqlite:///",
        "sqlite:///:memory:",
        "duckdb:///x.duckdb?access_mode=read_only",
        "mysql://host/db",
        "sqlite:///no/such/folder.db",
        f"postgresql://u:{SECRET}@x@host/db",
        f"postgresql://u:{SECRET}/x@host/db",
        f"postgresql://u:{SECRET}@127.0.0.1:1/db",
        f"postgresql://127.0.0.1:1/db?user=u&password={SECRET}",
        f"postgresql+psycopg://u:{SECRET}@127.0.0.1:not_a_port/db",
    ],
)
def test_an_address_that_cannot_be_used_is_said_in_a_line_without_its_password(url):
    """Whoever mistypes one finds out how it is written."""
    with wording.raises(TableError) as caught:
        tn.read_table(url, query="select 1")
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_of_sqlite_is_relative_or_absolute_as_sqlalchemy_has_it(tmp_path, monkeypatch):
    """Three slashes and a path, which may begin with a fourth."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    sql(f"sqlite:///{tmp_path}/a b%20?.db".replace("?", ""), "create table t as select 1 as a")
    for url in ("sqlite:///a b%20.db", f"sqlite:///{tmp_path}/a b%20.db", "sqlite:///~/a b%20.db"):
        assert cells(url, "select a from t") == [(1,)]


def test_a_password_is_shown_nowhere():
    """Neither by the address nor by what holds it."""
    address = database_address(f"postgres://u:{SECRET}@h:5432/db?sslmode=require&sslpassword={SECRET}%21")
    for shown in (address, target(f"postgresql://u:{SECRET}@h/db"), address.rooted("/"), vars(address)):
        assert SECRET not in f"{shown!r} {shown} {[shown]}"
    assert str(address) == "postgresql://u:***@h:5432/db?sslmode=require&sslpassword=***"
    assert {SECRET, f"{SECRET}!"} <= {*address.secrets}


def test_what_the_server_says_has_no_password_in_it(postgresql):
    """It may repeat what it was sent."""
    url = postgresql.replace("tn@", f"tn:{SECRET}@")
    with pytest.raises(TableError) as caught:
        tn.read_table(url, query=f"select '{SECRET}'::int")
    assert SECRET not in str(caught.value)
    with pytest.raises(TableError, match=r"\*\*\*") as caught:
        tn.read_table(url, query=f"select {SECRET}")
    assert SECRET not in str(caught.value)


def test_a_password_comes_from_wherever_libpq_finds_it(postgresql_server, tmp_path, monkeypatch):
    """The environment, a file of passwords, a service file, or the address, percent-encoded."""
    port = postgresql_server.rpartition(":")[2]
    execute(
        f"{postgresql_server}/postgres", "drop role if exists locked", f"create role locked login password '{PASSWORD}'"
    )
    url, query = f"postgresql://locked@127.0.0.1:{port}/postgres", "select 1 as a"
    with wording.raises(TableError, port=port):
        tn.read_table(url, query=query)
    assert cells(url.replace("@", f":{quote(PASSWORD, safe='')}@"), query) == [(1,)]
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert cells(url, query) == [(1,)]
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(TableError, match="password authentication failed"):
        tn.read_table(url, query=query)
    monkeypatch.delenv("PGPASSWORD")
    (tmp_path / "pgpass").write_text(f"*:*:*:locked:{PASSWORD}\n")
    (tmp_path / "pgpass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    assert cells(url, query) == [(1,)]
    monkeypatch.delenv("PGPASSFILE")
    service = f"[shop]\nhost=127.0.0.1\nport={port}\nuser=locked\npassword={PASSWORD}\ndbname=postgres\n"
    (tmp_path / "services").write_text(service)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    assert cells("postgresql://?service=shop", query) == [(1,)]


@pytest.mark.parametrize(
    ("url", "module"), [("duckdb:///:memory:", "duckdb"), ("postgres://h/d", "adbc_driver_postgresql")]
)
def test_a_driver_that_is_missing_is_named_with_what_installs_it(monkeypatch, url, module):
    """One line."""
    monkeypatch.setitem(sys.modules, module, None)
    with wording.raises(TableError):
        tn.read_table(url, query="select 1")


def test_a_databases_file_without_its_url_is_known(tmp_path):
    """Its ending says what it may be."""
    for name in ("shop.db", "shop.sqlite3", "shop.duckdb"):
        with wording.raises(TableError):
            tn.read_table(tmp_path / name)


def test_a_query_of_a_file_is_refused(tmp_path):
    """Nobody believes that it had an effect."""
    (tmp_path / "x.csv").write_text("a\n1\n")
    with wording.raises(TableError):
        tn.read_table(tmp_path / "x.csv", query="select 1")


# --- what is written --------------------------------------------------------------------------------------------------

TYPES = {
    "id": [1, 2, 3],
    "text": ["a", None, "é\n"],
    "number": [1.5, None, 2.0],
    "boolean": pd.array([True, None, False], dtype="boolean"),
    "nested": [{"a": 1}, [1, None], None],
    "decimal": [decimal.Decimal("1.10"), None, decimal.Decimal(0)],
    "moment": pd.to_datetime(["2024-01-01 00:00:00", "2024-01-02 03:04:05", None]),
    "instant": pd.to_datetime(["2024-01-01 00:00:00", "2024-01-02 03:04:05", None], utc=True),
    "day": [datetime.date(2024, 1, 1), None, None],
    "bytes": [b"\x00\x01", None, b""],
    "label": pd.Categorical(["p", "q", None]),
    "uuid": [uuid.UUID(int=1), None, None],
    "mixed": [1, "a", None],
    "large": np.array([1, 2, 2**64 - 1], dtype="uint64"),
    "narrow": np.array([0.7, 1, 2], dtype="float32"),
    "time": [datetime.time(1, 2), None, None],
    "nothing": [None, None, None],
}


def test_values_are_written_as_what_they_are(database):
    """And read again as the same, as far as the engine has the type."""
    write_rows(pd.DataFrame(TYPES), target(database))
    found = tn.read_table(database, query="select * from answers")
    assert list(found.columns) == list(TYPES)
    as_text = database.startswith("sqlite")
    first = ['{"a":1}' if as_text else {"a": 1}, 1.1 if as_text else decimal.Decimal("1.10")]
    assert [found["nested"][0], found["decimal"][0]] == first
    assert [*found["text"][[0, 2]], found["bytes"][0], found["label"][1], found["mixed"][0]] == [
        "a",
        "é\n",
        b"\0\1",
        "q",
        "1",
    ]
    assert [found["narrow"][0], int(found["large"][2]), str(found["uuid"][0])] == [
        0.7,
        2**64 - 1,
        str(uuid.UUID(int=1)),
    ]
    assert pd.Timestamp(found["instant"][1]) == pd.Timestamp("2024-01-02 03:04:05Z")
    assert str(found["day"][0]) == "2024-01-01"
    assert [found[name].isna().sum() for name in TYPES] == [pd.DataFrame(TYPES)[name].isna().sum() for name in TYPES]


@pytest.mark.parametrize("kind", ["pyarrow", "polars"])
def test_every_kind_of_table_is_written(database, kind):
    """Lists and records of Arrow are JSON, or nested where the engine nests."""
    table = pa.table(
        {"id": [1, 2], "l": [[1], None], "s": [{"x": "y"}, None], "d": pa.array(["a", "a"]).dictionary_encode()}
    )
    if kind == "polars":
        import polars

        table = polars.from_arrow(table)
    write_rows(table, target(database))
    found = cells(database, "select * from answers order by id")
    as_text = database.startswith("sqlite")
    assert found == [(1, "[1]" if as_text else [1], '{"x":"y"}' if as_text else {"x": "y"}, "a"), (2, None, None, "a")]


def test_a_table_that_is_there_is_refused_appended_to_or_replaced(database):
    """As asked; by default nothing of anybody's is touched."""
    rows = pd.DataFrame({"id": [1, 2], "a": ["x", "y"]})
    write_rows(rows, target(database))
    with wording.raises(TableError, path=_path(database)) as caught:
        write_rows(rows, target(database))
    assert caught.value.code == "target_exists"
    write_rows(rows, target(database, if_exists="append"))
    assert sql(database, "select count(*), count(distinct id) from answers") == [(4, 2)]
    write_rows(rows[["a"]], target(database, if_exists="replace"))
    assert sorted(sql(database, "select * from answers")) == [("x",), ("y",)]


@pytest.mark.parametrize("made_by", ["us", "them"])
def test_with_a_key_a_row_takes_the_place_of_the_earlier_one(database, made_by):
    """Rows that failed before and are answered now are updated, new ones added, others left alone."""
    if made_by == "them":
        sql(database, "create table answers (note text, id bigint, answer text)")
    rows = pd.DataFrame({"id": [1, 2, 3], "answer": ["a", None, "c"]})
    write_rows(rows, target(database, key="id"))
    write_rows(pd.DataFrame({"answer": ["b", "d"], "id": [2, 4]}), target(database, key="id"))
    write_rows(rows[:1], target(database, key="id"))
    assert sorted(sql(database, "select id, answer from answers")) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_a_key_is_there_once_in_every_row(database):
    """Else rows would take each other's places."""
    for column in (["a", "b", "a"], ["a", None, "b"]):
        with wording.raises(ColumnError):
            write_rows(pd.DataFrame({"id": column}), target(database, key="id"))
    with wording.raises(ColumnError):
        write_rows(pd.DataFrame({"ids": [1]}), target(database, key="id"))


def test_values_are_cast_to_the_types_of_a_table_that_is_there(database):
    """A CSV has but texts; a table of one's own has types."""
    sql(database, "create table answers (id integer, price numeric(8, 2), day date, tags text)")
    table = pa.table({"id": ["1"], "price": ["1.5"], "day": ["2024-01-31"], "tags": [["a"]]})
    write_rows(table, target(database, if_exists="append"))
    ((number, price, day, tags),) = sql(database, "select id, price, day, tags from answers")
    assert (number, float(price), str(day), tags.replace(" ", "")) == (1, 1.5, "2024-01-31", '["a"]')


@pytest.mark.parametrize("check", [True, False])
def test_columns_that_do_not_fit_are_refused(database, check):
    """One that the table has not, one that it needs; before anything is sent, and when it is written."""
    sql(database, "create table answers (id bigint, sentiment text, run text not null, made text default 'x' not null)")
    does = check_target if check else write_rows
    for columns in (["id", "sentimant", "run"], ["id", "sentiment"]):
        with wording.raises(TableError, path=_path(database)):
            does(pd.DataFrame({name: ["1"] for name in columns}), target(database, if_exists="append"))
    does(pd.DataFrame({"id": [1], "run": ["a"]}), target(database, if_exists="append"))


def test_a_write_that_fails_leaves_nothing(database):
    """All rows, or none; and the table that was to be replaced is as it was. No cell is in the message."""
    sql(database, "create table answers (id bigint, n bigint check (n < 5))", "insert into answers values (0, 0)")
    rows = pd.DataFrame({"id": [*range(100)], "n": [0] * 99 + [7]})
    with pytest.raises(TableError):
        write_rows(rows, target(database, if_exists="append"))
    if not database.startswith("sqlite"):  # which takes any text
        with pytest.raises(TableError) as caught:
            write_rows(pd.DataFrame({"id": ["1", "private"]}), target(database, if_exists="append"))
        assert "private" not in str(caught.value)
    assert sql(database, "select id, n from answers") == [(0, 0)]


def test_checking_makes_and_changes_nothing(database, tmp_path):
    """What is done for it is undone, and no file is made."""
    rows = pd.DataFrame({"id": [1]})
    check_target(rows, target(database))
    assert [each.name for each in tmp_path.iterdir()] == []
    write_rows(rows, target(database))
    for if_exists in ("append", "replace"):
        check_target(rows, target(database, if_exists=if_exists))
    check_target(rows, target(database, key="id"))
    assert sql(database, "select * from answers") == [(1,)]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nobody_waits_for_ever_for_whoever_else_writes(engine, request, tmp_path, monkeypatch):
    """It is said that it is so, and nothing is sent."""
    monkeypatch.setattr(database_writer, "_CHECKED_WITHIN", 0.05)
    url = request.getfixturevalue("postgresql") if engine == "postgresql" else f"sqlite:///{tmp_path}/a.db"
    rows = pd.DataFrame({"id": [1]})
    write_rows(rows, target(url))
    connect = dbapi.connect if engine == "postgresql" else sqlite3.connect
    with (
        closing(connect(url if engine == "postgresql" else f"{tmp_path}/a.db")) as other,
        closing(other.cursor()) as them,
    ):
        them.execute("insert into answers values (2)")
        with wording.raises(TableError, path=_path(url)):
            check_target(rows, target(url, key="id"))
    check_target(rows, target(url, key="id"))


def test_whatever_a_library_raises_is_an_error_of_the_table(database, monkeypatch):
    """Since the run whose answers are to be written is over, and must not lose them."""
    monkeypatch.setattr(database_writer, "staged", lambda source: 1 / 0)
    with wording.raises(TableError, path=_path(database)):
        write_rows(pd.DataFrame({"id": [1]}), target(database))


def test_a_schemas_table_is_named_with_a_dot(postgresql, tmp_path):
    """As in SQL; any other character is one of the name."""
    for url in (postgresql, f"duckdb:///{tmp_path}/a.duckdb"):
        schema = f"s{uuid.uuid4().hex[:8]}"
        sql(url, f"create schema {schema}")
        write_rows(pd.DataFrame({"a b": [1]}), target(url, f'{schema}.an "odd" name'))
        assert cells(url, f'select * from {schema}."an ""odd"" name"') == [(1,)]


def test_a_table_is_written_to_a_database_or_a_file(database, tmp_path):
    """By one function, as it is read; what is only for databases is refused for a file."""
    rows = pd.DataFrame({"id": [1, 2], "a": ["x", None]})
    tn.write_table(rows, database, table="answers", key="id")
    tn.write_table(rows[:1], database, table="answers", if_exists="append", key="id")
    assert cells(database, "select * from answers order by id") == [(1, "x"), (2, None)]
    tn.write_table(rows, tmp_path / "a.csv")
    assert cells("duckdb:///:memory:", f"select * from '{tmp_path}/a.csv'") == [(1, "x"), (2, None)]
    for more in ({"table": "t"}, {"if_exists": "append"}, {"key": "id"}):
        with wording.raises(TableError):
            tn.write_table(rows, tmp_path / "a.csv", **more)
    for more in ({}, {"table": "t", "if_exists": "upsert"}, {"table": "t", "key": 1}):
        with wording.raises(TableError, path=_path(database)):
            tn.write_table(rows, database, **more)


def test_texts_with_nul_are_written_to_postgresql_too(postgresql):
    """It takes none; the text is kept, with a mark in that place."""
    rows = pd.DataFrame({"a": ["x\0y", "z"], "b": [{"k\0": ["\0"]}, "\\u0000"]})
    write_rows(rows, target(postgresql))
    assert cells(postgresql, "select * from answers") == [("x\ufffdy", {"k\ufffd": ["\ufffd"]}), ("z", "\\u0000")]


def test_a_file_that_cannot_be_written_is_said_beforehand(tmp_path):
    """Its folder is missing, or it is something else."""
    (tmp_path / "text.db").write_text("not a database, but a text that is long enough to be looked at" * 20)
    for path in ("no/such/x.db", "", "text.db"):
        with wording.raises(TableError):
            check_target(pd.DataFrame({"a": [1]}), target(f"sqlite:///{tmp_path}/{path}"))


def test_only_rows_that_differ_are_updated(tmp_path):
    """A trigger of the table's hears of no others."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    rows = pd.DataFrame({"id": [1, 2, 3], "answer": ["a", None, "c"]})
    tn.write_table(rows, url, table="answers", key="id")
    with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
        database.execute("create table heard (id)")
        database.execute("create trigger told after update on answers begin insert into heard values (new.id); end")
    tn.write_table(rows.assign(answer=["a", None, "d"]), url, table="answers", key="id")
    assert list(tn.read_table(url, query="select id from heard")["id"]) == [3]
    assert list(tn.read_table(url, query="select answer from answers order by id")["answer"])[2] == "d"
