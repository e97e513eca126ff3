"""A command over a table in batches beside the same command over the whole of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pandas as pd
from sample_runs import exit_code_of
from servers import Exchange, completion, message

import tablenodes as tn


def judged(exchange: Exchange) -> None:
    """Answer with the text of the prompt; refuse what ends in a seven."""
    body = exchange.received.body
    if orjson.loads(body)["messages"][-1]["content"].endswith("7"):
        exchange.send(message(b'{"error": {"message": "no sevens", "code": "seven"}}', 400))
    else:
        exchange.send(message(completion(body)))


def compared(asked: Callable[..., list[str]], ending: str, rows: int, capsys: Any, *more: str) -> str:
    """Check that both write the same table and log and give the same reasons; return what was said in batches."""
    whole = exit_code_of(*asked("-o", f"a.{ending}", "--log", "log-a.csv"))
    first = capsys.readouterr().err
    parts = exit_code_of(*asked("-o", f"b.{ending}", "--log", "log-b.csv", "--memory", "300MB", *more))
    second: str = capsys.readouterr().err
    assert (whole, parts) == (3, 3)
    tables = tn.read_table(f"a.{ending}"), tn.read_table(f"b.{ending}")
    pd.testing.assert_frame_equal(*tables, check_dtype=False)  # pandas writes into a file of Parquet what its own are
    pd.testing.assert_frame_equal(_log_of("log-a.csv"), _log_of("log-b.csv"))
    reasons = [[line for line in each.splitlines() if "failed with" in line] for each in (first, second)]
    assert reasons[0] == reasons[1] != []
    assert f"wrote b.{ending}: {rows} rows; journal b.{ending}.journal; log log-b.csv" in second
    return second


def _log_of(path: str) -> pd.DataFrame:
    """Return a log without its times; a workflow's by node, since in batches its nodes run side by side."""
    made = pd.read_csv(path).drop(columns=["latency", "started"], errors="ignore")
    return made.sort_values(["node", "row"], ignore_index=True) if "node" in made else made
