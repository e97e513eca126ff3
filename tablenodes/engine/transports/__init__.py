"""What carries the bytes: each transport in a module of its own, found by its name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

TRANSPORTS = {"curl": ".curl_transport.CurlTransport", "requests": ".requests_transport.RequestsTransport"}
"""Where each class is. It takes `timeout`, `body_bytes`, `concurrency`, `proxy`, `ca_bundle`, `may_send`, `stream`."""


def transport_class(name: str) -> Callable[..., Any]:
    """Return the class of a transport; its module is loaded only now."""
    module, _, kind = TRANSPORTS[name].rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module, __name__), kind)
    return found
