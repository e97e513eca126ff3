"""The journal: what a run keeps on disk, so that nothing paid for is lost or paid twice."""

from .journal import Journal, Keys

__all__ = ["Journal", "Keys"]
