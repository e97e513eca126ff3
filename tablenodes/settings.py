"""How a run is carried out: timeouts, limits and retries, as frozen values."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from .arguments import explaining
from .errors import SettingError

MIB = 2**20
_DAY = 86_400
_MONTH = 30 * _DAY
_ALIKE = "Stop if the server refuses this many rows alike and has answered none."
_IN_ALL = "Requests that may be sent in all, retries and the journal's earlier runs among them."
_USD = "USD that may be spent in all, the journal's earlier runs among them."
_SHORTEST = 0.001
WRONG = "wrong_setting"


class Range(NamedTuple):
    """The numbers that a setting may be, and what it is in one line."""

    low: float
    high: float
    description: str = ""


class _Ranged:
    """Settings that are numbers, each of its range."""

    _given: ClassVar[frozenset[str]] = frozenset()  # the names of the fields that were given

    def __post_init__(self) -> None:
        """Raise `SettingError` for the first field that is no number of its range."""
        settings: Any = type(self)
        for name, known in choices(settings).items():
            if getattr(self, name) not in known:
                words = " or ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in known)
                raise SettingError(f"{settings.__name__}.{name} must be {words}", code=WRONG, values={"must": words})
        for name, (kind, (low, high, _)) in ranges(settings).items():
            value, (number, *optional) = getattr(self, name), get_args(kind) or (kind,)
            if value is None and optional:
                continue
            kind_of = numbers.Integral if number is int else numbers.Real  # NumPy's numbers are registered there
            fits = isinstance(value, kind_of) and not isinstance(value, bool) and math.isfinite(value)
            if not fits or not low <= value <= high:
                what = f"{'a whole number' if number is int else 'a number'} from {low:,} to {high:,}"
                what += ", or None" if optional else ""
                raise SettingError(f"{settings.__name__}.{name} must be {what}", code=WRONG, values={"must": what})


S = TypeVar("S", bound=_Ranged)


def _remembering(kind: type[S]) -> type[S]:
    """Have a value remember which of its fields were given: the others may be said elsewhere."""
    initialize: Callable[..., None] = kind.__init__

    @functools.wraps(initialize)
    def __init__(self: S, *given: Any, **named: Any) -> None:  # noqa: N807
        initialize(self, *given, **named)
        known = {each.name: each.default for each in fields(kind)}  # type: ignore[arg-type] # it is a dataclass
        names = {*list(known)[: len(given)], *named}
        if len(names) == len(known):  # as `dataclasses.replace` says them, which gives each
            names = {name for name in names if getattr(self, name) != known[name]}
        object.__setattr__(self, "_given", frozenset(names))

    kind.__init__ = __init__  # type: ignore[assignment,method-assign]
    return kind


def altered(settings: S, **more: Any) -> S:
    """Return settings with some fields changed; of the others, those that were not given still are not."""
    return type(settings)(**({name: getattr(settings, name) for name in settings._given} | more))  # noqa: SLF001


@overload
def beneath(settings: S, others: S | None) -> S: ...
@overload
def beneath(settings: S | None, others: S | None) -> S | None: ...
def beneath(settings: S | None, others: S | None) -> S | None:
    """Return settings in which each field that was not given is as `others` say it."""
    if settings is None or others is None:
        return others if settings is None else settings
    named = ((each, name) for each in (others, settings) for name in each._given)  # noqa: SLF001
    return type(settings)(**{name: getattr(each, name) for each, name in named})


@explaining("__init__")
@_remembering
@dataclass(frozen=True)
class Timeout(_Ranged):
    """Seconds that one attempt may take, each between 0.001 and 86,400; others are a `SettingError`.

    Parameters
    ----------
    connect : float
        Until the connection stands, TLS included.
    total : float
        From the start to the last byte.
    idle : float
        In a stream, from its first byte on: between any two bytes.
    payload_idle : float
        In a stream, from its first byte on: between two events with content.
    """

    connect: Annotated[float, Range(_SHORTEST, _DAY, "Seconds until a connection stands.")] = 10
    total: Annotated[float, Range(_SHORTEST, _DAY, "Seconds that one attempt may take in all.")] = 600
    idle: Annotated[float, Range(_SHORTEST, _DAY, "Seconds between two bytes of a stream.")] = 60
    payload_idle: Annotated[float, Range(_SHORTEST, _DAY, "Seconds between two pieces of a streamed answer.")] = 300


@explaining("__init__")
@_remembering
@dataclass(frozen=True)
class Limits(_Ranged):
    """What a run may use at most; a number out of its range is a `SettingError`.

    Parameters
    ----------
    concurrency : int
        Requests in flight at a time, 1 to 10,000.
    requests_per_minute, tokens_per_minute : float, optional
        The pace that a run keeps; None for no pace of its own.
    max_requests : int, optional
        Requests that may be sent in all, retries and earlier runs of the same journal among them.
    token_budget : int, optional
        Tokens of this run after which nothing new is sent; those of what is in flight then come on top.
    max_cost : float, optional
        USD that may be spent in all, with everything that the journal holds, also of other servers. Requests in flight
        count with the most that they can cost: set ``max_tokens``, so that many can be in flight. It is exceeded by one
        request at most. A model without a price is refused before anything is sent (``Connection(prices=)``).
    stop_after_alike : int, optional
        Stop the run if the server refuses this many rows alike, then three rows from further on too, and has answered
        none, here or in the journal's earlier runs; None for never. The same holds if no answer to ``answer=`` is JSON.
    body_bytes : int
        The longest answer in bytes, decompressed; a longer one is cut there. Also the longest texts of a row's
        request: a row with longer ones is ``too_large``, and they are not made.
    grace : float
        Seconds that requests in flight are given after Ctrl-C.
    warm_up : {"auto", False}
        Where many rows begin with the same long text (instructions, tools, a schema: some 4,000 characters), one goes
        first, and the rest as soon as its answer begins, after 5 seconds at the latest: by then the server's prompt
        cache has that text. False sends all at once.
    """

    concurrency: Annotated[int, Range(1, 10_000, "Requests in flight at a time.")] = 64
    requests_per_minute: Annotated[float | None, Range(0.001, 1e9, "The pace of requests that a run keeps.")] = None
    tokens_per_minute: Annotated[float | None, Range(0.001, 1e12, "The pace of tokens that a run keeps.")] = None
    max_requests: Annotated[int | None, Range(0, 2**53, _IN_ALL)] = None
    token_budget: Annotated[int | None, Range(0, 2**53, "Tokens after which nothing new is sent.")] = None
    max_cost: Annotated[float | None, Range(0, 10**9, _USD)] = None
    stop_after_alike: Annotated[int | None, Range(1, 2**53, _ALIKE)] = 20
    body_bytes: Annotated[int, Range(1, 2**40, "The longest answer, and the longest texts of a request.")] = 64 * MIB
    grace: Annotated[float, Range(0, _DAY, "Seconds that requests in flight are given after Ctrl-C.")] = 30
    warm_up: Annotated[Literal["auto", False], "One row goes first where many begin with the same long text."] = "auto"


@explaining("__init__")
@_remembering
@dataclass(frozen=True)
class Retry(_Ranged):
    """How often a row is tried again, by what went wrong; a number out of its range is a `SettingError`.

    Parameters
    ----------
    not_executed : int
        After a failure that reached no server (DNS, connect, a reused connection that was dead).
    throttled : int
        After 429, 529, or 503 with a ``Retry-After``. Counts only while the server serves nobody.
    server_error : int
        After 408, 409, 425, 500, 502, 503, 504 and 520 to 524.
    ambiguous : int
        After a failure that the server may have executed and billed (a read timeout, a reset, a cut answer).
        0 means at most once: then server errors are not repeated either.
    unusable : int
        After an answer that is not what ``answer=`` asks for: each is paid for, and the last one counts.
    max_attempts : int
        Attempts of one row over all kinds of failure.
    row_deadline : float
        Seconds from a row's first attempt to its last. A server that asks everybody to wait longer than that, again
        and again, ends the run.
    max_retry_after : float
        The longest ``Retry-After`` in seconds that is waited for, and the longest until an allowance that is told in
        ``x-ratelimit-*`` headers is renewed, by a server that refuses. What is told to wait longer ends there, and
        nothing more is sent.
    outage_patience : float
        Seconds for which a server that answers nobody is probed before the rest is given up.
    """

    not_executed: Annotated[int, Range(0, 1000, "Times after a failure that reached no server.")] = 5
    throttled: Annotated[int, Range(0, 1000, "Times after 429, while the server serves nobody.")] = 10
    server_error: Annotated[int, Range(0, 1000, "Times after an error of the server, such as 500.")] = 4
    ambiguous: Annotated[int, Range(0, 1000, "Times after a failure that may be billed; 0: send once at most.")] = 1
    unusable: Annotated[int, Range(0, 1000, "Times after an answer that does not fit; each is paid for.")] = 0
    max_attempts: Annotated[int, Range(1, 10_000, "Attempts of one row in all.")] = 12
    row_deadline: Annotated[float, Range(0, _MONTH, "Seconds from a row's first attempt to its last.")] = 3600
    max_retry_after: Annotated[float, Range(0, _MONTH, "The longest Retry-After that is waited for.")] = 300
    outage_patience: Annotated[float, Range(0, _MONTH, "Seconds until a server that answers nobody is given up.")] = 600


@lru_cache(maxsize=8)
def ranges(kind: Any) -> dict[str, tuple[Any, Range]]:
    """Return the type and the range of each number among the fields of `Timeout`, `Limits` or `Retry`."""
    return {name: parts for name, parts in _annotations(kind).items() if isinstance(parts[-1], Range)}


def _annotations(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Return each field's type, and what is said of it."""
    hints = get_type_hints(kind, include_extras=True)
    return {each.name: get_args(hints[each.name]) for each in fields(kind)}


@lru_cache(maxsize=8)
def choices(kind: Any) -> dict[str, tuple[Any, ...]]:
    """Return what each field may be that is no number."""
    hints = get_type_hints(kind)
    return {each.name: get_args(hints[each.name]) for each in fields(kind) if get_origin(hints[each.name]) is Literal}


def described(kind: Any) -> dict[str, str]:
    """Return what each field of `Timeout`, `Limits` or `Retry` is, in one line."""
    told = {name: meta[-1] for name, (_, *meta) in _annotations(kind).items()}
    return {name: each.description if isinstance(each, Range) else each for name, each in told.items()}
