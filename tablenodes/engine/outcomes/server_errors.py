"""What a server's error says: its code, type and words, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...problems import in_a_line
from ..policy import ERROR_BODY_BYTES, QUOTE_LENGTH
from .answer_json import UnreadableError, read
from .assembly import assembled
from .rules import own_words

_QUOTA_WORDS = frozenset(
    ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "access_terminated")
)
"""Error codes and types that say that no request of this key will succeed until somebody pays."""
_WORDS_OF_STATUS = {
    400: ("invalid_request_error", "INVALID_ARGUMENT", "content_filter", "context_length_exceeded"),
    401: ("authentication_error", "invalid_api_key", "UNAUTHENTICATED"),
    403: ("permission_error", "PERMISSION_DENIED"),
    404: ("not_found_error", "model_not_found", "NOT_FOUND"),
    429: ("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "RESOURCE_EXHAUSTED"),
    500: ("server_error", "api_error", "internal_error", "internal_server_error", "INTERNAL"),
    503: ("service_unavailable", "UNAVAILABLE"),
    504: ("timeout", "DEADLINE_EXCEEDED"),
    529: ("overloaded_error", "overloaded"),
}
"""Codes and types of errors that come under a status of 200, by the statuses that they stand for."""
_STATUS_OF_WORD = {word: status for status, words in _WORDS_OF_STATUS.items() for word in words}
_CIRCUITS = {401: "auth", 402: "payment", 403: "auth"}


class ServerError(NamedTuple):
    """An error object of the API's shape, as far as a server fills it.

    `words` are its ``code``, ``type`` and ``status`` where they are texts, `number` the first of them that is a number,
    such as 429; `param` is what it is about, `message` the server's own words.
    """

    words: frozenset[str] = frozenset()
    number: int | None = None
    param: str | None = None
    message: str = ""


NOTHING = ServerError()


def server_error(body: bytes) -> ServerError:
    """Return what an error body says; one that is no JSON, or no error, says nothing."""
    if len(body) > ERROR_BODY_BYTES or body[:64].lstrip()[:1] not in (b"{", b"["):
        return NOTHING
    try:
        document = read(body)
    except UnreadableError:
        return NOTHING
    if isinstance(document, list) and document:
        document = document[0]  # some servers wrap the error object into a list
    if not isinstance(document, dict):
        return NOTHING
    error = document.get("error")
    return error_object(document if error is None else error)


def error_object(error: Any) -> ServerError:
    """Return what an error object says; servers also send a text in its place, or its fields at the top."""
    if not isinstance(error, dict):
        return ServerError(message=error if isinstance(error, str) else "")
    told = [error.get(name) for name in ("code", "type", "status")]
    numbers = [number for number in map(_number, told) if number is not None]
    param = error.get("param")
    message = next((error[name] for name in ("message", "detail") if isinstance(error.get(name), str)), "")
    return ServerError(
        words=frozenset(value for value in told if isinstance(value, str)),
        number=numbers[0] if numbers else None,
        param=param if isinstance(param, str) else None,
        message=message,
    )


def status_of(error: ServerError) -> int:
    """Return the status that an error under a good status stands for; 200 where nobody can tell."""
    if error.words & _QUOTA_WORDS:
        return 402
    if error.number is not None:
        return error.number
    return max((_STATUS_OF_WORD[word] for word in error.words if word in _STATUS_OF_WORD), default=200)


def circuit_of(status: int, error: ServerError) -> str | None:
    """Return what a failure counts against beyond its row; None for nothing."""
    if 400 <= status < 500 and error.words & _QUOTA_WORDS:
        return "quota"
    if status == 404 and ("model_not_found" in error.words or error.param == "model"):
        return "model"
    return _CIRCUITS.get(status)


def quoted(text: str, secrets: Sequence[bytes] = ()) -> str:
    """Return a stranger's text as one line: secrets masked, control characters escaped, cut at `QUOTE_LENGTH`.

    The secrets go first: a cut through the middle of one would leave a half that nothing recognises.
    """
    for secret in secrets:
        text = text.replace(secret.decode("latin-1"), "***")
    kept = text.strip()[:QUOTE_LENGTH]
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return line if len(line) <= QUOTE_LENGTH else line[: QUOTE_LENGTH - 1] + "…"


def reason_of(outcome: str, body: str | None, status: int | None) -> str | None:
    """Return why a row failed, in one line: the message of the error object in its body, else words of ours.

    `body` is what the server sent, secrets masked, or an error object of ours where `status` is None. Of a server's
    words it quotes 200 characters at most; they may repeat what the server was sent.
    """
    data = (body or "").encode(errors="replace")
    error = server_error(data)
    if error is NOTHING and outcome == "in_band_error":
        told = assembled(data).error
        error = NOTHING if told is None else error_object(told)
    if status is None:
        return in_a_line(error.message, error.param, error.words) if error.message else None
    if message := quoted(error.message):
        return message
    words = own_words(outcome, status)
    return words if words is None or status < 300 else f"{words} ({status})"


def is_api_error(body: str | None) -> bool:
    """Check whether a body has an error object of the API's shape, so that it was the API that answered."""
    error = server_error((body or "").encode(errors="replace"))
    return bool(error.words) or error.number is not None or '"error"' in (body or "")


def _number(value: object) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        return int(value)
    return None
