"""The store: what outlives a process, futures and conversations, in one file that processes share."""

from .store_file import StoreFile

__all__ = ["StoreFile"]
