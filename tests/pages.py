"""Pages of the documentation, block by block: what they show is run, against a server that answers as a test says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sample_runs import run_command
from servers import Exchange, fault_server

import tablenodes as tn
from tablenodes.engine.calls import Call, Request
from tablenodes.store.store_file import VARIABLE

DOCS = Path(__file__).parent.parent / "docs"
_BLOCK = re.compile(r"(?:<!-- ([\w .]+) -->\n)?```(\w+)\n(.*?)```\n(?:```text\n(.*?)```\n)?", re.DOTALL)


class Block(NamedTuple):
    """A block of code with the mark above it, and the text below it that it prints."""

    mark: str
    language: str
    code: str
    shown: str | None

    def run(self, names: dict[str, Any]) -> str:
        """Run it in the current folder and return what it prints; one that is marked as a file is written."""
        kind, _, name = self.mark.partition(" ")
        if kind == "file":
            Path(name).write_text(self.code, encoding="utf-8")
            return ""
        if self.language == "sh":
            return "".join(map(_printed, self.code.replace("\\\n", " ").splitlines()))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(self.code, self.mark, "exec"), names)
        return printed.getvalue()


def _printed(line: str) -> str:
    """Run a command that succeeds and return what it prints, if it does not go to a file."""
    words = shlex.split(line)
    words, target = (words[:-2], words[-1]) if ">" in words else (words, None)
    assert words[0] == "tablenodes"
    code, printed = run_command(*words[1:])
    assert code == 0, line
    if target is None:
        return printed
    Path(target).write_text(printed, encoding="utf-8")
    return ""


def page(name: str) -> str:
    """Return the text of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    """Return what a page marks as run, in its order."""
    return [Block(*found.groups()) for found in _BLOCK.finditer(page(name)) if found[1]]


@contextlib.contextmanager
def reader(folder: Path, reply: Any) -> Iterator[None]:
    """Stand in a folder with a key in the environment, whose server gives a reply as `tn.testing.canned` does."""

    def react(exchange: Exchange) -> None:
        transport: Any = tn.testing.canned(reply).transport
        transport.start(
            Call(0, Request("POST", f"http://canned.invalid{exchange.received.path}", ()), exchange.received.body, 60.0)
        )
        (said,) = transport.wait(0)
        exchange.send(said.headers + said.body)

    with contextlib.chdir(folder), fault_server(react) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", server.url)
        patch.setenv("OPENAI_API_KEY", "sk-none")
        patch.setenv(VARIABLE, str(folder / "store"))
        yield
