"""Kills: whatever moment a run is killed at, no answer that was committed is lost or asked for again.

The server's log decides. ``TABLENODES_KILLS`` is how many random kills there are in all (30); with ``-m slow`` there
are 3,000 of them, and each named point is met 20 times.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import commands
import pytest
from commands import Command
from killing import NODE, ONCE, POINTS, Oracle, Victims, bodies, committed, moments, oracle, was_killed
from servers import digest
from signalling import Process

from tablenodes.engine.calls import Request
from tablenodes.engine.journal import Keys

KILLS = int(os.environ.get("TABLENODES_KILLS", "30"))
SLOW = pytest.mark.slow


class Life:
    """One journal, from its first run to the run that finishes, with the rules that hold at each death.

    Attributes
    ----------
    kills : int
        Runs that were killed.
    again : int
        Requests that the server got more than once.
    """

    def __init__(self, victims: Victims, server: Oracle, folder: Path, rows: int, concurrency: int, **more: Any):
        folder.mkdir(parents=True, exist_ok=True)
        self.victims, self.server, self.concurrency = victims, server, concurrency
        self.journal, self.output = folder / "run.journal", folder / "out.csv"
        self.job = {
            "url": server.url,
            "rows": rows,
            "concurrency": concurrency,
            "journal": str(self.journal),
            "output": str(self.output),
        } | more
        self.bodies = bodies(rows, more.get("pad", 0))
        keys = Keys(Request("POST", f"{server.url}/chat/completions", ()), NODE)
        self.names = {keys.key(body): digest(body) for body in self.bodies}
        self.begun = len(server.received)
        self.kept: set[str] = set()
        self.kills = 0

    @property
    def received(self) -> list[str]:
        return self.server.received[self.begun :]

    @property
    def again(self) -> int:
        return len(self.received) - len(set(self.received))

    def run(self, on_start: Any = None, **how: Any) -> dict[str, Any]:
        """Run until the end or the death, and hold what is kept to the rules."""
        before = len(self.server.received)
        end = self.victims.run(self.job | how, on_start)
        if was_killed(end):
            self.kills += 1
        self.heed(before)
        return end

    def heed(self, before: int) -> None:
        """Hold a run, whose requests began at `before` in the server's log, to what was committed before it."""
        asked = set(self.server.received[before:])
        assert not asked & self.kept, "asked again for what was committed"
        now = committed(self.journal, self.names)
        assert now >= self.kept, "lost what was committed"
        self.kept = now

    def finish(self) -> dict[str, Any]:
        end = self.run()
        said = end["said"]
        assert said.get("outcomes") == {"ok": self.job["rows"]}, said
        assert self.again <= self.kills * self.concurrency
        assert set(self.received) == set(self.names.values())
        return said


def table(made: list[bytes]) -> bytes:
    """Return the output as it must be: each row has the answer to its own request."""
    rows = [f"w{row},{digest(body)},200,ok,\n" for row, body in enumerate(made)]
    return "".join(["word,say,say_status,say_outcome,say_message\n", *rows]).encode()


def unkilled(victims: Victims, server: Oracle, folder: Path, rows: int, concurrency: int) -> float:
    """Return the seconds that a run takes which nobody kills."""
    life = Life(victims, server, folder / "unkilled", rows, concurrency)
    end = life.run()
    assert end["said"]["outcomes"] == {"ok": rows}
    assert life.output.read_bytes() == table(life.bodies)
    return float(end["seconds"])


