"""One side of the comparison: the code of one checkout, given seeded inputs, tells what it makes of them.

``python side.py CHECKOUT KIND FIRST COUNT`` writes one line of JSON an input. Whatever moved inside the engine is found
by its name, so that both sides run the same file.
"""

from __future__ import annotations

import hashlib
import heapq
import importlib
import json
import pkgutil
import random
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RENAMED = {"Ended": "KeptAnswer"}
"""Names of today by the names of before."""


class Engine:
    """The public names of the engine, wherever they are."""

    def __init__(self) -> None:
        import tablenodes.engine

        for module in pkgutil.walk_packages(tablenodes.engine.__path__, "tablenodes.engine."):
            loaded = importlib.import_module(module.name)
            for name, value in vars(loaded).items():
                if not name.startswith("_") and getattr(value, "__module__", module.name) == module.name:
                    setattr(self, name, value)
            if module.name.endswith(".policy"):
                self.policy = loaded

    def __getattr__(self, name: str) -> Any:
        if name in RENAMED:
            return getattr(self, RENAMED[name])
        raise AttributeError(name)


# --- schedules ------------------------------------------------------------------------------------------------------


class World:
    """A server and its clients in virtual time; everything that the scheduler says goes into a trace."""

    def __init__(self, engine: Engine, plan: dict[str, Any]) -> None:
        from tablenodes.settings import Limits, Retry

        self.engine, self.plan = engine, plan
        self.limits, self.retry = Limits(**plan["limits"]), Retry(**plan["retry"])
        self.chance = random.Random(plan["seed"])
        self.trace: list[Any] = []
        self.now = 1000.0
        self.admission = engine.Admission(self.limits, self.retry)

    def run(self) -> list[Any]:
        for number in range(self.plan["runs"]):
            self._one_run(self.admission if number or self.plan["runs"] > 1 else None)
        return self.trace

    def _one_run(self, admission: Any) -> None:
        plan = self.plan
        left = plan["seconds_left"]
        self.scheduler = self.engine.Scheduler(
            self.limits,
            self.retry,
            random=self.chance.random,
            at_most_once=plan["at_most_once"],
            sent_before=plan["sent_before"],
            capacity=plan["capacity"],
            seconds_left=None if left is None else lambda key: left + key,
            admission=admission,
        )
        self.fresh, self.number, self.events, began = 0, 0, [], self.now
        scheduler = self.scheduler
        while True:
            if plan["interrupt_at"] is not None and self.now >= began + plan["interrupt_at"]:
                scheduler.stop("interrupted")
            self._start()
            if not scheduler.in_flight and self._left():
                scheduler.give_up_waiting(self.now)
                self._start()
            self._note("ended", [self._end(done) for done in scheduler.take_ended()])
            if not scheduler.in_flight and (scheduler.stopped or not self._left()):
                break
            if scheduler.stopped == "interrupted" and self.chance.random() < 0.2:
                break
            self._advance(began)
        for key in [key for key in range(plan["rows"]) if key in scheduler.begun]:
            self._note("abandoned", key, scheduler.abandon(key))
        told = (scheduler.stopped, scheduler.asked_to_wait, scheduler.sent, scheduler.tokens, scheduler.first_try)
        self._note("stopped", told, scheduler.retries, scheduler.seconds_paused, scheduler.waiting)
        self._note("opens", self.admission.opens_at(self.now, 0))

    def _note(self, *what: Any) -> None:
        self.trace.append(what)

    def _end(self, done: Any) -> list[Any]:
        return [done.key, done.verdict.outcome, done.verdict.message, done.attempts, done.maybe_billed]

    def _left(self) -> bool:
        return self.fresh < self.plan["rows"] or self.scheduler.waiting > 0

    def _start(self) -> None:
        while (room := self.scheduler.room(self.now)) > 0:
            for _ in range(room):
                key = self.scheduler.next_retry(self.now)
                if key is not None and self.chance.random() < self.plan["put_back"]:
                    self.scheduler.put_back(key, self.now + 0.5)
                    continue
                key = self._next_fresh() if key is None else key
                if key is None:
                    return
                left = self.scheduler.started(key, self.now, self.plan["tokens"])
                self._note("started", self.now, key, left)
                self._event(self.now + self.chance.uniform(0.001, self.plan["latency"]), key, None)

    def _next_fresh(self) -> int | None:
        while self.fresh < self.plan["rows"]:
            key, self.fresh = self.fresh, self.fresh + 1
            if not self.scheduler.is_missing(f"m{key % 2}"):
                return key
        return None

    def _event(self, at: float, key: int, answer: Any) -> None:
        self.number += 1
        heapq.heappush(self.events, (at, self.number, key, answer))

    def _advance(self, began: float) -> None:
        scheduler = self.scheduler
        wake, wait = scheduler.wait_until(self.now), scheduler.wait(self.now)
        self._note("waits", self.now, wake, None if wait is None else [wait.reason, wait.until, wait.outcome])
        times = [] if wake is None else [wake]
        times += [self.events[0][0]] if self.events else []
        times += [began + self.plan["interrupt_at"]] if self.plan["interrupt_at"] and not scheduler.stopped else []
        self.now = max(self.now, min(times))
        while self.events and self.events[0][0] <= self.now:
            _, _, key, answer = heapq.heappop(self.events)
            self._arrives(key) if answer is None else self._answered(key, answer)

    def _arrives(self, key: int) -> None:
        plan = self.plan
        mood = plan["moods"][sum(self.now - 1000 > change for change in plan["changes"]) % len(plan["moods"])]
        fields = dict(mood[0] if self.chance.random() >= plan["healthy"] else self._ok())
        fields = dict(self.chance.choice(mood)) if fields is mood[0] else fields
        back = fields.pop("seconds", self.chance.uniform(0.001, plan["latency"]))
        sends = 0
        if fields.pop("reached", True):
            sends = int(self.scheduler.may_send(key))
            while self.chance.random() < plan["repeats"] and self.scheduler.may_send(key):
                sends += 1
        self._event(self.now + back, key, self.engine.Answer(key, sends=sends, **fields))

    def _ok(self) -> dict[str, Any]:
        import inputs

        return {"status": 200, "headers": b"content-length: 9\r\n", "body": inputs.OK_BODY}

    def _answered(self, key: int, answer: Any) -> None:
        verdict = self.engine.judge(answer, at_most_once=bool(self.plan["at_most_once"]))
        done = self.scheduler.answered(key, verdict, answer.sends, self.now, f"m{key % 2}")
        self._note("answered", self.now, key, None if done is None else self._end(done))


