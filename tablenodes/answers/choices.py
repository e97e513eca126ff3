"""Long tables of answers: one row a choice, and one row a tool call, made of bodies that are parsed once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..column_names import free_names
from ..engine.outcomes.answer_json import readable
from ..engine.outcomes.finish_reasons import says
from ..engine.outcomes.response_objects import choices_of
from ..engine.outcomes.shortcomings import is_plain, lack_of
from ..engine.sink import OK, UNUSABLE
from ..plain import DEPTH
from ..schemas.subschemas import nesting
from .row_answers import calls_in, written

if TYPE_CHECKING:
    from .row_answers import RowAnswers

_PLACES = ("row", "choice")
_BESIDE = ("text", "finish_reason", "reason")
_CALL_TYPES = {"row": "integer", "choice": "integer", "call": "integer", "name": "text", "arguments": "text"}
_CALL_TYPES |= {"reason": "text"}
_CUT = "cut"


class LongTable(NamedTuple):
    """A table of parts of answers: its columns and their types, and the position of the row that each part is of."""

    columns: dict[str, list[Any]]
    types: dict[str, Any]
    rows: list[int]


def choice_table(answers: RowAnswers, bodies: Iterable[str | None], outcomes: Iterable[str]) -> LongTable:
    """Return one row a choice: its answer, typed, and its text; `reason` is why it cannot be used, or what it lacks."""
    read = _reader(answers)
    rows: list[int] = []
    places: list[int] = []
    beside: tuple[list[str | None], ...] = ([], [], [])
    texts, finish_reasons, reasons = beside

    def values() -> Iterator[Any]:
        for row, at, choice in _choices(bodies, outcomes):
            value, text, finish_reason, reason = read(choice)
            rows.append(row)
            places.append(at)
            texts.append(text)
            finish_reasons.append(finish_reason)
            reasons.append(reason)
            yield value

    answered = answers.values(values())
    names = free_names((*_PLACES, *_BESIDE), answers.types)
    columns = {names["row"]: rows, names["choice"]: places, **answered}
    columns |= {names[name]: cells for name, cells in zip(_BESIDE, beside, strict=True)}
    types = {**dict.fromkeys(columns, "text"), **{names[name]: "integer" for name in _PLACES}, **answers.types}
    return LongTable(columns, types, rows)


def call_table(bodies: Iterable[str | None], outcomes: Iterable[str], *, objects: bool) -> LongTable:
    """Return one row a tool call; `objects` says that its arguments are parsed, else they are JSON texts.

    Arguments that are no JSON object stay the text that they are, with the `reason`: ``empty``, ``cut``, ``not_json``
    or ``does_not_fit``.
    """
    made = [
        (row, at, number, *_called(kind, call, _is_cut(choice), objects))
        for row, at, choice in _choices(bodies, outcomes)
        for number, (kind, call) in enumerate(calls_in(choice))
    ]
    cells = map(list, zip(*made, strict=True)) if made else [[] for _ in _CALL_TYPES]
    columns = dict(zip(_CALL_TYPES, cells, strict=True))
    types = {**_CALL_TYPES, "arguments": "object" if objects else "text"}
    return LongTable(columns, types, columns["row"])


def _choices(bodies: Iterable[str | None], outcomes: Iterable[str]) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield every choice of the answers, with its row's position and its own."""
    for row, (body, outcome) in enumerate(zip(bodies, outcomes, strict=True)):
        if outcome not in (OK, UNUSABLE):
            continue
        for at, choice in enumerate(choices_of(readable(body)) or ()):
            if isinstance(choice, dict):
                yield row, at, choice


def _reader(answers: RowAnswers) -> Callable[[dict[str, Any]], tuple[Any, str | None, str | None, str | None]]:
    """Return what reads the value, text, finish_reason and reason of a choice."""
    usable = answers.usable()

    def read(choice: dict[str, Any]) -> tuple[Any, str | None, str | None, str | None]:
        text = answers.text(choice)
        finish_reason = choice.get("finish_reason")
        lack = None
        if finish_reason != "stop" or not is_plain(choice):
            finish_reason = finish_reason if isinstance(finish_reason, str) and says(finish_reason) else None
            found = lack_of([choice])
            lack = None if found is None else found.reason
        if usable is None:
            return text, text, finish_reason, lack
        judged = usable.read(choice, text, lack)
        return judged.value, text, finish_reason, judged.reason or lack

    return read


def _is_cut(choice: dict[str, Any]) -> bool:
    lack = lack_of([choice])
    return lack is not None and lack.reason == _CUT


def _called(kind: str, call: dict[str, Any], cut: bool, objects: bool) -> tuple[str | None, Any, str | None]:
    """Return the name of what is called, its arguments, and why they are no JSON object; a custom tool takes a text."""
    name = call.get("name") if isinstance(call.get("name"), str) else None
    given = call.get("input" if kind == "custom" else "arguments")
    if kind == "custom" and isinstance(given, str):
        return name, given, None
    text, value, reason = _arguments(given)
    return name, (value if objects and reason is None else text), (_CUT if cut and reason == "not_json" else reason)


def _arguments(given: Any) -> tuple[str | None, Any, str | None]:
    """Return arguments as text and as a value, and why they are no JSON object."""
    if given is None or given == "":
        return None, None, "empty"
    text = given if isinstance(given, str) else written(given)
    value = readable(given) if isinstance(given, str) else given
    if value is None and given.strip() != "null":
        return text, value, "not_json"
    is_fit = isinstance(value, dict) and text is not None and not _is_deep(text, value)
    return text, value, None if is_fit else "does_not_fit"


def _is_deep(text: str, value: Any) -> bool:
    """Check whether arguments are nested deeper than a cell may be."""
    return text.count("[") + text.count("{") > DEPTH and nesting(value) > DEPTH
