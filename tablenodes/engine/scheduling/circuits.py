"""When to give up on a key, an account or a model."""

from __future__ import annotations

from .. import policy

_STOPS = {"auth": "auth", "payment": "quota", "quota": "quota"}


class Circuits:
    """Counts refusals that are about more than their row.

    Attributes
    ----------
    missing_models : set of str
        Models that the server does not know; their rows need not be sent.
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
        """Count a refusal; give the reason to stop the whole run, if this is one."""
        if circuit == "model":
            if model is not None:
                self._missing[model] = self._missing.get(model, 0) + 1
                if self._missing[model] >= policy.REFUSALS:
                    self.missing_models.add(model)
            return None
        self._refusals += 1
        opened = circuit == "quota" or self._refusals >= policy.REFUSALS
        return _STOPS[circuit] if opened else None
