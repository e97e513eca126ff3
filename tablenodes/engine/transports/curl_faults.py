"""What libcurl's error codes mean, in the words of `Answer.fault`."""

from __future__ import annotations

from typing import NamedTuple

from ..outcomes.rules import PROXY_LOGIN

# The codes are libcurl's CURLE_*, as numbers: pycurl names only some of them.
_OPERATION_TIMEDOUT = 28
_RECV_ERROR = 56
_CERTIFICATE = dict.fromkeys((53, 54, 58, 59, 60, 66, 77, 80, 82, 83, 90, 91, 98), "tls")
_ON_THE_WAY = {5: "proxy", 6: "dns", 7: "connect", 97: "proxy", **_CERTIFICATE}

# Before the request was begun to be sent: nothing can have been executed. 35: the TLS handshake broke off.
_BEFORE_SENDING = {**_ON_THE_WAY, _OPERATION_TIMEDOUT: "timeout_connect", **dict.fromkeys((35, 52, 55, 56), "connect")}

_AFTER_SENDING = {
    **_ON_THE_WAY,  # libcurl's own repeat, on a fresh connection, came to nobody
    **dict.fromkeys((1, 8, 100), "protocol"),  # no status line (HTTP/0.9); not HTTP; too long or too many headers
    18: "truncated",
    **dict.fromkeys((23, 61), "bad_encoding"),  # 23: bytes after the end of what was compressed
    **dict.fromkeys((35, 55, 56), "reset"),
    52: "disconnected",
}


class Circumstances(NamedTuple):
    """What was known of a transfer when it ended."""

    sent: bool  # the request was begun to be sent
    heard: bool  # some byte of an answer came
    refused: bool  # a send was forbidden
    too_large: bool  # it was ended because of its length
    complete: bool  # the final response's headers came whole
    until_close: bool  # only the connection's end can be the body's end
    secure: bool
    proxied: bool
    proxy_status: int  # what the proxy answered to CONNECT, or in the server's place; 0 for nothing
    system_error: int  # the operating system's number, 0 for none


def fault_of(code: int, words: str, seen: Circumstances) -> tuple[str | None, str]:
    """Return the fault's name and the words for it; `code` and `words` are libcurl's."""
    if seen.too_large:
        return "too_large", "the answer is longer than the limit for bodies"
    if seen.refused:
        return "disconnected", "sending it again was refused" if seen.sent else "sending it was refused"
    if seen.proxied and seen.proxy_status == 407:
        return PROXY_LOGIN, "the proxy asks for a user name and password (407)"
    if code == 0:
        return (None, "") if seen.complete else ("truncated", "the connection ended in the middle of the headers")
    fault = _after_sending(code, seen) if seen.sent else _before_sending(code, seen)
    if fault == "truncated" and seen.until_close:
        return None, ""  # an end without TLS's farewell, where no length tells better
    return fault, words or f"libcurl error {code}"


def _before_sending(code: int, seen: Circumstances) -> str:
    fault = _BEFORE_SENDING.get(code, "internal_error")
    in_the_tunnel = 200 <= seen.proxy_status < 300
    return "proxy" if fault == "connect" and seen.proxied and not in_the_tunnel else fault


def _after_sending(code: int, seen: Circumstances) -> str:
    if code == _OPERATION_TIMEDOUT:
        return "timeout_total" if seen.heard else "timeout_first_byte"
    if code == _RECV_ERROR and not seen.system_error:
        # Nothing went wrong below HTTP, or the other side left a TLS connection without a farewell.
        if not seen.heard:
            return "disconnected"
        return "truncated" if seen.secure else "protocol"
    return _AFTER_SENDING.get(code, "internal_error")
