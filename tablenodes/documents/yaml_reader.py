"""Read YAML into plain values, with the line of each for messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import WorkflowError, nearest
from ..templates.template import col, literal

if TYPE_CHECKING:
    from pathlib import Path

    Path_ = tuple[str | int, ...]

MOST_BYTES = 2**20  # a file is at most this long
MOST_VALUES = 100_000  # it holds at most this many once its aliases are written out: the bound for those that multiply
DEPTH = 100  # its lists and mappings are nested at most this deep

QUOTE_IT = 'a value with {{ in it must be in quotes as a whole: "… {{ … }} …"'

_YAML = "tag:yaml.org,2002:"
_IMPLICIT = {_YAML + kind for kind in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")}
# The core schema of YAML 1.2, whatever the parser's own idea of it is.
_NULL = re.compile(r"(?:~|null|Null|NULL)?")
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL_OR_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")
_UNQUOTED = re.compile(r"(?:[:\-,\[]|^)\s*\{\{")
_KEY = re.compile(r"(\s*)(?:- +)*[^\s:#\"'\[{][^:]*:(?:\s+(\S)|$)")
FOREIGN: Mapping[str, str] = {  # what the parser says of what it meets; its errors have no other form
    "a tab": r"'\t'",
    "an open scalar": "end of stream",
    "an open list": "<stream end>",
    "a second value": "mapping values are not allowed",
    "a mapping": "<block mapping start>",
    "a document": "but found another",
}


@dataclass(frozen=True)
class Document:
    """A YAML file that has been read: plain values, `Column` and `LiteralText`, and their lines, the first being 1."""

    name: str
    value: Any
    lines: Mapping[Path_, int] = field(default_factory=dict)

    def line(self, path: Path_) -> int:
        """Return the line of a value, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Path_, message: object, code: str = "") -> WorkflowError:
        """Return an error that names the file and the line."""
        place, values = ".".join(map(str, path)), {"file": self.name, "line": self.line(path)}
        return WorkflowError(f"{self.start(path)}{message}", code=code, place=place, values=values)

    def start(self, path: Path_) -> str:
        """Return ``FILE:LINE: `` of a value, with which a message about it begins."""
        return f"{self.name}:{self.line(path)}: "


def read(path: Path, name: str) -> Document:
    """Read a YAML file."""
    return parse(text_of(path, name), name)


