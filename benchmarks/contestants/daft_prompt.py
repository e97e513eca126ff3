"""Daft: the ``prompt`` expression with its OpenAI provider."""

from __future__ import annotations

import gc

from benchmarks.contestants.contract import Ask, Job, contest
from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, prompt


def set_up(job: Job) -> Ask:
    import daft
    from daft.ai.openai.provider import OpenAIProvider
    from daft.functions import prompt as prompt_expression

    # With garbage collection on, Daft 0.7.26 often came to a standstill after some hundred rows: no error, no CPU
    # time, and an answer that nobody read. Off, it finishes; that is the figure to compare with.
    gc.disable()
    provider = OpenAIProvider(base_url=job.base_url, api_key=API_KEY)

    def ask(reviews: list[str]) -> list[str | None]:
        answer = prompt_expression(
            daft.col("prompt"),
            provider=provider,
            model=MODEL,
            use_chat_completions=True,
            temperature=TEMPERATURE,
            concurrency=job.concurrency,
        )
        table = daft.from_pydict({"prompt": [prompt(review) for review in reviews]})
        answers: list[str | None] = table.with_column("answer", answer).to_pydict()["answer"]
        return answers

    return ask


if __name__ == "__main__":
    contest(["daft", "openai"], set_up)
