"""Outcomes: what an answer means, whole or streamed."""

from .judge import OUTCOMES, judge

__all__ = ["OUTCOMES", "judge"]
