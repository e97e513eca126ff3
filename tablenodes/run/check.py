"""Check: what would be sent, and which rows cannot be sent and why; nothing is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import islice
from numbers import Integral
from operator import and_
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from .. import tables
from ..bodies.documented_rules import broken
from ..connection.endpoint import unset_variable
from ..engine.calls import place_of
from ..engine.sink import SKIPPED
from ..errors import InvalidRequests, TableError, UsageError
from ..problems import Problem, Rejected, Remark, in_a_line, remarked
from . import display
from .prompts import RowPrompt
from .row_request import Requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import Connection
    from ..tables import TableView
    from .row_request import RowRequest

_SHOWN = 10
_LINE = 120  # characters of a prompt that are shown
_UNPICKLED = "a check that was pickled has no requests: check the table again"
_COLUMNS = {"row": "integer", **dict.fromkeys(("column", *Problem._fields), "text")}  # of the table of problems


@dataclass(frozen=True, repr=False)
class Check:
    """What a run would send, and what it could not.

    Attributes
    ----------
    rows : int
        Rows of the table.
    valid : int
        Rows that would be sent.
    problems : pandas.DataFrame
        One row a problem: ``row`` (position, 0 is the first; null for what the server would refuse in every row),
        ``index`` (the row's label in the table's index; without one, its position), ``column``, ``path``, ``rule``,
        ``message``, ``got``.
    sources : dict of str to str
        Where each request property comes from.
    unknown : tuple of str
        Properties that the schema does not know; they are sent all the same.
    duplicates : int
        Rows whose body is the same as an earlier row's; each is sent.
    warnings : tuple of str
        What will be sent but was perhaps not meant.
    prompts : tuple of RowPrompt
        What the first row that can be sent says to the model, and the longest that a row says: ``row``, ``text`` (of
        a very long one the beginning) and ``length`` in characters.
    skipped : int
        Rows that a workflow's ``when`` leaves out, as far as that is known.
    """

    rows: int
    valid: int
    problems: Any
    sources: Mapping[str, str]
    unknown: tuple[str, ...]
    duplicates: int
    warnings: tuple[str, ...]
    prompts: tuple[RowPrompt, ...] = ()
    skipped: int = 0
    _requests: Requests | str = field(default=_UNPICKLED, repr=False, compare=False)  # or why there are none
    _done: str = field(default="sent", repr=False, compare=False)  # with a row

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_requests": _UNPICKLED}

    def request(self, row: int) -> RowRequest:
        """Return one row's request as it would be sent, the key masked; of a row that cannot be sent, also why.

        Parameters
        ----------
        row : int
            The row's position: 0 is the first.

        Raises
        ------
        UsageError
            If there is no such row, no request can be made of it, or none is sent.
        """
        return self._known_requests().request(row)

    def curl(self, row: int) -> str:
        """Return one row's request as a curl command to paste into a shell, with the key as a variable.

        The variable is the connection's ``api_key_env``, else ``OPENAI_API_KEY``. Where there are several servers it is
        the command for the first, below a comment that says so.

        Raises
        ------
        UsageError
            As `request` does, and if the row cannot be sent.
        """
        requests = self._known_requests()
        return "\n".join(filter(None, (requests.place and f"# {requests.place}", requests.curl(row))))

    def _known_requests(self) -> Requests:
        if isinstance(self._requests, str):
            raise UsageError(self._requests, code="no_request")
        return self._requests

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used
        from .panels import check_panel  # noqa: PLC0415

        return html(check_panel(self))

    def __repr__(self) -> str:
        return self.described()

    def described(self, where: Callable[[str], str] | None = None) -> str:
        """Return it in lines for a person; `where` returns what stands before a path's line: a file and its line."""
        skipped = f", {self.skipped:,} {'is' if self.skipped == 1 else 'are'} skipped" if self.skipped else ""
        lines = [f"{self.valid:,} of {display.counted(self.rows, 'row')} can be {self._done}{skipped}"]
        width = max(map(len, self.sources), default=0)
        lines += [f"  {name:<{width}}  {source}" for name, source in self.sources.items()]
        lines += [f"{each.caption(self.prompts)}: {each.line(_LINE)}" for each in self.prompts]
        place = where or (lambda path: "")
        lines += [f"{place(getattr(warning, 'place', ''))}{remarked(warning)}" for warning in self.warnings]
        if self.duplicates:
            several = self.duplicates > 1
            have, sent = ("have", "each is sent") if several else ("has", "it is sent too")
            lines.append(f"{display.counted(self.duplicates, 'row')} {have} the same request as an earlier row; {sent}")
        lines += self._told(place)
        return "\n".join(lines)

    def lines(self, most: int = _SHOWN) -> Iterable[str]:
        """Yield one line a problem, `most` at the most."""
        for row, what in zip(self.problems["row"][:most], self._whats(most), strict=True):
            yield f"{_place(row)}{_worded(what)}"
        yield from _more(len(self.problems) - most)

    def first(self) -> str:
        """Return the first problem's line, which also says how rows are counted."""
        row = self.problems["row"].iloc[0]
        counting = " (rows count from 0)" if isinstance(row, Integral) else ""
        return f"{_place(row)}{counting}{_worded(next(self._whats(1)))}"

    def _told(self, where: Callable[[str], str]) -> Iterator[str]:
        """Yield the lines of the problems; what every row has stands there once."""
        everywhere = self._everywhere()
        count = len(self.problems) - self.rows * len(everywhere)
        for what in everywhere:
            yield f"{where(what.path)}every row{_worded(what)}"
        each_row = zip(self.problems["row"], self._whats(len(self.problems)), strict=True)
        left = ((row, what) for row, what in each_row if what not in everywhere)
        for row, what in islice(left, min(count, _SHOWN)):
            yield f"{where(what.path)}{_place(row)}{_worded(what)}"
        yield from _more(count - _SHOWN)

    def _everywhere(self) -> list[_What]:
        """Return what every row has, where there are several: what the first row has is looked for in all."""
        found = self.problems
        if self.valid or self.rows <= 1 or not len(found):
            return []
        first = int((found["row"] == found["row"].iloc[0]).sum())
        return [what for what in self._whats(first) if self._count(what) == self.rows]

    def _count(self, what: _What) -> int:
        same = [self.problems[name] == text for name, text in zip(what._fields, what, strict=True) if text]
        return int(reduce(and_, same).sum())

    def _whats(self, most: int) -> Iterator[_What]:
        columns = (self.problems[name][:most] for name in _What._fields)
        return (_What(*(text if isinstance(text, str) else "" for text in each)) for each in zip(*columns, strict=True))


