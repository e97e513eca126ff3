"""Where servers put the reason of a failure: found in any document, a page or a plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from .answer_json import UnreadableError, read

_DEEPEST = 6
_SEVERAL = 5  # items of a list that are looked into
_LONGEST = 2000  # characters of one text that are looked at
_SAYS_NOTHING = frozenset(("", "null", "none", "ok", "success", "successful", "succeeded", "no error"))
_MESSAGES = (
    *("message", "msg", "errormessage", "errormsg", "errmsg", "statusmsg", "statusmessage", "failurereason"),
    *("faultstring", "errordescription", "description", "detail", "title", "error", "reason"),
)
"""The names of what is to be read, the best first; without case and underscores, as all names here."""
_CODES = ("code", "errorcode", "errcode", "errno", "statuscode", "type", "errortype", "status", "name", "errorname")
_WITHIN = frozenset(
    (
        *("error", "errors", "detail", "details", "baseresp", "header", "response", "fault", "exception", "metadata"),
        *("raw", "body", "innererror", "cause", "data", "result", "output", "reasons"),
    )
)
"""What may hold the reason, or more of it."""
_OBJECTS = frozenset(
    ("error", "errors", "baseresp", "header", "response", "fault", "exception", "innererror", "detail")
)
"""What may hold the error's code."""
_ALWAYS_OF_AN_ERROR = (
    *("detail", "fault", "exception", "errorcode", "errcode"),
    *("errormessage", "errormsg", "errmsg", "errordescription"),
)
_GOOD = (200, "200", "0")
_FAILED = frozenset(("error", "failed", "failure", "fail"))
_IN_A_PAGE = ("title", "h1", "message", "faultstring")
_TAG = re.compile(r"<[^<>]*>")
_BLANK = re.compile(r"\s+")


def says_something(value: Any, depth: int = 0) -> bool:
    """Check whether the value of an ``error`` says anything: null, empty, or with all fields so, it says nothing."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return any(depth > _DEEPEST or says_something(each, depth + 1) for each in inner)
    if isinstance(value, str):
        return value.strip().lower() not in _SAYS_NOTHING
    return bool(value)


def names_an_error(document: dict[str, Any]) -> bool:
    """Check whether a document without an answer says that something failed, whatever its fields are called."""
    fields = _folded(document)
    if says_something(fields.get("error")) or says_something(fields.get("errors")):
        return True
    if "error" in (fields.get("object"), fields.get("type")) or fields.get("success") is False:
        return True
    if any(says_something(fields.get(name)) for name in _ALWAYS_OF_AN_ERROR):
        return True
    inner = (fields.get(name) for name in ("baseresp", "header", "response"))
    if any(isinstance(each, dict) and _has_failing_code(_folded(each)) for each in inner):
        return True
    status = fields.get("status")
    told = isinstance(fields.get("message"), str) or isinstance(fields.get("msg"), str)
    return (isinstance(status, str) and status.lower() in _FAILED) or (told and _has_failing_code(fields))


def _has_failing_code(fields: dict[str, Any]) -> bool:
    codes = (fields.get(name) for name in ("code", "statuscode", "errorcode", "errcode"))
    return says_something(fields.get("error")) or any(says_something(code) and code not in _GOOD for code in codes)


def words_in(value: Any, depth: int = 0) -> str:
    """Return what a document says in words, of its nested parts too; empty where it says nothing."""
    if isinstance(value, str):
        return _words_in_text(value[:_LONGEST].strip(), depth)
    if depth > _DEEPEST:
        return ""
    if isinstance(value, list):
        return "; ".join(dict.fromkeys(filter(None, (words_in(each, depth + 1) for each in value[:_SEVERAL]))))
    return _words_in_object(_folded(value), depth) if isinstance(value, dict) else ""


def _words_in_text(text: str, depth: int) -> str:
    """Return a text; of one that is JSON again, what that says."""
    if text[:1] in ("{", "[") and depth <= _DEEPEST:
        try:
            return words_in(read(text.encode(errors="replace")), depth + 1) or text
        except UnreadableError:
            pass
    return "" if text.lower() in _SAYS_NOTHING else text


def _words_in_object(fields: dict[str, Any], depth: int) -> str:
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    told = ((name, words_in(texts[name], depth + 1)) for name in _MESSAGES if name in texts)
    used, own = next(((name, words) for name, words in told if words), ("", ""))
    parts = [own]
    for name, value in fields.items():
        if name in _WITHIN and name != used and (isinstance(value, dict | list) or (name == "raw" and name in texts)):
            inner = words_in(value, depth + 1)
            if own and own in inner:
                parts[0] = own = ""
            if inner and not any(inner in part for part in parts):
                parts.append(inner)
    words = ": ".join(filter(None, parts))
    place = fields.get("loc")
    if words and isinstance(place, list) and place:
        return f"{'.'.join(str(step)[:60] for step in place[:9])}: {words}"
    return words


def objects_in(document: Any) -> list[dict[str, Any]]:
    """Return the objects that say what failed, the innermost first, by names without case and underscores."""
    chain: list[dict[str, Any]] = []
    while len(chain) < _DEEPEST:
        if isinstance(document, list) and document:
            document = document[0]  # some servers wrap the error object into a list
        if not isinstance(document, dict):
            break
        chain.insert(0, fields := _folded(document))
        inner = (value for name, value in fields.items() if name in _OBJECTS and isinstance(value, dict | list))
        document = next(inner, None)
    return chain


def codes_in(objects: list[dict[str, Any]]) -> Iterator[Any]:
    """Yield the codes that objects of an error have, its types among them."""
    return (fields[name] for fields in objects for name in _CODES if name in fields)


def words_of_text(body: bytes) -> str:
    """Return the words of a body that is no JSON: the title of a page, else its text."""
    text = body[: 8 * _LONGEST].decode("utf-8-sig", errors="replace").strip()
    if text.startswith("<"):
        inner = (_TAG.sub(" ", _within_tag(text, name)) for name in _IN_A_PAGE)
        text = html.unescape(next((words for words in inner if words.strip()), "") or _TAG.sub(" ", text))
    return _BLANK.sub(" ", text).strip()[:_LONGEST]


def _within_tag(page: str, name: str) -> str:
    """Return what stands in a page's first element of a name, empty where it has none."""
    lowered = page.lower()
    start = lowered.find(f"<{name}")
    begin, end = lowered.find(">", start), lowered.find(f"</{name}", start)
    return page[begin + 1 : end] if 0 <= start < begin < end else ""


def _folded(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an object by names without case and underscores."""
    return {name.lower().replace("_", "").replace("-", ""): value for name, value in fields.items()}
