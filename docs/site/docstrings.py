"""NumPy docstrings as Markdown: sections, lists of parameters, examples, and names that lead to their entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html import escape

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*)\n((?: {4}.*\n?|\n)*)", re.MULTILINE)
_CODE = re.compile(r"(``.+?``|`[^`]+`)", re.DOTALL)
_BLOCK = re.compile(r"^(?:\.\. code-block:: (\w+)|::)\n\n((?: {4}.*\n?|\n)+)", re.MULTILINE)

Linked = Callable[[str], str | None]
"""The address of what a name stands for, if the reference has it."""


def markdown(docstring: str, linked: Linked) -> str:
    """Return a docstring as Markdown whose headings are bold, so that the page has them under the name's own."""
    first, *rest = _SECTION.split(docstring.strip() + "\n")
    parts = [prose(first, linked)]
    for heading, body in zip(rest[::2], rest[1::2], strict=True):
        parts.append(f"**{heading}**")
        listed = heading in ("Parameters", "Attributes", "Returns", "Yields", "Raises")
        parts.append("\n\n".join(_entries(heading, body, linked)) if listed else prose(body, linked))
    return "\n\n".join(part for part in parts if part) + "\n"


def _entries(heading: str, body: str, linked: Linked) -> Iterator[str]:
    """Yield a list's entries; those of returns and errors are types, the others names with a type after a colon."""
    for head, text in _ENTRY.findall(body):
        name, _, kind = head.partition(" : ")
        if heading in ("Returns", "Yields", "Raises"):
            yield defined(prose(f"`{head}`", linked), "", prose(_dedented(text), linked))
        else:
            yield defined(f"`{name}`", kind, prose(_dedented(text), linked))


def defined(term: str, kind: str, text: str) -> str:
    """Return an entry of a list of definitions: what is defined, its type or nothing, and what it means."""
    kind = f' <span class="kind">{escape(kind)}</span>' if kind else ""
    return f"{term}{kind}\n:   " + (text or "…").strip().replace("\n", "\n    ")


def prose(text: str, linked: Linked) -> str:
    """Return paragraphs of a docstring as Markdown; blocks of code and examples are fenced."""
    text = _BLOCK.sub(
        lambda found: f"```{found[1] or 'text'}\n{_dedented(found[2]).rstrip()}\n```\n", text.strip() + "\n"
    )
    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "\n\n".join("\n\n".join(_paragraphs(part, linked)) for part in parts if part.strip())


def _paragraphs(text: str, linked: Linked) -> Iterator[str]:
    if text.startswith("```"):
        yield text
        return
    for part in re.split(r"\n{2,}", text.strip("\n")):
        yield f"```pycon\n{part}\n```" if part.startswith(">>> ") else inline(part, linked)


def inline(text: str, linked: Linked) -> str:
    """Return a paragraph as Markdown: double backticks are code, single ones a name."""
    pieces = []
    for piece in _CODE.split(text):
        if piece.startswith("``"):
            pieces.append(f"`{piece[2:-2]}`")
        elif piece.startswith("`"):
            address = linked(piece[1:-1])
            pieces.append(f"[{piece}]({address})" if address else piece)
        else:
            pieces.append(re.sub(r"([*\[\]])", r"\\\1", escape(piece, quote=False)))
    return "".join(pieces)


def _dedented(text: str) -> str:
    return re.sub(r"^ {4}", "", text, flags=re.MULTILINE).strip("\n")
