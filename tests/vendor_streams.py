"""Streams in the shapes of twelve servers, for tests: made up, in the structure of transcripts that are public."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

WORDS = ("Köln ", "liegt am ", "Rhein.", " 🙂 ", "“ja”")
TEXT = "".join(WORDS)
PLAN = ("Which ", "river?")
ARGUMENTS = ('{"city":', '"Köln","at', '":{"x":1}}')
DONE = "data: [DONE]\n\n"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
TOP = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


class Stream(NamedTuple):
    """A stream and what it says: its text, its reasoning, and its calls' names and arguments."""

    body: bytes
    text: str | None = TEXT
    reasoning: str | None = None
    calls: tuple[tuple[str, str], ...] = ()


def chunk(delta: Any, reason: Any = None, *, choice: dict[str, Any] | None = None, **more: Any) -> str:
    whole = {"index": 0, "delta": delta, "finish_reason": reason} | (choice or {})
    return f"data: {json.dumps(TOP | {'choices': [whole]} | more, ensure_ascii=False)}\n\n"


def bare(**fields: Any) -> str:
    return f"data: {json.dumps(TOP | fields)}\n\n"


def said(words: Iterable[str] = WORDS, reason: Any = None, name: str = "content", **more: Any) -> list[str]:
    return [chunk({name: word}, reason, **more) for word in words]


def call(arguments: Any, name: str | None = None, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"tool_calls": [more | {"function": function}]}


def stream(*parts: str | list[str], line_end: str = "\n", **says: Any) -> Stream:
    text = "".join(part if isinstance(part, str) else "".join(part) for part in parts)
    return Stream(text.replace("\n", line_end).encode(), **says)


_WHOLE = "".join(ARGUMENTS)
_ROLE = chunk({"role": "assistant", "content": ""})
_STOP = chunk({}, "stop")
_FILTERED = {"hate": {"filtered": False, "severity": "safe"}}

VENDORS: dict[str, Stream] = {
    "openai": stream(
        chunk({"role": "assistant", "content": "", "refusal": None}, usage=None, obfuscation="x9"),
        said(usage=None, service_tier="default", system_fingerprint="fp"),
        chunk({}, "stop", usage=None),
        bare(choices=[], usage=USAGE),
        DONE,
    ),
    "openai, two calls": stream(
        chunk({"role": "assistant", "content": None}),
        chunk(call("", "weather", index=0, id="call_1", type="function")),
        [chunk(call(part, index=0)) for part in ARGUMENTS],
        chunk(call("", "now", index=1, id="call_2", type="function")),
        chunk(call("{}", index=1)),
        chunk({}, "tool_calls"),
        DONE,
        text=None,
        calls=(("weather", _WHOLE), ("now", "{}")),
    ),
    "azure": stream(
        bare(choices=[], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": _FILTERED}]),
        said(choice={"content_filter_results": _FILTERED, "logprobs": None}),
        chunk({}, "stop", choice={"content_filter_results": {}}),
        DONE,
    ),
    "gemini": stream(  # every call is numbered 0 and has no id, and comes whole
        chunk(call(_WHOLE, "weather", index=0, id="", type="function") | {"role": "assistant"}),
        chunk(call('{"city":"Bonn"}', "weather", index=0, id="", type="function") | {"role": "assistant"}),
        chunk({"role": "assistant"}, "stop", usage=USAGE),
        DONE,
        text=None,
        calls=(("weather", _WHOLE), ("weather", '{"city":"Bonn"}')),
    ),
    "ollama": stream(said(reason="", system_fingerprint="fp_ollama"), chunk({"content": ""}, "stop"), DONE),
    "sglang": stream(
        said(reason="", choice={"matched_stop": None, "logprobs": None}, usage=None),
        chunk({"role": None, "content": "", "tool_calls": None}, "stop", choice={"matched_stop": 2}),
        bare(choices=[], usage=USAGE),
        DONE,
    ),
    "vllm": stream(  # counts all the while, and ends with its last word
        _ROLE.replace('"choices"', '"usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0},"choices"'),
        said(WORDS[:-1], usage=USAGE),
        chunk({"content": WORDS[-1]}, "stop", choice={"stop_reason": None}, usage=USAGE),
        bare(choices=[], usage=USAGE),
        DONE,
    ),
    "deepseek": stream(
        ": keep-alive\n\n",
        said(PLAN, name="reasoning_content"),
        ": keep-alive\n\n",
        said(),
        chunk({"content": ""}, "stop", usage=USAGE),
        DONE,
        reasoning="".join(PLAN),
    ),
    "openrouter": stream(
        ": OPENROUTER PROCESSING\n\n" * 2,
        [
            chunk({"content": "", "reasoning": part, "reasoning_details": [{"type": "t", "text": part}]})
            for part in PLAN
        ],
        said(choice={"native_finish_reason": None, "logprobs": None}, provider="P"),
        chunk({"content": ""}, "stop", choice={"native_finish_reason": "end_turn"}),
        chunk({"role": "assistant", "content": ""}, None, usage=USAGE),
        DONE,
        reasoning="".join(PLAN),
    ),
    "mistral": stream(  # a text in parts, then as a text
        [chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": part}]}]}) for part in PLAN],
        chunk({"content": [{"type": "text", "text": WORDS[0]}]}),
        said(WORDS[1:]),
        chunk({"content": ""}, "stop", usage=USAGE),
        DONE,
    ),
    "llama.cpp": stream(  # without an end of its own
        chunk({"role": "assistant", "content": None}),
        said(),
        chunk({}, "stop", timings={"predicted_n": 12}, usage=USAGE),
    ),
    "perplexity": stream(  # says all so far beside each bit, and nothing but LF between events
        [
            chunk({"content": word}, choice={"message": {"role": "assistant", "content": "".join(WORDS[: at + 1])}})
            for at, word in enumerate(WORDS)
        ],
        chunk({"content": ""}, "stop", choice={"message": {"role": "assistant", "content": TEXT}}, citations=["u"]),
        DONE,
        line_end="\r\n",
    ),
    "zhipu": stream(  # no space behind the colon, and an id at each event
        [f"id:{at}\nevent:message\n{part.replace('data: ', 'data:')}" for at, part in enumerate(said())],
        chunk({"role": "assistant", "content": ""}, "stop", usage=USAGE).replace("data: ", "data:"),
        DONE.replace("data: ", "data:"),
    ),
    "moonshot": stream(said(), chunk({}, "stop", choice={"usage": USAGE}), DONE),
    "groq": stream(
        chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
        said(),
        chunk({}, "stop", x_groq={"id": "req_1", "usage": USAGE}),
        DONE,
    ),
    "a gateway": stream(  # forgets the blank lines, and begins with some
        "\n\n",
        "".join(said()).replace("\n\n", "\n"),
        _STOP.replace("\n\n", "\n"),
        DONE,
    ),
}
