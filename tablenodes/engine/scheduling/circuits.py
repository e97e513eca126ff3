"""Whose fault refusals are, by what was seen so far: their rows', a model's, the key's or account's, or everybody's.

Nothing of it has a clock: a circuit is suspected after so many distinct rows were refused alike, and opens only if
fresh rows from further on in the table, its leap probes, are refused alike too.
"""

from __future__ import annotations

import math
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
_OF_ALL = frozenset(_STOPS) - _OF_ROWS
_ALIKE, _NOT_JSON, _MODEL = "alike", "not_json", "model"
_OF_MODEL = "\n"  # begins the sign of a missing model; no words of a server do
_NUMBERED = re.compile(r"[^\s:,;()]*\d[^\s:,;()]*")
_SIZED = re.compile(r"token|length|long|large|size|character|context", re.IGNORECASE)


def sign_of(verdict: Verdict, model: str | None = None) -> str | None:
    """Return what makes refusals alike: what they count against, else the server's words; None for no refusal.

    Numbers in the words count for nothing, but where they seem to tell the size of what was asked. An answer that is no
    JSON where that was asked for is a refusal to heed the request.
    """
    if verdict.circuit in _STOPS:
        return verdict.circuit
    if verdict.circuit == _MODEL:
        return None if model is None else _sign_of_model(model)
    if verdict.kind is Failure.UNUSABLE:
        return _NOT_JSON if verdict.reason == _NOT_JSON else None
    if verdict.circuit is not None or verdict.kind is not Failure.FINAL or verdict.outcome != "http_error":
        return None
    words = f"{verdict.reason} {verdict.message}"
    return words if _SIZED.search(words) and len(_NUMBERED.findall(words)) > 1 else _NUMBERED.sub("#", words)


def reason_of(sign: str) -> str:
    """Return the reason to stop for refusals of a sign."""
    return _STOPS.get(sign, _NOT_JSON if sign == _NOT_JSON else _ALIKE)


def _sign_of_model(model: str) -> str:
    return f"{_OF_MODEL}{model}"


def _refuted_since(sign: str, started_at: float, model: str | None, *, is_json: bool) -> float:
    """Return until when a success shows that what was refused alike was refused for itself."""
    if sign == _NOT_JSON:
        return math.inf if is_json else -math.inf
    is_other = sign.startswith(_OF_MODEL) and (model is None or sign != _sign_of_model(model))
    return -math.inf if is_other else started_at


class Trial:
    """A suspicion that is looked into: `probes` more leap probes that are refused alike confirm it.

    None: so many as it takes to come to the last row, and a few. `probe` is the row that is probing right now, `model`
    the one that may be missing. At last rows that wait are asked, for what they failed of was something else;
    `asks_waiting` says so, `asked` how many were.
    """

    __slots__ = ("asked", "asks_waiting", "model", "probe", "probes", "reason", "sign")

    def __init__(self, sign: str, reason: str, probes: int | None, model: str | None = None) -> None:
        self.sign, self.reason, self.probes, self.model = sign, reason, probes, model
        self.probe: int | None = None
        self.asks_waiting = False
        self.asked = 0


