"""A stream of Arrow record batches that are made as they are read."""

from __future__ import annotations

import atexit
import os
import weakref
from inspect import GEN_RUNNING, getgeneratorstate
from typing import TYPE_CHECKING, Any, Self

from .. import tables

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


def begun(made: Generator[Any]) -> Generator[Any]:
    """Return what makes batches once it has begun; whoever leaves it open has it closed before the interpreter goes."""
    next(made)  # a generator that was never begun does not notice that it is closed
    own, process = weakref.ref(made, lambda _: atexit.unregister(close)), os.getpid()

    def close() -> None:
        open_ = own()
        if open_ is not None and os.getpid() == process and getgeneratorstate(open_) != GEN_RUNNING:
            open_.close()

    atexit.register(close)
    return made


class ArrowStream:
    """Record batches of one schema, to be read once; closed before its end, what makes them comes to its end."""

    schema: Any
    _batches: Generator[Any]

    def __iter__(self) -> Iterator[Any]:
        return self._batches

    def read_next_batch(self) -> Any:
        """Return the next record batch; raise `StopIteration` at the end."""
        return next(self._batches)

    def read_all(self) -> Any:
        """Return all batches that are left as a `pyarrow.Table`."""
        return tables.joined(self._batches, self.schema)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return tables.stream_of(self._batches, self.schema, requested_schema)

    def close(self) -> None:
        """Send nothing more, wait for what is in flight, and close the journal."""
        self._batches.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
