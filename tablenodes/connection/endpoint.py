"""Endpoint: a connection whose environment has been read; what one run talks to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from ..addresses import origin
from ..engine.calls import Request
from ..engine.transports import transport_class
from ..engine.transports.wrapper import Borrowed
from ..secret import Secret
from ..settings import Timeout
from .connection import is_custom

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.calls import Transport
    from ..settings import Limits
    from .connection import Connection


@dataclass(frozen=True)
class Endpoint:
    """A connection whose environment has been read: what one run talks to.

    Attributes
    ----------
    base_url : str
        Without a slash at its end.
    headers : tuple of (str, str or Secret)
        Every header of ours but those of the body.
    connection : Connection
        What it was made from.
    """

    base_url: str
    headers: tuple[tuple[str, str | Secret], ...]
    connection: Connection

    @property
    def slots(self) -> int | None:
        """The most requests in flight that make sense, or None."""
        return None if self.connection.local_model is None else self.connection.local_model.slots

    @property
    def defaults(self) -> dict[str, str]:
        """Request properties that this server supplies where nobody sets them."""
        return default_properties(self.connection)

    @property
    def timeout(self) -> Timeout:
        """The timeouts of an attempt."""
        timeout = self.connection.timeout
        return timeout if isinstance(timeout, Timeout) else Timeout()

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must never be in a result: the keys as they may be echoed."""
        found = []
        for value in (*dict(self.headers).values(), *(self.connection.query or {}).values()):
            if isinstance(value, Secret):
                text = value.reveal()
                found.append(text.removeprefix("Bearer ").encode("latin-1"))
        return tuple(secret for secret in found if len(secret) >= 6)

    @property
    def place(self) -> str:
        """The server as ``HOST:PORT``."""
        _, host, port = origin(self.base_url)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def sends_key(self) -> bool:
        """Whether a key goes with every request, or may, for all that is known of a session or transport."""
        values = (*dict(self.headers).values(), *(self.connection.query or {}).values())
        unknown = self.connection.session is not None or is_custom(self.connection.transport)
        return unknown or any(isinstance(value, Secret) for value in values)

    def request(self, method: str, path: str) -> Request:
        """Give what all calls to one path have in common."""
        query = {name: _plain(value) for name, value in (self.connection.query or {}).items()}
        url = f"{self.base_url}{path}{'?' + urlencode(query) if query else ''}"
        revealed = tuple((name, _plain(value)) for name, value in self.headers)
        return Request(method, url, (*revealed, ("Content-Type", "application/json")))

    def identity(self, path: str) -> str:
        """Give the address by which a journal knows a path: the embedded model's port is another one at each run."""
        model = self.connection.local_model
        if model is None:
            return self.request("POST", path).url
        return f"embedded://model/{quote(model.path or default_properties(self.connection)['model'])}{path}"

    def transport(
        self, limits: Limits, may_send: Callable[[int], bool] | None = None, *, stream: bool = False
    ) -> Transport:
        """Open what carries the bytes, and with `stream` tells of every piece; whoever asks for it closes it."""
        connection = self.connection
        name = connection.transport or ("curl" if connection.session is None else "requests")
        if not isinstance(name, str):
            return Borrowed(name)
        options: dict[str, Any] = {
            "timeout": self.timeout,
            "body_bytes": limits.body_bytes,
            "concurrency": limits.concurrency,
            "proxy": None if connection.proxy is None else _plain(connection.proxy),
            "ca_bundle": connection.ca_bundle,
            "may_send": may_send,
            "stream": stream,
        }
        if connection.session is not None:
            options["session"] = connection.session
        opened: Transport = transport_class(name)(**options)
        if connection.local_model is None:
            return opened
        from ..local import FunctionCalls, Watched  # noqa: PLC0415 - the embedded model is an extra

        return FunctionCalls(opened if connection.server is None else Watched(opened, connection.server))


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def default_properties(connection: Connection | None) -> dict[str, str]:
    """Give the request properties that a connection supplies where nobody sets them."""
    if connection is None or connection.local_model is None:
        return {}
    from ..local import DEFAULT_MODEL  # noqa: PLC0415 - the embedded model is an extra

    return {"model": DEFAULT_MODEL}
