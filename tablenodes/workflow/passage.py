"""A row on its way through the nodes of a workflow, and what each of them reads of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

from ..answers import RowAnswers
from ..column_names import OUTPUTS
from ..engine.sink import OK, End
from ..problems import Rejected
from ..run.table_run import Making, cell_of, end_of_made

if TYPE_CHECKING:
    from ..answers import Read

    Place = int | tuple["MadeSoFar", int]
    """Where a column's cell is: among the cells of the source that are read, or in what an earlier node made."""


class Passage:
    """A row on its way: its position, the cells that are read of it, and what became of it at each node so far.

    An end is an `End` at a node that sends, else the cells that were made, or a `Rejected`. `read` is what was read of
    its answers. `earlier` are the sends of earlier runs for the call that is on its way; `models` what was asked at
    nodes whose model differs by row.
    """

    __slots__ = ("at", "cells", "earlier", "ends", "models", "read", "row")

    def __init__(self, row: int, cells: Sequence[Any], nodes: int) -> None:
        self.row, self.cells, self.at, self.earlier = row, cells, 0, 0
        self.ends: list[Any] = [None] * nodes
        self.read: list[Read | None] = [None] * nodes
        self.models: dict[int, str] | None = None


class CellReader:
    """Reads the cells of some columns, and what earlier nodes answered, of rows on their way."""

    def __init__(
        self,
        columns: Sequence[str],
        places: Mapping[str, Place],
        upstream: Callable[[Any], Any] | None = None,
    ) -> None:
        self._upstream = upstream if OUTPUTS in columns else None
        self._at = columns.index(OUTPUTS) if self._upstream is not None else 0
        found = [places[name] for name in columns if name != OUTPUTS or self._upstream is None]
        self._read = _of_source([each for each in found if isinstance(each, int)])
        self.is_of_source = self._upstream is None and all(isinstance(each, int) for each in found)
        if not all(isinstance(each, int) for each in found):
            self._read = _of_both(found)

    def rows(self, passages: Iterable[Passage]) -> Iterator[Any]:
        """Yield each row's cells, or why it has none."""
        read, upstream, at = self._read, self._upstream, self._at
        return map(read, passages) if upstream is None else _joined(passages, read, upstream, at)


def _joined(
    passages: Iterable[Passage], read: Callable[[Passage], tuple[Any, ...]], upstream: Callable[[Any], Any], at: int
) -> Iterator[Any]:
    """Yield each row's cells with what earlier nodes answered in its place among them."""
    for each in passages:
        found = upstream(each)
        if not isinstance(found, Rejected):
            cells = read(each)
            found = (*cells[:at], found, *cells[at:])
        yield found


def _of_source(places: Sequence[int]) -> Callable[[Passage], tuple[Any, ...]]:
    """Return what reads these cells of the source."""
    if len(places) < 2:
        return (lambda passage: (passage.cells[places[0]],)) if places else (lambda passage: ())
    getter = itemgetter(*places)
    return lambda passage: getter(passage.cells)


def _of_both(places: Sequence[Place]) -> Callable[[Passage], tuple[Any, ...]]:
    """Return what reads these cells of the source, and of what was made."""
    return lambda passage: tuple(cell_at(each, passage) for each in places)


def cell_at(place: Place, passage: Passage) -> Any:
    """Return the cell of a row at a place."""
    return passage.cells[place] if isinstance(place, int) else place[0].cell(passage, place[1])


class AnsweredSoFar:
    """What a node that sends was answered, for what reads it; rows are given as they are on their way."""

    def __init__(self, position: int, answers: RowAnswers) -> None:
        self._at, self._answers, self._value_of = position, answers, answers.reader()
        self._reads_columns = type(answers).columns is not RowAnswers.columns
        self._is_one, self._fields = answers.is_one, answers.fields
        self._read: tuple[End | None, str] = None, ""

    def _text_of(self, end: End) -> str:
        """Return the body of an end as text, of the last one without reading it again."""
        if self._read[0] is not end:
            self._read = end, end.body.decode("utf-8", "replace")
        return self._read[1]

    def _answer_to(self, passage: Passage) -> tuple[str, str]:
        end = passage.ends[self._at]
        return end.outcome, self._text_of(end)

    def _end_of(self, passage: Passage) -> tuple[str, int | None, str | None]:
        end = passage.ends[self._at]
        return end.outcome, end.status, end.message

    def _answer_at(self, passage: Passage) -> Any:
        if passage.read[self._at] is not None:
            return self.read_at(passage)
        end = passage.ends[self._at]
        if self._reads_columns:  # a kind of answers of its own
            return next(iter(self._answers.columns([self._text_of(end)], [end.outcome]).values()))[0]
        return self._shown(self._value_of(self._text_of(end))) if end.outcome == OK else None

    def read_at(self, passage: Passage) -> Any:
        """Return a row's answer where it has been read; None where it has not, or there is none."""
        read = passage.read[self._at]
        if read is None or self._is_one:
            return read and read[0]
        return self._shown(read[0])

    def _shown(self, value: Any) -> Any:
        """Return a value as an answer is read: one of several fields has all of them."""
        if self._is_one:
            return value
        return {name: None if value is None else value[name] for name in self._fields}


class MadeSoFar:
    """What a node that sends nothing made, for what reads it; `before` is where its columns were in the table."""

    def __init__(self, position: int, making: Making, before: Mapping[str, Place]) -> None:
        self._at, self._making, self._before = position, making, before

    def cell(self, passage: Passage, at: int) -> Any:
        """Return what a row has in a column that was made."""
        name = [*self._making.makes][at]
        before = cell_at(self._before[name], passage) if name in self._before else None
        return cell_of(self._making, at, passage.ends[self._at], before)

    def _made(self, passage: Passage) -> dict[str, Any]:
        return {name: self.cell(passage, at) for at, name in enumerate(self._making.makes)}

    def _answer_to(self, passage: Passage) -> tuple[str, str]:
        return self._end_of(passage)[0], orjson.dumps(self._made(passage)).decode()

    def _end_of(self, passage: Passage) -> tuple[str, None, str | None]:
        outcome, message = end_of_made(passage.ends[self._at])
        return outcome, None, message

    def _answer_at(self, passage: Passage) -> Any:
        made = self._made(passage)
        if not self._making.fields:
            return made.get("text")
        return made if self._end_of(passage)[0] == OK else None
