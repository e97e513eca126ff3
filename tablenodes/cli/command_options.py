"""The arguments and options of the commands: what each is called, and what it may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

import click

from ..database_address import IF_EXISTS
from ..errors import TablenodesError, nearest
from ..notices import voiced
from ..run.options import DAY, described, failures_known
from .complaints import complain_of, notice
from .selection import Rows
from .suggestions import suggested

Given: TypeAlias = Any  # the values of a command's arguments and options, by their names


OTHERS = "Others"
_COLUMN = 32  # characters of an option and what it takes, where its description stands beside it


class _Suggesting(click.Parameter):
    """What is completed by what it takes."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        return suggested(self, ctx, incomplete)


class Option(_Suggesting, click.Option):
    """An option, with the heading under which the help has it."""

    heading = OTHERS


class Argument(_Suggesting, click.Argument):
    """An argument that the help describes."""

    def __init__(self, name: str, metavar: str, help: str, *, required: bool = True) -> None:  # noqa: A002
        super().__init__([name], metavar=metavar if required else f"[{metavar}]", required=required)
        self.text = help


class Command(click.Command):
    """A command whose help begins with its arguments, has its options under headings, and ends with examples."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments, then the options."""
        told = {"Arguments": [(str(each.metavar), each.text) for each in self.params if isinstance(each, Argument)]}
        for each in self.get_params(ctx):
            if isinstance(each, click.Option) and (record := each.get_help_record(ctx)) is not None:
                told.setdefault(getattr(each, "heading", OTHERS), []).append(record)
        told[OTHERS] = told.pop(OTHERS, [])
        for heading, records in told.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=_COLUMN)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, each as it is typed."""
        from .examples import EXAMPLES  # noqa: PLC0415 - loaded where help is shown

        with formatter.section("Examples"):
            before = " " * formatter.current_indent
            for example in EXAMPLES[str(self.name)]:
                formatter.write("".join(f"{before}{line}\n" for line in example.splitlines()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what is wrong is said while it is known which options there are."""
        with voiced(notice):
            try:
                return super().invoke(ctx)
            except TablenodesError as error:
                return complain_of(error)


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


