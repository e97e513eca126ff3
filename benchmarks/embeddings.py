"""Embeddings of many texts: vectors a second, processor time a vector and memory, beside the openai SDK.

``python -m benchmarks.embeddings [--texts 100096] [--openai PYTHON]``: every answer is the same pack of 256 vectors of
1,536 numbers as base64, from nginx. Whoever is measured runs in a process of its own, with the same packs and as many
requests at a time; a Python that has the openai package measures that beside it.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.servers import nginx_binary

if TYPE_CHECKING:
    from collections.abc import Iterator

PACK, SIZE, AT_ONCE = 256, 1536, 16
_CONFIG = """\
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off; sendfile on; default_type application/json; keepalive_requests 1000000000;
    client_max_body_size 64m; client_body_buffer_size 8m; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ root {folder}; error_page 405 =200 /answer.json; try_files /answer.json =404; }}
        location = /answer.json {{ root {folder}; }}
    }}
}}
"""


def vectors() -> Any:
    """Return the vectors of a pack."""
    import numpy

    return numpy.random.default_rng(1).standard_normal((PACK, SIZE), numpy.float32)


@contextmanager
def server(port: int = 18763) -> Iterator[str]:
    """Serve the pack; give the base URL."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's worker is another user where it is started by root
        data = [
            {"object": "embedding", "index": index, "embedding": base64.b64encode(vector.tobytes()).decode()}
            for index, vector in enumerate(vectors())
        ]
        usage = {"prompt_tokens": 8 * PACK, "total_tokens": 8 * PACK}
        answer = {"object": "list", "data": data, "model": "m", "usage": usage}
        (folder / "answer.json").write_text(json.dumps(answer, separators=(",", ":")))
        (folder / "nginx.conf").write_text(_CONFIG.format(folder=folder, port=port))
        command = [str(nginx_binary()), "-p", name, "-c", str(folder / "nginx.conf")]
        process = subprocess.Popen(command)
        time.sleep(0.5)
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait()


def texts(count: int) -> list[str]:
    """Return so many texts."""
    return [f"This is the review of customer number {row}." for row in range(count)]


def of_tablenodes(url: str, count: int) -> Any:
    """Return the vectors as tablenodes gets them: as a matrix."""
    import pyarrow

    import tablenodes as tn

    table = pyarrow.table({"text": texts(count)})
    node = tn.CreateEmbedding(input="{{ text }}", model="m", pack=PACK)
    began = time.perf_counter()
    out = node.run(table, tn.Connection(url, "k" * 20), limits=tn.Limits(concurrency=AT_ONCE), progress=False)
    made = out.vectors.chunk(0).flatten().to_numpy().reshape(count, SIZE)
    return made, time.perf_counter() - began


def of_openai(url: str, count: int) -> Any:
    """Return the vectors as the SDK gives them: as lists."""
    import asyncio

    import openai

    async def everything() -> list[list[float]]:
        client, room = openai.AsyncOpenAI(base_url=url, api_key="k"), asyncio.Semaphore(AT_ONCE)

        async def one(part: list[str]) -> list[list[float]]:
            async with room:
                found = await client.embeddings.create(input=part, model="m")
                return [item.embedding for item in sorted(found.data, key=lambda item: item.index)]

        given = texts(count)
        parts = (given[start : start + PACK] for start in range(0, count, PACK))
        made = await asyncio.gather(*map(one, parts))
        return [vector for part in made for vector in part][:count]

    began = time.perf_counter()
    made = asyncio.run(everything())
    return made, time.perf_counter() - began


def measured(name: str, url: str, count: int) -> dict[str, Any]:
    """Return what it took one of them, in this process."""
    made, seconds = {"tablenodes": of_tablenodes, "openai": of_openai}[name](url, count)
    used = resource.getrusage(resource.RUSAGE_SELF)
    expected = vectors()
    wrong = sum(list(made[row]) != list(expected[row % PACK]) for row in range(0, count, 101)) if count else 0
    return {
        "name": name,
        "vectors a second": round(count / seconds),
        "ms of processor a vector": round(1000 * (used.ru_utime + used.ru_stime) / count, 4),
        "MB": round(used.ru_maxrss / 1024),
        "wrong": wrong,
    }


def main() -> None:
    """Measure, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=391 * PACK, help="a multiple of 256")
    parser.add_argument("--of-openai", type=int, default=None, help="so many texts by the SDK (default: as many)")
    parser.add_argument("--openai", help="a Python with the openai package")
    parser.add_argument("--one", nargs=2)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one[0], given.one[1], given.texts)))
        return
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    with server() as url:
        for name, python in (("tablenodes", sys.executable), ("openai", given.openai)):
            if python:
                count = given.texts if name == "tablenodes" else given.of_openai or given.texts
                command = [python, "-m", "benchmarks.embeddings", "--texts", str(count), "--one", name, url]
                told = subprocess.run(command, check=True, capture_output=True, text=True, env=compiled).stdout
                print(told.strip(), flush=True)


if __name__ == "__main__":
    main()