def schedules(engine: Engine, seeds: range) -> Iterator[Any]:
    """Run every schedule and give its trace."""
    import inputs

    for seed in seeds:
        yield World(engine, inputs.schedule(seed)).run()


# --- answers --------------------------------------------------------------------------------------------------------


def answers(engine: Engine, seeds: range) -> Iterator[Any]:
    """Judge every answer; a hundredth of them is cut at every place, too."""
    import inputs

    secrets = (inputs.KEY.encode(),)
    redaction = engine.Redaction(secrets)
    for seed in seeds:
        given = inputs.answer(seed)
        how = {name: given.pop(name) for name in ("asked", "needs_choices", "at_most_once", "clock", "pieces")}
        plain = engine.Answer(seed, **given)
        safe = redaction(plain)
        places = range(len(given["body"])) if seed % 100 == 0 and len(given["body"]) < 4000 else ()
        cut = [_judged(engine, safe._replace(body=safe.body[:place]), how, secrets) for place in places]
        yield [
            _judged(engine, plain, how, secrets),
            _judged(engine, safe, how, secrets),
            [safe.body, safe.headers, safe.message, engine.redacted(plain, redaction)],
            _streamed(engine, given["body"], how["pieces"], redaction),
            engine.first_text(given["body"]),
            engine.choices_asked(how["asked"]),
            hashlib.sha256(_line(cut)).hexdigest(),
        ]


