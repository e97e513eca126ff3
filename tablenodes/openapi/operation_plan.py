"""From a node's settings and a row's cells to a request of an operation: its place, its headers and its body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..bodies.body_plan import BodyPlan, dumps
from ..bodies.settings_plan import top_of
from ..engine.calls import PlacedBody
from ..problems import Problem, Rejected

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..bodies.values import Row
    from ..schemas import Schema
    from .asked_operation import AskedOperation


class OperationPlan(BodyPlan):
    """How rows become requests of an operation; `body` is the gate of the body, and the parameters have their own."""

    def __init__(self, operation: AskedOperation, body: Schema, *given: Any, **more: Any) -> None:
        self._operation, self._body_schema = operation, body
        self.is_placed, self.method = not operation.is_plain, operation.method
        super().__init__(*given, **more)

    def identity(self) -> bytes | None:
        return None  # the operation decides, too

    def _bind(self, values: Mapping[str, Any], row: Row, defaults: Mapping[str, Any]) -> None:
        known = self._operation.properties  # what a server supplies is a property of some of its operations
        super()._bind(values, row, {name: value for name, value in defaults.items() if name in known})

    def _unknown_keys(self, values: Mapping[str, Any], extra: Collection[str]) -> Iterator[str]:
        return iter(())  # another API's functions may have other keys

    @property
    def streams(self) -> bool | None:
        return False  # an answer is kept as it came

    def outline(self) -> bytes:
        """Return a body of the properties that are the same in every row."""
        return dumps(self._operation.parted(self._fixed)[1])

    def _dumped(self, body: Mapping[str, Any]) -> bytes:
        data = dumps(body)
        self.check_length(data)
        return data

    def encode(self, cells: tuple[Any, ...]) -> bytes:
        return self._encoded(cells) if self.is_placed else super().encode(cells)

    def _encoded(self, cells: tuple[Any, ...]) -> bytes:
        whole = self.build(cells)
        values, body = self._operation.parted(whole)
        schema = self._operation.of_parameters
        problems = [*([] if schema.is_valid(values) else schema.problems(values)), *self._problems(body)]
        if problems:
            raise Rejected(*(self._with_why(problem, whole) for problem in problems))
        return self._operation.placed(values, body, self._dumped)

    def _problems(self, body: dict[str, Any]) -> list[Problem]:
        operation = self._operation
        if not operation.body_schema:
            return operation.no_body(body)
        if not self.is_checked:
            return []
        needs_none = not body and not operation.is_body_required and operation.method not in ("POST", "PUT", "PATCH")
        if needs_none or self._body_schema.is_valid(body):
            return []
        return self._body_schema.problems(body)

    def draft(self, cells: tuple[Any, ...]) -> tuple[bytes, tuple[Problem, ...]]:
        if not self.is_placed:
            return super().draft(cells)
        try:
            return self._encoded(cells), ()
        except Rejected as rejected:
            operation = self._operation
            kind = operation.media_type if operation.body_schema else ""
            data = self._dumped(operation.parted(self.build(cells))[1])
            return PlacedBody(data, operation.path, operation.query, (), kind), rejected.problems

    def wrong_settings(self) -> list[Problem]:
        if not self.is_placed:
            return super().wrong_settings()
        own, body = self._operation.parted(self._fixed)
        found = [*self._operation.of_parameters.problems(own), *self._body_schema.problems(body)]
        return [*self.refused, *(problem for problem in found if top_of(problem.path) in self._fixed)]
