"""Estimate: what a run would send, use, cost and take, before anything is sent."""

from __future__ import annotations

import hashlib
import math
import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import orjson

from ..answers import (
    COUNTS,
    Pricing,
    Prompt,
    RateCard,
    Spread,
    answer_guess,
    answer_limit,
    answers_asked,
    limit_names,
    listed_prices,
    prompt_guesses,
    prompt_of,
    usage_columns,
)
from ..connection.endpoint import unsent
from ..engine.calls import place_of
from ..engine.journal import Journal, Keys
from ..engine.journal.recorder import JournalRecorder
from ..engine.sink import SKIPPED
from ..errors import nearest
from ..notices import VOICE
from ..problems import Rejected, Remark, in_a_line
from ..settings import Limits, beneath
from .display import counted, duration, money
from .spending import pricing_of

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from ..engine.journal.entry import Entry

_ANSWER = Spread(5, 200, 1000)  # tokens of an answer of which nothing is known
_NOTHING = Spread(0, 0, 0)  # and of one that no model writes
_SPEED = Spread(200, 60, 20)  # tokens a second in which an answer comes
_BEGIN = Spread(0.2, 0.8, 3.0)  # seconds until it does
_SURE = 3.0  # standard errors that a mean is taken to be off at most
_LEAST_OFF = 0.05  # the share that a measured mean may be off in any case
_FEW = 5  # answers of a model, below which those of all models measure better
_NONE = Spread(0, 0, 0)
_REASONS = 3
_WEIGHED_TOGETHER = 2**20  # bytes of prompts

Model = tuple[str, str | None]  # a model and a service tier


@dataclass(frozen=True, repr=False)
class Estimate:
    """What a run would send, use, cost and take.

    Attributes
    ----------
    rows, invalid, duplicates, reused, to_send : int
        Rows of the table; those that cannot be sent; those that ask the same as an earlier row; those that the journal
        has answers for; those that a run would send.
    input_tokens, output_tokens : Spread
        The tokens of the rows to send: ``low``, ``likely``, ``high``.
    cost : Spread or None
        USD; None where a model has no price.
    seconds : Spread
        How long the run takes.
    assumptions : tuple of str
        What this rests on, one line each.
    problems : tuple of str
        Why rows cannot be sent, the most frequent reasons first, one line each; ``check`` has all of them.
    skipped : int
        Rows that a workflow's ``when`` leaves out, as far as that is known.
    """

    rows: int
    invalid: int
    duplicates: int
    reused: int
    to_send: int
    input_tokens: Spread
    output_tokens: Spread
    cost: Spread | None
    seconds: Spread
    assumptions: tuple[str, ...]
    problems: tuple[str, ...] = ()
    skipped: int = 0

    def __repr__(self) -> str:
        counts = {"invalid": self.invalid, "skipped": self.skipped, "repeated": self.duplicates}
        counts["reused from the journal"] = self.reused
        told = "".join(f"{count:,} {what}, " for what, count in counts.items() if count)
        lines = [
            ("", "low", "likely", "high"),
            ("input tokens", *(f"{each:,.0f}" for each in self.input_tokens)),
            ("output tokens", *(f"{each:,.0f}" for each in self.output_tokens)),
            *([("cost", *map(money, self.cost))] if self.cost is not None else []),
            ("time", *map(duration, self.seconds)),
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        head = f"{counted(self.rows, 'row')}: {told}{self.to_send:,} to send"
        table = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
        head = "\n".join([head, *(f"  {each}" for each in self.problems)])
        return "\n".join(
            [head, *(f"  {line}" for line in table), *(f"assumed: {VOICE.get()(each)}" for each in self.assumptions)]
        )

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where somebody looks
        from .panels import estimate_panel  # noqa: PLC0415

        return html(estimate_panel(self))


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    first, *others = zip(cells, widths, strict=True)
    yield first[0].ljust(first[1])
    yield from (cell.rjust(width) for cell, width in others)


def estimated(
    prepared: Iterable[bytes | Rejected],
    connection: Connection,
    limits: Limits,
    path: str,
    *,
    journal: str | os.PathLike[str] | None = None,
    scope: str = "",
    earlier: Spread | None = None,
    may_skip: bool = False,
    method: str = "POST",
    writes: bool = True,
    pack: int | None = None,
) -> Estimate:
    """Estimate what a run sends of rows that are `prepared`; `path` and `scope` are those of the run's journal.

    `earlier` is how many tokens what earlier nodes answer adds to each prompt, where rows read that; `may_skip` says
    that it decides which rows are sent; without `writes`, no model writes what is answered;
    `pack` is how many rows go in one request.
    """
    endpoint, profile = unsent(connection), connection.profile
    limits = limits if profile is None else beneath(limits, profile.limits)
    rows = _Rows(_ANSWER if writes else _NOTHING)
    with ExitStack() as stack:
        known: Iterable[tuple[Any, Any, Entry | None]] = ((body, None, None) for body in prepared)
        if journal is not None and os.path.exists(journal):
            opened = Journal(Path(journal))
            stack.callback(opened.close)
            request = endpoint.request(method, path)._replace(url=endpoint.identity(path))
            known = JournalRecorder(opened).surveyed(prepared, Keys(request, scope))
        for body, _, entry in known:
            rows.add(body, entry)
    pricing = pricing_of(connection, endpoint.base_url)
    return _Estimating(rows, pricing, limits, endpoint.slots, pack or 1, path).made(earlier, may_skip=may_skip)


class _Sent:
    """The rows to send that ask one model in one service tier: the guesses of their prompts, and what they ask for."""

    def __init__(self) -> None:
        self.answers = array("d")  # how many a row asks for
        self.limits = array("d")  # tokens that each may have; infinite where the request does not say
        self._guesses: list[Any] = []
        self.writes: list[Spread] = []  # tokens of an answer, as a guess by what it must be
        self._prompts: list[Prompt] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.answers)

    def add(self, body: Mapping[str, Any], writes: Spread) -> None:
        """Add a row; prompts are weighed many at a time. `writes` is what is guessed of an answer without a schema."""
        limit = answer_limit(body)
        self.answers.append(answers_asked(body))
        self.limits.append(math.inf if limit is None else limit)
        self.writes.append(answer_guess(body) or writes)
        self._prompts.append(prompt := prompt_of(body))
        self._bytes += len(prompt.text)
        if self._bytes > _WEIGHED_TOGETHER:
            self._weigh()

    def guesses(self) -> Any:
        """Return the tokens of the prompts: one row a prompt; low, likely, high."""
        import numpy  # noqa: PLC0415 - loaded where there are requests

        self._weigh()
        return numpy.concatenate(self._guesses)

    def _weigh(self) -> None:
        if self._prompts:
            self._guesses.append(prompt_guesses(self._prompts))
            self._prompts.clear()
            self._bytes = 0


