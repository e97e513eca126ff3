"""Functions and tools written the short way, and functions meant by their names, as the API wants them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import orjson

from ..errors import nearest
from ..problems import Problem, Rejected, Remark
from ..schemas.subschemas import OTHER_TYPES
from .schema_types import not_json

Json = dict[str, Any]
_TYPES: Mapping[str, Any] = {
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "array": list,
    "object": dict,
    "null": type(None),
}
_FUNCTION = ("name", "description", "parameters", "strict")
_PARAMETER = ("name", "description", "type", "enumValues", "required")
_TWIN = "enum_values"
_MODES = {"function_call": ("none", "auto"), "tool_choice": ("none", "auto", "required")}
_SHOWN = 10
_TRUTH = {"true": True, "false": False}
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")


def _unclear(place: str, message: str) -> Rejected:
    """Return why a function cannot be read; the message never holds a value."""
    return Rejected(Problem(f"$.{place}", "function", message))


def functions(value: Any) -> Any:
    """Return ``functions`` as the API wants them: a flat list of parameters becomes a JSON Schema object."""
    if not isinstance(value, list):
        return value
    made = [_function(item, f"functions[{i}]") for i, item in enumerate(value)]
    _refuse_twins(made, "functions")
    return made


def tools(value: Any) -> Any:
    """Return ``tools`` as the API wants them: ``{name, description, parameters}`` becomes a tool of type function."""
    if not isinstance(value, list):
        return value
    made = [_tool(item, f"tools[{i}]") for i, item in enumerate(value)]
    named = [item.get("function") if isinstance(item, dict) else None for item in made]
    _refuse_twins(named, "tools")
    return made


def function_call(value: Any) -> Any:
    """Return ``function_call`` as the API wants it: a name other than ``none`` and ``auto`` means that function."""
    return {"name": value} if _is_name(value, "function_call") else value


def tool_choice(value: Any) -> Any:
    """Return ``tool_choice`` as the API wants it: a name other than none, auto and required means that function."""
    return {"type": "function", "function": {"name": value}} if _is_name(value, "tool_choice") else value


def flat_tools(value: Any) -> Any:
    """Return ``tools`` in the newer form; a function is strict there unless it says that it is not."""
    made = tools(value)
    return [_unwrapped(item, {"strict": False}) for item in made] if isinstance(made, list) else made


def flat_tool_choice(value: Any) -> Any:
    """Return ``tool_choice`` in the newer form."""
    return _unwrapped(tool_choice(value), {})


def _unwrapped(item: Any, more: Json) -> Any:
    function = item.get("function") if isinstance(item, dict) and item.get("type") == "function" else None
    return {"type": "function", **more, **function} if isinstance(function, dict) else item


_WRITERS: Sequence[Callable[[Any], Any]] = (functions, function_call, tools, tool_choice)
WRITTEN_OUT = {write.__name__: write for write in _WRITERS}
"""For each property that has a short way: what makes it as the API wants it."""
FLAT: Mapping[str, Callable[[Any], Any]] = {"tools": flat_tools, "tool_choice": flat_tool_choice}
"""The same in the API's newer form, where a function is a tool without a wrapping."""
LISTED_IN: Mapping[str, str] = {"function_call": "functions", "tool_choice": "tools"}
"""For each property that may name a function: the one that lists them."""


def check_named(body: Mapping[str, Any], *, tell: bool = True) -> None:
    """Raise `Rejected` if a named function is not among those of the body; with `tell`, their names are shown."""
    for place, listing in LISTED_IN.items():
        name = _named(body.get(place))
        if name is None:
            continue
        listed = body.get(listing) or []
        known = _names(listed, listing) if isinstance(listed, list) else [name]
        if name not in known:
            what = f" that is not in {listing}" if listed else f", but {listing} is not set"
            raise _unclear(place, f"names a function{what}{_hint(name, place, known if tell else [])}")


def unknown_keys(listing: str, value: Any) -> Iterator[Remark]:
    """Yield a remark for each key of functions that the API does not know; they are sent as they are."""
    for i, item in enumerate(value if isinstance(value, list) else ()):
        function, place = item, f"{listing}[{i}]"
        if listing == "tools" and isinstance(item, dict) and ("function" in item or "type" in item):
            function, place = item.get("function"), f"{place}.function"
        for key in function if isinstance(function, dict) else ():
            if key not in _FUNCTION:
                is_plain = _PLAIN_NAME.fullmatch(key)
                where = f"{place}.{key}" if is_plain else f"a key of {place}"
                hint = nearest(key, _FUNCTION)
                text = f"{where} is not a key of a function in the API; it is sent unchanged{hint}"
                yield Remark(text, f"{place}.{key}" if is_plain else place)


def _hint(name: str, place: str, known: Sequence[str]) -> str:
    shown = ", ".join([*known[:_SHOWN], *("…" for _ in known[_SHOWN:][:1])])
    return nearest(name, (*known, *_MODES[place])) or (f"; there are {shown}" if known else "")