class _What(NamedTuple):
    """What is wrong, whatever the row."""

    column: str
    path: str
    rule: str
    message: str
    got: str


def _place(row: Any) -> str:
    return f"row {display.place_of(int(row))}" if isinstance(row, Integral) else "every row"


def _worded(what: _What) -> str:
    where = f", column {what.column}" if what.column else ""
    told = in_a_line(what.message, what.path, (what.rule,))
    return f"{where}: {told}{f' (got {what.got})' if what.got else ''}"


def _more(count: int) -> Iterator[str]:
    if count > 0:
        yield f"… and {display.counted(count, 'more problem')}"


def check(plan: Callable[[TableView], RowPlan], table: Any, path: str, connection: Connection) -> Check:
    """Check every row of a table against a node; `plan` returns what becomes of a view's rows.

    Requests go to `path` below the connection's base URL; where it is empty, none are sent.
    """
    view = tables.view(table, read=False)
    if view.one_shot:
        raise TableError("the table is a stream, which can be read only once: read it into a table before you check it")
    made = plan(view)
    return with_key(check_rows(made, view, Requests.of(made, view, path, connection)), path, connection)


def with_key(found: Check, path: str, connection: Connection) -> Check:
    """Return a check that warns of a key that is not there, where requests are sent."""
    warnings = (*found.warnings, *unset_variable(connection)) if path else found.warnings
    return found if warnings == found.warnings else replace(found, warnings=warnings)


