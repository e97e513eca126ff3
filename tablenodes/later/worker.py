"""The worker itself: it holds the rows of a key, has every group worked on, and ends when there is nothing to do."""

from __future__ import annotations

import math
import os
import secrets
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

import orjson

from ..errors import StoreError
from ..store.futures import Futures, Group
from ..store.inventory import Inventory
from ..store.store_file import StoreFile
from .group import GroupRun, Held
from .lock import INHERITED, WorkerLock, log_path
from .stored_connection import why_no_key

IDLE = 5.0  # seconds for which a worker waits for more to do before it ends
_AT_A_TIME = 16  # groups that are worked on at once, each in a thread of its own
_LOOK = 0.1
_LATE = 1.0  # seconds between two looks at the deadlines of rows that nobody works on
_RESTS = 50  # how much longer than a look the pause after it is
_FAREWELL = 1.0  # seconds that the groups are given to put down what came, when the worker is told to end


class Worker:
    """Works on one store: on the rows of the key that it was started for, else of each whose key it has."""

    def __init__(self, store: Path, idle: float = IDLE) -> None:
        self._path = store
        self._idle = idle
        self._stop = threading.Event()

    def run(self) -> None:
        """Work until nothing is left to do; rows that another worker has are left to it."""
        inherited = os.environ.pop(INHERITED, None)
        with StoreFile(self._path, must_exist=True) as store:
            if not store.exists:
                return
            if inherited is not None:
                descriptor, _, key = inherited.partition(":")
                work = [KeyWorker(self._path, key, self._idle, self._stop)]
                if descriptor:
                    work[0].lock.adopt(int(descriptor))
            else:
                keys = self._keys(Futures(store))
                work = [KeyWorker(self._path, key, self._idle, self._stop) for key in keys]
        others = [threading.Thread(target=each.run, name=f"key {each.key}", daemon=True) for each in work[1:]]
        for thread in others:
            thread.start()
        for each in work[:1]:
            each.run()
        for thread in others:
            thread.join()

    def stop(self) -> None:
        """Have `run` come back soon: what came is put down, what is in flight is left to the next worker."""
        self._stop.set()

    def _keys(self, futures: Futures) -> list[str]:
        """Return the keys of the rows that are pending and can be sent from here; why the others cannot is recorded."""
        recipes = {group.key: group.recipe for group in futures.groups(math.inf)}
        salt = futures.salt_there() or b""
        kept = {
            key: why_no_key(orjson.loads(recipe)["connection"], os.environ, salt) for key, recipe in recipes.items()
        }
        for key, reason in kept.items():
            if reason is not None:
                with suppress(StoreError):
                    leave(futures, key, reason)
        return [key for key, reason in kept.items() if reason is None]


def leave(futures: Futures, key: str, reason: str | None = None) -> None:
    """End the rows of a key whose time is over, and record why its others wait; not where a worker has them."""
    with WorkerLock(futures.store.path, key).unheld() as is_free:
        if not is_free:
            return
        token, now = secrets.token_bytes(16), time.time()
        late = [group for group in futures.groups(math.inf) if group.key == key and futures.is_late(group.number, now)]
        if late:
            futures.register(token, os.getpid(), key)
        for group in late:
            futures.expire(token, now, group.number)
        for group in futures.groups(now) if reason is not None else ():
            if group.key == key:
                futures.hold(group.number, reason or "")


def cancel(store: StoreFile, submission: str | None = None) -> int:
    """End the pending rows of a store, all or those of a submission; return how many.

    Those that a worker has are ended by it, within a second; what is under way comes to its own end.
    """
    cancelled, futures = Inventory(store, submission).cancel(), Futures(store)
    for key in {group.key for group in futures.groups(math.inf)}:
        leave(futures, key)
    return cancelled


class KeyWorker:
    """Works on the rows of one key, alone."""

    def __init__(self, store: Path, key: str, idle: float, stop: threading.Event) -> None:
        self._path = store
        self.key = key
        self.lock = WorkerLock(store, key)
        self._futures = Futures(StoreFile(store, must_exist=True))
        self._idle = idle
        self._stop = stop
        self._threads: dict[int, threading.Thread] = {}
        self._held: set[int] = set()
        self._unsaid: set[int] = set()
        self._expires_at = 0.0
        self._token = b""

    def run(self) -> None:
        """Work until nothing is left to do; come back at once where another worker has the rows."""
        if self.lock.descriptor is None and not self.lock.take():
            return
        while True:
            self._begin()
            self._work()
            self.lock.release()
            # Whoever submitted just before that saw a worker at work, and started none.
            if self._stop.is_set() or not self._startable() or not self.lock.take():
                break
        self._futures.store.close()

    def _begin(self) -> None:
        self._held.clear()
        self._unsaid.clear()
        self._token, now = secrets.token_bytes(16), time.time()
        self._futures.begin(self._token, os.getpid(), now, self.key)
        self._end_late_rows()

    def _startable(self) -> list[Group]:
        """Return the groups with pending rows that nobody works on, and that nothing keeps or somebody wants again."""
        groups = [group for group in self._futures.groups(time.time()) if group.key == self.key]
        groups = [group for group in groups if group.number not in self._threads]
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
        """End the rows, of any key, whose deadlines pass while nobody works on them; a group at work does it itself."""
        began = time.monotonic()
        if began < self._expires_at:
            return
        groups = self._futures.groups(math.inf)
        for group in groups:
            if group.key == self.key and group.number not in self._threads:
                self._futures.expire(self._token, time.time(), group.number)
        for key in {group.key for group in groups} - {self.key}:
            leave(self._futures, key)
        now = time.monotonic()
        self._expires_at = now + max(_LATE, _RESTS * (now - began))

    def _start(self, group: Group) -> None:
        self._held.discard(group.number)
        thread = threading.Thread(target=self._run, args=(group,), name=f"group {group.number}", daemon=True)
        self._threads[group.number] = thread
        thread.start()

    def _run(self, group: Group) -> None:
        """Have a group worked on, in a thread; put down why its rest stays pending."""
        with StoreFile(self._path, must_exist=True) as store:
            futures = Futures(store)
            try:
                held = GroupRun(futures, group, self._token, self._idle, self._stop.is_set).carry_out()
            except Exception as error:  # noqa: BLE001 - the other groups go on
                # Where it was; what it says may quote a row.
                traceback.print_tb(error.__traceback__)
                print(type(error).__name__, file=sys.stderr)
                held = Held(f"the worker failed with {type(error).__name__}; see {log_path(self._path, self.key)}")
            if held is not None and not self._stop.is_set():
                if futures.is_overtaken(self._token):
                    self._stop.set()
                    return
                self._held.add(group.number)
                not_before = time.time() + held.seconds if held.seconds else 0.0
                try:
                    futures.hold(group.number, held.reason, not_before=not_before)
                except StoreError:  # what is not known to be held cannot be wanted again
                    self._unsaid.add(group.number)
