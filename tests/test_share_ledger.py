"""Limits that processes share: what all of them send together, simulated in virtual time."""

from __future__ import annotations

import random
from typing import NamedTuple

import pytest
from limited_servers import BEGAN, LimitedServer
from scheduler_simulation import ok, status
from share_simulation import Lender, Worker, together

from tablenodes.engine.scheduling.lease import Amounts, Report
from tablenodes.settings import Limits


def plain(now, key):
    return ok()


def limited(kind, rate, seed):
    server = LimitedServer(kind, rate, phase=random.Random(seed).random() * 10)

    def serve(now, key):
        code, headers = server.ask(now - BEGAN)
        return ok(headers) if code == 200 else status(code, headers)

    return serve


def workers(lender, server, rows, *, seconds=None, latency=0.05, seed=0, **more):
    """Return one worker for each number of rows; each further argument has a value for each of them."""
    return [
        Worker(
            count,
            server,
            latency=lambda chance: latency * chance.uniform(0.9, 1.1),
            seed=seed * 100 + number,
            interrupt_at=seconds,
            lender=lender,
            **{name: values[number] for name, values in more.items()},
        )
        for number, count in enumerate(rows)
    ]


def starts(team):
    return sorted(start.at for worker in team for start in worker.starts)


def answered(team, code):
    """Return when answers of a status came, of all workers, and when they were asked."""
    found = []
    for worker in team:
        begun: dict[int, list[float]] = {}
        for start in worker.starts:
            begun.setdefault(start.key, []).append(start.at)
        found += [(at, begun[key].pop(0)) for at, key, answer, _ in worker.answers if answer.status == code]
    return found


def kept(kind, seed, count=2, seconds=30):
    """Return the share of 100 a second that is served to workers together, and how many more are refused than may."""
    lender = Lender(Limits(concurrency=128))
    team = workers(lender, limited(kind, 100, seed), [10**7] * count, seconds=seconds, seed=seed)
    together(team)
    refused = [(at, asked) for at, asked in answered(team, 429) if at <= BEGAN + seconds]
    known = min(at for at, _ in refused)
    late = sum(asked >= known for _, asked in refused)
    informed = sum(at >= known for at in starts(team))
    served = sum(at <= BEGAN + seconds for at, _ in answered(team, 200))
    allowed = 0.08 if kind == "silent" else 0.05
    assert lender.renewals <= 5 * count * seconds + 5 * count
    return served / (100 * seconds), late - allowed * informed - 5


@pytest.mark.parametrize("kind", ["full", "seconds", "silent"])
def test_two_workers_keep_the_rate_of_a_server(kind):
    """One that says so, and one that says nothing: nearly all of it, hardly a refusal, and few renewals."""
    served, too_many = kept(kind, seed=1)
    assert served >= 0.9
    assert too_many <= 0


def test_one_refusal_at_a_slower_pace_is_no_reason_to_go_far_faster():
    """Calls of four workers happen to go at once where the server's places are used up."""
    served, too_many = kept("ms", seed=516, count=4)
    assert served >= 0.9
    assert too_many <= 0


@pytest.mark.parametrize(("seed", "count"), [(1033, 8), (3048, 2)])
def test_refusals_of_calls_that_bunch_are_no_chance(seed, count):
    """What workers send at once is refused in bunches where the server's places are used up."""
    served, too_many = kept("silent", seed, count)
    assert served >= 0.9
    assert too_many <= 0


def test_a_pace_at_which_a_few_are_refused_is_raised_only_a_little():
    """The places of a server are nearly used up then: far faster, and a lot is refused until that is known."""
    served, too_many = kept("silent", seed=509, count=4)
    assert served >= 0.9
    assert too_many <= 0


@pytest.mark.parametrize("late", [0.1, 0.3])
def test_a_lease_that_comes_late_costs_nothing(late):
    """It is asked for while the old one holds, and never before the last one has come."""
    lender = Lender(Limits(requests_per_minute=6000))
    team = workers(lender, plain, [10**5] * 2, seconds=20, late=[late] * 2)
    together(team)
    assert 0.95 * 100 * 20 <= len(starts(team)) <= 2005
    assert lender.renewals <= 2 * 5 * 20


