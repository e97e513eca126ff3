"""The arguments and options of the commands: what each is called, what it may be, and what it makes of a workflow."""

from __future__ import annotations

import inspect
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from ..run.options import described
from ..settings import Limits, ranges

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..connection.connection import Connection
    from ..workflow import Workflow

Given: TypeAlias = Any
"""The values of a command's arguments and options, by their names."""


class Argument(click.Argument):
    """An argument that the help describes."""

    def __init__(self, name: str, metavar: str, help: str, *, required: bool = True) -> None:  # noqa: A002
        super().__init__([name], metavar=metavar if required else f"[{metavar}]", required=required)
        self.text = help


class Command(click.Command):
    """A command whose help begins with its arguments."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, then the options."""
        told = [(str(each.metavar), each.text) for each in self.params if isinstance(each, Argument)]
        if told:
            with formatter.section("Arguments"):
                formatter.write_dl(told)
        super().format_options(ctx, formatter)


def command(name: str, *params: click.Parameter) -> Callable[[Callable[[Given], int | None]], Command]:
    """Make a command of a function from the values of its parameters to an exit code; None is all right."""

    def made(function: Callable[[Given], int | None]) -> Command:
        return Command(
            name,
            params=list(params),
            help=inspect.getdoc(function),
            callback=lambda **values: function(SimpleNamespace(**values)),
        )

    return made


def one_of(choices: Sequence[str], value: str, option: str | None = None) -> str:
    """Return a word that is one of a few; raise `click.BadParameter` for another."""
    if value not in choices:
        raise click.BadParameter(f"must be one of {', '.join(choices)}", param_hint=option)
    return value


def flag(name: str, text: str) -> click.Option:
    """Return an option without a value."""
    return click.Option([name], is_flag=True, help=text)


def option_of_run(*names: str, metavar: str = "", more: str = "") -> click.Option:
    """Return an option for one of the run's own, which its last name is: type, default and words come from there."""
    told = described()[names[-1]]

    def checked(_: click.Context, __: click.Parameter, value: Any) -> Any:
        return one_of(told.choices, value) if told.choices else value

    return click.Option(
        names,
        metavar=metavar or "|".join(told.choices),
        default=told.default,
        show_default=bool(told.choices),
        callback=checked,
        help=told.description + more,
    )


def limit(*names: str) -> click.Option:
    """Return an option for one of the run's limits, which its last name is."""
    _, (low, high, description) = ranges(Limits)[names[-1]]
    kind = click.IntRange(int(low), int(high) if high < 2**53 else None)
    return click.Option(names, metavar="N", type=kind, help=description)


FILE = Argument("file", "WORKFLOW", "The workflow's YAML file.")
NODE = Argument("node", "NODE", "The node's name: tablenodes nodes lists them.")
SOURCE = Argument("table", "TABLE", "The configuration table: .csv, .jsonl, .parquet, …")
TABLE = click.Option(["--table", "-t"], metavar="FILE", help="The configuration table: .csv, .jsonl, .parquet, …")
SETTINGS = click.Option(
    ["settings", "--set", "-s"],
    metavar="NAME=VALUE",
    multiple=True,
    help="One of the node's settings: tablenodes nodes NODE lists them.",
)
SHORT = (
    click.Option(["--model"], help="Short for --set model=…"),
    click.Option(["--prompt"], help="Short for --set prompt=…, such as 'Sum up: {{ text }}'"),
    click.Option(["--system"], help="Short for --set system=…"),
)
INPUTS = click.Option(
    ["inputs", "--input", "-i"],
    metavar="NAME=VALUE",
    multiple=True,
    help="A value for one of the workflow's inputs.",
)
ROWS = click.Option(
    ["--rows"], metavar="N", type=click.IntRange(0), help="Take only the table's first N rows, to try it out."
)
OUTPUT = (
    click.Option(
        ["--output", "-o"],
        metavar="FILE",
        help="Where the table goes, by its ending; - for the standard output. Relative to the current directory.",
    ),
    click.Option(
        ["form", "--format"],
        metavar="table|raw",
        help="table: the configuration with text, status and outcome; raw: body and status.",
    ),
    flag("--jsonl", "Write JSON lines, not CSV, to the standard output."),
)
JOURNAL = (
    option_of_run(
        "--journal",
        "journal",
        metavar="FILE",
        more=" Default: beside the output, with .journal at its end; none for the standard output.",
    ),
    flag("--no-journal", "Keep no journal: what is lost is paid for again."),
    option_of_run("--retry-failed", "retry_failed"),
    option_of_run("--on-in-doubt", "on_in_doubt"),
)
STORE = click.Option(
    ["--store"],
    metavar="FILE",
    help="The store. Default: what TABLENODES_STORE names, else a file in the user's data folder.",
)
LIMITS = (limit("--concurrency", "-c", "concurrency"), limit("--max-requests", "max_requests"))
LOCAL = flag("--local", "Use the embedded model, on this machine.")
CONNECTION = (
    click.Option(
        ["--base-url"],
        metavar="URL",
        help="The API's address, such as http://127.0.0.1:8080/v1. A key for it is named with --api-key-env.",
    ),
    click.Option(
        ["--api-key-env"],
        metavar="NAME",
        help="The environment variable that holds the API key."
        " Default: OPENAI_API_KEY, for OPENAI_BASE_URL or https://api.openai.com/v1 alone.",
    ),
    flag("--no-key", "Send no API key: for a server that needs none."),
    LOCAL,
)
QUIET = flag("--no-progress", "Show no bar, and say less.")


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a dict; raise `click.BadParameter` for one of another form, or a second one."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter("write it as NAME=VALUE", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value
    return found


