"""Values of any origin, and JSON texts, as plain JSON: null, booleans, numbers, texts, lists and objects."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import orjson

from .problems import Unfit

DEPTH = 200  # lists and objects may be nested this deep; a JSON reader's own bound is often not far above
_INTEGERS = range(-(2**63), 2**64)
_LONG = 16
_NANOSECONDS_A_DAY = 86_400 * 10**9
_LONG_NUMBER = re.compile(r"[0-9]{19}")


def read_json(text: str) -> Any:
    """Read a strict JSON text without a loss; raise `Unfit` for an integer of more than 64 bits."""
    value = orjson.loads(text)
    if _LONG_NUMBER.search(text):
        plain(json.loads(text))
    return value


def plain(value: Any) -> Any:
    """Return `value` as plain JSON: what a JSON writer takes, and a reader gives back the same; it is never changed.

    Dates, times and timestamps become ISO 8601 texts, durations ISO 8601 durations, UUIDs texts, an
    enumeration's member its value, tuples lists, integer keys texts. A decimal becomes a number only where
    that number's JSON text stands for the same decimal. The missing values of pandas become null. Structs of
    Arrow and Polars lose their null fields, and so do objects inside of an array of NumPy's, which is how pandas
    gives the lists of structs of a Parquet file. A float of 16 or 32 bits becomes the number of the shortest
    decimal that stands for it; a whole number stays what it is.

    `Unfit` is raised for what JSON cannot hold: its text continues a sentence such as "column 'x' …".
    """
    return _plain(value, ())


def _plain(value: Any, above: tuple[int, ...]) -> Any:  # noqa: PLR0911 - the hot path: no table of types
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return _integer(value)
    if kind is float:
        return _number(value)
    if kind is dict:
        return _object(value, above)
    if kind is list:
        return _array(value, above)
    return _other(value, above)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unfit("holds half of a surrogate pair, which is not a character") from None
    return value


def _integer(value: int) -> int:
    if value not in _INTEGERS:
        raise Unfit("holds an integer of more than 64 bits")
    return value


def _number(value: float) -> float:
    if math.isfinite(value):
        return value
    raise Unfit("holds NaN" if value != value else "holds infinity")  # noqa: PLR0124 - only NaN differs from itself


def _inside(container: Any, above: tuple[int, ...]) -> tuple[int, ...]:
    """Return the identities of the containers around what `container` holds."""
    if id(container) in above:
        raise Unfit("holds itself")
    if len(above) >= DEPTH:
        raise Unfit(f"is nested more than {DEPTH} levels deep")
    return (*above, id(container))


def _array(items: list[Any], above: tuple[int, ...]) -> list[Any]:
    inside = _inside(items, above)
    if len(items) > _LONG and _is_flat(items):
        return items
    made: list[Any] | None = None
    for position, item in enumerate(items):
        changed = item if type(item) is str and item.isascii() else _plain(item, inside)
        if made is None and changed is not item:
            made = items[:position]
        if made is not None:
            made.append(changed)
    return items if made is None else made


def _is_flat(items: list[Any]) -> bool:
    """Check whether a long list is plain at a glance: token ids, an embedding, ASCII texts."""
    kinds = set(map(type, items))
    if kinds == {int}:
        return min(items) in _INTEGERS and max(items) in _INTEGERS
    return (kinds == {float} and all(map(math.isfinite, items))) or (kinds == {str} and all(map(str.isascii, items)))


def _object(fields: Mapping[Any, Any], above: tuple[int, ...], *, copy: bool = False) -> Any:
    inside = _inside(fields, above)
    made: dict[str, Any] | None = {} if copy else None
    for position, (key, item) in enumerate(fields.items()):
        name = key if type(key) is str and key.isascii() else _key(key)
        changed = item if type(item) is str and item.isascii() else _plain(item, inside)
        if made is None and (changed is not item or name is not key):
            made = dict(islice(fields.items(), position))
        if made is not None:
            if name in made:
                raise Unfit("holds two keys that are the same text")
            made[name] = changed
    return fields if made is None else made


def _key(key: Any) -> str:
    made = _plain(key, ())
    if type(made) is int:
        return str(made)
    if type(made) is not str or isinstance(key, datetime.date | datetime.time | datetime.timedelta):
        raise Unfit("holds a key that is not text")
    return made


def _other(value: Any, above: tuple[int, ...]) -> Any:
    kind = type(value)
    if kind.__name__ in ("NAType", "NaTType") and kind.__module__.startswith("pandas."):
        return None
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value, above)
    return _foreign(value, above)


def _decimal(value: decimal.Decimal) -> float:
    if not value.is_finite():
        raise Unfit("holds NaN" if value.is_nan() else "holds infinity")
    if value.adjusted() < 20 and value == value.to_integral_value():
        return _integer(int(value))
    number = float(value)
    if not math.isfinite(number) or decimal.Decimal(repr(number)) != value:
        raise Unfit("holds a decimal with more digits than JSON can keep")
    return number


def _nanoseconds(value: datetime.timedelta) -> int:
    seconds = value.days * 86_400 + value.seconds
    return seconds * 10**9 + value.microseconds * 1000 + int(getattr(value, "nanoseconds", 0))


def _duration(nanoseconds: int) -> str:
    """Write a duration as ISO 8601 does: ``P1DT2H3M4.5S``; a negative one begins with ``-``."""
    days, rest = divmod(abs(nanoseconds), _NANOSECONDS_A_DAY)
    seconds, fraction = divmod(rest, 10**9)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{seconds}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else str(seconds)
    parts = ((hours, f"{hours}H"), (minutes, f"{minutes}M"), (seconds or fraction, f"{text}S"))
    time = "".join(part for amount, part in parts if amount)
    date = f"{days}D" if days else ""
    whole = f"P{date}{'T' if time else ''}{time}" if date or time else "PT0S"
    return f"-{whole}" if nanoseconds < 0 else whole


def _foreign(value: Any, above: tuple[int, ...]) -> Any:
    """Convert a value of a table library, which is known by its name: none is imported here."""
    kind = type(value)
    origins = {base.__module__.partition(".")[0] for base in kind.__mro__}
    if "numpy" in origins and hasattr(value, "dtype"):
        return _numpy(value, above)
    for origin, method in _FOREIGN:
        if origin in origins and hasattr(value, method):
            made = getattr(value, method)()
            return _plain(made if origin == "pandas" else without_null_fields(made), above)
    if isinstance(value, Mapping):  # after Arrow's struct, which is a mapping too
        return _object(value, above, copy=True)
    is_binary = isinstance(value, bytes | bytearray | memoryview)
    raise Unfit("holds bytes" if is_binary else f"holds a value of type {kind.__name__}")


def _numpy(value: Any, above: tuple[int, ...]) -> Any:
    if value.dtype.kind in "mM":
        if value.ndim:
            return _array(list(value), above)
        return (_datetime64 if value.dtype.kind == "M" else _timedelta64)(value[()])
    if value.dtype.kind == "f" and value.dtype.itemsize < 8:
        return _plain(_shortest(value), above)
    made = value.tolist()
    if type(made) is type(value):  # a number wider than Python's own
        raise Unfit(f"holds a value of type {type(value).__name__}")
    if value.dtype.kind == "O":  # as pandas has the lists of a Parquet file
        return without_null_fields(_plain(made, above))
    return _plain(made, above)


def _shortest(value: Any) -> Any:
    """Return floats of 16 or 32 bits as Python's, of the shortest decimals that stand for the same narrow float."""
    if value.ndim:
        return [_shortest(item) for item in value]
    wide = value.tolist()
    return wide if wide is None or wide.is_integer() else float(str(value[()]))


