"""What the nodes of a run have sent and used, and what that leaves of its limits for the next one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .. import tables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..nodes import Node
    from ..run.output import NodeOutput
    from ..settings import Limits

_PENDING = "pending"


def left(
    limits: Limits,
    steps: Sequence[tuple[str, Node]],
    outputs: Mapping[str, NodeOutput[Any]],
    *,
    journal: bool,
) -> Limits:
    """Give the limits for the next node: what earlier ones have sent and used counts, since it is one run.

    Parameters
    ----------
    limits : Limits
        Those of the whole run.
    steps : sequence of (str, Node)
        The workflow's nodes by their ids.
    outputs : mapping of str to NodeOutput
        What the earlier ones gave; the next is the first without one.
    journal : bool
        Whether the run has a journal. The requests that it keeps, and those that a worker sends for it, are then
        counted where they are sent, over all runs that have it: each is told of the other's alone.
    """
    if not outputs:
        return limits
    if limits.max_requests is not None:
        is_later = steps[len(outputs)][1]._declared.later
        sent = 0
        if is_later or not journal:
            sent += sum(_sent(output, reused=journal) for output in outputs.values())
        if not (is_later and journal):
            submitted = [name for name, node in steps[: len(outputs)] if node._declared.later]
            sent += sum(_sent_later(name, steps, outputs) for name in submitted)
        limits = replace(limits, max_requests=max(0, limits.max_requests - sent))
    if limits.token_budget is not None:
        used = sum(map(_tokens, outputs.values()))
        limits = replace(limits, token_budget=max(0, limits.token_budget - used))
    return limits


def _sent(output: NodeOutput[Any], *, reused: bool) -> int:
    """Give how many requests a node has sent itself; where wanted, also those for the answers that it reused."""
    sent = output.summary.requests
    return max(sent, _attempts(output)) if reused and output.summary.reused else sent


def _sent_later(name: str, steps: Sequence[tuple[str, Node]], outputs: Mapping[str, NodeOutput[Any]]) -> int:
    """Give how many requests a worker has sent for a node's rows; one for each of which no more is known."""
    known = [
        _attempts(outputs[other]) + outputs[other].summary.outcomes.get(_PENDING, 0)
        for position, (other, node) in enumerate(steps[: len(outputs)])
        if node._retrieves(steps[:position]) == name
    ]
    return max(known, default=outputs[name].summary.ok)


def _attempts(output: NodeOutput[Any]) -> int:
    log = tables.view(output.log)
    return sum(int(attempts) for (attempts,) in log.rows(("attempts",))) if "attempts" in log.columns else 0


def _tokens(output: NodeOutput[Any]) -> int:
    """Give the tokens of the answers that this run was sent, those from the journal aside."""
    log = tables.view(output.log)
    if "total_tokens" not in log.columns:
        return 0
    rows = log.rows(("total_tokens", "reused"))
    return sum(int(tokens) for tokens, reused in rows if tokens is not None and not reused)
