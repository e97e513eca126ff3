"""What a workflow is made of, checked, and where in its file each part stands."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

from ..connection.connection import Connection, given_connection
from ..documents.document_reader import rooted
from ..errors import SchemaError, SettingError, UsageError, WorkflowError, framed
from ..nodes import Node
from ..run.options import RunOptions
from ..settings import Limits, Retry
from ..templates.template import Template
from .database_output import DatabaseOutput, output_of
from .definition_reader import Reader, anchored
from .destination import Destination
from .inputs import declared
from .references import check_id, faults
from .short_names import written_out
from .step import Condition, Step, node_of, whens
from .table_source import table_source

Nodes = Mapping[str, Node | Step] | Sequence[tuple[str, Node | Step]]

WORKFLOW_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True, repr=False)
class Definition:
    """The parts of a `Workflow`, described there, without what can be done with them."""

    nodes: Nodes
    _: KW_ONLY
    id: str | None = None
    description: str | None = None
    connection: Connection | None = None
    table: str | os.PathLike[str] | Mapping[str, str] | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output: Destination | DatabaseOutput | str | os.PathLike[str] | Mapping[str, str] | None = None
    limits: Limits | None = None
    retry: Retry | None = None
    submission: str | None = None
    store: str | os.PathLike[str] | None = None
    deadline: float | None = None
    _reader: Reader | None = field(default=None, init=False, compare=False)
    _replaced: frozenset[str] = field(default=frozenset(), init=False, compare=False)
    _written_out: tuple[tuple[str, Node | Step], ...] = field(default=(), init=False, compare=False)
    _only: Condition | None = field(default=None, init=False, compare=False)  # which rows any node runs for
    _alone: bool = field(default=False, init=False, compare=False)  # its table is that of its one node

    def __post_init__(self) -> None:
        put = object.__setattr__
        put(self, "nodes", _checked_nodes(self.nodes))
        put(self, "connection", given_connection(self.connection, WorkflowError))
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise WorkflowError(f"{name} must be a {kind.__name__}, not {type(value).__name__}")
        if self.id is not None and not WORKFLOW_ID.fullmatch(self.id):
            how = "made of letters, digits, dots, hyphens and underscores, at most 100"
            raise WorkflowError(f"id must be {how}", place="id")
        put(self, "table", table_source(self.table))
        put(self, "store", _file("store", self.store))
        for name in ("submission", "deadline"):
            _check_option(name, getattr(self, name))
        if not isinstance(self.inputs, Mapping):
            raise WorkflowError(f"inputs must be a mapping of names to defaults, not {type(self.inputs).__name__}")
        put(self, "inputs", {name: declared(name, value) for name, value in self.inputs.items()})
        put(self, "output", output_of(self.output))
        put(self, "_written_out", tuple(written_out(self.nodes)))  # type: ignore[arg-type]
        for reference in faults(self._steps, self.inputs, whens=self._expressions):
            node = self._steps[reference.node][0]
            raise WorkflowError(f"node {node!r}: {reference.place}: {reference.message}")

    @property
    def _steps(self) -> tuple[tuple[str, Node], ...]:
        """The nodes with their ids, in their order; ``{{ ID }}`` is written out in them."""
        return tuple((name, node_of(given)) for name, given in self._written_out)

    @property
    def _whens(self) -> Mapping[str, Condition]:
        """What decides for which rows nodes run, by their ids."""
        return whens(self._written_out, self._only)

    @property
    def _expressions(self) -> Mapping[str, Template]:
        """The texts of these."""
        return {name: each.template for name, each in self._whens.items()}

    @property
    def _as_given(self) -> tuple[tuple[str, Step], ...]:
        """The nodes with their ids and all that is said of them, as they were given."""
        given: Any = self.nodes
        return tuple((name, each if isinstance(each, Step) else Step(each)) for name, each in given)

    def _located(self, position: int, error: UsageError) -> UsageError:
        """Return an error of a node's with the node's id, and with file and line where it was loaded from one."""
        place = error.place or ("schema" if isinstance(error, SchemaError) else "")
        named = "" if self._alone else f"node {self._steps[position][0]!r}: "
        return framed(error, f"{self._place_of(position, place)}{named}")

    def _place_of(self, position: int, place: str) -> str:
        """Return ``FILE:LINE: `` of a place in a node's settings, or of ``inputs.NAME``; empty without a file."""
        if self._reader is None:
            return ""
        part, _, name = place.partition(".")
        if part == "inputs" and name in self.inputs:
            return self._at(part, name)
        return self._reader.document.start(self._reader.meant(("nodes", position), place))

    def _at(self, part: str, *below: str | int) -> str:
        """Return ``FILE:LINE: `` of a part of the workflow, or of what is below it; empty where it is in no file."""
        if self._reader is None or part in self._replaced or part not in self._reader.at(()):
            return ""
        return self._reader.document.start((part, *below))

    def __repr__(self) -> str:
        shown = [", ".join(f"{name}: {type(node).__name__}" for name, node in self._steps)]
        shown += [f"{name}={value!r}" for name in _SHOWN if (value := getattr(self, name))]
        return f"{type(self).__name__}({'; '.join(shown)})"


_KINDS: Mapping[str, type] = {"id": str, "description": str, "limits": Limits, "retry": Retry, "submission": str}
_SHOWN = ("id", "connection", "table", "inputs", "output", "limits", "retry", "submission", "store", "deadline")


def _file(name: str, path: Any) -> str | None:
    """Return the absolute path of a file; None stays."""
    if path is None:
        return None
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise WorkflowError(f"{name} must be the path of a file")
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


def _check_option(name: str, value: Any) -> None:
    """Raise `WorkflowError` for an option that a run would refuse."""
    try:
        RunOptions.of(**{name: value})
    except SettingError as error:
        raise WorkflowError(str(error), place=name) from None


def _checked_nodes(nodes: Any) -> tuple[tuple[str, Node | Step], ...]:
    try:
        pairs = [(name, node) for name, node in (nodes.items() if isinstance(nodes, Mapping) else nodes)]
    except (TypeError, ValueError):
        raise WorkflowError("nodes must be a mapping of ids to nodes, or a list of (id, node)") from None
    if not pairs:
        raise WorkflowError("a workflow needs a node")
    for position, (name, node) in enumerate(pairs):
        check_id(name, [earlier for earlier, _ in pairs[:position]])
        if not isinstance(node, Node | Step):
            raise WorkflowError(f"node {name!r} must be a node, not {type(node).__name__}")
    return tuple((name, _settled(node)) for name, node in pairs)


def _settled(given: Node | Step) -> Node | Step:
    """Return a node whose paths do not depend on the current directory; a step that says no more is its node."""
    if not isinstance(given, Step):
        return _anchored(given)
    made = replace(given, node=_anchored(given.node))
    return made.node if made == Step(made.node) else made


def _anchored(node: Node) -> Node:
    """Return a node whose paths do not depend on the current directory."""
    given: dict[str, Any] = {name: getattr(node, name, None) for name in ("schema", "image_root")}
    paths = {name: os.fspath(value) for name, value in given.items() if isinstance(value, str | os.PathLike)}
    made = {name: anchored(path, ".") if name == "schema" else rooted(path, ".") for name, path in paths.items()}
    return node if made == paths else node.replace(**made)
