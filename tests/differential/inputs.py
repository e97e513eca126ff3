"""What both sides are given: schedules, answers and mixes of faults, each made of one seed and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import random
from typing import Any
from urllib.parse import quote

KEY = "sk-secret/key+4711"
USAGE = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
OK_BODY = json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": {}}], "usage": USAGE}).encode()

# --- schedules ------------------------------------------------------------------------------------------------------


def _told(remaining: int, limit: int, reset: str, subject: str = "requests") -> bytes:
    names = (("limit", limit), ("remaining", remaining), ("reset", reset))
    return b"".join(f"x-ratelimit-{name}-{subject}: {value}\r\n".encode() for name, value in names)


def _ok(headers: bytes = b"", **more: Any) -> dict[str, Any]:
    return {"status": 200, "headers": b"content-length: 9\r\n" + headers, "body": OK_BODY} | more


def _status(code: int, headers: bytes = b"", body: bytes = b"{}") -> dict[str, Any]:
    return {"status": code, "headers": headers, "body": body}


def _fault(name: str, **more: Any) -> dict[str, Any]:
    return {"status": None, "headers": b"", "body": b"", "fault": name, **more}


MOODS = [
    _ok(_told(1, 9, "3s")),
    _ok(_told(50, 100, "1m0s") + _told(900, 1000, "20ms", "tokens")),
    _ok(_told(0, 9, "700s")),
    _ok(seconds=45.0),
    _fault("connect", reached=False),
    _fault("reset", reused=True),
    _fault("reset"),
    _fault("timeout_first_byte", seconds=30.0),
    _fault("proxy", reached=False),
    _ok() | {"body": b""},
    _status(400),
    _status(401),
    _status(402),
    _status(404, body=b'{"error":{"code":"model_not_found"}}'),
    _status(429),
    _status(429, b"retry-after-ms: 20\r\n"),
    _status(429, b"retry-after: 7\r\n"),
    _status(429, b"retry-after: 200\r\n"),
    _status(429, _told(0, 9, "2s")),
    _status(429, _told(0, 9, "900s")),
    _status(429, b"retry-after: 86400\r\n"),
    _status(429, body=b'{"error":{"code":"insufficient_quota"}}'),
    _status(500),
    _status(500, b"retry-after: 3\r\n"),
    _status(500, b"x-should-retry: false\r\n"),
    _status(503),
    _status(503, b"retry-after: 2\r\n"),
    _status(529),
]


def schedule(seed: int) -> dict[str, Any]:
    """Return a table, its limits, and when a server is in which mood."""
    chance = random.Random(seed)
    pick = chance.choice
    return {
        "seed": seed,
        "rows": chance.randint(0, 40),
        "moods": [chance.choices(MOODS, k=chance.randint(1, 4)) for _ in range(chance.randint(1, 4))],
        "changes": sorted(chance.uniform(0, 120) for _ in range(4)),
        "healthy": pick([0.0, 0.5, 0.9, 1.0]),
        "latency": pick([0.01, 0.3, 3.0]),
        "limits": {
            "concurrency": pick([1, 2, 5, 16]),
            "max_requests": pick([None, None, chance.randint(0, 80)]),
            "token_budget": pick([None, None, chance.randint(0, 400)]),
            "requests_per_minute": pick([None, None, 60.0, 3000.0]),
            "tokens_per_minute": pick([None, None, 600.0, 30_000.0]),
        },
        "retry": {
            "not_executed": chance.randint(0, 5),
            "throttled": chance.randint(0, 5),
            "server_error": chance.randint(0, 4),
            "ambiguous": chance.randint(0, 2),
            "max_attempts": chance.randint(1, 12),
            "row_deadline": pick([5.0, 100.0, 3600.0]),
            "outage_patience": pick([0.0, 20.0, 600.0]),
        },
        "at_most_once": pick([None, None, None, True, False]),
        "sent_before": pick([0, 0, 3]),
        "capacity": pick([None, None, 3]),
        "seconds_left": pick([None, None, 30.0]),
        "repeats": pick([0.0, 0.2]),
        "put_back": pick([0.0, 0.0, 0.1]),
        "tokens": pick([0, 10]),
        "interrupt_at": pick([None, None, None, chance.uniform(0, 30)]),
        "runs": pick([1, 1, 2]),
    }


# --- answers --------------------------------------------------------------------------------------------------------

FAULTS = (
    *("dns", "connect", "timeout_connect", "tls", "proxy", "reset", "disconnected", "timeout_first_byte"),
    *("timeout_total", "timeout_idle", "truncated", "protocol", "too_large", "bad_encoding", "stream_truncated"),
    *("stream_error", "internal_error", "option_refused", "unheard_of"),
)
STATUSES = (
    *(201, 204, 206, 299, 301, 304, 307, 400, 401, 402, 403, 404, 405, 407, 408, 409, 413, 418, 422, 425, 429, 429),
    *(429, 431, 500, 500, 501, 502, 503, 503, 504, 520, 521, 522, 523, 524, 529, 599, 600, 101),
)
WORDS = (
    *("insufficient_quota", "billing_hard_limit_reached", "rate_limit_exceeded", "overloaded_error", "server_error"),
    *("invalid_request_error", "invalid_api_key", "model_not_found", "context_length_exceeded", "UNAVAILABLE", "odd"),
)
TEXTS = (
    "",
    "yes",
    "Ja, schön — 日本語 🙂\u2028 und\r\n\tmehr.",
    "\ud83d",
    "a" * 500,
    f"your key {KEY} is bad",
    quote(KEY, safe=""),
    base64.b64encode(KEY.encode()).decode(),
    "\x00\x1b[31m",
)
ODD = (None, True, 0, -1, 1.5, 2**53, 10**400, "text", [], {}, [None], {"a": 1}, "429", 429, 500, float("nan"), 1e308)
HEADERS = (
    b"X-Request-Id: req_1",
    b"x-request-id:   odd \xff  ",
    b"Retry-After: 3",
    b"Retry-After: -1",
    b"Retry-After: inf",
    b"Retry-After: 1e400",
    b"retry-after-ms: 250",
    b"retry-after-ms: soon",
    b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT",
    b"Date: Wed, 21 Oct 2026 07:27:00 GMT",
    b"Date: yesterday",
    b"x-should-retry: true",
    b"x-should-retry: false",
    b"X-RateLimit-Remaining-Requests: 59",
    b"x-ratelimit-limit-requests: 60",
    b"x-ratelimit-reset-requests: 6m0s",
    b"x-ratelimit-remaining-tokens: 149984",
    b"openai-processing-ms: 20",
    b"Set-Cookie: a=" + KEY.encode(),
    b"Content-Length: 100",
    b"Transfer-Encoding: chunked",
)
NO_OBJECTS = (b"", b" \r\n", b"<html>Bad gateway</html>", b"[1, 2]", b"null", b"\x1f\x8b\x00", b"{" * 99)


def answer(seed: int) -> dict[str, Any]:
    """Return one answer, and how it is to be judged."""
    chance = random.Random(seed)
    pick = chance.choice
    streams = chance.random() < 0.5
    body = _stream(chance) if streams else _plain(chance)
    if chance.random() < 0.25:
        body = body[: chance.randint(0, len(body))]
    kind = pick([b"text/event-stream", b"text/event-stream; charset=utf-8"]) if streams else b"application/json"
    kind = pick([kind] * 8 + [b"text/html", b"text/event-stream"])
    lines = [pick([b"Content-Type: ", b"content-type:"]) + kind, *chance.sample(HEADERS, chance.randint(0, 6))]
    end = pick([b"\r\n", b"\r\n", b"\n"])
    broken = chance.random() < 0.2
    told = pick(["", "Connection refused", f"it said {KEY} aloud", "\x07 bell", "long " * 100])
    return {
        "status": pick([None, 200, pick(STATUSES)]) if broken else pick([200, 200, 200, 200, pick(STATUSES)]),
        "headers": b"".join(line + end for line in lines) if chance.random() < 0.95 else b"",
        "body": body,
        "fault": pick(FAULTS) if broken else None,
        "message": told if broken else "",
        "sends": pick([0, 1, 1, 1, 1, 2]),
        "reused": chance.random() < 0.3,
        "elapsed": 0.25,
        "asked": pick([b"", b'{"model":"m"}', b'{"n":2}', b'{"n":3,"prompt":["a","b"]}', b'{"prompt":[1,2]}', b"["]),
        "needs_choices": chance.random() < 0.9,
        "at_most_once": chance.random() < 0.3,
        "clock": pick([None, 1_792_567_680.0]),
        "pieces": pick([1, 2, 7, 64, 1000]),
    }


def _plain(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.05:
        return chance.choice(
            [b"", b" \r\n", b"<html>Bad gateway</html>", b"[1, 2]", b"null", b"\x1f\x8b\x00", b"{" * 99]
        )
    if kind < 0.08:
        return b'{"choices":[{"x":' + b"[" * 5000 + b"]" * 5000 + b"}]}"
    document = _error(chance) if kind < 0.3 else _completion(chance)
    for _ in range(chance.choice([0, 0, 0, 1, 2])):
        document = _spoilt(chance, document)
    return _written(chance, document)


def _written(chance: random.Random, document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, None, 1]))
    if chance.random() < 0.1:
        text = text.replace("/", "\\/").replace("k", "\\u006b")
    code = chance.choice(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "latin-1", "gzip"])
    if code == "gzip":
        return gzip.compress(text.encode(errors="replace"), mtime=0)
    return text.encode(code, "surrogatepass" if code.startswith("utf") else "replace")


def _text(chance: random.Random) -> str:
    return "".join(chance.choices(TEXTS, k=chance.choice([1, 1, 3])))


def _usage(chance: random.Random) -> Any:
    odd = {name: chance.choice([count, chance.choice(ODD)]) for name, count in USAGE.items()}
    return chance.choice([USAGE, USAGE, odd, None, {"prompt_tokens": 3, "completion_tokens": 4}, chance.choice(ODD)])


def _completion(chance: random.Random) -> dict[str, Any]:
    choices = [_choice(chance, index) for index in range(chance.choice([0, 1, 1, 1, 1, 2, 3]))]
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": choices, "usage": _usage(chance)}


def _choice(chance: random.Random, index: int) -> dict[str, Any]:
    reason = chance.choice(["stop", "stop", "stop", "length", "tool_calls", "content_filter", "error", None, 7])
    if chance.random() < 0.2:
        return {"index": index, "text": _text(chance), "finish_reason": reason, "logprobs": None}
    message: dict[str, Any] = {"role": "assistant", "content": chance.choice([_text(chance), None, _parts(chance)])}
    if chance.random() < 0.3:
        message["tool_calls"] = [_call(chance, number) for number in range(chance.randint(1, 3))]
    if chance.random() < 0.1:
        message["function_call"] = {"name": "now", "arguments": "{}"}
    if chance.random() < 0.1:
        message["refusal"] = _text(chance)
    return {"index": index, "message": message, "finish_reason": reason}


def _parts(chance: random.Random) -> list[Any]:
    return [chance.choice([{"type": "text", "text": _text(chance)}, {"type": "image"}, 1]) for _ in range(3)]


def _call(chance: random.Random, number: int) -> dict[str, Any]:
    arguments = chance.choice(['{"city": "Köln", "days": 3}', "{}", "", "{oops"])
    return {"id": f"call_{number}", "type": "function", "function": {"name": f"f{number}", "arguments": arguments}}


def _error(chance: random.Random) -> Any:
    value = lambda: chance.choice([*WORDS, *ODD])  # noqa: E731
    error: Any = {
        "message": _text(chance),
        "type": value(),
        "code": value(),
        "param": chance.choice([None, "model", "stream_options", "messages.0"]),
    }
    error = chance.choice([error, error, error, _text(chance), {"detail": _text(chance), "status": value()}])
    document = chance.choice([{"error": error}, {"error": error}, error, [{"error": error}]])
    if isinstance(document, dict) and chance.random() < 0.1:
        document |= _completion(chance)
    return document


def _spoilt(chance: random.Random, value: Any) -> Any:
    """Change something somewhere in a value."""
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        rest = {each: item for each, item in value.items() if each != name}
        return rest if chance.random() < 0.3 else {**value, name: _spoilt(chance, value[name])}
    if isinstance(value, list) and value:
        at = chance.randrange(len(value))
        return [*value[:at], _spoilt(chance, value[at]), *value[at + 1 :]]
    return chance.choice(ODD)


# --- streams --------------------------------------------------------------------------------------------------------


def _stream(chance: random.Random) -> bytes:
    events = _chunks(chance)
    for _ in range(chance.choice([0] * 6 + [1, 2])):
        at = chance.randint(0, len(events))
        events[at:at] = [chance.choice([_error(chance), chance.choice(ODD), {"choices": chance.choice(ODD)}])]
    for _ in range(chance.choice([0, 0, 0, 1])):
        at = chance.randrange(len(events))
        events[at] = _spoilt(chance, events[at])
    lines = [_event(chance, json.dumps(event, ensure_ascii=chance.random() < 0.5)) for event in events]
    if chance.random() < 0.1:
        lines.insert(chance.randint(0, len(lines)), b"data: {oops}\n\n")
    if chance.random() < 0.1:
        lines.insert(
            chance.randint(0, len(lines)), b"event: error\ndata: " + _written(chance, _error(chance)) + b"\n\n"
        )
    if chance.random() < 0.7:
        lines.append(b"data: [DONE]\n\n")
    if chance.random() < 0.1:
        lines += lines[:2]
    stream = chance.choice([b"", b"", b"\xef\xbb\xbf", b": hello\n\n"]) + b"".join(lines)
    return stream.replace(b"\n", chance.choice([b"\n", b"\n", b"\r\n", b"\r"]))


def _event(chance: random.Random, text: str) -> bytes:
    data = text.encode(errors="surrogatepass")
    if chance.random() < 0.1:
        data = data.replace(b', "', b',\ndata: "')
    before = chance.choice([b""] * 8 + [b": ping\n", b"id: 1\n", b"event: message\n", b"event: ping\n", b"retry: 5\n"])
    return before + chance.choice([b"data: ", b"data: ", b"data:"]) + data + b"\n\n"


def _chunks(chance: random.Random) -> list[Any]:
    """Return the chunks of a stream of some choices, by turns."""
    chat = chance.random() < 0.8
    top = {"id": "chatcmpl-1", "object": "chat.completion.chunk" if chat else "text_completion", "model": "m"}
    top |= chance.choice([{}, {"obfuscation": "xyz"}, {"system_fingerprint": "fp"}])
    waiting = [_choice_parts(chance, index, chat) for index in range(chance.choice([1, 1, 1, 2, 3]))]
    made: list[Any] = []
    while waiting:
        parts = chance.choice(waiting)
        made.append(top | {"choices": [parts.pop(0)], "usage": chance.choice([None, None, USAGE])})
        waiting = [each for each in waiting if each]
    if chance.random() < 0.6:
        made.append(top | {"choices": [], "usage": _usage(chance)})
    return made


def _choice_parts(chance: random.Random, index: int, chat: bool) -> list[dict[str, Any]]:
    text = _text(chance)
    pieces = [text[at : at + 3] for at in range(0, min(len(text), 60), 3)]
    end = {"finish_reason": chance.choice(["stop", "length", "tool_calls", "error"])}
    if not chat:
        parts: list[dict[str, Any]] = [{"text": piece, "finish_reason": None} for piece in pieces]
        parts.append({"text": ""} | end)
    else:
        deltas: list[Any] = [{"role": "assistant", "content": chance.choice(["", None])}]
        deltas += [{chance.choice(["content"] * 9 + ["refusal", "reasoning_content"]): piece} for piece in pieces]
        deltas += _call_deltas(chance) if chance.random() < 0.4 else []
        if chance.random() < 0.1:
            deltas += [{"function_call": {"name": "now", "arguments": ""}}, {"function_call": {"arguments": "{}"}}]
        parts = [{"delta": delta, "finish_reason": None} for delta in deltas]
        if chance.random() < 0.2:
            parts += [{"delta": {}, "logprobs": {"content": [{"token": piece}]}} for piece in pieces]
        parts.append({"delta": chance.choice([{}, None])} | end)
        if chance.random() < 0.1:
            parts.append({"message": {"role": "assistant", "content": text}})
    if chance.random() < 0.15 and len(parts) > 1:
        parts.pop()
    numbered = chance.random() < 0.95 or index > 0
    return [({"index": index} if numbered else {}) | part for part in parts]


def _call_deltas(chance: random.Random) -> list[dict[str, Any]]:
    deltas = []
    number_of = chance.choice([lambda number: number, lambda number: number, lambda number: 0, lambda number: None])
    for number in range(chance.randint(1, 3)):
        call = _call(chance, number)
        arguments = call["function"].pop("arguments")
        deltas.append({"tool_calls": [{"index": number_of(number)} | call]})
        for at in range(0, len(arguments), 5):
            function = {"arguments": arguments[at : at + 5]}
            deltas.append({"tool_calls": [{"index": number_of(number), "function": function}]})
    if chance.random() < 0.3:
        chance.shuffle(deltas)
    return deltas


# --- real runs ------------------------------------------------------------------------------------------------------

SCRIPTS = (
    *("ok", "ok", "ok", "ok", "slow", "400", "404", "409", "422", "429", "429 soon", "500", "502 page", "503", "529"),
    *("reset", "fin", "cut", "chunk cut", "garbage", "empty", "no json", "no choices", "error 429", "error 500"),
    *("error 400", "too large", "bad encoding", "gzip", "length", "behind", "echoed key", "interim", "redirect"),
)
STREAM_SCRIPTS = (
    *("stream", "stream", "stream", "stream cut", "stream open", "stream error", "stream broken", "stream no done"),
)
CIRCUITS = ("401", "403", "402", "quota", "model", "429 tomorrow")
"""What ends a whole run: only where rows go out one after the other."""


def faulty_run(seed: int) -> dict[str, Any]:
    """Return a table of prompts, what the server does with each row's first, second … request, and how it is asked."""
    chance = random.Random(seed)
    streams = chance.random() < 0.3
    serial = chance.random() < 0.4
    transport = "requests" if chance.random() < 0.15 and not streams else "curl"
    scripts = [*SCRIPTS, *(STREAM_SCRIPTS * 3 if streams else ()), *(CIRCUITS if serial else ())]
    if transport == "requests":  # a plain session takes an interim response for the answer
        scripts.remove("interim")
    rows = chance.randint(5, 25)
    return {
        "rows": [[chance.choice(scripts) for _ in range(chance.choice([1, 1, 2, 3]))] for _ in range(rows)],
        "stream": streams,
        "concurrency": 1 if serial else chance.choice([2, 8]),
        "transport": transport,
        "max_requests": chance.choice([None, None, rows]) if serial else None,
        "retry": {
            "not_executed": chance.randint(0, 2),
            "throttled": chance.randint(0, 3),
            "server_error": chance.randint(0, 2),
            "ambiguous": chance.randint(0, 1),
        },
        "journal": chance.random() < 0.3,
    }
