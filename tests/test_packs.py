"""Packs: many rows in one request, each with its own answer, its own end and its own place in the journal."""

from __future__ import annotations

import base64
import itertools
import random
from collections import Counter, deque

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest

import tablenodes as tn
from tablenodes.engine.calls import Answer

NODE = tn.CreateEmbedding(input="{{ text }}", model="m", pack=16)
HEAD = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
SOON = b"Retry-After-Ms: 1\r\n"


def number(text):
    """Return what the vector of a text begins with: no other has it."""
    return float(text.removeprefix("bad").removeprefix("t"))


def vector(text, body):
    """Return the vector of a text, as it was asked for."""
    numbers = [number(text), 0.5]
    return base64.b64encode(np.array(numbers, "<f4")).decode() if body.get("encoding_format") == "base64" else numbers


def embeddings(body, order=None):
    """Return a good answer to a request, its items in any order."""
    asked = body["input"]
    texts = asked if isinstance(asked, list) else [asked]
    items = [{"object": "embedding", "index": i, "embedding": vector(text, body)} for i, text in enumerate(texts)]
    if order is not None:
        order(items)
    used = sum(map(len, texts))
    return {
        "object": "list",
        "data": items,
        "model": "m",
        "usage": {"prompt_tokens": used, "total_tokens": used},
    }


class Server:
    """A transport that answers each request by a function of its body: a document, a status, or an answer's fault."""

    def __init__(self, react):
        self.react, self.events, self.bodies = react, deque(), []

    def start(self, call):
        body = orjson.loads(call.body)
        self.bodies.append(body)
        found = self.react(body)
        if isinstance(found, str):
            self.events.append(Answer(call.key, None, b"", b"", found))
            return
        refusal = found, {"error": {"message": "no", "code": "c"}}
        status, document = found if isinstance(found, tuple) else refusal if isinstance(found, int) else (200, found)
        data = orjson.dumps(document)
        self.events.append(Answer(call.key, status, HEAD % (status, len(data), SOON), data))

    def cancel(self, key):
        self.events = deque(event for event in self.events if event.key != key)

    def wait(self, seconds):
        events, self.events = [*self.events], deque()
        return events

    def close(self):
        self.events.clear()

    @property
    def texts(self):
        """Every text as often as it was sent."""
        asked = (body["input"] for body in self.bodies)
        return Counter(itertools.chain.from_iterable([each] if isinstance(each, str) else each for each in asked))


def texts(count, bad=()):
    return pd.DataFrame({"text": [f"{'bad' if i in bad else 't'}{i}" for i in range(count)]})


def run(table, react, node=NODE, **more):
    server = react if isinstance(react, Server) else Server(react)
    return node.run(table, tn.Connection("https://packs.invalid/v1", "", transport=server), progress=False, **more)


def check_places(out, ok=None):
    """Check that every row that is ok has its own vector, and no other row any."""
    vectors, outcomes = out.vectors.to_numpy(), list(out.log["outcome"])
    for row, text in enumerate(out.configuration["text"]):
        if outcomes[row] == "ok":
            assert vectors[row].tolist() == [number(text), 0.5]
        else:
            assert np.isnan(vectors[row]).all()
    assert ok is None or outcomes.count("ok") == ok


def refusing(body):
    """Refuse what has a bad text in it."""
    asked = body["input"]
    return 400 if "bad" in (asked if isinstance(asked, str) else "".join(asked)) else embeddings(body)