def text_of(path: Path, name: str, most: int = MOST_BYTES) -> str:
    """Return what a file of at most so many bytes holds."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise WorkflowError(f"{name}: no such file{_nearest_file(path)}") from None
    except OSError as error:
        raise WorkflowError(f"{name}: cannot read it ({error.strerror})") from None
    if len(content) > most:
        raise WorkflowError(f"{name}: is longer than {most:,} bytes, the limit for such a file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WorkflowError(f"{name}:{line}: is not UTF-8 text") from None


def parse(text: str, name: str) -> Document:
    """Read YAML from a text."""
    try:
        root = _composed(text, name)
        if root is None:
            raise WorkflowError(f"{name}:1: is empty")
        building = _Building(name)
        value = building.build(root, ())
    except RecursionError:
        raise WorkflowError(f"{name}:1: is nested more than {DEPTH} levels deep") from None
    return Document(name, value, building.lines)


def _nearest_file(path: Path) -> str:
    try:
        return nearest(path.name, (each.name for each in path.parent.iterdir()))
    except OSError:
        return f"; the folder {str(path.parent)!r} does not exist either"


def _composed(text: str, name: str) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415 - 50 ms that only a workflow file costs
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415

    try:
        # Only the tree: no value is made by the library, whatever a tag asks for.
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line, message = _explained(error, text)
    except YAMLError as error:
        line, message = text.count("\n", 0, getattr(error, "position", 0)) + 1, "a character that YAML does not allow"
    raise WorkflowError(f"{name}:{line}: {message}")


def _explained(error: Any, text: str) -> tuple[int, str]:
    """Return the line and what is wrong there, in one line."""
    problem = str(error.problem or error.context or "cannot be read")
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    lines = text.splitlines() or [""]
    if _UNQUOTED.search(lines[min(line, len(lines) - 1)]):
        return line + 1, QUOTE_IT
    said = {name for name, words in FOREIGN.items() if words in problem}
    if "a tab" in said:
        return line + 1, "a tab where YAML allows only blanks: indent with blanks"
    if said & {"an open scalar", "an open list"}:
        opened = error.context_mark.line if error.context_mark else line
        return opened + 1, f"a quote or bracket opened {'here' if opened < line else 'before'} is not closed"
    if said & {"a second value", "a mapping"} and _is_too_deep(lines, line):
        problem = "this line is indented deeper than the one above, which already has its value: indent both alike"
    elif "a second value" in said:
        problem = "a second ': ' in one line; put a text that holds one in quotes"
    return line + 1, f"is not YAML: {problem.replace(FOREIGN['a document'], 'there is another')}"


def _is_too_deep(lines: Sequence[str], line: int) -> bool:
    """Check whether a key stands below one that has a value in its own line."""
    above = next((each for each in reversed(lines[:line]) if each.strip() and not each.lstrip().startswith("#")), "")
    first, this = _KEY.match(above), lines[line]
    return bool(first and first[2] and len(this) - len(this.lstrip()) > len(first[1]) and this.count(": ") <= 1)


class _Building:
    """Makes plain values of the parser's tree."""

    def __init__(self, name: str) -> None:
        self.lines: dict[Path_, int] = {}
        self._name = name
        self._count = 0
        self._around: list[int] = []

    def build(self, node: Any, path: Path_) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        self._count += 1
        if self._count > MOST_VALUES:
            self._fail(node, f"has more than {MOST_VALUES:,} values, with aliases written out")
        if node.id == "scalar":
            return self._scalar(node)
        if id(node) in self._around:
            self._fail(node, "an alias stands inside what it repeats")
        if len(self._around) >= DEPTH:
            self._fail(node, f"is nested more than {DEPTH} levels deep")
        if node.tag not in (_YAML + "map", _YAML + "seq"):
            self._fail(node, _unknown_tag(node.tag))
        self._around.append(id(node))
        if node.id == "mapping":
            value: Any = self._mapping(node, path)
        else:
            value = [self.build(item, (*path, position)) for position, item in enumerate(node.value)]
        self._around.pop()
        return value

    def _mapping(self, node: Any, path: Path_) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.id == "mapping" and key_node.flow_style:
                self._fail(key_node, QUOTE_IT)
            if key_node.id != "scalar":
                self._fail(key_node, "a key must be a text")
            key = key_node.value
            if key == "<<" and key_node.style is None:
                self._fail(key_node, "merging with << is not supported: write the keys out")
            if key in made:
                self._fail(key_node, f"{key!r} is given twice, the first time in line {self.lines[*path, key]}")
            self.lines[*path, key] = key_node.start_mark.line + 1
            made[key] = self.build(value_node, (*path, key))
        return made

    def _scalar(self, node: Any) -> Any:
        if (maker := _TAGS.get(node.tag)) is not None:
            return maker(node.value)
        if node.tag not in _IMPLICIT:
            self._fail(node, _unknown_tag(node.tag))
        if node.style is not None:
            return node.value
        try:
            return _plain(node.value)
        except ValueError:
            self._fail(node, "a number with more digits than can be read")

    def _fail(self, node: Any, message: str) -> NoReturn:
        raise WorkflowError(f"{self._name}:{node.start_mark.line + 1}: {message}")


def is_text(text: str) -> bool:
    """Check whether an unquoted scalar is read as the text that it is."""
    return isinstance(_plain(text), str)


def _plain(text: str) -> Any:  # noqa: PLR0911 - the core schema, line by line
    """Return what an unquoted scalar stands for."""
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL_OR_HEX.fullmatch(text):
        return int(text, 0)
    if _NUMBER.fullmatch(text):
        return float(text)
    if found := _NOT_FINITE.fullmatch(text):
        return float("".join(found.groups()))
    return text


def _unknown_tag(tag: str) -> str:
    shown = tag.replace(_YAML, "!!")
    return f"the tag {shown[:40]!r} is not supported; use {' or '.join(_TAGS)}"


_TAGS: Mapping[str, Callable[[str], Any]] = {"!col": col, "!literal": literal}
