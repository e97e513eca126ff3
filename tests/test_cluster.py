"""A node on a real Dask cluster of two worker processes: the table of one process, whatever is killed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import sys

import pandas as pd
import pytest
from background import until
from killing import oracle
from sentences import wording
from servers import LOOPBACK, answer, echo, echo_server, fault_server
from test_mapper import journals

import tablenodes as tn
from tablenodes.cluster import Share
from tablenodes.cluster.share_actor import ActorHandle
from tablenodes.errors import ColumnError, ConnectionSettingError, SettingError, StoreError, TableError

NODE = tn.CreateChatCompletion(model="m", prompt="Say {{ word }}")
ROWS = 400
WORDS = pd.DataFrame({"word": [f"w{i % 90}" for i in range(ROWS)]}, index=range(1000, 1000 + ROWS))
FORKS = sys.platform != "win32"  # workers are forked from a process that has loaded what they need: a third of the time
CONFIGURED = {
    "distributed.worker.multiprocessing-method": "forkserver" if FORKS else "spawn",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.allowed-failures": 100,  # a partition may be on each worker that is killed
    "distributed.deploy.lost-worker-timeout": "1 hour",  # or one that is killed again by then is given up
    "distributed.admin.tick.interval": "1s",  # what watches over workers takes as long as their work
    "distributed.admin.system-monitor.interval": "1 hour",
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.worker.http.routes": [],
    "distributed.scheduler.http.routes": [],
}
LOADED = [
    *("distributed", "dask.dataframe", "pytest", "certifi", "jsonschema_rs", "tablenodes.cluster.partition_run"),
    *("tablenodes.engine.transports.curl_transport", "tablenodes.nodes.request_node", "tablenodes.tables.pandas_view"),
]


@pytest.fixture(scope="module", autouse=True)
def _dask():
    """Load Dask where these tests run: each process reads this file, and Dask takes as long as ten others."""
    global dask, dd, distributed
    import dask
    import dask.dataframe as dd
    import distributed


@pytest.fixture(scope="module")
def client():
    """A worker in a thread of this process, and its client: for what is the same in any process."""
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        yield client


@contextlib.contextmanager
def two_processes():
    """Two worker processes of one thread each, and their client."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with dask.config.set(CONFIGURED):
        if FORKS:
            distributed.utils.get_mp_context().set_forkserver_preload(LOADED)
        with (
            distributed.LocalCluster(**options, host=LOOPBACK, memory_limit=None) as workers,
            distributed.Client(workers) as client,
        ):
            yield client


def kill_workers(client, server, deaths, dead):
    """Kill one of two workers after every so many answers of a server, `deaths` times; `dead` gets their numbers.

    One at a time, while no answer is given: a nanny starts a worker again that it has seen at work, and no other.
    """
    cluster, begun = client.cluster, len(server.answered)

    def alive():
        nannies = cluster.workers.values()
        found = {each.pid for each in nannies if each.process and each.process.status == distributed.Status.running}
        return found - {None, *dead} if len(cluster.scheduler.workers) == len(nannies) else set()

    for number in range(1, deaths + 1):
        wanted = begun + number * ROWS // (deaths + 1)
        until(lambda wanted=wanted: len(server.answered) >= wanted, "answers", 60)
        server.holding = True
        try:
            until(lambda: len(alive()) == 2, "two workers", 60)
            dead.append(sorted(alive())[number % 2])
            os.kill(dead[-1], signal.SIGKILL)
        finally:
            server.release()


def frame(table=WORDS, partitions=40):
    return dd.from_pandas(table, npartitions=partitions, sort=False)


