"""The question before a run that is likely to be dear."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import TablenodesError
from ..run.display import counted, money
from .command_options import Given, flag, under
from .complaints import complain
from .selection import opened_table

if TYPE_CHECKING:
    from ..answers import Spread
    from ..tables import TableView
    from ..workflow import Workflow

_ASKED_ABOVE = 1.0  # USD
_WEIGHED = 500  # rows of a longer table by which it is weighed, evenly over it
(YES,) = under("Before sending", flag("--yes", "Do not ask before a run that is likely to cost more than $1."))


class Intended(NamedTuple):
    """A run that is about to begin: of which workflow, over which table, and how."""

    workflow: Workflow
    table: Any
    inputs: Mapping[str, Any]
    manner: Mapping[str, Any]


def is_asked(run: Intended, given: Given) -> bool:
    """Check whether somebody is to be asked before a run, if it is dear."""
    limits = run.workflow.limits
    if getattr(given, "yes", True) or not run.manner["send"] or (limits and limits.max_cost is not None):
        return False
    return is_at_terminal() and _is_priced(run)


def consented(run: Intended, given: Given, times: float = 1.0) -> tuple[Any, bool]:
    """Return a run's table, and whether it may begin: somebody at a terminal is asked where it is likely to be dear.

    The table stands for one with so many `times` as many rows.
    """
    if not is_asked(run, given):
        return run.table, True
    try:
        view = opened_table(run.workflow, run.table, run.manner["journal"])
        likely = _likely_cost(run, view, times)
    except TablenodesError:  # the run says it, in its own place
        return run.table, True
    return view.table, likely is None or _agreed(*likely)


def is_at_terminal() -> bool:
    """Check whether a person can be asked, and answer."""
    return bool(sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty())


def _agreed(cost: Spread, rows: int, unfit: bool) -> bool:
    range_ = f"{money(cost.low)[1:]} to {money(cost.high)[1:]}"
    about = f"This is likely to cost about {money(cost.likely)} ({range_}) for {counted(rows, 'row')}."
    about += " No answer in the journal fits: it was asked with other settings, or for other rows." if unfit else ""
    sys.stderr.write(f"{about} Only y or yes sends them. Go on? [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if answer.strip().casefold() in ("y", "yes"):
        return True
    if not answer.endswith("\n"):  # the input has ended, and the cursor is behind the question
        sys.stderr.write("\n")
    complain("nothing was sent; --yes goes on without asking, --max-cost sets a limit, --rows takes a part")
    return False


def _is_priced(run: Intended) -> bool:
    """Check whether a price is known at a server that anything is sent to, where no profile limits the cost."""
    from ..connection.endpoint import base_url_of  # noqa: PLC0415 - loaded where somebody is asked
    from ..run.spending import pricing_of  # noqa: PLC0415
    from ..workflow.workflow_check import connections_of  # noqa: PLC0415

    places = connections_of(run.workflow, run.manner.get("connection")).values()
    unlimited = [each for each in places if not (each.profile and each.profile.limits and each.profile.limits.max_cost)]
    return any(pricing_of(each, base_url_of(each)).is_known for each in unlimited)


def _likely_cost(run: Intended, view: TableView, times: float) -> tuple[Spread, int, bool] | None:
    """Return what a run costs, of how many rows, and whether the journal's answers are all of others; None if cheap."""
    from .. import tables  # noqa: PLC0415 - loads pandas
    from ..engine.journal.snapshot import looked_at  # noqa: PLC0415 - loaded where somebody is asked

    whole = len(view)
    step = max(1.0, whole / _WEIGHED)
    part = view.table if step == 1 else view.take([int(at * step) for at in range(_WEIGHED)])
    found = _cost(run, part, None, step * times)
    journal = run.manner["journal"]
    if found is not None and found[0].likely > _ASKED_ABOVE and journal is not None and os.path.exists(journal):
        found = _cost(run, tables.view(part).table, journal, step * times)
        if found is not None and found[2]:
            with looked_at(Path(journal)) as looked:
                found = (*found[:2], looked.has_answers())
    else:
        found = found and (*found[:2], False)
    return found if found is not None and found[0].likely > _ASKED_ABOVE else None


def _cost(run: Intended, table: Any, journal: str | None, scale: float) -> tuple[Spread, int, bool] | None:
    """Return what the nodes with a price cost together, how many rows the first sends, and whether none is reused.

    `scale` is of a sample.
    """
    from ..answers import Spread  # noqa: PLC0415 - loaded where somebody is asked

    how = run.manner
    made = run.workflow.estimate(table, run.inputs, how.get("connection"), journal=journal, store=how["store"])
    priced = [each for each in made.values() if each.cost is not None and each.to_send]
    once = how["duplicates"] == "once"
    shares = [scale * (1 - once * each.duplicates / each.to_send) for each in priced]
    costs = [[amount * share for amount in each.cost or ()] for each, share in zip(priced, shares, strict=True)]
    rows = max((round(each.to_send * share) for each, share in zip(priced, shares, strict=True)), default=0)
    is_new = not any(each.reused for each in made.values())
    return (Spread(*map(sum, zip(*costs, strict=True))), rows, is_new) if costs else None
