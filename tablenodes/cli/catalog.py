"""``tablenodes nodes`` and ``schema``: what can be asked, and with which settings."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from .command_options import Argument, Given, command, flag
from .printout import aligned, show, terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..schemas import Schema

_TYPES = ("string", "number", "integer", "boolean", "array", "object")
_RANGES = (("minimum", "maximum", ""), ("minItems", "maxItems", "items"), ("minLength", "maxLength", "characters"))
_OWN = {
    "future_response_id": "The id of an answer. Default: the column of that name.",
    "wait": "Seconds to wait for answers that have not come. Default: until no more can come.",
    "prompt": "Short for one user message.",
    "system": "Short for a system message before it.",
    "columns": 'Which columns set the properties of their names: "auto", or their names.',
    "extra_body": "Properties put on top of every body.",
    "schema": "The schema of the body: a bundled revision, or a file.",
    "client_timeout": "Seconds that one attempt may take; goes before the connection's own.",
    "text": "A text with {{ … }} placeholders.",
    "conversation": "The id of a conversation, in place of messages.",
    "messages": "What has been said: a list of messages.",
    "body": "The answer's body, as JSON.",
    "content": "The parts of a message, texts and images, in place of text.",
    "continue_from": "The earlier node whose answers come first.",
}


@command("nodes", Argument("name", "NODE", "Show this node's settings.", required=False))
def nodes(given: Given) -> None:
    """List the nodes, or one node's settings."""
    from .. import schemas  # noqa: PLC0415 - loaded where it is used
    from ..nodes import find_node, known_nodes  # noqa: PLC0415
    from ..nodes.node import setting_names  # noqa: PLC0415

    name = given.name
    if name is None:
        rows = [(each, kind._declared.does, _first_line(kind.__doc__)) for each, kind in known_nodes().items()]
        _show_rows(rows)
        return
    kind = find_node(name)
    show(f"{name}: {kind._declared.does}")
    show(_first_line(kind.__doc__))
    show()
    if not kind._declared.operation:
        _show_rows([(setting, "", _OWN.get(setting, "")) for setting in setting_names(kind)])
        return
    schema = schemas.load(schemas.DEFAULT_REVISION, kind._declared.operation)
    rows = []
    for setting in setting_names(kind):
        short = setting in _OWN and (
            setting not in schema.properties or (kind._declared.shortcuts and setting == "prompt")
        )
        rows.append((setting, "", _OWN[setting]) if short else (setting, *_described(schema, setting)))
    _show_rows(rows)


@command(
    "schema",
    Argument("operation", "OPERATION", "Such as create_chat_completion.", required=False),
    click.Option(["--revision", "-r"], metavar="NAME|FILE", help="Default: the newest."),
    click.Option(["name", "--property", "-p"], metavar="NAME", help="Show one property in full."),
    flag("--json", "Print the JSON Schema itself."),
)
def schema(given: Given) -> None:
    """Show what a request may hold: its properties with their types and limits."""
    from .. import schemas  # noqa: PLC0415 - loaded where it is used
    from ..errors import SchemaError, nearest  # noqa: PLC0415

    if given.operation is None:
        wanted = schemas.revisions() if given.revision is None else (given.revision,)
        _show_rows([(each, one) for each in wanted for one in schemas.operations(each)])
        return
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
        _show_rows([(f"{'*' if p in found.required else ' '} {p}", *_described(found, p)) for p in found.properties])


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
    from ..schemas.subschemas import applied, properties  # noqa: PLC0415 - loaded where it is used

    document = schema.document
    layers = list(applied(document, properties(document).get(name), unions=True))
    admitted = schema.admits((name,))
    types = [each for each in _TYPES if each in admitted and not (each == "integer" and "number" in admitted)]
    limits = "; ".join(_limits(layers))
    text = schema.description(name) + (f" [{limits}]" if limits else "")
    return "any" if admitted >= set(_TYPES) else " or ".join(types), text.strip()


def _limits(layers: Sequence[dict[str, Any]]) -> Iterator[str]:
    words = dict.fromkeys(str(word) for one in layers for word in one.get("enum", ()) if word is not None)
    if words:
        yield "|".join(words)
    for least, most, unit in _RANGES:
        low = next((one[least] for one in layers if least in one), None)
        high = next((one[most] for one in layers if most in one), None)
        if high is not None:
            yield f"{f'at most {high}' if low is None else f'{low} to {high}'} {unit}".rstrip()
        elif low is not None:
            yield f"at least {low} {unit.removesuffix('s') if low == 1 else unit}".rstrip()
    default = layers[0].get("default") if layers else None
    if default is not None:
        yield f"default {default if isinstance(default, str) else json.dumps(default)}"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0].partition(": POST ")[0].rstrip(".") + "."


def _show_rows(rows: Sequence[Sequence[str]]) -> None:
    """Show rows aligned; the last column goes on below itself where it is long."""
    import textwrap  # noqa: PLC0415 - loaded where it is used

    starts = list(aligned([[*row[:-1], "|"] for row in rows]))
    left = starts[0].rindex("|")
    for start, row in zip(starts, rows, strict=True):
        lines = textwrap.wrap(row[-1], max(terminal_width() - left, 30)) or [""]
        show((start[:left] + lines[0]).rstrip())
        for line in lines[1:]:
            show(" " * left + line)
