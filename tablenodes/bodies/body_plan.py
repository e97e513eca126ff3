"""From a node's settings and a row's cells to a request body."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import orjson

from ..column_names import planned_name
from ..errors import SettingError
from ..plain import plain, read_json
from ..problems import Problem, Rejected, Remark, Unfit
from ..schemas import Schema
from ..store.conversations import Conversations
from ..templates.bounds import MOST, Room
from .images import IMAGE, Images
from .plan_identity import identity_of
from .recipe import (
    BODY,
    CONVERSATION,
    Recipe,
    like_placeholders,
    misspelt,
    passed_over,
    reads,
    said,
    taken,
    unread_braces,
)
from .schema_types import ALSO_JSON, BROKEN_JSON, PYTHON, READ_AS_JSON, STRUCTURES, Typing, not_json
from .settings_plan import RowPlan, columns_of, columns_read, source, top_of
from .simplified_functions import LISTED_IN, check_named, unknown_keys
from .values import CellValue, ConversationValue, Give, Row, TextValue, is_varying, outline, too_large

_CROSSING = frozenset({"if", "allOf", "anyOf", "oneOf", "not", "dependentSchemas"})
"""What may make a property's value depend on another's, which is not known before the row."""
_BESIDES = 2**20  # bytes of a request beside the texts that are bounded: settings, tools, marks of JSON
_TOO_LONG = "the request is longer than one may be (Limits.body_bytes)"
_OTHERS = "(all others)"
_NO_REQUESTS = "if the column has no requests, set columns to an empty list"
_KINDS = {list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}


class BodyPlan(RowPlan):
    """How the rows of one table become request bodies; the schema types the values, and is the gate.

    `defaults` are what the server supplies where nobody sets it; `constants` is what ``inputs`` and ``outputs`` stand
    for; `conversations` opens the store in which conversations are looked up, and is not called where none is; images
    are read below `folder`.
    """

    schema: Schema
    conversation_column: str | None  # the one whose conversations are all of the messages
    is_checked = True

    def __init__(
        self,
        recipe: Recipe,
        schema: Schema,
        table: Sequence[str],
        *,
        defaults: Mapping[str, Any] | None = None,
        constants: Mapping[str, Any] | None = None,
        conversations: Callable[[], Conversations] | None = None,
        body_bytes: int = MOST,
        folder: str = ".",
    ) -> None:
        self.schema, self.is_valid = schema, schema.is_valid
        self._longest, self._room = body_bytes + _BESIDES, Room(body_bytes)
        constants = constants or {}
        given, recipe = recipe, recipe.with_system(table)
        self._recipe = recipe
        self._made_of = recipe, table, defaults or {}, constants, body_bytes
        made, extra = recipe.parsed(), recipe.parsed_extra()
        for value in (*made.values(), *extra.values()):
            if is_varying(value):
                value.check(table, tuple(constants))
        reading = [name for name, value in (made | extra).items() if reads(value, BODY)]
        self.taken = taken(
            recipe.columns,
            schema.properties,
            table,
            made,
            shortcuts=recipe.shortcuts,
            reads_body=bool(reading),
            holds_requests=recipe.holds_requests,
            form=recipe.form,
        )
        if recipe is not given:
            self.taken += ("system",)
        values = self._values(recipe, made)
        image = values.pop(IMAGE) if recipe.form.images is not None and IMAGE in made else None
        values |= extra
        named = values if image is None else {**values, IMAGE: image}
        self._holds = recipe.holds_requests and BODY in self.taken
        self._else_from = BODY if self._holds else None
        self.columns = columns_read(named, table, *filter(None, [self._else_from]))
        self._columns_of = columns_of(named)
        self.sources = {name: source(name in made, self._columns_of.get(name)) for name in named}
        self.sources |= dict.fromkeys(extra, "extra_body") | dict.fromkeys(recipe.answer, "answer")
        self.sources |= self._others(recipe, table, reading)
        self.passed_over = tuple(self._passed_over(recipe, table, constants))
        row = self._row(values, table, constants, conversations)
        self.images = None
        if image is not None and recipe.form.images is not None:
            if recipe.form.images.needs_text and recipe.form.images.place not in values and not self._holds:
                hint = recipe.how_to_set("prompt")
                raise SettingError(f"image is set, but there is no prompt that it could go with: {hint}", place=IMAGE)
            self.images = Images(image, row, folder, body_bytes, recipe.form.images)
        self._writers = {name: write for name, write in recipe.form.writers.items() if name not in extra}
        self._bind(values, row, defaults or {})
        self._settle_names(values)
        # Made once, and put behind each body: it is nobody's cell, and needs no gate.
        self._answer, self._tail = frozenset(recipe.answer), orjson.dumps(recipe.answer)[1:]
        self.warnings = (*self.passed_over, *self._unknown_keys(values, extra))

    def _others(self, recipe: Recipe, table: Sequence[str], reading: Sequence[str]) -> dict[str, str]:
        """Return where all other properties come from, or why the column that could hold them is left out."""
        if self._holds:
            return {_OTHERS: f"column {BODY}"}
        if not reading or recipe.columns != "auto" or BODY not in table:
            return {}
        what = f"{', '.join(reading)} {'reads' if len(reading) == 1 else 'read'} column {BODY}"
        return {_OTHERS: f'left out: {what} (columns=["{BODY}"] takes requests from it)'}

    def _passed_over(self, recipe: Recipe, table: Sequence[str], constants: Collection[str]) -> Iterator[str]:
        """Yield a remark for each column and each text that means something else than it may seem."""
        if recipe.shortcuts:
            yield from passed_over(recipe, table, self.columns, self.taken)
        yield from misspelt(recipe, self.schema.properties, table, self.columns, self.taken)
        yield from unread_braces(recipe)
        yield from like_placeholders(recipe, table, constants)

    def _row(
        self,
        values: Mapping[str, Any],
        table: Sequence[str],
        constants: Mapping[str, Any],
        conversations: Callable[[], Conversations] | None,
    ) -> Row:
        """Return what the values are bound to; the store is opened where conversations are looked up."""
        spoken = isinstance(values.get("messages"), ConversationValue)
        self._conversations = conversations() if spoken and conversations is not None else None
        position = {name: i for i, name in enumerate(self.columns)}
        row = Row(tuple(table), position, constants, self._conversations, self._room)
        self._conversation_at = at = _place_of_ids(values.get("messages"), row)
        self.conversation_column = None if at is None else self.columns[at]
        return row

    def _values(self, recipe: Recipe, made: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        system = made.get("system") if recipe.shortcuts else None
        by_alias = {recipe.form.aliases[name]: name for name in self.taken if name in recipe.form.aliases}
        for name in (*self.schema.properties, *made):
            if recipe.shortcuts and name in ("system", CONVERSATION):
                continue
            if name in made:
                values.setdefault(name, made[name])
            elif name in by_alias:
                values[name] = CellValue(by_alias[name], by_alias[name])
            elif name in self.taken and (name != BODY or not recipe.holds_requests) and name not in recipe.form.aliases:
                values[name] = CellValue(name, name)
            elif name == "messages" and recipe.shortcuts and CONVERSATION in self.taken:
                values[name] = ConversationValue(CellValue(CONVERSATION, CONVERSATION))
            elif name == "messages" and recipe.shortcuts and "prompt" in self.taken:
                if system is None and "system" in self.taken:
                    system = CellValue("system", "system")
                values[name] = said(CellValue("prompt", "prompt"), system)
                system = None
        if system is not None:
            spoken = isinstance(values.get("messages"), ConversationValue)
            hint = "use AddSystemMessage for a conversation" if spoken else recipe.how_to_set("prompt")
            raise SettingError(f"system is set, but there is no prompt: {hint}", place="system")
        return values

    def _bind(self, values: Mapping[str, Any], row: Row, defaults: Mapping[str, Any]) -> None:
        self._typings = {name: Typing(self.schema.admits, (name,)) for name in values}
        self._start: dict[str, Any] = {}
        self._gives: list[tuple[str, Give]] = []
        for name, value in values.items():
            if is_varying(value):
                self._start[name] = None
                give = value.bind(row, self._typings[name], f"$.{name}")
                self._gives.append((name, _writing_out(self._writers[name], give) if name in self._writers else give))
            else:
                self._start[name] = self._constant(name, value)
        self._choices_vary = any(
            name == "n" or (name == "prompt" and not _is_text(value, self._typings[name]))
            for name, value in values.items()
            if is_varying(value)
        )
        self._fixed = {name: value for name, value in self._start.items() if not is_varying(values[name])}
        self._defaults = {name: value for name, value in defaults.items() if name not in self._fixed}
        may_be_null = (n for n, v in values.items() if isinstance(v, TextValue) and v.may_be_null(self._typings[n]))
        self._defaults |= dict.fromkeys(may_be_null)
        self._whole = Typing(self.schema.admits)
        self._body_at = row.position.get(BODY) if self._holds else None

    def _constant(self, name: str, value: Any) -> Any:
        typed = self._typings[name](value)
        try:
            return self._writers[name](typed) if name in self._writers else typed
        except Rejected as rejected:
            raise _in_a_setting(rejected) from None

    def _unknown_keys(self, values: Mapping[str, Any], extra: Collection[str]) -> Iterator[str]:
        """Yield a remark for each key of functions, as they are set, that the API does not know."""
        for name in LISTED_IN.values():
            for line in unknown_keys(name, self._fixed.get(name, outline(values.get(name)))):
                yield Remark(f"extra_body.{line}", f"extra_body.{line.place}") if name in extra else line

    def _settle_names(self, values: Mapping[str, Any]) -> None:
        """Look for the functions that are named, here where every row has the same ones, else row by row."""
        naming = [name for name in LISTED_IN if name in self._writers and name in values]
        listed = [values.get(LISTED_IN[name]) for name in naming]
        self._tells = self._body_at is None and not any(map(is_varying, listed))
        settled = self._tells and not any(is_varying(values[name]) for name in naming)
        self._names_by_row = bool(naming) and not settled
        if naming and settled:
            try:
                check_named(self._start)
            except Rejected as rejected:
                raise _in_a_setting(rejected) from None

    def constant(self, name: str) -> Any:
        """Return the value that a property has in every row; None where it has none, or it depends on the row."""
        return self._fixed.get(name)

    @property
    def streams(self) -> bool | None:
        """Whether rows may ask for a streamed answer; None where that depends on their whole bodies."""
        if "stream" in self._start:
            return self._start["stream"] is not False
        return False if self._body_at is None else None

    def outline(self) -> bytes:
        """Return a body of the properties that are the same in every row."""
        return self._asking(self._fixed, dumps(self._fixed)) if self._answer else dumps(self._fixed)

    def without_images(self) -> Self:
        """Return the plan of the same bodies without their images, whose files need not be read then."""
        if self.images is None:
            return self
        made = copy.copy(self)
        made.images = None
        return made

    def unchecked(self) -> Self:
        """Return the plan of the same bodies, which are not checked against the schema."""
        made = copy.copy(self)
        made.is_valid, made.is_checked = lambda body: True, False
        return made

    def identity(self) -> bytes | None:
        """Return what decides the bodies besides the cells; None where that is more than this plan knows.

        That is files of images, conversations of a store, and whole bodies; and where rows may ask for different counts
        of choices, of which a body alone knows how its answer is read.
        """
        reads_more = self.images is not None or self._conversations is not None or self._body_at is not None
        if reads_more or self._choices_vary:
            return None
        return identity_of(*self._made_of, type(self).__name__, self.schema.document, self.is_checked)

    def ahead(self, rows: Iterable[Any]) -> Iterable[Any]:
        if self._conversations is None or self._conversation_at is None:
            return rows
        return self._conversations.ahead(rows, self._conversation_at)

    def build(self, cells: tuple[Any, ...]) -> dict[str, Any]:
        """Return a row's body, before the gate, from cells of plain JSON: None for null, an `Unfit` for no JSON."""
        if self._room.used:
            self._room.begin()
        if self._body_at is None:
            body = self._start.copy()
            for name, give in self._gives:
                value = give(cells)
                if value is None:
                    del body[name]
                else:
                    body[name] = value
        else:
            _check_length(cells[self._body_at], self._longest)
            body = {**self._whole(_whole_body(cells[self._body_at], self._conversations)), **self._fixed}
            for name, give in self._gives:
                value = give(cells)
                if value is not None:
                    body[name] = value
        if self.images is not None:
            self.images.add(cells, body)
        for name, value in self._defaults.items():
            body.setdefault(name, value)
        if self._names_by_row:
            check_named(body, tell=self._tells)
        return body

    def encode(self, cells: tuple[Any, ...]) -> bytes:
        body = self.build(cells)
        data = dumps(body)
        if len(data) > self._longest:
            raise too_large(_TOO_LONG, "$")
        if self.is_valid(body):
            return self._asking(body, data) if self._answer else data
        raise Rejected(*(self._with_why(problem, body) for problem in self.schema.problems(body)))

    def check_length(self, data: bytes) -> None:
        """Raise `Rejected` for a body that is longer than one may be."""
        if len(data) > self._longest:
            raise too_large(_TOO_LONG, "$")

    def _with_why(self, problem: Problem, body: Mapping[str, Any]) -> Problem:
        """Return a problem that also says how a missing property is set, or why a text could not be read as JSON."""
        name = problem.path.removeprefix("$.")
        if problem.rule == "required" and name in self.schema.properties:
            columns = self._columns_of.get(name)
            empty = f", but the cell of column {columns!r} is empty" if columns in self.columns else ", but it is null"
            if "null" in self.schema.admits((name,)) and columns in self.columns:
                empty += f'; to send null, write {name}="{{{{ {columns} | default(none) }}}}"'
            hint = f"; {self._recipe.how_to_set(name)}" if columns is None else empty
            return problem._replace(message=f"{problem.message}{hint}")
        text = body.get(name) if problem.got == "string" else None
        if type(text) is not str or not self.schema.admits((name,)) <= STRUCTURES:
            return problem
        why = not_json(text)
        return problem._replace(message=f"{problem.message}; the text is {why}") if why else problem

    def draft(self, cells: tuple[Any, ...]) -> tuple[bytes, tuple[Problem, ...]]:
        try:
            return self.encode(cells), ()
        except Rejected as rejected:
            body = self.build(cells)  # which says once more why, where there is none
            data = dumps(body)
            clash = not self._answer.isdisjoint(body) or not self._answer
            return data if clash else self._asking(body, data), rejected.problems

    def _asking(self, body: Mapping[str, Any], data: bytes) -> bytes:
        """Return a body with what asks for the answer."""
        if not self._answer.isdisjoint(body):
            name = min(self._answer.intersection(body))
            raise Rejected(Problem(f"$.{name}", "answer", f"answer makes {name}: leave it out of column {BODY!r}"))
        return b"%s%s%s" % (data[:-1], b"," if body else b"", self._tail)

    def wrong_settings(self) -> list[Problem]:
        """Return what is wrong with the properties that are the same in every row, whatever else is in them."""
        if self.is_valid(self._fixed) or _CROSSING & self.schema.document.keys():
            return [*self.refused]
        return [*self.refused, *(p for p in self.schema.problems(self._fixed) if top_of(p.path) in self._fixed)]

    def noted(self, *, alike: bool) -> Iterator[str]:
        for place, met in sorted({found for typing in self._typings.values() for found in typing.noted()}):
            if met == READ_AS_JSON:
                kind = "lists" if ALSO_JSON[place,] is list else "objects"
                yield Remark(f"{place} has texts that are JSON; they are sent as {kind}", place)
            elif met == PYTHON:
                what = "Python lists or dicts, not JSON, and are sent as texts: write them with json.dumps"
                yield Remark(f"{place} has texts that are {what}", place)
            elif met == BROKEN_JSON:
                kind = "a JSON list" if ALSO_JSON[place,] is list else "a JSON object"
                yield Remark(
                    f"{place} has texts that begin like JSON and are not {kind}; they are sent as texts", place
                )
            elif alike:
                yield Remark(f"{place} has texts that look like JSON arrays; they are sent as texts", place)

    def looks_like_json(self, body: Mapping[str, Any]) -> set[str]:
        return set(self._whole.suspects(body))


