"""The openai SDK: one client, a pool of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from benchmarks.contestants.contract import Ask, Job, contest
from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, messages


def set_up(job: Job) -> Ask:
    import httpx2
    import openai

    limits = httpx2.Limits(max_connections=job.concurrency, max_keepalive_connections=job.concurrency)
    client = openai.OpenAI(base_url=job.base_url, api_key=API_KEY, http_client=openai.DefaultHttpxClient(limits=limits))
    pool = ThreadPoolExecutor(job.concurrency)

    def answer(review: str) -> str | None:
        completion = client.chat.completions.create(model=MODEL, temperature=TEMPERATURE, messages=messages(review))
        content: str | None = completion.choices[0].message.content
        return content

    return lambda reviews: list(pool.map(answer, reviews))


if __name__ == "__main__":
    contest(["openai", "httpx2"], set_up)
