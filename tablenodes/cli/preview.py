"""What a command would do, in place of doing it: the requests that it would send, a check, an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..run.display import printable
from .command_options import Given, flag, under
from .complaints import BAD_INPUT, OK
from .presentation import located
from .printout import show
from .selection import opened_table, table_of

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from ..workflow import Workflow

    Inputs = Mapping[str, Any]

PREVIEWS = under(
    "Before sending",
    flag("--dry-run", "Show the request of the first row, or of each of --rows; send nothing."),
    flag("--curl", "Show the same as curl commands to paste into a shell; send nothing."),
    flag("--check", "Show which rows cannot be sent and why; send nothing."),
    flag("--estimate", "Show the tokens, the cost and the time of a run; send nothing."),
)


def previewed(
    workflow: Workflow, given: Given, inputs: Inputs, connection: Connection | None, journal: str | None
) -> int | None:
    """Show what is asked for in the place of a run, and return the exit code; None where a run is asked for."""
    asked = [name for name in ("dry_run", "curl") if getattr(given, name, False)]
    if asked and (given.check or given.estimate):
        raise click.BadParameter("leave --check and --estimate out", param_hint=f"--{asked[0].replace('_', '-')}")
    if asked:
        return _show_requests(workflow, given, inputs, connection)
    if not getattr(given, "check", False) and not getattr(given, "estimate", False):
        return None
    table = table_of(workflow, given.table, given.rows)
    code = show_check(workflow, table, inputs, connection, given.store) if given.check else OK
    if given.estimate:
        show_estimate(workflow, table, inputs, connection, given.store, journal)
    return code


def show_check(workflow: Workflow, table: Any, inputs: Inputs, connection: Connection | None, store: str | None) -> int:
    """Show what each node would send, and which rows cannot be sent and why; return the exit code."""
    found = workflow.check(table, inputs, connection, store=store)
    for position, (name, each) in enumerate(found.items()):
        named = "" if workflow._alone else f"{name}: "
        show(f"{named}{each.described(partial(located, workflow, position))}")
    if any(len(each.problems) for each in found.values()):
        show("rows count from 0")
    return OK if all(each.valid + each.skipped == each.rows for each in found.values()) else BAD_INPUT


def show_estimate(
    workflow: Workflow,
    table: Any,
    inputs: Inputs,
    connection: Connection | None,
    store: str | None,
    journal: str | None,
) -> None:
    """Show what each node that sends would use, cost and take."""
    made = workflow.estimate(table, inputs, connection, journal=journal, store=store)
    show(repr(next(iter(made.values()), made) if workflow._alone else made))


def _show_requests(workflow: Workflow, given: Given, inputs: Inputs, connection: Connection | None) -> int:
    """Show what each node would send of each row that is asked for; return the exit code."""
    from ..workflow.node_requests import first_row, node_requests  # noqa: PLC0415 - loads pandas

    view = opened_table(workflow, _beginning(workflow, given))
    first = first_row(workflow, view, inputs) if given.rows is None else 0
    rows = range(*(given.rows or slice(first, first + 1)).indices(len(view)))
    code, at = OK, 0
    for each in node_requests(workflow, view, rows, inputs, connection, given.store or workflow.store):
        print("\n" if at else "", end="")
        name = "" if workflow._alone else f"{each.node}, "
        print(f"# {name}{_in_json(each.curl())}" if given.curl else printable(f"# {name}{each.text()}"))
        code, at = BAD_INPUT if each.is_refused else code, at + 1
    if not rows:
        show("no row is chosen, so there is no request")
    return code


def _beginning(workflow: Workflow, given: Given) -> Any:
    """Return the table; of a pattern of files the first, where the first row alone is shown."""
    from .. import tables  # noqa: PLC0415 - loads pandas
    from ..workflow.table_source import TableSource  # noqa: PLC0415
    from ..workflow.workflow_check import file_of  # noqa: PLC0415

    path, source = file_of(workflow, given.table), workflow.table if given.table is None else given.table
    if path is None or given.rows is not None or workflow._only is not None:
        return given.table
    first = tables.files_of(path)[0]
    return replace(source, path=first) if isinstance(source, TableSource) else first


def _in_json(command: str) -> str:
    """Return a command in which signs that a terminal acts on, which are in its body's JSON alone, are escaped."""
    return "".join(sign if printable(sign) == sign else _escaped(sign) for sign in command)


def _escaped(sign: str) -> str:
    units = sign.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
