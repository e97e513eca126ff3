"""Read the parts of a workflow's document: each key known, each value of its type, each error with its line."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .. import schemas
from ..bodies.recipe import EXTRA, parse_setting
from ..column_names import plainly
from ..connection.connection import LOCAL, Connection
from ..errors import UsageError, WorkflowError, among, framed
from ..nodes import find_node
from ..nodes.node import check_request_settings, instead, own_names, setting_names
from ..run.options import RunOptions
from ..settings import Limits, Retry, Timeout
from .destination import destination
from .inputs import declared
from .references import check_id, faults
from .short_names import written_out
from .step import STEP_KEYS, Step, node_of, whens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from ..nodes import Node
    from .destination import Destination
    from .inputs import Input
    from .yaml_reader import Document, Path_

LATER = ("submission", "store", "deadline")  # how rows are handed to a worker
KEYS = ("id", "description", "connection", "table", "inputs", "limits", "retry", *LATER, "nodes", "output")

_KINDS = {"api_key": "empty", "headers": "texts", "query": "texts", "ca_bundle": "path", "allow_insecure": "boolean"}
CONNECTION = [each.name for each in fields(Connection) if each.init and each.name not in ("session", "local_model")]
_STEP = re.compile(r"\[(\d+)\]|(\w+)")
_NAME_IT = "name the environment variable that holds it as api_key_env"


class Reader:
    """Makes a workflow's parts of a document, whose paths are relative to a folder, but the output's."""

    def __init__(self, document: Document, folder: str) -> None:
        self.document = document
        self.folder = folder
        self._errors: list[WorkflowError] = []

    def read(self) -> dict[str, Any]:
        """Return the arguments of `Workflow`."""
        top = self.mapping(())
        self._errors += [self._unknown_key((key,), KEYS) for key in top if key not in KEYS]
        if "nodes" not in top and self._errors:
            raise together(self._errors)
        if "nodes" not in top:
            hint = "; a workflow file needs a list of nodes, each with an id and a type" if top else ""
            raise self.document.error((), f"nodes: is missing{hint}")
        made: dict[str, Any] = {"inputs": {}, "nodes": []}
        parts: dict[str, Callable[[], Any]] = {
            "id": lambda: self.text(("id",)),
            "description": lambda: self.text(("description",)),
            "table": lambda: self.path(("table",)),
            "connection": lambda: self.connection(("connection",)),
            "limits": lambda: self.settings(("limits",), Limits),
            "retry": lambda: self.settings(("retry",), Retry),
            "submission": lambda: self.text(("submission",)),
            "store": lambda: self.path(("store",)),
            "deadline": self.deadline,
            "inputs": self.inputs,
            "nodes": self.nodes,
            "output": self.output,
        }
        for name, read in parts.items():
            if top.get(name) is not None or name == "nodes":
                with self.collecting():
                    made[name] = read()
        given = top.get("inputs")
        declared_inputs = given if isinstance(given, dict) else {} if given is None else None
        steps = written_out(made["nodes"])
        expressions = {name: each.template for name, each in whens(steps).items()}
        nodes = [(name, node_of(step)) for name, step in steps]
        for fault in faults(nodes, declared_inputs, whens=expressions):
            path = self.meant(("nodes", fault.node), fault.place)
            self._errors.append(self.document.error(path, f"{fault.place}: {fault.message}"))
        if self._errors:
            raise together(self._errors)
        return made

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Keep an error of what is made inside for the end, so that what comes after is looked at too."""
        try:
            yield
        except WorkflowError as error:
            self._errors.append(error)

    # Values of a type.

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
            raise self._wrong(path, "a mapping of keys to values", value)
        for key in value:
            if known is not None and key not in known:
                raise self._unknown_key((*path, key), known)
        return value

    def _unknown_key(self, path: Path_, known: Collection[str], told: str | None = None) -> WorkflowError:
        *above, key = map(str, path)
        if plainly(key) == "apikey" and not told:
            told = f"a key must not be in a file: {_NAME_IT}{'' if 'connection' in above else ' under connection'}"
        hint = f"; {told}" if told else among(key, known)
        where = f"{'.'.join(above)}: " if above and above[0] != "nodes" else ""
        return self.document.error(path, f"{where}unknown key {key[:40]!r}{hint}")

    def text(self, path: Path_) -> str:
        """Return a text."""
        value = self.at(path)
        if not isinstance(value, str) or not value:
            raise self._wrong(path, "a text", value)
        return value

    def path(self, path: Path_) -> str:
        """Return the path of a file, made absolute from the document's folder."""
        return rooted(self.text(path), self.folder)

    def _wrong(self, path: Path_, wanted: str, value: Any) -> WorkflowError:
        name = ".".join(map(str, path)) or "the file"
        return self.document.error(path, f"{name}: must be {wanted}, not {_kind(value)}")

    # Parts of a workflow.

    def settings(self, path: Path_, kind: type[Any]) -> Any:
        """Return one of the frozen values of settings."""
        given = self.mapping(path, [field.name for field in fields(kind)])
        for name, value in given.items():
            with self.locating((*path, name)):
                kind(**{name: value})
        return kind(**given)

    def connection(self, path: Path_) -> Connection:
        """Return a connection: ``local``, or a mapping of its settings."""
        if self.at(path) == LOCAL:
            return Connection.local()
        if isinstance(self.at(path), str):
            such = "a mapping such as {base_url: …, api_key_env: OPENAI_API_KEY}"
            raise self.document.error(path, f"connection: must be {LOCAL}, or {such}")
        given = self.mapping(path)
        if given.get("api_key", "") != "":
            how = f'{_NAME_IT}; api_key: "" means that the server needs none'
            raise self.document.error((*path, "api_key"), f"connection: a key must not be in a file: {how}")
        self.mapping(path, [*CONNECTION, LOCAL])
        if LOCAL in given:
            return self._local((*path, LOCAL))
        made = {name: self._connection_setting((*path, name)) for name, value in given.items() if value is not None}
        for name, value in made.items():
            with self.locating((*path, name)):
                Connection(**{name: value})
        with self.locating(path):
            return Connection(**made)

    def _local(self, path: Path_) -> Connection:
        if len(self.mapping(path[:-1])) > 1:
            raise self.document.error(path, f"connection: {LOCAL} is used alone: leave out the other keys")
        from ..local import LocalModel  # noqa: PLC0415 - loaded where it is used

        options = self.mapping(path, [field.name for field in fields(LocalModel)])
        if options.get("path") is not None:
            options = {**options, "path": self.path((*path, "path"))}
        for name, value in options.items():
            with self.locating((*path, name)):
                Connection.local(**{name: value})
        return Connection.local(**options)

    def _connection_setting(self, path: Path_) -> Any:
        name, value = str(path[-1]), self.at(path)
        kind = _KINDS.get(name, "text")
        if name == "timeout":
            return self.settings(path, Timeout) if isinstance(value, dict) else value
        if kind == "texts":
            for name, item in self.mapping(path).items():
                if isinstance(item, bool) or not isinstance(item, str | int | float):
                    raise self._wrong((*path, name), "a text", item)
            return {name: str(item) for name, item in value.items()}
        if kind == "boolean":
            if not isinstance(value, bool):
                raise self._wrong(path, "true or false", value)
            return value
        if kind == "empty":
            return ""
        if name == "prices":
            return value
        return self.path(path) if kind == "path" else self.text(path)

    def inputs(self) -> dict[str, Input]:
        """Return the inputs by name."""
        path: Path_ = ("inputs",)
        made = {}
        for name, value in self.mapping(path).items():
            with self.collecting(), self.locating(path):
                made[name] = declared(name, value)
        return made

    def deadline(self) -> Any:
        """Return within how many seconds a worker must send a row."""
        with self.locating(("deadline",)):
            return RunOptions.of(deadline=self.at(("deadline",))).deadline

    def output(self) -> Destination | None:
        """Return where the table goes."""
        with self.locating(()):
            return destination(self.at(("output",)))

    def nodes(self) -> list[tuple[str, Node | Step | None]]:
        """Return the nodes with their ids; None for one that is wrong, of which an error is kept."""
        value = self.at(("nodes",))
        if value == []:
            raise self.document.error(("nodes",), "nodes: the list is empty; a workflow needs at least one node")
        if not isinstance(value, list):
            raise self._wrong(("nodes",), "a list of nodes", value)
        made: list[tuple[str, Node | Step | None]] = []
        for position, given in enumerate(value):
            path = ("nodes", position)
            name = given.get("id") if isinstance(given, dict) else None
            node = None
            with self.collecting():
                node = self._node(path)
            if isinstance(name, str) and name:  # else that has been said
                with self.collecting(), self.locating(path):
                    check_id(name, [earlier for earlier, _ in made])
            made.append((str(name), node))
        return made

    def _node(self, path: Path_) -> Node | Step:
        given = self.mapping(path)
        for name, needed in (("id", "an id"), ("type", "a type")):
            if given.get(name) is None:
                raise self.document.error(path, f"a node needs {needed}")
        self.text((*path, "id"))
        of_type = self.text((*path, "type"))
        with self.locating((*path, "type")):
            kind = find_node(of_type)
        known, before = ("id", "type", *STEP_KEYS, *setting_names(kind)), len(self._errors)
        for key in given:
            if key not in known:
                told = instead(kind, key, given[key], door="yaml")
                self._errors.append(self._unknown_key((*path, key), known, told))
        more = {key: value for key, value in given.items() if key in STEP_KEYS and value is not None}
        settings = {key: value for key, value in given.items() if key in setting_names(kind) and value is not None}
        with self.collecting(), self.locating(path):
            check_request_settings(kind, settings, door="yaml")
        settings |= {key: self._anchored(key, value) for key, value in settings.items() if isinstance(value, str)}
        if "schema" in settings:
            with self.locating((*path, "schema")):
                schemas.load(settings["schema"], kind._declared.operation)
        filled_in = settings.keys() - {*own_names(kind)} | settings.keys() & {EXTRA}
        for key in sorted(filled_in, key=list(settings).index):
            with self.collecting(), self.locating(path):
                parse_setting(key, settings[key])
        if "connection" in more:
            with self.collecting():
                more["connection"] = self.connection((*path, "connection"))
        if len(self._errors) > before:
            raise self._errors.pop()
        with self.locating(path):
            return Step(kind(**settings), **more) if more else kind(**settings)

    def _anchored(self, name: str, text: str) -> str:
        """Return a setting with the path in it made absolute from the document's folder."""
        if name == "schema":
            return anchored(text, self.folder)
        if name == "answer" and text.startswith("@"):
            return f"@{rooted(text[1:], self.folder)}"
        return rooted(text, self.folder) if name == "image_root" else text


def together(errors: Sequence[UsageError]) -> UsageError:
    """Return one error for several: the first, with a line for each of the others in its notes."""
    _, *others = dict.fromkeys(map(str, errors))
    error = framed(errors[0])
    for other in others:
        error.add_note(other)
    return error


def rooted(path: str, folder: str) -> str:
    """Return the absolute path of what lies in a folder."""
    return os.path.abspath(os.path.join(folder, os.path.expanduser(path)))


def anchored(schema: str, folder: str) -> str:
    """Return the absolute path of a schema's file; the name of a bundled revision stays."""
    bare = os.path.basename(schema) == schema and not schema.endswith(".json")
    path = rooted(schema, folder)
    return schema if schema in schemas.revisions() or (bare and not os.path.isfile(path)) else path


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number") if value != "" else "an empty text"
