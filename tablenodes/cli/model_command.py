"""``tablenodes model``: the embedded model on this machine."""

from __future__ import annotations

import typer

from .exit_codes import BAD_INPUT, OK
from .printout import show

model = typer.Typer(
    help="The embedded model: a small language model on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@model.command()
def install() -> None:
    """Download the embedded model into the user's cache folder (about 100 MB), if it is not there."""
    from .. import local  # noqa: PLC0415 - loaded where it is used
    from ..run import display  # noqa: PLC0415 - loaded where it is used

    local.install(display.say)


@model.command()
def status() -> None:
    """Say whether the embedded model can be used, and where its file is."""
    from .. import local  # noqa: PLC0415 - loaded where it is used

    found = local.status()
    show(str(found))
    raise typer.Exit(OK if found.ready else BAD_INPUT)


@model.command()
def remove() -> None:
    """Delete the embedded model from the user's cache folder."""
    from .. import local  # noqa: PLC0415 - loaded where it is used
    from ..run import display  # noqa: PLC0415 - loaded where it is used

    display.say("the embedded model is removed" if local.remove() else "there is no embedded model to remove")
