"""The openai SDK: one asynchronous client, a semaphore."""

from __future__ import annotations

import asyncio

from benchmarks.contestants.contract import Ask, Job, contest
from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, messages


def set_up(job: Job) -> Ask:
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=job.concurrency, max_keepalive_connections=job.concurrency)
    client = openai.AsyncOpenAI(
        base_url=job.base_url, api_key=API_KEY, http_client=openai.DefaultAsyncHttpxClient(limits=limits)
    )
    runner = asyncio.Runner()
    free = asyncio.Semaphore(job.concurrency)

    async def answer(review: str) -> str | None:
        async with free:
            completion = await client.chat.completions.create(
                model=MODEL, temperature=TEMPERATURE, messages=messages(review)
            )
        content: str | None = completion.choices[0].message.content
        return content

    async def answer_all(reviews: list[str]) -> list[str | None]:
        return await asyncio.gather(*map(answer, reviews))

    return lambda reviews: runner.run(answer_all(reviews))


if __name__ == "__main__":
    contest(["openai", "httpx2"], set_up)
