"""Of several servers: which one gets no rows, said as it happens and at the end, and which one a row went to last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ..engine.scheduling.stops import NOT_SENT_BECAUSE
from . import display

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..connection.endpoint import Endpoint
    from ..engine.journal.recorder import Recorder
    from ..engine.packs import Pack
    from ..engine.scheduling import Scheduler
    from ..engine.scheduling.fleet import Fleet
    from ..engine.sink import Sink
    from .wiring import Packing

_WORTH_A_LINE = 1.0  # seconds without rows after which a line says it


class ServerWatch:
    """Looks at the servers of a run, whose `places` are in the order of the connection's addresses."""

    def __init__(self, fleet: Fleet, places: Sequence[str], rows: int) -> None:
        self._fleet, self._places = fleet, places
        self._since: dict[int, float] = {}
        self._told: set[int] = set()
        fleet.served_by = bytearray(rows)

    def tell(self, name: str | None, now: float) -> None:
        """Say in a run's name which server gets no rows any more, and which one gets them again."""
        away = self._fleet.away
        for server, why in away.items():
            began = self._since.setdefault(server, now)
            if now - began >= _WORTH_A_LINE and server not in self._told:
                self._told.add(server)
                self._say(name, f"{self._places[server]} {_in_words(*why)}; its rows go to the others")
        for server in self._since.keys() - away.keys():
            del self._since[server]
            if server in self._told:
                self._told.discard(server)
                self._say(name, f"{self._places[server]} answers again")

    def notes(self) -> Iterator[str]:
        """Yield which servers get no rows at the end of a run in which others were there."""
        away = self._fleet.away
        for server, why in away.items() if len(away) < len(self._places) else ():
            yield f"{self._places[server]} {_in_words(*why)}; its rows went to the others"

    def expect(self, rows: int) -> None:
        """Note that so many rows have begun, whose servers are to be known: a byte a row."""
        self._fleet.served_by.extend(bytes(max(0, rows - len(self._fleet.served_by))))

    def see(self, packs: Mapping[int, Pack]) -> None:
        """Note where packs are found, which are answered in the place of their rows."""
        self._fleet.rows_of = lambda key: [call.key for call in packs[key].calls] if key in packs else ()

    def served(self, rows: Sequence[int] | None = None) -> list[str | None]:
        """Return where each row's last answer is from, or that of these rows; None where none came."""
        known = self._fleet.served_by
        found = known if rows is None else (known[row] if row < len(known) else 0 for row in rows)
        return [None if not server else self._places[server - 1] for server in found]

    def _say(self, name: str | None, words: str) -> None:
        if name is not None:
            display.say(f"{name}: {words}")


class ServerWatches(ServerWatch):
    """The same of several connections, each of several servers."""

    def __init__(self, each: Sequence[ServerWatch]) -> None:
        self._each = each

    def tell(self, name: str | None, now: float) -> None:
        """Say in a run's name which server gets no rows any more, and which one gets them again."""
        for one in self._each:
            one.tell(name, now)

    def notes(self) -> Iterator[str]:
        """Yield which servers get no rows at the end."""
        for one in self._each:
            yield from one.notes()

    def expect(self, rows: int) -> None:
        """Note that so many rows have begun, whose servers are to be known."""
        for one in self._each:
            one.expect(rows)

    def see(self, packs: Mapping[int, Pack]) -> None:
        """Note where packs are found."""
        for one in self._each:
            one.see(packs)


def watched(scheduler: Scheduler, endpoint: Endpoint, rows: int | None) -> ServerWatch | None:
    """Return what looks at the servers of a run over several; None where there is one."""
    if endpoint.servers == 1:
        return None
    return ServerWatch(cast("Fleet", scheduler), endpoint.places, rows or 0)


def together(each: Sequence[ServerWatch]) -> ServerWatch | None:
    """Return what looks at the servers of several connections; None where none has several."""
    return ServerWatches(each) if len(each) > 1 else next(iter(each), None)


def seen(pack: Packing | None, servers: ServerWatch | None) -> Packing | None:
    """Return what packs rows, of which is known which server has answered them."""
    if pack is None or servers is None:
        return pack

    def made(sink: Sink, recorder: Recorder) -> Any:
        packs = pack(sink, recorder)
        servers.see(packs.packs)
        return packs

    return made


def _in_words(reason: str, words: str) -> str:
    """Return why a server gets no rows: for how it was left, else for it fails."""
    because = NOT_SENT_BECAUSE.get(reason)
    told = f": {words}" if words else ""
    return f"is left: {because}{told}" if because is not None else f"serves no request{told or f' ({reason})'}"
