"""What a node says about its bodies: its settings, parsed, and which columns are used because of their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..column_names import known
from ..errors import ColumnError, SettingError, nearest
from ..problems import Remark
from ..templates.template import Template
from .values import ConversationValue, SpokenValue, is_varying, parse

BODY = "body"  # the column that may hold a whole request body in each row
CONVERSATION = "conversation"  # the column that may hold the id of a conversation in each row
NAMED_ONLY = frozenset({"n", "best_of", "user", "store", "metadata", "stream", "seed"})
"""Request properties that a table may well use for something else: taken from a column only when named."""
SHORTCUTS = ("prompt", "system", CONVERSATION)  # what makes the messages of a chat, in place of ``messages``
_PLACEHOLDERS_NOWHERE_IN = frozenset({"tools", "functions", "extra_body"})
_PLACEHOLDERS_ANYWHERE_IN = frozenset({"messages", "prompt", "system"})
_IN_SINGLE_BRACES = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")
_IN_DOUBLE_BRACES = re.compile(r"\{\{.*?\}\}", re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """What a node says about its bodies before any table is known: what was set, by the request's properties, in order.

    With `shortcuts`, `SHORTCUTS` make messages, and functions may be written the short way; `extra_body` goes on top.
    """

    settings: Mapping[str, Any]
    columns: str | tuple[str, ...] = "auto"
    shortcuts: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict)

    def parsed(self) -> dict[str, Any]:
        """Return the settings as plain JSON and `Varying` values; the shortcuts have become messages."""
        made = {name: parse_setting(name, value) for name, value in self.settings.items()}
        return _with_messages(made) if self.shortcuts else made


def parse_setting(name: str, value: Any) -> Any:
    """Parse one setting; placeholders may stand in texts, and anywhere inside the messages."""
    return parse(value, name, templates=_may_hold_placeholders(name, value))


def _may_hold_placeholders(name: str, value: Any) -> bool:
    return name in _PLACEHOLDERS_ANYWHERE_IN or (isinstance(value, str) and name not in _PLACEHOLDERS_NOWHERE_IN)


def _with_messages(made: dict[str, Any]) -> dict[str, Any]:
    if CONVERSATION in made:
        return {**made, "messages": ConversationValue(made[CONVERSATION])}
    if "prompt" not in made:
        return made
    chat = said(made["prompt"], made.get("system"))
    return {"messages" if n == "prompt" else n: chat if n == "prompt" else v for n, v in made.items() if n != "system"}


def said(prompt: Any, system: Any) -> Any:
    """Return the messages that the shortcuts mean: one of the user's, after one of the system's if there is any."""
    value = SpokenValue(prompt, system)
    return value if is_varying(prompt) or is_varying(system) else value.messages(prompt, system)


def unread_braces(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a remark where ``{{`` stands in a setting that has no placeholders."""
    for name, value in values.items():
        if isinstance(value, str) or is_varying(value) or name in _PLACEHOLDERS_ANYWHERE_IN:
            continue
        if any("{{" in text for _, text in _texts(value, name)):
            what = "which is sent unchanged: placeholders are filled in only in messages, prompt, system and texts"
            yield Remark(f"{name} contains {{{{, {what}", name)


def like_placeholders(settings: Mapping[str, Any], table: Collection[str], workflow: Collection[str]) -> Iterator[str]:
    """Yield a remark where a text, not a literal one, holds what is a placeholder or a statement elsewhere."""
    texts = (t for n, value in settings.items() if _may_hold_placeholders(n, value) for t in _texts(value, n))
    for place, text in texts:
        around = _IN_DOUBLE_BRACES.sub("", text)
        filled_in = Template(text, place).columns if "{{" in text else ()
        for name in dict.fromkeys(map(str.strip, _IN_SINGLE_BRACES.findall(around))):
            if (name in table and name not in filled_in) or name.partition(".")[0] in workflow:
                written = f'row["{name}"]' if name in table and not name.isidentifier() else name
                yield Remark(
                    f"{place} contains {{{name}}}, which is sent unchanged: "
                    f"a placeholder has two braces on each side, {{{{ {written} }}}}",
                    place,
                )
        for mark in ("{%", "{#"):
            if mark in around:
                yield Remark(
                    f"{place} contains {mark}, which is sent unchanged: statements and comments are not supported, "
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


def taken(
    wanted: str | tuple[str, ...],
    properties: Iterable[str],
    table: Sequence[str],
    made: Collection[str],
    *,
    shortcuts: bool,
    reads_body: bool = False,
) -> tuple[str, ...]:
    """Return the columns that are used because they are called as a property of the request is.

    `wanted` is what the node says of it, and must name columns and properties; `made` are the properties that are set.
    Where settings may read the column `BODY` (`reads_body`), it holds requests only if it is named.
    """
    possible = dict.fromkeys((*properties, *(SHORTCUTS if shortcuts else ()), BODY))
    if wanted == "auto":
        left = NAMED_ONLY | {"system"} | ({BODY} if reads_body else set())
        names = [name for name in possible if name not in left and name in table]
    else:
        names = list(wanted)
        for name in names:
            if name not in possible:
                message = f"columns: {name!r} is not a property of the request{nearest(name, possible)}"
                raise SettingError(message, place="columns")
            if name not in table:
                message = f"columns: no column {name!r}{nearest(name, table) or known(table)}"
                raise ColumnError(message, place="columns")
    spoken = shortcuts and "messages" in made
    found = tuple(name for name in names if name not in made and not (spoken and name in SHORTCUTS))
    speaking = [name for name in (CONVERSATION, "prompt", "messages") if name in found]
    if shortcuts and len(speaking) > 1:
        one, other = speaking[:2]
        raise ColumnError(
            f"the table has both a {one} and a {other} column: choose one with "
            f'{one}=col("{one}") or {other}=col("{other}")'
        )
    return found


def passed_over(
    wanted: str | tuple[str, ...], table: Sequence[str], made: Collection[str], read: Collection[str]
) -> tuple[str, ...]:
    """Return a remark where a column of conversations is not used, since what is set makes the messages."""
    speaking = next((name for name in ("messages", "prompt") if name in made), None)
    if speaking is None or CONVERSATION in made or CONVERSATION in read or CONVERSATION not in table:
        return ()
    if wanted != "auto" and CONVERSATION not in wanted:
        return ()
    what = f"{speaking} is set, so column {CONVERSATION!r} is not used"
    return (Remark(f"{what}; to add to a conversation, use AddUserMessage", speaking),)


def misspelt(
    wanted: str | tuple[str, ...], properties: Iterable[str], table: Sequence[str], read: Collection[str]
) -> tuple[str, ...]:
    """Return a remark for each column perhaps meant to be a property, but written in another way: ``Max Tokens``."""
    if wanted != "auto":
        return ()
    plain = {_plainly(name): name for name in properties if name not in NAMED_ONLY}
    meant = [(name, plain.get(_plainly(name), name)) for name in table if name not in read]
    return tuple(
        f"column {name!r} is not used; did you mean {known_as!r}?"
        for name, known_as in meant
        if known_as not in (name, *table)
    )


def _plainly(name: str) -> str:
    """Return a name without what is easily written in another way: case and gaps."""
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")
