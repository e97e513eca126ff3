"""Connection: where requests go, and with which key."""

from .connection import Connection

__all__ = ["Connection"]
