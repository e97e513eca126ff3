"""What the figures were measured on, without anything that names the machine."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import NamedTuple

_QUIET = 0.15
"""Cores that other programs may use without being mentioned: about what the kernel does for our own packets."""


class Machine(NamedTuple):
    """The machine and the day.

    Attributes
    ----------
    day : str
        ISO 8601.
    processor : str
        The CPU's model.
    cores : int
        CPUs that this process may use.
    system : str
        The operating system's name and version.
    python : str
        Python's version.
    nginx : str
        nginx's version.
    others : float or None
        Cores that other programs used meanwhile, on average; None where the system does not tell.
    """

    day: str
    processor: str
    cores: int
    system: str
    python: str
    nginx: str
    others: float | None = None

    @property
    def busy(self) -> bool:
        """Whether other programs took so much of the machine that the figures cannot be relied on."""
        return self.others is not None and self.others > _QUIET


class Clock(NamedTuple):
    """CPU time at one moment, in seconds.

    Attributes
    ----------
    wall : float
        The time of day.
    all : float or None
        Time that the machine's cores have worked, whoever for; None where the system does not tell.
    ours : float
        Time that this process and its ended children have worked.
    """

    wall: float
    all: float | None
    ours: float

    def others_until(self, later: Clock) -> float | None:
        """Return the cores that other programs used from this moment to a later one, on average."""
        if self.all is None or later.all is None:
            return None
        return max(0.0, later.all - self.all - (later.ours - self.ours)) / (later.wall - self.wall)


def this_machine(nginx: str) -> Machine:
    """Describe the machine that this process runs on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    return Machine(date.today().isoformat(), processor(), cores, system, platform.python_version(), nginx)


def now() -> Clock:
    """Read the clock of this process and of the machine."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ours = sum(usage.ru_utime + usage.ru_stime for usage in used)
    counters = Path("/proc/stat")
    return Clock(time.monotonic(), worked(counters.read_text()) if counters.exists() else None, ours)


def worked(counters: str) -> float:
    """Return the seconds that all cores have worked, out of the text of Linux's ``/proc/stat``."""
    user, nice, system, _idle, _waiting, interrupts, soft, stolen, *_ = map(int, counters.split("\n")[0].split()[1:])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def processor() -> str:
    """Return the CPU's model, such as ``AMD EPYC``; the architecture if it can't be found."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return model_name(Path("/proc/cpuinfo").read_text()) or platform.machine()


def model_name(cpuinfo: str) -> str:
    """Return the model's name out of the text of ``/proc/cpuinfo``; empty if it has none."""
    named = (line.partition(":") for line in cpuinfo.splitlines())
    return next((value.strip() for key, _, value in named if key.strip() == "model name"), "")
