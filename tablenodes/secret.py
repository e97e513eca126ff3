"""Texts that never show themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NoReturn

MASK = "***"
_PASSWORD = re.compile(r"([A-Za-z][\w+.-]*:/{1,2}[^/\s:@'\"]*:)(?!\d{1,5}/)[^\s'\"]*@")
_IN_QUERY = re.compile(r"(?i)([?&][a-z_]*(?:password|secret|token)=)(?!\*{3})[^&\s'\"]*")


def without_passwords(text: str) -> str:
    """Return a text with a mask for the passwords of the addresses in it."""
    if ":/" not in text:
        return text
    return _IN_QUERY.sub(rf"\g<1>{MASK}", _PASSWORD.sub(rf"\g<1>{MASK}@", text))


def masked_address(address: str) -> str:
    """Return an address with a mask for its password, whatever characters this has."""
    scheme, _, rest = address.partition("://")
    user, at, place = rest.rpartition("@")
    name, colon, _ = user.partition(":")
    return without_passwords(f"{scheme}://{name}{f':{MASK}' if colon else ''}{at}{place}")


class Secret:
    """A key, a password or a header's value: compares by what it holds, prints as ``***``; pickled, it is `missing`.

    `variable` is the environment variable that it was read from, where that is known.
    """

    __slots__ = ("_value", "variable")
    _value: str | None
    variable: str | None

    def __init__(self, value: str | None, variable: str | None = None) -> None:
        object.__setattr__(self, "_value", value)
        object.__setattr__(self, "variable", variable)

    @property
    def missing(self) -> bool:
        """Whether the value was lost on the way through a pickle."""
        return self._value is None

    def reveal(self) -> str:
        """Return the value itself, for a header on its way out."""
        if self._value is None:
            raise ValueError("the secret is missing")
        return str(self._value)

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret is immutable")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[type[Secret], tuple[None]]:
        return Secret, (None,)


class Veiled(Mapping[str, str]):
    """An environment, with all the keys in it, of which tools that print a traceback's variables print nothing."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return MASK