def _writing_out(write_out: Callable[[Any], Any], give: Give) -> Give:
    return lambda cells: write_out(give(cells))


def _in_a_setting(rejected: Rejected) -> SettingError:
    """Return what is wrong with every row as an error of the setting."""
    place = rejected.problem.path.removeprefix("$.")
    return SettingError(f"{place}: {rejected.problem.message}", place=place)


def _whole_body(cell: Any, conversations: Conversations | None) -> dict[str, Any]:
    """Return the request that a cell of column ``body`` holds, as JSON text or a mapping; empty for no cell."""
    if cell is None:
        return {}
    if type(cell) is Unfit:
        raise Rejected(Problem("$", "cell", f"the cell of column 'body' {cell}"))
    if type(cell) is str:
        try:
            cell = read_json(cell)
        except Unfit as error:
            raise Rejected(Problem("$", "json", f"column 'body' {error}", "string")) from None
        except orjson.JSONDecodeError as error:
            where = f"line {error.lineno}, character {error.colno}"
            message = f"column 'body' is not JSON ({where}); {_NO_REQUESTS}"
            raise Rejected(Problem("$", "json", message, "string")) from None
    if type(cell) is not dict:
        kind = _KINDS.get(type(cell), "value")
        raise Rejected(Problem("$", "type", f"column 'body' must have a request, a JSON object; {_NO_REQUESTS}", kind))
    for answer in ("choices", "error"):
        if answer in cell:
            if conversations is not None:  # an answer that was added to them is often still there
                return {}
            what = f"column 'body' has an answer ({answer}), not a request"
            message = f"{what}: set columns to an empty list, or drop the column"
            raise Rejected(Problem("$", "answer", message, "object"))
    return cell


def _is_text(value: Any, typing: Typing) -> bool:
    """Check whether a value is a text in every row, and never a list."""
    if type(value) is not TextValue or typing.reads_texts:
        return False
    return not (typing.may_be_json and value.template.is_whole)


def _check_length(cell: Any, longest: int) -> None:
    if type(cell) is str and len(cell) > longest:
        raise too_large("column 'body' has a request that is longer than one may be (Limits.body_bytes)", "$")


def dumps(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON; raise `Rejected` where it cannot be."""
    try:
        return orjson.dumps(body)
    except (TypeError, RecursionError):
        for name, value in body.items():
            try:
                plain(value)
            except Unfit as error:
                raise Rejected(Problem(f"$.{name}", "json", f"the value {error}")) from None
        raise Rejected(Problem("$", "json", "the body cannot be written as JSON")) from None


def _place_of_ids(messages: Any, row: Row) -> int | None:
    """Return which cell holds the id of a conversation, where one does by itself."""
    known_as = messages.known_as if isinstance(messages, ConversationValue) else None
    return row.position[planned_name(known_as.name)] if isinstance(known_as, CellValue) else None
