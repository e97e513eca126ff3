"""Compression of bytes, by the codecs of Arrow."""

from __future__ import annotations

import pyarrow


def compressed(codec: str, content: bytes) -> bytes:
    """Return bytes in a shorter form."""
    found: bytes = pyarrow.Codec(codec).compress(content, asbytes=True)
    return found


def decompressed(codec: str, content: bytes, size: int) -> bytes:
    """Return the bytes, so many, that were compressed."""
    found: bytes = pyarrow.Codec(codec).decompress(content, size, asbytes=True)
    return found
