"""Rules that the API's documents state in prose: a request that breaks one is sent, and a check says it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..answers import image_urls
from ..problems import Remark

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:\S")
_FILE = "set image for a file, which is read and sent then"


def broken(body: Mapping[str, Any]) -> Iterator[Remark]:
    """Yield a remark for each such rule that a body breaks."""
    number, best_of = body.get("n"), body.get("best_of")
    if isinstance(number, int) and isinstance(best_of, int) and best_of < number:
        yield Remark("best_of is below n: the API returns the n best of best_of answers", "best_of")
    if isinstance(best_of, int) and best_of > 1 and body.get("stream"):
        yield Remark("best_of is above 1, and stream is set: the API streams no such answers", "best_of")
    if body.get("top_logprobs") is not None and not body.get("logprobs") and "input" not in body:
        yield Remark("top_logprobs is set, but logprobs is not: the API wants logprobs=true with it", "top_logprobs")
    if body.get("stream_options") is not None and not body.get("stream"):
        yield Remark("stream_options is set, but stream is not: the API wants stream=true with it", "stream_options")
    if any(not _URI.match(url) for url in image_urls(body.get("messages", body.get("input")))):
        place = "messages" if "messages" in body else "input"
        yield Remark(f"{place} has an image_url that is neither https:… nor data:…; {_FILE}", place)
