"""What has a report: the output of a node, or of a workflow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import SettingError


class Reportable:
    """The part of an output that writes its report."""

    def _reported(self) -> Mapping[str, Any]:
        """Return the outputs that the report is of, by their nodes' names."""
        raise NotImplementedError

    def _place_of(self, row: int) -> int | None:
        """Return where a row is in the table that is at hand, which is whole; None where it is not in it."""
        return row

    def report(self, path: str | os.PathLike[str], *, samples: int = 0) -> None:
        """Write a report of the run: one page of HTML that is whole by itself, and asks for nothing over the network.

        It has what ran and what became of it, the outcomes, how long attempts took, what went on over time (rows,
        requests, retries, pauses), tokens and cost, why rows failed and what to do, and the settings, secrets masked.
        It needs ``pip install 'tablenodes[report]'``, whose charts follow the reader's dark or light.

        Parameters
        ----------
        path : path
            The file, such as ``run.html``; one that is there is replaced.
        samples : int
            So many rows that failed, and as many that are ok, are shown with their cells, up to 100 of each. By default
            none is, and no text of a prompt.

        Raises
        ------
        SettingError
            If the charts' library is not installed.
        TableError
            If the file cannot be written.
        """
        from ..report.page import write  # noqa: PLC0415 - loaded where it is used

        write(self._reported(), path, samples=samples)


class ReportableStream(Reportable):
    """The same of a run that came in batches."""

    def report(self, path: str | os.PathLike[str], *, samples: int = 0) -> None:
        """Write a report of the run once it is over; see `Responses.report`.

        Of its rows there are sums: how long attempts took is right to a hundredth part. No rows are shown, as none are
        kept (``samples=0``).
        """
        if samples:
            raise SettingError("samples: a stream keeps no rows: read them where you wrote them", place="samples")
        super().report(path)
