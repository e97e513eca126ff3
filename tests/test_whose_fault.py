"""Bad rows, bad keys and bad servers mixed: every row that the server would answer is answered, and soon."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest
from scheduler_simulation import OK_BODY, Simulation, fault, ok, status

from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.judge import Verdict, judge
from tablenodes.engine.outcomes.rules import Failure
from tablenodes.engine.scheduling import Scheduler
from tablenodes.settings import Limits, Retry

BEGAN = 1000.0
TOTAL = 30.0
"""Seconds that a row takes that hangs."""


def says(status_code: int, **error: object) -> dict:
    return status(status_code, body=str({"error": error}).replace("'", '"').encode())


REFUSALS = {
    "400": status(400),
    "too long": says(400, message="the maximum is 4096 tokens, you requested 5000 tokens"),
    "a firewall": status(403, body=b"<html>no</html>"),
    "a moderation": says(403, code="flagged"),
    "no such path": status(404),
    "413": status(413),
    "422": status(422),
    "no credit for this": status(402),
    "too large": says(429, message="Limit 100, Requested 200"),
}
FAILURES = {
    "500": status(500),
    "503": status(503),
    "reset": fault("reset"),
    "empty": ok() | {"body": b""},
    "hangs": fault("timeout_first_byte", seconds=TOTAL),
}
BAD = REFUSALS | FAILURES
ORDERS = ("first", "last", "among", "grouped", "middle")
KEYS = {
    "refused": status(401),
    "forbidden": says(403, type="permission_error"),
    "spent": says(429, code="insufficient_quota"),
    "unpaid": status(402),
}
AGAIN = {"auth", "quota_exhausted", "not_sent"}
"""Outcomes of rows that another run sends again."""


def table(chance: random.Random, good: int, most_bad: int) -> list[str]:
    """Return a table: of each row what comes of it; the bad ones are at most twice as many as the good ones."""
    kinds = chance.sample(sorted(BAD), chance.choice((1, 1, 2, 4)))
    bad = min(2 * good, chance.choice((1, 5, 20, 40, 100, 300)), most_bad)
    rows = [chance.choice(kinds) for _ in range(min(bad, 20) if "hangs" in kinds else bad)]
    order = chance.choice(ORDERS)
    if order == "among":
        rows += ["ok"] * good
        chance.shuffle(rows)
        return rows
    if order == "grouped":
        groups = [[kind] * count for kind, count in Counter(rows).items()]
        groups.append(["ok"] * good)
        chance.shuffle(groups)
        return [kind for group in groups for kind in group]
    before = {"first": 0, "last": good, "middle": good // 2}[order]
    return ["ok"] * before + rows + ["ok"] * (good - before)


class Gates(Simulation):
    """A simulation that counts how often one call at a time went, to learn whose fault failures were."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gates = 0
        self.usual = 0.0  # seconds that an answer takes
        self._was_probing = False

    def _choose(self) -> int | None:
        is_probing = self.scheduler.is_probing
        self.gates += is_probing and not self._was_probing
        self._was_probing = is_probing
        return super()._choose()

    def last_ok(self) -> float:
        """Return when the last row was answered, from the begin."""
        return max((at for at, _, _, verdict in self.answers if verdict.outcome == "ok"), default=BEGAN) - BEGAN


def simulated(rows: list[str], concurrency: int, seed: int, server=None) -> Gates:
    """Run a table, each row with what comes of it, unless the server answers all of them in its own way."""

    def react(now: float, key: int) -> dict:
        of_all = None if server is None else server(now)
        return dict(of_all or (ok() if rows[key] == "ok" else BAD[rows[key]]))

    latency = random.Random(seed).choice((0.05, 0.05, 0.5))
    run = Gates(
        len(rows),
        react,
        Limits(concurrency=concurrency),
        latency=lambda chance: chance.uniform(0.9 * latency, 1.1 * latency),
        seed=seed,
    )
    run.usual = latency
    run.run()
    return run


def check_rows(seed: int, *, good: int = 500, most_bad: int = 300, outage: bool = False) -> None:
    """Hold one mix of rows, perhaps with an outage in it, to the rule."""
    chance = random.Random(seed)
    concurrency = chance.choice((1, 2, 4) if outage else (1, 2, 4, 16, 64))
    rows = table(chance, chance.choice((20, 60, 200, 500)) if good == 500 else good, most_bad)
    if outage:  # rows that fail like a server that is down cannot be told from it while it is
        rows = ["422" if kind in ("500", "503") else kind for kind in rows]
    whole = simulated(["ok"] * len(rows), concurrency, seed)
    seconds, server = 0.0, None
    if outage:
        begin, seconds = BEGAN + chance.uniform(0, 0.5 * whole.seconds), chance.uniform(0.1, 20)
        down = chance.choice((status(503), status(500), fault("connect")))
        server = lambda now: down if begin <= now < begin + seconds else None  # noqa: E731
    run = simulated(rows, concurrency, seed, server)
    if not run.count("ok"):  # all that was asked was refused, up to the end of the table
        assert run.scheduler.stopped in ("alike", "auth", "quota")
        assert len({start.key for start in run.starts}) >= 6
        return
    answered = {key for key, kind in enumerate(rows) if kind == "ok"}
    outcomes = run.outcomes
    lost = {key: outcomes[key] for key in answered if outcomes[key] != "ok"}
    assert not lost, (seed, run.scheduler.stopped, Counter(lost.values()))
    hangs = math.ceil(rows.count("hangs") / concurrency) * (TOTAL + run.usual)
    bound = 1.2 * whole.last_ok() + 2 * run.gates + hangs + 5 * run.usual
    bound += 2 * seconds + 35 + (TOTAL if hangs else 0) if outage else 0  # a probe may be a row that hangs
    assert run.last_ok() <= bound, (seed, run.last_ok(), bound, run.gates)


