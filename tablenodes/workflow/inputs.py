"""What ``{{ inputs }}`` and ``{{ outputs }}`` stand for: what a workflow is told at each run, and earlier answers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ..answers import ANSWER
from ..engine.outcomes.answer_json import document_of
from ..engine.sink import OK, SKIPPED, SUBMITTED
from ..errors import WorkflowError, nearest
from ..plain import plain
from ..problems import Problem, Rejected, Unfit
from ..run.rows import Apart, When
from ..schemas.subschemas import OTHER_TYPES
from ..templates.environment import Lacking, UnreadArguments
from .references import reading_of, templates_in, upstream

if TYPE_CHECKING:
    from ..nodes import Node
    from ..run.output import AnyOutput
    from .passage import AnsweredSoFar
    from .references import Reading
    from .step import Condition

TYPES: Any = {"string": str, "integer": int, "number": int | float, "boolean": bool, "array": list, "object": dict}
DECLARATION = ("type", "default", "required", "description")


@dataclass(frozen=True)
class Input:
    """One input of a workflow, of its default's type unless that is set; it is required where it has no default."""

    type: str | None = None
    default: Any = None
    required: bool | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if self.type is not None and (not isinstance(self.type, str) or self.type not in TYPES):
            hint = nearest(str(self.type), TYPES, OTHER_TYPES) or f"; it is one of {', '.join(TYPES)}"
            raise WorkflowError(f"type: {str(self.type)[:40]!r} is not a type{hint}", place="type")
        try:
            object.__setattr__(self, "default", _typed(plain(self.default), self.type))
        except Unfit as error:
            raise WorkflowError(f"default: {error}", place="default") from None
        if self.type is None and self.default is not None:
            object.__setattr__(self, "type", next(name for name in TYPES if _fits(self.default, name)))
        elif self.default is not None and not _fits(self.default, self.type):
            raise WorkflowError(f"default: must be of type {self.type}", place="default")
        if self.required is None:
            object.__setattr__(self, "required", self.default is None)
        elif not isinstance(self.required, bool):
            raise WorkflowError("required: must be true or false", place="required")
        if self.description is not None and not isinstance(self.description, str):
            raise WorkflowError("description: must be a text", place="description")

    def read(self, text: str) -> Any:
        """Return the value that a text of the command line stands for; a text that does not fit stays as it is."""
        return _typed(text, self.type)

    def document(self) -> Any:
        """Return it as it is written in a file: its default alone where that says everything."""
        short, nested = Input(default=self.default), isinstance(self.default, dict)
        if self == short and not nested:
            return self.default
        fields = {name: value for name in DECLARATION if (value := getattr(self, name)) is not None}
        for name in ("type", "required"):
            if fields.get(name) == getattr(short, name) and not (nested and name == "type"):
                fields.pop(name, None)
        return fields


def declared(name: object, value: Any) -> Input:
    """Return an input from its default, or from a mapping with ``type``, ``default``, ``required``, ``description``."""
    if not isinstance(name, str) or not name.isidentifier():
        raise WorkflowError("an input's name must be made of letters, digits and underscores")
    if isinstance(value, Input):
        return value
    try:
        if isinstance(value, Mapping) and value and ("type" in value or all(map(_is_declarations, value))):
            _refuse_unknown(value)
            return Input(**value)
        return Input(default=value)
    except WorkflowError as error:
        raise WorkflowError(f"{name}.{error}", place=f"{name}.{error.place}") from None


def _is_declarations(key: object) -> bool:
    """Check whether a key is one of a declaration's, also misspelt: of a value, not all are."""
    return bool(difflib.get_close_matches(str(key), DECLARATION, n=1, cutoff=0.8))


def separately(value: Any) -> list[Any]:
    """Return what is given of an input, each unknown key by itself: so that one hides no other mistake."""
    unknown = [key for key in value if key not in DECLARATION] if isinstance(value, Mapping) and "type" in value else []
    known = {key: value[key] for key in value if key not in unknown} if unknown else value
    return [*({"type": "string", key: value[key]} for key in unknown), known]


def _refuse_unknown(value: Any) -> None:
    """Raise `WorkflowError` for a declaration with an unknown key: a mapping with a type is one, and never a value."""
    for unknown in (str(key) for key in value if key not in DECLARATION):
        as_value = "; a value that is a mapping like this is written as default: {…}"
        hint = nearest(unknown, DECLARATION) or f"; there are {', '.join(DECLARATION)}{as_value}"
        raise WorkflowError(f"{unknown[:40]}: unknown key{hint}", place=unknown)


