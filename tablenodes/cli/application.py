"""The command ``tablenodes``: its parts put together, errors as one line, and the exit codes."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .._version import __version__
from ..errors import Interrupted, OutputError, TablenodesError
from ..run.display import reported_elsewhere
from . import catalog as describing
from . import journal_command as journal
from . import later_commands as futures
from . import model_command as embedded
from . import run_commands as running
from .exit_codes import BAD_INPUT, BAD_USAGE, INTERRUPTED, OK
from .hang_up import HangUp
from .printout import complain, quiet_pipe
from .shared_options import worded
from .shortages import shortage
from .standard_streams import standard_streams

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXIT_CODES = (
    "Exit codes: 0 all ok, 1 bad input, 2 bad usage, 3 some rows failed, 130 interrupted. "
    "The key is read from the environment: the variable that --api-key-env names, or OPENAI_API_KEY, which goes "
    "only to OPENAI_BASE_URL or https://api.openai.com/v1."
)


class Commands(TyperGroup):
    """The commands; an error of ours is one line, never a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            with quiet_pipe(), reported_elsewhere():
                return super().invoke(ctx)
        except KeyboardInterrupt as stopped:  # Interrupted is one of them
            complain(worded(stopped) if isinstance(stopped, Interrupted) else "interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except TablenodesError as error:
            for line in (worded(error), *getattr(error, "__notes__", ())):  # the notes: what else is wrong
                complain(line, "error")
            raise typer.Exit(BAD_INPUT) from None
        except Exception as error:
            words = shortage(error)
            if words is None:  # an error in this program
                raise
            complain(words, "error")
            raise typer.Exit(BAD_INPUT) from None


application = typer.Typer(
    cls=Commands,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog=_EXIT_CODES,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tablenodes {__version__}")
        raise typer.Exit


@application.callback()
def commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Every row of a table is a request to a language-model API; every answer comes back as a row."""


application.command("run")(running.run)
application.command("check")(running.check)
application.command("call")(running.call)
application.command("submit")(futures.submit)
application.command("retrieve")(futures.retrieve)
application.command("store")(futures.store)
application.command("worker")(futures.worker)
application.command("nodes")(describing.nodes)
application.command("schema")(describing.schema)
application.command("journal")(journal.journal)
application.add_typer(embedded.model, name="model")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends by SystemExit.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the command's name. Default: the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        HangUp().take_over()
    with standard_streams():
        code = _carried_out(given)
    if arguments is None:  # all is done and said: one more Ctrl-C would only change the exit code
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(code)


def _carried_out(given: list[str]) -> int:
    """Give the exit code; what was printed has arrived by then, or that it has not is said."""
    code = OK
    try:
        try:
            _refuse_keys(given)
            application(args=given, prog_name="tablenodes")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else OK
        with quiet_pipe():
            pass
    except OutputError as error:
        complain(str(error), "error")
        return BAD_INPUT
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    return code


def _refuse_keys(arguments: list[str]) -> None:
    """Refuse a key as an argument: it would stand in the list of processes and in the shell's history."""
    for argument in arguments:
        if argument == "--":
            return
        if argument.partition("=")[0] in ("--api-key", "--key"):
            complain(
                "a key is never an argument, where others can read it: "
                "put it into an environment variable, and name that with --api-key-env",
                "error",
            )
            raise SystemExit(BAD_USAGE)