def test_a_lease_that_never_comes_is_asked_for_once():
    """What the first one allows is sent, and nothing more."""
    lender = Lender(Limits(requests_per_minute=600))
    (worker,) = workers(lender, plain, [10**4], seconds=5)
    steps = worker.steps()
    for at in steps:
        worker.now, worker.late = max(worker.now, at), 1e9 * lender.renewals
        if at > BEGAN + 4:
            break
    assert lender.renewals == 2
    assert 5 <= len(worker.starts) <= 11
    assert worker.starts[-1].at <= BEGAN + 1


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("kind", ["full", "next", "seconds", "ms", "silent"])
def test_twenty_runs_keep_the_rate(kind, count):
    """The same for fresh seeds, and for four workers."""
    seen = [kept(kind, seed, count) for seed in range(500, 520)]
    assert min(served for served, _ in seen) >= 0.9
    assert max(too_many for _, too_many in seen) <= 0


def test_a_pace_of_ones_own_is_kept_by_all_together():
    """600 requests a minute are ten a second, however many processes there are."""
    lender = Lender(Limits(requests_per_minute=600))
    team = workers(lender, plain, [10**4] * 3, seconds=20)
    together(team)
    assert 0.9 * 200 <= len(starts(team)) <= 205
    assert min(len(worker.starts) for worker in team) >= 50


def test_no_more_are_in_flight_than_all_may_have():
    """A worker that joins waits until others have ended what it takes over."""
    lender = Lender(Limits(concurrency=16))
    team = workers(lender, plain, [10**4] * 3, seconds=5, latency=0.4, after=[0.0, 0.7, 1.3])
    together(team)
    moments = [(at, 1) for at in starts(team)] + [(at, -1) for worker in team for at, *_ in worker.answers]
    in_flight = most = 0
    for _, change in sorted(moments):
        in_flight += change
        most = max(most, in_flight)
    assert 14 <= most <= 16
    assert min(len(worker.starts) for worker in team) >= 20


def test_who_wants_less_leaves_the_rest_to_others():
    """Ten rows beside ten thousand: the small table ends soon, and the large one has the rate for itself."""
    lender = Lender(Limits(requests_per_minute=6000))
    team = workers(lender, plain, [10, 10**5], seconds=20)
    together(team)
    assert len(team[0].starts) == 10
    assert team[0].starts[-1].at <= BEGAN + 1
    assert len(team[1].starts) >= 0.95 * 100 * 20 - 10


def test_a_worker_that_joins_has_its_part_soon():
    """Four seconds later, and without a burst."""
    lender = Lender(Limits(requests_per_minute=6000))
    team = workers(lender, plain, [10**5] * 2, seconds=10, after=[0.0, 4.0])
    together(team)
    second = [start.at for start in team[1].starts]
    assert sum(BEGAN + 5 <= at <= BEGAN + 10 for at in second) >= 0.4 * 100 * 5
    for from_ in range(10):
        assert sum(BEGAN + from_ <= at < BEGAN + from_ + 1 for at in starts(team)) <= 115


def test_a_pause_that_one_is_asked_for_is_kept_by_all():
    """The server refuses one row of the first worker, and asks for five seconds."""

    def serve(now, key):
        return status(429, b"retry-after: 5\r\n") if key == 100 and now < BEGAN + 5 else ok()

    lender = Lender(Limits(concurrency=8))
    team = workers(lender, serve, [2000], seconds=9) + workers(lender, plain, [10**5], seconds=9, seed=1)
    together(team)
    heard = min(at for at, _ in answered(team, 429))
    other = [start.at for start in team[1].starts]
    assert not [at for at in other if heard + 0.3 <= at < heard + 4.9]
    assert [at for at in other if at > heard + 5]


