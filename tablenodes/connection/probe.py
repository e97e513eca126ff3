"""Probe: whether a server can be reached and accepts the key, by a request that costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Literal

import orjson

from ..engine.calls import Answer, Call
from ..engine.outcomes.judge import judge
from ..errors import ConnectionSettingError
from ..settings import Limits, Timeout
from .connection import Connection
from .endpoint import Endpoint, opened

SECONDS = 5.0
_LIMITS = Limits(concurrency=1, body_bytes=4 * 2**20)
_REFUSED = (401, 403)
_NO_LIST = (404, 405, 501)

Outcome = Literal["usable", "refused", "unreachable", "not_set"]


@dataclass(frozen=True)
class Probe:
    """What came of a probe, in a word and in words."""

    outcome: Outcome
    message: str


def probe(connection: Connection, path: str = "/models") -> Probe:
    """Ask a server for its models, once and with the key; return what came, after `SECONDS` at the latest.

    No request of this kind is billed. The embedded model is not started. Of several servers each is asked.
    """
    if len(connection.base_urls) > 1:
        return _probe_each([replace(connection, base_url=each) for each in connection.base_urls], path)
    if connection.local_model is not None and connection.base_url is None:
        return Probe("usable", "runs on this machine, where it is installed; see tablenodes model status")
    hurried = replace(connection, timeout=Timeout(connect=SECONDS, total=SECONDS))
    try:
        with opened(hurried) as endpoint:
            return _read(_answer(endpoint, path), endpoint)
    except ConnectionSettingError as error:
        variable = error.values.get("variable")
        return Probe("not_set", f"not checked: {variable} is not set" if variable else str(error))


def _probe_each(connections: Sequence[Connection], path: str) -> Probe:
    """Return what came of several servers, each with its address; the first that cannot be used decides."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - most have one server

    with ThreadPoolExecutor(len(connections)) as threads:
        found = [*threads.map(partial(probe, path=path), connections)]
    words = "; ".join(f"{each.base_url} {one.message}" for each, one in zip(connections, found, strict=True))
    return Probe(next((one.outcome for one in found if one.outcome != "usable"), "usable"), words)


def _answer(endpoint: Endpoint, path: str) -> Answer:
    call, until = Call(0, endpoint.request("GET", path), b"", SECONDS), monotonic() + SECONDS
    transport = endpoint.transport(_LIMITS)
    try:
        transport.start(call)
        while (left := until - monotonic()) > 0:
            for event in transport.wait(left):
                if isinstance(event, Answer):
                    return event
    finally:
        transport.close()
    return Answer(0, None, b"", b"", "timeout_total")


def _read(answer: Answer, endpoint: Endpoint) -> Probe:
    status = answer.status
    told = judge(answer, needs_choices=False, secrets=endpoint.secrets).message
    if status is None:
        return Probe("unreachable", f"not reachable: {told}")
    if status in _REFUSED:
        key = "the key is refused" if endpoint.sends_key else "it needs a key"
        return Probe("refused", f"{key} (HTTP {status}): {told}")
    if status in _NO_LIST:
        return Probe("usable", f"reachable; it does not list its models (HTTP {status})")
    if not 200 <= status < 300:
        return Probe("unreachable", f"reachable, but it answers with HTTP {status}: {told}")
    return Probe("usable", f"reachable{_listed(answer.body, endpoint.connection)}")


def _listed(body: bytes, connection: Connection) -> str:
    """Return how many models a server lists, and whether the profile's own is among them."""
    try:
        models = [each["id"] for each in orjson.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        return ""
    own = connection.profile and connection.profile.model
    lacks = f", but not {own!r}" if own and own not in models else ""
    return f", lists {len(models):,} model{'' if len(models) == 1 else 's'}{lacks}"