def test_rows_go_together_and_have_answers_of_their_own():
    """By the index that the server names; what was used is shared by characters, to the sum."""
    server = Server(lambda body: embeddings(body, random.Random(1).shuffle))
    out = run(texts(40), server)
    check_places(out, ok=40)
    assert [len(body["input"]) for body in server.bodies] == [16, 16, 8]
    assert out.log["packed"].tolist() == [16] * 32 + [8] * 8
    assert out.usage["prompt_tokens"].tolist() == [len(text) for text in out.configuration["text"]]
    assert out.summary.requests == 3
    body = orjson.loads(out.result["body"].iloc[39])
    assert body == {
        **embeddings({**server.bodies[-1], "input": ["t39"]}),
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


def test_a_pack_of_one_is_the_rows_own_request():
    """As it would be without packs: the last row is alone."""
    server = Server(embeddings)
    assert run(texts(17), server).log["packed"].isna().tolist() == [False] * 16 + [True]
    assert server.bodies[-1]["input"] == "t16"


def test_a_refused_pack_is_halved_down_to_the_bad_rows():
    """Whose refusal is their own, with the server's own answer; nobody else is harmed."""
    server = Server(refusing)
    out = run(texts(64, bad=(5, 40, 41)), server)
    check_places(out, ok=61)
    assert out.log["outcome"][[5, 40, 41]].tolist() == ["http_error"] * 3
    assert out.result["body"].iloc[5] == '{"error":{"message":"no","code":"c"}}'
    assert out.log["attempts"].iloc[5] == 5  # with 16, 8, 4 and 2 rows, and alone
    assert server.texts["bad5"] == 5
    assert out.summary.requests == len(server.bodies)


@pytest.mark.parametrize(("param", "requests"), [("model", 4), ("input", 4 * 31), (None, 4 * 31)])
def test_a_pack_that_is_refused_for_what_all_rows_ask_alike_is_not_halved(param, requests):
    """No half of it fares better; each row has the refusal."""
    server = Server(lambda body: (400, {"error": {"message": "no", "param": param}}))
    out = run(texts(64), server)
    assert set(out.log["outcome"]) == {"http_error"}
    assert len(server.bodies) == requests


@pytest.mark.parametrize(
    "wrong",
    [
        lambda items: items.pop(),
        lambda items: items.append(items[0]),
        lambda items: items[0].update(index=1),
        lambda items: items[0].update(index=99),
        lambda items: items[0].update(index="0"),
        lambda items: items[0].pop("index"),
        lambda items: items.__setitem__(0, None),
    ],
)
def test_an_answer_that_does_not_fit_its_pack_is_used_for_no_row(wrong):
    """For nobody knows whose vectors they are; asked again where that is wanted."""
    out = run(texts(16), lambda body: embeddings(body, wrong))
    assert out.log["outcome"].tolist() == ["unusable"] * 16
    assert set(out.log["reason"]) == {"does_not_fit"}
    check_places(out, ok=0)
    good = iter([False, True])
    again = run(texts(16), lambda body: embeddings(body, None if next(good) else wrong), retry=tn.Retry(unusable=1))
    check_places(again, ok=16)
    assert again.log["attempts"].tolist() == [2] * 16


def test_one_bad_vector_is_its_rows_own():
    """The others of its pack are good."""
    out = run(texts(16), lambda body: embeddings(body, lambda items: items[3].update(embedding=[1.0])))
    assert out.log["outcome"].tolist().count("unusable") == 1
    check_places(out, ok=15)


@pytest.mark.parametrize("status", [429, 500, "disconnected"])
def test_a_pack_is_retried_as_one_request(status):
    """Each of its rows counts the sends."""
    first = iter([status])
    server = Server(lambda body: next(first, None) or embeddings(body))
    out = run(texts(16), server)
    check_places(out, ok=16)
    assert out.log["attempts"].tolist() == [2] * 16
    assert len(server.bodies) == 2


def test_base64_is_read_together_and_kept_to_the_byte():
    """Also where the last bits of one say nothing and are set, and where one is no vector."""
    written = ["AACAPw==", "AAAAQB==", "AABAQA=="]

    def react(body):
        answer = embeddings(body)
        for item, text in zip(answer["data"], written, strict=True):
            item["embedding"] = text
        return answer

    out = run(texts(3), react)
    assert out.vectors.to_numpy().tolist() == [[1.0], [2.0], [3.0]]
    assert [orjson.loads(body)["data"][0]["embedding"] for body in out.result["body"]] == written
    written[1] = "AADAfw=="  # not a number
    out = run(texts(3), react)
    assert list(out.log["outcome"]) == ["ok", "unusable", "ok"]
    assert np.isnan(out.vectors.to_numpy()[1]).all()


def test_only_what_asks_the_same_is_packed():
    """Another model or dimension is another request; a list of texts is one for itself."""
    table = texts(12).assign(model=["a", "b", "c"] * 4)
    server = Server(embeddings)
    check_places(run(table, server, NODE.replace(model=None)), ok=12)
    assert Counter(body["model"] for body in server.bodies) == dict.fromkeys("abc", 1)
    lists = pa.table({"text": [["t1", "t2"], ["t3", "t4"]]})
    several = run(lists, server := Server(embeddings), NODE.replace(input=tn.col("text")))
    assert [body["input"] for body in server.bodies] == [["t1", "t2"], ["t3", "t4"]]
    assert several.vectors.to_pylist() == [[1.0, 0.5], [3.0, 0.5]]


def test_tokens_are_packed_too():
    """A list of numbers is one input."""
    server = Server(lambda body: embeddings({**body, "input": [f"t{tokens[0]}" for tokens in body["input"]]}))
    out = run(pa.table({"text": [[1, 2], [3], [4, 5, 6]]}), server, NODE.replace(input=tn.col("text")))
    assert server.bodies[0]["input"] == [[1, 2], [3], [4, 5, 6]]
    assert [vector[0] for vector in out.vectors.to_pylist()] == [1.0, 3.0, 4.0]


def test_a_packs_size_is_bounded():
    """In tokens and bytes, as a guess; so is its number of rows."""
    server = Server(lambda body: embeddings({**body, "input": [text[:2] for text in body["input"]]}))
    run(pd.DataFrame({"text": [f"t{i}" + "x" * 300_000 for i in range(8)]}), server)
    assert [len(body["input"]) for body in server.bodies] == [2] * 4
    for wrong in (0, 2049, True, "2.5"):
        with pytest.raises(tn.errors.SettingError):
            NODE.replace(pack=wrong)
    assert NODE.replace(pack="16") == NODE  # as a command line writes it


def test_a_journal_knows_rows_and_no_packs(tmp_path):
    """A later run may pack them otherwise, or not at all, and pays for nothing twice."""
    journal, table = tmp_path / "j.sqlite", texts(60, bad=(7,))
    run(table[:20], refusing, journal=journal)
    server = Server(refusing)
    run(table[:40], server, NODE.replace(pack=None), journal=journal)
    assert set(server.texts) == set(table["text"][20:40])
    out = run(table, server := Server(refusing), NODE.replace(pack=7), journal=journal)
    check_places(out, ok=59)
    assert set(server.texts) == set(table["text"][40:])
    server = Server(refusing)
    assert run(table, server, journal=journal).summary.reused == 60
    assert server.bodies == []


def test_limits_count_requests(tmp_path):
    """And a stopped run goes on where it was, with other packs."""
    journal, table = tmp_path / "j.sqlite", texts(64, bad=(40,))
    out = run(table, refusing, journal=journal, limits=tn.Limits(max_requests=4, concurrency=2))
    check_places(out)
    assert out.summary.requests == 4
    assert 0 < out.summary.outcomes["not_sent"] < 64
    ok = set(table["text"][list(out.log["outcome"] == "ok")])
    rest = run(table, server := Server(refusing), NODE.replace(pack=5), journal=journal)
    check_places(rest, ok=63)
    assert not ok & set(server.texts)


def test_every_door_packs():
    """Batches, mappers, workflows, a share of duplicates."""
    table = texts(64, bad=(9,))
    connection = tn.Connection("https://packs.invalid/v1", "", transport=Server(refusing))
    made = NODE.run_batches(table, connection, progress=False).read_all()
    assert [v and v[0] for v in made.column("embedding").to_pylist()] == [
        None if i == 9 else float(i) for i in range(64)
    ]
    flow = tn.Workflow({"vector": NODE}, connection=connection).run(table, progress=False)
    check_places(flow["vector"], ok=63)
    twice = pd.concat([table, table], ignore_index=True)
    server = Server(embeddings)
    check_places(run(twice[10:], server, duplicates="once"), ok=118)
    assert server.texts.total() == 64


FAULTS = (
    *("short", "extra", "twice", "none", "shuffled", "shuffled"),
    *(400, 413, 429, 500, "disconnected"),
)
WRONG = {
    "short": lambda items: items.pop(),
    "extra": lambda items: items.append(dict(items[0])),
    "twice": lambda items: items[0].update(index=1),
}


def unreliable(chance, share):
    """Answer well but for a share of the requests; refuse what has a bad text in it."""

    def react(body):
        asked = body["input"]
        fault = chance.choice(FAULTS) if chance.random() < share else None
        if "bad" in (asked if isinstance(asked, str) else "".join(asked)):
            return 400
        if isinstance(fault, int) or fault == "disconnected":
            return fault
        if fault == "none":
            return {"object": "list"}
        body |= {"encoding_format": chance.choice(("base64", "base64", "float"))}  # servers that know no base64
        return embeddings(body, WRONG.get(fault, chance.shuffle) if isinstance(asked, list) else None)

    return react


def simulated(seed, folder):
    """Run a table with a journal to some end, and again, packed otherwise; return how many vectors there were."""
    chance = random.Random(seed)
    rows = chance.randint(1, 80)
    bad = set(chance.sample(range(rows), min(rows, chance.choice((0, 0, 1, 4)))))
    table, journal = texts(rows, bad), folder / f"{seed}.sqlite"
    more = {"journal": journal, "retry_failed": "all", "retry": tn.Retry(unusable=chance.choice((0, 2)))}
    most = chance.choice((None, 1, 3, 9))
    limits = tn.Limits(concurrency=chance.randint(1, 4), max_requests=most)
    first = run(table, unreliable(chance, 0.3), NODE.replace(pack=chance.randint(1, 20)), limits=limits, **more)
    check_places(first)
    assert sum(first.summary.outcomes.values()) == rows
    done = set(table["text"][list(first.log["outcome"] == "ok")])
    server = Server(refusing)
    second = run(table, server, NODE.replace(pack=chance.choice((None, chance.randint(1, 20)))), **more)
    check_places(second, ok=rows - len(bad))
    assert not done & set(server.texts)
    return rows


def test_no_vector_comes_to_another_row(tmp_path):
    """Whatever a server does; and what a journal has is not sent again, however the next run packs."""
    assert sum(simulated(seed, tmp_path) for seed in range(8)) > 200


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_vector_comes_to_another_row_in_many_runs(tmp_path):
    """The same as before."""
    assert sum(simulated(seed, tmp_path) for seed in range(1_000, 1_400)) > 10_000