def _judged(engine: Engine, answer: Any, how: dict[str, Any], secrets: tuple[bytes, ...]) -> list[Any]:
    clock = how["clock"]
    verdict = engine.judge(
        answer,
        how["asked"],
        needs_choices=how["needs_choices"],
        at_most_once=how["at_most_once"],
        secrets=secrets,
        wall_clock=None if clock is None else lambda: clock,
    )
    kept = engine.Ended.of(answer, verdict)
    body = (answer.body if verdict.body is None else verdict.body).decode(errors="replace")
    words = None
    if verdict.outcome != "ok" and answer.status is not None:  # without a status, a body is an error object of ours
        words = [engine.reason_of(verdict.outcome, body, answer.status), engine.is_api_error(body)]
    told = None if verdict.told is None else engine.rate_limits(verdict.told)
    return [verdict._asdict(), kept, kept.may_pass, words, told]


def _streamed(engine: Engine, body: bytes, size: int, redaction: Any) -> list[Any]:
    """Read a body as a stream, piece by piece."""
    reader, assembly, mask = engine.EventReader(2000), engine.Assembly(), redaction.live()
    texts: list[Any] = []
    try:
        for at in range(0, len(body), size):
            for event in reader.push(body[at : at + size]):
                text = assembly.add(event)
                texts.append([event.name, text, mask.push(text), assembly.finished(1), assembly.counted])
        last = reader.finish()
        if last is not None:
            assembly.add_unended(last)
    except engine.EventTooLongError:
        texts.append("too long")
    told = [assembly.done, assembly.malformed, assembly.ended, assembly.error, assembly.is_whole(2), mask.rest()]
    try:
        written = engine.encoded(assembly.document())
        again = engine.as_stream(assembly, written)
        return [texts, told, written, again, engine.encoded(engine.assembled(again).document())]
    except (engine.MalformedError, engine.UnreadableError) as error:
        return [texts, told, type(error).__name__]


# --- real runs ------------------------------------------------------------------------------------------------------


def runs(engine: Engine, seeds: range) -> Iterator[Any]:
    """Run tables against a server with faults; what does not hang on time is told."""
    import inputs
    import pandas as pd
    from servers import fault_server

    import tablenodes as tn

    shorter = {"BACKOFF_FIRST": 0.0, "BACKOFF_FLOOR": 0.0, "THROTTLED_FIRST": 0.0, "PROBE_FIRST": 0.02}
    # How often a server that is out is probed hangs on time: no gate is shut here, schedules have them.
    steady = {"JITTER_SHARE": 0.0, "AFTER_FINISH": 0.1, "AFTER_DONE": 0.1, "OUTAGE_FAILURES": 10**6}
    for name, value in (shorter | steady).items():
        setattr(engine.policy, name, value)
    for seed in seeds:
        plan = inputs.faulty_run(seed)
        table = pd.DataFrame({"prompt": [f"row {row}" for row in range(len(plan["rows"]))]})
        node = tn.CreateChatCompletion(model="m", prompt="{{ prompt }}", stream=True if plan["stream"] else None)
        with fault_server(_by_row(plan)) as server, tempfile.TemporaryDirectory() as folder:
            connection = tn.Connection(server.url, inputs.KEY, transport=plan["transport"], timeout=30)
            manner = {
                "limits": tn.Limits(
                    concurrency=plan["concurrency"], max_requests=plan["max_requests"], body_bytes=100_000
                ),
                "retry": tn.Retry(outage_patience=0.3, **plan["retry"]),
                "journal": str(Path(folder) / "journal.sqlite") if plan["journal"] else None,
                "progress": False,
            }
            told = [_told(node.run(table, connection, **manner), server, plan["transport"])]
            if plan["journal"]:
                told.append(_told(node.run(table, connection, **manner), server, plan["transport"]))
        yield told


