"""What the figures were measured on, without anything that names the machine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import NamedTuple


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
    load : float
        How many programs wanted to run before anything was measured: the system's load of the last minute.
    """

    day: str
    processor: str
    cores: int
    system: str
    python: str
    nginx: str
    load: float

    @property
    def busy(self) -> bool:
        """Whether other work took so much of the machine that the figures are too low."""
        return self.load > self.cores / 2


def this_machine(nginx: str) -> Machine:
    """Describe the machine that this process runs on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    load = os.getloadavg()[0]
    return Machine(date.today().isoformat(), processor(), cores, system, platform.python_version(), nginx, load)


def processor() -> str:
    """Give the CPU's model, such as ``AMD EPYC``; the architecture if it can't be found."""
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return model_name(Path("/proc/cpuinfo").read_text()) or platform.machine()


def model_name(cpuinfo: str) -> str:
    """Give the model's name out of the text of ``/proc/cpuinfo``; empty if it has none."""
    named = (line.partition(":") for line in cpuinfo.splitlines())
    return next((value.strip() for key, _, value in named if key.strip() == "model name"), "")
