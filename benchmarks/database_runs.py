"""A table of PostgreSQL's, asked and written back, and killed twice: ``python -m benchmarks.database_runs URL``.

The address of a database that may be written to is its argument; the tables ``benchmark_reviews`` and
``benchmark_answers`` in it are made anew. Its run is killed with SIGKILL when about half of the rows are answered, and
once more while the table is written; then the same command goes on, and the two tables are compared row by row.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import servers, workload

if TYPE_CHECKING:
    import resource
    from collections.abc import Callable

ROWS = 1_000_000
SOURCE, TARGET = "benchmark_reviews", "benchmark_answers"
QUERY = f"select id, review from {SOURCE} order by id"
_JOURNAL_ROW = 1_200
"""Bytes that a journal has of a row, about."""
_READ = """
import sys, time, tablenodes as tn
url, query = sys.argv[1:]
tn.read_table(url, query=f"{query} limit 1")
began = time.monotonic()
rows = len(tn.read_table(url, query=query))
print(rows / (time.monotonic() - began))
"""
_COMPARED = f"""
select (select count(*) from {SOURCE}), count(*), count(distinct t.id), count(t.answer),
       count(*) filter (where s.review = t.review)
from {TARGET} t left join {SOURCE} s on s.id = t.id
"""
_WRITES = f"""
select count(*) from pg_stat_activity
where application_name = 'tablenodes' and query like 'insert%{TARGET}%' and now() - query_start > interval '0.3 s'
"""


def main() -> None:
    """Run all of it and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="such as postgresql://user@host/database")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--key", action="store_true", help="update the table by its key, in place of replacing it")
    asked = parser.parse_args()
    binary = servers.nginx_binary()
    if binary is None:
        sys.exit(servers.HOW_TO_INSTALL)
    _fill(asked.url, asked.rows)
    command = [sys.executable, "-c", _READ, asked.url, QUERY]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(f"read by tn.read_table: {float(said):,.0f} rows/s", flush=True)
    with servers.canned_servers(binary) as addresses, tempfile.TemporaryDirectory() as folder:
        _runs(asked.url, addresses.prompt, Path(folder), asked.rows, by_key=asked.key)
    there, rows, distinct, answered, equal = _sql(asked.url, _COMPARED)[0]
    print(f"{there:,} rows read; {rows:,} written, {distinct:,} different, {answered:,} answered, {equal:,} equal")
    if {there, rows, distinct, answered, equal} != {asked.rows}:
        sys.exit("rows are missing, or there twice")


def _fill(url: str, rows: int) -> None:
    words = workload.reviews(1, 1)[0][3:].replace("'", "")
    _sql(
        url,
        f"drop table if exists {TARGET}",
        f"drop table if exists {SOURCE}",
        f"create table {SOURCE} (id bigint primary key, review text, stars integer)",
        f"insert into {SOURCE} select 7 * n, n || ': {words}', n % 5 from generate_series(1, {rows}) n",
    )


def _runs(url: str, server: str, folder: Path, rows: int, *, by_key: bool) -> None:
    """Run the command until it is killed half-way, until it is killed as it writes, and to its end."""
    how = ["--key-column", "id"] if by_key else ["--if-exists", "replace"]
    command = [
        *(sys.executable, "-m", "tablenodes", "call", "CreateChatCompletion", url, "--query", QUERY),
        *("--model", workload.MODEL, "--prompt", workload.TEMPLATE, "--base-url", server, "--no-key"),
        *("-o", url, "--output-table", TARGET, *how, "--no-progress", "-c", "128"),
    ]
    journal = folder / f"{TARGET}.journal"

    def is_half() -> bool:
        size = sum(each.stat().st_size for each in folder.glob(f"{journal.name}*"))
        return size > rows * _JOURNAL_ROW / 2

    _run("killed half-way", command, folder, is_half)
    _run("killed as it wrote", command, folder, lambda: bool(_sql(url, _WRITES)[0][0]))
    made = _sql(url, f"select count(*) from pg_class where relname = '{TARGET}'")[0][0]
    print(f"after both, the table is {'there' if made else 'not there'}", flush=True)
    _run("to its end", command, folder)


def _run(name: str, command: list[str], folder: Path, until: Callable[[], bool] | None = None) -> None:
    began = time.monotonic()
    with open(folder / "said", "w+") as said, subprocess.Popen(command, cwd=folder, stderr=said) as process:
        while until is not None and _is_running(process) and not until():
            time.sleep(0.05)
        if until is not None:
            os.kill(process.pid, signal.SIGKILL)  # it is not reaped yet
        code, used = _ended(process)
        said.seek(0)
        lines = [line.strip() for line in said if "wrote" in line or "error" in line or " ok" in line]
    took = time.monotonic() - began
    memory = used.ru_maxrss * 1024 / 2**30
    cpu = used.ru_utime + used.ru_stime
    print(f"{name}: ended with {code} after {took:.0f} s, {cpu:.0f} s of CPU, {memory:.2f} GiB at most", flush=True)
    for line in lines:
        print(f"    {line}", flush=True)


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _ended(process: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage]:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used


def _sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
        connection.commit()
    return rows


if __name__ == "__main__":
    main()
