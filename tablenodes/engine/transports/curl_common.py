"""What all transfers of one transport share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..calls import Event


class Common:
    """What all transfers of one transport share.

    Attributes
    ----------
    body_bytes : int
        The longest body.
    may_send : callable or None
        Asked before each send.
    clock : callable
        Monotonic seconds.
    stream : bool
        Tell of each piece of a body.
    events : list of Event
        What came and is not fetched yet.
    last_piece : dict of int to float
        When the last piece of each stream came, by its call's key, the oldest first.
    unsent : int
        Calls that have begun and have not been sent.
    raised : BaseException or None
        What `may_send` raised, to be raised again outside of libcurl.
    news : dict of tuple to callable
        For each connection, by its ends, what tells whether anything has come on it.
    """

    def __init__(
        self, body_bytes: int, may_send: Callable[[int], bool] | None, clock: Callable[[], float], stream: bool
    ) -> None:
        self.body_bytes = body_bytes
        self.may_send = may_send
        self.clock = clock
        self.stream = stream
        self.events: list[Event] = []
        self.last_piece: dict[int, float] = {}
        self.unsent = 0
        self.raised: BaseException | None = None
        self.news: dict[tuple[str, int, str, int], Callable[[int], object]] = {}
