"""What each setting of a node means: in the words of its class, else in those of the request's schema."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from ..schemas import Schema
from ..schemas.subschemas import applied, properties
from .node import Node, property_of, setting_names

K = TypeVar("K", bound="type[Node]")

_TYPES = ("string", "number", "integer", "boolean", "array", "object")
_IN_PYTHON = dict(zip(_TYPES, ("str", "float", "int", "bool", "list", "dict"), strict=True))
_RANGES = (("minimum", "maximum", ""), ("minItems", "maxItems", "items"), ("minLength", "maxLength", "characters"))
_PARAMETERS = re.compile(r"^Parameters\n-+\n(.*?)(?=^\S[^\n]*\n-{3,}$|\Z)", re.MULTILINE | re.DOTALL)
_PARAMETER = re.compile(r"^(\w[\w, ]*) : (.*)\n((?: {4}.*\n?|\n)+)", re.MULTILINE)


class Setting(NamedTuple):
    """A setting of a node: what it may be in words, what it means, and limits such as ``0 to 2``; each may be empty."""

    name: str
    type: str
    text: str
    limits: str = ""
    is_property: bool = False


def described(kind: type[Node]) -> list[Setting]:
    """Return every setting of a kind of node, in the order in which they are shown."""
    schema = kind._described_by()
    own = _own_words(kind)
    shortcuts = ("prompt", "system", "conversation") if kind._declared.shortcuts else ()
    found = []
    for name in setting_names(kind):
        known_as = property_of(kind, name)
        if schema is None or name in shortcuts or known_as not in schema.properties:
            found.append(own.get(name, Setting(name, "", "")))
        else:
            words, text, limits = property_described(schema, known_as)
            found.append(Setting(name, words, own[name].text if name in own else text, limits, is_property=True))
    return found


def property_described(schema: Schema, name: str) -> tuple[str, str, str]:
    """Return a request property's types, what it is, and its limits."""
    document = schema.document
    layers = list(applied(document, properties(document).get(name), unions=True))
    admitted = schema.admits((name,))
    types = [each for each in _TYPES if each in admitted and not (each == "integer" and "number" in admitted)]
    words = "any" if admitted >= set(_TYPES) else " or ".join(types)
    return words, schema.description(name), "; ".join(_limits(layers))


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


def _own_words(kind: type[Node]) -> dict[str, Setting]:
    """Return what a class, or else its bases, say of their settings themselves."""
    found: dict[str, Setting] = {}
    for base in kind.__mro__:
        section = _PARAMETERS.search(_written(base))
        for names, words, text in _PARAMETER.findall(section.group(1) if section else ""):
            for name in names.split(", "):
                found.setdefault(name, Setting(name, words, " ".join(text.split())))
    return found


def _written(kind: type) -> str:
    """Return the docstring that stands in a class's source."""
    doc = vars(kind).get("__doc__")
    return inspect.cleandoc(doc.written if isinstance(doc, Documentation) else doc or "") + "\n"


def summary(kind: type[Node]) -> str:
    """Return what a kind of node does, in one sentence."""
    first, place = _written(kind).partition("\n")[0].rstrip("."), f": {kind._declared.method} /"
    return f"{first.partition(place)[0].rstrip('.')}."


class Documentation:
    """A class's docstring with all of its settings: made of the schema when somebody reads it."""

    def __init__(self, written: str) -> None:
        self.written = written
        self._made = ""

    def __get__(self, instance: object, kind: type[Node]) -> str:
        if not self._made:
            self._made = documentation(kind)
        return self._made


def documentation(kind: type[Node]) -> str:
    """Return a node's docstring, in which every setting is described."""
    before, *_ = re.split(r"^Parameters\n-+\n", _written(kind), maxsplit=1, flags=re.MULTILINE)
    lines = [before.rstrip(), "", "Parameters", "----------"]
    for name, words, text, limits, _ in described(kind):
        in_python = " ".join(_IN_PYTHON.get(word, word) for word in words.split())
        lines.append(f"{name} : {in_python}" if words else name)
        whole = f"{text} [{limits}]" if limits else text
        lines += textwrap.wrap(whole, 116, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines) + "\n"


def documented(kind: K) -> K:
    """Let a node's docstring describe every setting."""
    kind.__doc__ = Documentation(kind.__doc__ or "")  # type: ignore[assignment]
    return kind
