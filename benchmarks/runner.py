"""Runs contestants, one after the other, round after round."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.contestants.contract import Job
from benchmarks.environments import NotInstalled, python_of
from benchmarks.figures import Measurement
from benchmarks.roster import ENVIRONMENTS, Contestant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parent.parent
PATIENCE = 300
"""Seconds after which a contestant that has not finished is stopped."""

_PRIVATE = re.compile(r"(?i)^(OPENAI_|LITELLM_|LANG(CHAIN|SMITH)_|DAFT_|PYTHON|(https?|all|no)_proxy$)")
_QUIET = {
    "SCARF_NO_ANALYTICS": "true",
    "DO_NOT_TRACK": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
}


class Scenario(NamedTuple):
    """One situation in which everyone is measured.

    Attributes
    ----------
    base_url : str
        The server.
    concurrency, rows : callable
        Give a contestant's number of requests in flight, and of rows.
    rounds : int
        How often those that ratios are taken of are measured.
    other_rounds : int
        How often the others are.
    """

    base_url: str
    concurrency: Callable[[Contestant], int]
    rows: Callable[[Contestant], int]
    rounds: int
    other_rounds: int


class Outcome(NamedTuple):
    """What came of a scenario: the rounds, and why a contestant is missing in them."""

    rounds: list[dict[str, Measurement]]
    troubles: dict[str, str]


class Failed(Exception):  # noqa: N818 - it is a result, and shown as one
    """A contestant did not come to its end; its text is the reason."""


def carry_out(
    scenario: Scenario, contestants: Sequence[Contestant], say: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Measure the contestants in turn, as many rounds as each takes part in.

    Parameters
    ----------
    scenario : Scenario
        The situation.
    contestants : sequence of Contestant
        Those who are measured. One that fails is left out of later rounds.
    say : callable
        Takes one line about each measurement.
    """
    outcome = Outcome([], {})
    for number in range(scenario.rounds):
        measured: dict[str, Measurement] = {}
        for contestant in contestants:
            due = contestant.paired or number < scenario.other_rounds
            if not due or contestant.name in outcome.troubles:
                continue
            try:
                measured[contestant.name] = one = _measure(contestant, scenario, seed=number)
            except (Failed, NotInstalled) as trouble:
                outcome.troubles[contestant.name] = str(trouble)
                say(f"  {contestant.title}: {trouble}")
            else:
                say(f"  {contestant.title}: {one.rows_per_second:,.0f} rows/s, {one.cpu_per_row:.3f} CPU ms/row")
        outcome.rounds.append(measured)
    return outcome


def _measure(contestant: Contestant, scenario: Scenario, seed: int) -> Measurement:
    rows = scenario.rows(contestant)
    job = Job(scenario.base_url, rows, min(500, max(1, rows // 10)), scenario.concurrency(contestant), seed)
    name = contestant.environment
    python = sys.executable if name is None else str(python_of(name, ENVIRONMENTS[name]))
    command = [python, "-m", contestant.module, json.dumps(job._asdict())]
    return run(command, contestant.open_files)


def run(command: Sequence[str], open_files: int | None = None) -> Measurement:
    """Run a contestant's program and read what it prints.

    Parameters
    ----------
    command : sequence of str
        The program and its argument.
    open_files : int, optional
        The soft limit of open files that it starts with; None for the highest that is allowed.

    Raises
    ------
    Failed
        If it ends with an error, takes longer than `PATIENCE`, or prints something else.
    """
    try:
        done = subprocess.run(
            command,
            cwd=CHECKOUT,
            env=clean_environment(os.environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            preexec_fn=partial(limit_open_files, open_files),
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"not finished after {PATIENCE} s") from None
    if done.returncode:
        raise Failed(_last_line(done.stderr).replace(str(CHECKOUT), ".")[:200] or f"ended with {done.returncode}")
    try:
        return Measurement(**json.loads(_last_line(done.stdout)))
    except (ValueError, TypeError):
        raise Failed("printed no figures") from None


def limit_open_files(most: int | None) -> None:
    """Set this process's soft limit of open files; None for the highest that is allowed, at most 65,536."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    highest = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most or highest, highest), hard))


def clean_environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without keys, proxies and settings of the measured libraries, and with telemetry off."""
    return {name: value for name, value in variables.items() if not _PRIVATE.match(name)} | _QUIET


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
