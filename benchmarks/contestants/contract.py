"""How a contestant is called and what it hands back; standard library only, as every environment has it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.workload import ANSWER, reviews

Ask = Callable[[list[str]], Sequence[str | None]]
"""From texts to one answer a text, in their order."""


class Job(NamedTuple):
    """What one contestant is to do once.

    Attributes
    ----------
    base_url : str
        The API's address, with ``/v1``.
    rows : int
        Rows that are measured.
    warm_up : int
        Rows that are asked before, unmeasured.
    concurrency : int
        Requests in flight at a time.
    seed : int
        Chooses the texts.
    """

    base_url: str
    rows: int
    warm_up: int
    concurrency: int
    seed: int


def contest(packages: Sequence[str], set_up: Callable[[Job], Ask]) -> None:
    """Read the job from the command line, do it, and print one line of JSON.

    Parameters
    ----------
    packages : sequence of str
        Distributions whose installed versions are reported.
    set_up : callable
        Makes what asks: imports and clients belong here, and are not measured.
    """
    job = Job(**json.loads(sys.argv[1]))
    ask = set_up(job)
    texts = reviews(job.rows, job.seed)
    ask(texts[: job.warm_up])
    cpu, start = _cpu_seconds(), time.perf_counter()
    answers = ask(texts)
    seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    good = sum(answer == ANSWER for answer in answers)
    versions = {name: importlib.metadata.version(name) for name in packages}
    figures = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "rows": job.rows,
        "concurrency": job.concurrency,
        "failures": max(job.rows, len(answers)) - good,
        "versions": {"python": platform.python_version(), **versions},
    }
    print(json.dumps(figures))


def _cpu_seconds() -> float:
    """Give this process's CPU time so far, all its threads and its ended children included."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