class _Rows:
    """What is known of the rows: those to send, by model and service tier, and what was answered of the others."""

    def __init__(self, writes: Spread) -> None:
        self._writes = writes
        self.rows = self.invalid = self.skipped = self.duplicates = self.reused = 0
        self.sent: dict[Model, _Sent] = defaultdict(_Sent)
        self.answered: dict[str, list[tuple[float, int]]] = defaultdict(list)  # by model: the guess, and what it was
        self.wrote: list[float] = []  # tokens an answer
        self.latencies: list[float] = []
        self.reasons = Counter[str]()  # why rows cannot be sent
        self._seen: set[bytes] = set()

    @property
    def to_send(self) -> int:
        """How many rows are to be sent."""
        return sum(map(len, self.sent.values()))

    def problems(self) -> tuple[str, ...]:
        """Return why rows cannot be sent: the reasons that most rows have."""
        found = self.reasons.most_common(_REASONS)
        return tuple(f"{counted(count, 'row')} cannot be sent: {reason}" for reason, count in found)

    def add(self, data: bytes | Rejected, entry: Entry | None) -> None:
        """Add a row; `entry` is what the journal has of it, where it need not be sent."""
        self.rows += 1
        if isinstance(data, Rejected):
            self._leave_out(data)
            return
        digest = hashlib.blake2b(place_of(data) + data, digest_size=12).digest()
        self.duplicates += digest in self._seen
        self._seen.add(digest)
        body = orjson.loads(bytes(data))
        model, tier = str(body.get("model", "")), body.get("service_tier")
        if entry is None:
            self.sent[model, tier if isinstance(tier, str) else None].add(body, self._writes)
        else:
            self.reused += 1
            self._learn(body, model, entry)

    def _leave_out(self, why: Rejected) -> None:
        if why.outcome == SKIPPED:
            self.skipped += 1
            return
        self.invalid += 1
        path, rule, message, _ = why.problem
        self.reasons[in_a_line(message, path, {rule})] += 1

    def _learn(self, body: Mapping[str, Any], model: str, entry: Entry) -> None:
        if entry.last is None or entry.last.status != 200:
            return
        used = usage_columns([entry.last.body.decode("utf-8", "replace")])
        (read,), (wrote,) = used["prompt_tokens"], used["completion_tokens"]
        if read:
            self.answered[model].append((float(prompt_guesses([prompt_of(body)])[0][1]), read))
        if wrote is not None:
            self.wrote.append(wrote / answers_asked(body))
        if entry.last.latency:
            self.latencies.append(entry.last.latency)


