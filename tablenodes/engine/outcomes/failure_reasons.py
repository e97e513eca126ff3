"""Why a row failed, in one line, from what is kept of it."""

from __future__ import annotations

from ...problems import in_a_line
from . import rules
from .assembly import assembled
from .server_errors import NOTHING, ServerError, error_object, quoted, server_error

_IN_BODY = {
    "in_band_error": rules.IN_BAND.words,
    "empty_body": rules.EMPTY_BODY.words,
    "decode_error": "the answer cannot be read as JSON",
}


def reason_of(outcome: str, body: str | None, status: int | None) -> str | None:
    """Give the message of the error object in a body, else our own words.

    Parameters
    ----------
    outcome : str
        What the row ended as; not ``ok``.
    body : str or None
        What the server sent, or our own error object. Secrets are masked in it.
    status : int or None
        The HTTP status; None where no answer came.

    Returns
    -------
    str or None
        One line; of a server's words, 200 characters at most. They may repeat what the server was sent.
    """
    error = _told(outcome, (body or "").encode(errors="replace"))
    if status is None:
        return in_a_line(error.message, error.param) or None
    if told := quoted(error.message):
        return told
    words = own_words(outcome, status)
    return words if words is None or status < 300 else f"{words} ({status})"


def own_words(outcome: str, status: int) -> str | None:
    """Say why an answer is not ok in words of ours alone, where there are any."""
    if status >= 300:
        spent = outcome == "quota_exhausted"
        return rules.QUOTA_SPENT.words if spent else rules.rule_of_status(status, None).words
    if outcome in _IN_BODY:
        return _IN_BODY[outcome]
    rule = rules.FAULT_RULES.get(outcome)
    return None if rule is None else rule.words


def is_api_error(body: str | None) -> bool:
    """Tell whether a body has an error object of the API's shape, so that it was the API that answered."""
    error = server_error((body or "").encode(errors="replace"))
    return bool(error.words) or error.number is not None or '"error"' in (body or "")


def _told(outcome: str, body: bytes) -> ServerError:
    """Read what an answer says of its failure, be it in a stream."""
    error = server_error(body)
    if error is NOTHING and outcome == "in_band_error":
        told = assembled(body).error
        return NOTHING if told is None else error_object(told)
    return error
