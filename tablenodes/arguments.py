"""Arguments that a call has no parameter for: an error of ours in one line, with the nearest name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from .errors import SettingNameError, among

K = TypeVar("K", bound=type)
Hint = Callable[[Any, str], str | None]

_MADE = "__init__"


def explaining(*calls: str, hint: Hint | None = None) -> Callable[[K], K]:
    """Have a class's own methods of these names refuse arguments that do not fit them with a `SettingNameError`.

    Their signatures stay what they are. Where `hint` has words for an object and a name, they stand in the place of
    the nearest names.
    """

    def explained(kind: K) -> K:
        for name in calls:
            if name in vars(kind):
                setattr(kind, name, _explained(vars(kind)[name], hint))
        return kind

    return explained


def _explained(call: Callable[..., Any], hint: Hint | None) -> Callable[..., Any]:
    @functools.wraps(call)
    def called(*given: Any, **named: Any) -> Any:
        try:
            return call(*given, **named)
        except TypeError as error:
            told = None if isinstance(error, SettingNameError) else _misfit(call, given, named, hint)
            if told is None:
                raise
        raise SettingNameError(told)

    return called


def _misfit(
    call: Callable[..., Any], given: tuple[Any, ...], named: Mapping[str, Any], hint: Hint | None
) -> str | None:
    """Return why arguments do not fit a call, an object's first; None where they do."""
    import inspect  # noqa: PLC0415 - hardly ever needed

    signature = inspect.signature(call)
    known = [name for name in signature.parameters if name != next(iter(signature.parameters))]
    is_made = call.__name__ == _MADE
    kind = type(given[0]).__name__
    who, what = (kind, "setting") if is_made else (f"{kind}.{call.__name__}", "option")
    for name in named:
        if name not in known:
            told = hint(given[0], name) if hint is not None else None
            return f"{who} has no {what} {name!r}{f'; {told}' if told else among(name, known)}"
    try:
        signature.bind(*given, **named)
    except TypeError as error:
        return f"{who}: {error}; it takes {', '.join(known)}"
    return None
