"""The command ``tablenodes``: its parts put together, errors as one line, and the exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from .._version import __version__
from ..engine.interrupts import HANGUP
from ..errors import Interrupted, OutputError, TablenodesError, nearest
from ..run.display import reported_elsewhere, rows_counted_from
from .complaints import BAD_INPUT, BAD_USAGE, INTERRUPTED, OK, complain, complain_of, misused, shortage
from .printout import quiet_pipe
from .standard_streams import standard_streams
from .suggestions import VARIABLE, complete

_EXIT_CODES = "Exit codes: 0 all ok, 1 bad input, 2 bad usage, 3 some rows failed, 130 interrupted."
_KEY = (
    "The key is read from the environment: the variable that --api-key-env names, or OPENAI_API_KEY, which goes "
    "only to OPENAI_BASE_URL or https://api.openai.com/v1."
)
_PUT_IT = "put it into an environment variable, and name that with --api-key-env"


class Group(click.Group):
    """Commands, in their order, of which one is loaded when it is asked for: by name, its module and what it does.

    Without one of them, the help goes to the standard error stream.
    """

    def __init__(self, name: str, text: str, homes: Mapping[str, tuple[str, str]], **more: Any) -> None:
        more |= {"invoke_without_command": True, "subcommand_metavar": "COMMAND [ARGS]..."}
        super().__init__(name, help=text, callback=self._alone, **more)
        self.homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.homes:
            return None
        found: click.Command = getattr(import_module(self.homes[cmd_name][0], __package__), cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in self.homes.items()])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args[0] not in self.homes and not args[0].startswith("-"):
            raise click.UsageError(f"no command {args[0]!r}{nearest(args[0], self.homes)}", ctx)
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


_RUNS, _LISTS, _KEPT = ".run_commands", ".catalog", ".upkeep_commands"
_MODEL = "The embedded models: small ones on this machine, one that writes, and one for vectors (--embedding)."
model = Group(
    "model",
    _MODEL,
    {
        "install": (_KEPT, "Download the embedded model, if it is not there."),
        "status": (_KEPT, "Show whether the embedded model can be used."),
        "remove": (_KEPT, "Delete the embedded model from the cache folder."),
    },
)
application = Group(
    "tablenodes",
    "Send every row of a table as a request to a language-model API; every answer comes back as a row.",
    {
        "run": (_RUNS, "Run a workflow and write its table."),
        "check": (_RUNS, "Show what a workflow would send, and which rows cannot be sent."),
        "call": (_RUNS, "Run one node over a table."),
        "sample": (".samples", "List the samples, or copy one into this folder."),
        "submit": (_RUNS, "Hand a node's requests to a worker in the background."),
        "retrieve": (_RUNS, "Get the answers of submitted requests."),
        "store": (_KEPT, "Show what is in the store, pending and answered."),
        "worker": (_KEPT, "Send what is pending in the store, then end."),
        "connections": (".connection_list", "List the connections that have a name, and check them."),
        "nodes": (_LISTS, "List the nodes, or one node's settings."),
        "schema": (_LISTS, "Show what a request may hold."),
        "graph": (_LISTS, "Show a workflow's nodes and what each reads."),
        "convert": (_LISTS, "Turn a Kestra flow into a workflow."),
        "journal": (_KEPT, "Show what is in a journal."),
        "model": (".application", _MODEL),
        "completion": (".completion", "Print a script by which a shell completes commands."),
    },
    params=[click.Option(["--version"], is_flag=True, is_eager=True, callback=_show_version, help="Show the version.")],
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
        if VARIABLE in os.environ:
            return complete(application)
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
        with (
            quiet_pipe(),
            reported_elsewhere(),
            rows_counted_from(0),
            application.make_context("tablenodes", given) as context,
        ):
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
