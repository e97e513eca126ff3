"""Parameters of a request: how a value is written into a path, a query or a header, so that it stays in its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from ..problems import Problem, Rejected

STYLES: Mapping[str, tuple[str, ...]] = {"path": ("simple",), "query": ("form", "deepObject"), "header": ("simple",)}
"""The styles that can be written, by where a parameter stands; the first is that of one that names none."""
_HEADER = re.compile(r"[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLAIN = "/%:@!$&'()*+,;=~-._"


class Parameter(NamedTuple):
    """A parameter of an operation; `key` is what it is called among all that can be set, `name` what the server reads.

    `explode` writes each item by itself, `is_json` the whole as JSON.
    """

    key: str
    name: str
    where: str
    style: str
    explode: bool
    required: bool
    is_json: bool = False


def as_in_address(path: str) -> str:
    """Return a path as a document writes it with the signs percent-encoded that no address has."""
    return quote(path, safe=_PLAIN)


def names_in(path: str) -> list[str]:
    """Return the names that stand in a path's braces, in their order."""
    return _PLACE.findall(path)


def path_of(template: str, parameters: Iterable[Parameter], values: Mapping[str, Any]) -> str:
    """Return a row's path; raise `Rejected` for a value that would leave its place.

    All signs but letters, digits and ``-._~`` are percent-encoded, the slash too; what is empty, or makes ``.`` or
    ``..`` of a part of the path, is refused.
    """
    by_name = {each.name: each for each in parameters if each.where == "path"}
    made = []
    for segment in template.split("/"):
        pieces = _PLACE.split(segment)
        named = [by_name[name] for name in pieces[1::2]]
        texts = [_in_path(each, values.get(each.key)) for each in named]
        pieces[::2] = [as_in_address(piece) for piece in pieces[::2]]
        pieces[1::2] = texts
        whole = "".join(pieces)
        if named and whole in (".", ".."):
            raise refused(named[0], "would make '.' or '..' of a part of the path")
        made.append(whole)
    return "/".join(made)


def _in_path(parameter: Parameter, value: Any) -> str:
    text = ",".join(_flat(parameter, value, "="))
    if not text:
        raise refused(parameter, "is empty, and a part of the path")
    return text


def query_of(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> str:
    """Return a row's query, all names and values of which are percent-encoded; empty without any."""
    given = ((each, values[each.key]) for each in parameters if each.where == "query" and each.key in values)
    return "&".join(part for each, value in given for part in _in_query(each, value))


def _in_query(parameter: Parameter, value: Any) -> Iterator[str]:
    name = quote(parameter.name, safe="")
    if parameter.is_json or not isinstance(value, list | dict):
        yield f"{name}={_text(parameter, value)}"
    elif parameter.style == "deepObject":
        for key, item in _items(parameter, value):
            yield f"{name}%5B{quote(key, safe='')}%5D={_text(parameter, item)}"
    elif not parameter.explode:
        if value:
            yield f"{name}={','.join(_flat(parameter, value, ','))}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield f"{_quoted(parameter, key)}={_text(parameter, item)}"
    else:
        for item in value:
            yield f"{name}={_text(parameter, item)}"


def _items(parameter: Parameter, value: Any) -> Iterable[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise refused(parameter, "must be an object")
    return [(key, item) for key, each in value.items() for item in (each if isinstance(each, list) else [each])]


def headers_of(parameters: Iterable[Parameter], values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a row's headers; raise `Rejected` for a value that would end its line, or is empty."""
    made = []
    for each in parameters:
        if each.where == "header" and each.key in values:
            text = _written(each, values[each.key])
            if not _HEADER.fullmatch(text):
                why = "must be a text of one line, without control characters and blanks around it"
                raise refused(each, f"is a header: it {why}, in letters of Latin-1")
            made.append((each.name, text))
    return tuple(made)


def _written(parameter: Parameter, value: Any) -> str:
    if parameter.is_json or not isinstance(value, list | dict):
        return _scalar(parameter, value)
    if isinstance(value, list):
        return ",".join(_without_comma(parameter, each) for each in value)
    between = "=" if parameter.explode else ","
    return ",".join(f"{_without_comma(parameter, k)}{between}{_without_comma(parameter, v)}" for k, v in value.items())


def _without_comma(parameter: Parameter, value: Any) -> str:
    """Return an item of a header, in which nothing is encoded: a comma would make two of it."""
    if "," in (text := _scalar(parameter, value)):
        raise refused(parameter, "is a list in a header, and an item of it has a comma, which would end it")
    return text


def _flat(parameter: Parameter, value: Any, between: str) -> Sequence[str]:
    """Return the encoded parts between which a comma stands."""
    if parameter.is_json or not isinstance(value, list | dict):
        return [_text(parameter, value)]
    if isinstance(value, list):
        return [_text(parameter, each) for each in value]
    between = between if parameter.explode else ","
    return [f"{_quoted(parameter, key)}{between}{_text(parameter, each)}" for key, each in value.items()]


def _text(parameter: Parameter, value: Any) -> str:
    return _quoted(parameter, _scalar(parameter, value))


def _quoted(parameter: Parameter, text: str) -> str:
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise refused(parameter, "has a character that is none, such as half of a pair") from None


def _scalar(parameter: Parameter, value: Any) -> str:
    if isinstance(value, str) and not parameter.is_json:
        return value
    if isinstance(value, list | dict) and not parameter.is_json:
        raise refused(parameter, "is nested: a parameter holds single values, or one list or object of them")
    return "" if value is None else orjson.dumps(value).decode()


def refused(parameter: Parameter, message: str) -> Rejected:
    """Return why a row cannot be sent because of a parameter's value."""
    return Rejected(Problem(f"$.{parameter.key}", "parameter", message))
