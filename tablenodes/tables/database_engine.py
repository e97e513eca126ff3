"""What every engine of databases does for a reader and a writer of tables, and how it is found by an address."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..errors import TableError
from ..notices import printable
from ..secret import MASK

if TYPE_CHECKING:
    from ..database_address import DatabaseAddress
    from .staged_columns import Staged

STAGED = "tablenodes_rows"  # what rows are called that are about to be written
_LONGEST = 300


class Declared(NamedTuple):
    """A column that a table has: its name, its type in SQL, and whether every row must have it."""

    name: str
    type: str
    is_required: bool


class Engine(ABC):
    """An open database: all that is done with it is one transaction, of which nothing stays without `commit`."""

    types: ClassVar[Mapping[str, str]]  # what the kinds of staged columns are called here
    differs: ClassVar[str] = "is distinct from"
    makes_key: ClassVar[bool] = True  # whether the key of a table that is made becomes its primary key
    folds_names: ClassVar[bool] = True  # whether ``Id`` and ``id`` are one column
    _database: Any  # the library's connection

    @abstractmethod
    def __init__(self, address: DatabaseAddress, *, writes: bool, patience: float) -> None: ...

    @staticmethod
    @abstractmethod
    def faults() -> tuple[type[BaseException], ...]:
        """Return the errors that the engine's library raises."""

    @staticmethod
    @abstractmethod
    def words(error: BaseException) -> str:
        """Return what the engine says is wrong, without a cell's value."""

    @abstractmethod
    def read(self, query: str) -> Any:
        """Return the rows of a query as a data frame."""

    @abstractmethod
    def batches(self, query: str) -> tuple[Any, Iterator[Any]]:
        """Return the Arrow schema of a query's rows, and the rows as tables that are read one after another."""

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the tables that are there."""

    @abstractmethod
    def columns(self, table: str) -> list[Declared]:
        """Return the columns of a table; none where there is no such table."""

    @abstractmethod
    def stage(self, columns: Mapping[str, Staged]) -> None:
        """Hold rows as the relation `STAGED`, for this transaction alone."""

    def execute(self, statement: str) -> None:
        """Execute a statement."""
        self._database.execute(statement)

    def commit(self) -> None:
        """Keep what was done."""
        self.execute("commit")

    def close(self) -> None:
        """Close it; what was not committed is undone."""
        self._database.close()

    def named(self, table: str) -> str:
        """Return a table's name as SQL has it; what is before a dot is its schema's."""
        return ".".join(map(quoted, table.split(".", 1)))

    def lock(self, table: str) -> None:  # noqa: B027 - with one writer at a time there is nothing to do
        """Keep others from writing to a table for this transaction."""

    def type_of(self, column: Staged) -> str:
        """Return the type in SQL of a new table's column."""
        return self.types[column.kind]

    def cast(self, expression: str, kind: str) -> str:
        """Return an expression as a value of a type."""
        return f"cast({expression} as {kind})"

    def compared(self, expression: str) -> str:
        """Return an expression as something that can be compared."""
        return expression


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def opened(address: DatabaseAddress, what: str, *, writes: bool = False, patience: float = 60) -> Iterator[Engine]:
    """Open a database, and wait at most `patience` seconds for its other writers.

    Whatever goes wrong with it is a `TableError` in the engine's words, after what is being done.
    """
    made: type[Engine] = import_module(f".{address.engine}_engine", __package__).ENGINE
    faults = made.faults()
    try:
        engine = made(address, writes=writes, patience=patience)
    except faults as error:
        raise TableError(f"cannot connect to {address}: {_bounded(made.words(error), address)}") from None
    try:
        yield engine
    except faults as error:
        raise TableError(f"{what}: {_bounded(made.words(error), address)}") from None
    finally:
        with suppress(*faults):
            engine.close()


def _bounded(words: str, address: DatabaseAddress) -> str:
    """Return an engine's words as part of one line, without the address's passwords."""
    line = " ".join(words.split())
    for secret in sorted(address.secrets, key=len, reverse=True):
        line = line.replace(secret, MASK)
    return printable(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")


def missing_driver(engine: str, extra: str) -> TableError:
    """Return the error that says what to install for an engine."""
    return TableError(f"{engine} needs a driver that is not installed: pip install 'tablenodes[{extra}]'")
