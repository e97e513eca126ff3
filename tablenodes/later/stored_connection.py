"""A connection in the store: everything but its keys, which the environment of a worker has."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ..connection.connection import Connection
from ..connection.endpoint import Endpoint, opened
from ..connection.environment import variables
from ..errors import ConnectionSettingError, TablenodesError
from ..secret import Secret
from ..settings import Timeout

VERSION = 1  # of the recipes in a store
_ROUNDS = 20_000  # makes it slow to try out which short key a name may stand for
_OPEN = {
    *("accept", "accept-language", "anthropic-version", "api-version", "http-referer", "openai-beta"),
    *("openai-organization", "openai-project", "referer", "user-agent", "x-title"),
}
"""Headers and parts of a query that are no secrets; any other may be one, whatever it is called."""
_ACCOUNT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID")
"""Variables of the environment whose values travel with a recipe: no worker takes its own."""
_HEADERS_OF_THE_ACCOUNT = ("OpenAI-Organization", "OpenAI-Project")
_VARIABLE = "variable"
_OF_THE_KEY = ("api_key_header", "env_file")  # earlier versions knew neither
_PREFIX = "TABLENODES_KEY_"


class StoredConnection:
    """A connection as it is put down in a store, and the secrets that its worker needs beside it."""

    def __init__(self, connection: Connection, salt: bytes) -> None:
        if connection.session is not None or not isinstance(connection.transport, str | None):
            what = "session" if connection.session is not None else "transport object"
            raise ConnectionSettingError(f"your own {what} cannot be used: another process, the worker, sends the rows")
        self._salt = salt
        self._connection = connection
        self.secrets: dict[str, str] = {}
        self.recipe = self._common() | (self._remote() if connection.local_model is None else self._local())

    def _common(self) -> dict[str, Any]:
        timeout = self._connection.timeout
        bundle = self._connection.ca_bundle
        return {
            "timeout": asdict(timeout) if isinstance(timeout, Timeout) else None,
            "ca_bundle": None if bundle is None else os.path.abspath(bundle),
            "transport": self._connection.transport,
        }

    def _local(self) -> dict[str, Any]:
        fields = asdict(self._connection.local_model)  # type: ignore[arg-type] # there is one
        path = fields["path"]
        return {"local": fields | {"path": None if path is None else os.path.abspath(path)}}

    def _remote(self) -> dict[str, Any]:
        connection = self._connection
        with opened(connection) as endpoint:
            base_url, *more = (each.base_url for each in (endpoint, *endpoint.others))
            is_keyed = _is_keyed(endpoint)
            account = {name: value for name, value in endpoint.headers if name in _HEADERS_OF_THE_ACCOUNT}
            found = _found_key(connection, endpoint)
        key = connection.api_key
        origin = base_url.encode()
        return {
            "base_url": base_url,
            **({"more_base_urls": more} if more else {}),
            "is_keyed": is_keyed,
            "api_key": self._named(key, origin) if isinstance(key, Secret) and key.reveal() else key and "",
            "api_key_env": connection.api_key_env,
            "api_key_header": connection.api_key_header,
            "env_file": None if connection.env_file is None else os.path.abspath(connection.env_file),
            "found_key": None if found is None else _name_of(found, self._salt + origin),
            "headers": self._all_named(account | dict(connection.headers or {}), origin),
            "query": self._all_named(connection.query or {}, origin),
            "proxy": self._named(connection.proxy, origin),
            "allow_insecure": connection.allow_insecure,
        }

    def _all_named(self, values: Mapping[str, str | Secret], origin: bytes) -> dict[str, Any]:
        texts = {name: value for name, value in values.items() if isinstance(value, str) and not variables(value)}
        closed = {name for name in texts if name.casefold() not in _OPEN}
        return {n: self._named(Secret(str(v)) if n in closed else v, origin) for n, v in values.items()}

    def _named(self, value: str | Secret | None, origin: bytes) -> Any:
        """Return a text as it is, and in place of a secret a name that tells nothing of it, the same each time."""
        if not isinstance(value, Secret):
            return value
        name = _name_of(value, self._salt + origin)
        self.secrets[name] = value.reveal()
        return {_VARIABLE: name}


def _name_of(secret: Secret, salt: bytes) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", secret.reveal().encode(), salt, _ROUNDS)
    return f"{_PREFIX}{digest[:8].hex().upper()}"


def _found_key(connection: Connection, endpoint: Endpoint) -> Secret | None:
    """Return the key that was found in the environment, None where there is none or one was given."""
    return None if isinstance(connection.api_key, Secret) else endpoint.key


def _is_keyed(endpoint: Endpoint) -> bool:
    """Check whether a key goes with requests, in the header that is for it."""
    return endpoint.key is not None or any(name == "Authorization" for name, _ in endpoint.headers)


def environment_for(recipe: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without the variables whose values have travelled with a recipe, if they have."""
    left = _ACCOUNT if "found_key" in recipe else ()  # earlier versions sent none along
    return {name: value for name, value in environ.items() if name not in left}