def resolved(
    inputs: Mapping[str, Input], given: Mapping[str, Any] | None, where: Callable[[str], str] = lambda name: ""
) -> dict[str, Any]:
    """Return every input's value for one run."""
    if given is not None and not isinstance(given, Mapping):
        kind = type(given).__name__
        how = "; give the connection by its name: connection=…" if kind == "Connection" else ""
        raise WorkflowError(f"inputs must be a mapping of names to values, not {kind}{how}")
    check_names(inputs, given or {})
    values = {name: (given or {}).get(name, declaration.default) for name, declaration in inputs.items()}
    _refuse_missing([n for n, declaration in inputs.items() if declaration.required and values[n] is None], where)
    for name, declaration in inputs.items():
        try:
            values[name] = _typed(plain(values[name]), declaration.type)
        except Unfit as error:
            raise WorkflowError(f"{where(name)}input {name!r} {error}") from None
        if values[name] is not None and not _fits(values[name], declaration.type):
            raise WorkflowError(f"{where(name)}input {name!r} must be of type {declaration.type}")
    return values


def _refuse_missing(names: list[str], where: Callable[[str], str]) -> None:
    if len(names) == 1:
        how = f"set it with inputs={{{names[0]!r}: …}}, or --input {names[0]}=…"
        raise WorkflowError(f"{where(names[0])}input {names[0]!r} needs a value: {how}")
    if names:
        how = "set them with inputs={…}, or each with --input NAME=…"
        raise WorkflowError(f"{where(names[0])}inputs {', '.join(map(repr, names))} need values: {how}")


def check_names(inputs: Mapping[str, Input], given: Mapping[str, Any]) -> None:
    """Raise `WorkflowError` for an input that the workflow does not have, with the nearest name."""
    for name in given:
        if name not in inputs:
            known = f"; it has {', '.join(inputs)}" if inputs else "; it has none"
            raise WorkflowError(f"the workflow has no input {str(name)[:40]!r}{nearest(str(name), inputs) or known}")


def _fits(value: Any, kind: str | None) -> bool:
    if kind is None or isinstance(value, bool):
        return kind in (None, "boolean")
    return isinstance(value, TYPES[kind])


def _typed(value: Any, kind: str | None) -> Any:
    """Return a value of a type where it is one that is written as a text, or a whole number; else as it is."""
    made = value
    if isinstance(value, str) and kind not in (None, "string"):
        try:
            made = orjson.loads(value.casefold() if kind == "boolean" else value)
        except orjson.JSONDecodeError:
            return value
    if kind == "integer" and isinstance(made, float) and made.is_integer():
        made = int(made)
    return made if made is not None and _fits(made, kind) else value


class Answers:
    """The answers of earlier nodes to one row, parsed when the row asks for them.

    What a row can do without, since each of its placeholders has a ``default(…)``, is null where it is missing. What
    became of the row (``outcome``, ``status``, ``error``) is never missing.
    """

    def __init__(self, outputs: Mapping[str, AnyOutput], reading: Mapping[str, Reading]) -> None:
        self._outputs = [
            (name, outputs[name], each, _no_error(name), _at_hand(outputs[name], each))
            for name, each in reading.items()
        ]

    def __call__(self, row: int) -> dict[str, Any] | Rejected:
        """Return the answers to a row by node id, or why it cannot be sent."""
        found: dict[str, Any] = {}
        lacking: dict[str, str] = {}  # the outcomes of those that have no answer
        for name, output, reading, no_error, at_hand in self._outputs:
            if at_hand is not None and (answer := at_hand(row)) is not None:
                found[name] = {ANSWER: answer}
                continue
            try:
                found[name] = _read(name, output, row, reading, no_error)
            except _Missing as missing:
                lacking[name] = missing.outcome
                beside = {lacking[each] for each in reading.instead_of if each in lacking}
                if reading.needs_answer or reading.needs_rest or beside:
                    return failed(name, str(missing), max({missing.outcome} | beside, key=lambda each: each != SKIPPED))
                found[name] = _ended(name, output, row) if reading.ends else None
        return found


class AnswersApart:
    """The answers of earlier nodes to one row; where it lacks one, those that each of its pieces reads."""

    def __init__(self, whole: Answers, pieces: Mapping[str, Answers]) -> None:
        self._whole, self._pieces = whole, pieces

    def __call__(self, row: int) -> dict[str, Any]:
        """Return the answers to a row by node id, or for each piece these, or why it cannot be made."""
        found = self._whole(row)
        return Apart({name: each(row) for name, each in self._pieces.items()}) if isinstance(found, Rejected) else found


