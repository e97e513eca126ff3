"""A streamed answer of the Responses API put together: events in, the body out that a plain answer would have had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .accumulation import Text, number_of, settled
from .answer_json import text_of

_BEGINNING = "response."
_ENDS = frozenset(f"{_BEGINNING}{end}" for end in ("completed", "incomplete", "failed", "cancelled"))
_GROWS: Mapping[str, tuple[str, str, Mapping[str, Any], str]] = {
    "response.output_text.delta": ("content_index", "content", {"type": "output_text", "annotations": []}, "text"),
    "response.refusal.delta": ("content_index", "content", {"type": "refusal"}, "refusal"),
    "response.reasoning_text.delta": ("content_index", "content", {"type": "reasoning_text"}, "text"),
    "response.reasoning_summary_text.delta": ("summary_index", "summary", {"type": "summary_text"}, "text"),
}
"""By the events that lengthen a part: the number of the part, where it stands, what it is, and which text grows."""
_ARGUMENTS = {"response.function_call_arguments.delta": "arguments", "response.custom_tool_call_input.delta": "input"}
_TYPES = {"response.function_call_arguments.delta": "function_call"}


def is_response_event(chunk: dict[str, Any]) -> bool:
    """Check whether a chunk is an event of a response's."""
    kind = chunk.get("type")
    return type(kind) is str and kind.startswith(_BEGINNING)


class ResponseEvents:
    """The events of one response, as far as they have come; `ended` is whether its last one has."""

    def __init__(self) -> None:
        self.ended = False
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}
        self._told = Text()

    @property
    def counted(self) -> bool:
        """Whether its tokens have come."""
        return bool(self._response.get("usage"))

    def add(self, event: dict[str, Any]) -> str:
        """Add an event and return the text by which it lengthens the answer."""
        kind, response, item = event["type"], event.get("response"), event.get("item")
        if type(response) is dict:
            self._response = response
            self.ended = self.ended or kind in _ENDS
            return self._tell(self._rest()) if self.ended else ""
        place = number_of(event.get("output_index"), max(self._items, default=0))
        if type(item) is dict:
            self._items[place] = item
            return ""
        delta = event.get("delta")
        if type(delta) is not str or not delta:
            return ""
        if kind in _GROWS:
            self._lengthen(place, event, delta)
            return self._tell(delta) if kind == "response.output_text.delta" else ""
        if kind in _ARGUMENTS:
            known = self._items.setdefault(place, {"type": _TYPES.get(kind, "custom_tool_call")})
            _grow(known, _ARGUMENTS[kind], delta)
        return ""

    def _lengthen(self, place: int, event: dict[str, Any], delta: str) -> None:
        numbered, where, begun, name = _GROWS[event["type"]]
        item = self._items.setdefault(place, {"type": "reasoning" if "reasoning" in event["type"] else "message"})
        parts = item.get(where)
        if type(parts) is not list:
            parts = item[where] = []
        at = number_of(event.get(numbered), len(parts) - 1)
        if not 0 <= at < len(parts):
            at = len(parts)
            parts.append(dict(begun))
        if type(parts[at]) is dict:
            _grow(parts[at], name, delta)

    def _tell(self, text: str) -> str:
        self._told.append(text)
        return text

    def _rest(self) -> str:
        """Return what is new in a whole answer: servers leave out deltas."""
        whole, told = text_of(self.document()) or "", "".join(self._told)
        return whole[len(told) :] if whole.startswith(told) else ""

    def document(self) -> dict[str, Any]:
        """Return the body, as far as it has come; of one whose end is not there, it says that it goes on."""
        response = self._response
        if self.ended and (response.get("output") or not self._items):
            return response
        output = [settled(self._items[place]) for place in sorted(self._items)]
        made = {"object": "response", **response, "output": [_plain(item) for item in output]}
        return made if self.ended else {**made, "status": "in_progress"}

    def as_event(self, document: dict[str, Any]) -> dict[str, Any]:
        """Return an event by which the same comes of a document at once."""
        end = f"{_BEGINNING}{document.get('status')}"
        kind = (end if end in _ENDS else f"{_BEGINNING}completed") if self.ended else f"{_BEGINNING}in_progress"
        return {"type": kind, "response": document}


def _grow(part: dict[str, Any], name: str, delta: str) -> None:
    known = part.get(name)
    if type(known) is Text:
        known.append(delta)
    else:
        part[name] = Text((known, delta)) if type(known) is str else Text((delta,))


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Return an item without a text that still grows in a list of its parts."""
    return {name: [settled(each) for each in value] if type(value) is list else value for name, value in item.items()}