def present_key(recipe: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the key that an environment has now, for rows that were submitted with one that it had then.

    Whoever waits for the answers says by that that it may be used. Where the very key is given, that one is used.
    """
    name = recipe.get("found_key")
    if name is None:
        return {}
    how: dict[str, Any] = {each: recipe.get(each) for each in ("api_key_env", "allow_insecure", *_OF_THE_KEY)}
    connection = Connection(recipe["base_url"], **how)
    try:
        with opened(connection, environ) as endpoint:
            key = _found_key(connection, endpoint)
    except ConnectionSettingError:
        return {}
    return {} if key is None else {_name_of_present_key(recipe): key.reveal()}


def _name_of_present_key(recipe: Mapping[str, Any]) -> str:
    """Return the name of the key that stands in for the one that the environment had."""
    then = f"{recipe['found_key']} {recipe['api_key_env']}"
    return f"{_PREFIX}NOW_{hashlib.sha256(then.encode()).hexdigest()[:16].upper()}"


def why_no_key(recipe: Mapping[str, Any], environ: Mapping[str, str], salt: bytes) -> str | None:
    """Return the reason for which an environment lacks the key of a recipe; None where it has it."""
    try:
        restored(recipe, environ, salt)
    except ConnectionSettingError as error:
        return str(error)
    except TablenodesError:  # nothing that another environment would mend: its worker says so
        return None
    return None


def restored(recipe: Mapping[str, Any], environ: Mapping[str, str], salt: bytes) -> Connection:
    """Return the connection of a recipe, with the secrets of an environment; it is opened in its `environment_for`."""
    if "local" in recipe:
        return replace(Connection.local(**recipe["local"]), timeout=_timeout(recipe))
    connection = _with_secrets(recipe, environ)
    with opened(connection, environment_for(recipe, environ)) as endpoint:
        if recipe["is_keyed"] and not _is_keyed(endpoint):
            raise ConnectionSettingError(
                f"no API key for {recipe['base_url']}, where the rows are sent: set OPENAI_API_KEY and "
                "OPENAI_BASE_URL as they were when you submitted, or retrieve the rows with that connection"
            )
        here, name = _found_key(connection, endpoint), recipe.get("found_key")
        if name and here is not None and _name_of(here, salt + recipe["base_url"].encode()) != name:
            variable = recipe["api_key_env"] or "OPENAI_API_KEY"
            shown = variable if variable == variable.upper() else "the variable that api_key_env names"
            raise ConnectionSettingError(
                f"the worker was started with another key in {shown} than the rows were submitted with; the next "
                "retrieval sends them"
            )
    return connection


def _timeout(recipe: Mapping[str, Any]) -> Timeout | None:
    return None if recipe["timeout"] is None else Timeout(**recipe["timeout"])


def _with_secrets(recipe: Mapping[str, Any], environ: Mapping[str, str]) -> Connection:
    """Return the connection of a recipe with the secrets that are named in it; a key that is not is still missing."""

    def found(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if not environ.get(value[_VARIABLE]):
            raise ConnectionSettingError(
                "the worker does not have the key that the rows were submitted with: "
                "retrieve them with the same connection"
            )
        return Secret(environ[value[_VARIABLE]])

    name = recipe.get("found_key")
    names = () if name is None else (name, _name_of_present_key(recipe))
    key = next((Secret(environ[each]) for each in names if environ.get(each)), None) or found(recipe["api_key"])
    plain: dict[str, Any] = {
        each: recipe.get(each) for each in ("ca_bundle", "transport", "allow_insecure", *_OF_THE_KEY)
    }
    key = key if recipe["is_keyed"] else ""  # rows that were submitted without a key are sent without one
    return Connection(
        [recipe["base_url"], *recipe.get("more_base_urls", ())],
        key,
        api_key_env=recipe["api_key_env"] if key is None else None,
        timeout=_timeout(recipe),
        proxy=found(recipe["proxy"]),
        headers={name: found(value) for name, value in recipe["headers"].items()} or None,
        query={name: found(value) for name, value in recipe["query"].items()} or None,
        **plain,
    )