@pytest.mark.parametrize("limit", [100, 1003])
@pytest.mark.parametrize("killed", [None, 0.9])
def test_no_request_more_than_max_requests(limit, killed):
    """Four workers; one is killed: what it was leased stays counted, and all others stop."""
    lender = Lender(Limits(concurrency=32, max_requests=limit))
    team = workers(lender, plain, [10**4] * 4, latency=0.2)
    together(team, {} if killed is None else {0: killed})
    assert len(starts(team)) <= limit
    assert len(starts(team)) >= limit - (0 if killed is None else 32)
    assert {worker.scheduler.stopped for worker in team[1:]} == {"max_requests"}


def leased_late(limits, seed):
    """Run two to four workers, whose leases come late and which join one after the other, until all is spent."""
    chance = random.Random(seed)
    count = chance.randint(2, 4)
    more = {
        "late": [chance.uniform(0.1, 0.4) for _ in range(count)],
        "after": [0.0, *(chance.uniform(0.1, 1) for _ in range(count - 1))],
        "price": [0.01] * count,
    }
    team = workers(Lender(limits), plain, [10**4] * count, latency=chance.uniform(0.02, 0.05), seed=seed, **more)
    together(team)
    return team


@pytest.mark.parametrize("seeds", [range(15), pytest.param(range(15, 200), marks=pytest.mark.slow)], ids=str)
def test_leases_that_come_late_overspend_nothing(seeds):
    """A worker goes on by its old lease until the next one has come: what that has less is for nobody else before."""
    for seed in seeds:
        limit = random.Random(seed).randint(150, 300)
        assert len(starts(leased_late(Limits(concurrency=16, max_requests=limit), seed))) == limit, seed


@pytest.mark.slow
def test_leases_that_come_late_overspend_a_request_a_worker_at_most():
    """Each request costs a cent, and is ten tokens, of which those in flight come on top."""
    for seed in range(100):
        count = random.Random(seed).randint(60, 600)
        team = leased_late(Limits(concurrency=16, max_cost=count * 0.01 + 0.005), seed)
        assert count <= len(starts(team)) <= count + len(team), seed
        team = leased_late(Limits(concurrency=16, token_budget=count * 10), seed)
        assert count <= len(starts(team)) <= count + 16, seed


def test_places_that_a_late_lease_takes_are_nobody_elses_before():
    """One that has to give places up may use all of them until it knows, which its next report tells."""
    lender, few = Lender(Limits(concurrency=16)), {"in_flight": 2, "slots": 5.0}
    reports = [*[Report("first", **few), Report("second")] * 3]
    assert [lender.renew(report).slots for report in reports] == [16, 0, 5, 0, 5, 11]


def test_who_leaves_says_so_after_a_lease_that_failed():
    """What was not used of it is for others at once."""

    class Failed(NamedTuple):
        def done(self):
            return True

        def result(self):
            raise ConnectionError

    lender = Lender(Limits(max_requests=100))
    (worker,) = workers(lender, plain, [10])
    worker.lease.turn(BEGAN)
    ask, worker.lease._asking = worker.lease._asking, lambda renew, report: Failed()
    with pytest.raises(ConnectionError):
        worker.lease.turn(BEGAN + 0.3)
    worker.lease._asking = ask
    worker.lease.leave(BEGAN + 0.4)
    assert lender.ledger.renew(Report("next", wants=Amounts(100.0)), lender.limits, BEGAN + 0.5).granted.requests == 100


@pytest.mark.parametrize("killed", [None, 0.9])
def test_max_cost_is_exceeded_by_a_request_a_worker_at_most(killed):
    """Each request costs a cent, of 5.005 dollars."""
    lender = Lender(Limits(concurrency=32, max_cost=5.005))
    team = workers(lender, plain, [10**4] * 4, latency=0.2, price=[0.01] * 4)
    together(team, {} if killed is None else {0: killed})
    assert 5.005 - (0 if killed is None else 0.35) <= 0.01 * len(starts(team)) <= 5.005 + 4 * 0.01
    assert {worker.scheduler.stopped for worker in team[1:]} == {"max_cost"}


