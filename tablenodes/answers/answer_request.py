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

_TAKEN = {
    "json_schema": ("response_format",),
    "json_object": ("response_format",),
    "tool": ("response_format", "tools", "tool_choice", "functions", "function_call"),
}


def request_part(answer: AnswerSchema, mode: AnswerMode = "json_schema") -> dict[str, Any]:
    """Return the properties of a chat request that ask for an answer; what comes back in a tool's call is its JSON."""
    if mode == "json_object":
        return {"response_format": {"type": "json_object"}}
    if mode == "json_schema":
        named = {"name": ANSWER, "strict": True, "schema": answer.document}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    function = {"name": ANSWER, "description": "Give the answer.", "strict": True, "parameters": answer.document}
    choice = {"type": "function", "function": {"name": ANSWER}}
    return {"tools": [{"type": "function", "function": function}], "tool_choice": choice}


def check_settings(settings: Collection[str], mode: str = "json_schema", *, has_answer: bool = True) -> None:
    """Raise `SettingError` for a mode that there is not, or settings that contradict an answer.

    Parameters
    ----------
    settings : collection of str
        The names of the request's properties that are set.
    mode : str
        ``answer_mode``.
    has_answer : bool
        Whether ``answer=`` is set.
    """
    if mode not in ANSWER_MODES:
        hint = nearest(str(mode), ANSWER_MODES) or f"; it is one of {', '.join(ANSWER_MODES)}"
        raise SettingError(f"answer_mode: there is no {str(mode)[:40]!r}{hint}", place="answer_mode")
    taken = [name for name in _TAKEN[mode] if name in settings] if has_answer else []
    if not taken:
        return
    if taken[0] == "response_format":
        way = "answer makes it: set one of the two"
    else:
        way = 'answer_mode "tool" asks for the answer by a tool of its own: use "json_schema" beside tools'
    raise SettingError(f"{taken[0]}: {way}", code="answer_settings", place=taken[0], values={"mode": mode})
