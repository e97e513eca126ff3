"""tablenodes: a node with a placeholder over a pandas DataFrame, schema and all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, TEMPLATE

if TYPE_CHECKING:
    from benchmarks.contestants.contract import Ask, Job


def set_up(job: Job, transport: str | None = None) -> Ask:
    """Prepare a run over libcurl, the default, or over the transport that is named."""
    import pandas as pd

    import tablenodes as tn

    node = tn.CreateChatCompletion(model=MODEL, prompt=TEMPLATE, temperature=TEMPERATURE)
    connection = tn.Connection(base_url=job.base_url, api_key=API_KEY, transport=transport)
    limits = tn.Limits(concurrency=job.concurrency)

    def ask(reviews: list[str]) -> list[str | None]:
        output = node.run(pd.DataFrame({"review": reviews}), connection, limits=limits, progress=False)
        return list(output.text)

    return ask
