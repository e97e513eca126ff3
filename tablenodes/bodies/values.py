"""Setting values that differ by row: parsed once for a node, bound once for a table, called once a row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from ..column_names import OUTPUTS, known, planned_name
from ..errors import ColumnError, SettingError, TemplateError, nearest
from ..plain import plain, read_json
from ..problems import Problem, Rejected, Unfit
from ..store.commits import NO_CONVERSATION, NO_MESSAGE
from ..store.conversations import Conversations
from ..templates.bounds import Room, TooLarge
from ..templates.template import Column, LiteralText, Template, inner, pieces_of, template_of
from .schema_types import Typing

Cells = tuple[Any, ...]
Give = Callable[[Cells], Any]
_MESSAGE = re.compile(r"\$\.messages\[\d+\]")
_OPEN, _BARE, _CLOSE = "\ufdd2", "\ufdd3", "\ufdd4"  # no characters: they stand for placeholders in a JSON text
_MARK = re.compile(f"([{_OPEN}{_BARE}])([0-9]+){_CLOSE}")
_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*+"')
_OR_NONE = re.compile(r"\s*\{\{-?([^{}]*\|\s*d(?:efault)?\(\s*[Nn]one\s*\)\s*)-?\}\}\s*")
_ALWAYS_TEXTS = frozenset({"prompt", "system", "text"})
TOO_LARGE = "too_large"
_SAYING_NOTHING = frozenset({"role", "name", "content"})
"""What is left of a message without its content says nothing; a call, a refusal or a server's own does."""


class Row(NamedTuple):
    """What a value may be bound to.

    `columns` are the table's; `position` says where each that is read stands in the tuple of cells; `constants` are
    what ``inputs`` and ``outputs`` stand for; the messages of conversations are looked up in `conversations`; what
    its texts may hold together is in `room`.
    """

    columns: tuple[str, ...]
    position: Mapping[str, int]
    constants: Mapping[str, Any]
    conversations: Conversations | None
    room: Room


class Varying:
    """A value that depends on the row, by itself or by a value in it."""

    def parts(self) -> Iterable[Any]:
        """Return the values in it that may depend on the row."""
        return ()

    def columns(self) -> Iterator[str]:
        """Yield the columns that it reads."""
        for part in self._varying():
            yield from part.columns()

    def whole_row(self) -> bool:
        """Check whether it may read any column."""
        return any(part.whole_row() for part in self._varying())

    def check(self, columns: Sequence[str], workflow: Sequence[str]) -> None:
        """Raise `ColumnError` if it names what is not there."""
        for part in self._varying():
            part.check(columns, workflow)

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        """Return a function from cells to the value, None for a null cell; `path` is where it stands in the body."""
        raise NotImplementedError

    def _varying(self) -> Iterator[Varying]:
        return (part for part in self.parts() if isinstance(part, Varying))


class CellValue(Varying):
    """The cell of a column, as it is, typed by the schema; `ObjectValue` knows where it must not be empty."""

    def __init__(self, name: str, place: str) -> None:
        self.name = name
        self.place = place

    def columns(self) -> Iterator[str]:
        yield planned_name(self.name)

    def check(self, columns: Sequence[str], workflow: Sequence[str]) -> None:
        if self.name not in columns:
            clause = nearest(self.name, columns) or known(columns)
            raise ColumnError(f"{self.place}: no column {self.name!r}{clause}", place=self.place)

    def bind(self, row: Row, typing: Typing, path: str, *, must_be_there: bool = False) -> Give:
        index, name, room = row.position[planned_name(self.name)], self.name, row.room

        def give(cells: Cells) -> Any:
            value = cells[index]
            if value is None:
                if must_be_there:
                    message = f"the cell of column {name!r} is empty, and the message has nothing else"
                    raise Rejected(Problem(path, "cell", message))
                return None
            if type(value) is Unfit:
                raise Rejected(Problem(path, "cell", f"the cell of column {name!r} {value}"))
            if type(value) is str and len(value) > room.large:
                _show(room, len(value), path)
            return typing(value)

        return give


