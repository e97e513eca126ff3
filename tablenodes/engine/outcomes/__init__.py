"""Outcomes: what an answer means, whole or streamed."""

from .judging import OUTCOMES, judge

__all__ = ["OUTCOMES", "judge"]
