"""Templates: what the author of a node writes into a text to have a row's cells put there."""

from .template import col, literal

__all__ = ["col", "literal"]