class TextValue(Varying):
    """A text with placeholders, typed by the schema once it is rendered."""

    def __init__(self, template: Template) -> None:
        self.template = template

    def columns(self) -> Iterator[str]:
        yield from map(planned_name, self.template.columns)
        if OUTPUTS in self.template.names:
            yield OUTPUTS

    def whole_row(self) -> bool:
        return self.template.whole_row

    def check(self, columns: Sequence[str], workflow: Sequence[str]) -> None:
        self.template.check(columns, workflow)

    def may_be_null(self, typing: Typing) -> bool:
        """Check whether a null cell is sent as null: where its author wrote ``default(none)``, and one is admitted."""
        admits = "null" in typing.admitted and not typing.reads_texts
        return admits and _OR_NONE.fullmatch(self.template.source) is not None

    def _or_none(self, row: Row, render: Give) -> Give:
        written = _OR_NONE.fullmatch(self.template.source)
        as_json = template_of(f"{{{{ ({written and written[1]}) | tojson }}}}", self.template.place)
        shown = as_json.bind(row.position, row.constants, row.room)
        return lambda cells: None if shown(cells) == "null" else render(cells)

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        typed: Callable[[str], Any] | None = None
        if typing.reads_texts:
            written = parse_json(self.template)
            if written is not None:
                return _bound(written if is_varying(written) else typing(written), row, typing, path)
            typed = typing if self.template.is_whole else typing.scalar
        elif typing.may_be_json and self.template.is_whole:
            typed = typing
        render = self.template.bind(row.position, row.constants, row.room)

        def give(cells: Cells) -> Any:
            try:
                text = render(cells)
            except TooLarge as error:
                raise too_large(error, path) from None
            except Unfit as error:
                raise Rejected(Problem(path, "placeholder", str(error))) from None
            return text if typed is None else typed(text)

        return self._or_none(row, give) if self.may_be_null(typing) else give


class BareValue(TextValue):
    """The value of a placeholder that stands in a JSON text outside of its quotes; a cell's text is no structure."""

    def __init__(self, written: str, place: str) -> None:
        self.is_json = template_of(written, place).filtered_last == "tojson"
        self.template = template_of(written if self.is_json else f"{{{{ ({inner(written)}) | tojson }}}}", place)

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        render = super().bind(row, Typing.of_anything(), path)

        def give(cells: Cells) -> Any:
            value = orjson.loads(render(cells))
            return typing.scalar(value) if type(value) is str and not self.is_json else typing(value)

        return give


class FreeValue(TextValue):
    """A text of which the schema may know nothing: there, a number or a truth of one placeholder stays what it is."""

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        render = super().bind(row, typing, path)
        around, *placeholder = pieces_of(self.template.source)
        if not typing.is_open or around or placeholder[1:] != [""]:
            return render
        as_json = template_of(f"{{{{ ({inner(placeholder[0])}) | tojson }}}}", self.template.place)
        value_of = TextValue(as_json).bind(row, Typing.of_anything(), path)

        def give(cells: Cells) -> Any:
            value = orjson.loads(value_of(cells))
            return value if isinstance(value, int | float) else render(cells)

        return give


class ObjectValue(Varying):
    """A mapping with something in it that varies; a null cell leaves its key out, but not all that a message says."""

    def __init__(self, items: dict[str, Any]) -> None:
        self.items = items

    def parts(self) -> Iterable[Any]:
        return self.items.values()

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        start: dict[str, Any] = {}
        gives: list[tuple[str, Give]] = []
        for key, item in self.items.items():
            if is_varying(item):
                start[key] = None
                gives.append((key, self._bound(key, row, typing.below(key), path)))
            else:
                start[key] = typing.below(key)(item)

        def give(cells: Cells) -> Any:
            made = start.copy()
            for key, value_of in gives:
                value = value_of(cells)
                if value is None:
                    del made[key]
                else:
                    made[key] = value
            return made

        return give

    def _bound(self, key: str, row: Row, typing: Typing, path: str) -> Give:
        item = self.items[key]
        if isinstance(item, CellValue) and key == "content" and _MESSAGE.fullmatch(path):
            return item.bind(row, typing, f"{path}.{key}", must_be_there=self.items.keys() <= _SAYING_NOTHING)
        give: Give = item.bind(row, typing, f"{path}.{key}")
        return give


