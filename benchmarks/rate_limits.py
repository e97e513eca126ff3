"""Servers that limit a rate: ``python -m benchmarks.rate_limits`` writes their section of the page, and the plot.

In simulation with fresh seeds by default, with ``--sockets`` against real ones of this machine.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
FIGURES = Path(__file__).parent / "rate_limits.json"
TITLE = "## Servers that limit a rate"
SEEDS = range(700, 720)
FAST_RUNS = 5  # of those that take long to simulate
SECONDS = 30
IN_FLIGHT = 64
SIDE_BY_SIDE = 10  # slow servers that are asked at one time
KINDS = {
    "full": "`x-ratelimit-*`: when it is full again",
    "next": "`x-ratelimit-*`: when the next may come",
    "seconds": "`Retry-After` in whole seconds",
    "ms": "`retry-after-ms`",
    "silent": "says nothing",
    "window": "windows of 1 s, says nothing",
    "windows": "windows of 10 s, `Retry-After`",
}
OTHERS: tuple[tuple[str, str, float, dict[str, Any]], ...] = (
    ("a bucket of 5, says nothing", "silent", 40, {"depth": 5}),
    ("a bucket of 5, `Retry-After`", "seconds", 40, {"depth": 5}),
    ("a bucket of 10 s, says nothing", "silent", 40, {"depth": 400}),
    ("a bucket of 60, 1 a second, says nothing", "silent", 1, {"depth": 60}),
    ("1 s of latency, says nothing", "silent", 40, {"latency": 1.0}),
    ("1 s of latency, `Retry-After`", "seconds", 40, {"latency": 1.0}),
    ("4 in flight, says nothing", "silent", 40, {"concurrency": 4}),
    ("256 in flight, says nothing", "silent", 400, {"concurrency": 256}),
)


class Figure(NamedTuple):
    """The runs against one server: the share of its rate that was served, the share refused of those sent informed."""

    server: str
    rate: float
    where: str
    runs: int
    served_worst: float
    served: float
    refused: float
    refused_worst: float

    def cells(self) -> str:
        """Return its line of the table."""
        shares = f"{self.served:.2f} | {self.served_worst:.2f} | {self.refused:.1%} | {self.refused_worst:.1%}"
        return f"| {self.server} | {self.rate:g} | {self.where} | {self.runs} | {shares} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rate_limits")
    parser.add_argument("--sockets", action="store_true", help="measure against real sockets: ten minutes")
    parser.add_argument("--write-only", action="store_true", help="write the page from the figures of last time")
    asked = parser.parse_args(arguments)
    sys.path.insert(0, str(CHECKOUT / "tests"))
    figures = [Figure(*one) for one in json.loads(FIGURES.read_text())] if FIGURES.exists() else []
    if not asked.write_only:
        found = on_sockets() if asked.sockets else simulated()
        figures = [one for one in figures if (one.where == "sockets") != asked.sockets] + found
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    page = DOCS / "benchmarks.md"
    page.write_text(with_section(page.read_text(encoding="utf-8"), section(figures)), encoding="utf-8")
    (DOCS / "rate_limits.svg").write_text(plot(), encoding="utf-8")
    return 0


def with_section(page: str, new: str) -> str:
    """Return the page with a new section about rate limits, before the one about what is promised."""
    before, _, after = page.partition(TITLE)
    after = after[after.index("\n## ") + 1 :] if after else ""
    if not after:
        before, title, rest = page.partition("## What we promise")
        after = title + rest
    return before + new + after


def section_of(page: str) -> str:
    """Return the section about rate limits; empty where there is none."""
    _, title, after = page.partition(TITLE)
    return title + after[: after.index("\n## ") + 1] if title else ""


def section(figures: list[Figure]) -> str:
    """Return the section as Markdown."""
    lines = "\n".join(one.cells() for one in figures)
    return f"""\
{TITLE}

What was served in {SECONDS} s, as a share of the rate, and how many of the requests were refused that were sent after
the first refusal was known. Buckets keep a second's worth of requests, at least 5, and are full at first; 64 are in
flight and an answer takes 50 ms, if nothing else is said. The server that turns away at random serves most when it is
asked as fast as possible.
Written by `python -m benchmarks.rate_limits`.

| server | requests/s | where | runs | served, median | worst | refused, median | worst |
| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |
{lines}

![Requests served and refused a second](rate_limits.svg)

