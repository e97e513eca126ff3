"""``tablenodes nodes``, ``schema`` and ``graph``: what can be asked, with which settings, and what a workflow is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..errors import SchemaError, UsageError, WorkflowError, nearest
from ..notices import say
from .command_options import FILE, Argument, Given, command, flag, option
from .printout import aligned, show, terminal_width

if TYPE_CHECKING:
    from ..schemas import Schema

_WHICH = "The operation, such as create_chat_completion; or workflow, for a workflow's file. Default: list them all."
_WORKFLOW = "workflow"
_DRAWN = "Where the drawing goes: an .svg, or Mermaid text in an .mmd. Default: Mermaid text to the standard output."


@command("graph", FILE, option("--output -o", "FILE", _DRAWN))
def graph(given: Given) -> None:
    """Show a workflow's nodes and what each reads, as Mermaid text or as an SVG."""
    from ..workflow import Workflow  # noqa: PLC0415 - loaded where it is used

    workflow = Workflow.load(given.file)
    if given.output is None:
        print(workflow.graph(), end="")
        return
    ending = os.path.splitext(given.output)[1].lower()
    if ending not in (".svg", ".mmd"):
        raise click.BadParameter("must end with .svg or .mmd", param_hint="--output")
    _write(given.output, workflow.graph("svg" if ending == ".svg" else "mermaid"))


@command(
    "convert",
    FILE,
    option("--output -o", "FILE", "Where the workflow goes. Default: the standard output."),
    flag("--replace", "Replace another workflow that the output file holds."),
)
def convert(given: Given) -> None:
    """Turn a Kestra flow, with tasks of its OpenAI plugin, into a workflow, and say what is not carried over."""
    from pathlib import Path  # noqa: PLC0415 - loaded where it is used

    from ..documents import yaml_reader  # noqa: PLC0415
    from ..workflow import yaml_writer  # noqa: PLC0415
    from ..workflow.definition_reader import Reader  # noqa: PLC0415
    from ..workflow.orchestrator_flow import CHAT, converted  # noqa: PLC0415

    flow = yaml_reader.read(Path(given.file), given.file)
    if isinstance(flow.value, dict) and "nodes" in flow.value:
        raise flow.error(("nodes",), f"is a workflow already: tablenodes check {given.file}")
    if not isinstance(flow.value, dict) or not isinstance(flow.value.get("tasks"), list):
        raise flow.error((), "tasks: is missing; a flow has a list of them, each with an id and a type")
    made, notes = converted(flow.value)
    if all(node["type"] != CHAT for node in made["nodes"]):
        for note in notes:
            say(note)
        what = "there is no ChatCompletion of the OpenAI plugin, so nothing is converted or written"
        raise flow.error(("tasks",), f"tasks: {what}")
    text = yaml_writer.write(made)
    try:
        Reader(yaml_reader.parse(text, given.output or "the workflow"), ".").read()
    except UsageError as error:  # such as a filter that placeholders do not have
        notes += [str(error), *getattr(error, "__notes__", ())]
    for note in notes:
        say(note)
    if given.output in (None, "-"):
        print(text, end="")
    else:
        _refuse_to_lose(given, text)
        _write(given.output, text)


def _refuse_to_lose(given: Given, text: str) -> None:
    """Raise `WorkflowError` where the flow itself, or a workflow that somebody has changed, would be overwritten."""
    from pathlib import Path  # noqa: PLC0415 - loaded where it is used

    output = Path(given.output)
    if output.exists() and output.samefile(given.file):
        raise WorkflowError(f"{output} is the flow itself: choose another output")
    if output.is_file() and output.read_bytes() != text.encode() and not given.replace:
        raise WorkflowError(f"{output} is there already, and differs: choose another output, or use --replace")


def _write(path: str, text: str) -> None:
    """Write a file and say so; raise `WorkflowError` where it cannot be written."""
    from pathlib import Path  # noqa: PLC0415 - loaded where it is used

    from ..disk import write_file  # noqa: PLC0415

    try:
        write_file(Path(path), text.encode())
    except OSError as error:
        raise WorkflowError(f"{path}: cannot write it ({error.strerror})") from None
    say(f"wrote {path}")


_WHOSE = "Show this node's settings; of an OpenAPI document's FILE its operations, of FILE#ID the settings of one."


@command("nodes", Argument("name", "NODE", _WHOSE, required=False))
def nodes(given: Given) -> None:
    """List the nodes, or one node's settings, or the operations of an OpenAPI document."""
    from ..nodes import find_node, known_nodes  # noqa: PLC0415 - loaded where it is used
    from ..nodes.reference import described, summary  # noqa: PLC0415

    if given.name is None:
        show_rows([(name, kind._declared.does, summary(kind)) for name, kind in known_nodes().items()])
        return
    if "#" not in given.name and given.name.lower().endswith((".json", ".yaml", ".yml")):
        _show_operations(given.name)
        return
    kind = find_node(given.name)
    show(f"{given.name}: {kind._declared.does}")
    show(summary(kind))
    show()
    types = ((each, each.type if each.is_property else "") for each in described(kind))
    show_rows([(each.name, words, _text(each.text, each.limits)) for each, words in types])


