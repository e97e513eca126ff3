"""What every contestant is asked to do: the same texts, the same question, the same settings."""

from __future__ import annotations

import json
import random

MODEL = "gpt-4o-mini"
TEMPERATURE = 0
API_KEY = "test"
ANSWER = "Positive"
FIELDS = '{"stars": 4, "mood": "calm \\u2713, \\"so, so\\"", "why": "the room was clean"}'
TEMPLATE = "Is this review positive or negative? Review: {{ review }} Answer with one word."
REVIEW_LENGTH = 200

_WORDS = (
    "the room was clean and quiet but breakfast came late every morning so we asked twice for coffee before "
    "someone smiled service friendly slow bathroom small view lovely price fair would stay again never bed soft "
    "pillow hard staff helpful noisy street balcony sunny lift broken towels fresh parking easy dinner tasty"
)


def reviews(rows: int, seed: int) -> list[str]:
    """Give `rows` texts of `REVIEW_LENGTH` characters; the same `seed` gives the same texts."""
    source, vocabulary = random.Random(seed), _WORDS.split()
    texts = []
    for number in range(rows):
        words = " ".join(source.choices(vocabulary, k=REVIEW_LENGTH // 3))
        texts.append(f"{number}: {words}"[: REVIEW_LENGTH - 1] + ".")
    return texts


def prompt(review: str) -> str:
    """Return the question about one review, for contestants without placeholders of their own."""
    return f"Is this review positive or negative? Review: {review} Answer with one word."


def messages(review: str) -> list[dict[str, str]]:
    """Give one row's chat messages."""
    return [{"role": "user", "content": prompt(review)}]


def request_body(review: str) -> bytes:
    """Give one row's request body as JSON."""
    body = {"model": MODEL, "temperature": TEMPERATURE, "messages": messages(review)}
    return json.dumps(body).encode()


def completion(answer: str = ANSWER) -> bytes:
    """Return the answer that the server sends to everyone: a chat completion of usual size."""
    usage = {
        "prompt_tokens": 58,
        "completion_tokens": 1,
        "total_tokens": 59,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    message: dict[str, object] = {"role": "assistant", "content": answer, "refusal": None, "annotations": []}
    body = {
        "id": "chatcmpl-BkQ0dVJ6rV3xM1hX7pQeT5uZy2sWn",
        "object": "chat.completion",
        "created": 1760000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_560af6e559",
    }
    return json.dumps(body, separators=(",", ":")).encode()
