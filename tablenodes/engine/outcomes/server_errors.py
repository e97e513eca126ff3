"""What a server's error says: its code, type and words, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ..policy import ERROR_BODY_BYTES, QUOTE_LENGTH
from ..redaction import Redaction
from .answer_json import UnreadableError, read
from .assembly import assembled
from .body_form import form_of
from .error_codes import ServerError, is_spent
from .error_words import codes_in, objects_in, words_in, words_of_text

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
_SHORT = 2048  # bytes of an error body that is read once for all rows that get it
_STATUS_OF_WORD = {word: status for status, words in _WORDS_OF_STATUS.items() for word in words}


def server_error(body: bytes) -> ServerError:
    """Return what an error body says: an object of any shape, a stream, a page or a text."""
    return _same_error(body) if len(body) <= _SHORT else _server_error(body)


def _server_error(body: bytes) -> ServerError:
    if form_of(body) == "stream":
        return error_object(assembled(body).error)
    if len(body) <= ERROR_BODY_BYTES:
        try:
            return error_object(read(body))
        except UnreadableError:
            pass
    return ServerError(message=words_of_text(body), is_api=False)


_same_error = lru_cache(maxsize=32)(_server_error)


def error_object(error: Any) -> ServerError:
    """Return what an error says; servers send an object, a list or a text, with its fields under many names."""
    objects = objects_in(error)
    told = [*codes_in(objects)]
    numbers = [number for number in map(_number, told) if number is not None]
    params = (fields["param"] for fields in objects if isinstance(fields.get("param"), str))
    named = (fields["requestid"] for fields in objects if isinstance(fields.get("requestid"), str))
    return ServerError(
        words=frozenset(value for value in told if isinstance(value, str)),
        number=numbers[0] if numbers else None,
        param=next(params, None),
        message=words_in(error),
        code=next((str(value) for value in told if type(value) is int or (isinstance(value, str) and value)), None),
        request_id=next(named, None),
    )


def status_of(error: ServerError) -> int:
    """Return the status that an error under a good status stands for; 200 where nobody can tell."""
    if is_spent(error):
        return 402
    if error.number is not None:
        return error.number
    return max((_STATUS_OF_WORD[word] for word in error.words if word in _STATUS_OF_WORD), default=200)


def quoted(text: str, secrets: Sequence[bytes] = ()) -> str:
    """Return a stranger's text as one line: secrets masked, control characters escaped, cut at `QUOTE_LENGTH`.

    The secrets go first: a cut through the middle of one would leave a half that nothing recognises.
    """
    if secrets and text:
        text = Redaction(secrets).mask(text.encode(errors="replace")).decode()
    kept = text.strip()[:QUOTE_LENGTH]
    if kept.isprintable():
        return kept
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return line if len(line) <= QUOTE_LENGTH else line[: QUOTE_LENGTH - 1] + "…"


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