@pytest.mark.parametrize("limits", [Limits(concurrency=32, max_requests=1003), Limits(concurrency=32, max_cost=10.03)])
@pytest.mark.parametrize("folders", ["aaaa", "baaa"])
def test_what_a_killed_worker_had_left_comes_back_by_its_journal(limits, folders):
    """To those whose journals are in its folder; each reading is done once. For others it stays counted."""
    read = []

    def used(dead):
        read.append(dead.journal)
        begun = len(team[0].starts)
        return Amounts(begun, 0.0, 0.01 * begun)

    lender = Lender(limits)
    more = {"price": [0.01] * 4, "journal": [f"{folder}/{number}" for number, folder in enumerate(folders)]}
    team = workers(lender, plain, [10**4] * 4, latency=0.2, settle=[used] * 4, **more)
    together(team, {0: 0.9})
    comes_back = folders == "aaaa"
    assert read == ["a/0"] * comes_back
    assert 1003 - (0 if comes_back else 32) <= len(starts(team)) <= 1003 + 3 * (limits.max_cost is not None)
    assert {worker.scheduler.stopped for worker in team[1:]} == {"max_requests" if limits.max_requests else "max_cost"}


def test_a_journal_that_cannot_be_read_holds_nobody():
    """Its worker may be at work, but for its lease: what it was granted stays counted, and the others end."""
    read = []
    lender = Lender(Limits(concurrency=32, max_requests=1003))
    more = {"journal": list("abcd"), "settle": [read.append] * 4}
    team = workers(lender, plain, [10**4] * 4, latency=0.2, **more)
    together(team, {0: 0.9})
    assert [dead.journal for dead in read] == ["a"] * 3
    assert 1003 - 32 <= len(starts(team)) <= 1003
    assert {worker.scheduler.stopped for worker in team[1:]} == {"max_requests"}


def test_all_stop_when_the_tokens_of_all_are_spent():
    """Each answer is 10 tokens; what is in flight then comes on top."""
    lender = Lender(Limits(concurrency=16, token_budget=5000))
    team = workers(lender, plain, [10**4] * 3)
    together(team)
    assert 500 <= len(starts(team)) <= 500 + 3 * 16
    assert {worker.scheduler.stopped for worker in team} == {"token_budget"}


def test_a_worker_that_was_paused_sends_nothing_on_an_old_lease():
    """Stopped for five seconds: the others take its part, and it begins with a new lease."""
    lender = Lender(Limits(requests_per_minute=6000))
    until = BEGAN + 10
    team = workers(
        lender,
        plain,
        [10**5] * 2,
        seconds=20,
        acts_at=[lambda at: until if BEGAN + 5 <= at < until else at, lambda at: at],
    )
    together(team)
    other = [start.at for start in team[1].starts]
    assert sum(BEGAN + 6.5 <= at < BEGAN + 10 for at in other) >= 0.9 * 100 * 3.5
    for from_ in range(20):
        assert sum(BEGAN + from_ <= at < BEGAN + from_ + 1 for at in starts(team)) <= 115


def test_a_lease_that_has_run_out_allows_nothing():
    """Whoever was stopped for a while does not know what others have been granted since."""
    (worker,) = workers(Lender(), plain, [10])
    worker.lease.turn(BEGAN)
    assert worker.scheduler.room(BEGAN + 0.9) > 0
    assert worker.scheduler.room(BEGAN + 1.1) == 0


def test_workers_that_join_one_after_the_other_do_not_add_up():
    """Each takes what is free, until the others have given up their parts."""
    lender = Lender(Limits(requests_per_minute=6000))
    team = workers(lender, plain, [10**5] * 6, seconds=4, after=[0.0, 1.0, 1.02, 1.04, 1.06, 1.08])
    together(team)
    for quarter in range(16):
        assert sum(quarter <= 4 * (at - BEGAN) < quarter + 1 for at in starts(team)) <= 34
    assert min(len(worker.starts) for worker in team) >= 25
