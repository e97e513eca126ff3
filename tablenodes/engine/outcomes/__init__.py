"""Outcomes: what an answer means, whole or streamed."""

from .judge import judge
from .rules import OUTCOMES

__all__ = ["OUTCOMES", "judge"]