"""


def simulated() -> list[Figure]:
    """Return the figures of runs in virtual time; as many servers at a time as there are cores."""
    jobs: list[tuple[str, str, float, int, dict[str, Any]]] = [
        (name, kind, rate, FAST_RUNS if rate > 40 else len(SEEDS), {})
        for kind, name in KINDS.items()
        for rate in (5, 40, 400)
    ]
    jobs += [(name, kind, rate, FAST_RUNS, how) for name, kind, rate, how in OTHERS]
    jobs += [(f"turns away {share:.0%} at random", "", share, FAST_RUNS, {}) for share in (0.05, 0.3, 0.67)]
    with ProcessPoolExecutor() as pool:
        found = []
        for figure in pool.map(_simulated, jobs):
            found.append(figure)
            print(figure.cells(), flush=True)
    return found


def _simulated(job: tuple[str, str, float, int, dict[str, Any]]) -> Figure:
    servers = importlib.import_module("limited_servers")
    name, kind, rate, runs, how = job
    if kind:
        seen = [servers.limited(kind, rate, SECONDS, seed=seed, **how)[0] for seed in SEEDS[:runs]]
        return _figure(name, rate, seen)
    random = [servers.simulated(servers.at_random(rate, seed), SECONDS, seed=seed)[0] for seed in SEEDS[:runs]]
    return _figure(name, 64 / 0.05 * (1 - rate), random)


def _figure(server: str, rate: float, runs: list[Any], where: str = "simulated") -> Figure:
    served = [run.served / rate / SECONDS for run in runs]
    refused = [run.refused / max(1, run.informed) for run in runs]
    medians = statistics.median(served), statistics.median(refused)
    figures = (round(each, 4) for each in (min(served), *medians, max(refused)))
    return Figure(server, round(rate, 1), where, len(runs), *figures)


class _Run(NamedTuple):
    served: int
    informed: int
    refused: int


def on_sockets() -> list[Figure]:
    """Return the figures of runs against servers of this machine, with as many rows as the rate gives in that time."""
    found = []
    with ProcessPoolExecutor(SIDE_BY_SIDE) as pool:
        for kind, name in KINDS.items():
            for rate in (5, 40, 400):
                runs = SIDE_BY_SIDE if kind == "window" and rate <= 40 else 1  # what depends on when it begins
                found.append(_figure(name, rate, list(pool.map(_on_socket, [(kind, rate)] * runs)), "sockets"))
                print(found[-1].cells(), flush=True)
    return found


def _on_socket(job: tuple[str, float]) -> _Run:
    """Return what came of one run; a served row more or less is made up for by the time that it took."""
    kind, rate = job
    servers, faults = importlib.import_module("limited_servers"), importlib.import_module("servers")
    pandas, tablenodes = importlib.import_module("pandas"), importlib.import_module("tablenodes")
    server, lock, began = servers.LimitedServer(kind, rate), threading.Lock(), time.monotonic()
    seen: list[tuple[float, int, bool]] = []
    wave = {f"w{row}" for row in range(IN_FLIGHT)}  # all begun at once: before any refusal, however late they come

    def react(exchange: Any) -> None:
        word = json.loads(exchange.received.body)["messages"][-1]["content"]
        with lock:
            now = time.monotonic() - began
            status, headers = server.ask(now)
            seen.append((now, status, word in wave))
            wave.discard(word)
        time.sleep(0.05)
        lines = dict(line.split(": ") for line in headers.decode().splitlines())
        (faults.echo(200, lines) if status == 200 else faults.answer(b"{}", 429, lines))(exchange)

    rows = int(rate * SECONDS)
    with faults.fault_server(react) as address:
        node = tablenodes.CreateChatCompletion(model="m", prompt="{{ word }}")
        table = pandas.DataFrame({"word": [f"w{row}" for row in range(rows)]})
        limits = tablenodes.Limits(concurrency=IN_FLIGHT)
        start = time.monotonic()
        out = node.run(table, tablenodes.Connection(address.url), limits=limits, progress=False)
        seconds = time.monotonic() - start
    assert (out.log["outcome"] == "ok").all()
    known = min((at for at, status, _ in seen if status == 429), default=1e9) + 0.25  # its answer was on its way too
    informed = [status for at, status, is_early in seen if at > known and not is_early]
    return _Run(int(rows * SECONDS / seconds), len(informed), informed.count(429))


# The plot.

_WIDTH, _HEIGHT, _LEFT = 720, 150, 60


def plot() -> str:
    """Return a drawing of what was served and refused in each second, for three servers, as SVG."""
    servers = importlib.import_module("limited_servers")
    runs = (
        ("A bucket of 40 requests/s that says nothing", servers.limited("silent", 40, SECONDS, seed=1)[0], 40.0),
        ("Retry-After in whole seconds, 40 requests/s", servers.limited("seconds", 40, SECONDS, seed=1)[0], 40.0),
        ("67 % turned away at random, no limit", servers.simulated(servers.at_random(0.67, 1), SECONDS)[0], 422.0),
    )
    parts = [_panel(number, *run) for number, run in enumerate(runs)]
    height = len(runs) * (_HEIGHT + 60) + 10
    style = "text{font:13px sans-serif;fill:#333} .axis{stroke:#999} .limit{stroke:#999;stroke-dasharray:5 4}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Requests served and refused a second"><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _panel(number: int, title: str, run: Any, rate: float) -> str:
    top = 40 + number * (_HEIGHT + 60)
    most = max(*run.served_by_second, *run.refused_by_second, rate) * 1.1
    step = (_WIDTH - _LEFT - 20) / SECONDS

    def line(counts: list[int], colour: str) -> str:
        points = " ".join(
            f"{_LEFT + (second + 0.5) * step:.1f},{top + _HEIGHT * (1 - count / most):.1f}"
            for second, count in enumerate(counts[:SECONDS])
        )
        return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'

    bottom, limit = top + _HEIGHT, top + _HEIGHT * (1 - rate / most)
    return (
        f'<text x="{_LEFT}" y="{top - 12}">{title}: <tspan fill="#1565c0">served</tspan> and '
        f'<tspan fill="#c62828">refused</tspan> in each second</text>'
        f'<line class="axis" x1="{_LEFT}" y1="{bottom}" x2="{_WIDTH - 20}" y2="{bottom}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{top}" x2="{_LEFT}" y2="{bottom}"/>'
        f'<line class="limit" x1="{_LEFT}" y1="{limit:.1f}" x2="{_WIDTH - 20}" y2="{limit:.1f}"/>'
        f'<text x="{_LEFT - 6}" y="{limit + 4:.1f}" text-anchor="end">{rate:g}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom + 4}" text-anchor="end">0</text>'
        f'<text x="{_WIDTH - 20}" y="{bottom + 16}" text-anchor="end">{SECONDS} s</text>'
        f"{line(run.refused_by_second, '#c62828')}{line(run.served_by_second, '#1565c0')}"
    )


if __name__ == "__main__":
    sys.exit(main())
