"""What nodes with answers have in common: the settings ``answer`` and ``into``, and the columns that they make."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..answers import ANSWER, ANSWER_MODES, BESIDE, RowAnswers, behind_ids, read_answer
from ..bodies.request_form import NAMED_ONLY
from ..column_names import free_names
from ..errors import ColumnError, SettingError

if TYPE_CHECKING:
    from .node import Node

_BESIDE = re.compile(r"(?P<prefix>.+_)?status(_\d+)?\n(?P=prefix)?outcome(_\d+)?\n(?P=prefix)?message(_\d+)?")
"""The names of what stands beside an answer, each in a line."""
_APPEND = "run AppendReply on this table (tablenodes call AppendReply), or give the output of the chat as"
_BY_HAND = 'run AddAssistantMessage on this table, text="{{ … }}" of the fields, or give the output of the chat as'
_TRIPLE = 3  # columns that stand beside an answer


def answers_of(node: Node, mode: str | None = None) -> RowAnswers:
    """Return how a node's answers are read."""
    given, found = getattr(node, "answer", None), mode or getattr(node, "answer_mode", ANSWER_MODES[0])
    schema = None if given is None else read_answer(given)
    return RowAnswers(schema, found, getattr(node, "into", None))  # type: ignore[arg-type] # checked elsewhere


def _own_answer(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _own_answer(each) for key, each in value.items()}
    return [*map(_own_answer, value)] if isinstance(value, list | tuple) else value


def _checked_name(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise SettingError("into must be the name of a column", place="into")
    if value is not None and "{{" in value:
        how = "it is the same for every row, and placeholders are not filled in"
        raise SettingError(f"into must be the name of a column: {how}", place="into")
    return value


CHECKS: Mapping[str, Callable[[Any], Any]] = {ANSWER: _own_answer, "into": _checked_name}
"""By the settings of a node with answers: what is kept of one, which nobody else can change, or an error."""


def check_free(answers: RowAnswers, columns: Sequence[str]) -> None:
    """Raise `ColumnError` where the table has a column of an answer's name: the two must never be mixed up."""
    if clash := [name for name in answers.types if name in columns]:
        told, column = ", ".join(map(repr, clash)), "column" if len(clash) == 1 else "columns"
        other = f"new_{clash[0]}" if answers.is_one else "new"
        raise ColumnError(
            f"the table already has {'a ' if len(clash) == 1 else ''}{column} {told}, which is what the answer's "
            f"{column} would be called: choose another name with into, such as {other!r}",
            code="answer_column",
            place="into",
            values={"columns": clash, "told": told, "column": column, "other": other},
        )


def beside_earlier(answers: RowAnswers, columns: Sequence[str], ids: Collection[str]) -> list[str]:
    """Return a table's columns but those of an earlier retrieval, which stand together to the right of the ids."""
    earlier = {name for names in answers.blocks(columns[behind_ids(columns, ids) :]) for name in names}
    return [name for name in columns if name not in earlier]


def turn_in(columns: Sequence[str], conversation: str) -> tuple[str, ...]:
    """Return the columns of a chat's answer to a conversation: a chat puts them to its right, the answer's first.

    Whoever adds to the conversation puts it to the right of them again. Of an answer's fields, those are known that
    ``into`` has named.
    """
    right = columns[columns.index(conversation) + 1 :] if conversation in columns else ()
    triples = zip(right, right[1:], right[2:], strict=False)
    found = next(((names, each) for names in triples if (each := _BESIDE.fullmatch("\n".join(names)))), None)
    if found is None:
        return (ANSWER,) if ANSWER in right else ()
    prefix = found[1]["prefix"] or ""
    answers = right[: right.index(found[0][0])]
    own = (ANSWER,) if not prefix else (prefix[:-1], *(name for name in answers if name.startswith(prefix)))
    return (*(name for name in dict.fromkeys(own) if name in answers), *found[0])


def settings_too(
    answers: RowAnswers, properties: Collection[str], named_only: frozenset[str] = NAMED_ONLY
) -> tuple[str, ...]:
    """Return a line on the answers' columns that a later node, given the table, would use as settings."""
    if found := [name for name in answers.types if name in properties and name not in named_only]:
        told, one = ", ".join(map(repr, found)), len(found) == 1
        would = "would use it as a request setting" if one else "would use them as request settings"
        used = f"a later node that is given the answer's {'column' if one else 'columns'} {told} {would}"
        return (f"{used}: choose another name with into, or set columns there",)
    return ()


def dropped(columns: Sequence[str], conversation: str, read: Collection[str]) -> tuple[str, ...]:
    """Return a line on a chat's answer that is in no conversation, and that nobody reads; none where there is none."""
    if not (turn := turn_in(columns, conversation)):
        return ()
    first = columns.index(turn[0])
    answer = columns[first - 1] if len(turn) == _TRIPLE else turn[0]  # a field's name is anybody's
    what = f"column {answer!r} has a model's answer that is not in the conversation, and is not added"
    how = f"{_APPEND if text_in(turn) else _BY_HAND} continue_from"
    return () if answer in read else (f"{what}: to add it first, {how}",)


def text_in(turn: Sequence[str]) -> str | None:
    """Return which of a turn's columns has the text of its answer; None where it has fields, or no column is known."""
    beside = _BESIDE.fullmatch("\n".join(turn[-_TRIPLE:]))
    named = (beside["prefix"] or "")[:-1] if beside else ""
    return turn[0] if tuple(turn[:1]) == (named or ANSWER,) and len(turn) in (1, 1 + _TRIPLE) else None


def suffixed(answers: RowAnswers, columns: Sequence[str]) -> tuple[str, ...]:
    """Return a line on the columns beside the answers whose names are taken."""
    wanted = [answers.named(name) for name in BESIDE]
    changed = {name: free for name, free in free_names(wanted, (*columns, *answers.types)).items() if name != free}
    if not changed:
        return ()
    told = ", ".join(f"{name!r} is called {free!r}" for name, free in changed.items())
    return (f"there is a column of the same name already, so the run's own {told}",)