def _datetime64(value: Any) -> str | None:
    made = value.item()
    if not isinstance(made, int):
        return None if made is None else str(made.isoformat())
    whole, _, fraction = str(value).partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction.ljust(6 if len(fraction) <= 6 else 9, '0')}" if fraction else whole


def _timedelta64(value: Any) -> str | None:
    made = value.item()
    if isinstance(made, datetime.timedelta):
        return _duration(_nanoseconds(made))
    if made is None or value.dtype.name == "timedelta64[ns]":
        return made if made is None else _duration(made)
    raise Unfit("holds a duration whose unit has no fixed length")


def without_null_fields(value: Any) -> Any:
    """Return a nested value without its structs' null fields, which Arrow and Polars give to rows that had none."""
    if isinstance(value, dict):
        return {name: without_null_fields(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_null_fields(item) for item in value]
    return value


_FOREIGN = (("pandas", "tolist"), ("polars", "to_list"), ("pyarrow", "as_py"), ("pyarrow", "to_pylist"))

_CONVERSIONS: tuple[tuple[Any, Callable[[Any, tuple[int, ...]], Any]], ...] = (
    # In this order: a member of an enumeration may be a text or an integer too, and a timestamp is a date.
    (enum.Enum, lambda value, above: _plain(value.value, above)),
    (str, lambda value, _: _text(str.__str__(value))),
    (int, lambda value, _: _integer(int(value))),
    (float, lambda value, _: _number(float(value))),
    (decimal.Decimal, lambda value, _: _decimal(value)),
    ((datetime.date, datetime.time), lambda value, _: value.isoformat()),
    (datetime.timedelta, lambda value, _: _duration(_nanoseconds(value))),
    (uuid.UUID, lambda value, _: str(value)),
    ((list, tuple), lambda value, above: _array(list(value), above)),
)
