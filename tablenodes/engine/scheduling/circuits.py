"""Whose fault refusals are, by what was seen so far: their rows', a model's, the key's or account's, or everybody's.

Nothing of it has a clock: a circuit is suspected after so many distinct rows were refused alike, and opens only if
fresh rows from further on in the table, its leap probes, are refused alike too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import policy
from ..outcomes.rules import Failure
from .stops import unsettled

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..outcomes.judge import Verdict

_STOPS = {"auth": "auth", "access": "auth", "page": "auth", "payment": "quota", "quota": "quota", "setup": "setup"}
"""The reason to stop by what a failure counts against."""
_OF_ROWS = frozenset(("access", "page", "payment"))
"""What may be a row's own fault too: a key that is refused is refused for all rows, and nothing else comes of them."""
_ALIKE = "alike"
_NUMBERED = re.compile(r"[^\s:,;()]*\d[^\s:,;()]*")
_SIZED = re.compile(r"token|length|long|large|size|character|context", re.IGNORECASE)


def sign_of(verdict: Verdict) -> str | None:
    """Return what makes refusals alike: what they count against, else the server's words; None for no refusal.

    Numbers in the words count for nothing, but where they seem to tell the size of what was asked.
    """
    if verdict.circuit in _STOPS:
        return verdict.circuit
    if verdict.circuit is not None or verdict.kind is not Failure.FINAL or verdict.outcome != "http_error":
        return None
    words = f"{verdict.reason} {verdict.message}"
    return words if _SIZED.search(words) and len(_NUMBERED.findall(words)) > 1 else _NUMBERED.sub("#", words)


class Trial:
    """A suspicion that is looked into: `probes` more leap probes that are refused alike confirm it.

    None: so many as it takes to come to the last row, and a few. `probe` is the row that is probing right now.
    """

    __slots__ = ("probe", "probes", "reason", "sign")

    def __init__(self, sign: str, reason: str, probes: int | None) -> None:
        self.sign, self.reason, self.probes = sign, reason, probes
        self.probe: int | None = None


