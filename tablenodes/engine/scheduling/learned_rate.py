"""The rate at which a server serves, learned from what it refuses."""

from __future__ import annotations

import enum
import math
from typing import NamedTuple

from .. import policy
from .evidence import History, Mark, Record, Share, chance_over_limit

_FASTEST = 1e6  # sends a second: no pace at all
_SURE = 2.3  # a log-likelihood ratio of 10 to 1
_FEW = 6  # sends from which a round is judged


class Phase(enum.Enum):
    """What the present pace is for."""

    WAVE = "everything that was on its way at the first refusal comes back"
    PROBE = "nothing is let in: one send at a time"
    CHECK = "does a slower pace bring fewer refusals?"
    SEEK = "no limit was met since the first guess: twice as fast each time"
    CLIMB = "slower brought no fewer refusals: is more served at a faster pace?"
    HOLD = "a little below the limit, a little more from time to time"


class Wave(NamedTuple):
    """What was on its way at the first refusal: the first of it that was refused, and how many were."""

    first: int
    first_at: float
    refused: int
    before: History
    known_at: float  # when the first refusal came


class LearnedRate:
    """Finds the pace of sends at which a server refuses next to nothing; without a clock, it is told the time.

    Until something is refused it is not `active`, and need not be told or asked anything. It looks at sends and
    refusals alone: answers may take minutes, refusals come at once. Between two refusals a server that limits a rate
    lets in exactly that rate, whatever ours was. Where a slower pace brings no fewer refusals, they are not about the
    pace: the run goes on as fast as it can. `pace` is in sends a second; `rounds` counts the times it was set.
    `patience` is how often it slows down in vain before that, `telling` how many refusals in vain are no chance, and
    `least` of how many sends: fewer tell nothing of several processes, whose sends happen to bunch.
    """

    def __init__(self, patience: int = 2, telling: int = 1, least: int = _FEW // 2) -> None:
        self._patience, self._telling, self._least, self.active = patience, telling, least, False
        self.pace, self.rounds = _FASTEST, 0
        self._phase = Phase.HOLD
        self._rate: float | None = None  # as measured; None: the pace is a guess
        self._delay = policy.SHORTEST_REFUSAL  # seconds until a refusal is known, the slowest of late
        self._next_at = self._alone_until = self._let_in_at = -math.inf
        self.alone_for: float | None = None  # seconds for which the next send goes alone
        self.wave: Wave | None = None
        self.record = Record(0, 0.0)
        self._since = Mark(0, 0.0, 0)  # from it on, what was let in is counted
        self._before: Share | None = None  # what was refused at a faster pace
        self._trail = (0, 0)  # sends and refusals at slower paces since
        self._need: float = _FEW
        self._chance: Share | None = None  # refusals that have nothing to do with the pace
        self._climbed = self._tried_more = False
        self._refused_first = self._probes = self._dry_spells = self._falls = 0
        self._longest_asked = self._last_asked = -1.0  # seconds; below 0: the server names no delays
        self._is_loose = False  # the rate may be far higher than measured
        self._up_at, self._up_after, self._gain = 0.0, policy.UP_FIRST, policy.UP_GAIN_LOOSE
        self._recheck_at, self._recheck_after = math.inf, policy.RECHECK_FIRST

    @property
    def rate(self) -> float | None:
        """Sends a second that the server serves, where it limits them and that is known."""
        return None if self._chance is not None else self._rate

    # Asked.

    def room(self, now: float) -> int:
        """Return how many sends may start now."""
        self._judge(now)
        wait = self.ready_at(now) - now
        if wait > 0:
            return 0
        if self.alone_for is not None:
            return 1
        return 1 + int(min(now - self._next_at, policy.PACE_SLACK) * self.pace)

    def ready_at(self, now: float) -> float:
        """Return the time from which a send may start."""
        return max(now, self._next_at, self._alone_until)

    # Told.

    def sent(self, now: float) -> None:
        """Record a send."""
        self._alone_until = -math.inf
        if self.alone_for is not None:
            self._alone_until, self.alone_for = now + self.alone_for, None
        self._next_at = max(self._next_at, now - policy.PACE_SLACK) + 1 / self.pace
        self.record.sent(now)

    def refused(self, send: int, at: float, now: float, asked: float | None, history: History) -> None:
        """Record the refusal of the send of a number, at a time; `asked` are the seconds that the server asks to wait.

        Sends are numbered from 1 on, those before the first refusal too.
        """
        self._delay = max(now - at, policy.SHORTEST_REFUSAL, policy.DELAY_KEPT * self._delay)
        self._last_asked = -1.0 if asked is None else asked
        self._longest_asked = max(self._longest_asked, self._last_asked)
        if not self.active:
            self.active, self._phase = True, Phase.WAVE
            self.wave = Wave(send, at, 0, history, now)
            self.record = Record(history.sends, now)
            self._next_at = now + policy.SETTLED_AFTER * self._delay + policy.WAVE_END
        if send <= self._since.send:
            self._since = self._since.one_more()
        is_news = self.record.refuse(send, at)
        if self.wave is not None:
            wave = self.wave
            first, first_at = min((wave.first, wave.first_at), (send, at))
            self.wave = wave._replace(first=first, first_at=first_at, refused=wave.refused + 1)
            quiet = max(policy.WAVE_QUIET * self._delay, policy.WAVE_GAPS * (now - wave.known_at) / (wave.refused + 1))
            self._next_at = max(self._next_at, now + quiet + policy.WAVE_END)
        elif is_news:
            self._judge(now)

    def paused(self, seconds: float, longer: float) -> None:
        """Record that nothing is sent for so long, which is so much longer than it was known to be.

        After it, one send goes ahead alone.
        """
        self.alone_for = min(1.5 * self._delay, max(policy.SHORTEST_REFUSAL, seconds))
        self.record.pause(longer)

    # Judged.

    def _judge(self, now: float) -> None:
        """Look at what is settled, and set the pace by it."""
        if self.wave is not None:
            if now >= self._next_at:
                self._judge_wave(now, self.wave)
            return
        current = self.record
        current.settle(now - policy.SETTLED_AFTER * self._delay)
        sends, refused = current.settled, current.refused
        if sends > refused:
            self._let_in_at = now
        if self._phase is Phase.PROBE:
            self._judge_probe(now, sends)
        elif sends:
            judges = {
                Phase.CHECK: self._judge_check,
                Phase.SEEK: self._judge_seek,
                Phase.CLIMB: self._judge_climb,
                Phase.HOLD: self._judge_hold if self._chance is None else self._judge_chance,
            }
            judges[self._phase](now, sends, refused)

    def _judge_wave(self, now: float, wave: Wave) -> None:
        """Guess the rate from the first wave that met refusals, as if the server kept places for one second."""
        (sends, seconds, lately), refused = wave.before, wave.refused
        let_in = sends - refused
        if not let_in and self._names_delays:  # after the pause that it asks for, it may serve as many as it refused
            let_in = refused
        guess = let_in / max(1.0, seconds)
        if seconds > 1:
            guess = min(guess, policy.GUESS_OF_LATELY * lately)
        span, let_in_since = wave.known_at - wave.first_at, sends - wave.first + 1 - refused
        if let_in_since >= policy.MEASURED_FROM and seconds > 2 * span > 4 * policy.SHORTEST_REFUSAL:
            guess = min(guess, let_in_since / span)
        self.wave = None
        self._since = self.record.settled_until
        self.pace = max(policy.GUESS_LEAST, policy.GUESS_KEPT * guess)
        if let_in < 1:
            self._probe(now)
        else:
            self._let_in_at = now
            self._check(now, self.pace)

    def _judge_probe(self, now: float, sends: int) -> None:
        """Go on where a probe was let in, else probe again, later."""
        if not self.record.is_clean:
            self._probe(now)
        elif sends:
            self._check(now, self.pace)

    def _judge_check(self, now: float, sends: int, refused: int) -> None:
        """See whether a slower pace brings fewer refusals."""
        if sends == refused:  # nothing was let in until now: the end of a window, or bad luck
            self._skip_refused(now, sends)
            return
        trail = Share(self._trail[0] + sends, self._trail[1] + refused, self.pace)
        if self._before is not None:
            chance = chance_over_limit(self._before, trail)
            shows = refused and trail.refused > 1 and sends >= self._least
            if chance > _SURE and shows:
                self._climb(now, trail)
                return
            undecided = chance > -_SURE or sends < _FEW
            if not undecided:
                self._chance = None
        else:
            undecided = True
            if refused and sends > 1 and self._names_delays and self._chance is None:
                self._slow(now)
                return
        too_many = self._is_too_many(sends, refused)
        one_sided = sends < 2 * _FEW and (refused < 2 or sends - refused < 2)
        if (undecided and sends < self._need) or (too_many and one_sided):
            return
        is_few = self._tried_more and sends < self._least  # where the rate is known: it may be a little less
        in_vain = refused >= self._telling and not self._climbed and not is_few
        if not too_many:
            self._passed(now)
        elif in_vain and not (self._before is None and self.record.is_in_one_piece):
            self._climb(now, Share(sends, refused, self.pace))
        else:
            self._trail, self._chance = trail[:2], None
            self._slow(now, few=self._before is None)

    def _skip_refused(self, now: float, sends: int) -> None:
        """Begin to count where something is let in again; where nothing is, send one at a time."""
        self._refused_first += sends
        self.record.forget_settled()
        most: float = _FEW
        if self._chance is not None:
            most = max(most, -7 / math.log(min(0.99, self._chance.refused / self._chance.sends)))
        elif self._refused_first > _FEW / 2 - 1 and not self._names_delays:
            self._is_loose = True
        if self._refused_first >= most:
            self._run_dry(now)

    def _passed(self, now: float) -> None:
        """Stay a little below the limit, for a slower pace did bring fewer refusals."""
        self._chance = self._before = None
        self._climbed, self._dry_spells = False, 0
        self._up_at = now + max(self._up_after, 4 * self._delay)
        if self._rate is None:
            self._go(now, 2 * self.pace, Phase.SEEK)
        else:
            kept = 1.0 if self._asks_seconds else policy.RATE_KEPT
            self._go(now, max(self.pace, kept * self._rate), Phase.HOLD)

    def _judge_seek(self, now: float, sends: int, refused: int) -> None:
        """Go twice as fast, until something is refused."""
        current = self.record
        if self._is_too_many(sends, refused):
            self._slow(now)
            return
        lasted = sends >= _FEW and current.seconds(now) > policy.SEEK_AFTER
        if self._longest_asked >= policy.LONG_DELAY:  # after a long pause all places are free: that shows little
            lasted = lasted and 2 * self.pace * self._delay <= max(2.0, 0.04 * sends)
        if lasted and current.is_clean and self._is_used(now):
            self._go(now, 2 * self.pace, Phase.SEEK)

    def _judge_climb(self, now: float, sends: int, refused: int) -> None:
        """See whether as large a share is let in at a far faster pace."""
        slower = self._chance
        if sends < 2 * _FEW or self.record.seconds(now) < 5 * self._delay or slower is None:
            return
        here = Share(sends, refused, self._achieved(now))
        faster = here.pace / slower.pace
        chance = chance_over_limit(slower, here)
        if abs(chance) < _SURE and faster > 1.3 and sends < (8 * _FEW if faster > 2.5 else 50 * _FEW):
            return
        grew = here.let_in * slower.sends * math.sqrt(faster) >= slower.let_in * here.sends
        if faster > 1.3 and (chance < 0 or not grew):
            self._chance, self._climbed = None, True
            self._slow(now)
            return
        self._chance = slower.with_more(*here)
        if self._is_used(now):
            self._go(now, 4 * self.pace, Phase.CLIMB)
        else:
            self._rate = None
            self._recheck_at = now + self._recheck_after
            self._go(now, self.pace, Phase.HOLD)

    def _judge_hold(self, now: float, sends: int, refused: int) -> None:
        """Go faster from time to time, by more each time until a few are refused, and slow down where too many are."""
        seconds = self.record.seconds(now)
        if self._is_too_many(sends, refused):
            self._slow(now)
        elif now >= self._up_at and sends >= _FEW and self._is_used(now):
            self._falls = 0 if seconds > 2 else self._falls
            if (self._is_loose or self._asks_seconds) and not refused and seconds > 0.8 and self._rate is not None:
                most = self.pace if self._is_loose else 1.04 * self._rate  # a bucket that is full lets more in
                self._rate = max(self._rate, min(self.pace, most))
            self._gain = self._gain if refused < 2 else policy.UP_GAIN
            self._go(now, self.pace * self._gain, Phase.HOLD)
            self._gain = min(policy.UP_GAIN_MOST, 1 + (self._gain - 1) * policy.UP_FASTER)
            self._up_at = now + max(1.0, 2 * self._delay)
        elif sends >= 50 * _FEW and seconds > 2:
            self.record.begin()

    def _judge_chance(self, now: float, sends: int, refused: int) -> None:
        """Go on as fast as it can, while the share that is refused stays the same; try a slower pace now and then."""
        chance = self._chance
        if chance is None or sends < 10 * _FEW or self.record.seconds(now) < 6 * self._delay:
            return
        if self._is_too_many(sends, refused):
            self._slow(now)
            return
        pace = self._achieved(now)
        self._chance = chance = chance.halved().with_more(sends, refused, pace)
        if now >= self._recheck_at and chance.refused > 0.1 * chance.sends:
            self._recheck_after = min(policy.RECHECK_MOST, 2 * self._recheck_after)
            self._recheck_at = now + max(self._recheck_after, 400 / pace)
            self._before, self._trail = chance, (0, 0)
            self._check(now, pace / 4, 40)
        elif self._is_used(now):
            self._go(now, 2 * self.pace, Phase.HOLD)
        else:
            self.record.begin()

    def _is_too_many(self, sends: int, refused: int) -> bool:
        """Check whether more was refused than a server refuses that is not asked too much."""
        if self._chance is not None:
            share = self._chance.refused / self._chance.sends
            return refused > share * sends + 3 * math.sqrt(share * sends * (1 - share)) + 1
        if self._names_delays:
            return refused > 0
        allowed = 0.01 * sends + 0.13 * math.sqrt(sends) + (2 if self.pace > policy.FAST else 1)
        return (sends >= _FEW or refused > 2) and refused > allowed

    @property
    def _names_delays(self) -> bool:
        return self._longest_asked >= 0

    @property
    def _asks_seconds(self) -> bool:
        """Whether a refusal costs about a second or more."""
        return self._longest_asked >= policy.DEAR_DELAY

    def _achieved(self, now: float) -> float:
        """Return the sends a second of this round, which may be fewer than the pace where answers are slow."""
        seconds = self.record.seconds(now)
        return self.record.sends / seconds if seconds > 0 else self.pace

    def _is_used(self, now: float) -> bool:
        """Check whether the pace is what limits the sends, and not something else."""
        return self.record.sends >= 0.7 * self.pace * self.record.seconds(now)

    # Set.

    def _slow(self, now: float, *, few: bool = False) -> None:
        """Slow down to a little less than was let in; a few sends show whether that helps, or as many as are needed."""
        current, old = self.record, self._rate
        rate = self._measured()
        self._tried_more = tries_more = self._phase is Phase.HOLD and old is not None and self.pace > 1.02 * old
        if tries_more and old is not None:  # it was too much; that says nothing against the old rate
            rate = max(rate, old)
        elif self._phase is not Phase.CHECK or self._names_delays:
            self._falls += 1
            if self._falls > self._patience and not self._climbed and current.refused and not current.is_in_one_piece:
                self._falls = 0
                self._climb(now, Share(current.settled, current.refused, self._achieved(now)))
                return
        if self.pace > 2.5 * rate and not self._names_delays:
            self._is_loose = True
        elif not tries_more and old is not None and self._phase is Phase.HOLD:
            self._is_loose = False
        self._plan_to_speed_up(rate)
        self._rate = rate
        self._remember(now)
        self._check(
            now, (1.0 if self._asks_seconds else policy.RATE_SLOWED) * rate, _FEW if tries_more or few else None
        )
        self._next_at = now + 2 / self.pace

    def _measured(self) -> float:
        """Return how many sends a second were let in since an earlier refusal; more, where this round shows that."""
        current = self.record
        let_in, seconds = current.settled_until.let_in_since(self._since)
        rate = (let_in + 1) / seconds if seconds > 0 else self.pace / 2
        first = current.first_refusal
        if first is not None and not self._names_delays:
            here, for_seconds = current.settled_until.let_in_since(first)
            if for_seconds > 2 * self._delay:
                rate = max(rate, (here - 1) / for_seconds)
        if first is not None and let_in > 8:
            self._since = first
        least = policy.PACE_LEAST_NAMED if self._names_delays else policy.PACE_LEAST
        return max(least, min(rate, self.pace))

    def _plan_to_speed_up(self, rate: float) -> None:
        """Decide when to try a little more, and how much: sooner where the rate is news."""
        same = self._rate is not None and 0.8 < rate / self._rate < 1.25
        self._gain = policy.UP_GAIN if same or self._names_delays else policy.UP_GAIN_LOOSE
        if self._asks_seconds and self._rate is not None:
            self._up_after = policy.UP_DEAR
        else:
            self._up_after = min(policy.UP_MOST, 2 * self._up_after) if same else policy.UP_FIRST
            if self._names_delays and not self._asks_seconds:
                self._up_after = max(2 * policy.UP_FIRST, self._up_after)

    def _remember(self, now: float) -> None:
        """Keep what this round showed, to compare a slower pace with."""
        current, before = self.record, self._before
        here = Share(current.settled, current.refused, self._achieved(now))
        far_worse = here.refused >= max(_FEW, here.sends / 2) and before and before.refused < 0.3 * before.sends
        if before is None or self._phase is not Phase.CHECK or before.let_in < 2 or far_worse:
            self._before, self._trail = here, (0, 0)
        elif before.refused < 2 or before.sends < _FEW:
            self._before, self._trail = before.with_more(*here), (0, 0)

    def _run_dry(self, now: float) -> None:
        """Nothing is let in any more: a window is used up, or the pace is far too fast."""
        self._dry_spells += 1
        first = self.record.first_refusal
        if self._dry_spells > 1 and first is not None:
            let_in, seconds = first.let_in_since(self._since)
            if seconds >= 1:
                self._rate = max(policy.PACE_LEAST, min(self.pace, max(1, let_in) / seconds))
                self._since = first
                self.pace = policy.RATE_KEPT * self._rate
        self._probes = 0
        self._probe(now)

    def _probe(self, now: float) -> None:
        """Send one after a while that grows, alone."""
        lately = now - self._let_in_at < policy.SERVED_LATELY
        wait = policy.DRY_FIRST * policy.DRY_LONGER ** min(self._probes, 64)
        self._probes += 1
        self._go(now, self.pace, Phase.PROBE)
        wait = min(policy.DRY_LATELY if lately else policy.DRY_LONGEST, wait)
        self._next_at = now if self._last_asked >= policy.DRY_FIRST else now + wait  # what the server asks is enough
        self.alone_for = policy.SETTLED_AFTER * self._delay + policy.SHORTEST_WAIT

    def _climb(self, now: float, base: Share) -> None:
        """Go far faster, to see whether as large a share is let in."""
        self._chance = base
        self._go(now, 4 * self.pace, Phase.CLIMB)

    def _check(self, now: float, pace: float, need: int | None = None) -> None:
        """Go at a slower pace, to see whether fewer are refused."""
        self._refused_first = self._probes = 0
        self._go(now, max(policy.PACE_LEAST, pace), Phase.CHECK)
        before = self._before
        to_see = _FEW if before is None else 4 * before.sends / max(1, before.refused)
        self._need = need or max(_FEW, min(to_see, 20 * _FEW, 3 * self.pace))

    def _go(self, now: float, pace: float, phase: Phase) -> None:
        """Begin a round."""
        if phase is self._phase and pace == self.pace and phase is not Phase.PROBE:
            return
        faster = self.pace < pace and phase is not Phase.CHECK
        self.record.begin(self.record.first if faster else self.record.last + 1)
        self.pace, self._phase, self.rounds = min(pace, _FASTEST), phase, self.rounds + 1
        self._next_at = min(max(now, self._next_at), now + 1 / self.pace)
