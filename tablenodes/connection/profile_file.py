"""A file with profiles: read as a workflow's file is, and refused if it holds a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..documents import yaml_reader
from ..documents.document_reader import NAME_IT
from ..errors import ConnectionSettingError, WorkflowError, nearest
from ..settings import Limits, Retry, beneath
from .connection_reader import ConnectionReader
from .environment import variables
from .profile import EMBEDDED, PROJECT, Profile, looks_like_key

if TYPE_CHECKING:
    from ..documents.yaml_reader import Path_

_DEFAULT = "default"
_MORE = ("model", "limits", "retry")
_AS_VARIABLE = "write the variable that holds it in its place: ${NAME}"


class ProfileFile(ConnectionReader):
    """Reads the profiles of a file; the paths in it are relative to the file."""

    keyed = ""

    @classmethod
    def read(cls, path: Path, shown: str) -> Self:
        """Read a file; raise `ConnectionSettingError` for what is no YAML, or has what looks like a key anywhere."""
        try:
            text = yaml_reader.text_of(path, shown)
            for number, line in enumerate(text.splitlines(), 1):
                if looks_like_key(line):
                    what = "this line holds what looks like a key, and a key must not be in a file"
                    raise ConnectionSettingError(f"{shown}:{number}: {what}: {NAME_IT}", code="key_in_file")
            return cls(yaml_reader.parse(text, shown), os.path.dirname(os.path.abspath(path)))
        except WorkflowError as error:
            raise _of_connections(error) from None

    def profiles(self, below: Mapping[str, Profile], kind: type[Any] | None) -> tuple[dict[str, Profile], str]:
        """Return the profiles by their names, and the default's name; one without an address adds to one of `below`.

        `kind` is the class of connections, which checks the settings; without it, only the default is read.
        """
        try:
            names = [name for name in self.mapping(()) if name != _DEFAULT]
            default = "" if self.at(()).get(_DEFAULT) is None else self._default()
            return {name: self._profile(name, below, kind) for name in names if kind is not None}, default
        except WorkflowError as error:
            raise _of_connections(error) from None

    def _default(self) -> str:
        if self.document.name != PROJECT:
            how = f"only {PROJECT} in the current folder has one; set TABLENODES_PROFILE for all of them"
            raise self.document.error((_DEFAULT,), f"default: {how}")
        return self.text((_DEFAULT,))

    def _profile(self, name: str, below: Mapping[str, Profile], kind: type[Any]) -> Profile:
        path: Path_ = (name,)
        under = below.get(name)
        if name == EMBEDDED:
            raise self.document.error(path, f"{name}: is the embedded model's name; choose another")
        settings = self.connection_settings(path, kind, *_MORE)
        for part in ("headers", "query"):
            self._refuse_literal((name, part), settings.get(part) or {}, kind)
        if getattr(kind(proxy=settings.get("proxy")), "proxy", None) != settings.get("proxy"):
            what = "a password must not be in a file: set HTTPS_PROXY in the environment"
            raise self.document.error((name, "proxy"), f"{name}.proxy: {what}")
        if "base_url" in settings or under is None:
            under = None
            if "base_url" not in settings:
                hint = nearest(name, below)
                raise self.document.error(
                    path, f"{name}: base_url: is missing, and no other profile has this name{hint}"
                )
        with self.locating(path):
            kind(**settings)
        given = self.at(path)
        base = Profile(name) if under is None else under
        return Profile(
            name,
            self.document.name,
            {**base.settings, **settings},
            self.text((name, "model")) if given.get("model") is not None else base.model,
            beneath(self._limits(path, "limits", Limits), base.limits),
            beneath(self._limits(path, "retry", Retry), base.retry),
            base.page,
            base.probe,
        )

    def _limits(self, path: Path_, name: str, kind: type[Any]) -> Any:
        return self.settings((*path, name), kind) if self.at(path).get(name) is not None else None

    def _refuse_literal(self, path: Path_, texts: Mapping[str, str], kind: type[Any]) -> None:
        """Raise an error for a secret that stands there itself."""
        checked = getattr(kind(**{str(path[-1]): texts}), str(path[-1]))
        for name, text in texts.items():
            if checked[name] != text and not variables(text):
                what = f"{'.'.join(map(str, path))}: {name} may be a secret, which must not be in a file"
                raise self.document.error((*path, name), f"{what}: {_AS_VARIABLE}", "key_in_file")


def _of_connections(error: WorkflowError) -> ConnectionSettingError:
    """Return the same error as one about a connection."""
    return ConnectionSettingError(str(error), code=error.code, place=error.place, values=error.values)
