"""Step: a node of a workflow, with when it runs for a row, where its requests go, and what it is for."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from ..arguments import explaining
from ..bodies.settings_plan import RowPlan, SettingsPlan
from ..bodies.values import TextValue
from ..connection.connection import Connection, given_connection
from ..errors import WorkflowError
from ..nodes import Node
from ..templates.template import inner, pieces_of, template_of

WHEN = "when"


@explaining("__init__")
@dataclass(frozen=True)
class Step:
    """A node of a workflow with what a workflow says of it.

    Parameters
    ----------
    node : Node
        What is done with every row.
    when : str, optional
        One expression over the row and what came before, with or without its braces: ``"{{ ask.stars < 3 }}"``. A row
        for which its value is false, as Python has it, or null is ``skipped``, which is no failure; so is it at each
        later node that reads this one's answer, unless a ``default(…)`` meets that.
    connection : Connection or str, optional
        Where the node's requests go. Default: the workflow's connection. One that a run is given goes before both.
    description : str, optional
        What the node is for.
    """

    node: Node
    _: KW_ONLY
    when: str | None = None
    connection: Connection | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.node, Node):
            raise WorkflowError(f"a step needs a node, not {type(self.node).__name__}")
        if isinstance(self.when, bool):
            object.__setattr__(self, WHEN, str(self.when).lower())
        object.__setattr__(self, "connection", given_connection(self.connection, WorkflowError))
        for name, kind in (("when", str), ("description", str)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                wanted = "an expression, true or false" if name == WHEN else "a text"
                raise WorkflowError(f"{name}: must be {wanted}, not {type(value).__name__}", place=name)
        if self.when is not None:
            Condition(self.when)


STEP_KEYS = ("when", "connection", "description")


def node_of(given: Any) -> Any:
    """Return the node of a step, or the node that is given in its place; None of one that cannot be read."""
    return given.node if isinstance(given, Step) else given


def whens(nodes: Sequence[tuple[str, Any]], where: Condition | None = None) -> dict[str, Condition]:
    """Return what decides for which rows nodes run, by their ids; `where` decides for each of them."""
    steps = ((name, given.when if isinstance(given, Step) else None) for name, given in nodes)
    made = {name: where if when is None else Condition(when) for name, when in steps}
    return {
        name: each if where in (None, each) else each.beside(where) for name, each in made.items() if each is not None
    }


class Condition:
    """The expression of a ``when``: what it reads, and how it decides."""

    def __init__(self, text: str, name: str = WHEN) -> None:
        self.name = name
        self._expression = expression = _expression(text, name)
        self.written = f"{{{{ {expression} }}}}"
        self.template = template_of(self.written, name, is_bare=True)
        # What is missing at the end of the way is null and so false; an answer that is missing is not met by that.
        self._value = TextValue(template_of(f"{{{{ 1 if (({expression}) | default(none)) else '' }}}}", name))

    def beside(self, other: Condition) -> Condition:
        """Return the condition that both are true, the other first."""
        return Condition(f"({other._expression}) and ({self._expression})", f"{other.name} and {self.name}")

    def plan(self, columns: Sequence[str], constants: Mapping[str, Any]) -> RowPlan:
        """Return what makes True or False of each row of a table."""
        return SettingsPlan({WHEN: self._value}, columns, constants=constants, becomes=lambda made: bool(made[WHEN]))


def _expression(text: str, name: str) -> str:
    bare = re.sub(r"[{}]{2}", "", text).strip()
    pieces = pieces_of(template_of(text.strip(), name).source) if "{{" in text and bare else []
    if pieces and (len(pieces) != 3 or pieces[0] or pieces[2]):
        raise WorkflowError(f"{name}: must be one expression: {{{{ … and … }}}}, with nothing beside it", place=name)
    expression = inner(pieces[1]) if pieces else bare
    if not expression:
        raise WorkflowError(f'{name}: is empty; write an expression such as "{{{{ stars < 3 }}}}"', place=name)
    return expression