def _named(value: Any) -> str | None:
    """Return the function that ``function_call`` or ``tool_choice`` names, or None."""
    if not isinstance(value, dict) or value.get("type") == "mcp":  # whose tools its own server lists
        return None
    name = value["function"].get("name") if isinstance(value.get("function"), dict) else value.get("name")
    return name if isinstance(name, str) else None


def _names(listed: list[Any], listing: str) -> list[str]:
    items = (item for item in listed if isinstance(item, dict))
    given = (item["function"] if isinstance(item.get("function"), dict) else item for item in items)
    return [item["name"] for item in given if isinstance(item.get("name"), str)]


def _is_name(value: Any, place: str) -> bool:
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        raise _unclear(place, f"must be a function's name or an object; the text is {not_json(value) or 'a JSON list'}")
    return isinstance(value, str) and value not in _MODES[place]


def _tool(item: Any, place: str) -> Any:
    if not isinstance(item, dict) or "name" not in item or "type" in item or "function" in item:
        return item
    return {"type": "function", "function": _function(item, place)}


def _function(item: Any, place: str) -> Any:
    if not isinstance(item, dict) or not _is_flat(item):
        return item
    _check_keys(item, _FUNCTION, place, "a function")
    made: Json = {}
    required: list[str] = []
    for i, parameter in enumerate(item["parameters"]):
        where = f"{place}.parameters[{i}]"
        name, schema, is_required = _parameter(parameter, where)
        if name in made:
            raise _unclear(f"{where}.name", "is also the name of an earlier parameter")
        made[name] = schema
        if is_required:
            required.append(name)
    schema = {"type": "object", "properties": made} | ({"required": required} if required else {})
    return {**item, "parameters": schema}


def _is_flat(item: Json) -> bool:
    """Check whether a function has a flat list of parameters, or one under what is nearly that name."""
    if "parameters" in item:
        return isinstance(item["parameters"], list)
    near = (value for key, value in item.items() if nearest(str(key), _FUNCTION[2:3]))
    return any(isinstance(value, list) and any(isinstance(each, dict) for each in value) for value in near)


def _refuse_twins(functions: Sequence[Any], listing: str) -> None:
    """Raise `Rejected` where two functions have one name: nobody could tell which is called."""
    seen: set[str] = set()
    for i, function in enumerate(functions):
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            if name in seen:
                raise _unclear(f"{listing}[{i}]", "has the same name as an earlier function")
            seen.add(name)


def _parameter(given: Any, place: str) -> tuple[str, Json, bool]:
    """Return a parameter's name, its schema, and whether it is required."""
    if not isinstance(given, dict):
        raise _unclear(place, f"must be a mapping with {', '.join(_PARAMETER[:3])}")
    _check_keys(given, (*_PARAMETER, _TWIN), place, "a parameter")
    for key in ("name", "type"):
        if not isinstance(given.get(key), str) or not given[key]:
            raise _unclear(f"{place}.{key}" if key in given else place, f"a parameter needs a {key}, a text")
    kind = given["type"]
    if kind not in _TYPES:
        raise _unclear(f"{place}.type", f"must be one of {', '.join(_TYPES)}{nearest(kind, _TYPES, OTHER_TYPES)}")
    made = {"type": kind, "description": given.get("description"), "enum": _enum_values(given, kind, place)}
    schema = {key: value for key, value in made.items() if value is not None}
    return given["name"], schema, _truth(given.get("required"), f"{place}.required")


def _enum_values(given: Json, kind: str, place: str) -> list[Any] | None:
    written = [key for key in ("enumValues", _TWIN) if given.get(key) is not None]
    if not written:
        return None
    if len(written) > 1:
        raise _unclear(place, f"has both enumValues and {_TWIN}: keep one of them")
    where, values = f"{place}.{written[0]}", given[written[0]]
    if not isinstance(values, list) or not values:
        raise _unclear(where, "must be a list of values")
    made = [_of_type(value, kind, f"{where}[{i}]") for i, value in enumerate(values)]
    seen: set[str] = set()
    for i, value in enumerate(map(repr, made)):  # lists and objects too can be told apart by that
        if value in seen:
            raise _unclear(f"{where}[{i}]", "is the same as an earlier value")
        seen.add(value)
    return made


def _of_type(value: Any, kind: str, place: str) -> Any:
    """Return a value of the parameter's type; one that is written as a text is read."""
    if isinstance(value, str) and kind != "string":
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise _unclear(place, f"must be of the parameter's type, {kind}") from None
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise _unclear(place, f"must be of the parameter's type, {kind}")
    return value


def _truth(value: Any, place: str) -> bool:
    if isinstance(value, str):
        value = _TRUTH.get(value.strip().casefold(), value)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise _unclear(place, "must be true or false")


def _check_keys(given: Json, known: Collection[str], place: str, what: str) -> None:
    for key in given:
        if key not in known:
            # A name that is no plain one may be somebody's text.
            where = f"{place}.{key}" if _PLAIN_NAME.fullmatch(key) else place
            shown = [name for name in known if name != _TWIN]
            raise _unclear(where, f"is not a key of {what}{nearest(key, known) or '; it has ' + ', '.join(shown)}")
