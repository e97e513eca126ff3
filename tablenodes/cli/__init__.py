"""The command line: the same objects and the same runs as in Python."""

from .application import main

__all__ = ["main"]
