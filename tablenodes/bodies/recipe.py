"""What a node says about its bodies: its settings, parsed, and which columns are used because of their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from ..column_names import known, plainly
from ..errors import ColumnError, SettingError, TemplateError, nearest
from ..problems import Remark
from ..templates.template import Column, template_of
from .images import IMAGE, parse_image
from .request_form import PLAIN, RequestForm
from .values import ConversationValue, FreeValue, SpokenValue, is_varying, parse

BODY = "body"  # the column that may hold a whole request body in each row
EXTRA = "extra_body"  # the setting whose properties go on top of every body
CONVERSATION = "conversation"  # the column that may hold the id of a conversation in each row
SHORTCUTS = ("prompt", "system", CONVERSATION)  # what makes the messages of a chat, in place of ``messages``
SPEAKING = (CONVERSATION, "prompt", "messages")  # what has all messages of a chat, or the user's; one of them at most
_IN_SINGLE_BRACES = re.compile(r"(?<!\{)\{([^{}]+)\}(?!\})")
_IN_DOUBLE_BRACES = re.compile(r"\{\{.*?\}\}", re.DOTALL)


@dataclass(frozen=True)
class Recipe:
    """What a node says about its bodies before any table is known: what was set, by the request's properties, in order.

    With `shortcuts`, `SHORTCUTS` make messages; `form` has what else is more than properties. `extra_body` goes on top.
    `answer` are the properties that ask for an answer of a certain form.
    """

    settings: Mapping[str, Any]
    columns: str | tuple[str, ...] = "auto"
    shortcuts: bool = False
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict)
    holds_requests: bool = True  # a column `BODY` may
    form: RequestForm = PLAIN

    def may_use(self, name: str) -> bool:
        """Check whether a column of the table may be used because of its name."""
        return name not in self.form.named_only if self.columns == "auto" else name in self.columns

    def how_to_set(self, name: str) -> str:
        """Return what to do about a property that a row lacks."""
        name = "prompt" if self.shortcuts and name == "messages" else name
        name = next((alias for alias, known_as in self.form.aliases.items() if known_as == name), name)
        return f"set {name}, or add a column {name!r}" if self.may_use(name) else f"set {name}"

    def with_system(self, table: Collection[str]) -> Recipe:
        """Return the recipe whose prompt goes with the column ``system``, where the table has it for that."""
        is_for_it = self.shortcuts and "prompt" in self.settings and "system" not in self.settings
        if not is_for_it or "system" not in table or not self.may_use("system"):
            return self
        if self.columns == "auto" and any(reads(value, "system") for value in self.parsed().values()):
            return self
        return replace(self, settings={**self.settings, "system": Column("system")})

    def parsed(self) -> dict[str, Any]:
        """Return the settings as plain JSON and `Varying` values; the shortcuts have become messages."""
        made = {
            name: parse_image(value) if self.form.images is not None and name == IMAGE else parse_setting(name, value)
            for name, value in self.settings.items()
        }
        return _with_messages(made) if self.shortcuts else made

    def parsed_extra(self) -> dict[str, Any]:
        """Return what goes on top, as plain JSON and `Varying` values."""
        return {name: parse(value, f"{EXTRA}.{name}", FreeValue) for name, value in self.extra_body.items()}


def reads(value: Any, column: str) -> bool:
    """Check whether a value reads a column, or may."""
    return is_varying(value) and (value.whole_row() or column in value.columns())


def parse_setting(name: str, value: Any) -> Any:
    """Parse one setting; placeholders may stand in every text of it, and not in names."""
    return parse(value, name)


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


def unread_braces(recipe: Recipe) -> Iterator[str]:
    """Yield a remark where ``{{`` stands in what is the same in every row: a name, or what asks for an answer."""
    for name, value in {**recipe.settings, EXTRA: recipe.extra_body}.items():
        if any("{{" in key for key in _names(value)):
            what = "which is sent unchanged: placeholders are filled in only in values"
            yield Remark(f"a name in {name} contains {{{{, {what}", name)
    if any("{{" in text for _, text in _texts(recipe.answer, "")) or any("{{" in key for key in _names(recipe.answer)):
        what = "which is sent unchanged: an answer is the same for every row, and placeholders are not filled in"
        yield Remark(f"answer contains {{{{, {what}", "answer")


def like_placeholders(recipe: Recipe, table: Collection[str], workflow: Collection[str]) -> Iterator[str]:
    """Yield a remark where a text, not a literal one, holds what is a placeholder or a statement elsewhere."""
    for place, text in _texts({**recipe.settings, EXTRA: recipe.extra_body}, ""):
        around = _IN_DOUBLE_BRACES.sub("", text)
        filled_in: tuple[str, ...] = ()
        with suppress(TemplateError):  # a JSON text with backslashes in its placeholders, which is read as JSON
            filled_in = template_of(text, place).columns if "{{" in text else ()
        for name in dict.fromkeys(map(str.strip, _IN_SINGLE_BRACES.findall(around))):
            if (name in table and name not in filled_in) or name.partition(".")[0] in workflow:
                written = f'row["{name}"]' if name in table and not name.isidentifier() else name
                yield Remark(
                    f"{place} contains {{{name}}}, which is sent unchanged (use literal(…) where that is meant): "
                    f"a placeholder has two braces on each side, {{{{ {written} }}}}",
                    place,
                )
        for mark in ("{%", "{#"):
            if mark in around:
                yield Remark(
                    f"{place} contains {mark}, which is sent unchanged: statements and comments are not supported, "
                    "only placeholders {{ … }} with filters and inline if; if none is meant, use literal(…)",
                    place,
                )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _texts(item, f"{place}[{i}]")


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _names(item)


def taken(
    wanted: str | tuple[str, ...],
    properties: Iterable[str],
    table: Sequence[str],
    made: Mapping[str, Any],
    *,
    shortcuts: bool,
    reads_body: bool = False,
    holds_requests: bool = True,
    form: RequestForm = PLAIN,
) -> tuple[str, ...]:
    """Return the columns that are used because they are called as a property of the request is, or as an alias of one.

    `wanted` is what the node says of it, and must name columns and properties; `made` are the properties that are set.
    Where settings may read the column `BODY` (`reads_body`), it holds requests only if it is named.
    """
    own = (name for name in properties if name not in form.aliases)
    spoken_by = (*(SHORTCUTS if shortcuts else ()), *form.aliases)
    possible = dict.fromkeys((*own, *spoken_by, *([BODY] if holds_requests else ())))
    if wanted == "auto":
        read = {name for name in form.aliases if any(reads(value, name) for value in made.values())}
        left = form.named_only | read | ({BODY} if reads_body and holds_requests else set())
        names = [name for name in possible if name not in left and name in table]
        if (
            shortcuts and "prompt" not in names and "system" in names
        ):  # which goes with a prompt; that of a setting is seen to
            names.remove("system")
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
    found = tuple(
        name for name in names if form.aliases.get(name, name) not in made and not (spoken and name in SHORTCUTS)
    )
    speaking = [name for name in SPEAKING if shortcuts and name in found]
    speaking = next(([name, other] for name, other in form.aliases.items() if {name, other} <= {*found}), speaking)
    if len(speaking) > 1:
        one, other = speaking[:2]
        raise ColumnError(
            f'the table has both a {one} and a {other} column: set columns to ["{one}"] or to ["{other}"]'
        )
    return found


def passed_over(recipe: Recipe, table: Sequence[str], read: Collection[str], used: Collection[str]) -> Iterator[str]:
    """Yield a remark for each column that would make messages, but is not used: something else makes them.

    `read` are the columns that are read, `used` those of them that are used because of their names.
    """
    made = {*recipe.settings, *recipe.extra_body}
    unread = [name for name in table if name not in read and name not in made]
    speaking = next((name for name in ("messages", "prompt") if name in made), None)
    if speaking and CONVERSATION in unread and CONVERSATION not in made and recipe.may_use(CONVERSATION):
        what = f"{speaking} is set, so column {CONVERSATION!r} is not used"
        yield Remark(f"{what}; to add to a conversation, use AddUserMessage", speaking)
    if "system" in unread and recipe.columns == "auto":
        instead = [name for name in (*SPEAKING, BODY) if name in made or name in used]
        why = f"{instead[0]} has all messages" if instead else "there is no prompt"
        yield Remark(f"column 'system' is not used: {why}", "system")


def misspelt(
    recipe: Recipe, properties: Iterable[str], table: Sequence[str], read: Collection[str], used: Sequence[str]
) -> Iterator[str]:
    """Yield a remark for each column perhaps meant to be a property: ``Max Tokens``; or used only where it is named."""
    if recipe.columns != "auto":
        return
    unset = _unset(recipe, properties, used)
    plain = {plainly(name): name for name in unset}
    for name in table:
        meant = plain.get(plainly(name), name)
        wider = meant in recipe.form.named_only or meant in (
            BODY,
            CONVERSATION,
        )  # as a word of its own, a column's name as any
        if name not in read and meant not in (name, *table) and not (wider and name.casefold() == meant):
            yield f"column {name!r} is not used; did you mean {meant!r}?"
    if recipe.form.images is not None and IMAGE in table and IMAGE not in (*read, *recipe.settings, *properties):
        yield f"column {IMAGE!r} is not used: to send its images, set {IMAGE} to {{{{ {IMAGE} }}}}"
    named = [name for name in unset if name in recipe.form.named_only and name in table and name not in read]
    if named:
        shown, several = ", ".join(map(repr, named)), len(named) > 1
        listed = ", ".join(f'"{name}"' for name in (*used, *named))
        unused = (
            f"columns {shown} are not used as request settings"
            if several
            else f"column {shown} is not used as a request setting"
        )
        yield f"{unused}: set columns to [{listed}] to use {'them' if several else 'it'}"


def _unset(recipe: Recipe, properties: Iterable[str], used: Collection[str]) -> list[str]:
    """Return the properties and shortcuts that a column could still set."""
    made = {*recipe.settings, *recipe.extra_body}
    names = [*(name for name in properties if name not in recipe.form.aliases), *recipe.form.aliases, BODY]
    made |= {alias for alias, name in recipe.form.aliases.items() if name in made}
    if recipe.shortcuts:
        speaking = next((name for name in SPEAKING if name in made or name in used), None)
        also = SHORTCUTS if speaking is None else ("system",) if speaking == "prompt" else ()
        names = [*(name for name in names if speaking is None or name not in SPEAKING), *also]
    return [name for name in names if name not in made]
