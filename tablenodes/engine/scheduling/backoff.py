"""How long a row waits for its next attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import policy

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DOUBLINGS = 30  # beyond it, every wait is at its limit anyway


def backoff(failures: int, random: Callable[[], float]) -> float:
    """Give the seconds to wait after the `failures`-th failure of a row: full jitter under a doubling limit."""
    limit = min(policy.BACKOFF_LONGEST, policy.BACKOFF_FIRST * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
    return max(policy.BACKOFF_FLOOR, random() * limit)


def throttle(failures: int, random: Callable[[], float]) -> float:
    """Give the seconds of the pause after a row's `failures`-th throttling without a delay from the server."""
    limit = min(policy.THROTTLED_LONGEST, policy.THROTTLED_FIRST * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
    return limit * (policy.THROTTLED_SPREAD + (1 - policy.THROTTLED_SPREAD) * random())


def server_delay(seconds: float, failures: int, random: Callable[[], float]) -> float:
    """Give the seconds to wait where the server asked for `seconds`: never fewer, and a little chance on top.

    A row that is put off again and again by a moment waits a little longer each time, so that it is not used up by a
    server that names the moment of its next free place to everybody.
    """
    jitter = random() * min(policy.JITTER_LONGEST, policy.JITTER_SHARE * seconds)
    again = min(policy.JITTER_LONGEST, backoff(failures - 1, random)) if failures > 1 else policy.BACKOFF_FLOOR
    return max(seconds + jitter, again)


def probe_delay(failures: int) -> float:
    """Give the seconds between the `failures`-th failed probe of a server and the next; the first is the 0th."""
    return min(policy.PROBE_LONGEST, policy.PROBE_FIRST * 2.0 ** min(failures, _MOST_DOUBLINGS))