class Circuits:
    """Counts refusals that may be about more than their row.

    `trial` is the suspicion that is looked into, if any; the rows of `missing_models` need not be sent. `held` are the
    rows whose ends are not known yet: they were refused, and nobody was answered since. `words` are what the server
    said in the last refusal that counted. `leaps` were made since the last success.
    """

    __slots__ = (
        *("_alike", "_answered_before", "_at_end", "_confirmed", "_known", "_models", "_most_alike", "answered"),
        *("held", "leaps", "missing_models", "trial", "words"),
    )

    def __init__(self, most_alike: int | None, answered_before: Callable[[], bool]) -> None:
        self._most_alike = most_alike
        self._answered_before = answered_before
        self._alike: dict[str, dict[int, float]] = {}  # by sign: the rows, and when they were refused
        self._known: set[str] = set()  # signs that are never looked into again
        self._models: set[str] = set()  # those that have answered
        self._confirmed: str | None = None
        self._at_end = False  # whether the last leap found the last row
        self.answered = False
        self.held: dict[int, tuple[Verdict, float]] = {}  # what the refusal means, and when it came
        self.leaps = 0
        self.missing_models: set[str] = set()
        self.trial: Trial | None = None
        self.words = ""

    @property
    def is_counting(self) -> bool:
        """Whether a success has anything to put back."""
        return bool(self._alike or self.held or self.trial)

    @property
    def suspected_model(self) -> str | None:
        """The model of which the next leap is to find a row; None where it may be any row."""
        return None if self.trial is None else self.trial.model

    @property
    def asks_waiting(self) -> bool:
        """Whether a row that waits is to probe next."""
        return self.trial is not None and self.trial.asks_waiting

    def room(self, room: int, next_due: float | None, now: float) -> int:
        """Return how many of `room` calls may go: one probe at a time; rows that wait are asked from `next_due` on."""
        if self.trial is None:
            return room
        waits = self.trial.asks_waiting and next_due is not None and next_due > now
        return min(room, int(self.trial.probe is None and not waits))

    @property
    def suspects_rows(self) -> bool:
        """Whether nobody was answered yet, and rows were refused for what may be their own fault too."""
        return not self.answered and any(sign in _OF_ROWS or sign.startswith(_OF_MODEL) for sign in self._alike)

    def misses(self, key: int, model: str) -> bool:
        """Check whether a call need not be sent, for its server does not know the model."""
        return model in self.missing_models

    def leapt(self, *, found: bool, is_last: bool) -> None:
        """Record that a leap was made, and whether it came to the last row; without one, no row of a model is left."""
        self.leaps += 1
        self._at_end = is_last
        if not found and self.trial is not None and self.trial.model is not None:
            self.believe()

    def succeeded(self, key: int, verdict: Verdict, model: str | None, started_at: float) -> None:
        """Count a success: what was refused before its call started was refused for itself; and the model is there."""
        self.answered = True
        is_json = verdict.kind is None or verdict.reason == "does_not_fit"
        if is_json:
            self._known.add(_NOT_JSON)
        if model is not None:
            self._models.add(model)
        if self.trial is not None and self.trial.probe == key and verdict.kind is None:
            self.trial.probe = None
        for sign, rows in list(self._alike.items()):
            since = _refuted_since(sign, started_at, model, is_json=is_json)
            if self.trial is not None and self.trial.sign == sign and min(rows.values()) <= since:
                self._acquit()
            elif later := {key: at for key, at in rows.items() if at > since}:
                self._alike[sign] = later
            else:
                del self._alike[sign]
        if self.trial is None:
            self.leaps = 0

    def refused(self, key: int, verdict: Verdict, model: str | None, window: int, now: float) -> bool:
        """Count a refusal; return whether the row's end is held until it is known whose fault it is."""
        is_words = self.answered and verdict.circuit is None and verdict.kind is Failure.FINAL
        sign = None if is_words else sign_of(verdict, model)  # words count only while nobody is answered
        if sign not in _STOPS and verdict.kind is Failure.FINAL:
            self._got_past(sign, model)
        if sign is None or sign in self._known:
            return False
        self._alike.setdefault(sign, {})[key] = now
        holds = sign in _STOPS and len(self.held) < policy.MOST_SKIPPED
        if holds:
            self.held[key] = verdict, now
        if self.trial is None:
            self._suspect(sign, window, model)
        if self.trial is not None and self.trial.sign == sign:
            self.words = "" if sign == _NOT_JSON else verdict.message
        return holds

    def _got_past(self, sign: str | None, model: str | None) -> None:
        """Note that a row was refused for something else: it got past the key and the account, and maybe the model."""
        trial = self.trial
        if trial is not None and sign != trial.sign and (trial.sign in _OF_ROWS or trial.model == model is not None):
            self._acquit()
        for other in _OF_ROWS:
            self._alike.pop(other, None)

    def _suspect(self, sign: str, window: int, model: str | None) -> None:
        """Begin to look into a suspicion, where enough rows were refused alike."""
        rows = len(self._alike[sign])
        is_model = sign.startswith(_OF_MODEL) and model is not None
        if model in self._models if is_model else self.answered and sign in _STOPS:
            if rows >= max(policy.REFUSALS_AMONG_ANSWERS, window):
                self.trial = Trial(sign, _STOPS.get(sign, _MODEL), None, model if is_model else None)
        elif is_model or (sign in _STOPS and sign != "page"):
            if rows >= policy.REFUSALS:
                probes = max(2, policy.LEAPS_BELIEVED - self.leaps) if is_model or sign in _OF_ROWS else 1
                self.trial = Trial(sign, _STOPS.get(sign, _MODEL), probes, model if is_model else None)
        elif self._most_alike is None or rows < self._most_alike or (self.answered and sign != _NOT_JSON):
            pass
        elif sign != _NOT_JSON and self._answered_before():
            self._known.add(sign)
        else:
            self.trial = Trial(sign, reason_of(sign), policy.PROBES_ALIKE)

    def probed(self, verdict: Verdict, model: str | None, *, is_waited_for: bool) -> str | None:
        """Record how the trial's probe ended that is no success; return the reason to stop, if it is confirmed.

        `is_waited_for` says whether rows wait to be tried again: they are asked too before it is.
        """
        trial = self.trial
        if trial is None:
            return None
        trial.probe = None
        is_other = trial.model is not None and trial.model != model
        if is_other or verdict.kind not in (Failure.FINAL, Failure.UNUSABLE):
            return None  # it says nothing: another row is asked
        if sign_of(verdict, model) != trial.sign:
            self._acquit()
            return None
        if trial.probes is None:
            if self._at_end:
                trial.probes = policy.PROBES_AT_END if trial.sign in _OF_ALL else policy.PROBES_AT_END_OF_ROWS
            return None
        trial.probes -= 1
        asks = is_waited_for and trial.sign not in _OF_ALL and trial.asked < policy.REFUSALS_AMONG_ANSWERS
        trial.asks_waiting = asks and trial.probes <= 0
        trial.asked += trial.asks_waiting
        return self.believe() if trial.probes <= 0 and not trial.asks_waiting else None

    def believe(self) -> str | None:
        """Believe the suspicion that is looked into; return the reason to stop, None where only a model is missing."""
        trial = self.trial
        if trial is None:
            return None
        if trial.model is None:
            self._confirmed = trial.sign
            return trial.reason
        self.missing_models.add(trial.model)
        self._known.add(trial.sign)
        self._alike.pop(trial.sign, None)
        self.trial = None
        return None

    def _acquit(self) -> None:
        """End a trial: the refusals were their rows' own. Words that were looked into are never looked into again."""
        trial, self.trial = self.trial, None
        if trial is not None:
            self._alike.pop(trial.sign, None)
            if trial.reason in (_ALIKE, _NOT_JSON):
                self._known.add(trial.sign)

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
