"""A transport for several servers: each call goes to the one that was chosen for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ..calls import Call, Request
from .wrapper import Wrapper

_KNOWN = 256  # requests of which the other servers' are kept


@dataclass(eq=False, repr=False)
class ServerSwitch(Wrapper):
    """A transport that sends a call to its server: `elsewhere` returns its request as that one gets it."""

    server_of: Callable[[int], int]
    elsewhere: Callable[[Request, int], Request]

    def __post_init__(self) -> None:
        self._request_at = lru_cache(_KNOWN)(self.elsewhere)

    def start(self, call: Call) -> None:
        server = self.server_of(call.key)
        self.inner.start(call._replace(request=self._request_at(call.request, server)) if server else call)
