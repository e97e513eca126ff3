"""What transports have in common: the settings of our own, and transports around another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ...settings import Timeout
from ..calls import Call, Carrier, Event, Transport


@dataclass(kw_only=True, eq=False, repr=False)
class Carrying:
    """The settings of a transport of ours.

    `concurrency` is calls in flight at a time; `capacity` is lower where the machine allows fewer sockets. Of `timeout`
    `connect` is used, and `idle`, which ends an event stream in which nothing came for so long. `body_bytes` is the
    longest body, decompressed; of a longer one that much is kept. `proxy` and `ca_bundle` (a file or folder of CA
    certificates) are those of the environment where they are None. `may_send` is asked with a call's key whenever its
    request is about to be sent, also by libcurl's own silent repeat on a fresh connection; False refuses that send.
    `clock` is monotonic seconds. With `stream`, every piece of a body comes as a `Chunk` too; else each of a stream's.
    """

    timeout: Timeout
    body_bytes: int
    concurrency: int
    proxy: str | None = None
    ca_bundle: str | None = None
    may_send: Callable[[int], bool] | None = None
    clock: Callable[[], float] = time.monotonic
    stream: bool = False


@dataclass(eq=False, repr=False)
class Wrapper:
    """A transport around another one, to which it passes everything on; a subclass changes what it must."""

    inner: Transport

    @property
    def capacity(self) -> int | None:
        return self.inner.capacity

    def start(self, call: Call) -> None:
        self.inner.start(call)

    def cancel(self, key: int) -> None:
        self.inner.cancel(key)

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        self.inner.end(key, fault, message)

    def wait(self, seconds: float) -> list[Event]:
        return self.inner.wait(seconds)

    def close(self) -> None:
        self.inner.close()


class Borrowed:
    """A user's own transport, used as it is: it may lack `capacity` and `end`, and only its user closes it."""

    def __init__(self, inner: Carrier) -> None:
        self.start, self.cancel, self.wait = inner.start, inner.cancel, inner.wait
        self._inner = inner

    @property
    def capacity(self) -> int | None:
        return getattr(self._inner, "capacity", None)

    def end(self, key: int, fault: str | None = None, message: str = "") -> None:
        """End a call, if it can; else the call goes on until the server or its time ends it."""
        end = getattr(self._inner, "end", None)
        if end is not None:
            end(key, fault, message)

    def close(self) -> None:
        """Do nothing."""
