"""The options that several commands have in common."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import EndedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..connection.connection import Connection
    from ..errors import TablenodesError
    from ..settings import Limits
    from ..workflow import Workflow

File = Annotated[str, typer.Argument(metavar="WORKFLOW", help="The workflow's YAML file.", show_default=False)]
Table = Annotated[
    str | None,
    typer.Option("--table", "-t", metavar="FILE", help="The configuration table: .csv, .jsonl, .parquet, …"),
]
Rows = Annotated[
    int | None, typer.Option("--rows", metavar="N", min=0, help="Take only the table's first N rows, to try it out.")
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where the table goes, by its ending; - for the standard output. Relative to the current directory.",
    ),
]
Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="table|raw",
        help="table: the configuration with text, status and outcome; raw: body and status.",
    ),
]
Lines = Annotated[bool, typer.Option("--jsonl", help="Write JSON lines, not CSV, to the standard output.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="NAME=VALUE", help="A value for one of the workflow's inputs."),
]
Journal = Annotated[
    str | None,
    typer.Option(
        "--journal",
        metavar="FILE",
        help="Keeps every answer: the same command again sends only what is missing."
        " Default: beside the output, with .journal at its end; none for the standard output.",
    ),
]
NoJournal = Annotated[bool, typer.Option("--no-journal", help="Keep no journal: what is lost is paid for again.")]
InDoubt = Annotated[
    str,
    typer.Option(
        "--on-in-doubt",
        metavar="resend|report",
        help="What becomes of rows that an earlier run sent without seeing an answer.",
    ),
]
RetryFailed = Annotated[
    str,
    typer.Option(
        "--retry-failed", metavar="transient|all|none", help="Which failed rows of the journal are sent again."
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option("--concurrency", "-c", metavar="N", min=1, max=10_000, help="Requests in flight at a time."),
]
MaxRequests = Annotated[
    int | None,
    typer.Option(
        "--max-requests",
        metavar="N",
        min=0,
        help="Requests that may be sent in all, retries and the journal's earlier runs among them.",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="The API's address, such as http://127.0.0.1:8080/v1. A key for it is named with --api-key-env.",
    ),
]
KeyVariable = Annotated[
    str | None,
    typer.Option(
        "--api-key-env",
        metavar="NAME",
        help="The environment variable that holds the API key."
        " Default: OPENAI_API_KEY, for OPENAI_BASE_URL or https://api.openai.com/v1 alone.",
    ),
]
NoKey = Annotated[bool, typer.Option("--no-key", help="Send no API key: for a server that needs none.")]
Local = Annotated[bool, typer.Option("--local", help="Use the embedded model, on this machine.")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="FILE",
        help="The store. Default: what TABLENODES_STORE names, else a file in the user's data folder.",
    ),
]
Quiet = Annotated[bool, typer.Option("--no-progress", help="Show no bar, and say less.")]

_SENTENCES = {
    "no_key": "no API key for {host}: set the environment variable OPENAI_API_KEY, or name another one with"
    " --api-key-env, or give --no-key if the server needs none",
    "no_key_for_address": "no API key for {host}: name the environment variable that holds it with --api-key-env"
    " (OPENAI_API_KEY goes only to the environment's own base URL), or give --no-key if the server needs none",
    "key_unencrypted": "a key would travel unencrypted to {host}: use https, or write allow_insecure: true under"
    " connection in a workflow file",
    "variable_unset": "the environment variable {variable} is not set{hint}",
    "no_variable_name": "--api-key-env must be the name of an environment variable, such as OPENAI_API_KEY;"
    " never the key itself",
}
"""What the command line says, by an error's code, where Python's own message names arguments of Python."""


def pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Give ``NAME=VALUE`` texts as a dict.

    Raises
    ------
    typer.BadParameter
        If one is not of that form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter("write it as NAME=VALUE", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value
    return found


def choice(value: str, known: Sequence[str], option: str) -> str:
    """Give a value that is one of those that are known.

    Raises
    ------
    typer.BadParameter
        If it is none of them.
    """
    if value not in known:
        raise typer.BadParameter(f"it is one of {', '.join(known)}", param_hint=option)
    return value


def connected(
    connection: Connection | None,
    base_url: str | None,
    api_key_env: str | None,
    local: bool,
    no_key: bool = False,
) -> Connection | None:
    """Give a connection with what the options say in place of its own.

    A key that was meant for another address never goes to ``--base-url``: it is named with it, or none is sent.
    """
    if local and (base_url or api_key_env or no_key):
        raise typer.BadParameter(
            "it needs no address and no key: leave --base-url, --api-key-env and --no-key out", param_hint="--local"
        )
    if no_key and api_key_env:
        raise typer.BadParameter("--api-key-env names one: keep one of the two", param_hint="--no-key")
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


def worded(error: TablenodesError) -> str:
    """Return an error's message in words of the command line, which has options and no ``.output``."""
    if error.code in _SENTENCES:
        variable = error.values.get("variable") or "that --api-key-env or api_key_env names"
        return _SENTENCES[error.code].format_map({**error.values, "variable": variable})
    return error.message if isinstance(error, EndedError) else str(error)


def limited(limits: Limits | None, concurrency: int | None, max_requests: int | None) -> Limits | None:
    """Give limits with what the options say in place of their own."""
    changed = {"concurrency": concurrency, "max_requests": max_requests}
    given = {name: value for name, value in changed.items() if value is not None}
    if not given:
        return limits
    from dataclasses import replace  # noqa: PLC0415 - loaded where it is used

    from ..settings import Limits  # noqa: PLC0415

    return replace(limits or Limits(), **given)


def journal_of(workflow: Workflow, journal: str | None) -> str | None:
    """Give the journal's path: the one that is named, else one beside the output, else none."""
    if journal is not None or workflow.output is None:
        return journal
    return f"{os.fspath(getattr(workflow.output, 'path', ''))}.journal"


def manner(
    workflow: Workflow,
    journal: str | None,
    no_journal: bool,
    retry_failed: str,
    in_doubt: str,
    store: str | None,
    no_progress: bool,
) -> dict[str, Any]:
    """Give the keyword arguments of `Workflow.run` that the options say."""
    if no_journal and journal is not None:
        raise typer.BadParameter("--journal names one: keep one of the two", param_hint="--no-journal")
    return {
        "journal": None if no_journal else journal_of(workflow, journal),
        "retry_failed": choice(retry_failed, ("transient", "all", "none"), "--retry-failed"),
        "on_in_doubt": choice(in_doubt, ("resend", "report"), "--on-in-doubt"),
        "store": store,
        "progress": False if no_progress else None,
    }


def destined(workflow: Workflow, output: str | None, form: str | None, lines: bool) -> tuple[Workflow, str]:
    """Give a workflow whose output is where the options say (none: the standard output), and the table's format."""
    from ..workflow.destination import FORMATS, Destination  # noqa: PLC0415 - loaded where it is used

    own = workflow.output if isinstance(workflow.output, Destination) else None
    form = choice(form or (own.format if own else "table"), FORMATS, "--format")
    path = own.path if output is None and own else output
    if path is None or path == "-":
        return workflow.replace(output=None), form
    if lines:
        raise typer.BadParameter("it is for the standard output: name a file that ends in .jsonl", param_hint="--jsonl")
    return workflow.replace(output=Destination(path, form)), form
