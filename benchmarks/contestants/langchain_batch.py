"""LangChain: ``ChatOpenAI.batch``."""

from __future__ import annotations

from benchmarks.contestants.contract import Ask, Job, contest
from benchmarks.workload import API_KEY, MODEL, TEMPERATURE, prompt


def set_up(job: Job) -> Ask:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=MODEL, temperature=TEMPERATURE, base_url=job.base_url, api_key=API_KEY)
    config = {"max_concurrency": job.concurrency}

    def ask(reviews: list[str]) -> list[str | None]:
        return [answer.content for answer in chat.batch([prompt(review) for review in reviews], config=config)]

    return ask


if __name__ == "__main__":
    contest(["langchain-openai", "langchain-core", "openai"], set_up)
