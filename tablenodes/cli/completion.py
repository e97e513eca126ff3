"""``tablenodes completion``: the script by which a shell completes the others."""

from __future__ import annotations

from typing import Any

import click

from .command_options import Argument, Given, command, one_of
from .suggestions import VARIABLE

_SHELLS = ("bash", "zsh", "fish")


@command("completion", Argument("shell", "|".join(_SHELLS), "The shell that is to complete."))
def completion(given: Given) -> None:
    """Print a script by which a shell completes commands, options, nodes, settings and files.

    Put the line of the first example into ~/.bashrc or, with zsh in the place of bash, into ~/.zshrc.
    """
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - loaded where it is used

    kind: Any = get_completion_class(one_of(_SHELLS, given.shell, "SHELL"))
    print(kind(click.Command("tablenodes"), {}, "tablenodes", VARIABLE).source(), end="")
