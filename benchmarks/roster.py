"""Who is measured, with which releases, over how many rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "openai": ("openai==3.52.0",),
    "litellm": ("litellm==1.106.2",),
    "langchain": ("langchain-openai==1.7.3", "langchain-core==1.7.2"),
    "daft": ("daft[openai]==0.7.26",),
}
"""What is installed into the virtual environment of each name."""

ROWS, IN_FLIGHT = 40_000, 64
SLOW_ROWS, SLOW_IN_FLIGHT = 20_000, 2_000


class Contestant(NamedTuple):
    """One way to have every row answered.

    Attributes
    ----------
    name : str
        Its name for ``--only``, and that of its module, with underscores.
    title : str
        Its name in tables.
    environment : str or None
        The virtual environment it runs in; None for the one that runs the benchmarks.
    rows, slow_rows : int
        How many rows it gets, beside `ROWS` and `SLOW_ROWS` of the fastest, against the prompt and the slow server.
    slow_in_flight : int
        Requests in flight against the slow server: as many as it is fastest with, up to `SLOW_IN_FLIGHT`.
    paired : bool
        Whether it takes part in every round, since ratios are taken of it.
    open_files : int or None
        The soft limit of open files that it starts with; None for as many as there may be.
    note : str
        What a reader of its figures should know.
    """

    name: str
    title: str
    environment: str | None
    rows: int
    slow_rows: int
    slow_in_flight: int = SLOW_IN_FLIGHT
    paired: bool = False
    open_files: int | None = None
    note: str = ""

    @property
    def module(self) -> str:
        """The module that is run."""
        return f"benchmarks.contestants.{self.name.replace('-', '_')}"


_DAFT = (
    "It puts all rows in flight at once, whatever its concurrency setting says, so it gets no more rows than it is "
    "fastest with. Python's garbage collection is off for it: with it on, it often stood still for good."
)

ROSTER = (
    Contestant("tablenodes-libcurl", "tablenodes", None, ROWS, SLOW_ROWS, paired=True, open_files=1024),
    Contestant("tablenodes-journal", "tablenodes, with a journal", None, ROWS, SLOW_ROWS, paired=True, open_files=1024),
    Contestant("tablenodes-requests", 'tablenodes, transport="requests"', None, 4_000, 3_000, 1000),
    Contestant("openai-threads", "openai SDK, threads", "openai", 2_000, 1_500, 300, paired=True),
    Contestant("openai-async", "openai SDK, async", "openai", 1_500, 1_000, 250),
    Contestant("litellm-batch", "LiteLLM batch_completion", "litellm", 600, 750, 250),
    Contestant("langchain-batch", "LangChain .batch", "langchain", 1_500, 1_000, 250),
    Contestant("daft-prompt", "Daft prompt", "daft", 1_000, 500, 500, note=_DAFT),
    Contestant("raw-libcurl", "raw libcurl loop (the limit)", None, ROWS, SLOW_ROWS, paired=True),
)

TABLENODES, JOURNAL, SDK, LIMIT = "tablenodes-libcurl", "tablenodes-journal", "openai-threads", "raw-libcurl"


def chosen(names: Iterable[str]) -> tuple[Contestant, ...]:
    """Return the contestants of these names, in the roster's order; all of them for no names."""
    wanted = set(names)
    return tuple(one for one in ROSTER if not wanted or one.name in wanted)