def check_key(seed: int) -> None:
    """Hold a run whose key goes bad in its middle to the rule: nothing is lost for a run with a good one."""
    chance = random.Random(seed)
    concurrency = chance.choice((1, 4, 16, 64))
    rows = table(chance, 200, 40)
    rows = ["413" if kind in FAILURES else kind for kind in rows]
    whole = simulated(["ok"] * len(rows), concurrency, seed)
    revoked, refusal = BEGAN + chance.uniform(0.1, 0.9) * whole.seconds, KEYS[chance.choice(sorted(KEYS))]
    back = revoked + chance.choice((0.1, 1e9))
    run = simulated(rows, concurrency, seed, lambda now: refusal if revoked <= now < back else None)
    if not run.count("ok"):
        return
    outcomes = run.outcomes
    ends = Counter(outcomes[key] for key, kind in enumerate(rows) if kind == "ok")
    if back > BEGAN + 1e6:
        assert set(ends) <= {"ok", *AGAIN}, (seed, ends)
        refused = sum(at >= revoked for at, *_ in run.answers)
        assert refused <= 2 * max(20, concurrency) + concurrency + 12, (seed, refused)
    elif run.scheduler.stopped is None:
        assert "not_sent" not in ends, (seed, ends)


@pytest.mark.parametrize("begin", range(0, 100, 50))
def test_rows_that_the_server_would_answer_are_answered(begin):
    """Whatever the others are, and wherever they stand, in hardly more time than without them."""
    for seed in range(begin, begin + 20):
        check_rows(seed, good=60, most_bad=100)


def test_an_outage_among_bad_rows_loses_no_row():
    """It is told apart from rows that fail: these are not all."""
    for seed in range(20):
        check_rows(seed, good=60, most_bad=40, outage=True)


@pytest.mark.parametrize("seed", [6151, 7159])
def test_an_outage_before_rows_that_hang_loses_no_row(seed):
    """Rows that wait probe too, not fresh ones alone: all of these may be bad."""
    check_rows(seed, outage=True)