class NamedValue(Varying):
    """An object of a JSON text that has placeholders in its names; two names that become one make the row invalid."""

    def __init__(self, items: Sequence[tuple[Any, Any]]) -> None:
        self.items = items

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        anything = Typing.of_anything()
        names = [_bound(name, row, anything, path) for name, _ in self.items]
        gives = [_bound(value, row, anything, path) for _, value in self.items]

        def give(cells: Cells) -> Any:
            made = {name(cells): value(cells) for name, value in zip(names, gives, strict=True)}
            if len(made) < len(names):
                raise Rejected(Problem(path, "placeholder", "two placeholders make the same name"))
            return typing(made)

        return give


class ArrayValue(Varying):
    """A list with something in it that varies; a null cell leaves its item out."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def parts(self) -> Iterable[Any]:
        return self.items

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        below = typing.below(0)
        typed = [item if is_varying(item) else below(item) for item in self.items]
        gives = [_bound(item, row, below, f"{path}[{i}]") for i, item in enumerate(typed)]

        def give(cells: Cells) -> Any:
            return [value for value_of in gives if (value := value_of(cells)) is not None]

        return give


class SpokenValue(Varying):
    """The messages that a prompt makes: one of the user's, and one of the system's before it.

    A null prompt makes no messages; a null system text makes no system message.
    """

    def __init__(self, prompt: Any, system: Any) -> None:
        self.prompt = prompt
        self.system = system

    @staticmethod
    def messages(prompt: Any, system: Any) -> list[dict[str, Any]] | None:
        """Return the messages for two texts."""
        if prompt is None:
            return None
        user = {"role": "user", "content": prompt}
        return [user] if system is None else [{"role": "system", "content": system}, user]

    def parts(self) -> Iterable[Any]:
        return (self.system, self.prompt)

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        last = 0 if self.system is None else 1
        content = typing.below(0).below("content")
        prompt = _bound(self.prompt, row, content, f"{path}[{last}].content")
        if self.system is None:

            def said(cells: Cells) -> Any:  # what `messages` does: most rows come through here
                text = prompt(cells)
                return None if text is None else [{"role": "user", "content": text}]

            return said
        system = _bound(self.system, row, content, f"{path}[0].content")
        return lambda cells: self.messages(prompt(cells), system(cells))


class ConversationValue(Varying):
    """The messages of a conversation, looked up by its id."""

    def __init__(self, known_as: Any) -> None:
        self.known_as = known_as

    def parts(self) -> Iterable[Any]:
        return (self.known_as,)

    def bind(self, row: Row, typing: Typing, path: str) -> Give:
        as_text = typing.below(0).below("content")
        find = _bound(self.known_as, row, as_text, path)
        conversations = row.conversations
        if conversations is None:
            raise SettingError("conversation: there is no store to read conversations from", place="conversation")

        def give(cells: Cells) -> Any:
            known_as = find(cells)
            if known_as is None:
                raise Rejected(Problem(path, "conversation", NO_CONVERSATION), outcome="upstream_failed")
            try:
                messages = conversations.messages(known_as)
            except Rejected as unknown:
                raise Rejected(unknown.problem._replace(path=path), outcome=unknown.outcome) from None
            if not messages:
                raise Rejected(Problem(path, "conversation", NO_MESSAGE))
            return messages

        return give


def _show(room: Room, characters: int, path: str) -> None:
    try:
        room.show(characters)
    except TooLarge as error:
        raise too_large(error, path) from None


def too_large(error: object, path: str) -> Rejected:
    """Return why a row is not sent whose texts, or what it takes to make them, go beyond all bounds."""
    return Rejected(Problem(path, TOO_LARGE, str(error)), outcome=TOO_LARGE)


def is_varying(value: object) -> bool:
    """Check whether a parsed value depends on the row."""
    return isinstance(value, Varying)


def _bound(value: Any, row: Row, typing: Typing, path: str) -> Give:
    return value.bind(row, typing, path) if isinstance(value, Varying) else lambda cells: value


def parse(value: Any, place: str, text: Callable[[Template], TextValue] = TextValue) -> Any:
    """Return a setting's value as plain JSON, or a `Varying`, where texts hold placeholders: a `text` of the author."""
    if isinstance(value, Column):
        return CellValue(value.name, place)
    if isinstance(value, LiteralText):
        return value.text
    if isinstance(value, str) and "{{" in value:
        return _text(str(value), place, text)
    if isinstance(value, dict):
        items = {key: parse(item, f"{place}.{key}", text) for key, item in value.items()}
        return ObjectValue(items) if any(map(is_varying, items.values())) else _plain(items, place)
    if isinstance(value, list | tuple):
        array = [parse(item, f"{place}[{i}]", text) for i, item in enumerate(value)]
        return ArrayValue(array) if any(map(is_varying, array)) else _plain(array, place)
    return _plain(value, place)


