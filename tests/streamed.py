"""Plain answers and the streams that say the same, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from servers import Exchange, Reaction, chunks, head, pieces

STREAM_HEAD = head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"})
DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}


def chat(*choices: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a plain chat completion of these choices."""
    told = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}
    return told | {"choices": [{"index": at} | choice for at, choice in enumerate(choices)], "usage": USAGE} | more


def said(text: str | None, finish_reason: str = "stop", logprobs: Any = None, **message: Any) -> dict[str, Any]:
    """Return a chat choice without its number."""
    whole = {"role": "assistant", "content": text, "refusal": None} | message
    return {"message": whole, "logprobs": logprobs, "finish_reason": finish_reason}


def called(name: str, arguments: str, identity: str | None = None) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return function if identity is None else {"id": identity, "type": "function", "function": function}


def token(text: str) -> dict[str, Any]:
    likely = {"token": text, "logprob": -0.25, "bytes": [*text.encode()]}
    return likely | {"top_logprobs": [likely, {"token": "x", "logprob": -2.5, "bytes": [120]}]}


CHUNK = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
"""A chunk in the middle."""
WEATHER = '{"city": "Köln", "days": 3}'
TWINS: dict[str, dict[str, Any]] = {
    "text": chat(said("Ja, schön — 日本語 🙂\u2028 und\r\n\tmehr."), system_fingerprint="fp_1", service_tier="default"),
    "three choices": chat(said("eins"), said("zwei zwei", "length"), said("drei 🙂 drei drei")),
    "tool calls": chat(
        said(None, "tool_calls", tool_calls=[called("weather", WEATHER, "call_1"), called("now", "{}", "call_2")])
    ),
    "a text and a tool call": chat(said("One moment.", "tool_calls", tool_calls=[called("now", "{}", "call_1")])),
    "function call": chat(said(None, "function_call", function_call=called("weather", WEATHER))),
    "log probabilities": chat(
        said("ab", logprobs={"content": [token("a"), token("b")], "refusal": None}),
        said("c", logprobs={"content": [token("c")], "refusal": None}),
    ),
    "refusal": chat(said(None, refusal="I can't.", logprobs={"content": None, "refusal": [token("I")]})),
    "reasoning": chat(said("4", reasoning_content="2 and 2 are 4")),
    "completion": {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "text": "ab é",
                "index": 0,
                "logprobs": {
                    "tokens": ["ab", " é"],
                    "token_logprobs": [None, -0.5],
                    "top_logprobs": [None, {" é": -0.5, "x": -3.0}],
                    "text_offset": [0, 2],
                },
                "finish_reason": "stop",
            },
            {"text": "zwei", "index": 1, "logprobs": None, "finish_reason": "length"},
        ],
        "usage": USAGE,
    },
}
"""Plain answers by what is in them."""


def parts(text: str, size: int = 5) -> Iterator[str]:
    """Cut a text."""
    return (text[at : at + size] for at in range(0, len(text), size))


def chunks_of(plain: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chunks of a stream that says what a plain answer says: its choices by turns, then the usage."""
    is_chat = plain["object"] == "chat.completion"
    told = {name: value for name, value in plain.items() if name not in {"choices", "usage"}}
    told["object"] = "chat.completion.chunk" if is_chat else "text_completion"
    waiting = [iter(list((_chat_parts if is_chat else _text_parts)(choice))) for choice in plain["choices"]]
    made = []
    while waiting:
        for each in [*waiting]:
            part = next(each, None)
            if part is None:
                waiting.remove(each)
            else:
                made.append(told | {"choices": [part], "usage": None})
    return [*made, told | {"choices": [], "usage": plain["usage"]}]


def _chat_parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    message, logprobs = choice["message"], choice["logprobs"]

    def part(delta: dict[str, Any], logprobs: Any = None, finish_reason: Any = None) -> dict[str, Any]:
        return {"index": choice["index"], "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}

    yield part({"role": "assistant", "content": None if message["content"] is None else "", "refusal": None})
    for name in ("reasoning_content", "content", "refusal"):
        for text in parts(message.get(name) or ""):
            yield part({name: text})
    for name, tokens in (logprobs or {}).items():
        for each in tokens or ():
            yield part({}, {"content": None, "refusal": None} | {name: [each]})
    for index, call in enumerate(message.get("tool_calls", ())):
        function = call["function"]
        yield part({"tool_calls": [call | {"index": index, "function": function | {"arguments": ""}}]})
        for text in parts(function["arguments"]):
            yield part({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
    if "function_call" in message:
        yield part({"function_call": message["function_call"] | {"arguments": ""}})
        for text in parts(message["function_call"]["arguments"]):
            yield part({"function_call": {"arguments": text}})
    yield part({}, None, choice["finish_reason"])


def _text_parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    bare = {"index": choice["index"], "logprobs": None, "finish_reason": None}
    for text in parts(choice["text"]):
        yield bare | {"text": text}
    for at in range(len((choice["logprobs"] or {"tokens": ()})["tokens"])):
        yield bare | {"text": "", "logprobs": {name: [each[at]] for name, each in choice["logprobs"].items()}}
    yield bare | {"text": "", "finish_reason": choice["finish_reason"]}


def stream_of(events: Iterable[dict[str, Any]], *, done: bool = True, line_end: bytes = b"\n") -> bytes:
    """Return the bytes of an event stream."""
    texts = [b"data: " + orjson.dumps(event) + b"\n\n" for event in events]
    return b"".join([*texts, DONE if done else b""]).replace(b"\n", line_end)


def in_chunks(stream: bytes) -> list[bytes]:
    """Return the head of a response and a stream's events, each in a chunk of its own, without the last chunk."""
    events = [event + b"\n\n" for event in stream.removesuffix(b"\n\n").split(b"\n\n")] if stream else []
    return [STREAM_HEAD, *(chunks(event, end=False) for event in events)]


def streaming(stream: bytes, *, then: str = "keep", every: float = 0.0) -> Reaction:
    """Send a stream and end it as it should be, or `then` ``close``, ``reset`` or ``hold`` the connection."""
    return pieces([*in_chunks(stream), *([chunks()] if then == "keep" else [])], every, then)


def either(plain: dict[str, Any]) -> Reaction:
    """Answer plainly or with a stream, as the request asks."""
    stream, body = stream_of(chunks_of(plain)), json.dumps(plain).encode()

    def react(exchange: Exchange) -> None:
        if orjson.loads(exchange.received.body).get("stream"):
            streaming(stream)(exchange)
        else:
            exchange.send(head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))}) + body)

    return react