def connected(
    connection: Connection | None,
    base_url: str | None,
    api_key_env: str | None,
    local: bool,
    no_key: bool = False,
) -> Connection | None:
    """Return a connection with what the options say in place of its own.

    A key that was meant for another address never goes to ``--base-url``: it is named with it, or none is sent.
    """
    if local and (base_url or api_key_env or no_key):
        raise click.BadParameter(
            "it needs no address and no key: leave --base-url, --api-key-env and --no-key out", param_hint="--local"
        )
    if no_key and api_key_env:
        raise click.BadParameter("--api-key-env names one: keep one of the two", param_hint="--no-key")
    if not (local or base_url or api_key_env or no_key):
        return connection
    from dataclasses import replace  # noqa: PLC0415 - loaded where it is used

    from ..connection.connection import Connection  # noqa: PLC0415

    if local:
        return Connection.local()
    kept = connection if connection is not None and connection.local_model is None else Connection()
    key = "" if no_key else None
    if base_url is None:
        return replace(kept, api_key=key, api_key_env=api_key_env)
    return replace(kept, base_url=base_url, api_key=key, api_key_env=api_key_env, headers=None, query=None)


def limited(limits: Limits | None, given: Given) -> Limits | None:
    """Return limits with what the options say in place of their own."""
    changed = {name: value for name in ("concurrency", "max_requests") if (value := getattr(given, name)) is not None}
    if not changed:
        return limits
    from dataclasses import replace  # noqa: PLC0415 - loaded where it is used

    return replace(limits or Limits(), **changed)


def equipped(workflow: Workflow, given: Given) -> Workflow:
    """Return a workflow with the connection and the limits that the options say."""
    connection = connected(workflow.connection, given.base_url, given.api_key_env, given.local, given.no_key)
    return workflow.replace(connection=connection, limits=limited(workflow.limits, given))


def manner(workflow: Workflow, given: Given) -> dict[str, Any]:
    """Return the keyword arguments of `Workflow.run` that the options say."""
    if given.no_journal and given.journal is not None:
        raise click.BadParameter("--journal names one: keep one of the two", param_hint="--no-journal")
    journal = given.journal
    if journal is None and not given.no_journal and workflow.output is not None:
        journal = f"{os.fspath(getattr(workflow.output, 'path', ''))}.journal"
    return {
        "journal": journal,
        "retry_failed": given.retry_failed,
        "on_in_doubt": given.on_in_doubt,
        "store": given.store,
        "progress": False if given.no_progress else None,
    }


def destined(workflow: Workflow, given: Given) -> tuple[Workflow, str]:
    """Return a workflow whose output is where the options say (none: the standard output), and the table's format."""
    from ..workflow.destination import FORMATS, Destination  # noqa: PLC0415 - loaded where it is used

    own = workflow.output if isinstance(workflow.output, Destination) else None
    form = one_of(FORMATS, given.form or (own.format if own else "table"), "--format")
    path = own.path if given.output is None and own else given.output
    if path is None or path == "-":
        return workflow.replace(output=None), form
    if given.jsonl:
        raise click.BadParameter("it is for the standard output: name a file that ends in .jsonl", param_hint="--jsonl")
    return workflow.replace(output=Destination(path, form)), form
