"""The journal: what a run keeps on disk, so that nothing paid for is lost or paid twice."""

from .entry import Entry, KeptAnswer, Key, Keys, KeysAmong, PlacedKeys
from .finder import Finder
from .journal import Journal

__all__ = ["Entry", "Finder", "Journal", "KeptAnswer", "Key", "Keys", "KeysAmong", "PlacedKeys"]
