"""What the environment and the machine say about the way to a server: proxies, certificates, sockets."""

from __future__ import annotations

import functools
import ipaddress
import os
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from ...addresses import is_loopback
from ...errors import ConnectionSettingError
from ..outcomes.rules import PROXY_LOGIN, PROXY_REFUSED

OTHER_FILES = 128  # file descriptors that a process is left beside one socket a request, where there are enough
_SPARE_FILES = 24  # those that it is left in any case; what a name is resolved with takes as many again as the sockets
_BUNDLE_NAMES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PROXY_MAY_RECOVER = frozenset((502, 503, 504))
_DEFAULT_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str, environ: Mapping[str, str], named: str | None = None) -> str | None:
    """Return the proxy, with its scheme, that requests to `url` go through; never one to a loopback address.

    A `named` one comes first; an empty text means none. Then ``HTTPS_PROXY`` or ``HTTP_PROXY``, else ``ALL_PROXY``,
    but for ``NO_PROXY``; a name in lower case comes before the same in capitals, as in other HTTP tools.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if is_loopback(host):
        return None
    if named is not None:
        return _with_scheme(named)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    exceptions = _variable(environ, "no_proxy").casefold().split(",")
    if any(_excepts(each.strip(), host.casefold(), port) for each in exceptions):
        return None
    return _with_scheme(_variable(environ, f"{parts.scheme}_proxy") or _variable(environ, "all_proxy"))


def host_of(proxy: str | None) -> str:
    """Return the host and port of a proxy, without its password; empty for none."""
    return "" if proxy is None else urlsplit(proxy).netloc.rpartition("@")[2]


def refused_by(proxy: str, status: int) -> tuple[str, str]:
    """Return the fault of a proxy that answered with a status, and the words for it."""
    if status == 407:
        return PROXY_LOGIN, f"{proxy} answered with status 407"
    words = f"{proxy} answered with status {status}"
    return ("proxy", words) if status in _PROXY_MAY_RECOVER else (PROXY_REFUSED, words)


def refused_in_its_place(proxy: str, status: int, body: bytes) -> tuple[str, str] | None:
    """Return the fault of a proxy that refused in the place of a server without TLS; None where it was the server."""
    is_api_error = body.lstrip()[:1] in (b"{", b"[")
    return refused_by(proxy, status) if status == 401 and not is_api_error else None


def certificates(environ: Mapping[str, str], named: str | None = None) -> str:
    """Return the path of the CA certificates for verifying servers: a file, or a folder as ``openssl rehash`` makes.

    The `named` one, else that of ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` or ``SSL_CERT_FILE``, else certifi's.
    `ConnectionSettingError` if it does not exist.
    """
    import certifi  # noqa: PLC0415 - a file of its own is found and unpacked for it

    sources = [("ca_bundle", named), *((name, environ.get(name)) for name in _BUNDLE_NAMES)]
    for source, path in sources:
        if path:
            if not os.path.exists(path):
                raise ConnectionSettingError(f"{source}: no such certificates file: {path}")
            if not os.path.isdir(path):
                _check_bundle(source, path, os.stat(path).st_mtime_ns)
            return path
    return certifi.where()


@functools.cache
def _check_bundle(source: str, path: str, _changed: int) -> None:
    """Raise `ConnectionSettingError` for a file in which there is no CA certificate; a good one is read once."""
    import ssl  # noqa: PLC0415 - only who names a file waits for it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        raise ConnectionSettingError(f"{source}: no certificates (PEM) in this file: {path}") from error


def sockets_allowed(wanted: int) -> int:
    """Raise the soft limit of open files so that `wanted` sockets fit, and return how many really do.

    At least 1; of a low hard limit about half is for them.
    """
    try:
        import resource  # noqa: PLC0415 - only POSIX has it
    except ImportError:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    except (OSError, ValueError):
        most = soft
    open_files = OTHER_FILES
    with suppress(OSError):
        open_files = len(os.listdir("/dev/fd"))
    return max(1, min(wanted, max(most - OTHER_FILES, (most - open_files - _SPARE_FILES) // 2)))


def _variable(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if value is None and not (name == "http_proxy" and "REQUEST_METHOD" in environ):
        # In a CGI process HTTP_PROXY is what a client sent as a "Proxy" header.
        value = environ.get(name.upper())
    return (value or "").strip()


def _with_scheme(proxy: str) -> str | None:
    if not proxy:
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _excepts(entry: str, host: str, port: int | None) -> bool:
    if entry == "*":
        return True
    address = None
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
    if address is not None and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    name, colon, digits = entry.rpartition(":")
    if colon and digits.isdecimal() and ("]" in name or ":" not in name):
        if int(digits) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").strip(".")
    return bool(entry) and (host == entry or (address is None and host.endswith(f".{entry}")))
