"""Read a connection's settings from a document: no key, each of its type, each error with its line."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..documents.document_reader import NAME_IT, DocumentReader
from ..errors import ConnectionSettingError, UsageError
from ..settings import Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..documents.yaml_reader import Path_

CONNECTION_KINDS = {
    "api_key": "empty",
    "base_url": "addresses",
    "headers": "texts",
    "query": "texts",
    "ca_bundle": "path",
    "allow_insecure": "boolean",
}
CONNECTION_KINDS |= {"env_file": "path"}

_WORDS = {
    "key_in_address": f"contains a user name or password: {NAME_IT}",
    "query_in_address": "contains a query or a fragment: write a query as query: {NAME: VALUE}",
}
_UNSAID = ("session", "local_model", "profile")


def connection_keys(kind: type[Any]) -> list[str]:
    """Return the settings of a connection that a file can say."""
    return [each.name for each in fields(kind) if each.init and each.name not in _UNSAID]


@contextmanager
def _in_words_of_files(path: Path_) -> Iterator[None]:
    """Raise an error whose words are Python's with those that a file has."""
    try:
        yield
    except UsageError as error:
        if error.code not in _WORDS:
            raise
        raise ConnectionSettingError(f"{'.'.join(map(str, path))} {_WORDS[error.code]}", code=error.code) from None


class ConnectionReader(DocumentReader):
    """Reads the settings of connections."""

    keyed = "connection"

    def connection_settings(self, path: Path_, kind: type[Any], *more: str) -> dict[str, Any]:
        """Return the arguments of a connection, which `kind` checks; the mapping may have `more` keys."""
        given = self.mapping(path)
        if given.get("api_key", "") != "":
            how = f'{NAME_IT}; api_key: "" means that the server needs none'
            raise self.document.error((*path, "api_key"), f"{path[-1]}: a key must not be in a file: {how}")
        known = connection_keys(kind)
        self.mapping(path, [*known, *more])
        settings = [name for name, value in given.items() if value is not None and name in known]
        made = {name: self._connection_setting((*path, name)) for name in settings}
        for name, value in made.items():
            with self.locating((*path, name)), _in_words_of_files((*path, name)):
                kind(**{name: value})
        return made

    def _connection_setting(self, path: Path_) -> Any:
        name, value = str(path[-1]), self.at(path)
        kind = CONNECTION_KINDS.get(name, "text")
        if name in ("timeout", "prices"):
            return self.settings(path, Timeout) if name == "timeout" and isinstance(value, dict) else value
        if kind == "texts":
            for name, item in self.mapping(path).items():
                if isinstance(item, bool) or not isinstance(item, str | int | float):
                    raise self.wrong((*path, name), "a text", item)
            return {name: str(item) for name, item in value.items()}
        if kind == "boolean":
            if not isinstance(value, bool):
                raise self.wrong(path, "true or false", value)
            return value
        if kind == "empty":
            return ""
        if kind == "addresses" and isinstance(value, list):
            return [self.text((*path, at)) for at in range(len(value))]
        return self.path(path) if kind == "path" else self.text(path)
