"""How an answer is asked for: the properties of a request."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import SettingError, nearest
from .strict_form import ANSWER

if TYPE_CHECKING:
    from .answer_schema import AnswerSchema

AnswerMode = Literal["json_schema", "json_object", "tool"]
"""How a server is asked for an answer: by strict `response_format`; by ``json_object``; by one forced tool."""

ANSWER_MODES: tuple[AnswerMode, ...] = get_args(AnswerMode)

FORMAT = "response_format"  # the property that says of which form an answer is, in a chat
TEXT = "text"  # and in the newer form of requests, where formats and functions have no wrapping either
_CALLING = ("tools", "tool_choice", "functions", "function_call")


def request_part(answer: AnswerSchema, mode: AnswerMode = "json_schema", place: str = FORMAT) -> dict[str, Any]:
    """Return the properties of a request that ask for an answer; what comes back in a tool's call is its JSON.

    `place` is the property that says of which form an answer is: `FORMAT` or `TEXT`.
    """
    is_flat = place == TEXT
    if mode == "tool":
        function: dict[str, Any] = {
            "name": ANSWER,
            "description": "Give the answer.",
            "strict": True,
            "parameters": answer.document,
        }
        named: dict[str, Any] = {"name": ANSWER}
        tool, choice = (function, named) if is_flat else ({"function": function}, {"function": named})
        return {"tools": [{"type": "function", **tool}], "tool_choice": {"type": "function", **choice}}
    if mode == "json_object":
        form: dict[str, Any] = {"type": "json_object"}
    else:
        named = {"name": ANSWER, "strict": True, "schema": answer.document}
        form = {"type": "json_schema", **(named if is_flat else {"json_schema": named})}
    return {place: {"format": form} if is_flat else form}


def check_settings(
    settings: Collection[str], mode: str = "json_schema", *, has_answer: bool = True, place: str = FORMAT
) -> None:
    """Raise `SettingError` for a mode that there is not, or settings that contradict an answer.

    Parameters
    ----------
    settings : collection of str
        The names of the request's properties that are set.
    mode : str
        ``answer_mode``.
    has_answer : bool
        Whether ``answer=`` is set.
    place : str
        As in `request_part`.
    """
    if mode not in ANSWER_MODES:
        hint = nearest(str(mode), ANSWER_MODES) or f"; it is one of {', '.join(ANSWER_MODES)}"
        raise SettingError(f"answer_mode: there is no {str(mode)[:40]!r}{hint}", place="answer_mode")
    made = (place, *(_CALLING if mode == "tool" else ()))
    taken = [name for name in made if name in settings] if has_answer else []
    if not taken:
        return
    if taken[0] == place:
        way = "answer makes it: set one of the two"
    else:
        way = 'answer_mode "tool" asks for the answer by a tool of its own: use "json_schema" beside tools'
    raise SettingError(f"{taken[0]}: {way}", code="answer_settings", place=taken[0], values={"mode": mode})