def _text(text: str, place: str, made: Callable[[Template], TextValue]) -> Any:
    """Return a text with placeholders; those of a JSON text may be written with JSON's backslashes."""
    try:
        return made(template_of(text, place))
    except TemplateError:
        with suppress(orjson.JSONDecodeError, Unfit):
            found = read_json(text)
            if isinstance(found, list | dict) and place not in _ALWAYS_TEXTS and place.isidentifier():
                return parse(found, place)
        raise


def parse_json(template: Template) -> Any:
    """Return what the list or object is that a text with placeholders is written as in JSON, None for any other text.

    It is read before cells are put in: inside quotes a placeholder is a part of a text, outside of them a value.
    """
    pieces = pieces_of(template.source)
    written, is_quoted = "", False
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            written += piece
            is_quoted ^= len(_QUOTE.findall(piece)) % 2 == 1
        else:
            written += f"{_OPEN}{i}{_CLOSE}" if is_quoted else f'"{_BARE}{i}{_CLOSE}"'
    try:
        found = read_json(written)
    except (orjson.JSONDecodeError, Unfit):
        return None
    return _filled_in(found, pieces, template.place) if isinstance(found, list | dict) else None


def _filled_in(value: Any, pieces: Sequence[str], place: str) -> Any:
    """Return a value of a JSON text with its placeholders in their places."""
    if isinstance(value, str):
        bare = _MARK.fullmatch(value)
        if bare is not None and bare[1] == _BARE:
            return BareValue(pieces[int(bare[2])], place)
        text = _MARK.sub(lambda mark: pieces[int(mark[2])], value)
        return value if text == value else TextValue(template_of(text, place))
    if isinstance(value, list):
        array = [_filled_in(item, pieces, f"{place}[{i}]") for i, item in enumerate(value)]
        return ArrayValue(array) if any(map(is_varying, array)) else array
    if isinstance(value, dict):
        items = [(_filled_in(key, pieces, place), _filled_in(v, pieces, f"{place}.{key}")) for key, v in value.items()]
        if any(is_varying(key) for key, _ in items):
            return NamedValue(items)
        return ObjectValue(dict(items)) if any(is_varying(item) for _, item in items) else value
    return value


def outline(value: Any) -> Any:
    """Return a value as its author wrote it, placeholders as texts; None where a column's cell stands."""
    if isinstance(value, TextValue):
        return value.template.source
    if isinstance(value, ObjectValue):
        return {key: outline(item) for key, item in value.items.items()}
    if isinstance(value, ArrayValue):
        return [outline(item) for item in value.items]
    return None if is_varying(value) else value


def _plain(value: Any, place: str) -> Any:
    try:
        return plain(value)
    except Unfit as error:
        raise SettingError(f"{place} {error}", place=place) from None
