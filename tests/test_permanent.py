"""A set-up that can never work ends the run within seconds, and the likely mistake is named."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pandas as pd
import pytest
from servers import LOOPBACK, answer, fault_server, server_context

import tablenodes as tn
from tablenodes.errors import ConnectionSettingError

TRANSPORTS = {"curl": 2.0, "requests": 3.0}
"""The seconds within which such a run ends; it is measured with as many again, for a machine that is busy."""


@contextlib.contextmanager
def listening(talk) -> Iterator[int]:
    """Serve each connection in a thread by `talk(socket)`; return the port."""

    def serve() -> None:
        while True:
            try:
                accepted, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(accepted,), daemon=True).start()

    def one(accepted: socket.socket) -> None:
        with contextlib.suppress(OSError), accepted:
            accepted.settimeout(20)
            talk(accepted)

    with socket.create_server((LOOPBACK, 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def patient(accepted: socket.socket) -> None:
    """Speak plain http, and wait for the end of a request's head, however little of it that may be one."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += accepted.recv(9999) or b"\r\n\r\n"
    accepted.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def asked(url: str, transport: str, rows: int = 3, **settings: object) -> tn.Responses:
    connection = tn.Connection(url, api_key="k" * 12, transport=transport, allow_insecure=True, **settings)
    node = tn.CreateChatCompletion(model="m", prompt="{{ q }}")
    began = time.monotonic()
    out = node.run(pd.DataFrame({"q": ["a"] * rows}), connection, progress=False)
    assert time.monotonic() - began < 2 * TRANSPORTS[transport]
    return out


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("rows", [3, 200])
def test_https_to_a_port_that_speaks_plain_http(transport, rows):
    """111: also where the server waits for more than a handshake is."""
    with listening(patient) as port:
        out = asked(f"https://{LOOPBACK}:{port}/v1", transport, rows)
    assert set(out.log["outcome"]) <= {"tls", "not_sent"}
    assert out.log["attempts"].sum() == 0
    assert "http://" in out.log["message"].iloc[0]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_http_to_a_port_that_speaks_tls(transport, tmp_path):
    """111: a server that only hangs up is asked for what it speaks."""
    context, _ = server_context(tmp_path)

    def talk(accepted: socket.socket) -> None:
        context.wrap_socket(accepted, server_side=True).recv(1)

    with listening(talk) as port:
        out = asked(f"http://{LOOPBACK}:{port}/v1", transport)
    assert set(out.log["outcome"]) == {"protocol"}
    assert "https://" in out.log["message"].iloc[0]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 407, 501])
def test_a_proxy_that_refuses_for_good(transport, status):
    """6: its status and its host are in the message, its password never."""
    with fault_server(answer(b"", status)) as proxy:
        place = f"{LOOPBACK}:{proxy.port}"
        out = asked("https://api.example/v1", transport, proxy=f"http://me:canary-pw@{place}")
    assert (set(out.log["outcome"]), out.log["attempts"].sum()) == ({"proxy"}, 0)
    message = out.log["message"].iloc[0]
    assert (str(status) in message, place in message, "canary" in message) == (True, True, False)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("body", "outcome"), [(b"<html>login</html>", "proxy"), (b'{"error":{"message":"x"}}', "auth")]
)
def test_a_login_page_over_plain_http_is_the_proxys(transport, body, outcome):
    """6: where the API itself refuses the key, it says so in its own form."""
    with fault_server(answer(body, 401)) as proxy:
        out = asked("http://api.example/v1", transport, proxy=f"http://{LOOPBACK}:{proxy.port}")
    assert set(out.log["outcome"]) == {outcome}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_certificates_file_without_certificates_is_refused(transport, tmp_path):
    """111: before anything is sent."""
    bundle = tmp_path / "none.pem"
    bundle.write_text("hello")
    with pytest.raises(ConnectionSettingError):
        asked(f"https://{LOOPBACK}:1/v1", transport, ca_bundle=str(bundle))
