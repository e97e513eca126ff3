"""``tablenodes sample``: which samples come with the package, and one of them, copied with the data that it needs."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from ..bundle import NOTEBOOK, bundled_samples
from ..errors import WorkflowError, nearest
from ..notices import printable, say
from .command_options import Argument, Given, command, flag, option
from .printout import show

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_THE_SOURCE = "sample_workflows/"
_DATA = re.compile(r"\bdata/[\w.-]+\w")
_DESCRIPTION = re.compile(r"^description: (.+)$", re.MULTILINE)


class Sample(NamedTuple):
    """A workflow or a notebook that comes with the package."""

    path: Path
    text: str

    @property
    def head(self) -> list[str]:
        """Return what the sample begins with: what it needs, how to run it, what comes out."""
        if self.path.suffix == NOTEBOOK:
            return self._cell[2:]
        lines = takewhile(lambda line: line.startswith("#"), self.text.splitlines())
        return [line.removeprefix("#").removeprefix(" ") for line in lines]

    @property
    def description(self) -> str:
        """Return what the sample does, in one line."""
        if self.path.suffix == NOTEBOOK:
            return self._cell[1]
        return "".join(_DESCRIPTION.findall(self.text)[:1])

    @property
    def _cell(self) -> list[str]:
        """Return the lines of a notebook's first cell."""
        return [line for line in "".join(json.loads(self.text)["cells"][0]["source"]).splitlines() if line]

    def files(self, folder: str) -> Iterator[tuple[Path, bytes]]:
        """Yield each file to write into a folder: the sample, whose head names its new place, and its tables."""
        target = Path(folder, self.path.name)
        place = printable(shlex.quote(target.as_posix()))
        if self.path.suffix == NOTEBOOK:
            place = json.dumps(place)[1:-1]
        yield target, self.text.replace(_IN_THE_SOURCE + self.path.name, place).encode()
        for name in sorted({*_DATA.findall(self.text)}):
            yield Path(folder, name), (self.path.parent / name).read_bytes()


@command(
    "sample",
    Argument("name", "SAMPLE", "The sample to copy. Default: list them all.", required=False),
    option("--to", "FOLDER", "The folder to copy it into, new or not. Default: the current one.", default="."),
    flag("--force", "Overwrite files that are there and differ."),
)
def sample(given: Given) -> None:
    """List the samples, or copy one, with the table that it reads, into the current folder."""
    if given.name is None:
        _list()
        return
    chosen = _read(given.name)
    files = dict(chosen.files(given.to))
    _check_folders(files)
    if not given.force:
        _refuse_to_lose(files)
    try:
        _write(files)
    except OSError as error:
        raise WorkflowError(f"{error.filename or given.to}: cannot write it ({error.strerror})") from None
    say(f"wrote {' and '.join(path.as_posix() for path in files)}")
    for line in Sample(chosen.path, next(iter(files.values())).decode()).head:
        show(line)


def _list() -> None:
    """Show each sample with what it does."""
    from .catalog import show_rows  # noqa: PLC0415 - loaded where it is used

    show_rows([(name, _read(name).description) for name in bundled_samples()])


def _read(name: str) -> Sample:
    """Return a sample by its name, which may have its ending; raise `BadParameter` if there is none."""
    known = bundled_samples()
    wanted = name if name in known else os.path.splitext(os.path.basename(name))[0]
    if wanted not in known:
        hint = nearest(wanted, known) or "; 'tablenodes sample' lists them"
        raise click.BadParameter(f"no such sample{hint}", param_hint=f"sample {name}")
    return Sample(known[wanted], known[wanted].read_text("utf-8"))


def _check_folders(files: Mapping[Path, bytes]) -> None:
    """Raise `WorkflowError` where something else stands in a folder's place, or a folder cannot be written into."""
    for folder in (folder for path in files for folder in path.parents if folder.exists()):
        if not folder.is_dir():
            raise WorkflowError(f"{folder} is a file, where a folder is needed: name another folder (--to)")
    for folder in (next(each for each in path.parents if each.exists()) for path in files):
        if not os.access(folder, os.W_OK):
            raise WorkflowError(f"{folder}: cannot write into this folder: name another one (--to)")


def _refuse_to_lose(files: Mapping[Path, bytes]) -> None:
    """Raise `WorkflowError` where a file that differs would be overwritten; nothing is written then."""
    for path, content in files.items():
        if path.exists() and not (path.is_file() and path.read_bytes() == content):
            raise WorkflowError(f"{path} is there already, and differs: name another folder (--to), or use --force")


def _write(files: Mapping[Path, bytes]) -> None:
    from ..disk import write_file  # noqa: PLC0415 - loaded where it is used

    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
