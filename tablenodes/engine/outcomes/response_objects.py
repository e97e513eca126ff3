"""The answers of the Responses API, as the choices of a chat: whatever reads a choice reads them too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_REASONS: Mapping[str, str] = {"max_output_tokens": "length", "max_tokens": "length"}
"""Why an answer is incomplete, in a chat's words where those differ."""
_ENDS: Mapping[str, str] = {"completed": "stop", "incomplete": "incomplete"}
_UNDERWAY = frozenset(("queued", "in_progress"))
_NO_CALLS = frozenset(
    (
        *("message", "reasoning", "compaction"),
        *("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call", "mcp_list_tools"),
        *("tool_search_call", "tool_search_output"),
    )
)
"""The items that hold no call which somebody else must carry out: the server has made some on its way to an answer."""


def choices_of(document: Any) -> list[Any] | None:
    """Return the choices of an answer: a chat's or a completion's as they are, a response as the one that it is."""
    if type(document) is not dict:
        return None
    choices = document.get("choices")
    if type(choices) is list:
        return choices
    output = document.get("output")
    if type(output) is not list or is_underway(document):
        return None
    return [_choice(document, [item for item in output if type(item) is dict])]


def is_underway(document: dict[str, Any]) -> bool:
    """Check whether an object is a response that its server still works at."""
    status = document.get("status")
    return type(document.get("output")) is list and type(status) is str and status in _UNDERWAY


def _choice(document: dict[str, Any], output: list[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    parts = [
        part
        for item in output
        if item.get("type", "message") == "message" and type(item.get("content")) is list
        for part in item["content"]
        if type(part) is dict
    ]
    texts = [part["text"] for part in parts if part.get("type") == "output_text" and type(part.get("text")) is str]
    if texts:
        message["content"] = "".join(texts)
    refusals = [str(part.get("refusal")) for part in parts if part.get("type") == "refusal"]
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls := [_call(item) for item in output if _is_call(item)]:
        message["tool_calls"] = calls
    if any(item.get("type") == "reasoning" for item in output):
        message["reasoning"] = True
    return {"index": 0, "message": message, "finish_reason": _end_of(document, has_calls=bool(calls))}


def _is_call(item: dict[str, Any]) -> bool:
    """Check whether an item is something to be done by whoever asked, or made for them: a call, an image."""
    kind = item.get("type", "message")
    return type(kind) is str and kind not in _NO_CALLS


def _call(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        return {"id": item.get("call_id"), "type": "function", "function": function}
    if item.get("type") == "custom_tool_call":
        custom = {"name": item.get("name"), "input": item.get("input")}
        return {"id": item.get("call_id"), "type": "custom", "custom": custom}
    return item


def _end_of(document: dict[str, Any], *, has_calls: bool) -> Any:
    status = document.get("status")
    if status == "incomplete":
        details = document.get("incomplete_details")
        reason = details.get("reason") if type(details) is dict else None
        return _REASONS.get(reason, reason) if type(reason) is str and reason else status
    if status == "completed" and has_calls:
        return "tool_calls"
    return _ENDS.get(status, status) if type(status) is str else None


def counted(usage: dict[str, Any]) -> dict[str, Any]:
    """Return what was used in a chat's words; the very same where it says nothing in others."""
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return usage
    names = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
    made = {f"{own}{end}": usage.get(f"{name}{end}") for own, name in names.items() for end in ("", "_details")}
    return usage | {name: value for name, value in made.items() if usage.get(name) is None}
