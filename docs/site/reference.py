"""What the package says of itself, as Markdown: its commands, its nodes with their settings, its Python names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import click

import tablenodes as tn
from tablenodes.cli.application import application
from tablenodes.cluster.mapper import Mapper
from tablenodes.later.submission_batches import SubmissionBatches
from tablenodes.nodes import known_nodes
from tablenodes.nodes.node import Node
from tablenodes.nodes.reference import Setting, described, summary
from tablenodes.openapi import ApiDocument, load
from tablenodes.run.comparison import Comparison
from tablenodes.run.response_batches import ResponseBatches
from tablenodes.run.row_request import RowRequest
from tablenodes.run.summary import Summary
from tablenodes.workflow.workflow_batches import WorkflowBatches
from tablenodes.workflow.workflow_estimate import WorkflowEstimate

from .docstrings import defined, inline, markdown

RETURNED = (
    ApiDocument,
    Comparison,
    Mapper,
    ResponseBatches,
    SubmissionBatches,
    RowRequest,
    Summary,
    WorkflowBatches,
    WorkflowEstimate,
)
"""Classes that no program names, since methods return them."""
NAMES = {name: getattr(tn, name) for name in tn._HOMES if name not in known_nodes()} | {
    each.__name__: each for each in RETURNED
}
NAMES["openapi.load"] = load
"""What has an entry on the page of Python."""


class Markdown(click.HelpFormatter):
    """Writes what a command's help says as Markdown."""

    def __init__(self, command: str) -> None:
        super().__init__()
        self.command = command
        self._in_examples = False

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write how the command is called."""
        self.write(f"```text\n{prog} {args}\n```\n\n")

    def write_heading(self, heading: str) -> None:
        """Write the heading of some options, which other pages can link to."""
        anchor = f"{self.command} {heading}".replace(" ", "-").lower()
        self.write(f'#### {self.command}: {heading.lower()} {{ id="{anchor}" }}\n\n')
        self._in_examples = heading == "Examples"
        if self._in_examples:
            self.write("```sh\n")

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        self.write(plain(text) + "\n\n")

    def write_dl(self, rows: Any, **_: Any) -> None:
        """Write options with what they mean."""
        for name, text in rows:
            self.write(defined(f"`{name}`", "", plain(text)) + "\n\n")

    def indent(self) -> None:
        """Begin a section, at the left."""

    def dedent(self) -> None:
        """End a section."""
        if self._in_examples:
            self.write("```\n\n")


def plain(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return inline(text.replace("`", "'"), lambda _: None).replace("_", r"\_").replace("{{", r"\{\{")


def commands() -> str:
    """Return every command with its options, as its help has them."""
    return "\n".join(_commands(application, "tablenodes", None))


def _commands(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    name = path.rpartition(" ")[2]
    context = command.make_context(name, [], parent=parent, resilient_parsing=True)
    formatter = Markdown(path.removeprefix("tablenodes").strip() or "tablenodes")
    command.format_help(context, formatter)
    yield f"## {path}\n\n{formatter.getvalue()}"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            found = command.get_command(context, each)
            assert found is not None
            yield from _commands(found, f"{path} {each}", context)


def nodes() -> str:
    """Return every node with its settings: what each may be and means, its range and its default."""
    return "\n\n".join(map(_node, known_nodes().values()))


def _node(kind: type[Node]) -> str:
    """Return a node; settings that another node has too are told there."""
    base = next((each for each in kind.__mro__[1:] if each in known_nodes().values()), None)
    known = set(described(base)) if base else set()
    said = inspect.getdoc(kind) or ""
    parts = [f"## {kind.__name__}", f"{plain(summary(kind))} `{kind._declared.does}`"]
    about = said.partition("Parameters\n---")[0].partition("\n")[2].strip()
    parts.append(markdown(about, linked("python.md")))
    parts.append(f"In Python: {', '.join(_methods_of(kind))}.")
    own = [each for each in described(kind) if each not in known]
    if base:
        more = ", and these:" if own else "."
        parts.append(f"It has the settings of [`{base.__name__}`](#{anchor(base.__name__)}){more}")
    parts += [_setting(each, kind.__name__) for each in own]
    return "\n\n".join(parts)


def _setting(setting: Setting, node: str) -> str:
    """Return a setting under a heading, so that the search and a link find it."""
    told = "; ".join(part for part in (setting.type, setting.limits) if part)
    kind = f'<span class="kind">{plain(told)}</span>  \n' if told else ""
    name = setting.name.replace("_", r"\_")
    return f'#### {name} {{ id="{anchor(node)}-{setting.name}" }}\n\n{kind}{inline(setting.text, linked("python.md"))}'


def _methods_of(kind: type[Node]) -> Iterator[str]:
    for name, method in _members(kind):
        yield f"[`{name}`](python.md#{anchor(_entry(kind, name, method))})"


def python() -> str:
    """Return every public name of the package, with its docstring."""
    parts = [
        "## Nodes",
        "[Nodes and their settings](nodes.md) has a list of them. These are their methods.",
        *_methods(),
    ]
    for name, value in NAMES.items():
        parts += _name(value, name)
    for name in tn._MODULES:
        module = getattr(tn, name)
        parts += [f"## tablenodes.{name}", markdown(inspect.getdoc(module) or "", linked(""))]
        for each, value in _public(module):
            parts += _name(value, each, level=3)
    return "\n\n".join(parts)


def _public(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a module has for its users: functions and errors of its own with a docstring in NumPy's form."""
    for name, value in vars(module).items():
        own = getattr(value, "__module__", "") == module.__name__ and not name.startswith("_")
        if own and (
            (isinstance(value, type) and issubclass(value, Exception)) or "Parameters\n" in (value.__doc__ or "")
        ):
            yield name, value


