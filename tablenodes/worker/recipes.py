"""A connection on its way through the store: everything but its keys, which the environment carries."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from ..connection import Connection
from ..endpoint_opening import opened
from ..errors import ConnectionSettingError
from ..secret import Secret
from ..settings import Timeout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..local import LocalModel

VERSION = 1
"""Of the recipes in a store."""
_ROUNDS = 20_000
"""Makes it slow to try out which short key a name may stand for."""
_OPEN = frozenset(
    (
        *("accept", "accept-language", "anthropic-version", "api-version", "http-referer", "openai-beta"),
        *("openai-organization", "openai-project", "referer", "user-agent", "x-title"),
    )
)
"""Headers and parts of a query that are no secrets; any other may be one, whatever it is called."""
_VARIABLE = "variable"
_PREFIX = "TABLENODES_KEY_"


class Travelling:
    """A connection as it is put down in a store, and the secrets that its worker needs beside it.

    Parameters
    ----------
    connection : Connection
        Where requests will go.
    salt : bytes
        The store's.

    Attributes
    ----------
    recipe : dict
        The connection without a secret, as plain JSON.
    secrets : dict of str to str
        What the worker's environment must hold besides what is in ours: the secrets by the names in the recipe.

    Raises
    ------
    ConnectionSettingError
        If there is no key for a server that needs one, or something cannot be taken to another process.
    """

    def __init__(self, connection: Connection, salt: bytes) -> None:
        if connection.session is not None or not isinstance(connection.transport, str | None):
            what = "session" if connection.session is not None else "transport object"
            raise ConnectionSettingError(
                f"a {what} of your own cannot be used: the rows are sent by another process, the worker"
            )
        self._salt = salt
        self._connection = connection
        self.secrets: dict[str, str] = {}
        self.recipe = self._common() | (
            self._remote() if connection.local_model is None else _local(connection.local_model)
        )

    def _common(self) -> dict[str, Any]:
        timeout = self._connection.timeout
        bundle = self._connection.ca_bundle
        return {
            "timeout": asdict(timeout) if isinstance(timeout, Timeout) else None,
            "ca_bundle": None if bundle is None else os.path.abspath(bundle),
            "transport": self._connection.transport,
        }

    def _remote(self) -> dict[str, Any]:
        connection = self._connection
        with opened(connection) as endpoint:
            base_url = endpoint.base_url
            is_keyed = any(name == "Authorization" for name, _ in endpoint.headers)
        key = connection.api_key
        origin = base_url.encode()
        return {
            "base_url": base_url,
            "is_keyed": is_keyed,
            "api_key": self._named(key, origin) if isinstance(key, Secret) and key.reveal() else key and "",
            "api_key_env": connection.api_key_env,
            "headers": self._all_named(connection.headers or {}, origin),
            "query": self._all_named(connection.query or {}, origin),
            "proxy": self._named(connection.proxy, origin),
            "allow_insecure": connection.allow_insecure,
        }

    def _all_named(self, values: Mapping[str, str | Secret], origin: bytes) -> dict[str, Any]:
        made = {}
        for name, value in values.items():
            is_closed = isinstance(value, str) and name.casefold() not in _OPEN
            made[name] = self._named(Secret(value) if is_closed else value, origin)  # type: ignore[arg-type]
        return made

    def _named(self, value: str | Secret | None, origin: bytes) -> Any:
        """Give a text as it is, and the name of a variable in place of a secret.

        The name is the same each time, so that a worker that has a secret is known to have it; it tells nothing of it.
        """
        if not isinstance(value, Secret):
            return value
        plain = value.reveal().encode()
        digest = hashlib.pbkdf2_hmac("sha256", plain, self._salt + origin, _ROUNDS)
        name = f"{_PREFIX}{digest[:8].hex().upper()}"
        self.secrets[name] = value.reveal()
        return {_VARIABLE: name}


def _local(model: LocalModel) -> dict[str, Any]:
    fields = asdict(model)
    path = fields.pop("path")
    return {"local": {"path": None if path is None else os.path.abspath(path), **fields}}


def arrived(recipe: Mapping[str, Any], environ: Mapping[str, str]) -> Connection:
    """Give the connection of a recipe, with the secrets of an environment.

    Raises
    ------
    ConnectionSettingError
        If a secret is not there; no other takes its place.
    """
    timeout = None if recipe["timeout"] is None else Timeout(**recipe["timeout"])
    if "local" in recipe:
        return replace(Connection.local(**recipe["local"]), timeout=timeout)

    def found(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not environ.get(value[_VARIABLE]):
            raise ConnectionSettingError(
                "the key that the rows were submitted with is not here: retrieve them with the same connection="
            )
        return Secret(environ[value[_VARIABLE]])

    connection = Connection(
        recipe["base_url"],
        found(recipe["api_key"]),
        api_key_env=recipe["api_key_env"],
        headers={name: found(value) for name, value in recipe["headers"].items()} or None,
        query={name: found(value) for name, value in recipe["query"].items()} or None,
        timeout=timeout,
        proxy=found(recipe["proxy"]),
        ca_bundle=recipe["ca_bundle"],
        transport=recipe["transport"],
        allow_insecure=recipe["allow_insecure"],
    )
    with opened(connection, environ) as endpoint:
        if recipe["is_keyed"] and not any(name == "Authorization" for name, _ in endpoint.headers):
            raise ConnectionSettingError(
                f"no API key for {recipe['base_url']}, which the rows were submitted with: set OPENAI_API_KEY and "
                "OPENAI_BASE_URL as they were then, or retrieve the rows with connection="
            )
    return connection
