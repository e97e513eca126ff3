"""Clusters: a node in the partitions of any engine."""

from __future__ import annotations

from .dask_frames import map as map  # noqa: A004 - what Dask calls it, too
from .mapper import Mapper
from .share import Share

__all__ = ["Mapper", "Share", "map"]
