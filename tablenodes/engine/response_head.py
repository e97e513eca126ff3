"""The head of the final response among the header lines that came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .response_headers import header_in

if TYPE_CHECKING:
    from collections.abc import Iterable

_BLANK = (b"\r\n", b"\n")


def final_head(lines: Iterable[bytes]) -> tuple[bytes, bool]:
    """Give the header lines of the last response, and whether they are all there.

    Parameters
    ----------
    lines : iterable of bytes
        Every line that came, with its end: of interim responses (1xx), of a proxy's answer to CONNECT, of the
        final response, and of a trailer behind its body.

    Returns
    -------
    headers : bytes
        Without the status line and the blank line.
    complete : bool
        Whether the blank line came.
    """
    final: list[bytes] = []
    complete = in_head = False
    for line in lines:
        if not in_head and line.startswith(b"HTTP/"):
            final, in_head, complete = [], True, False
        elif in_head and line in _BLANK:
            in_head, complete = False, True
        elif in_head:
            final.append(line)
    return b"".join(final), complete


def tells_its_length(headers: bytes) -> bool:
    """Whether these header lines tell where the body ends; else only the connection's end does."""
    names = {line.partition(b":")[0].strip().lower() for line in headers.splitlines()}
    return not names.isdisjoint((b"content-length", b"transfer-encoding"))


def is_event_stream(headers: bytes) -> bool:
    """Whether these header lines tell of an event stream."""
    lowered = headers.lower()
    kind = header_in(lowered, lowered, b"\ncontent-type:") or ""
    return kind.partition(";")[0].rstrip() == "text/event-stream"
