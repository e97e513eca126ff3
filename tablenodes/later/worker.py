"""The worker itself: it holds a store, has every group worked on, and ends when there is nothing to do."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
import traceback
from pathlib import Path

from ..errors import StoreError
from ..store.futures import Futures, Group
from ..store.store_file import StoreFile
from .group import GroupRun, Held
from .lock import INHERITED, WorkerLock

IDLE = 5.0  # seconds for which a worker waits for more to do before it ends
_AT_A_TIME = 16  # groups that are worked on at once, each in a thread of its own
_LOOK = 0.1
_LATE = 1.0  # seconds between two looks at the deadlines of rows that nobody works on
_FAREWELL = 1.0  # seconds that the groups are given to put down what came, when the worker is told to end


class Worker:
    """Works on one store."""

    def __init__(self, store: Path, idle: float = IDLE) -> None:
        self._path = store
        self._futures = Futures(StoreFile(store, must_exist=True))
        self._idle = idle
        self._lock = WorkerLock(store)
        self._stop = threading.Event()
        self._threads: dict[int, threading.Thread] = {}
        self._held: dict[int, Held] = {}
        self._unsaid: set[int] = set()
        self._at_first: frozenset[int] = frozenset()
        self._expires_at = 0.0
        self._token = b""

    def run(self) -> None:
        """Work until nothing is left to do; come back at once where another worker is running."""
        inherited = os.environ.pop(INHERITED, None)
        if inherited is not None:
            self._lock.adopt(int(inherited))
        elif self._futures.store.exists and not self._lock.take():
            return
        if not self._futures.store.exists:
            return
        while True:
            self._begin()
            self._work()
            self._lock.release()
            # Whoever submitted just before that saw a worker at work, and started none.
            if self._stop.is_set() or not self._startable() or not self._lock.take():
                break
        self._futures.store.close()

    def stop(self) -> None:
        """Have `run` come back soon: what came is put down, what is in flight is left to the next worker."""
        self._stop.set()

    def _begin(self) -> None:
        self._held.clear()
        self._unsaid.clear()
        self._token = secrets.token_bytes(16)
        self._futures.begin(self._token, os.getpid(), time.time())
        self._futures.expire(self._token, time.time())
        self._at_first = frozenset(group.number for group in self._futures.groups(time.time()))

    def _startable(self) -> list[Group]:
        """Return the groups with pending rows that nobody works on, and that nothing keeps or somebody wants again."""
        groups = [group for group in self._futures.groups(time.time()) if group.number not in self._threads]
        again = {group.number for group in groups if group.is_untried} - self._unsaid
        return [group for group in groups if group.number not in self._held or group.number in again]

    def _work(self) -> None:
        while not self._stop.is_set():
            for number in [number for number, thread in self._threads.items() if not thread.is_alive()]:
                del self._threads[number]
            for group in self._startable()[: _AT_A_TIME - len(self._threads)]:
                self._start(group)
            if not self._threads:
                return
            self._end_late_rows()
            self._stop.wait(_LOOK)
        until = time.monotonic() + _FAREWELL
        for thread in self._threads.values():
            thread.join(max(0.0, until - time.monotonic()))

    def _end_late_rows(self) -> None:
        """End the rows whose deadlines pass while something keeps them; those of a group at work end there."""
        if time.monotonic() >= self._expires_at:
            self._expires_at = time.monotonic() + _LATE
            for number in tuple(self._held):
                if number not in self._threads:
                    self._futures.expire(self._token, time.time(), number)

    def _is_in_the_way(self) -> bool:
        """Check whether a worker with a key that we lack may be wanted; for rows of before our start once asked for."""
        return any(held.lacks_key and number not in self._at_first for number, held in tuple(self._held.items()))

    def _start(self, group: Group) -> None:
        if self._held.pop(group.number, None) is not None:
            self._at_first -= {group.number}
        thread = threading.Thread(target=self._run, args=(group,), name=f"group {group.number}", daemon=True)
        self._threads[group.number] = thread
        thread.start()

    def _run(self, group: Group) -> None:
        """Have a group worked on, in a thread; put down why its rest stays pending."""
        with StoreFile(self._path, must_exist=True) as store:
            futures = Futures(store)
            try:
                run = GroupRun(futures, group, self._token, self._idle, self._stop.is_set, self._is_in_the_way)
                held = run.carry_out()
            except Exception as error:  # noqa: BLE001 - the other groups go on
                # Where it was; what it says may quote a row.
                traceback.print_tb(error.__traceback__)
                print(type(error).__name__, file=sys.stderr)
                held = Held(f"the worker failed with {type(error).__name__}; see {self._path}.worker.log")
            if held is not None and not self._stop.is_set():
                if futures.is_overtaken(self._token):
                    self._stop.set()
                    return
                self._held[group.number] = held
                not_before = time.time() + held.seconds if held.seconds else 0.0
                try:
                    futures.hold(group.number, held.reason, lacks_key=held.lacks_key, not_before=not_before)
                except StoreError:  # what is not known to be held cannot be wanted again
                    self._unsaid.add(group.number)
