"""The model's server: a recipe, and the child process that it starts."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import ModelError, SettingError
from .model_files import CHAT, EMBEDDING, NO_ENGINE, PackagedModel, checked, engine_version, installed

SLOTS = 4  # requests that the server works on at a time; more clients than slots starve each other
CHILD = Path(__file__).with_name("child.py")
FAREWELL = 2.0  # seconds that the child is given to leave by itself


@dataclass(frozen=True)
class LocalModel:
    """How to start the embedded model; it starts nothing by itself."""

    path: str | None = None
    slots: int = SLOTS
    context: int = 8192
    threads: int | None = None
    startup: float = 60

    def __post_init__(self) -> None:
        if self.path is not None:
            if not isinstance(self.path, str | os.PathLike):
                raise SettingError(f"the local model's path must be a path, not {type(self.path).__name__}")
            object.__setattr__(self, "path", os.fspath(self.path))
        _in_range("slots", self.slots, 1, 64)
        _in_range("context", self.context, 256, 2**24)
        if self.threads is not None:
            _in_range("threads", self.threads, 1, 1024)
        _in_range("startup", self.startup, 0.1, 3600, whole=False)

    def start(self, model: PackagedModel | None = None) -> LocalServer:
        """Start a model's server in a child process and wait until it answers; with a `path`, that file's.

        Default: the model for words, or the one for vectors where that alone is installed.
        """
        if model is None:
            is_alone = self.path is None and installed() is None and installed(EMBEDDING) is not None
            model = EMBEDDING if is_alone else CHAT
        file = checked(self.path, model)
        packs_its_engine = self.path is None and bool(model.folder)
        if engine_version(model.engine if packs_its_engine else None) is None:
            raise ModelError(NO_ENGINE)
        api_key = secrets.token_urlsafe(24)
        alias = model.name if self.path is None else file.stem
        recipe = {"path": str(file), "alias": alias, "slots": self.slots, "context": self.context}
        recipe |= {"threads": self.threads, "api_key": api_key, "embedding": model is not CHAT}
        recipe |= {"folder": str(model.place.absolute())} if packs_its_engine else {}
        log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        try:
            # A session of its own: neither a Ctrl-C nor a closed terminal reaches the child before its parent.
            child = subprocess.Popen(  # noqa: S603 - this Python, with a file of ours
                [sys.executable, "-P", str(CHILD)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            log.close()
            raise ModelError(f"cannot start the model's server with {sys.executable}: {error.strerror}") from None
        server = LocalServer(child, log, api_key, self.slots, self, model)
        try:
            server.base_url = server.wait_until_ready(json.dumps(recipe).encode() + b"\n", self.startup)
        except BaseException:
            server.close()
            raise
        return server


class LocalServer:
    """A running server of an embedded model; made by `LocalModel.start`."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        log: IO[bytes],
        api_key: str,
        slots: int,
        recipe: LocalModel,
        model: PackagedModel = CHAT,
    ) -> None:
        self.base_url, self.api_key, self.slots, self.model = "", api_key, slots, model
        self._child, self._log, self._recipe = child, log, recipe
        self._beside: LocalServer | None = None
        self._starting = threading.Lock()

    def __repr__(self) -> str:
        return f"LocalServer({self.base_url}, slots={self.slots}{', ended' if self._child.poll() is not None else ''})"

    def __enter__(self) -> LocalServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The child process's id."""
        return self._child.pid

    @property
    def ended(self) -> str | None:
        """Why there is no server any more: its exit or signal, and the first line of its log; None while it runs."""
        code = self._child.poll()
        return None if code is None else f"{_ending(code)}{self._logged()}"

    def serving(self, model: PackagedModel) -> LocalServer:
        """Return the server of a model: this one, or one beside it, which is started once and ends with this one."""
        if model is self.model:
            return self
        with self._starting:
            if (reason := self.ended) is not None:
                raise ModelError(f"the embedded model has ended: {reason}")
            if self._beside is None or self._beside.ended is not None:
                self._beside = self._recipe.start(model)
            return self._beside

    def wait_until_ready(self, recipe: bytes, seconds: float) -> str:
        """Hand the recipe over and return the address that the child prints; raise `ModelError` if none comes.

        After `seconds` the child is killed. Its input stays open: closing it, as `close` does, ends the child.
        """
        child = self._child
        assert child.stdin is not None and child.stdout is not None  # noqa: S101, PT018 - both are pipes
        late = threading.Timer(seconds, child.kill)
        late.start()
        try:
            with contextlib.suppress(OSError):  # it is gone: no line comes, and its log says why
                child.stdin.write(recipe)
                child.stdin.flush()
            line = child.stdout.readline()
        finally:
            in_time = late.is_alive()
            late.cancel()
            late.join()
        answer = json.loads(line) if line else {"error": _ending(child.wait())}
        if not in_time and ("error" not in answer or not line):  # it was killed, be it just after it said where it is
            raise ModelError(f"the model's server was not ready within {seconds:g} s{self._logged()}")
        if "error" in answer:
            raise ModelError(f"the model's server did not start: {answer['error']}{self._logged()}")
        return str(answer["base_url"])

    def close(self) -> None:
        """End the server. A second time does nothing."""
        with self._starting:
            beside, self._beside = self._beside, None
        if beside is not None:
            beside.close()
        child = self._child
        for pipe in filter(None, (child.stdin, child.stdout)):
            with contextlib.suppress(OSError):  # it is gone already
                if pipe is child.stdin and not pipe.closed:
                    pipe.write(b"\n")  # and not its end alone: a forked process of ours may hold that open
                pipe.close()
        try:
            child.wait(FAREWELL)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._log.close()

    def _logged(self) -> str:
        """Return the first line of the child's log, as a clause; later lines follow from it."""
        if self._log.closed:
            return ""
        self._log.seek(0)
        line = self._log.readline(400).decode("utf-8", "replace").strip()
        return f" ({line})" if line else ""


def _ending(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"it was ended by {name}{'; the engine needs a processor with AVX2' if name == 'SIGILL' else ''}"


def _in_range(name: str, value: object, low: float, high: float, *, whole: bool = True) -> None:
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not low <= value <= high:  # type: ignore[operator]
        kind = "a whole number" if whole else "a number"
        raise SettingError(f"the local model's {name} must be {kind} from {low:,} to {high:,}")
