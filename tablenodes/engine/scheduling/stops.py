"""Why a run stops for all its rows, or waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...errors import EndedError, TransportError
from ..outcomes.rules import Failure
from ..sink import NOT_SENT

if TYPE_CHECKING:
    from ..outcomes.judge import Verdict

NOT_SENT_BECAUSE = {
    "auth": "the server refused the API key, or needs one where none was sent",
    "quota": "the account's quota is spent",
    "setup": "the server cannot be reached as it was set up",
    "alike": "no row was answered, and all that were sent were refused alike",
    "not_json": (
        "none of the answers was JSON, so the server ignores what an answer is to be (response_format, or a tool); "
        "use another answer_mode, such as json_object or tool, or another model"
    ),
    "dns": "the server's name was not found",
    "rate_limited": "the server asks to wait longer than this run does; run again later",
    "outage": "the server served no request; run again later",
    "max_requests": "max_requests is reached",
    "token_budget": "token_budget is spent",
    "max_cost": "max_cost is spent",
    "interrupted": "the run was interrupted",
    "journal": "the journal failed",
    "transport": "the transport has failed",
    "failure": "the run had to end",
    "journal_only": "the journal has no answer to it, and nothing was to be sent",
}
"""Why the rest of a run's rows is not sent, by the reason for which it has stopped."""


class Wait(NamedTuple):
    """What a run waits for that is no answer.

    `reason` is ``outage``: the server answers nobody, and is probed; ``name``: its name was never found;
    ``pause``: it asks all to wait; ``pace``: the
    settings or the server allow only a request a while; ``retry``: all that is left is tried again. `until` is when it
    is over, on the scheduler's clock; None where nobody knows. `outcome` is how the last row failed that goes again,
    `told` why, mostly in the server's words; `rate` the requests a second that the server serves, where it refused more
    and that is known. `line` is the number of the connection that it is about.
    """

    reason: str
    until: float | None = None
    outcome: str | None = None
    told: str = ""
    rate: float | None = None
    line: int = 0


def unsettled(verdict: Verdict) -> Verdict:
    """Return what a refusal means while nobody knows whose fault it is: another run may try the row again."""
    return verdict._replace(outcome=NOT_SENT, kind=Failure.NOT_EXECUTED)


def not_sent_because(stopped: str, words: str = "") -> str:
    """Return why a row was not sent: the reason for which the scheduler has stopped, and the last refusal's words."""
    because = NOT_SENT_BECAUSE.get(stopped, stopped)
    return f"not sent: {because}: {words}" if words else f"not sent: {because}"


def transport_failed(error: BaseException) -> EndedError:
    """Return the error that ends a run, for whatever came out of a transport."""
    if isinstance(error, EndedError):
        return error
    ended = TransportError(f"the transport failed with {type(error).__name__}")
    ended.__cause__ = error
    return ended
