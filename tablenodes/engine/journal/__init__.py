"""The journal: what a run keeps on disk, so that nothing paid for is lost or paid twice."""

from .entry import Entry, KeptAnswer, Key, Keys, KeysAmong
from .journal import Finder, Journal

__all__ = ["Entry", "Finder", "Journal", "KeptAnswer", "Key", "Keys", "KeysAmong"]