@pytest.mark.parametrize(
    ("concurrency", "rows", "kills"),
    [
        pytest.param(c, r, -(-KILLS // 3), marks=pytest.mark.timeout(120 + 5 * KILLS))
        for c, r in ((1, 30), (8, 120), (64, 400))
    ]
    + [pytest.param(c, r, 1000, marks=[SLOW, pytest.mark.timeout(7200)]) for c, r in ((1, 40), (8, 250), (64, 700))],
)
def test_kills_at_random_moments(victims, tmp_path, concurrency, rows, kills):
    """Nothing committed is lost or sent again, no more is sent again than was in flight, and the output is equal."""
    with oracle() as server:
        seconds = unkilled(victims, server, tmp_path, rows, concurrency)
        delays = moments(("kills", concurrency), seconds)
        done = again = lives = 0
        while done < kills:
            life = Life(victims, server, tmp_path / str(lives), rows, concurrency)
            while life.kills + done < kills:
                if not was_killed(life.run(kill_after=next(delays))):
                    break
            life.finish()
            assert life.output.read_bytes() == table(life.bodies)
            done, again, lives = done + life.kills, again + life.again, lives + 1
    print(
        f"concurrency {concurrency}: {done} kills in {lives} lives, {again} sent again (at most {done * concurrency})"
    )


def test_kills_of_runs_over_requests(victims, tmp_path):
    """The same rules, whatever carries the bytes."""
    with oracle() as server:
        life = Life(victims, server, tmp_path, 80, 8, transport="requests")
        for delay, _ in zip(moments("requests", 0.25), range(5), strict=False):
            life.run(kill_after=delay)
        life.finish()
        assert life.output.read_bytes() == table(life.bodies)


def test_a_run_that_is_killed_again_and_again_comes_to_its_end(victims, tmp_path):
    """Killed 0.2 s after its beginning, and a little later each time, until it is done: each life brings it on."""
    rows, concurrency = 300, 8
    with oracle(latency=0.01) as server:
        for number in range(5):  # one that is killed too late, for its killer was held up, shows nothing
            life = Life(victims, server, tmp_path / str(number), rows, concurrency)
            while was_killed(life.run(kill_after=0.2 + life.kills / 100)):
                assert life.kills < 100
            life.finish()
            if life.kills > 1:
                break
        assert life.kills > 1
        assert len(life.received) <= rows + life.kills * concurrency
    print(f"{life.kills} kills, {life.again} sent again")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("times", [2, pytest.param(20, marks=SLOW)])
def test_kills_at_each_point(victims, tmp_path, point, times):
    """Whatever was done and whatever was still to be done when it died."""
    rows, concurrency = 12, 4
    if point in ONCE and times == 2:
        times = 1  # the second would be the same again
    with oracle(latency=0.001) as server:
        for number in range(times):
            life = Life(victims, server, tmp_path / str(number), rows, concurrency)
            nth = 1 if point in ONCE else (1, 5, 2, 8, 3, 4, 6, 7, 9, 10)[number % 10]
            end = life.run(point=point, nth=nth)
            assert was_killed(end) or (nth > 1 and "commit" in point), end
            if "rename" in point or "fsync" in point or point == "temp write":
                assert len(life.kept) == rows
                assert life.output.exists() == (point == "after rename")
            life.finish()
            assert life.output.read_bytes() == table(life.bodies)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("point", ["before statement", "after statement"])
def test_kills_at_each_statement(victims, tmp_path, point):
    """Every statement that SQLite is given, one after the other, until a run comes through."""
    rows, concurrency = 12, 4
    with oracle(latency=0.001) as server:
        for nth in range(1, 1000):
            life = Life(victims, server, tmp_path / str(nth), rows, concurrency)
            if not was_killed(life.run(point=point, nth=nth)):
                break
            life.finish()
            assert life.output.read_bytes() == table(life.bodies)
    assert nth > 20


@pytest.mark.parametrize("where", ["at_half", "at_half_answer"])
def test_kills_in_the_middle_of_a_message(victims, tmp_path, where):
    """The server has half of a request, or has sent half of an answer: that row is sent again, and no other."""
    with oracle() as server:
        life = Life(victims, server, tmp_path, 4, 1, pad=1_000_000)

        def kill_there(victim: Process) -> None:
            setattr(server, where, victim.send)

        assert was_killed(life.run(on_start=kill_there))
        # Of half a request the system may hold the other half already, and deliver it although its sender is dead.
        received = len(life.received)
        assert received == 1 if where == "at_half_answer" else received <= 1
        life.finish()
        assert life.again == received


def test_at_most_once_repeats_nothing_whatever_kills_it(victims, tmp_path):
    """With ambiguous=0 and on_in_doubt="report" no request is made twice, and what may have been billed is marked."""
    rows, concurrency = 150, 8
    strict = {"retry": {"ambiguous": 0}, "on_in_doubt": "report"}
    with oracle() as server:
        seconds = unkilled(victims, server, tmp_path, rows, concurrency)
        delays = moments("once", seconds)
        for number in range(4):
            life = Life(victims, server, tmp_path / str(number), rows, concurrency, manner=strict)
            for _ in range(3):
                life.run(kill_after=next(delays))
            said = life.run()["said"]
            assert life.again == 0
            assert set(said["outcomes"]) <= {"ok", "in_doubt"}
            assert said["outcomes"].get("in_doubt", 0) <= life.kills * concurrency
            executed = {row for row, body in enumerate(life.bodies) if digest(body) in life.server.sends}
            assert executed - set(said["ok"]) <= set(said["maybe_billed"])


def test_max_requests_holds_over_kills(victims, tmp_path):
    """The server never gets one more, however often the run is killed and begun again."""
    rows, most = 200, 90
    with oracle() as server:
        life = Life(victims, server, tmp_path, rows, 8, manner={"limits": {"max_requests": most}})
        for delay, _ in zip(moments("most", 0.15), range(6), strict=False):
            life.run(kill_after=delay)
            assert len(life.received) <= most
        said = life.run()["said"]
        assert said["stopped"] == "max_requests"
        assert said["outcomes"]["ok"] == len(life.kept)
        assert most - life.kills * 8 <= len(set(life.received)) <= len(life.received) <= most


def test_the_command_line_goes_on_where_it_was_killed(tmp_path):
    """The journal beside its output is all that it needs; after its end the same command asks for nothing."""
    rows = 200
    (tmp_path / "words.csv").write_text("word\n" + "".join(f"w{row}\n" for row in range(rows)))
    command = ["call", "CreateChatCompletion", "words.csv", "--model", "m"]
    command += ["--prompt", "Say {{ word }}", "--output", "out.csv", "--concurrency", "4", "--no-progress"]
    with oracle(latency=0.01) as server:
        command += ["--base-url", server.url]
        with Command(command, cwd=tmp_path) as process:
            server.at_answers = (20, process.kill)
            assert process.wait(60) == -signal.SIGKILL
        first = len(server.received)
        assert 20 <= first < rows
        assert commands.run(command, cwd=tmp_path)[0] == 0
        assert rows <= len(server.received) <= rows + 4
        output = (tmp_path / "out.csv").read_bytes()
        before = len(server.received)
        assert commands.run(command, cwd=tmp_path)[0] == 0
        assert len(server.received) == before
        assert (tmp_path / "out.csv").read_bytes() == output