def chosen_of(*choices: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """Return what checks that an option is one of a few words, where it is given."""
    return lambda _, __, value: value if value is None else one_of(choices, value)


def option(names: str, metavar: str | None, text: str, **more: Any) -> Option:
    """Return an option with a value; its names have blanks between them."""
    return Option(names.split(), metavar=metavar, help=text, **more)


def flag(names: str, text: str) -> Option:
    """Return an option without a value; its names have blanks between them."""
    return Option(names.split(), is_flag=True, help=text)


def under(heading: str, *options: Option) -> tuple[Option, ...]:
    """Return options that the help has under a heading."""
    for each in options:
        each.heading = heading
    return options


def option_of_run(*names: str, metavar: str = "", more: str = "", text: str = "", default: str | None = None) -> Option:
    """Return an option for one of the run's own, which its last name is: what is not given comes from there."""
    told = described()[names[-1]]

    def checked(_: click.Context, __: click.Parameter, value: Any) -> Any:
        known = failures_known() if told.listed else ()
        names = [name.strip() for name in value.split(",")] if known else []
        if names and value not in told.choices and {*names} <= {*known, *told.choices}:
            return names
        return one_of(told.choices, value, listed=known) if told.choices else value

    return Option(
        names,
        metavar=metavar or "|".join((*told.choices, *(["OUTCOME,…"] if told.listed else ()))),
        default=default or told.default,
        show_default=bool(told.choices),
        callback=checked,
        help=(text or told.description) + more,
    )


def checked_as(choices: Sequence[str]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Return the check of an option whose value is one of a few words."""
    return lambda _context, _option, value: None if value is None else one_of(choices, value)


FILE = Argument("file", "WORKFLOW", "The workflow's YAML file.")
NODE = Argument("node", "NODE", "The node's name, or FILE#ID of an OpenAPI document; tablenodes nodes lists them.")
FORMATS = ("csv", "tsv", "jsonl", "json", "parquet", "arrow", "xlsx", "ods")
BINARY = ("parquet", "arrow", "xlsx", "ods")
"""What a table may be written as, and read as; `tables` has all that is done with it."""
_FILES = ".csv, .xlsx, .jsonl, .json, .parquet, …; - is the standard input; or a database's URL"
SOURCE = Argument("table", "TABLE", f"The table to read: {_FILES}.")
IDS = Argument("table", "TABLE", f"The table of ids to read: {_FILES}; or one id.")
_WHERE = (
    "Send only rows for which it is true, such as \"lang == 'de'\"; the others stay in the output, as skipped. To leave"
    " them out, filter the table before."
)
INPUT = under(  # what is read
    "Input",
    option("--input-format", "FORMAT", f"What the table is, whatever its name: {', '.join(FORMATS)}, csv.gz, …"),
    option("--encoding", "NAME", "The encoding of a text file, such as cp1252. Default: UTF-8."),
    option("--separator", "CHARACTER", "What separates the cells of CSV, such as ';' or tab. Default: it is found."),
    option("--sheet", "NAME", "The sheet of a spreadsheet. Default: the first."),
    option("--rows", "N|A:B", "Only the first N rows, or rows A to before B; the first is row 0.", type=Rows()),
    option("sql --query", "SQL", "What to read of a database, whose URL is the table; @FILE reads it from a file."),
    option("--where", "EXPRESSION", _WHERE),
)
(TABLE,) = under("Input", option("--table -t", "FILE", f"The table to read: {_FILES}."))
(INPUTS,) = under("Input", option("inputs --input -i", "NAME=VALUE", "The value of a workflow input.", multiple=True))
REQUEST = under(
    "Request",
    option("--model", None, "Short for --set model=…"),
    option("--prompt", None, "Short for --set prompt=…, such as 'Sum up: {{ text }}'; @FILE reads it from a file."),
    option("--system", None, "Short for --set system=…; @FILE reads it from a file."),
    option("--image", None, "Short for --set image=…, such as '{{ path }}'"),
    option(
        "settings --set -s", "NAME=VALUE", "A setting of the node; tablenodes nodes NODE lists them.", multiple=True
    ),
)
_KIND = "Labels (yes,no), a type (int), @schema.json; or a field, such as stars=int."
ANSWERS = under(
    "Answers",
    option("answers --answer", "[FIELD=]KIND", _KIND, multiple=True),
    option("--into", "NAME", "What the answer's column is called, or begins with."),
)
_FORMAT = "The standard output's format; a file's ending decides its own. Default: csv."
_IF_EXISTS = "What to do where that is there already. [fail; with a key, append]"
OUTPUT = under(
    "Output",
    option(
        "--output -o",
        "FILE",
        "Write the table to this file, as its ending says; - is the standard output; or to a database, by its URL.",
    ),
    option("form --format", "|".join(FORMATS), _FORMAT, callback=checked_as(FORMATS)),
    flag("--raw", "Write the last node's body and status, not the table's columns with the answers beside them."),
    option("--output-table", "NAME", "The table to write, where the output is a database's URL."),
    option("--if-exists", "|".join(IF_EXISTS), _IF_EXISTS, callback=checked_as(IF_EXISTS)),
    option("--key-column", "NAME", "Update the rows that have the same value in this column, and add the others."),
    option("written --columns", "NAME,…", "Write these columns of the table, in this order."),
)
_BESIDE = " Default: beside the output, with .journal at its end; none for the standard output."
JOURNAL = under(
    "Journal",
    option_of_run("--journal", "journal", metavar="FILE", more=_BESIDE),
    flag("--no-journal", "Keep no journal: answers that are lost are sent, and paid for, again."),
    flag("--no-send", "Send nothing: use only the answers that the journal has."),
    option_of_run("--retry-failed", "retry_failed"),
    option_of_run("--on-in-doubt", "on_in_doubt"),
    option_of_run("--duplicates", "duplicates"),
)
_PLACE = "The store's file. Default: the file that TABLENODES_STORE names, else one in the user's data folder."
(STORE,) = under("Store", option("--store", "FILE", _PLACE))
LATER = under(  # what says how rows are handed to a worker
    "Store",
    option_of_run("--submission", "submission", metavar="NAME", more=" Default: it is known by its node and rows."),
    option("--deadline", "SECONDS", f"{described()['deadline'].description} [{DAY:,.0f}]", type=float),
    flag("--replace", described()["replace"].description),
)
_LOG = "Write what became of each row to this file: outcome, reason, message, attempts, latency, tokens, …"
_REPORT = "Write a report of the run to this file: one page of HTML, with charts, why rows failed, and what to do."
(REPORT,) = under("Messages", option("--report", "FILE", _REPORT))
TOLD = under(  # what is said of a run
    "Messages",
    option("--log", "FILE", _LOG),
    flag("--quiet -q", "Print errors only; the exit code says how the rows went."),
    flag("--verbose -v", "Say while it runs what is sent, what is tried again and why, and what is waited for."),
    flag("--no-progress", "Show no progress bar, and print less while it runs."),
)
