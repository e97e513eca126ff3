"""The event-stream format of WHATWG's HTML standard: bytes in, events out, wherever the bytes are cut."""

from __future__ import annotations

import re
from typing import NamedTuple

STRAY = b"\n"
"""The name of an event that stands for a line which is none of the format: no event of a server's is called so."""
DONE = b"[DONE]"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = b"\r\n"
_UNKNOWN_FIELD = re.compile(rb"[a-z][a-z0-9_-]*:")


class ServerEvent(NamedTuple):
    """One event: its type (empty where the server gives none), and its lines of data, joined by line feeds."""

    name: bytes
    data: bytes


class EventTooLongError(ValueError):
    """An event is longer than its limit; nothing more can be read then."""


class EventReader:
    """Reads an event stream piece by piece, in time that is linear in its length.

    Lines end with CRLF, CR or LF and nothing else: U+2028 is text. Only what belongs to an event that has not ended is
    kept. Comments, ids, times to reconnect and fields that nobody knows are skipped. An event of more than `longest`
    bytes raises `EventTooLongError`.

    What servers do besides is read as they mean it: an event that ends without a blank line, where the next line begins
    another JSON object or is ``[DONE]``; a field ``error``; and lines of another kind, as `STRAY` events.
    """

    def __init__(self, longest: int = 64 * 2**20) -> None:
        self._longest = longest
        self._line = bytearray()
        self._name = b""
        self._data: list[bytes] = []
        self._length = 0
        self._after_return = False
        self._at_start = True

    def push(self, piece: bytes) -> list[ServerEvent]:
        """Read the next bytes and return the events that end in them."""
        if self._after_return and piece:
            self._after_return = False
            if piece[:1] == b"\n":
                piece = piece[1:]
        if not piece:
            return []
        lines = piece.splitlines(keepends=True)
        rest = b"" if lines[-1].endswith((b"\n", b"\r")) else lines.pop()
        if lines and self._line:
            lines[0] = bytes(self._line) + lines[0]
            self._line.clear()
        events: list[ServerEvent] = []
        for line in lines:
            self._take(line.rstrip(_LINE_ENDS), events)
        self._after_return = piece.endswith(b"\r")
        self._line += rest
        self._check_length(len(self._line))
        return events

    def finish(self) -> list[ServerEvent]:
        """Return what no blank line has ended, mostly nothing; the format drops it.

        The last one may be whole, for servers forget the last blank line, or cut anywhere.
        """
        events: list[ServerEvent] = []
        if self._line:
            self._take(bytes(self._line), events)
            self._line.clear()
        self._take(b"", events)
        return events

    def _take(self, line: bytes, events: list[ServerEvent]) -> None:
        if self._at_start and line.strip():  # servers send blank lines while they think
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            self._dispatch(events)
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            if self._data and value[:1] in (b"{", b"[") and self._data[-1].rstrip()[-1:] == b"}":
                self._dispatch(events)
            self._check_length(len(value))
            self._length += len(value) + 1
            self._data.append(value)
            if value == DONE:
                self._dispatch(events)
        elif field == b"event":
            self._name = value.removeprefix(b" ")
        elif field not in (b"", b"id", b"retry"):
            self._take_other(line, events)

    def _take_other(self, line: bytes, events: list[ServerEvent]) -> None:
        """Handle a line that the format does not know."""
        if line.startswith(b"error:"):
            self._dispatch(events)
            events.append(ServerEvent(b"error", line.removeprefix(b"error:").strip()))
        elif line.strip() and not _UNKNOWN_FIELD.match(line):
            self._dispatch(events)
            events.append(ServerEvent(STRAY, line))

    def _dispatch(self, events: list[ServerEvent]) -> None:
        """End the event."""
        if self._data:
            events.append(ServerEvent(self._name, b"\n".join(self._data)))
            self._data = []
        self._name = b""
        self._length = 0

    def _check_length(self, more: int) -> None:
        if self._length + more > self._longest:
            raise EventTooLongError(f"an event is longer than {self._longest:,} bytes")
