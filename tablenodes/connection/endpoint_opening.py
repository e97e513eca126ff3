"""Opening a connection: what the environment decides is read, the key found, the embedded model started."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import addresses
from .._version import __version__
from ..errors import ConnectionSettingError, nearest
from ..secret import Secret, Veiled
from .connection import OPENAI, is_custom
from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .connection import Connection

    Headers = list[tuple[str, str | Secret]]

_OF_THE_ENVIRONMENT = (("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project"))


@contextmanager
def opened(connection: Connection, environ: Mapping[str, str] | None = None) -> Iterator[Endpoint]:
    """Resolve everything that the environment decides, and start the embedded model if it is asked for.

    Parameters
    ----------
    connection : Connection
        Where requests go.
    environ : mapping of str to str, optional
        Default: the process's environment.

    Raises
    ------
    ConnectionSettingError
        If there is no key for a server that needs one, or the key would travel in the open.
    ModelError
        If the embedded model is not installed or does not start.
    """
    if connection.local_model is not None and connection.base_url is None:
        with connection as started:
            yield _endpoint(started, {})
        return
    yield _endpoint(connection, Veiled(os.environ if environ is None else environ))


def _endpoint(connection: Connection, environ: Mapping[str, str]) -> Endpoint:
    base_url, from_environment = _base_url(connection, environ)
    parts = addresses.split_base_url(base_url, "base_url" if connection.base_url else "OPENAI_BASE_URL")
    query = connection.query or {}
    _check_travelled("header", connection.headers or {})
    _check_travelled("query", query)
    headers = _headers(connection, environ, str(parts.hostname), from_environment=from_environment)
    travels = any(isinstance(value, Secret) for value in (*dict(headers).values(), *query.values()))
    in_the_open = parts.scheme == "http" and not addresses.is_loopback(str(parts.hostname))
    if travels and in_the_open and not connection.allow_insecure:
        raise ConnectionSettingError(
            f"a key would travel unencrypted to {parts.hostname}: use https, or allow it with allow_insecure=True",
            code="key_unencrypted",
            values={"host": parts.hostname},
        )
    return Endpoint(base_url.strip().rstrip("/"), tuple(headers), connection)


def _base_url(connection: Connection, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Give the base URL, and whether the environment's key belongs to it."""
    theirs = environ.get("OPENAI_BASE_URL") or OPENAI
    if connection.base_url is None:
        return theirs, True
    addresses.split_base_url(theirs, "OPENAI_BASE_URL")
    return connection.base_url, addresses.origin(connection.base_url) == addresses.origin(theirs)


def _headers(connection: Connection, environ: Mapping[str, str], host: str, *, from_environment: bool) -> Headers:
    """Give every header of ours but those of the body; the connection's own come first and are never replaced."""
    headers: Headers = list((connection.headers or {}).items())
    names = {name.casefold() for name, _ in headers}
    if "authorization" not in names:
        key = _key(connection, environ, host, from_environment=from_environment)
        if key is not None:
            headers.append(("Authorization", Secret(f"Bearer {key.reveal()}")))
    for variable, name in _OF_THE_ENVIRONMENT if from_environment else ():
        if environ.get(variable) and name.casefold() not in names:
            headers.append(addresses.check_header(name, environ[variable]))
    if "user-agent" not in names:
        headers.append(("User-Agent", f"tablenodes/{__version__}"))
    return headers


def _key(connection: Connection, environ: Mapping[str, str], host: str, *, from_environment: bool) -> Secret | None:
    given, named = connection.api_key, connection.api_key_env
    if isinstance(given, Secret):
        if given.missing:
            raise ConnectionSettingError(
                "the API key is missing: it does not travel with a pickled connection; "
                "give api_key= again, or use api_key_env="
            )
        return given if given.reveal() else None
    variable = named or ("OPENAI_API_KEY" if from_environment else None)
    if variable and environ.get(variable):
        return Secret(addresses.check_key(environ[variable].strip(), f"the environment variable {variable}"))
    if named:
        close = nearest(named, [n for n in environ if "KEY" in n.upper()])
        shown = named if named == named.upper() else "that api_key_env names"
        raise ConnectionSettingError(
            f"the environment variable {shown} is not set{close}",
            code="variable_unset",
            values={"variable": named if named == named.upper() else None, "hint": close},
        )
    keyed = connection.session is not None or any(isinstance(v, Secret) for v in (connection.headers or {}).values())
    if keyed or addresses.is_loopback(host) or is_custom(connection.transport):
        return None
    if from_environment:
        raise ConnectionSettingError(
            f"no API key for {host}: set the environment variable OPENAI_API_KEY, or give api_key= or api_key_env=",
            code="no_key",
            values={"host": host},
        )
    raise ConnectionSettingError(
        f"no API key for {host}: give api_key_env= or api_key= (OPENAI_API_KEY goes only to the environment's own "
        'base URL), or api_key="" if the server needs none',
        code="no_key_for_address",
        values={"host": host},
    )


def _check_travelled(kind: str, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, Secret) and value.missing:
            raise ConnectionSettingError(
                f"the value of {kind} {name} is missing: secrets do not travel with a pickled connection"
            )