def _told(output: Any, server: Any, transport: str) -> list[Any]:
    log = output.log.drop(columns=["latency"])
    tables = [json.loads(table.to_json(orient="split")) for table in (output.result, log)]
    summary = output.summary
    notes = [note.replace(str(server.port), "PORT") for note in summary.notes]
    # A plain session repeats what a kept connection lost, where one that was watched had closed it before.
    retries = summary.retries if transport == "curl" else sum(summary.retries.values())
    numbers = [summary.requests, summary.first_try, summary.reused, retries, summary.stopped]
    return [*tables, summary.outcomes, numbers, notes, len(server.requests)]


def _by_row(plan: dict[str, Any]) -> Any:
    """React to each row's requests by its own script, in whatever order they come."""
    reactions = _reactions()
    seen: dict[int, int] = {}
    lock = threading.Lock()

    def react(exchange: Any) -> None:
        row = int(json.loads(exchange.received.body)["messages"][0]["content"].split()[1])
        script = plan["rows"][row]
        with lock:
            number = seen[row] = seen.get(row, -1) + 1
        reaction = reactions[script[min(number, len(script) - 1)]]
        if plan["concurrency"] == 1:
            reaction(exchange)
            return
        # Which of several kept connections a row gets hangs on time: none is kept.
        send = exchange.send
        exchange.send = lambda data: send(data.replace(b" X\r\n", b" X\r\nConnection: close\r\n"))
        reaction(exchange)
        exchange.close()

    return react


def _reactions() -> dict[str, Any]:
    """Return what a server does, by its name in `inputs`."""
    import gzip

    import inputs
    from servers import answer, chunks, completion, echo, fin, head, message, pieces, raw, redirect, reset
    from streamed import CHUNK, STREAM_HEAD, TWINS, chunks_of, stream_of

    def made(make: Any, then: str = "keep") -> Any:
        return lambda exchange: raw(make(completion(exchange.received.body)), then)(exchange)

    def error(code: Any, status: int = 200, headers: Any = ()) -> Any:
        return answer(json.dumps({"error": {"message": "no", "type": "", "code": code}}), status, headers)

    def stream(data: bytes, *, end: bool = True, then: str = "keep") -> Any:
        return raw(STREAM_HEAD + chunks(data, end=end), then)

    whole, chunked = stream_of(chunks_of(TWINS["three choices"])), head(200, {"Transfer-Encoding": "chunked"})
    in_pieces = [chunks(whole[at : at + 99], end=False) for at in range(0, len(whole), 99)]
    return {
        "ok": echo(),
        "slow": echo(delay=0.05),
        **{str(code): answer(b"{}", code) for code in (400, 401, 402, 403, 404, 409, 422, 429, 500, 503, 529)},
        "429 soon": answer(b"{}", 429, {"Retry-After": "0.05"}),
        "429 tomorrow": answer(b"{}", 429, {"Retry-After": "86400"}),
        "502 page": answer("<html>Bad gateway</html>", 502, {"Content-Type": "text/html"}),
        "reset": reset(),
        "fin": fin(),
        "cut": made(lambda text: head(200, {"Content-Length": str(len(text))}) + text[:30], "close"),
        "chunk cut": made(lambda text: chunked + chunks(text[:50], end=False), "close"),
        "garbage": raw(b"GARBAGE\r\n\r\n", "close"),
        "behind": made(lambda text: message(text) + b"GARBAGE"),
        "empty": answer(b""),
        "no json": answer("<html>"),
        "no choices": answer('{"id": "x"}'),
        "error 429": error(429),
        "error 500": error(500),
        "error 400": error("context_length_exceeded"),
        "quota": error("insufficient_quota", 429),
        "model": error("model_not_found", 404),
        "too large": answer("x" * 100_001),
        "bad encoding": raw(message(b"plain", 200, {"Content-Encoding": "gzip"})),
        "gzip": made(lambda text: message(gzip.compress(text, mtime=0), 200, {"Content-Encoding": "gzip"})),
        "length": answer('{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "length"}]}'),
        "echoed key": error(inputs.KEY, 400),
        "interim": made(lambda text: head(100) * 5 + head(103, {"Link": "</a>"}) + message(text)),
        "redirect": redirect(302, "http://127.0.0.1:1/stolen"),
        "stream": pieces([STREAM_HEAD, *in_pieces, chunks()]),
        "stream cut": stream(stream_of([CHUNK] * 9, done=False), end=False, then="close"),
        "stream open": stream(whole, end=False, then="hold"),
        "stream error": stream(stream_of([CHUNK, {"error": {"code": 429, "message": "later"}}])),
        "stream broken": stream(stream_of([CHUNK]) + b"data: {oops}\n\n"),
        "stream no done": stream(stream_of(chunks_of(TWINS["tool calls"]), done=False)),
    }


