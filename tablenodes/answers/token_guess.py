"""Guesses of tokens without a tokenizer: what a request's texts come to, by the kinds of their characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

IMAGE_MOST = 40_000  # tokens of one image or recording that is named by its address, at the most
_IMAGE = (85.0, 800.0, 3000.0)  # tokens of one, as a guess
_MESSAGE = (2.0, 4.0, 8.0)  # tokens around the text of one message
_OF_CHAT = ("max_completion_tokens", "max_tokens")
_LIMITS = {"/responses": ("max_output_tokens",), "/completions": ("max_tokens",)}
_ASKED_BY = ("tools", "functions", "response_format", "text")  # what a server turns into text, too
_KINDS = {
    "letter": (0.17, 0.225, 0.30),
    "digit": (0.30, 0.60, 1.00),
    "newline": (0.30, 0.70, 1.00),
    "space": (0.00, 0.06, 0.15),
    "sign": (0.35, 0.60, 0.95),
    "two": (0.40, 1.20, 2.20),  # characters of two bytes in UTF-8: Latin with accents, Greek, Cyrillic, Arabic
    "three": (0.50, 1.00, 2.00),  # of three: Indian scripts, Thai, typographic signs
    "wide": (0.50, 0.85, 1.40),  # Chinese, Japanese, Korean
    "four": (1.00, 2.00, 3.50),  # emoji
    "inside": (0.0, 0.0, 0.0),  # the other bytes of a character
}
"""The tokens of a character by its kind, low, likely and high: measured over the vocabularies of several models."""


class Spread(NamedTuple):
    """A number that is not known: it is hardly below `low` or above `high`, and `likely` this one."""

    low: float
    likely: float
    high: float


class Prompt(NamedTuple):
    """What a request's prompt is made of: its text in UTF-8, how many messages, and how many images or recordings."""

    text: bytes
    messages: int
    images: int


def prompt_of(body: Mapping[str, Any]) -> Prompt:
    """Return what the prompt of a request is made of."""
    messages, parts = body.get("messages"), [*_parts(body)]
    texts = [part for part in parts if part is not None]
    counted = len(messages) if isinstance(messages, list) else 1
    return Prompt("".join(texts).encode("utf-8", "replace"), counted, len(parts) - len(texts))


def prompt_guesses(prompts: Sequence[Prompt]) -> Any:
    """Return how many tokens each of some prompts has: one row a prompt; low, likely, high."""
    import numpy  # noqa: PLC0415 - loaded where there are requests

    texts, messages, images = zip(*prompts, strict=True)
    ends = numpy.cumsum([len(text) + 1 for text in texts])
    data = numpy.frombuffer(b"\x80".join([*texts, b""]), numpy.uint8)  # a byte that weighs nothing: no part is empty
    starts = numpy.concatenate(([0], ends[:-1]))
    found = numpy.stack([numpy.add.reduceat(weights[data], starts) for weights in _weights()], axis=1)
    return found + numpy.outer(numpy.add(messages, 1), _MESSAGE) + numpy.outer(images, _IMAGE)


def answers_asked(body: Mapping[str, Any]) -> int:
    """Return how many answers a request asks for."""
    number = body.get("n")
    return number if type(number) is int and number > 0 else 1


def answer_limit(body: Mapping[str, Any]) -> int | None:
    """Return how many tokens each answer may have by the request; None where it does not say."""
    limits = (body.get(name) for name in (*_OF_CHAT, "max_output_tokens"))
    return min((each for each in limits if type(each) is int and each >= 0), default=None)


def limit_names(path: str) -> tuple[str, ...]:
    """Return what requests to a path call how many tokens an answer may have, the newest name first."""
    return _LIMITS.get(path, _OF_CHAT)


def answer_guess(body: Mapping[str, Any]) -> Spread | None:
    """Return how many tokens an answer has by the JSON Schema that a request asks for; None where it has none."""
    form, choice, text = body.get("response_format"), body.get("tool_choice"), body.get("text")
    if isinstance(text, dict):  # where a format and a function stand without a wrapping
        form = {"json_schema": text.get("format")}
    if isinstance(form, dict) and isinstance(form.get("json_schema"), dict):
        schema = form["json_schema"].get("schema")
    elif isinstance(choice, dict) and choice.get("type") == "function":
        tools = (tool.get("function", tool) for tool in body.get("tools", ()) if isinstance(tool, dict))
        named = choice.get("function", choice).get("name")
        schema = next((each.get("parameters") for each in tools if each and each.get("name") == named), None)
    else:
        return None
    return _guess_of(orjson.dumps(schema)) if isinstance(schema, dict) else None


def prompt_bound(body: Mapping[str, Any], size: int) -> int:
    """Return how many tokens the prompt of a request of `size` bytes has at the most: none is shorter than a byte."""
    images = sum(part is None for part in _parts(body))
    inline = (len(url) for url in image_urls(body.get("messages", body.get("input"))) if url.startswith("data:image/"))
    return size + IMAGE_MOST * images - (sum(inline) if images else 0)  # they are no text that a model reads


