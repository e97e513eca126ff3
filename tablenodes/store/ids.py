"""The ids of futures: nothing but chance and check digits, so that a slip is seen before the store is asked."""

from __future__ import annotations

import hmac
import re
import secrets
import zlib

LENGTH = 16  # bytes of chance in an id
_FORM = re.compile(r"resp_([0-9a-f]{32})([0-9a-f]{8})", re.ASCII)


def new_id() -> bytes:
    """Return a fresh id as the store keeps it."""
    return secrets.token_bytes(LENGTH)


def named_id(salt: bytes, name: bytes, turn: int) -> bytes:
    """Return the id of a row that has a name, the same each time; nobody without the store's salt can tell it."""
    return hmac.digest(salt, name + turn.to_bytes(4), "sha256")[:LENGTH]


def written(chance: bytes) -> str:
    """Return an id as a table holds it: ``resp_``, 32 hexadecimal digits, and 8 that check them."""
    return f"resp_{chance.hex()}{zlib.crc32(chance):08x}"


def read(text: object) -> bytes | None:
    """Return an id as the store keeps it; None for what cannot be one."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        return None
    chance = bytes.fromhex(found[1])
    return chance if zlib.crc32(chance) == int(found[2], 16) else None
