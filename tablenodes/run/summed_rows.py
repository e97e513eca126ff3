"""What a report reads of a node whose rows came in batches, and are in memory no more."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..tables import TableView
    from .account import Account
    from .failures import Failed
    from .provenance import Provenance
    from .row_sums import RowSums
    from .rows import Requested


class SummedUp:
    """What a report reads of a node's rows that were summed up as they came."""

    _provenance: Provenance | None = None  # which node makes them, and how

    def _account(self) -> Account:
        """Return what they came to."""
        raise NotImplementedError

    def _schema(self) -> Any:
        """Return the schema of the table that was read."""
        raise NotImplementedError

    def _requests_of(self, view: TableView) -> Requested | None:
        """Return what makes the bodies of rows of that table; None where they were made of other answers too."""
        raise NotImplementedError

    def _measured(self) -> RowSums:
        return self._account().sums

    def _failures(self) -> list[Failed]:
        """Return why rows failed, the most first."""
        return self._account().failures.listed()

    @cached_property
    def _view(self) -> TableView:
        """The first rows of reasons why rows failed."""
        return self._account().firsts.view(self._schema())

    @cached_property
    def _requested(self) -> Requested | None:
        return self._requests_of(self._view)

    def _place_of(self, row: int) -> int | None:
        return self._places.get(row)

    @cached_property
    def _places(self) -> dict[int, int]:
        return self._account().firsts.places
