"""What a node says about its bodies: its settings, parsed, its shortcuts written out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..problems import Remark
from ..templates.template import Template
from .taken_columns import CONVERSATION
from .values import ConversationValue, SpokenValue, is_varying, parse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_PLACEHOLDERS_NOWHERE_IN = frozenset({"tools", "functions", "extra_body"})
_PLACEHOLDERS_ANYWHERE_IN = frozenset({"messages", "prompt", "system"})
_IN_SINGLE_BRACES = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")
_IN_DOUBLE_BRACES = re.compile(r"\{\{.*?\}\}", re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """What a node says about its bodies, before any table is known.

    Attributes
    ----------
    settings : mapping
        The settings that were set, in their declared order, without the shortcuts.
    columns : "auto" or tuple of str
        Which same-named columns are taken.
    shortcuts : bool
        Whether ``prompt``, ``system`` and ``conversation`` make messages, and functions may be written the short way.
    extra_body : mapping
        Properties that are put on top.
    """

    settings: Mapping[str, Any]
    columns: str | tuple[str, ...] = "auto"
    shortcuts: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def parsed(self) -> dict[str, Any]:
        """Give the settings as plain JSON and `Varying` values; the shortcuts have become messages."""
        made = {name: parse_setting(name, value) for name, value in self.settings.items()}
        return _with_messages(made) if self.shortcuts else made


def parse_setting(name: str, value: Any) -> Any:
    """Parse one setting; placeholders may stand in texts, and anywhere inside the messages."""
    return parse(value, name, templates=_may_hold_placeholders(name, value))


def _may_hold_placeholders(name: str, value: Any) -> bool:
    scalar = isinstance(value, str)
    return name in _PLACEHOLDERS_ANYWHERE_IN or (scalar and name not in _PLACEHOLDERS_NOWHERE_IN)


def _with_messages(made: dict[str, Any]) -> dict[str, Any]:
    if CONVERSATION in made:
        return {**made, "messages": ConversationValue(made[CONVERSATION])}
    if "prompt" not in made:
        return made
    messages = said(made["prompt"], made.get("system"))
    return {
        "messages" if n == "prompt" else n: messages if n == "prompt" else v for n, v in made.items() if n != "system"
    }


def said(prompt: Any, system: Any) -> Any:
    """Give the messages that the shortcuts mean: one of the user's, and one of the system's before it if there is any.

    Parameters
    ----------
    prompt, system : JSON value, Varying or None
        What is said.
    """
    value = SpokenValue(prompt, system)
    return value if is_varying(prompt) or is_varying(system) else value.messages(prompt, system)


def unread_placeholders(values: Mapping[str, Any]) -> Iterator[str]:
    """Say where ``{{`` stands in a setting that has no placeholders."""
    for name, value in values.items():
        scalar = isinstance(value, str)
        if not scalar and not is_varying(value) and name not in _PLACEHOLDERS_ANYWHERE_IN and _has_braces(value):
            what = "which is sent as it is: placeholders stand in messages, prompt, system and texts"
            yield Remark(f"{name} holds {{{{, {what}", name)


def like_placeholders(
    settings: Mapping[str, Any], table: Collection[str], workflow: Collection[str] = ()
) -> Iterator[str]:
    """Say where a text holds what is a placeholder or a statement elsewhere, and is sent as it is here.

    Parameters
    ----------
    settings : mapping
        The settings as they were set: what was called literal is none of these texts.
    table : collection of str
        The table's columns.
    workflow : collection of str
        The names of workflows that are there.
    """
    texts = (t for n, value in settings.items() if _may_hold_placeholders(n, value) for t in _texts(value, n))
    for place, text in texts:
        around = _IN_DOUBLE_BRACES.sub("", text)
        filled_in = Template(text, place).columns if "{{" in text else ()
        for name in dict.fromkeys(map(str.strip, _IN_SINGLE_BRACES.findall(around))):
            if (name in table and name not in filled_in) or name.partition(".")[0] in workflow:
                written = f'row["{name}"]' if name in table and not name.isidentifier() else name
                yield Remark(
                    f"{place} holds {{{name}}}, which is sent as it is: "
                    f"a placeholder has two braces on each side, {{{{ {written} }}}}",
                    place,
                )
        for mark in ("{%", "{#"):
            if mark in around:
                yield Remark(
                    f"{place} holds {mark}, which is sent as it is: there are no statements and no comments, "
                    "only placeholders {{ … }} with filters and inline if",
                    place,
                )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _texts(item, f"{place}[{i}]")


def _has_braces(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_braces, value.values()))
    if isinstance(value, list):
        return any(map(_has_braces, value))
    return isinstance(value, str) and "{{" in value