@dataclass
class _Estimating:
    rows: _Rows
    pricing: Pricing
    limits: Limits
    slots: int | None
    pack: int
    path: str
    said: list[str] = field(default_factory=list)

    def made(self, earlier: Spread | None, *, may_skip: bool) -> Estimate:
        """Return the estimate."""
        rows, answer = self.rows, self._answer()
        inputs = {key: self._inputs(key[0], each.guesses()) + (earlier or _NONE) for key, each in rows.sent.items()}
        outputs = {key: _outputs(answer, each) for key, each in rows.sent.items()}
        into, out = _total(inputs), _total(outputs)
        if rows.to_send:
            self._say_inputs()
            self._say_outputs(answer)
        cost = self._cost(inputs, outputs)
        seconds = self._seconds(rows.to_send, into, out)
        duplicates = 0 if earlier is not None else rows.duplicates
        if duplicates:
            ask = "row asks" if duplicates == 1 else "rows ask"
            told = f"{duplicates:,} {ask} the same as an earlier row, and all are sent (with duplicates: once, one is)"
            self.said.append(Remark(told, code="duplicates", values={"ask": f"{duplicates:,} {ask}"}))
        if earlier is not None and rows.to_send:
            low, _, high = earlier
            more = f"adds {low:,.0f} to {high:,.0f} tokens to each prompt: a guess" if high else "is not known"
            self.said.append(f"what earlier nodes make {more}")
        if may_skip and rows.to_send:
            self.said.append("earlier answers decide which rows are sent: none to all of them, half is likely")
            into, out, seconds = map(_some, (into, out, seconds))
            cost = cost and _some(cost)
        counts = rows.rows, rows.invalid, duplicates, rows.reused, rows.to_send
        return Estimate(*counts, into, out, cost, seconds, tuple(self.said), rows.problems(), rows.skipped)

    def _inputs(self, model: str, guesses: Any) -> Any:
        """Return the tokens of prompts, one row a prompt; low, likely, high."""
        import numpy  # noqa: PLC0415 - loaded where there are requests

        if (found := self._ratio(model)) is None:
            return guesses
        ratio, off = found
        return numpy.outer(guesses[:, 1], (ratio * (1 - off), ratio, ratio * (1 + off)))

    def _ratio(self, model: str) -> tuple[float, float] | None:
        """Return how many times the guess prompts were, by answers, and the share that this may be off."""
        own = self.rows.answered.get(model, [])
        pairs = own if len(own) >= _FEW else [pair for each in self.rows.answered.values() for pair in each]
        if not pairs:
            return None
        guessed = sum(guess for guess, _ in pairs)
        ratio = sum(read for _, read in pairs) / guessed
        spread = math.sqrt(sum((read - ratio * guess) ** 2 for guess, read in pairs)) / (ratio * guessed)
        return ratio, min(0.5, max(_LEAST_OFF, _SURE * spread, 0.5 / len(pairs)))

    def _answer(self) -> Spread | None:
        """Return how many tokens an answer has, by those of the journal; None where there are none."""
        wrote = self.rows.wrote
        if not wrote:
            return None
        mean = sum(wrote) / len(wrote)
        error = math.sqrt(sum((each - mean) ** 2 for each in wrote)) / len(wrote)
        off = max(2 * _LEAST_OFF * mean, _SURE * error, mean / len(wrote))
        return Spread(max(0.0, mean - off), mean, mean + off)

    def _say_inputs(self) -> None:
        answers = [pair for each in self.rows.answered.values() for pair in each]
        by = f"as measured in {self._measured(answers)}" if answers else "guessed from the kinds of characters"
        self.said.append(f"input tokens are {by}")

    def _say_outputs(self, answer: Spread | None) -> None:
        limited = any(limit < math.inf for each in self.rows.sent.values() for limit in each.limits)
        forms = {guess for each in self.rows.sent.values() for guess in each.writes}
        if answer is not None:
            self.said.append(f"an answer has {answer.likely:,.0f} tokens, as in {self._measured(self.rows.wrote)}")
        elif forms == {_NOTHING}:
            self.said.append("an answer has no tokens of its own")
        elif forms and _ANSWER not in forms:
            low, high = min(each.low for each in forms), max(each.high for each in forms)
            self.said.append(f"an answer has {low:,.0f} to {high:,.0f} tokens: a guess, by what it must be")
        elif limited:
            self.said.append(f"an answer has {_ANSWER.likely:,.0f} tokens, at most what its request allows: a guess")
        else:
            low, _, high = _ANSWER
            unset = limit_names(self.path)[-1]
            self.said.append(f"an answer has {low:,.0f} to {high:,.0f} tokens: a guess, for no {unset} is set")

    def _measured(self, answers: Sequence[Any]) -> str:
        return f"{counted(len(answers), 'answer')} of the journal"

    def _cost(self, inputs: Mapping[Model, Any], outputs: Mapping[Model, Any]) -> Spread | None:
        """Return what the rows cost; None where a model has no price."""
        if self.slots is not None:
            self.said.append("the embedded model costs nothing")
            return None
        cards = {key: self.pricing.card(*key) for key in inputs}
        missing = Counter({model: len(inputs[model, tier]) for (model, tier), card in cards.items() if card is None})
        if missing:
            names = ", ".join(name or "no model" for name, _ in missing.most_common(3))
            meant = nearest(next(iter(missing)), self.pricing.names()) if len(missing) == 1 else ""
            told = f"the cost is unknown: no price for {names}{meant or '; set prices in the connection'}"
            values = {"what": "the cost is unknown", "names": names}
            self.said.append(Remark(told, code="" if meant else "unpriced", values=values))
            return None
        if cards:
            listed = listed_prices()
            given = all(model in self.pricing.given for model, _ in cards)
            where = "as the connection gives them" if given else f"of {listed.source}, as of {listed.date}"
            self.said.append(f"prices are {where}; what the server caches is counted at the full price")
        costs = [_cost_of(card, inputs[key], outputs[key]) for key, card in cards.items()]
        return Spread(*map(sum, zip(*costs, strict=True))) if costs else _NONE

    def _seconds(self, to_send: int, into: Spread, out: Spread) -> Spread:
        if not to_send:
            return _NONE
        to_send = math.ceil(to_send / self.pack)
        at_once = max(1, min(self.limits.concurrency, self.slots or to_send, to_send))
        known = self.rows.latencies
        if known:
            middle = median(known)
            each = Spread(middle * 0.7, middle, middle * 2)
        else:
            each = Spread(*(b + o / to_send / s for b, o, s in zip(_BEGIN, out, _SPEED, strict=True)))
        by = f"as in {self._measured(known)}" if known else "a guess"
        verb = "is" if at_once == 1 else "are"
        self.said.append(f"a request takes {duration(each.likely)}: {by}; {at_once:,} {verb} in flight at a time")
        by_requests = to_send / (self.limits.requests_per_minute or math.inf) * 60
        per_minute = self.limits.tokens_per_minute or math.inf
        rounds, both = max(1.0, to_send / at_once), zip(into, out, each, strict=True)
        return Spread(*(max(by_requests, (i + o) / per_minute * 60, one * rounds) for i, o, one in both))