def _show_operations(path: str) -> None:
    """Show what can be asked of the API that a document describes, and of what else no node is made."""
    from ..openapi import load  # noqa: PLC0415 - loaded where it is used

    table = load(path.removeprefix("openapi:")).operations
    columns = (table[name] for name in ("id", "method", "path", "made", "summary"))
    rows = [
        (known_as or "-", method, path, summary if made == "yes" else f"no: {made}")
        for known_as, method, path, made, summary in zip(*columns, strict=True)
    ]
    show_rows([tuple(_text(text, "") for text in row) for row in rows])


@command(
    "schema",
    Argument("operation", "OPERATION", _WHICH, required=False),
    option("--revision -r", "NAME|FILE", "The revision of the schema, or a file. Default: the newest."),
    option("name --property -p", "NAME", "Show one property in full."),
    flag("--json", "Print the JSON Schema itself."),
)
def schema(given: Given) -> None:
    """Show what a request may hold: its properties with their types and limits."""
    from .. import schemas  # noqa: PLC0415 - loaded where it is used

    if given.operation is None:
        wanted = schemas.revisions() if given.revision is None else (given.revision,)
        rows = [(each, one) for each in wanted for one in schemas.operations(each)]
        show_rows([*rows, *([("workflow files", _WORKFLOW)] if given.revision is None else [])])
        return
    if given.operation == _WORKFLOW:
        _show_file_schema(given)
        return
    if nearest(given.operation, (_WORKFLOW,)):
        raise SchemaError(f"no operation {given.operation!r}{nearest(given.operation, (_WORKFLOW,))}")
    found = schemas.load(given.revision or schemas.DEFAULT_REVISION, given.operation)
    if given.name is not None:
        if given.name not in found.properties:
            raise SchemaError(f"{found.name} has no property {given.name!r}{nearest(given.name, found.properties)}")
        _show_property(found, given.name, given.json)
    elif given.json:
        print(json.dumps(found.document, indent=2, ensure_ascii=False))
    else:
        show(f"{given.operation} ({found.name}); * is required")
        show()
        show_rows([(f"{'*' if p in found.required else ' '} {p}", *_described(found, p)) for p in found.properties])


def _show_file_schema(given: Given) -> None:
    """Show the schema of a workflow's file, or one part of it."""
    from ..workflow.file_schema import file_schema  # noqa: PLC0415 - loaded where it is used

    if given.revision is not None:
        raise click.BadParameter("a workflow's file has one schema: leave it out", param_hint="--revision")
    document = file_schema()
    shown = document if given.name is None else document["properties"].get(given.name)
    if shown is None:
        known = nearest(given.name, document["properties"]) or f"; there are {', '.join(document['properties'])}"
        raise SchemaError(f"a workflow's file has no key {given.name!r}{known}")
    print(json.dumps(shown, indent=2, ensure_ascii=False))


def _show_property(schema: Schema, name: str, as_json: bool) -> None:
    from ..schemas.subschemas import properties  # noqa: PLC0415 - loaded where it is used

    if not as_json:
        kind, text = _described(schema, name)
        show(f"{name}{' (required)' if name in schema.required else ''}: {kind}")
        show(text)
        show()
    print(json.dumps(properties(schema.document)[name], indent=2, ensure_ascii=False))


def _described(schema: Schema, name: str) -> tuple[str, str]:
    """Return a property's types, and what it is with its limits."""
    from ..nodes.reference import property_described  # noqa: PLC0415 - loaded where it is used

    kind, text, limits = property_described(schema, name)
    return kind, _text(text, limits)


def _text(text: str, limits: str) -> str:
    """Return what a setting means, without the marks that docstrings have."""
    plain = text.replace("``", "").replace("`", "")
    return f"{plain} [{limits}]".strip() if limits else plain


def show_rows(rows: Sequence[Sequence[str]]) -> None:
    """Show rows aligned; the last column goes on below itself where it is long."""
    import textwrap  # noqa: PLC0415 - loaded where it is used

    starts = list(aligned([[*row[:-1], "|"] for row in rows]))
    left = starts[0].rindex("|")
    for start, row in zip(starts, rows, strict=True):
        lines = textwrap.wrap(row[-1], max(terminal_width() - left, 30)) or [""]
        show((start[:left] + lines[0]).rstrip())
        for line in lines[1:]:
            show(" " * left + line)
