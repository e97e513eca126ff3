"""What nodes with answers have in common: the settings ``answer`` and ``into``, and the columns that they make."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..answers import ANSWER_MODES, BESIDE, RowAnswers, behind_ids, read_answer
from ..column_names import free_names
from ..errors import ColumnError, SettingError

if TYPE_CHECKING:
    from .node import Node

SETTINGS = ("answer", "into")


def answers_of(node: Node, mode: str | None = None) -> RowAnswers:
    """Return how a node's answers are read."""
    given, found = getattr(node, "answer", None), mode or getattr(node, "answer_mode", ANSWER_MODES[0])
    schema = None if given is None else read_answer(given)
    return RowAnswers(schema, found, getattr(node, "into", None))  # type: ignore[arg-type] # checked elsewhere


def kept_setting(name: str, value: Any) -> Any:
    """Return what one of `SETTINGS` was given, which nobody else can change."""
    return _own_answer(value) if name == "answer" else _checked_name(value)


def _own_answer(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _own_answer(each) for key, each in value.items()}
    return [*map(_own_answer, value)] if isinstance(value, list | tuple) else value


def _checked_name(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise SettingError("into must be the name of a column", place="into")
    return value


def check_free(answers: RowAnswers, columns: Sequence[str]) -> None:
    """Raise `ColumnError` where the table has a column of an answer's name: the two must never be mixed up."""
    if clash := [name for name in answers.types if name in columns]:
        told, one = ", ".join(map(repr, clash)), len(clash) == 1
        other = f"new_{clash[0]}" if answers.is_one else "new"
        raise ColumnError(
            f"the table already has {'a column' if one else 'columns'} {told}, which is what the answer's "
            f"{'column' if one else 'columns'} would be called: choose another name with into=, such as into={other!r}",
            code="answer_column",
            place="into",
            values={"columns": clash},
        )


def beside_earlier(answers: RowAnswers, columns: Sequence[str], ids: Collection[str]) -> Iterator[str]:
    """Yield a table's columns but those of an earlier retrieval, which stand together to the right of the ids."""
    behind = behind_ids(columns, ids)
    earlier = {name for names in answers.blocks(columns[behind:]) for name in names}
    yield from (name for at, name in enumerate(columns) if at < behind or name not in earlier)


def suffixed(answers: RowAnswers, columns: Sequence[str]) -> tuple[str, ...]:
    """Return a line on the columns beside the answers whose names are taken."""
    wanted = [answers.named(name) for name in BESIDE]
    changed = {name: free for name, free in free_names(wanted, (*columns, *answers.types)).items() if name != free}
    if not changed:
        return ()
    told = ", ".join(f"{name!r} is called {free!r}" for name, free in changed.items())
    return (f"there is a column of the same name already, so the run's own {told}",)
