"""The command ``tablenodes``: its parts put together, errors as one line, and the exit codes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from .._version import __version__
from ..engine.interrupts import HANGUP
from ..errors import Interrupted, OutputError, TablenodesError, nearest
from ..run.display import reported_elsewhere
from .catalog import convert, graph, nodes, schema
from .command_options import option
from .complaints import BAD_INPUT, BAD_USAGE, INTERRUPTED, OK, complain, complain_of, misused, shortage
from .connection_list import connections
from .printout import quiet_pipe
from .run_commands import call, check, retrieve, run, submit
from .standard_streams import standard_streams
from .upkeep_commands import install, journal, remove, status, store, worker

_EXIT_CODES = "Exit codes: 0 all ok, 1 bad input, 2 bad usage, 3 some rows failed, 130 interrupted."
_KEY = (
    "The key is read from the environment: the variable that --api-key-env names, or OPENAI_API_KEY, which goes "
    "only to OPENAI_BASE_URL or https://api.openai.com/v1."
)
_PUT_IT = "put it into an environment variable, and name that with --api-key-env"


class Group(click.Group):
    """Commands, listed in their order; without one of them, the help goes to the standard error stream."""

    def __init__(self, name: str, text: str, commands: Sequence[click.Command], **more: Any) -> None:
        more |= {"invoke_without_command": True, "subcommand_metavar": "COMMAND [ARGS]..."}
        super().__init__(name, commands=commands, help=text, callback=self._alone, **more)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.commands)}", ctx)
        return super().resolve_command(ctx, args)

    @staticmethod
    def _alone(**_: object) -> int | None:
        context = click.get_current_context()
        if context.invoked_subcommand is not None:
            return None
        click.echo(context.get_help(), err=True)
        return BAD_USAGE


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        print(f"tablenodes {__version__}")
        context.exit()


application = Group(
    "tablenodes",
    "Send every row of a table as a request to a language-model API; every answer comes back as a row.",
    [
        *(run, check, call, submit, retrieve, store, worker, connections, nodes, schema, graph, convert, journal),
        Group("model", "The embedded model: a small language model on this machine.", [install, status, remove]),
    ],
    params=[option("--version", None, "Show the version.", is_flag=True, is_eager=True, callback=_show_version)],
    epilog=f"{_EXIT_CODES} {_KEY}",
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


class HangUp:
    """Handles the loss of the terminal: SIGTERM the first time, then nothing, so that what came can be written."""

    def __init__(self) -> None:
        self._told = False

    def __call__(self, *_: object) -> None:
        """Raise SIGTERM, once."""
        if not self._told:
            self._told = True
            signal.raise_signal(signal.SIGTERM)

    def take_over(self) -> None:
        """Handle the signal, unless it is ignored, as under ``nohup``, or somebody else does."""
        if HANGUP is not None and signal.getsignal(HANGUP) is signal.SIG_DFL:
            with suppress(ValueError):  # not in the main thread
                signal.signal(HANGUP, self)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; ends by SystemExit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        HangUp().take_over()
    with standard_streams():
        code = _exit_code(given)
    if arguments is None:  # all is done and said: one more Ctrl-C would only change the exit code
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise SystemExit(code)


def _exit_code(given: list[str]) -> int:
    """Run a command and return the exit code; what was printed has arrived by then, or that it has not is said."""
    try:
        _refuse_keys(given)
        code = _carried_out(given)
        with quiet_pipe():
            pass
    except OutputError as error:
        complain(str(error), "error")
        return BAD_INPUT
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    return code


def _carried_out(given: list[str]) -> int:
    """Run a command and return the exit code; an error of ours is one line, never a traceback."""
    code = OK
    try:
        with quiet_pipe(), reported_elsewhere(), application.make_context("tablenodes", given) as context:
            code = application.invoke(context) or OK
    except click.exceptions.Exit as ended:
        code = ended.exit_code
    except click.ClickException as error:
        complain(misused(error), "error")
        code = BAD_USAGE
    except KeyboardInterrupt as stopped:  # Interrupted is one of them
        complain(stopped.message if isinstance(stopped, Interrupted) else "interrupted")
        code = INTERRUPTED
    except TablenodesError as error:
        code = complain_of(error)
    except Exception as error:
        if (words := shortage(error)) is None:  # an error in this program
            raise
        complain(words, "error")
        code = BAD_INPUT
    return code


def _refuse_keys(arguments: list[str]) -> None:
    """Refuse a key as an argument: it would stand in the list of processes and in the shell's history."""
    for argument in arguments:
        if argument == "--":
            return
        if argument.partition("=")[0] in ("--api-key", "--key"):
            complain(f"a key is never an argument, since others can read arguments: {_PUT_IT}", "error")
            raise SystemExit(BAD_USAGE)
