"""The nodes that ask an operation of an API document, one class an operation."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, make_dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar

from .. import schemas
from ..answers import RowAnswers
from ..bodies.recipe import BODY
from ..nodes.answer_columns import answers_of
from ..nodes.node import METHODS, OWN, Declaration, own_names
from ..nodes.reference import documented
from ..nodes.request_node import RequestNode
from .asked_operation import AskedOperation
from .operation_plan import OperationPlan

if TYPE_CHECKING:
    from ..bodies.recipe import Recipe
    from ..schemas import Schema

_KEPT = 1024  # kinds of nodes that are made once
_DOCSTRING = """{summary}: {place}.

Every setting may be a constant, a text with ``{{{{ column }}}}`` placeholders, or ``tn.col("name")``. A setting that is
left out is taken from the table's column of the same name, if there is one, or is left to the server.
"""


@dataclass(frozen=True, kw_only=True, repr=False)
class OperationNode(RequestNode):
    """Asks an operation of an API document; its answers are kept as they come.

    Parameters
    ----------
    schema : path or mapping, optional
        Another schema of the request body than the document's.
    """

    _operation: ClassVar[AskedOperation]

    schema: Any = field(default=None, metadata=OWN)

    @cached_property
    def _answers(self) -> RowAnswers:
        return replace(answers_of(self), is_whole=True)

    @classmethod
    def _described_by(cls) -> Schema:
        return cls._operation.schema

    def _schema_of_requests(self) -> Schema:
        return self._operation.schema if self.schema is None else self._operation.with_body(self._schema_of_body())

    def _schema_of_body(self) -> Schema:
        operation = self._operation
        return operation.of_body if self.schema is None else schemas.load(self.schema, operation.place)

    def _bodies(self) -> Callable[..., OperationPlan]:
        return partial(OperationPlan, self._operation, self._schema_of_body())

    def _recipe(self) -> Recipe:
        operation = self._operation
        return replace(super()._recipe(), holds_requests=bool(operation.body_schema) and BODY not in operation.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self._operation, self._shown())


@lru_cache(maxsize=_KEPT)
def node_of(operation: AskedOperation) -> type[OperationNode]:
    """Return the node of an operation: the same class for the same operation."""
    names, summary = called(operation.keys), operation.summary or operation.name
    operation.schema.is_valid({})  # or says what is wrong with a schema
    kind = make_dataclass(
        operation.name,
        [(name, Any, field(default=None)) for name in names],
        bases=(OperationNode,),
        namespace={
            "__doc__": _DOCSTRING.format(summary=summary.rstrip("."), place=operation.place),
            "__module__": OperationNode.__module__,
            "_operation": operation,
            "_declared": Declaration(
                operation=operation.place,
                known_as=operation.known_as,
                method=operation.method,
                path=operation.path,
                choices=False,
                as_it_came=True,
                names=names,
            ),
        },
        frozen=True,
        kw_only=True,
        repr=False,
    )
    return documented(kind)


def _again(operation: AskedOperation, settings: dict[str, Any]) -> OperationNode:
    return node_of(operation)(**settings)


def called(keys: Iterable[str]) -> dict[str, str]:
    """Return what can be set by the names of the settings: as Python can write them, and as no method is called."""
    taken = {*METHODS, *own_names(OperationNode)}
    made: dict[str, str] = {}
    for key in keys:
        name = re.sub(r"\W", "_", key).strip("_") or "value"
        name = f"x{name}" if name[0].isdigit() else name
        while name in taken or name in made or keyword.iskeyword(name):
            name += "_"
        made[name] = key
    return made
