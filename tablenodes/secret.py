"""A text that never shows itself."""

from __future__ import annotations

from typing import NoReturn

MASK = "***"


class Secret:
    """A key, a password or a header's value: compares by what it holds, prints as ``***``, never travels.

    Pickling it gives a secret that is `missing`; a copy in the same process is the same object.
    """

    __slots__ = ("_value",)
    _value: str | None

    def __init__(self, value: str | None) -> None:
        object.__setattr__(self, "_value", value)

    @property
    def missing(self) -> bool:
        """Whether the value was lost on the way through a pickle."""
        return self._value is None

    def reveal(self) -> str:
        """Give the value itself, for a header on its way out."""
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