REWORDED = {
    "the server refused the key": "the server refused the API key",
    "the proxy wants a user name and a password": "the proxy needs a user name and a password",
    "too many requests for the server": "the server got too many requests",
    "the gateway got a strange answer from the server": "the gateway got an unknown answer from the server",
    "the gateway does not reach the server": "the gateway cannot reach the server",
    "the server sends elsewhere, and redirects are not followed": "the server redirects to another address,"
    " which is not"
    " followed",
    "the server answered with a failure": "the server answered with an error",
    "no connection to the server in time": "connecting to the server timed out",
    "no connection to the server": "cannot connect to the server",
    "the proxy gave no connection": "no connection through the proxy",
    "the answer was not whole in time": "the answer was not complete in time",
    "before the answer was whole": "before the answer was complete",
    "the answer was not HTTP as it should be": "the answer was not valid HTTP",
    "content encoding cannot be read": "content encoding cannot be decoded",
    "the stream ended before the answer did": "the stream ended before the answer was complete",
    "an error in this program": "an error in tablenodes",
    "the server refused stream_options; it is asked without them": "the server refused stream_options; retry"
    "ing without it",
    "the answer carries an error in the place of a result": "the answer has an error instead of a result",
    "the server refuses the key, or wants one where none was sent": "the server refused the API key, or needs"
    " one where none was sent",
    "the server asks to wait longer than this run waits": "the server asks to wait longer than this run does",
    "the server did not answer anybody": "the server served no request",
    "nothing carries requests any more": "the transport has failed",
    "it may have been executed and billed": "the server may have executed and billed it",
    "the connection ended within the headers": "the connection ended in the middle of the headers",
    "nothing came for": "nothing arrived for",
    "no content came for": "no content arrived for",
}
"""Words of the earlier code, and what stands in their place now: what they say is the same."""


def _line(value: Any) -> bytes:
    line = json.dumps(value, default=_plain, sort_keys=True)
    for before, now in REWORDED.items():
        line = line.replace(before, now)
    return line.encode()


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return getattr(value, "value", None) or sorted(value, key=str)  # an enumeration's member, or a set


def main() -> None:
    """Write a line an input."""
    checkout, kind, first, count = sys.argv[1:]
    sys.path[:0] = [checkout, str(HERE), str(HERE.parent)]
    import tablenodes

    assert Path(tablenodes.__file__).is_relative_to(Path(checkout).resolve()), "it is another checkout's code"
    make = {"schedules": schedules, "answers": answers, "runs": runs}[kind]
    for value in make(Engine(), range(int(first), int(first) + int(count))):
        sys.stdout.buffer.write(_line(value) + b"\n")


if __name__ == "__main__":
    main()
