"""Transports: what carries the bytes of calls."""