def _methods() -> Iterator[str]:
    """Yield the methods of nodes, each once, with the nodes that have it."""
    owners: dict[str, tuple[Any, list[str]]] = {}
    for kind in known_nodes().values():
        for name, method in _members(kind):
            owners.setdefault(_entry(kind, name, method), (method, []))[1].append(kind.__name__)
    for entry, (method, having) in owners.items():
        of = ", ".join(f"[`{each}`](nodes.md#{anchor(each)})" for each in having)
        yield f"{_heading(3, entry)}Of {of}.\n\n{_documented(method, entry)}"


def _entry(kind: type, name: str, method: Any) -> str:
    """Return the name under which a method of several nodes has its entry: that of the first of them."""
    first = next(each for each in known_nodes().values() if getattr(each, name, None) is getattr(kind, name))
    return f"{first.__name__}.{name}"


def _name(value: Any, name: str, level: int = 2) -> Iterator[str]:
    yield _heading(level, name) + _documented(value, name if level > 2 else f"tn.{name}")
    if isinstance(value, type) and not issubclass(value, Exception):
        for each, member in _own_members(value):
            yield _heading(level + 1, f"{name}.{each}") + _documented(member, f"{name}.{each}")


def _heading(level: int, name: str) -> str:
    """Return a heading with its anchor, which the list of contents may break after a dot."""
    broken = name.replace(".", ".\u200b")
    return f'{"#" * level} {name} {{ id="{anchor(name)}" data-toc-label="{broken}" }}\n\n'


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that the package defines for a class, in their order."""
    seen = dict.fromkeys(name for each in reversed(kind.__mro__) for name in vars(each))
    for name in sorted(seen, key=lambda name: name != "run"):
        member = inspect.getattr_static(kind, name)
        inner = getattr(member, "func", getattr(member, "fget", getattr(member, "__func__", member)))
        if not name.startswith("_") and callable(inner) and inspect.isfunction(inner) and _ours(inner):
            yield name, member


def _own_members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the members that no other class on the page has."""
    bases = [each for each in kind.__mro__[1:] if each in NAMES.values()]
    for name, member in _members(kind):
        if all(inspect.getattr_static(base, name, None) is not member for base in bases):
            yield name, member


def _ours(function: Callable[..., Any]) -> bool:
    return function.__module__.startswith("tablenodes") and bool(function.__doc__)


def _documented(value: Any, name: str) -> str:
    """Return a signature without its types, where it can be called, and the docstring."""
    inner = getattr(value, "__func__", value)
    doc = inspect.getdoc(value) or ""
    called = inspect.isfunction(inner) or (isinstance(value, type) and "Parameters\n---" in doc)
    shown = f"```python\n{_signature(inner, name)}\n```\n\n" if called else ""
    return shown + markdown(doc, linked(""))


def _signature(value: Any, name: str) -> str:
    """Return a call with its defaults, on several lines where it is long."""
    made = inspect.signature(value)
    listed = [each for each in made.parameters.values() if each.name not in ("self", "cls") and each.name[0] != "_"]
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in listed]
    words = str(made.replace(parameters=bare, return_annotation=inspect.Signature.empty)).replace("'", '"')
    if len(name + words) <= 76:
        return name + words
    each_on_a_line = [str(inspect.Signature([one]))[1:-1].removesuffix(", /").replace("'", '"') for one in bare]
    return f"{name}(\n" + "".join(f"    {word},\n" for word in _with_marks(bare, each_on_a_line)) + ")"


def _with_marks(parameters: list[inspect.Parameter], words: list[str]) -> Iterator[str]:
    """Yield parameters with the star before those that are given by name."""
    starred = False
    for each, word in zip(parameters, words, strict=True):
        if each.kind is each.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        yield word.removeprefix("*, ")


def anchor(name: str) -> str:
    """Return the anchor of an entry."""
    return name.replace(".", "-").lower()


def linked(page: str) -> Callable[[str], str | None]:
    """Return what finds the entry of a public name, or of a member of one, from a page; an empty one is its own."""
    known = known_nodes()

    def address(name: str) -> str | None:
        whole, _, member = name.partition(".")
        if whole in known and not member:
            return f"nodes.md#{anchor(whole)}"
        value = NAMES.get(whole)
        own = isinstance(value, type) and member in dict(_own_members(value))
        return f"{page}#{anchor(name)}" if value is not None and (own or not member) else None

    return address
