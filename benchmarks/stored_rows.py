"""What stored answers cost to read, with nothing sent: ``python -m benchmarks.stored_rows`` prints it.

100,000 chat completions are made once, in memory, and parsed; then each property of the output is made for the first
time. CPU seconds are those of this process with all its threads; the machine's other work is said beside them.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.machine import now

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

ROWS = 100_000
SEED = 1
PROMISED = {"answers": 3.0, "usage": 2.0, "choices": 3.0}
"""Seconds that a property may take on a quiet machine."""
LABELS = ["positive", "negative", "mixed"]
ANSWER = {"sentiment": LABELS, "stars": int, "topics": [str], "reason?": str}


class Cost(NamedTuple):
    """What one property took, in seconds."""

    wall: float
    cpu: float


def stored(rows: int) -> pd.DataFrame:
    """Return a Raw Response table: answers of four fields, of which some are cut."""
    import pandas as pd

    draw = random.Random(SEED)
    return pd.DataFrame({"body": [_body(draw, row) for row in range(rows)], "status": 200})


def _body(draw: random.Random, row: int) -> str:
    topics = draw.choices(["price", "quality", "delivery", "service"], k=draw.randint(0, 3))
    said = {"sentiment": draw.choice(LABELS), "stars": draw.randint(1, 5), "topics": topics, "reason": None}
    text, cut = json.dumps(said), draw.random() < 0.01
    message = {"role": "assistant", "content": text[:-9] if cut else text, "refusal": None, "annotations": []}
    tokens = {"prompt_tokens": draw.randint(50, 900), "completion_tokens": draw.randint(10, 90)}
    usage: dict[str, Any] = {**tokens, "total_tokens": sum(tokens.values())}
    usage["prompt_tokens_details"] = {"cached_tokens": draw.choice([0, 0, 128]), "audio_tokens": 0}
    usage["completion_tokens_details"] = {"reasoning_tokens": 0, "accepted_prediction_tokens": 0}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length" if cut else "stop"}
    body = {
        "id": f"chatcmpl-{row}",
        "object": "chat.completion",
        "created": 1_764_000_000 + row // 7,
        "model": "gpt-4o-mini",
    }
    return json.dumps({**body, "choices": [choice], "usage": usage, "service_tier": "default"})


def measure(rows: int = ROWS) -> dict[str, Cost]:
    """Return what `node.parse` and each property of its output cost."""
    import tablenodes as tn

    node, raw = tn.CreateChatCompletion(model="m", prompt="x", answer=ANSWER), stored(rows)
    node.parse(raw[:100]).usage  # noqa: B018 - loads what is loaded once
    found = {}
    out, found["node.parse"] = _timed(lambda: node.parse(raw))
    for name in ("answers", "usage", "choices", "calls", "table"):
        _, found[name] = _timed(lambda name=name: getattr(out, name))  # type: ignore[misc]
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, Cost]:
    wall, cpu = time.perf_counter(), time.process_time()
    made = work()
    return made, Cost(time.perf_counter() - wall, time.process_time() - cpu)


def main() -> int:
    """Measure and print; return 1 where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored_rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, metavar="N", help="stored rows (%(default)s)")
    rows = parser.parse_args().rows
    start = now()
    found = measure(rows)
    others = start.others_until(now())
    print(f"{rows:,} stored rows; other programs used {others:.1f} cores meanwhile")
    for name, (wall, cpu) in found.items():
        most = PROMISED.get(name, 0.0) * rows / ROWS
        told = f", promised {most:.1f}: {'kept' if wall <= most else 'NOT KEPT'}" if most else ""
        print(f"  {name:<10} {wall:6.2f} s, {cpu:6.2f} s of CPU{told}")
    return int(any(found[name].wall > most * rows / ROWS for name, most in PROMISED.items()))


if __name__ == "__main__":
    raise SystemExit(main())
