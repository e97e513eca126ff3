"""The engine under other sinks, and calls that are more or less than a row: what a stream or packed rows rely on."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain, count
from queue import Queue

import orjson
from servers import completion, digest, echo, fault_server, message

import tablenodes as tn
from tablenodes.connection.endpoint import opened
from tablenodes.engine.calls import Call
from tablenodes.engine.journal import Journal, Keys
from tablenodes.engine.journal.recorder import JournalRecorder, Recorder
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.scheduling import Scheduler
from tablenodes.engine.sink import Records, Tally, end_of
from tablenodes.problems import Problem, Rejected
from tablenodes.run.wiring import Engine

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"


class Sending:
    """An engine for a server, with a journal if a path is given."""

    def __init__(self, stack, server, sink, *, path=None, most=None, concurrency=64, packs=None):
        self.endpoint = stack.enter_context(opened(tn.Connection(server.url, "key")))
        limits, retry = tn.Limits(concurrency=concurrency, max_requests=most), tn.Retry()
        self.journal = None if path is None else stack.enter_context(closing(Journal(path)))
        self.recorder = Recorder() if self.journal is None else JournalRecorder(self.journal)
        self.sink = sink
        if packs is not None:
            self.recorder = self.sink = packs(sink, self.recorder)
        sent = 0 if self.journal is None else self.journal.sends
        self.scheduler = Scheduler(limits, retry, random=lambda: 0.5, sent_before=sent)
        engine = Engine(
            self.endpoint, limits, self.scheduler, self.sink, self.recorder, stack, exact=False, stream=False
        )
        self.loop, self._calling = engine.loop, engine.calling

    def calls(self, bodies, path=CHAT, scope="", first=0, **more):
        request = self.endpoint.request("POST", path)
        more = {"choices": path == CHAT, "at_most_once": False, **more}
        return map(self._calling(request, Keys(request, scope), **more), bodies, count(first))

    def run(self, source):
        self.loop.run(self.recorder.recalled(source))


def sent(sink, server, source_of, **more):
    """Run an engine to its end; give its `Sending`."""
    with ExitStack() as stack:
        sending = Sending(stack, server, sink, **more)
        sending.run(source_of(sending))
        return sending


def bodies(count, start=0):
    return [b'{"n":%d}' % number for number in range(start, start + count)]


def texts(records):
    """Return the texts of the rows that are ok."""
    answers = (body for body, outcome in zip(records.body, records.outcome, strict=True) if outcome == "ok")
    return [orjson.loads(body)["choices"][0]["message"]["content"] for body in answers]


# --- other sinks ---------------------------------------------------------------------------------------------------


class Window:
    """Hands ends on in input order; at most `bound` rows have begun and are not read by whoever they are for."""

    def __init__(self, bound, hand_on, unread=lambda: 0):
        self.reason = ""
        self._bound, self._hand_on, self._unread = bound, hand_on, unread
        self._held = {}
        self._next = 0

    @property
    def room(self):
        return self._bound - len(self._held) - self._unread()

    def accept(self, row, end):
        self._held[row] = end
        while self._next in self._held:
            self._hand_on((self._next, self._held.pop(self._next)))
            self._next += 1

    def finish(self, reason):
        self.reason = reason


def test_a_window_is_in_input_order_and_bounded_behind_a_slow_row():
    """While the first row takes its time, no more rows begin than the window holds, however many may be in flight."""
    full, begun, read = threading.Event(), [], []
    sink = Window(8, read.append)

    def react(exchange):
        if exchange.received.body == b'{"n":0}':
            full.wait(10)
        elif len(exchange.server.requests) == 8:
            full.set()
        echo()(exchange)

    def source():
        for body in bodies(100):
            begun.append(len(begun) + 1 - len(read))
            yield body

    with fault_server(react) as server:
        sent(sink, server, lambda sending: sending.calls(source()))
    assert [row for row, _ in read] == [*range(100)]
    assert {end.outcome for _, end in read} == {"ok"}
    assert max(begun) == 8
    assert sink.reason is None


def test_a_reader_that_does_not_read_holds_the_run_up():
    """Rows wait to begin until their ends are read; rows that are not sent take up room too."""
    queue, begun, read = Queue(), [], []
    wrong = Rejected(Problem("$.n", "maximum", "must be at most 2"))

    def source():
        for number, body in enumerate(bodies(60)):
            begun.append(number)
            yield wrong if number % 3 == 2 else body

    def reading():
        while queue.qsize() < 8:
            threading.Event().wait(0.01)
        begun_by_then.append(len(begun))
        while len(read) < 60:
            read.append(queue.get(timeout=10))

    begun_by_then = []
    reader = threading.Thread(target=reading, daemon=True)
    with fault_server(echo()) as server:
        reader.start()
        sent(Window(8, queue.put, queue.qsize), server, lambda sending: sending.calls(source()))
        reader.join(30)
    assert begun_by_then == [8]
    assert [row for row, _ in read] == [*range(60)]
    assert [end.outcome for _, end in read] == ["ok", "ok", "invalid_request"] * 20


def test_a_tally_counts_and_a_table_in_memory_has_a_place_a_row():
    """Rows that a stopped run did not come to have an end in a table; nobody can count them in a stream."""
    with fault_server(echo()) as server:
        tally, records = Tally(), Records(5)
        for sink in (tally, records):
            sent(sink, server, lambda sending: sending.calls(bodies(5)), most=3, concurrency=1)
    assert dict(tally.counts) == {"ok": 3}
    assert [*records.outcome] == ["ok"] * 3 + ["not_sent"] * 2
    assert [*records.attempts] == [1, 1, 1, 0, 0]
    assert "max_requests is reached" in records.body[4]


# --- several nodes -------------------------------------------------------------------------------------------------


def of_two_nodes(exchange):
    if exchange.received.path.endswith(EMBEDDINGS):
        exchange.send(message(b'{"data":[%s]}' % exchange.received.body))
    else:
        echo()(exchange)


def by_turns(sending):
    """Rows of two nodes that ask the same, one after the other: paths, judges and scopes of their own."""
    chat = sending.calls(bodies(4), scope="chat")
    embeddings = sending.calls(bodies(4), EMBEDDINGS, scope="embeddings", first=4)
    return chain.from_iterable(zip(chat, embeddings, strict=True))


def test_two_nodes_share_one_loop_and_its_limits(tmp_path):
    """Each answer is judged as its own node wants; the journal tells them apart, and knows what both have sent."""
    with fault_server(of_two_nodes) as server:
        records = Records(8)
        sending = sent(records, server, by_turns, path=tmp_path / "j", most=5, concurrency=1)
        assert sending.scheduler.stopped == "max_requests"
        assert [*records.outcome] == ["ok", "ok", "ok", "not_sent", "ok", "ok", "not_sent", "not_sent"]
        assert [each.path.removeprefix("/v1") for each in server.requests] == [CHAT, EMBEDDINGS] * 2 + [CHAT]
        again = Records(8)
        sending = sent(again, server, by_turns, path=tmp_path / "j")
        assert len(server.requests) == 8
        assert [*again.outcome] == ["ok"] * 8
        assert [*again.reused] == [True, True, True, False, True, True, False, False]
        assert (sending.journal.sends, len(sending.journal)) == (8, 8)
        assert [orjson.loads(body)["data"] for body in again.body[4:]] == [[{"n": n}] for n in range(4)]


def test_an_answer_that_one_node_takes_may_be_none_for_another():
    """Without choices, an answer is one of embeddings, and none of a chat."""
    with fault_server(lambda exchange: exchange.send(message(b'{"data":[]}'))) as server:
        records = Records(8)
        sent(records, server, by_turns)
    assert [*records.outcome] == ["in_band_error"] * 4 + ["ok"] * 4


# --- several rows in one request -----------------------------------------------------------------------------------


class Packs(Recorder):
    """Makes requests of several rows each, and knows which: for the journal, and as a sink around another."""

    keeps = True

    def __init__(self, sink, recorder, size=2):
        super().__init__()
        self._sink, self._recorder, self._size = sink, recorder, size
        self._rows, self._parts = {}, {}
        self.knows = recorder.knows

    def recalled(self, source):
        fresh = []
        for item in self._recorder.recalled(source):
            if isinstance(item, Call):
                fresh.append(item)
            else:
                yield item
        for at in range(0, len(fresh), self._size):
            rows = fresh[at : at + self._size]
            first = rows[0]
            self._rows[first.key] = rows
            body = b'{"rows":[%s]}' % b",".join(row.body for row in rows)
            yield first._replace(body=body, judge=partial(judge, needs_choices=False), scope=None)

    def intend(self, key):
        for number, row in enumerate(self._rows[key]):
            self._recorder.intend(row.key, rides=number > 0)

    def record(self, answer, verdict):
        self._parts[answer.key] = parts = [*self._split(answer, verdict)]
        for part in parts:
            self._recorder.record(*part)

    def _split(self, answer, verdict):
        rows = self._rows[answer.key]
        whole = [answer.body] * len(rows)
        given = map(orjson.dumps, orjson.loads(answer.body)["rows"]) if verdict.outcome == "ok" else whole
        for row, body in zip(rows, given, strict=True):
            part = answer._replace(key=row.key, body=body)
            yield part, (row.judge(part, row.body) if verdict.outcome == "ok" else verdict)

    def commit(self):
        self._recorder.commit()

    @property
    def room(self):
        return self._sink.room // self._size

    def accept(self, key, end):
        if key not in self._rows:
            self._sink.accept(key, end)
        for number, row in enumerate(self._rows.pop(key, ())):
            if key in self._parts:
                end = end_of(*self._parts[key][number], end.attempts, end.maybe_billed)
            self._recorder.forget(row.key)
            self._sink.accept(row.key, end)

    def finish(self, reason):
        self._sink.finish(reason)


def packed(exchange):
    """Answer each row of a request as the echo does."""
    rows = orjson.loads(exchange.received.body)["rows"]
    exchange.send(message(b'{"rows":[%s]}' % b",".join(completion(orjson.dumps(row)) for row in rows)))


def test_two_rows_in_one_request_have_two_ends_and_two_rows_in_the_journal(tmp_path):
    """They count as one request, in this run and for the next; which may pack what is left in another way."""
    with fault_server(packed) as server:
        records = Records(8)
        ways = {"path": tmp_path / "j", "packs": Packs}
        sending = sent(records, server, lambda sending: sending.calls(bodies(8)), most=3, concurrency=1, **ways)
        assert len(server.requests) == sending.scheduler.sent == 3
        assert [*records.outcome] == ["ok"] * 6 + ["not_sent"] * 2
        assert [*records.attempts] == [1] * 6 + [0] * 2
        assert texts(records) == [digest(body) for body in bodies(6)]
        assert (len(sending.journal), sending.journal.sends) == (6, 3)

        none = sent(Records(8), server, lambda sending: sending.calls(bodies(8)), most=3, **ways)
        assert (len(none.journal), none.journal.sends, len(server.requests)) == (6, 3, 3)

        again = Records(9)
        ways["packs"] = partial(Packs, size=3)
        sending = sent(again, server, lambda sending: sending.calls(bodies(9)), **ways)
        assert len(server.requests) == 4
        assert orjson.loads(server.requests[3].body)["rows"] == [{"n": 6}, {"n": 7}, {"n": 8}]
        assert [*again.reused] == [True] * 6 + [False] * 3
        assert texts(again) == [digest(body) for body in bodies(9)]
        assert (len(sending.journal), sending.journal.sends) == (9, 4)


def test_a_request_of_two_rows_fails_for_both_and_is_tried_again_for_both(tmp_path):
    """An attempt is one for each of its rows; the journal has what came of the last."""
    failing = [lambda exchange: exchange.send(message(b"{}", 500)), packed]
    with fault_server(failing) as server:
        records = Records(2)
        ways = {"path": tmp_path / "j", "packs": Packs}
        sending = sent(records, server, lambda sending: sending.calls(bodies(2)), **ways)
        assert [*records.attempts] == [2, 2]
        assert [*records.outcome] == ["ok", "ok"]
        assert (len(sending.journal), sending.journal.sends) == (2, 2)
    with closing(Journal(tmp_path / "j")) as journal:
        assert [(entry.sends, entry.last.outcome) for entry in journal] == [(2, "ok"), (2, "ok")]
        assert journal.sends == 2
