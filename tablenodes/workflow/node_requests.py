"""The requests that a workflow's nodes would send of some rows, as far as they are known before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import tables
from ..column_names import OUTPUTS
from ..errors import UsageError
from ..problems import in_a_line
from ..run.row_request import Requests, RowRequest
from ..run.rows import Context, When, decided
from .references import upstream
from .workflow_check import connections_of, left_out, made_by, plans, values_of

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from ..run.options import Path
    from ..tables import TableView
    from .definition import Definition

_MARK = re.compile(r'\{"(\{\{ [^"]+ \}\})":null\}', re.IGNORECASE)  # a filter may have changed its letters


class NodeRequest(NamedTuple):
    """What a node would send of a row; where it sends nothing, `why` says so, and `is_refused` that it is a failure.

    Of answers in `awaits`, which have not come, the places stand in the request.
    """

    node: str
    row: int
    requests: Requests | None
    request: RowRequest | None = None
    why: str = ""
    is_refused: bool = False
    awaits: tuple[str, ...] = ()

    def text(self) -> str:
        """Return it for a person."""
        told = f" cannot be sent: {self.why}" if self.is_refused else self.why and f": {self.why}"
        place = "" if told else self._place
        return f"row {self.row}{told}{place}\n{self.request.shown() if self.request else ''}".strip()

    def curl(self) -> str:
        """Return the request as a command for a shell, below a comment; why there is none, as a comment."""
        if self.why or self.requests is None or self.awaits:
            why = self.why or _known_once(self.awaits)
            return " ".join(f"row {self.row}{' cannot be sent' if self.is_refused else ''}: {why}".split())
        return f"row {self.row}{self._place}\n{self.requests.curl(self.row)}"

    @property
    def _place(self) -> str:
        """Which of several servers it is shown for: a row goes to any."""
        place = "" if self.requests is None else self.requests.place
        return f", {place}" if place else ""


class _Awaited(dict[str, Any]):
    """Stands for an answer that has not come, and is shown as its place; what is looked for in it is such a place."""

    def __init__(self, place: str) -> None:
        super().__init__({f"{{{{ {place} }}}}": None})
        self._place = place

    def __missing__(self, key: object) -> _Awaited:
        if key == "answer" and "." not in self._place:
            return self
        return _Awaited(f"{self._place}[{key}]" if isinstance(key, int) else f"{self._place}.{key}")

    def __contains__(self, key: object) -> bool:
        return True

    def get(self, key: object, default: Any = None) -> Any:
        """Return a place in the answer."""
        return self.__missing__(key)

    def __str__(self) -> str:
        return next(iter(self))

    def __bool__(self) -> bool:
        raise TypeError("it is not known yet")

    def __len__(self) -> int:
        raise TypeError("it is not known yet")

    def __eq__(self, other: object) -> bool:
        raise TypeError("it is not known yet")

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)


def node_requests(
    workflow: Definition,
    view: TableView,
    rows: Iterable[int],
    inputs: Mapping[str, Any] | None,
    connection: Connection | None,
    store: Path | None,
) -> Iterator[NodeRequest]:
    """Yield what each node would send of some rows of a table."""
    connections, values = connections_of(workflow, connection), values_of(workflow, inputs)
    made, unknown = plans(workflow, view, values, connections, store), frozenset[str]()
    for position, (name, node) in enumerate(workflow._steps):
        plan, path = made[name], node._declared.path
        ids = tuple(upstream(node, [each for each, _ in workflow._steps[:position]]) or ())
        waits = (*ids, *(each for each in sorted(unknown) if each in plan.columns))
        stand_ins = {OUTPUTS: {each: _Awaited(each) for each in ids}} | {each: _Awaited(each) for each in unknown}
        requests = Requests(plan, view, path, connections[name], stand_ins) if path else None
        for row in rows:
            part = tables.view(view.take([row]))
            skipped = left_out(workflow, name, part, values, unknown)
            why = skipped[0].problem.message if skipped else "" if path else "it sends nothing"
            found = NodeRequest(name, row, requests, why=why, awaits=waits if path else ())
            yield found if why else _with_request(found)
        unknown |= made_by(node, view)


def _with_request(found: NodeRequest) -> NodeRequest:
    if found.requests is None:
        return found
    try:
        request = found.requests.request(found.row)
    except UsageError as error:
        if found.awaits:
            return found._replace(why=_known_once(found.awaits))
        if error.code != "row_refused":
            raise
        return found._replace(why=str(error).partition(": ")[2], is_refused=True)
    if found.awaits:
        return found._replace(request=replace(request, body=_shown(request.body), problems=()))
    told = "; ".join(in_a_line(message, path, (rule,)) for path, rule, message, _ in request.problems)
    return found._replace(request=request, why=told, is_refused=bool(told))


def _known_once(awaits: Iterable[str]) -> str:
    return f"what it sends is known once there is {', '.join(awaits)}"


def _shown(value: Any) -> Any:
    """Return plain JSON with the places of answers in it as placeholders."""
    if isinstance(value, str):
        return _MARK.sub(r"\1", value)
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if not isinstance(value, dict):
        return value
    marked = next(iter(value), "")
    if len(value) == 1 and value[marked] is None and marked.startswith("{{ "):
        return marked
    return {name: _shown(each) for name, each in value.items()}


def first_row(workflow: Definition, view: TableView, inputs: Mapping[str, Any] | None) -> int:
    """Return the first row of a table that is not left out from the beginning; 0 where there is none."""
    if workflow._only is None:
        return 0
    kept = decided(When(workflow._only.plan), view, Context(values_of(workflow, inputs)))
    return next((row for row, why in enumerate(kept) if why is None), 0)