def _cost_of(card: RateCard | None, inputs: Any, outputs: Any) -> tuple[float, ...]:
    """Return what rows cost, of their tokens: low, likely, high."""
    nothing = 0 * inputs[:, 0]
    made = []
    for into, out in zip(inputs.T, outputs.T, strict=True):
        counts = {**dict.fromkeys(COUNTS, nothing), "prompt_tokens": into, "completion_tokens": out}
        made.append(math.nan if card is None else float(card.costs(counts).sum()))
    return tuple(made)


def _outputs(answer: Spread | None, sent: _Sent) -> Any:
    """Return the tokens of answers, one row a request: low, likely, high; none has more than its request allows."""
    import numpy  # noqa: PLC0415 - loaded where there are requests

    limits, numbers = numpy.array(sent.limits), numpy.array(sent.answers)
    if answer is not None:
        return numpy.minimum.outer(limits, answer) * numbers[:, None]
    guesses = numpy.array(sent.writes)
    is_guessed = guesses[:, 2] == _ANSWER.high  # nothing is known: it may have all that it is allowed
    guesses[:, 2] = numpy.where(is_guessed & (limits < math.inf), limits, guesses[:, 2])
    return numpy.minimum(limits[:, None], guesses) * numbers[:, None]


def _some(all_rows: Spread) -> Spread:
    """Return what none, half and all of the rows use."""
    return Spread(0, all_rows.likely / 2, all_rows.high)


def _total(found: Mapping[Model, Any]) -> Spread:
    return Spread(*(float(sum(each[:, at].sum() for each in found.values())) for at in range(3)))