def refuse_invalid(found: Check, name: str = "") -> None:
    """Raise `InvalidRequests` if there are rows that cannot be sent; `name` is the node's id, in a workflow."""
    if found.valid + found.skipped < found.rows:
        first = next(iter(found.lines(1)))
        unsent = found.rows - found.valid - found.skipped
        count = f"{f'node {name!r}: ' if name else ''}{unsent:,} of {found.rows:,} rows"
        nothing = "cannot be sent; nothing was sent" if found._done == "sent" else "cannot be used; nothing was done"
        raise InvalidRequests(f"{count} {nothing}; first {first}", found)


def check_rows(plan: RowPlan, view: TableView, requests: Requests | str = _UNPICKLED) -> Check:
    """Check every row of a view against a plan; `requests` are the rows', or says why there are none."""
    done = "used" if plan.schema is None else "sent"
    return replace(_Checking(plan).over(view), _requests=requests, _done=done)


class _Checking:
    def __init__(self, plan: RowPlan) -> None:
        self.plan = plan
        self.schema = plan.schema
        self.found: list[tuple[Any, ...]] = []
        self.seen: set[bytes] = set()
        self.duplicates = self.skipped = 0
        self.names: set[str] = set()
        self.shown: list[RowPrompt] = []  # the first, and the longest
        self.meant_as_json: set[str] = set()
        self.broken: set[Remark] = set()

    def over(self, view: TableView) -> Check:
        self.found += [(None, None, *problem) for problem in self.plan.refused]
        rows = self.plan.ahead(view.rows(self.plan.columns))
        valid = 0 if self.found else sum(self._row(row, cells) for row, cells in enumerate(rows))
        unknown = () if self.schema is None else tuple(sorted(self.names - set(self.schema.properties)))
        found = {name: [each[at] for each in self.found] for at, name in enumerate(_COLUMNS)}
        warnings = tuple(self._warnings(unknown, len(view)))
        problems = tables.frame(found, _COLUMNS)
        problems.insert(1, "index", self._labels(view))
        sources, repeated = self.plan.sources, self.duplicates
        return Check(len(view), valid, problems, sources, unknown, repeated, warnings, tuple(self.shown), self.skipped)

    def _labels(self, view: TableView) -> Sequence[Any]:
        rows = [each[0] for each in self.found]
        return rows if rows and rows[0] is None else view.labels(rows)[1]

    def _row(self, row: int, cells: tuple[Any, ...]) -> bool:
        try:
            data = self.plan.encode(cells)
        except Rejected as rejected:
            if rejected.outcome == SKIPPED:
                self.skipped += 1
                return False
            self.found += [(row, self.plan.column_of(problem.path), *problem) for problem in rejected.problems]
            return False
        if self.schema is not None:
            self._look_into(row, data)
        return True

    def _look_into(self, row: int, data: bytes) -> None:
        """Note what is worth a word in a body that can be sent."""
        digest = hashlib.blake2b(place_of(data) + data, digest_size=12).digest()
        self.duplicates += digest in self.seen
        self.seen.add(digest)
        body = orjson.loads(bytes(data))
        if not self.shown or len(data) > self.shown[-1].length:  # else it cannot say more
            self._show(RowPrompt.of(row, body))
        self.names.update(body)
        self.meant_as_json.update(self.plan.looks_like_json(body))
        self.broken.update(broken(body))

    def _show(self, prompt: RowPrompt) -> None:
        """Keep the first prompt, and the longest."""
        if not self.shown or prompt.length > self.shown[-1].length:
            self.shown[1:] = [prompt]

    def _warnings(self, unknown: Iterable[str], rows: int) -> Iterable[str]:
        yield from self.plan.warnings
        if rows > 1 and self.schema is not None and not self.plan.columns:
            yield display.ALIKE
        for name in unknown:
            yield Remark(f"{name} is not a property in {self.schema and self.schema.name}; it is sent unchanged", name)
        yield from sorted(self.broken)
        yield from self.plan.noted(alike=False)
        for name in sorted(self.meant_as_json):
            yield Remark(f"{name} has texts that look like JSON arrays; they are sent as texts", name)
