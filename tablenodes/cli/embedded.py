"""``tablenodes model``: the embedded model on this machine."""

from __future__ import annotations

import typer

from .printing import show

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
    from .. import local  # noqa: PLC0415 - an extra, loaded where it is used

    local.install()


@model.command()
def status() -> None:
    """Say whether the embedded model is installed, and where."""
    from .. import local  # noqa: PLC0415 - an extra, loaded where it is used

    show(str(local.status()))
    raise typer.Exit(0 if local.installed() else 1)


@model.command()
def remove() -> None:
    """Delete the embedded model from the user's cache folder."""
    from .. import local  # noqa: PLC0415 - an extra, loaded where it is used

    local.remove()
