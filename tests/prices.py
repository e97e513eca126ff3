"""The price list of the package, and what `genai-prices` says of a thousand answers.

``python tests/prices.py`` writes both anew, from the installed package of that name.
"""

from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tablenodes" / "answers" / "price_list.json"
CASES = Path(__file__).with_name("price_cases.json")
COUNTS = {
    "prompt_tokens": "input_tokens",
    "cached_tokens": "cache_read_tokens",
    "written_tokens": "cache_write_tokens",
    "audio_tokens": "input_audio_tokens",
    "completion_tokens": "output_tokens",
    "reasoning_tokens": "output_reasoning_tokens",
    "spoken_tokens": "output_audio_tokens",
}
SERVERS = {
    "https://api.openai.com/v1": "openai",
    "https://x.openai.azure.com/openai": "azure",
    "https://api.anthropic.com/v1": "anthropic",
    "https://generativelanguage.googleapis.com/v1beta/openai": "google",
    "https://api.deepseek.com": "deepseek",
    "https://api.x.ai/v1": "x-ai",
    "https://openrouter.ai/api/v1": "openrouter",
    "https://api.groq.com/openai/v1": "groq",
}


def cases(count, seed=7):
    """Yield random answers of several servers, and what `calc_price` says that each costs; null where it refuses."""
    from genai_prices import Usage, calc_price
    from genai_prices.data import providers

    chance, by_id = random.Random(seed), {each.id: each for each in providers}
    for _ in range(count):
        url, provider = chance.choice([*SERVERS.items()])
        owner = by_id[provider]
        spoken = [each for each in owner.models if "mtok" in repr(each.prices)]
        tiered = [each for each in spoken if "Tiered" in repr(each.prices) or each.price_variants]
        model = chance.choice(chance.choice([spoken, tiered or spoken])).id
        if provider == "azure" and chance.random() < 0.5:
            model = chance.choice([each for each in by_id["openai"].models if "mtok" in repr(each.prices)]).id
        tier = chance.choice([None, None, "default", "flex", "priority", "batch"])
        created = chance.randrange(1_735_700_000, 1_796_000_000)
        prompt = chance.choice([0, 12, 900, 40_000, 199_999, 200_001, 272_000, 300_000, 1_200_000])
        row = dict.fromkeys(COUNTS, 0) | {"prompt_tokens": prompt, "completion_tokens": chance.randrange(5_000)}
        row["cached_tokens"] = chance.choice([0, 0, prompt // 2, prompt, prompt + 9 * (chance.random() < 0.1)])
        row["written_tokens"] = chance.choice([0, 0, 0, (prompt - row["cached_tokens"]) // 2 if prompt else 0])
        row["written_tokens"] = max(0, row["written_tokens"])
        row["audio_tokens"] = chance.choice([0] * 7 + [prompt // 10])
        row["reasoning_tokens"] = chance.choice([0, row["completion_tokens"] // 2])
        row["spoken_tokens"] = chance.choice([0] * 7 + [row["completion_tokens"] // 10])
        counted = {COUNTS[name]: value for name, value in row.items()}
        if provider == "x-ai":  # its own extractor adds what its server counts apart
            counted["output_tokens"] += counted["output_reasoning_tokens"]
        context = {} if tier is None else {"service_tier": tier} | ({"processing": tier} if tier == "batch" else {})
        try:
            price = calc_price(
                Usage(**counted),
                model,
                provider_api_url=url,
                genai_request_timestamp=datetime.fromtimestamp(created, UTC),
                price_context=context or None,
            )
            cost = float(price.total_price)
        except (LookupError, ValueError):
            cost = None
        yield [url, model, tier, created, *row.values(), cost]


def main():
    """Write both files."""
    sys.path.insert(0, str(ROOT))
    from tablenodes.answers.installed_prices import installed_prices

    LIST.write_text(json.dumps(installed_prices(), separators=(",", ":"), ensure_ascii=False) + "\n")
    rows = ",\n".join(json.dumps(each, separators=(",", ":")) for each in cases(1000))
    CASES.write_text(f"[\n{rows}\n]\n")


if __name__ == "__main__":
    main()
