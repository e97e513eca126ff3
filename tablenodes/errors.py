"""Every error a caller can see.

::

    TablenodesError
    ├── UsageError (ValueError)        a call that cannot be carried out as it is written
    │   ├── SettingError               a setting of a wrong name, type or range
    │   │   └── SettingNameError (TypeError)   a setting of a wrong name, or of none
    │   ├── ColumnError                a column that is missing, repeated or has no text as its name
    │   ├── TemplateError              a placeholder that cannot be read
    │   ├── SchemaError                a schema that cannot be found, read or used
    │   ├── TableError                 a table or a table's file that cannot be read or written
    │   ├── WorkflowError              a workflow file that cannot be read or does not fit together
    │   └── ConnectionSettingError     no key, an address that may not be used, a header that cannot be sent
    ├── InvalidRequests                rows that cannot be sent, with ``on_invalid="raise"``; has ``.check``
    └── EndedError                     a run that had to end; has ``.output``, what it had by then
        ├── ModelError                 the embedded model is not installed, is damaged or has ended
        ├── JournalError               the journal is locked, foreign, damaged or cannot be written
        ├── StoreError                 the store is foreign, damaged or cannot be read or written
        ├── TransportError             a transport of the user's own failed
        └── OutputError (TableError)   the output could not be written after the run; ``.output`` has it

    Interrupted (KeyboardInterrupt)    a run that was stopped; has ``.output`` too, and is no ``Exception``

A message says what was wrong, where (row, column, path) and what to do. It never holds a cell's value or a key.
Programs read ``code``, ``place`` and ``values``, never the words.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from .column_names import plainly
from .secret import without_passwords


class TablenodesError(Exception):
    """The base of all errors of this package.

    Attributes
    ----------
    code : str
        A word for what went wrong; empty where the class alone says it.
    place : str
        The setting or part that is meant, such as ``messages[0].content``; empty where there is none.
    values : dict of str to object
        What the message was made of. The command line makes its own message of them for some codes.
    """

    _needs_frames: ClassVar[bool] = False  # code of the user's own raised what led to it

    def __init__(
        self, message: str = "", *, code: str = "", place: str = "", values: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(without_passwords(str(message)))
        self.code, self.place, self.values = code, place, dict(values or {})

    def _render_traceback_(self) -> list[str]:
        # Only IPython asks for it. Whoever made a mistake sees their own line, not ours.
        from .notebook import tracebacks  # noqa: PLC0415 - loaded where it is used

        return tracebacks.whole(self) if self._needs_frames else tracebacks.short(self)


class UsageError(TablenodesError, ValueError):
    """A call that cannot be carried out as it is written."""


class SettingError(UsageError):
    """A setting of a wrong name, type or range."""


class SettingNameError(SettingError, TypeError):
    """A setting of a name that there is not, or one that is given without its name."""


class ColumnError(UsageError):
    """A column that is missing, repeated or has no text as its name."""


class TemplateError(UsageError):
    """A placeholder that cannot be read."""


class SchemaError(UsageError):
    """A schema that cannot be found, read or used."""


class TableError(UsageError):
    """A table, or a table's file, that cannot be read or written."""


class WorkflowError(UsageError):
    """A workflow file that cannot be read or does not fit together."""


class ConnectionSettingError(UsageError):
    """No key, an address that may not be used, or a header that cannot be sent."""


class EndedError(TablenodesError):
    """A run that had to end before its end.

    Attributes
    ----------
    output : NodeOutput or None
        What the run had by then; None where nothing was sent.
    message : str
        What happened. As a text, the error also says what `output` has, where it was told that.
    """

    _needs_frames = True

    def __init__(self, message: str, output: Any = None, *, code: str = "", output_has: str = "") -> None:
        super().__init__(_with_output(message, output_has), code=code)
        self.output, self.output_has, self.message = output, output_has, message


class ModelError(EndedError):
    """The embedded model is not installed, is damaged, does not start, or ended in the middle of a run."""

    _needs_frames = False


class TransportError(EndedError):
    """A transport of the user's own raised an error; it is the cause of this one."""


class JournalError(EndedError):
    """The journal is locked, foreign, damaged or cannot be written."""

    _needs_frames = False


class StoreError(EndedError):
    """The store of futures and conversations is foreign, damaged, or cannot be read or written."""

    _needs_frames = False


class OutputError(EndedError, TableError):
    """A run is over, and its output cannot be written: ``output`` has it by node; an earlier file is as it was."""

    _needs_frames = False


class InvalidRequests(TablenodesError):  # noqa: N818 - a fixed public name
    """Some rows cannot be sent, and ``on_invalid="raise"`` was asked for; ``check`` has what was found, row by row."""

    def __init__(
        self, message: str, check: Any = None, *, code: str = "", values: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, code=code, values=values)
        self.check = check


class Interrupted(KeyboardInterrupt):
    """A run was stopped before its end; in ``output``, rows without an answer are ``not_sent`` or ``in_doubt``.

    It is no `Exception` and no `TablenodesError`, so that a loop that goes on after errors stops, and pays no more.

    Attributes
    ----------
    output : NodeOutput or None
        What the run had by then.
    message : str
        What happened. As a text, it also says what `output` has, where it was told that.
    """

    def __init__(self, message: str = "", output: Any = None, *, output_has: str = "") -> None:
        super().__init__(_with_output(message, output_has))
        self.output, self.output_has, self.message = output, output_has, message

    def _render_traceback_(self) -> list[str]:
        from .notebook import tracebacks  # noqa: PLC0415 - loaded where it is used

        return tracebacks.short(self)


def _with_output(message: str, output_has: str) -> str:
    return f"{message}; .output has {output_has}" if output_has else message


_Error = TypeVar("_Error", bound=TablenodesError)


def framed(error: _Error, before: str = "", after: str = "") -> _Error:
    """Return a copy of an error with words before and after its message, such as the file and the line."""
    made = copy.copy(error)
    made.values = {**made.values, "before": before} if before else made.values
    if isinstance(made, EndedError):
        made.message = f"{before}{made.message}{after}"
        made.args = (_with_output(made.message, made.output_has),)
    else:
        made.args = (f"{before}{error}{after}",)
    return made


_MANY = 200
_FEW = 13


def nearest(name: str, candidates: Iterable[str], synonyms: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest candidate, or an empty text; of many, it begins alike."""
    if (meant := synonyms.get(name.casefold())) is not None:
        return f"; did you mean {meant!r}?"
    known = {candidate.casefold(): candidate for candidate in candidates}
    plain = plainly(name)
    close = [folded for folded, candidate in known.items() if plain and plainly(candidate) == plain][:1]
    alike = [each for each in known if len(known) <= _MANY or each[:1] == name[:1].casefold()]  # each costs 50 µs
    close = close or difflib.get_close_matches(name.casefold(), alike[:_MANY], n=1, cutoff=0.6)
    return f"; did you mean {known[close[0]]!r}?" if close else ""


def among(name: str, candidates: Iterable[str]) -> str:
    """Return what `nearest` does; where nothing is near, the candidates: all of a few, else three."""
    known = list(candidates)
    if hint := nearest(name, known):
        return hint
    if len(known) <= _FEW:
        return f"; there are {', '.join(known)}"
    return f"; the nearest are {', '.join(difflib.get_close_matches(name, known, n=3, cutoff=0))}"