def image_urls(messages: Any) -> Iterator[str]:
    """Yield the URL of each image in the messages of a chat or a response."""
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            image = part.get("image_url") if isinstance(part, dict) else None
            url = image.get("url") if isinstance(image, dict) else image
            if isinstance(url, str):
                yield url


def _parts(body: Mapping[str, Any]) -> Iterator[str | None]:
    """Yield the texts of a prompt; None for an image or a recording."""
    for name in ("messages", "prompt", "input", "instructions"):
        yield from _texts(body.get(name))
    for name in _ASKED_BY:
        if name in body:
            yield orjson.dumps(body[name]).decode()


def _texts(value: Any) -> Iterator[str | None]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str) and ("image" in kind or "audio" in kind or kind in ("file", "input_file")):
            yield None
        else:
            for name in ("content", "text", "tool_calls", "function", "name", "arguments", "refusal"):
                if name in value:
                    yield from _texts(value[name])


_TEXT = Spread(2, 30, 400)
_LONG = 1000  # tokens; few models write more where they are asked for fields
_SCALARS = {
    "boolean": Spread(1, 1, 2),
    "null": Spread(1, 1, 1),
    "integer": Spread(1, 2, 6),
    "number": Spread(1, 3, 8),
    "date": Spread(4, 6, 10),
    "date-time": Spread(8, 14, 24),
}
_ITEMS = Spread(0, 3, 20)
_DEEP = 6  # levels of a schema that are looked into


@lru_cache(maxsize=64)
def _guess_of(source: bytes) -> Spread:
    schema = orjson.loads(source)
    low, likely, high = _value_guess(schema, schema, 0)
    likely = 1.2 * likely + 4  # with the spaces and lines that a model may write
    return Spread(0.7 * low, likely, min(1.6 * high + 8, max(_LONG, 4 * likely)))


def _value_guess(schema: Any, whole: Mapping[str, Any], depth: int) -> Spread:
    """Return how many tokens a value of a schema has."""
    if not isinstance(schema, dict) or depth > _DEEP:
        return _TEXT
    if isinstance(reference := schema.get("$ref"), str):
        return _value_guess(whole.get("$defs", {}).get(reference.rpartition("/")[2]), whole, depth + 1)
    if isinstance(members := schema.get("enum", [schema["const"]] if "const" in schema else None), list) and members:
        return _any_of([_written(orjson.dumps(member)) for member in members])
    kind = schema.get("type")
    kinds = [{**schema, "type": each} for each in kind] if isinstance(kind, list) else []
    if isinstance(each := schema.get("anyOf", kinds), list) and each:
        return _any_of([_value_guess(one, whole, depth + 1) for one in each])
    if kind in ("object", "array"):
        return (_object_guess if kind == "object" else _array_guess)(schema, whole, depth)
    return _SCALARS.get(str(schema.get("format")), _SCALARS.get(str(kind), _TEXT))


def _object_guess(schema: Mapping[str, Any], whole: Mapping[str, Any], depth: int) -> Spread:
    inside = schema.get("properties", {}).items()
    parts = [(_written(orjson.dumps(name)), _value_guess(one, whole, depth + 1)) for name, one in inside]
    return Spread(*(2 + sum(name[at] + value[at] + 1 for name, value in parts) for at in range(3)))


def _array_guess(schema: Mapping[str, Any], whole: Mapping[str, Any], depth: int) -> Spread:
    item = _value_guess(schema.get("items"), whole, depth + 1)
    least, most = schema.get("minItems", _ITEMS.low), schema.get("maxItems", _ITEMS.high)
    numbers = (least, min(max(_ITEMS.likely, least), most), most)
    return Spread(*(2 + number * (size + 1) for number, size in zip(numbers, item, strict=True)))


def _any_of(guesses: Sequence[Spread]) -> Spread:
    low, likely, high = zip(*guesses, strict=True)
    return Spread(min(low), sum(likely) / len(likely), max(high))


def _written(text: bytes) -> Spread:
    return Spread(max(1, len(text) / 6), len(text) / 4 + 1, len(text) / 2 + 1)


@lru_cache(maxsize=1)
def _weights() -> Any:
    """Return the tokens of the bytes of UTF-8: low, likely, high."""
    import numpy  # noqa: PLC0415 - loaded where there are requests

    return numpy.array([_KINDS[_kind(byte)] for byte in range(256)]).T.copy()


def _kind(byte: int) -> str:
    if byte < 0x80:
        sign = chr(byte)
        ascii_kinds = {"letter": sign.isalpha(), "digit": sign.isdigit(), "newline": sign == "\n"}
        found = next((kind for kind, fits in ascii_kinds.items() if fits), None)
        return found or ("space" if sign.isspace() else "sign")
    bounds = ((0xC0, "inside"), (0xE0, "two"), (0xE3, "three"), (0xF0, "wide"))
    return next((kind for below, kind in bounds if byte < below), "four")