def answers_to(node: Node, outputs: Mapping[str, Any]) -> Answers | AnswersApart | None:
    """Return what a node reads of earlier outputs, row by row; None where it reads none."""
    ids = tuple(outputs)
    if (reading := upstream(node, ids)) is None:
        return None
    whole = Answers(outputs, reading)
    pieces = {name: reading_of(templates_in(value), ids) for name, value in node._pieces().items()}
    apart = {name: Answers(outputs, each) for name, each in pieces.items() if each is not None}
    return AnswersApart(whole, apart) if apart else whole


def deciding_of(condition: Condition | None, outputs: Mapping[str, Any]) -> When | None:
    """Return what decides for which rows a node runs, given what earlier ones gave."""
    if condition is None:
        return None
    reading = reading_of([condition.template], tuple(outputs))
    return When(condition.plan, None if reading is None else Answers(outputs, reading), condition.name)


def _at_hand(output: AnyOutput | AnsweredSoFar, reading: Reading) -> Callable[[Any], Any] | None:
    """Return what returns an answer that has been read, where nothing else is wanted; None where nothing does."""
    is_alone = reading.answer and not (reading.rest or reading.ends)
    return getattr(output, "read_at", None) if is_alone else None


class _Missing(Exception):  # noqa: N818 - it stands for an answer
    """An answer that is not there; its text says why, and `outcome` what became of the row."""

    def __init__(self, why: str, outcome: str = OK) -> None:
        super().__init__(why)
        self.outcome = outcome


def _read(name: str, output: AnyOutput, row: int, reading: Reading, no_error: Lacking) -> dict[str, Any]:
    """Return what is read of a row's output."""
    outcome, status, _ = output._end_of(row)
    if outcome not in (OK, SUBMITTED):
        if reading.ends and not (reading.answer or reading.rest):
            return _ended(name, output, row)
        raise _Missing(f"it ended as {outcome}", outcome)
    found: dict[str, Any] = {}
    if reading.rest:
        try:
            found = parsed(output._answer_to(row)[1])
        except (ValueError, TypeError):
            raise _Missing("it is not readable JSON") from None
    if reading.ends and isinstance(found, dict):
        ends = {"error": found.get("error") or no_error, "outcome": outcome, "status": status}
        found = {**found, **ends}
    if not reading.answer or not isinstance(found, dict):
        return found
    answer = output._answer_at(row)
    if answer is None and reading.needs_answer:
        raise _Missing("the model wrote no text")
    found[ANSWER] = answer
    return found


def _no_error(name: str) -> Lacking:
    """Return the error of a row that is ok: there is nothing in it."""
    return Lacking(place=f"outputs.{name}.error", why=f"it is ok at node {name!r}")


def _ended(name: str, output: AnyOutput, row: int) -> Lacking:
    """Return what became of a row that has no answer; the error is the server's own, its message masked and bounded."""
    outcome, status, message = output._end_of(row)
    try:
        told = parsed(output._answer_to(row)[1])["error"]
    except (ValueError, TypeError, LookupError):
        told = {}
    own, place = told if isinstance(told, dict) else {}, f"outputs.{name}"
    known = {each: own[each] for each in ("type", "code", "param") if own.get(each) is not None}
    error = Lacking({"message": message, **known}, f"{place}.error", f"the error of node {name!r} has none")
    ended = {"outcome": outcome, "error": error} | ({} if status is None else {"status": status})
    return Lacking(ended, place, f"it ended as {outcome} at node {name!r}")


def failed(name: str, why: str, outcome: str = OK) -> Rejected:
    """Return a row's rejection for want of an earlier answer; a row that was skipped there is skipped here too."""
    problem = Problem(f"outputs.{name}", "upstream", f"node {name!r} has no answer for this row: {why}")
    return Rejected(problem, outcome=SKIPPED if outcome == SKIPPED else "upstream_failed")


def parsed(body: str | None) -> Any:
    """Return an answer as placeholders see it: the arguments of its calls are parsed too."""
    answer = document_of(body or "")
    if '"arguments"' in (body or ""):
        for item in _items(answer, "output"):
            _parse_arguments(item)
        for choice in _items(answer, "choices"):
            message = choice.get("message")
            if isinstance(message, dict):
                _parse_arguments(message.get("function_call"))
                for call in _items(message, "tool_calls"):
                    _parse_arguments(call.get("function"))
    return answer


def _items(value: Any, name: str) -> list[dict[str, Any]]:
    """Return the objects of a list, whatever a server has put in its place."""
    found = value.get(name) if isinstance(value, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _parse_arguments(call: Any) -> None:
    if isinstance(call, dict) and isinstance(call.get("arguments"), str):
        try:
            call["arguments"] = orjson.loads(call["arguments"])
        except orjson.JSONDecodeError:
            call["arguments"] = UnreadArguments(call["arguments"])  # the text that it is, and says so
