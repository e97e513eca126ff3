"""When a run stops for all its rows, or for those of one model, and why in words."""

from __future__ import annotations

from ...errors import EndedError, TransportError
from .. import policy

_STOPS = {"auth": "auth", "payment": "quota", "quota": "quota"}
"""The reason to stop by what a failure counts against."""
NOT_SENT_BECAUSE = {
    "auth": "the server refused the API key, or needs one where none was sent",
    "quota": "the account's quota is spent",
    "rate_limited": "the server asks to wait longer than this run does; run again later",
    "outage": "the server served no request; run again later",
    "max_requests": "max_requests is reached",
    "token_budget": "token_budget is spent",
    "interrupted": "the run was interrupted",
    "journal": "the journal failed",
    "transport": "the transport has failed",
    "failure": "the run had to end",
}
"""Why the rest of a run's rows is not sent, by the reason for which it has stopped."""


class Circuits:
    """Counts refusals that are about more than their row.

    The rows of `missing_models`, which the server does not know, need not be sent.
    """

    __slots__ = ("_missing", "_refusals", "missing_models")

    def __init__(self) -> None:
        self._refusals = 0
        self._missing: dict[str, int] = {}
        self.missing_models: set[str] = set()

    def succeeded(self, model: str | None) -> None:
        """Count a success: the key is good, and so is the model."""
        self._refusals = 0
        if self._missing and model is not None:
            self._missing.pop(model, None)

    @property
    def is_counting(self) -> bool:
        """Whether a success has anything to put back."""
        return bool(self._missing)

    def refused(self, circuit: str, model: str | None) -> str | None:
        """Count a refusal; return the reason to stop the whole run, if this is one."""
        if circuit == "model":
            if model is not None:
                self._missing[model] = self._missing.get(model, 0) + 1
                if self._missing[model] >= policy.REFUSALS:
                    self.missing_models.add(model)
            return None
        self._refusals += 1
        opened = circuit == "quota" or self._refusals >= policy.REFUSALS
        return _STOPS[circuit] if opened else None


def not_sent_because(stopped: str) -> str:
    """Return why a row was not sent, by the reason for which the scheduler has stopped."""
    return f"not sent: {NOT_SENT_BECAUSE.get(stopped, stopped)}"


def transport_failed(error: BaseException) -> EndedError:
    """Return the error that ends a run, for whatever came out of a transport."""
    if isinstance(error, EndedError):
        return error
    ended = TransportError(f"the transport failed with {type(error).__name__}")
    ended.__cause__ = error
    return ended
