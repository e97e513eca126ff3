"""LiteLLM: ``batch_completion``."""

from __future__ import annotations

from benchmarks.contestants.contract import Ask, Job, contest
from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, messages


def set_up(job: Job) -> Ask:
    import litellm

    def ask(reviews: list[str]) -> list[str | None]:
        completions = litellm.batch_completion(
            model=f"openai/{MODEL}",
            messages=[messages(review) for review in reviews],
            temperature=TEMPERATURE,
            max_workers=job.concurrency,
            api_base=job.base_url,
            api_key=API_KEY,
        )
        return [
            None if isinstance(completion, Exception) else completion.choices[0].message.content
            for completion in completions
        ]

    return ask


if __name__ == "__main__":
    contest(["litellm", "openai"], set_up)
