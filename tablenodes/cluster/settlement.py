"""What a worker that died had used of a share: its requests, tokens and money, as its journal has them."""

from __future__ import annotations

import math
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..answers import usage_columns
from ..engine.journal import Journal
from ..engine.scheduling.lease import Amounts
from ..errors import JournalError

if TYPE_CHECKING:
    from ..engine.scheduling.lease import Unsettled
    from ..run.cost_limit import CostLimit
    from ..settings import Limits


def settlement(dead: Unsettled, folder: Path, limits: Limits, cost_limit: CostLimit | None) -> Amounts | None:
    """Return what a worker used whose lease ran out; None where its journal is held, gone or damaged.

    Whoever holds its journal is at work. A send whose answer never came counts as the dearest one.
    """
    path = folder / os.path.basename(dead.journal)
    if not os.path.exists(path):
        return None
    try:
        with closing(Journal(path, looks=True)) as journal:
            tokens = 0.0 if limits.token_budget is None else _tokens(journal)
            dollars = 0.0 if cost_limit is None else cost_limit.spent(journal, dead.dearest or math.inf)
            return Amounts(journal.sends, tokens, dollars)
    except JournalError:
        return None


def _tokens(journal: Journal) -> float:
    """Return the tokens of a journal's answers; one that is lost counts as the largest."""
    lasts = [entry.last for entry in journal]
    bodies = [last.body.decode("utf-8", "replace") for last in lasts if last is not None]
    found = [float(count) for count in usage_columns(bodies)["total_tokens"] if count]
    return sum(found) + lasts.count(None) * max(found, default=0.0)
