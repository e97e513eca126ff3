"""The event-stream format of WHATWG's HTML standard: bytes in, events out, wherever the bytes are cut."""

from __future__ import annotations

from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_ENDS = b"\r\n"


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

    def finish(self) -> ServerEvent | None:
        """Return the event that no blank line has ended, or None; the format drops it.

        It may be whole, for servers forget the last blank line, or cut anywhere.
        """
        events: list[ServerEvent] = []
        if self._line:
            self._take(bytes(self._line), events)
            self._line.clear()
        self._take(b"", events)
        return events[0] if events else None

    def _take(self, line: bytes, events: list[ServerEvent]) -> None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            if self._data:
                events.append(ServerEvent(self._name, b"\n".join(self._data)))
                self._data = []
            self._name = b""
            self._length = 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._check_length(len(value))
            self._length += len(value) + 1
            self._data.append(value)
        elif field == b"event":
            self._name = value.removeprefix(b" ")

    def _check_length(self, more: int) -> None:
        if self._length + more > self._longest:
            raise EventTooLongError(f"an event is longer than {self._longest:,} bytes")
