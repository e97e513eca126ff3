"""What a run did over time: counts and seconds in buckets, of which there are never more than a few thousand."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from itertools import zip_longest
from operator import add

MOST = 3_600  # buckets; from then on each has twice the time
OK, FAILED, SENT, IN_FLIGHT, WAITING = "ok", "failed", "sent", "in_flight", "waiting"
RETRIED, SECONDS = "retried_", "seconds_"  # what the names begin with of retries by cause, and of waits by reason
HIGHEST = (IN_FLIGHT, WAITING)  # of which a bucket has the most that there were at a time, and no sum


class Timeline:
    """What a run did in each bucket of time, from its first moment on.

    A run is looked at a few times a second, and what is looked at are its counts: so nothing is kept or done for a row.

    Attributes
    ----------
    width : float
        Seconds that a bucket has: one, and twice as many each time that there would be more than 3,600 buckets.
    columns : dict of str to array
        By bucket: rows that ended ``ok`` or ``failed``, requests ``sent``, the most ``in_flight`` and ``waiting`` for
        another attempt at a time, sends after the first by what made them necessary (``retried_throttled``, …), and for
        how long nothing was sent, by the reason (``seconds_pause``, …). Columns that have nothing are left out, and
        each ends with its last number that is not 0.
    """

    def __init__(self, width: float = 1.0) -> None:
        self.width = width
        self.columns: dict[str, array[float]] = {}
        self.second_runs: tuple[float, ...] = ()  # where those begin that are behind the first one

    def __len__(self) -> int:
        return max(map(len, self.columns.values()), default=0)

    def table(self) -> dict[str, list[float]]:
        """Return its columns, all as long, with the ``second`` from which each bucket is."""
        size = len(self)
        own = {name: [*column, *(0.0 for _ in range(size - len(column)))] for name, column in self.columns.items()}
        return {"second": [at * self.width for at in range(size)], **own}

    def add(self, second: float, name: str, value: float) -> None:
        """Add to the bucket that a second is in; of what is the highest, keep it if it is higher."""
        while second >= MOST * self.width:
            self._double()
        if not value:
            return
        column, at = self.columns.setdefault(name, array("d")), int(second / self.width)
        if len(column) <= at:
            column.frombytes(bytes(column.itemsize * (at + 1 - len(column))))
        column[at] = max(column[at], value) if name in HIGHEST else column[at] + value

    def followed(self, other: Timeline, seconds: float) -> Timeline:
        """Return it with that of a second run behind it, where this one took so many seconds."""
        made = Timeline(max(self.width, other.width))
        made.second_runs = (*self.second_runs, seconds, *(seconds + each for each in other.second_runs))
        for each, start in ((self, 0.0), (other, seconds)):
            for name, column in each.columns.items():
                for at, value in enumerate(column):
                    made.add(start + at * each.width, name, value)
        return made

    def _double(self) -> None:
        """Have half as many buckets, each of two."""
        self.width *= 2
        for name, column in self.columns.items():
            join = max if name in HIGHEST else add
            pairs = zip_longest(column[::2], column[1::2], fillvalue=0.0)
            self.columns[name] = array("d", [join(*pair) for pair in pairs])


class Recording:
    """Makes the timeline of a run that goes on."""

    def __init__(self) -> None:
        self.timeline = Timeline()
        self.highest = 0  # calls in flight since it was looked at last
        self.until = 0.0  # when the bucket of the last look ends
        self._before: Mapping[str, float] = {}
        self._second, self._wait = 0.0, ""

    def look(self, second: float, counts: Mapping[str, float], waiting: int, wait: str) -> None:
        """Put what was counted since the last look where that was; `wait` is what the run waits for from now on.

        `counts` are those of the whole run, by the names of their columns.
        """
        put, since = self.timeline.add, self._second
        for name, value in counts.items():
            put(since, name, value - self._before.get(name, 0))
        self._before = counts
        put(since, IN_FLIGHT, self.highest)
        put(since, WAITING, waiting)
        while self._wait and since < second:
            ends = min(second, (since // self.timeline.width + 1) * self.timeline.width)
            put(since, SECONDS + self._wait, ends - since)
            since = ends
        self.highest, self._second, self._wait = 0, second, wait
        width = self.timeline.width
        self.until = (second // width + 1) * width
