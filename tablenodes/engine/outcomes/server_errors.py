"""What a server's error body says: its code, its type, its words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..policy import ERROR_BODY_BYTES, QUOTE_LENGTH
from .strict_json import UnreadableError, read

if TYPE_CHECKING:
    from collections.abc import Sequence


class ServerError(NamedTuple):
    """An error object of the API's shape, as far as a server fills it.

    Attributes
    ----------
    words : frozenset of str
        Its ``code``, ``type`` and ``status`` where they are texts.
    number : int or None
        The first of them that is a number, such as 429.
    param : str or None
        What it is about.
    message : str
        The server's own words, as they came.
    """

    words: frozenset[str] = frozenset()
    number: int | None = None
    param: str | None = None
    message: str = ""


NOTHING = ServerError()


def server_error(body: bytes) -> ServerError:
    """Read an error body; one that is no JSON, or no error, says nothing."""
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
    """Read an error object; servers also put a text in its place, or its fields at the top."""
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


def quoted(text: str, secrets: Sequence[bytes] = ()) -> str:
    """Give a stranger's text as one line: secrets masked, control characters escaped, cut at `QUOTE_LENGTH`.

    The secrets go first: a cut through the middle of one would leave a half that nothing recognises.
    """
    for secret in secrets:
        text = text.replace(secret.decode("latin-1"), "***")
    kept = text.strip()[:QUOTE_LENGTH]
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in kept)
    return line if len(line) <= QUOTE_LENGTH else line[: QUOTE_LENGTH - 1] + "…"


def _number(value: object) -> int | None:
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        return int(value)
    return None
