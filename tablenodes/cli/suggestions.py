"""What a shell is told that could stand at the cursor, by what an option or an argument takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

VARIABLE = "_TABLENODES_COMPLETE"  # of the environment, by which a shell asks
_KINDS = ("text", "int", "float", "bool", "date", "datetime")
_FILES = ("FILE", "TABLE", "WORKFLOW", "JOURNAL", "NAME|FILE")


def complete(application: click.Command) -> int:
    """Answer a shell that asks what could stand at the cursor, and return the exit code."""
    from click.shell_completion import shell_complete  # noqa: PLC0415 - loaded where a shell asks

    return shell_complete(application, {}, "tablenodes", VARIABLE, os.environ[VARIABLE])


def suggested(param: click.Parameter, context: click.Context, begun: str) -> list[CompletionItem]:
    """Return what may stand where an option or an argument is written."""
    from click import shell_completion  # noqa: PLC0415 - loaded where a shell asks

    item: Any = shell_completion.CompletionItem  # whose arguments have no types
    metavar = str(param.metavar or "").strip("[]")
    if metavar in _FILES or metavar == "FOLDER":
        return [item(begun, type="dir" if metavar == "FOLDER" else "file")]
    return [item(each) for each in _words(str(param.name), metavar, context) if each.startswith(begun)]


def _words(name: str, metavar: str, context: click.Context) -> Iterable[str]:
    """Return the words among which one stands."""
    if "|" in metavar:
        return [word for word in metavar.split("|") if word.islower()]
    if metavar == "NODE":
        from ..nodes import NODES  # noqa: PLC0415 - loaded where it is used

        return NODES
    if metavar == "SAMPLE":
        from ..bundle import bundled_samples  # noqa: PLC0415 - loaded where a shell asks

        return bundled_samples()
    if name == "operation":
        from .. import schemas  # noqa: PLC0415 - loaded where it is used

        return schemas.operations(schemas.DEFAULT_REVISION)
    return _settings(context) if name == "settings" else _KINDS if name == "answers" else ()


def _settings(context: click.Context) -> Iterator[str]:
    from ..nodes import NODES, find_node  # noqa: PLC0415 - loaded where it is used
    from ..nodes.node import setting_names  # noqa: PLC0415

    # An option whose value is only being written keeps the arguments from being read.
    written = (context.params.get("node"), *context.args)
    kind = find_node(next((each for each in written if each in NODES), "CreateChatCompletion"))
    yield from (f"{name}=" for name in setting_names(kind))
