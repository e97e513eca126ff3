"""Whether the text that a model wrote is an answer: its value, or why it is none."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias

import orjson

from ..engine.outcomes.answer_json import UnreadableError, document_of
from ..plain import DEPTH
from ..problems import MESSAGE_LENGTH
from ..schemas.schema import Schema
from ..schemas.subschemas import nesting
from ..schemas.wording import shown
from .answer_schema import FieldType
from .strict_form import ANSWER

if TYPE_CHECKING:
    from .answer_schema import AnswerSchema

_FENCE = "```"
_LANGUAGE = re.compile(r"[\w+-]*")
_LEAST, _MOST = -(2**63), 2**63 - 1
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?:\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


class Verdict(NamedTuple):
    """What a text is: the `value` of an answer, unwrapped; or why it is none.

    Attributes
    ----------
    value : Any
        Plain JSON; dates are texts. None where there is a reason.
    reason : str
        ``not_json``, ``does_not_fit``, or empty; of a whole choice also another that makes an answer ``unusable``.
    message : str
        What is wrong and where, such as ``$.stars: must be at most 5``, of at most 500 characters.
    fenced : bool
        Whether the answer stood in a code fence, which was taken off.
    """

    value: Any = None
    reason: str = ""
    message: str = ""
    fenced: bool = False


_verdict: Callable[..., Verdict] = tuple.__new__  # makes one in a third of the time: the path of a row is hot


class AnswerJudge:
    """Judges the texts of a run: made once; JSON is never repaired, values are never cast."""

    def __init__(self, answer: AnswerSchema) -> None:
        self._schema = Schema(ANSWER, ANSWER, answer.source)
        self._fits = self._schema.is_valid
        self._wrapped = answer.wrapped
        whole = FieldType("struct", fields=answer.fields)
        self._settle = _settler(whole)
        self._names = frozenset(_names(whole))

    def __call__(self, text: str) -> Verdict:
        """Return what a text is; nothing is raised, whatever it holds."""
        try:
            value = orjson.loads(text)
        except (orjson.JSONDecodeError, TypeError):
            return self._read(text)
        return self._judged(value, False)

    def _judged(self, value: Any, fenced: bool) -> Verdict:
        try:
            if not self._fits(value):
                return self._explained(value, fenced)
            if self._settle is not None:
                self._settle(value)
        except _Misfit as misfit:
            message = f"{shown(tuple(misfit.path), self._names)}: {misfit}"
            return Verdict(None, "does_not_fit", message[:MESSAGE_LENGTH], fenced)
        except (ValueError, RecursionError):
            return _too_deep(fenced)
        return _verdict(Verdict, (value[ANSWER] if self._wrapped else value, "", "", fenced))

    def _read(self, text: str) -> Verdict:
        """Judge a text that the fast parser does not take as it is."""
        unfenced = _unfenced(text)
        inside, fenced = (text, False) if unfenced is None else (unfenced, True)
        try:
            value = document_of(inside)
        except UnreadableError as error:
            return Verdict(None, "not_json", f"the answer cannot be read: {error}"[:MESSAGE_LENGTH])
        except (ValueError, RecursionError):
            return Verdict(None, "not_json", "the answer cannot be read: it is not JSON")
        if nesting(value) > DEPTH:
            return _too_deep(fenced=fenced)
        return self._judged(value, fenced)

    def _explained(self, value: Any, fenced: bool) -> Verdict:
        if nesting(value) > DEPTH:
            return _too_deep(fenced)
        first = next(iter(self._schema.problems(value, most=1)), None)
        message = f"{first.path}: {first.message}" if first else "$: does not fit the schema"
        return Verdict(None, "does_not_fit", message[:MESSAGE_LENGTH], fenced)


def _unfenced(text: str) -> str | None:
    """Return what is inside of a single code fence around a text; None where there is none."""
    bare = text.strip()
    if len(bare) < 2 * len(_FENCE) or not (bare.startswith(_FENCE) and bare.endswith(_FENCE)):
        return None
    inside = bare.strip("`")
    return _LANGUAGE.sub("", inside, count=1) if inside[:1] != "{" else inside


def _too_deep(fenced: bool) -> Verdict:
    return Verdict(None, "does_not_fit", f"$: is nested more than {DEPTH} levels deep", fenced)


def _names(kind: FieldType) -> Iterator[str]:
    inside = [*((kind.item,) if kind.item else ()), *(field.type for field in kind.fields)]
    yield from (field.name for field in kind.fields)
    for each in inside:
        yield from _names(each)


# What fits a schema and not a column: each type's values are looked at, and whole numbers made integers, in place.


class _Misfit(Exception):  # noqa: N818 - it stands for a value
    """A value that fits the schema and not its column; its text says what it must be, its path is made on the way."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.path: list[str | int] = []

    def at(self, step: str | int) -> Self:
        self.path.insert(0, step)
        return self


_Settler: TypeAlias = Callable[[Any], Any]


def _settler(kind: FieldType) -> _Settler | None:
    """Return what settles the values of a type, null too; None where there is nothing to settle."""
    if kind.kind == "struct":
        return _struct([(name, settle) for name, each in kind.fields if (settle := _settler(each)) is not None])
    if kind.kind == "list" and kind.item is not None:
        return _list(_settler(kind.item))
    return _SETTLERS.get(kind.kind)


def _struct(settlers: list[tuple[str, _Settler]]) -> _Settler | None:
    def settle(value: Any) -> Any:
        if value is not None:
            name = ""
            try:
                for name, settled in settlers:
                    each = value[name]
                    if type(each) is not int or not _LEAST <= each <= _MOST:
                        value[name] = settled(each)
            except _Misfit as misfit:
                raise misfit.at(name) from None
        return value

    return settle if settlers else None


def _list(item: _Settler | None) -> _Settler | None:
    if item is None:
        return None

    def settle(value: Any) -> Any:
        for at, each in enumerate(value or ()):
            try:
                value[at] = item(each)
            except _Misfit as misfit:
                raise misfit.at(at) from None
        return value

    return settle


def _integer(value: Any) -> int | None:
    if value is None or (type(value) is int and _LEAST <= value <= _MOST):
        return value
    if type(value) is not float or not -(2.0**63) < value < 2.0**63:  # a float stands for a longer integer, too
        raise _Misfit("must be a whole number of at most 64 bits")
    return int(value)


def _number(value: Any) -> Any:
    try:
        if value is None or math.isfinite(value):
            return value
    except OverflowError:
        pass
    raise _Misfit("must be a finite number")


def _date(value: str | None) -> str | None:
    try:
        if value is None or (_DATE.fullmatch(value) and datetime.date.fromisoformat(value)):
            return value
    except ValueError:
        pass
    raise _Misfit("must be a date such as 2026-05-31")


def _datetime(value: str | None) -> str | None:
    found = value is None or _DATETIME.fullmatch(value)
    try:
        if isinstance(found, re.Match):
            day, time, offset = found.groups()
            datetime.datetime.fromisoformat(f"{day}T{time}{(offset or '').upper()}")
        if found:
            return value
    except ValueError:
        pass
    raise _Misfit("must be a date and time such as 2026-05-31T12:00:00Z")


_SETTLERS: dict[str, _Settler] = {"integer": _integer, "number": _number, "date": _date, "datetime": _datetime}
