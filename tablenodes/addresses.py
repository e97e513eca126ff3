"""Addresses: which may be used, and what may be said to them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from .errors import ConnectionSettingError

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_KEY = re.compile(r"[!#-&(-~]+")  # visible ASCII without quotes
_OPERATIONS = ("/chat/completions", "/completions")
_TRANSPORT_HEADERS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding", "expect"}
)


def split_base_url(base_url: str, name: str = "base_url") -> SplitResult:
    """Split a base URL, which an error calls `name`; raise `ConnectionSettingError` for one that cannot be used."""
    try:
        parts = urlsplit(base_url.strip())
        port_fits = parts.port is None or 0 < parts.port < 65_536
    except ValueError:
        raise ConnectionSettingError(f"{name} is not an address; write it as https://HOST/v1") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_fits:
        raise ConnectionSettingError(f"{name} is not an http or https address; write it as https://HOST/v1")
    if parts.username is not None or parts.password is not None:
        how = "set the key with api_key= or api_key_env="
        told = f"{name} contains a user name or password; {how}"
        raise ConnectionSettingError(told, code="key_in_address", values={"name": name})
    if parts.query or parts.fragment:
        told = f"{name} contains a query or a fragment; set a query with query="
        raise ConnectionSettingError(told, code="query_in_address", values={"name": name})
    if re.search(r"[\x00-\x20\x7f\\]", base_url.strip()):
        raise ConnectionSettingError(f"{name} contains a blank or a control character")
    path = parts.path.rstrip("/")
    for operation in (each for each in _OPERATIONS if path.endswith(each)):
        shorter = parts._replace(path=path.removesuffix(operation)).geturl()
        how = f"which every request adds itself: write it as {shorter}"
        raise ConnectionSettingError(f"{name} ends in {operation}, {how}")
    return parts


def is_loopback(host: str) -> bool:
    """Check whether a host name or address stays on this machine."""
    host = host.rstrip(".").casefold()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin(base_url: str, name: str = "base_url") -> tuple[str, str, int]:
    """Return scheme, host and port, in one spelling; an error calls the address `name`."""
    parts = split_base_url(base_url, name)
    return (parts.scheme, str(parts.hostname).rstrip("."), parts.port or (443 if parts.scheme == "https" else 80))


def check_key(key: str, name: str) -> str:
    """Return the key without surrounding blanks; an error about one that cannot be a key does not show it."""
    if not isinstance(key, str):
        raise ConnectionSettingError(f"{name} must be a text, not {type(key).__name__}")
    key = key.strip(" \t\n")
    if not _KEY.fullmatch(key):
        del key  # tools print the local variables of a traceback
        what = "a blank, a quote, a line break or a letter outside ASCII"
        raise ConnectionSettingError(f"{name} is empty, or contains {what}: copy it again")
    return key


def check_header(name: object, value: object) -> tuple[str, str]:
    """Return a header that can be sent; an error about one that cannot be sent does not show its value."""
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise ConnectionSettingError("headers: a name must be letters, digits and hyphens")
    if name.casefold() in _TRANSPORT_HEADERS:
        raise ConnectionSettingError(f"headers: {name} is set by the connection itself")
    if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
        must = "must be a text without line breaks and control characters"
        raise ConnectionSettingError(f"headers: the value of {name} {must}")
    return name, value
