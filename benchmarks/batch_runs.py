"""Tables that are asked in batches, against the same in memory: ``python -m benchmarks.batch_runs ROWS``.

Each way is a process of its own. What it wrote is read again, in batches: the rows must be there in their order, once
each, and with their answers. The memory is looked at as long as the process lasts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow
from pyarrow import csv, parquet

from benchmarks import servers, workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.servers import Addresses

ROWS = 1_000_000
_PIECE = 50_000
_MEMORY = ("VmRSS:", "VmHWM:")
_LOOKS = 0.5  # seconds between two looks at the memory
_ANSWER = '{"stars": int, "mood": str, "why": str}'
_FIELDS = {"stars": 4, "mood": 'calm ✓, "so, so"', "why": "the room was clean"}
_RUN = """
import sys
import pyarrow.parquet as parquet
import tablenodes as tn
way, source, target, url, folder, model, prompt, answer = sys.argv[1:]
node = tn.CreateChatCompletion(model=model, prompt=prompt, columns=())
connection = tn.Connection(url, "a-long-key")
if way == "memory":
    parquet.write_table(node.run(parquet.read_table(source), connection, progress=False).table, target)
elif way == "fields in memory":
    node = node.replace(answer={"stars": int, "mood": str, "why": str})
    tn.write_table(node.run(tn.read_table(source), connection, progress=False).table, target)
elif way == "workflow":
    ask = node.replace
    second, third = (ask(prompt=f"{{{{ {name} }}}}: {prompt}") for name in ("first", "second"))
    nodes = {"first": node, "second": second, "answer": third}
    batches = tn.Workflow(nodes).run_batches(source, connection, progress=False)
    with batches, parquet.ParquetWriter(target, batches.schema) as file:
        for batch in batches:
            file.write_batch(batch)
else:
    how = {"journal": f"{folder}/a.journal"} if way == "journal" else {"check": "first"} if way == "first" else {}
    batches = node.run_batches(source, connection, progress=False, **how)
    with batches, parquet.ParquetWriter(target, batches.schema) as file:
        for batch in batches:
            file.write_batch(batch)
"""


class Way(NamedTuple):
    """A way to ask the table: the ending of its source and its target, the server's path, and how long the table is."""

    source: str
    target: str
    path: str = ""
    told: str = ""
    times: int = 1  # how many times the rows


WAYS = {
    "memory": Way("parquet", "parquet", told="Parquet, in memory, and its table written"),
    "batches": Way("parquet", "parquet", told="Parquet to Parquet"),
    "first": Way("parquet", "parquet", told='… with check="first"'),
    "journal": Way("parquet", "parquet", told="… with a journal"),
    "held": Way("held.parquet", "parquet", "/held", told=f"… with one row of {servers.HELD} s in the middle"),
    "thrice": Way("thrice.parquet", "parquet", told="three times the rows", times=3),
    "workflow": Way("parquet", "parquet", told="a workflow of three nodes, for each row"),
    "jsonl": Way("jsonl", "parquet", told="JSON lines, read once before"),
    "fields in memory": Way("csv", "csv", "/fields", told="CSV, answer= of three fields, in memory"),
    "command": Way("csv", "csv", "/fields", told="CSV, answer= of three fields, the command line"),
}


class Measured(NamedTuple):
    """What a way took: seconds, those of the processor, and bytes of memory by the look."""

    wall: float
    cpu: float
    memory: Sequence[int]
    peak: int
    written: int


