"""The ends of rows in memory: in little room, and what they are by row is what came."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence

import pytest

from tablenodes.engine import packed_columns
from tablenodes.engine.outcomes.rules import Failure
from tablenodes.engine.packed_columns import AT_ONCE, NO_SLOT, Column, Values
from tablenodes.engine.sink import NOT_SENT, End, Records

ROWS = 2 * AT_ONCE + 100


def ends(draw: random.Random, rows: int) -> dict[int, End]:
    """Return ends of most rows, in an order of their own: alike in one column, in another one each of its own."""
    order = draw.sample(range(rows), rows - 7)
    return {row: _end(draw, row) for row in order}


def _end(draw: random.Random, row: int) -> End:
    body = draw.choice([b"", b'{"n":%d}' % row, b"\xff\xfe", "ü\n€".encode() * draw.randint(1, 9), b"x" * 3_000])
    failed = draw.random() < 0.1
    return End(
        draw.choice(["http_error", "timeout"]) if failed else "ok",
        body,
        draw.choice([400, 500, None]) if failed else 200,
        draw.randint(1, 4),
        maybe_billed=draw.random() < 0.1,
        latency=draw.random() if row % 3 else None,
        request_id=f"req\n{row}" if row < 9 else f"req-{row}",
        finish_reason="".join(["st", "op"]),
        prompt_tokens=row * 1000,
        completion_tokens=2**70 if row == 5 else 7,
        reason=f"reason {row % 4}" if failed else None,
        kind=Failure.FINAL if failed else None,
        started=row / 7,
    )


def expected(made: dict[int, End], rows: int) -> dict[str, list[object]]:
    found = [made.get(row, End(NOT_SENT, b"-")) for row in range(rows)]
    columns = dict(zip(End._fields, map(list, zip(*found, strict=True)), strict=True))
    return {**columns, "body": [body.decode("utf-8", "replace") for body in columns["body"]]}


def filled(made: dict[int, End], rows: int) -> Records:
    records = Records(rows)
    for row, end in made.items():
        records.accept(row, end)
    for row in records.unended():
        records.accept(row, End(NOT_SENT, b"-"))
    records.finish(None)
    return records


def of(records: Records) -> dict[str, list[object]]:
    return {name: [*getattr(records, name)] for name in End._fields}


@pytest.fixture(params=[0, 2**24], ids=["compressed", "as they are"])
def _compression(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_columns, "_AS_THEY_ARE", request.param)


@pytest.mark.usefixtures("_compression")
@pytest.mark.parametrize("rows", [8, AT_ONCE, ROWS])
def test_what_is_read_by_row_is_what_came(rows: int) -> None:
    """As a whole, one by one, in part, and after a pickle."""
    draw = random.Random(rows)
    made = ends(draw, rows)
    records, wanted = filled(made, rows), expected(made, rows)
    assert of(records) == wanted
    assert of(pickle.loads(pickle.dumps(records))) == wanted
    for name, values in wanted.items():
        column = getattr(records, name)
        assert [column[row] for row in (0, 5, rows - 1, -1)] == [values[row] for row in (0, 5, rows - 1, -1)]
        assert [*column[3:7]] == values[3:7]
    assert records.unended() == []


def test_a_second_run_stands_in_the_places_of_the_first() -> None:
    """Also twice; what may have been billed before may still have been, and the first outputs stay as they are."""
    draw = random.Random(3)
    first = ends(draw, ROWS)
    places = sorted(draw.sample(range(ROWS), 1500))
    second = ends(draw, len(places))
    third = ends(draw, 40)
    one, two, three = filled(first, ROWS), filled(second, len(places)), filled(third, 40)
    both = one.updated(two, places)
    wanted = expected(first, ROWS)
    for name, values in expected(second, len(places)).items():
        for place, value in zip(places, values, strict=True):
            wanted[name][place] = value or wanted[name][place] if name == "maybe_billed" else value
    assert of(both) == wanted
    for name, values in expected(third, 40).items():
        for place, value in zip(places, values, strict=False):
            wanted[name][place] = value or wanted[name][place] if name == "maybe_billed" else value
    assert of(both.updated(three, places[:40])) == wanted
    assert of(one) == expected(first, ROWS)
    assert both.counts["ok"] == [*both.outcome].count("ok")


def test_a_row_that_shares_an_end_spends_nothing() -> None:
    """It has the body, the status and the reason of the other one, and no attempts, no tokens and no body to pay."""
    records = Records(4)
    records.accept(2, End("ok", b"shared", 200, 3, prompt_tokens=9, latency=1.5))
    for row in (0, 3):
        records.share(row, 2, "ok")
    records.finish("over")
    assert [*records.body][2:] == [*records.body][:1] * 2 == ["shared", "shared"]
    assert [*records.outcome] == ["ok", NOT_SENT, "ok", "ok"]
    assert [*records.attempts] == [0, 0, 3, 0]
    assert [*records.prompt_tokens] == [None, None, 9, None]
    assert [body for body in records.own_bodies if body and "over" not in body] == ["shared"]


@pytest.mark.parametrize(
    "values", [[7] * ROWS, [None] * ROWS, [*range(ROWS)], [7, None] * AT_ONCE, [7] * AT_ONCE + [8], []]
)
def test_a_column_is_summed_up(values: list[int | None]) -> None:
    """However its values are kept; and it is what came, also where a row has none."""
    column = Column.of(values)
    assert column.total == sum(filter(None, values))
    assert [*column] == values
    column.slots.append(NO_SLOT)
    assert [*column] == [*values, column.default]


class TornError(Exception):
    """What a handler of a signal raises."""


@pytest.mark.parametrize("calls", [1, 5, 17, 18, 30])
def test_what_raises_in_the_middle_loses_nothing(calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The columns that were filled already are filled again, with as many ends as before."""
    made = ends(random.Random(calls), ROWS)
    left, put = [calls], Values.put

    def torn(self: Values, number: int, values: Sequence[object], rows: Sequence[int]) -> None:
        left[0] -= 1
        if not left[0]:
            raise TornError
        put(self, number, values, rows)

    monkeypatch.setattr(Values, "put", torn)
    records, raised = Records(ROWS), 0
    for row, end in made.items():
        try:
            records.accept(row, end)
        except TornError:
            raised += 1
    for row in records.unended():
        records.accept(row, End(NOT_SENT, b"-"))
    records.finish(None)
    assert raised == 1
    assert of(records) == expected(made, ROWS)


def test_many_rows_take_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of answers like a server's: less than a third of what they are as text."""
    monkeypatch.setattr(packed_columns, "_AS_THEY_ARE", 0)
    body = b'{"id":"chatcmpl-%d","object":"chat.completion","choices":[{"index":0,"message":{"content":"Yes"}}]}'
    end = End("ok", b"", 200, 1, finish_reason="stop", prompt_tokens=7)
    records = Records(ROWS)
    for row in range(ROWS):
        records.accept(row, end._replace(body=body % row, request_id=f"{row:032x}", latency=row / 3, started=row / 5))
    records.finish(None)
    assert len(pickle.dumps(records)) / ROWS < 32 + 8 + 8 + 4 + 8 + len(body) / 3