def test_a_key_that_goes_bad_loses_no_row():
    """Rows that were refused with it are sent again by the next run; hardly more than twenty are asked."""
    for seed in range(20):
        check_key(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("begin", range(0, 20_000, 1000))
def test_twenty_thousand_schedules_keep_the_rule(begin):
    """The same, for the claim: tables up to 800 rows."""
    for seed in range(begin, begin + 1000):
        check = (check_rows, check_rows, check_key)[seed % 3]
        check(seed, **({"outage": seed % 6 == 1} if check is check_rows else {}))


def test_good_rows_behind_rows_that_always_fail():
    """100 good rows after 40 that always get 500, 16 in flight."""
    run = simulated(["500"] * 40 + ["ok"] * 100, 16, 1)
    assert run.count("ok") == 100
    assert min(at for at, _, _, verdict in run.answers if verdict.outcome == "ok") - BEGAN <= 2
    assert run.seconds <= 30


@pytest.mark.parametrize(("bad", "concurrency"), [(8, 64), (40, 64), (12, 16), (4, 1)])
def test_a_run_that_ends_with_rows_that_always_fail_comes_to_its_end(bad, concurrency):
    """Fewer than it takes for an outage: they end after their tries."""
    run = simulated(["ok"] * 200 + ["500"] * bad, concurrency, 1)
    assert (run.count("ok"), run.count("http_error"), run.gates) == (200, bad, 0)
    assert run.seconds <= 20


def test_rows_that_are_too_long_on_top():
    """500 of them, and 500 good ones: size counts for no circuit, whether a code or numbers tell of it."""
    for kind in ("413", "too long"):
        run = simulated([kind] * 500 + ["ok"] * 500, 16, 1)
        if kind == "413":
            assert (run.count("ok"), run.count("http_error"), run.gates) == (500, 500, 0)


def test_a_run_stops_where_all_rows_are_refused_alike():
    """After twenty and three leap probes; never where that is switched off, nor where the journal has an answer."""
    rows, refusal = 500, says(400, message="Unsupported value number 7", code="unsupported_value")
    run = Simulation(rows, lambda now, key: dict(refusal), Limits(concurrency=4)).run()
    assert run.scheduler.stopped == "alike"
    assert "Unsupported value" in run.scheduler.stopped_by
    assert 23 <= len(run.starts) <= 23 + 4
    assert run.count("not_sent") == rows - len(run.starts)
    for more in ({"limits": Limits(concurrency=4, stop_after_alike=None)}, {"answered_before": True}):
        run = Simulation(rows, lambda now, key: dict(refusal), **more).run()
        assert (run.scheduler.stopped, run.count("http_error")) == (None, rows)


def test_a_probe_that_ends_otherwise_acquits_for_good():
    """One row of another kind among the leap probes: the run goes on to the end."""
    run = Simulation(500, lambda now, key: status(422 if key == 26 else 400), Limits(concurrency=1)).run()
    assert run.starts[20].key == 23
    other = Simulation(500, lambda now, key: status(422 if key == 23 else 400), Limits(concurrency=1)).run()
    assert (other.scheduler.stopped, len(other.starts)) == (None, 500)


def answering(rows: int, said: Callable[[int], str], **more: object) -> Simulation:
    """Run a table of answers that are judged: of each row what is wrong with it, empty for nothing."""

    def use(document: dict, verdict: Verdict) -> Verdict:
        reason = document["choices"][0]["message"]["content"]
        if reason == "yes":
            return verdict
        return verdict._replace(outcome="unusable", kind=Failure.UNUSABLE, reason=reason, message=reason)

    def server(now: float, key: int) -> dict:
        return ok() | {"body": OK_BODY.replace(b'"yes"', b'"%s"' % (said(key) or "yes").encode())}

    return Simulation(rows, server, use=use, **more).run()


@pytest.mark.parametrize("concurrency", [1, 4, 16, 64])
@pytest.mark.parametrize("again", [0, 2])
def test_a_run_stops_where_no_answer_is_json(concurrency, again):
    """After twenty and three leap probes, though each was paid for; never where that is switched off."""
    rows, retry = 500, Retry(unusable=again)
    run = answering(rows, lambda key: "not_json", limits=Limits(concurrency=concurrency), retry=retry)
    assert (run.scheduler.stopped, run.scheduler.stopped_by) == ("not_json", "")
    assert 23 <= len(run.begun) <= 23 + concurrency
    assert run.count("unusable") == len(run.begun)
    assert run.count("not_sent") == rows - len(run.begun)
    never = answering(rows, lambda key: "not_json", limits=Limits(stop_after_alike=None), retry=retry)
    assert (never.scheduler.stopped, never.count("unusable")) == (None, rows)


@pytest.mark.parametrize("other", ["", "does_not_fit"])
@pytest.mark.parametrize("where", [0, 19, 23, 85, 499])
def test_one_answer_that_is_json_shows_that_a_server_heeds_the_schema(other, where):
    """Among the first, or as a leap probe; be it one that does not fit."""
    one = Limits(concurrency=1)
    run = answering(500, lambda key: other if key == where else "not_json", limits=one)
    asked = [start.key for start in run.starts]
    assert asked[20:23] == [23, 36, 85] or where < 85
    assert (run.scheduler.stopped, len(asked)) == (("not_json", 23) if where == 499 else (None, 500))


def test_only_the_first_answers_of_a_run_say_that_a_schema_is_ignored():
    """After one that is JSON, none does, whatever fails between them."""
    scheduler = Scheduler(Limits(concurrency=1), Retry(), random=lambda: 0.5)
    good = judge(Answer(0, 200, b"", OK_BODY))
    no_json = good._replace(outcome="unusable", kind=Failure.UNUSABLE, reason="not_json")
    for key, verdict in enumerate([good, judge(Answer(0, 500, b"", b"")), *[no_json] * 40]):
        scheduler.started(key, float(key))
        scheduler.answered(key, verdict, 1, key + 0.5)
    assert (scheduler.is_probing, scheduler.stopped) == (False, None)


def test_answers_that_are_cut_or_refused_say_nothing_of_a_schema():
    """They neither count nor stop the counting; as a leap probe one of them lets the run go on."""
    run = answering(500, lambda key: "cut" if key % 2 and key < 40 else "not_json", limits=Limits(concurrency=1))
    assert (run.scheduler.stopped, len(run.starts)) == ("not_json", 39 + 3)
    run = answering(500, lambda key: "cut" if key >= 20 else "not_json", limits=Limits(concurrency=1))
    assert (run.scheduler.stopped, len(run.starts)) == (None, 500)


def test_a_row_that_is_larger_than_all_and_refused_waits_for_the_end():
    """Without a word about its size: three refusals among answers, then alone."""
    rows = ["ok"] * 60

    def server(now: float, key: int) -> dict:
        return status(429, b"retry-after-ms: 100\r\n") if key == 5 else ok()

    run = Simulation(
        len(rows), server, Limits(concurrency=4), Retry(throttled=5), tokens=lambda key: 9000 if key == 5 else 10
    ).run()
    starts = [start.at for start in run.starts if start.key == 5]
    last = max(start.at for start in run.starts if start.key != 5)
    assert sum(at < last for at in starts) <= 3
    assert run.count("ok") == 59
    assert run.outcomes[5] == "rate_limited"