def main() -> None:
    """Run the ways in turn and print a line for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_runs", description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=ROWS)
    parser.add_argument("--ways", default=",".join(WAYS), help="such as memory,batches")
    parser.add_argument("--rounds", type=int, default=1, help="how often, one way after another; the medians are told")
    parser.add_argument("--folder", help="where files go; by default one that is removed at the end")
    asked = parser.parse_args()
    binary = servers.nginx_binary()
    if binary is None:
        sys.exit(servers.HOW_TO_INSTALL)
    names = asked.ways.split(",")
    with servers.canned_servers(binary) as addresses, tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        found: dict[str, list[Measured]] = {name: [] for name in names}
        for _ in range(asked.rounds):
            for name in names:
                found[name].append(_measured(name, asked.rows, Path(folder), addresses))
                print(_line(name, found[name][-1], asked.rows * WAYS[name].times), flush=True)
    _tell(found, asked.rows)


def _tell(found: dict[str, list[Measured]], rows: int) -> None:
    """Print the medians, and how they are to the run in memory."""
    base = found.get("memory")
    print(f"\n{'way':<52}{'rows/s':>9}{'µs CPU a row':>14}{'MB':>6}{'to memory':>11}")
    for name, each in found.items():
        wall = statistics.median(one.wall for one in each)
        count = rows * WAYS[name].times
        ratio = statistics.median(b.wall / o.wall for b, o in zip(base, each, strict=True)) if base else float("nan")
        cpu, peak = statistics.median(one.cpu for one in each) / count * 1e6, max(one.peak for one in each) / 2**20
        print(f"{WAYS[name].told:<52}{count / wall:>9,.0f}{cpu:>14.1f}{peak:>6.0f}{ratio:>11.2f}", flush=True)
    if {"workflow", "thrice"} <= found.keys():  # as many requests in the same go
        pairs = [*zip(found["workflow"], found["thrice"], strict=True)]
        wall, cpu = (
            statistics.median(one / other for one, other in each)
            for each in (
                [(nodes.wall, rows.wall) for nodes, rows in pairs],
                [(nodes.cpu, rows.cpu) for nodes, rows in pairs],
            )
        )
        print(f"\nthe workflow to one node over three times the rows: {wall:.2f} of its time, {cpu:.2f} of its CPU")


def _line(name: str, found: Measured, rows: int) -> str:
    tenths = [found.memory[at * (len(found.memory) - 1) // 10] // 2**20 for at in range(11)] if found.memory else []
    return (
        f"{name}: {rows:,} rows in {found.wall:.1f} s ({rows / found.wall:,.0f} a second), "
        f"{found.cpu / rows * 1e6:.1f} µs CPU a row, {found.peak // 2**20} MB at most, over time {tenths}; "
        f"wrote {found.written / 1e6:,.0f} MB; order, count and answers exact"
    )


def _measured(name: str, rows: int, folder: Path, addresses: Addresses) -> Measured:
    """Run a way, look at what it wrote, and return what it took."""
    way, rows = WAYS[name], rows * WAYS[name].times
    source, target = folder / f"rows.{way.source}", folder / f"out.{way.target}"
    if not source.exists():
        _write(source, rows)
    url = addresses.prompt.removesuffix("/v1") + f"{way.path}/v1"
    began, (code, cpu, peak, memory) = time.monotonic(), _watched(_command(name, source, target, url, folder), folder)
    wall = time.monotonic() - began
    if code:
        sys.exit(f"{name}: ended with {code}:\n{(folder / 'said').read_text()}")
    if (seen := sum(map(_checked, _read(target), _starts(target)))) != rows:
        sys.exit(f"{name}: {seen:,} rows were written, not {rows:,}")
    size = target.stat().st_size
    for left in (target, *folder.glob("*.journal*")):
        left.unlink()
    return Measured(wall, cpu, memory, peak, size)


def _command(name: str, source: Path, target: Path, url: str, folder: Path) -> list[str]:
    if name != "command":
        given = (name, *map(str, (source, target)), url, str(folder), workload.MODEL, workload.TEMPLATE, _ANSWER)
        return [sys.executable, "-c", _RUN, *given]
    return [
        *(sys.executable, "-m", "tablenodes", "call", "CreateChatCompletion", str(source), "-o", str(target)),
        *("--model", workload.MODEL, "--prompt", workload.TEMPLATE, "--answer", _ANSWER, "--memory", "400MB"),
        *("--base-url", url, "--no-key", "--no-progress", "--no-journal", "--columns", "id,review,stars,mood,why"),
    ]


def _watched(command: Sequence[str], folder: Path) -> tuple[int, float, int, list[int]]:
    """Run a process; return how it ended, its seconds of the processor, its memory at most and at each look."""
    memory: list[int] = []
    peak = 0
    with open(folder / "said", "w") as said, subprocess.Popen(command, stderr=said, stdout=said) as process:
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            told = Path(f"/proc/{process.pid}/status").read_text()
            looks = {line[:6]: int(line.split()[1]) * 1024 for line in told.splitlines() if line[:6] in _MEMORY}
            memory.append(looks.get("VmRSS:", 0))
            peak = max(peak, looks.get("VmHWM:", 0))  # of itself: what wait4 says is also the parent's
            time.sleep(_LOOKS)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, used.ru_utime + used.ru_stime, peak, memory


def _write(path: Path, rows: int) -> None:
    """Write the table that is asked, piece by piece; of one that is held, the row in the middle is long."""
    words, held = workload.reviews(1, 1)[0], rows // 2 if ".held." in path.name else -1
    pieces = (range(start, min(rows, start + _PIECE)) for start in range(0, rows, _PIECE))
    made = (
        pyarrow.table({"id": piece, "review": [f"{row}: {words * (60 if row == held else 1)}" for row in piece]})
        for piece in pieces
    )
    schema = pyarrow.schema([("id", pyarrow.int64()), ("review", pyarrow.string())])
    if path.suffix == ".jsonl":
        with open(path, "w", encoding="utf-8") as file:
            for table in made:
                texts = zip(*table.to_pydict().values(), strict=True)
                file.writelines(f'{{"id": {row}, "review": "{text}"}}\n' for row, text in texts)
        return
    with parquet.ParquetWriter(path, schema) if path.suffix == ".parquet" else csv.CSVWriter(path, schema) as file:
        for table in made:
            file.write_table(table)


def _read(path: Path) -> Iterator[Any]:
    """Yield the batches of a table that was written."""
    if path.suffix == ".parquet":
        yield from parquet.ParquetFile(path, pre_buffer=False).iter_batches(_PIECE)
    else:
        yield from csv.open_csv(path)


def _starts(path: Path) -> Iterator[int]:
    start = 0
    for batch in _read(path):
        yield start
        start += batch.num_rows


def _checked(batch: Any, start: int) -> int:
    """Return how many rows a batch has; end where a row is not in its place, or has not its own text and answer."""
    rows = [*range(start, start + batch.num_rows)]
    told = [text.partition(":")[0] for text in batch.column("review").to_pylist()]
    has_answers = (
        all(set(batch.column(name).to_pylist()) == {value} for name, value in _FIELDS.items())
        if "stars" in batch.schema.names
        else set(batch.column("answer").to_pylist()) == {workload.ANSWER}
    )
    if batch.column("id").to_pylist() != rows or told != [*map(str, rows)] or not has_answers:
        sys.exit(f"rows {start:,} and after are not as they were asked")
    return len(rows)


if __name__ == "__main__":
    main()
