"""Read the values of a document by key: each of its type, each key known, each error with its line."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..column_names import plainly
from ..errors import SettingError, UsageError, WorkflowError, among

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from .yaml_reader import Document, Path_

_STEP = re.compile(r"\[(\d+)\]|(\w+)")
_IN_FILE = {"None": "null", "True": "true", "False": "false"}
NAME_IT = "name the environment variable that holds it as api_key_env"


class DocumentReader:
    """Reads a document, whose paths are relative to a folder; keys of connections stand under `keyed`."""

    keyed = ""

    def __init__(self, document: Document, folder: str) -> None:
        self.document = document
        self.folder = folder

    def at(self, path: Path_) -> Any:
        """Return the value at a path."""
        value = self.document.value
        for step in path:
            value = value[step]
        return value

    @contextmanager
    def locating(self, path: Path_) -> Iterator[None]:
        """Raise an error of what is made inside with the file and the line."""
        try:
            yield
        except UsageError as error:
            raise self.document.error(self.meant(path, error.place), error, error.code) from None

    def meant(self, path: Path_, place: str) -> Path_:
        """Return the path of a place such as ``messages[0].content`` below another, as far as the document has it."""
        for index, name in _STEP.findall(place):
            longer = (*path, int(index) if index else name)
            if longer not in self.document.lines:
                spoken = (*path, "prompt")  # which makes the messages
                return spoken if name == "messages" and spoken in self.document.lines else path
            path = longer
        return path

    def mapping(self, path: Path_, known: Collection[str] | None = None) -> dict[str, Any]:
        """Return a mapping, all of whose keys are known."""
        value = self.at(path)
        if not isinstance(value, dict):
            raise self.wrong(path, "a mapping of keys to values", value)
        for key in value:
            if known is not None and key not in known:
                raise self.unknown_key((*path, key), known)
        return value

    def unknown_key(self, path: Path_, known: Collection[str], told: str | None = None) -> WorkflowError:
        """Return the error about a key that is not known, with the nearest that is, or what is `told` of it."""
        *above, key = map(str, path)
        if plainly(key) == "apikey" and not told:
            under = f" under {self.keyed}" if self.keyed and self.keyed not in above else ""
            told = f"a key must not be in a file: {NAME_IT}{under}"
        hint = f"; {told}" if told else among(key, known)
        where = f"{'.'.join(above)}: " if above and above[0] != "nodes" else ""
        return self.document.error(path, f"{where}unknown key {key[:40]!r}{hint}")

    def text(self, path: Path_) -> str:
        """Return a text."""
        value = self.at(path)
        if not isinstance(value, str) or not value:
            raise self.wrong(path, "a text", value)
        return value

    def path(self, path: Path_) -> str:
        """Return the path of a file, made absolute from the document's folder."""
        return rooted(self.text(path), self.folder)

    def wrong(self, path: Path_, wanted: str, value: Any) -> WorkflowError:
        """Return the error about a value that is not what is wanted."""
        name = ".".join(map(str, path)) or "the file"
        return self.document.error(path, f"{name}: must be {wanted}, not {_kind(value)}")

    def settings(self, path: Path_, kind: type[Any]) -> Any:
        """Return one of the frozen values of settings."""
        given = self.mapping(path, [field.name for field in fields(kind)])
        for name, value in given.items():
            try:
                kind(**{name: value})
            except SettingError as error:
                must = re.sub(r"None|True|False", lambda word: _IN_FILE[word[0]], str(error.values["must"]))
                place = ".".join(map(str, (*path, name)))
                raise self.document.error((*path, name), f"{place} must be {must}", error.code) from None
        return kind(**given)


def rooted(path: str, folder: str) -> str:
    """Return the absolute path of what lies in a folder."""
    return os.path.abspath(os.path.join(folder, os.path.expanduser(path)))


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number") if value != "" else "an empty text"
