"""The command: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import importlib.util
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks import report, runner, servers
from benchmarks.machine import now, this_machine
from benchmarks.micro import Micro
from benchmarks.page import BUSY, page
from benchmarks.rate_limits import section_of, with_section
from benchmarks.roster import IN_FLIGHT, LIMIT, ROSTER, ROWS, SDK, TABLENODES, chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.machine import Machine
    from benchmarks.roster import Contestant

PAGE = runner.CHECKOUT / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page; give the exit code."""
    asked = _parser().parse_args(arguments)
    binary = servers.nginx_binary()
    if binary is None:
        _say(servers.HOW_TO_INSTALL)
        return 2
    if not all(map(importlib.util.find_spec, ("pandas", "pycurl", "jsonschema_rs"))):
        _say("the benchmarks need tablenodes installed in this Python: pip install -e .")
        return 2
    names = asked.only or ([TABLENODES, SDK, LIMIT] if asked.quick else [])
    runner.limit_open_files(None)  # nginx inherits it
    machine = this_machine(servers.nginx_version(binary))
    start = now()
    with servers.canned_servers(binary) as addresses:
        prompt, slow = _scenarios(addresses, asked.quick, asked.rows)
        found = _measured(prompt, slow, chosen(names), machine)
    machine = machine._replace(others=start.others_until(now()))  # nginx has ended, so its time is ours by now
    found = found._replace(machine=machine)
    print(_printed(found))
    if machine.busy:
        _say(BUSY.format(machine.others))
    if not (names or asked.no_write):
        PAGE.parent.mkdir(exist_ok=True)
        kept = section_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else ""
        PAGE.write_text(with_section(page(found), kept), encoding="utf-8")
        _say(f"wrote {PAGE.relative_to(runner.CHECKOUT)}")
    return 1 if found.prompt.troubles or found.slow.troubles else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure tablenodes beside other ways to ask a model once for every row.",
        epilog="A run of everything writes docs/benchmarks.md. Exit codes: 0 all measured, 1 some failed, "
        "2 wrong usage, or nginx or tablenodes is missing.",
    )
    parser.add_argument("--quick", action="store_true", help="a minute: tablenodes, openai SDK, libcurl loop")
    names = [one.name for one in ROSTER]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help=f"of {', '.join(names)}")
    parser.add_argument(
        "--rows",
        type=_rows,
        default=ROWS,
        metavar="N",
        help="rows for the fastest, the others in proportion (%(default)s)",
    )
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md as it is")
    return parser


def _rows(text: str) -> int:
    rows = int(text)
    if rows < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return rows


def _scenarios(addresses: servers.Addresses, quick: bool, rows: int) -> tuple[runner.Scenario, runner.Scenario]:
    share = rows / ROWS / (2 if quick else 1)

    def prompt_rows(contestant: Contestant) -> int:
        return max(100, round(contestant.rows * share))

    def slow_rows(contestant: Contestant) -> int:
        return max(100, round(contestant.slow_rows * share))

    def slow_in_flight(contestant: Contestant) -> int:
        return contestant.slow_in_flight

    return (
        runner.Scenario(addresses.prompt, lambda _: IN_FLIGHT, prompt_rows, 3 if quick else 5, 2),
        runner.Scenario(addresses.slow, slow_in_flight, slow_rows, 1 if quick else 3, 1),
    )


def _measured(
    prompt: runner.Scenario, slow: runner.Scenario, contestants: Sequence[Contestant], machine: Machine
) -> report.Report:
    _say("small costs")
    micro = _micro()
    _say("a server that answers at once")
    prompt_outcome = runner.carry_out(prompt, contestants, _say)
    _say(f"a server that answers after {servers.LATENCY} s")
    slow_outcome = runner.carry_out(slow, contestants, _say)
    return report.Report(machine, prompt_outcome, slow_outcome, micro)


def _micro() -> Micro:
    command = [sys.executable, "-m", "benchmarks.micro"]
    said = subprocess.run(command, cwd=runner.CHECKOUT, stdout=subprocess.PIPE, text=True, check=True)
    return Micro(**json.loads(said.stdout))


def _printed(found: report.Report) -> str:
    micro = [("", "measured")] + [
        (name.replace("_", " "), f"{value:.3f}") for name, value in found.micro._asdict().items()
    ]
    tables: dict[str, report.Cells] = {
        "A server that answers at once": report.scenario_cells(found.prompt),
        f"A server that answers after {servers.LATENCY} s": report.scenario_cells(found.slow),
        "Small costs": micro,
        "What is promised": report.promise_cells(found.prompt, found.slow, found.micro),
    }
    return "\n\n".join(f"{title}\n{report.aligned(cells)}" for title, cells in tables.items())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends nginx on the way out
    sys.exit(main())
