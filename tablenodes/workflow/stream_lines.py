"""The connections of a workflow that streams: each is opened once, has its limits and retries, and the calls to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..connection.endpoint import default_properties, opened
from ..engine.calls import Call
from ..engine.scheduling import Budget, Budgets
from ..engine.scheduling.switchboard import Switchboard
from ..engine.transports.carrier_switch import CarrierSwitch
from ..run.cost_limit import CostLimit
from ..run.options import over
from ..run.spending import pricing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..answers import Pricing
    from ..connection.connection import Connection
    from ..connection.endpoint import Endpoint
    from ..engine.calls import Answer, Transport
    from ..engine.journal import Journal
    from ..engine.outcomes.judge import Verdict
    from ..engine.scheduling import Scheduler
    from ..engine.sink import Source
    from ..run.options import RunOptions
    from ..settings import Limits, Timeout
    from .definition import Definition

_MOST = 256  # calls to one connection that are held back, from which on no fresh row begins


class Line(NamedTuple):
    """A connection that nodes send over: the run's options with its profile's, and what its answers cost."""

    endpoint: Endpoint
    options: RunOptions
    pricing: Pricing


def lines_of(
    workflow: Definition, connections: Mapping[str, Connection], options: RunOptions, stack: ExitStack
) -> dict[str, Line]:
    """Return the line of each node that sends; nodes of equal connections, and embedded models, have one."""
    known: list[tuple[Any, Line]] = []
    found: dict[str, Line] = {}
    sending = [step for step in workflow._steps if step[1]._declared.sends]
    for name, node in sending or [step for step in workflow._steps if step[1]._declared.later]:
        path = node._declared.path
        own = connections[name], default_properties(connections[name], path)
        line = next((each for key, each in known if key == own), None)
        if line is None:
            endpoint = stack.enter_context(opened(connections[name], path=path, sends=options.send and bool(sending)))
            pricing = pricing_of(endpoint.connection, endpoint.base_url)
            line = Line(endpoint, over(connections[name].profile, options), pricing)
            known.append((own, line))
        found[name] = line
    return found


class StreamLines:
    """All lines of a run together, as one server is there for a run."""

    def __init__(self, lines: Sequence[Line], numbers: Sequence[int], options: RunOptions) -> None:
        self._lines, self._numbers, self._options = lines, numbers, options  # the numbers are by the nodes' positions
        self.members: list[Scheduler] = []

    def line_of(self, key: int) -> int:
        """Return the number of a call's line, by its key."""
        return self._numbers[key % len(self._numbers)]

    def scheduler(self, members: Sequence[Scheduler], journal: Journal | None) -> Switchboard:
        """Return the front of the lines' schedulers."""
        self.members = [*members]
        limits, sent = self._options.limits, 0 if journal is None else journal.sends
        return Switchboard(members, self.line_of, limits, self._options.retry, sent_before=sent)

    def own_options(self, line: Line) -> RunOptions:
        """Return the options of a line, without the limits that all have together."""
        whole = self._options.limits
        apart: Any = {name: None for name in ("max_requests", "token_budget") if getattr(whole, name) is not None}
        return replace(line.options, limits=replace(line.options.limits, **apart))

    @property
    def lines(self) -> list[str]:
        """The servers of each line, for a person."""
        return [each.endpoint.place for each in self._lines]

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must never be in a result."""
        return tuple(dict.fromkeys(secret for each in self._lines for secret in each.endpoint.secrets))

    @property
    def timeout(self) -> Timeout:
        """The timeouts of the first line."""
        return self._lines[0].endpoint.timeout

    def idle_of(self, key: int) -> float:
        """Return how long a call's stream may be without content."""
        return self._lines[self.line_of(key)].endpoint.timeout.payload_idle

    def transport(
        self,
        _: Limits,
        may_send: Callable[[int], bool] | None = None,
        *,
        stream: bool = False,
        server_of: Callable[[int], int] | None = None,  # each line has its own
    ) -> Transport:
        """Open what carries the bytes of all lines."""
        servers = [getattr(each, "server_of", None) for each in self.members]
        return CarrierSwitch(
            [
                each.endpoint.transport(each.options.limits, may_send, stream=stream, server_of=server)
                for each, server in zip(self._lines, servers, strict=True)
            ],
            self.line_of,
        )


class LineQueue:
    """A source after another one: a call comes out when its line has room, those of a full line wait here."""

    def __init__(self, source: Source, board: Switchboard, lines: int) -> None:
        self._source, self._board = source, board
        self._held: list[deque[Call]] = [deque() for _ in range(lines)]
        board.holds = self.holds

    def holds(self, line: int) -> bool:
        """Check whether calls of a line are held back."""
        return bool(self._held[line])

    def is_full(self) -> bool:
        """Check whether no fresh row is to begin, since so many calls of one line wait."""
        return any(len(each) >= _MOST for each in self._held)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        board = self._board
        for line, held in enumerate(self._held):
            if held and board.has_room(line):
                # Whose fault failures are is learned sooner from a row further on.
                return held.pop() if board.members[line].is_probing else held.popleft()
        while True:
            item = next(self._source)
            if not isinstance(item, Call) or board.has_room(line := board.line_of(item.key)):
                return item
            self._held[line].append(item)


class LineCosts:
    """What requests and answers of several lines cost; `models` are those that each is asked."""

    def __init__(
        self, lines: Sequence[Line], models: Sequence[Sequence[str | None]], line_of: Callable[[int], int]
    ) -> None:
        self._lines, self._line_of = lines, line_of
        self._each = [CostLimit(line.pricing, names) for line, names in zip(lines, models, strict=True)]

    def budget(self, limit: float | None, journal: Journal | None) -> Budget | Budgets:
        """Return the budget of a run with one `limit`, or with those of the lines' own."""
        if limit is None:
            own = [line.options.limits.max_cost for line in self._lines]
            pairs = zip(self._each, own, strict=True)
            each = [None if most is None else costs.budget(most, journal) for costs, most in pairs]
            return Budgets(each, self._line_of)
        before = 0.0 if journal is None else max(costs.spent(journal) for costs in self._each)
        return Budget(limit, self._most, self._charged, before)

    def _most(self, body: bytes) -> float:
        return max(costs.most(body) for costs in self._each)

    def _charged(self, answer: Answer, verdict: Verdict, asked: bytes) -> float | None:
        return self._each[self._line_of(answer.key)].charged(answer, verdict, asked)
