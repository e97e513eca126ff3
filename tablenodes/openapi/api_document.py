"""An API document, read: its operations, and nodes made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SchemaError, SettingError, nearest
from ..schemas import copied
from .components import Components
from .operations import Operation, operations_of

if TYPE_CHECKING:
    from .operation_node import OperationNode

_TABLE = dict.fromkeys(("id", "method", "path", "settings", "made", "summary"), "text")
_SOME = 5


class ApiDocument:
    """An OpenAPI document of version 3.0 or 3.1; see `load`."""

    def __init__(self, document: Mapping[str, Any], name: str, path: str = "") -> None:
        self.name, self._path = name, path or name
        self._components = Components(_checked(document, name))
        self._operations = [*operations_of(self._components)]

    def __repr__(self) -> str:
        made = sum(not each.why for each in self._operations)
        return f"ApiDocument({self.name!r}: {len(self._operations)} operations, {made} of them nodes)"

    @cached_property
    def operations(self) -> Any:
        """The operations as a pandas DataFrame: ``id``, ``method``, ``path``, ``settings``, ``made``, ``summary``.

        ``made`` is ``yes``, or says why no node can be made of it.
        """
        from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed

        rows = [
            (each.id, each.method, each.path, ", ".join(_settings(each)), each.why or "yes", each.summary)
            for each in self._operations
        ]
        columns = {name: [row[at] for row in rows] for at, name in enumerate(_TABLE)}
        return tables.frame(columns, _TABLE)

    def node(self, name: str) -> type[OperationNode]:
        """Return the node of an operation, a class like the declared ones.

        Parameters
        ----------
        name : str
            Its id, such as ``createImage``, or its method and path: ``POST /images/generations``.

        Raises
        ------
        SettingError
            If there is no such operation, with the nearest name, or no node can be made of it, with the reason.
        SchemaError
            If a schema of it cannot be used.
        """
        from .asked_operation import AskedOperation  # noqa: PLC0415 - loaded where it is needed
        from .operation_node import node_of  # noqa: PLC0415 - loaded where it is needed

        operation = self._operation(name)
        known_as = f"openapi:{self._path}#{operation.id or operation.place}"
        return node_of(AskedOperation.of(operation, self._components, self.name, known_as))

    def _operation(self, name: str) -> Operation:
        method, _, path = name.partition(" ")
        place = method.upper(), path.strip()
        found = [each for each in self._operations if name == each.id]
        found = found or [each for each in self._operations if place == (each.method, _address(each))]
        found = found or [each for each in self._operations if place == (each.method, each.path)]
        if len(found) > 1:
            places = ", ".join(repr(f"{each.method} {_address(each)}") for each in found[:_SOME])
            raise SettingError(f"{self.name} has several operations {name!r}: name one by its place, {places}")
        if not found:
            known = [each.id or each.place for each in self._operations]
            hint = nearest(name, [*known, *(each.place for each in self._operations)])
            some = ", ".join(map(repr, known[:_SOME])) + (", …" if len(known) > _SOME else "")
            hint = hint or (f"; it has {some}" if some else "")
            raise SettingError(f"{self.name} has no operation {name[:100]!r}{hint}")
        if found[0].why:
            raise SettingError(f"no node can be made of {found[0].id or found[0].place}: {found[0].why}")
        return found[0]


def _address(operation: Operation) -> str:
    """Return the path of an operation, with the query that it always has."""
    return f"{operation.path}?{operation.query}" if operation.query else operation.path


def _settings(operation: Operation) -> tuple[str, ...]:
    """Return what the settings of an operation's node are called."""
    from .operation_node import called  # noqa: PLC0415 - loaded where it is needed

    return tuple(called(operation.keys))


def load(document: str | os.PathLike[str] | Mapping[str, Any]) -> ApiDocument:
    """Read an OpenAPI document, of version 3.0 or 3.1; nothing is fetched.

    Parameters
    ----------
    document : path or mapping
        A JSON or YAML file, or what is in it. References within the document are followed; an operation that needs
        another file is not made.

    Returns
    -------
    ApiDocument
        ``.operations`` is the table of what it has, ``.node("createImage")`` the node of one.

    Raises
    ------
    SchemaError
        If it cannot be read, or is no OpenAPI document of these versions.
    """
    if isinstance(document, Mapping):
        own = copied(document)
        about = own.get("info")
        title = about.get("title") if isinstance(about, dict) else None
        return ApiDocument(own, str(title or "the document"))
    if not isinstance(document, str | os.PathLike):
        raise SchemaError(f"an OpenAPI document must be a path or a mapping, not {type(document).__name__}")
    name = os.fspath(document)
    if "://" in name:
        raise SchemaError("an OpenAPI document must be a file: nothing is fetched, so download it first")
    path = Path(name).expanduser()
    return ApiDocument(_read(path), path.name, os.path.abspath(path))


def node_at(name: str, folder: str = ".") -> type[OperationNode]:
    """Return the node of ``openapi:FILE#OPERATION``; the file's path is relative to a folder."""
    file, sign, operation = name.removeprefix("openapi:").partition("#")
    if not sign or not file or not operation:
        raise SettingError("an operation of a document is written as openapi:FILE#ID")
    if "://" in file:
        return load(file).node(operation)  # which says that nothing is fetched
    path = os.path.abspath(os.path.join(folder, os.path.expanduser(file)))
    try:
        found = os.stat(path)
    except OSError:
        return load(path).node(operation)  # which says why it cannot be read
    return _loaded(path, found.st_mtime_ns, found.st_size).node(operation)


@lru_cache(maxsize=4)
def _loaded(path: str, changed: int, size: int) -> ApiDocument:
    return load(path)


def _read(path: Path) -> Any:
    if path.suffix.lower() not in (".yaml", ".yml"):
        from ..schemas.schema_source import read_document  # noqa: PLC0415 - loaded where it is needed

        return read_document(path, "")
    from .yaml_document import read  # noqa: PLC0415 - loaded where it is needed

    return read(path)


def _checked(document: Any, name: str) -> Mapping[str, Any]:
    """Return a document of a version that can be read."""
    if not isinstance(document, dict):
        raise SchemaError(f"{name}: must be an object, as an OpenAPI document is")
    if "swagger" in document:
        told = "Swagger 2.0 is not read: convert it to OpenAPI 3 first, for instance with swagger2openapi"
        raise SchemaError(f"{name}: {told}", code="swagger")
    version = document.get("openapi")
    if not isinstance(version, str) or not version.startswith(("3.0", "3.1")):
        raise SchemaError(f"{name}: not an OpenAPI document of version 3.0 or 3.1", code="not_openapi")
    if not isinstance(document.get("paths"), dict):
        raise SchemaError(f"{name}: has no paths, and so no operations")
    return document