class Circuits:
    """Counts refusals that may be about more than their row.

    `trial` is the suspicion that is looked into, if any; the rows of `missing_models` need not be sent. `held` are the
    rows whose ends are not known yet: they were refused, and nobody was answered since. `words` are what the server
    said in the last refusal that counted.
    """

    __slots__ = (
        *("_alike", "_answered_before", "_confirmed", "_known_words", "_missing", "_most_alike", "answered", "held"),
        *("missing_models", "trial", "words"),
    )

    def __init__(self, most_alike: int | None, answered_before: Callable[[], bool]) -> None:
        self._most_alike = most_alike
        self._answered_before = answered_before
        self._alike: dict[str, dict[int, float]] = {}  # by sign: the rows, and when they were refused
        self._known_words: set[str] = set()
        self._missing: dict[str, int] = {}
        self.answered = False
        self.held: dict[int, tuple[Verdict, float]] = {}  # what the refusal means, and when it came
        self._confirmed: str | None = None
        self.missing_models: set[str] = set()
        self.trial: Trial | None = None
        self.words = ""

    @property
    def is_counting(self) -> bool:
        """Whether a success has anything to put back."""
        return bool(self._missing or self._alike or self.held)

    @property
    def suspects_rows(self) -> bool:
        """Whether nobody was answered yet, and rows were refused for what may be the key's fault or their own."""
        return not self.answered and not self._alike.keys().isdisjoint(_OF_ROWS)

    def succeeded(self, model: str | None, started_at: float) -> None:
        """Count a success: what was refused before its call started was refused for itself; and the model is there."""
        self.answered = True
        if self.trial is not None and min(self._alike.get(self.trial.sign, {0: 0.0}).values()) <= started_at:
            self._acquit()
        if self._alike:
            later = {
                sign: {key: at for key, at in rows.items() if at > started_at} for sign, rows in self._alike.items()
            }
            self._alike = {sign: rows for sign, rows in later.items() if rows}
        if self._missing and model is not None:
            self._missing.pop(model, None)

    def refused(self, key: int, verdict: Verdict, model: str | None, window: int, now: float) -> bool:
        """Count a refusal; return whether the row's end is held until it is known whose fault it is."""
        if verdict.circuit == "model":
            self._refused_model(model)
        sign = sign_of(verdict)
        if sign not in _STOPS:  # a row that is refused for something else got past the key and the account
            if self.trial is not None and self.trial.sign in _OF_ROWS:
                self._acquit()
            for other in _OF_ROWS:
                self._alike.pop(other, None)
        if sign is None or sign in self._known_words:
            return False
        self._alike.setdefault(sign, {})[key] = now
        holds = sign in _STOPS and len(self.held) < policy.MOST_SKIPPED
        if holds:
            self.held[key] = verdict, now
        if self.trial is None:
            self._suspect(sign, window)
        if self.trial is not None and self.trial.sign == sign:
            self.words = verdict.message
        return holds

    def _refused_model(self, model: str | None) -> None:
        if model is not None:
            self._missing[model] = self._missing.get(model, 0) + 1
            if self._missing[model] >= policy.REFUSALS:
                self.missing_models.add(model)

    def _suspect(self, sign: str, window: int) -> None:
        """Begin to look into a suspicion, where enough rows were refused alike."""
        rows = len(self._alike[sign])
        if self.answered:
            if sign in _STOPS and rows >= max(policy.REFUSALS_AMONG_ANSWERS, window):
                self.trial = Trial(sign, _STOPS[sign], None)
        elif sign in _STOPS and sign != "page":
            if rows >= policy.REFUSALS:
                self.trial = Trial(sign, _STOPS[sign], 2 if sign in _OF_ROWS else 1)
        elif self._most_alike is not None and rows >= self._most_alike:
            if self._answered_before():
                self._known_words.add(sign)
            else:
                self.trial = Trial(sign, _ALIKE, policy.PROBES_ALIKE)

    def probed(self, verdict: Verdict, *, was_last: bool) -> str | None:
        """Record how the trial's probe ended that is no success; return the reason to stop, if it is confirmed."""
        trial = self.trial
        if trial is None:
            return None
        trial.probe = None
        if verdict.kind is not Failure.FINAL:
            return None  # it says nothing: another row is asked
        if sign_of(verdict) != trial.sign:
            self._acquit()
            return None
        if trial.probes is None:
            if was_last:
                trial.probes = policy.PROBES_AT_END * (2 if trial.sign in _OF_ROWS else 1)
            return None
        trial.probes -= 1
        if trial.probes > 0:
            return None
        self.confirm()
        return trial.reason

    def confirm(self) -> None:
        """Believe the suspicion that is looked into."""
        if self.trial is not None:
            self._confirmed = self.trial.sign

    def _acquit(self) -> None:
        """End a trial: the refusals were their rows' own. Words that were looked into are never looked into again."""
        trial, self.trial = self.trial, None
        if trial is not None:
            self._alike.pop(trial.sign, None)
            if trial.reason == _ALIKE:
                self._known_words.add(trial.sign)

    def cleared(self, started_at: float) -> dict[int, Verdict]:
        """Return, once, the rows that were refused before a call started that was answered: the key is good."""
        cleared = {key: verdict for key, (verdict, at) in self.held.items() if at <= started_at}
        for key in cleared:
            del self.held[key]
        return {
            key: verdict._replace(outcome="http_error") if verdict.circuit in _OF_ROWS else verdict
            for key, verdict in cleared.items()
        }

    def take_held(self) -> dict[int, Verdict]:
        """Return, once, the rows that are held still; nothing is known of those of a streak that stopped the run."""
        held, self.held = self.held, {}
        streak = self._confirmed if self.answered else None
        return {
            key: unsettled(verdict) if streak is not None and verdict.circuit == streak else verdict
            for key, (verdict, _) in held.items()
        }
