"""The arguments and options of the commands: what each is called, and what it may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias, get_args

import click

from ..errors import nearest
from ..run.options import described, failures_known
from ..settings import Limits, ranges

Given: TypeAlias = Any  # the values of a command's arguments and options, by their names


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

    def decorate(function: Callable[[Given], int | None]) -> Command:
        made = Command(name, params=list(params), help=inspect.getdoc(function))
        made.callback = lambda **values: function(SimpleNamespace(**values))
        return made

    return decorate


def one_of(choices: Sequence[str], value: str, option: str | None = None, listed: Sequence[str] = ()) -> str:
    """Return a word that is one of a few; raise `click.BadParameter` for another, also where others may be `listed`."""
    if value in choices:
        return value
    wrong = (
        next((each for word in value.split(",") if (each := word.strip()) not in listed), value) if listed else value
    )
    more = " or outcomes with commas between" if listed else ""
    raise click.BadParameter(
        f"must be one of {', '.join(choices)}{more}{nearest(wrong, (*choices, *listed))}", param_hint=option
    )


def option(names: str, metavar: str | None, text: str, **more: Any) -> click.Option:
    """Return an option with a value; its names have blanks between them."""
    return click.Option(names.split(), metavar=metavar, help=text, **more)


def flag(name: str, text: str) -> click.Option:
    """Return an option without a value."""
    return click.Option([name], is_flag=True, help=text)


def option_of_run(
    *names: str, metavar: str = "", more: str = "", text: str = "", default: str | None = None
) -> click.Option:
    """Return an option for one of the run's own, which its last name is: what is not given comes from there."""
    told = described()[names[-1]]

    def checked(_: click.Context, __: click.Parameter, value: Any) -> Any:
        known = failures_known() if told.listed else ()
        names = [name.strip() for name in value.split(",")] if known else []
        if names and value not in told.choices and {*names} <= {*known, *told.choices}:
            return names
        return one_of(told.choices, value, listed=known) if told.choices else value

    return click.Option(
        names,
        metavar=metavar or "|".join((*told.choices, *(["OUTCOME,…"] if told.listed else ()))),
        default=default or told.default,
        show_default=bool(told.choices),
        callback=checked,
        help=(text or told.description) + more,
    )


def limit(*names: str) -> click.Option:
    """Return an option for one of the run's limits, which its last name is."""
    kind_of, (low, high, description) = ranges(Limits)[names[-1]]
    type_ = (get_args(kind_of) or (kind_of,))[0]
    if type_ is float:
        return click.Option(names, metavar="USD", type=click.FloatRange(low, high), help=description)
    kind = click.IntRange(int(low), int(high) if high < 2**53 else None)
    return click.Option(names, metavar="N", type=kind, help=description)


FILE = Argument("file", "WORKFLOW", "The workflow's YAML file.")
NODE = Argument("node", "NODE", "The node's name; tablenodes nodes lists them.")
SOURCE = Argument("table", "TABLE", "The table to read: .csv, .jsonl, .parquet, …")
IDS = Argument("table", "TABLE", "The table of ids to read: .csv, .jsonl, .parquet, …; or one id.")
TABLE = option("--table -t", "FILE", "The table to read: .csv, .jsonl, .parquet, …")
_A_SETTING = "A setting of the node; tablenodes nodes NODE lists them."
INTO = option("--into", "NAME", "What the answer's column is called; of fields, what stands before their names.")
SETTINGS = option("settings --set -s", "NAME=VALUE", _A_SETTING, multiple=True)
SHORT = (
    option("--model", None, "Short for --set model=…"),
    option("--prompt", None, "Short for --set prompt=…, such as 'Sum up: {{ text }}'"),
    option("--system", None, "Short for --set system=…"),
    option("--image", None, "Short for --set image=…, such as '{{ path }}'"),
)
ANSWER = option(
    "answers --answer",
    "[FIELD=]KIND",
    "What an answer is: labels (yes,no), a type (int), @schema.json; or each of its fields, such as stars=int.",
    multiple=True,
)
INPUTS = option("inputs --input -i", "NAME=VALUE", "The value of a workflow input.", multiple=True)
ROWS = option("--rows", "N", "Use only the table's first N rows, to try it out.", type=click.IntRange(0))
_FORMS = "table: the table's own columns with the answers, status, outcome and message; raw: body and status."
OUTPUT = (
    option(
        "--output -o",
        "FILE",
        "Write the table to this file; its ending decides the format. Relative to the current directory."
        " Use - for the standard output.",
    ),
    option("form --format", "table|raw", _FORMS),
    flag("--jsonl", "Write JSON lines, not CSV, to the standard output."),
)
_BESIDE = " Default: beside the output, with .journal at its end; none for the standard output."
JOURNAL = (
    option_of_run("--journal", "journal", metavar="FILE", more=_BESIDE),
    flag("--no-journal", "Keep no journal: answers that are lost are sent, and paid for, again."),
    flag("--no-send", "Send nothing: use only the answers that the journal has."),
    option_of_run("--retry-failed", "retry_failed"),
    option_of_run("--on-in-doubt", "on_in_doubt"),
    option_of_run("--duplicates", "duplicates"),
)
_PLACE = "The store's file. Default: the file that TABLENODES_STORE names, else one in the user's data folder."
STORE = option("--store", "FILE", _PLACE)
LOCAL = flag("--local", "Use the embedded model on this machine.")
LATER = (  # what says how rows are handed to a worker
    option_of_run("--submission", "submission", metavar="NAME", more=" Default: it is known by its node and rows."),
    option(
        "--deadline", "SECONDS", described()["deadline"].description, type=float
    ),  # what is not given may be a file's
    flag("--replace", described()["replace"].description),
)
QUIET = flag("--no-progress", "Show no progress bar and print less.")
ONE_NODE = (NODE, SOURCE, SETTINGS, *SHORT, ROWS, *OUTPUT)  # what names one node, the table, and where the answers go
_ADDRESS = "The API's address, such as http://127.0.0.1:8080/v1. Name the key for it with --api-key-env."
SENDING = (  # what says how rows are sent, and where
    STORE,
    limit("--concurrency", "-c", "concurrency"),
    limit("--max-requests", "max_requests"),
    limit("--max-cost", "max_cost"),
    limit("--stop-after-alike", "stop_after_alike"),
    option("--base-url", "URL", _ADDRESS),
    option(
        "--api-key-env",
        "NAME",
        "The environment variable that holds the API key."
        " Default: OPENAI_API_KEY, only for OPENAI_BASE_URL or https://api.openai.com/v1.",
    ),
    flag("--no-key", "Send no API key, for a server that needs none."),
    LOCAL,
)