@pytest.mark.parametrize("deaths", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_the_table_is_that_of_one_process_though_workers_are_killed(tmp_path, deaths):
    """In forty partitions: what was in flight is sent again, and nothing else; in seven, nothing is sent any more."""
    with oracle() as server, two_processes() as client:
        connection, limits = tn.Connection(server.url, ""), tn.Limits(concurrency=4)
        whole = NODE.run(WORDS, connection, progress=False).table
        asked = tn.cluster.map(frame(), NODE, connection, limits=limits, journal=tmp_path)
        assert (len(server.received), journals(tmp_path)) == (ROWS, [])  # nothing is sent before it is computed
        dead = []
        with concurrent.futures.ThreadPoolExecutor() as pool:
            killing = pool.submit(kill_workers, client, server, deaths, dead)
            first = asked.compute()
            killing.result()
        sent = len(server.received)
        share = Share(tn.Limits(), client)  # its actor is in one of the two processes
        again = tn.cluster.map(frame(partitions=7), NODE, connection, share=share, journal=tmp_path).compute()
        assert len(server.received) == sent
    assert len(dead) == deaths
    assert ROWS <= sent - ROWS <= ROWS + deaths * limits.concurrency
    own = [name for name in whole.columns if name != "word"]  # which Dask has as Arrow's text
    pd.testing.assert_frame_equal(first[own], whole[own])
    pd.testing.assert_frame_equal(again[own], whole[own])
    assert list(first["word"]) == list(WORDS["word"])
    pd.testing.assert_series_equal(first.dtypes, asked.dtypes)
    assert again["reused"].all()


def test_the_mapper_is_a_function_of_dasks_own(client):
    """The columns that it makes have the partition's index."""
    with echo_server() as url:
        mapper = NODE.mapper(tn.Connection(url, ""))
        made = frame(partitions=3).map_partitions(mapper, meta=mapper.meta).compute()
    assert list(made.index) == list(WORDS.index)
    assert set(made["outcome"]) == {"ok"}


def test_what_workers_would_say_is_said_once(client, capfd):
    """By the client: for all partitions together, after a bar that counts the rows of all."""
    with fault_server(
        answer('{"error": {"message": "no such thing", "type": "invalid_request_error"}}', 422)
    ) as server:
        asked = tn.cluster.map(
            frame(WORDS.assign(temperature=0.5), 6),
            NODE,
            tn.Connection(server.url, ""),
            limits=tn.Limits(stop_after_alike=None),
            progress=True,
        )
        asked.compute()
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("tablenodes: ")]
    wording("\n".join(line for line in said if " in " not in line.partition(": ")[2][:20]))
    assert sum("failed: " in line for line in said) == 1


def test_what_does_not_fit_is_an_error_before_anything_is_sent(client):
    """A column that is not there, a table that is no Dask DataFrame."""
    connection = tn.Connection("http://127.0.0.1:1", "")
    with pytest.raises(ColumnError):
        tn.cluster.map(frame(), NODE.replace(prompt="{{ other }}"), connection)
    with wording.raises(TableError):
        tn.cluster.map(WORDS, NODE, connection)
    with wording.raises(SettingError):
        tn.cluster.map(frame(), "Say {{ word }}", connection)


def test_a_worker_without_the_key_is_one_clear_line(client):
    """At the client."""
    connection = tn.Connection("http://127.0.0.1:1", api_key_env="KEY_OF_THE_WORKERS")
    with pytest.raises(ConnectionSettingError) as caught:
        tn.cluster.map(frame(partitions=2), NODE, connection).compute()
    assert (caught.value.code, str(caught.value).count("\n")) == ("variable_unset", 0)


# --- one limit for all workers --------------------------------------------------------------------------------------


def test_workers_lease_from_an_actor_of_their_cluster(client):
    """One max_requests for all partitions; it travels with the node."""
    with fault_server(echo()) as server:
        share = Share(tn.Limits(max_requests=150), client)
        connection = tn.Connection(server.url, "")
        made = tn.cluster.map(frame(partitions=4), NODE, connection, share=share).compute()
        assert len(server.requests) == 150
    assert made["outcome"].value_counts().to_dict() == {"not_sent": ROWS - 150, "ok": 150}


def test_without_its_actor_nothing_is_sent(client):
    """The worker that kept the share may have ended: nobody knows what is left."""
    share = Share(tn.Limits(max_requests=150), client)
    share._keeper = ActorHandle(None)
    with fault_server(echo()) as server:
        with wording.raises(StoreError, code="actor"):
            NODE.mapper(tn.Connection(server.url, ""), share=share)(WORDS)
        assert server.requests == []
