"""Read the parts of a workflow's document: each key known, each value of its type, each error with its line."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .. import schemas
from ..bodies.recipe import EXTRA, parse_setting
from ..connection.connection import LOCAL, Connection
from ..connection.connection_reader import ConnectionReader, connection_keys
from ..database_address import DatabaseTable
from ..documents.document_reader import rooted
from ..errors import UsageError, WorkflowError, framed
from ..nodes import find_node, known_nodes
from ..nodes.node import check_request_settings, instead, own_names, setting_names
from ..run.options import RunOptions
from ..settings import Limits, Retry
from .database_output import DatabaseOutput, output_of
from .inputs import declared, separately
from .references import check_id, faults
from .short_names import written_out
from .step import STEP_KEYS, Step, node_of, whens
from .table_source import Source, table_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..database_address import DatabaseAddress
    from ..documents.yaml_reader import Document, Path_
    from ..nodes import Node
    from .destination import Destination
    from .inputs import Input

LATER = ("submission", "store", "deadline")  # how rows are handed to a worker
KEYS = ("id", "description", "connection", "table", "inputs", "limits", "retry", *LATER, "nodes", "output")
CONNECTION = connection_keys(Connection)


class Reader(ConnectionReader):
    """Makes a workflow's parts of a document, whose paths are relative to a folder, but the output's."""

    def __init__(self, document: Document, folder: str) -> None:
        super().__init__(document, folder)
        self._errors: list[WorkflowError] = []

    def read(self) -> dict[str, Any]:
        """Return the arguments of `Workflow`."""
        top = self.mapping(())
        if "tasks" in top and "nodes" not in top:
            how = f"tablenodes convert {self.document.name} makes a workflow of it"
            raise self.document.error(("tasks",), f"tasks: it seems to be a flow of Kestra's; {how}")
        self._errors += [self.unknown_key((key,), KEYS) for key in top if key not in KEYS]
        if "nodes" not in top and self._errors:
            raise together(self._errors)
        if "nodes" not in top:
            hint = "; a workflow file needs a list of nodes, each with an id and a type" if top else ""
            raise self.document.error((), f"nodes: is missing{hint}")
        made: dict[str, Any] = {"inputs": {}, "nodes": []}
        parts: dict[str, Callable[[], Any]] = {
            "id": lambda: self.text(("id",)),
            "description": lambda: self.text(("description",)),
            "table": self.table,
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

    # Parts of a workflow.

    def connection(self, path: Path_) -> Connection:
        """Return a connection: the name of a profile, of which ``local`` is the embedded model, or its settings."""
        named = self.at(path)
        if isinstance(named, str):
            if not named or "/" in named:
                such = "a mapping such as {base_url: …, api_key_env: OPENAI_API_KEY}"
                raise self.document.error(path, f"connection: must be the name of a profile, {LOCAL}, or {such}")
            with self.locating(path):
                return Connection.from_profile(named)
        if LOCAL in self.mapping(path):
            return self._local((*path, LOCAL))
        made = self.connection_settings(path, Connection, LOCAL)
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

    def inputs(self) -> dict[str, Input]:
        """Return the inputs by name."""
        path: Path_ = ("inputs",)
        made = {}
        for name, value in self.mapping(path).items():
            for each in separately(value):
                with self.collecting(), self.locating(path):
                    made[name] = declared(name, each)
        return made

    def deadline(self) -> Any:
        """Return within how many seconds a worker must send a row."""
        with self.locating(("deadline",)):
            return RunOptions.of(deadline=self.at(("deadline",))).deadline

    def table(self) -> Source | None:
        """Return where the table is read."""
        if not isinstance(self.at(("table",)), dict):
            self.text(("table",))
        with self.locating(()):
            made = table_source(self.at(("table",)), self.folder)
        if isinstance(made, DatabaseTable):
            self._refuse_passwords(made.url, ("table", "url"))
        return made

    def output(self) -> Destination | DatabaseOutput | None:
        """Return where the table goes."""
        with self.locating(()):
            made = output_of(self.at(("output",)))
        if isinstance(made, DatabaseOutput):
            self._refuse_passwords(made.target.url, ("output", "url"))
        return made

    def _refuse_passwords(self, address: DatabaseAddress, path: Path_) -> None:
        if address.secrets:
            how = "leave it out, and set the environment variable PGPASSWORD, or use a file of libpq's (~/.pgpass)"
            at = path if path in self.document.lines else path[:1]
            raise self.document.error(at, f"{path[0]}: a password must not be in a file: {how}")

    def nodes(self) -> list[tuple[str, Node | Step | None]]:
        """Return the nodes with their ids; None for one that is wrong, of which an error is kept."""
        value = self.at(("nodes",))
        if value == []:
            raise self.document.error(("nodes",), "nodes: the list is empty; a workflow needs at least one node")
        if not isinstance(value, list):
            raise self.wrong(("nodes",), "a list of nodes", value)
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
        kind = self._kind(path, of_type)
        known, before = ("id", "type", *STEP_KEYS, *setting_names(kind)), len(self._errors)
        for key in given:
            if key not in known:
                told = instead(kind, key, given[key], door="yaml")
                self._errors.append(self.unknown_key((*path, key), known, told))
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

    def _kind(self, path: Path_, of_type: str) -> type[Node]:
        """Return the node of a type; where there is none, look for keys that no node has."""
        try:
            with self.locating((*path, "type")):
                return find_node(of_type, self.folder)
        except WorkflowError as error:
            self._errors.append(error)
            known = dict.fromkeys(each for kind in known_nodes().values() for each in setting_names(kind))
            all_known = ("id", "type", *STEP_KEYS, *known)
            self._errors += [self.unknown_key((*path, key), all_known) for key in self.at(path) if key not in all_known]
        raise self._errors.pop()

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


def anchored(schema: str, folder: str) -> str:
    """Return the absolute path of a schema's file; the name of a bundled revision stays."""
    bare = os.path.basename(schema) == schema and not schema.endswith(".json")
    path = rooted(schema, folder)
    return schema if schema in schemas.revisions() or (bare and not os.path.isfile(path)) else path
