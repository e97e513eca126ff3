"""tablenodes: a node with a placeholder over a pandas DataFrame, schema and all."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, TEMPLATE

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contestants.contract import Ask, Job


def set_up(job: Job, transport: str | None = None, *, journals: Path | None = None) -> Ask:
    """Prepare runs over libcurl, the default, or over the transport that is named; each with a journal of its own."""
    import pandas as pd

    import tablenodes as tn

    node = tn.CreateChatCompletion(model=MODEL, prompt=TEMPLATE, temperature=TEMPERATURE)
    connection = tn.Connection(base_url=job.base_url, api_key=API_KEY, transport=transport)
    limits = tn.Limits(concurrency=job.concurrency)

    names = count()

    def ask(reviews: list[str]) -> list[str | None]:
        journal = journals and journals / f"{next(names)}.journal"
        table = pd.DataFrame({"review": reviews})
        output = node.run(table, connection, limits=limits, journal=journal, progress=False)
        return list(output.text)

    return ask
