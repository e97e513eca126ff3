"""Write a workflow as YAML that reads back as the same, laid out for people."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter

from .. import schemas
from ..connection.connection import Connection
from ..database_address import DatabaseAddress, DatabaseTable
from ..documents.yaml_reader import is_text
from ..errors import WorkflowError
from ..nodes import Node
from ..nodes.node import setting_names
from ..plain import plain
from ..problems import Unfit
from ..secret import Secret
from ..settings import Timeout
from ..templates.template import Column, LiteralText
from .database_output import DatabaseOutput
from .definition import Definition
from .step import Step
from .table_source import STANDARD_INPUT, TableSource

_TEXT = "tag:yaml.org,2002:str"
_BARE = re.compile(r"[A-Za-z_/.](?:[\w ,./()+-]*[\w./)])?", re.ASCII)
_BLOCK_LINE = re.compile(r"\S(?:.*\S)?|")


class _Representer(SafeRepresenter):
    """Chooses how each text is written; the library writes it."""

    def represent_text(self, text: str) -> Any:
        """Return a text of several lines as a block, where it can stand as it is."""
        return self.represent_scalar(_TEXT, text, style="|") if _is_block(text) else self.represent_key(text)

    def represent_key(self, data: Any) -> Any:
        """Return a text without quotes only where nobody reads it as anything else."""
        is_bare = _BARE.fullmatch(str(data)) and is_text(str(data))
        return self.represent_scalar(_TEXT, str(data), style=None if is_bare else '"')

    def ignore_aliases(self, data: Any) -> bool:
        """Write what stands at two places twice."""
        return True


_Representer.add_representer(str, _Representer.represent_text)
_Representer.add_representer(Column, lambda self, column: self.represent_scalar("!col", column.name, style='"'))
_Representer.add_representer(LiteralText, lambda self, each: self.represent_scalar("!literal", each.text, style='"'))


def write(value: Mapping[str, Any]) -> str:
    """Return a mapping as YAML text, its keys in their order."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 2**20
    yaml.indent(mapping=2, sequence=4, offset=2)
    written = StringIO()
    yaml.dump(value, written)
    return written.getvalue()


def _is_block(text: str) -> bool:
    """Check whether a text of several lines can stand as it is."""
    lines = text.removesuffix("\n").split("\n")
    plain = all(line.isprintable() and _BLOCK_LINE.fullmatch(line) for line in lines)
    return len(lines) > 1 and plain and bool(lines[0] and lines[-1])


def document(workflow: Definition, folder: str) -> dict[str, Any]:
    """Return what a workflow's file holds."""
    made: dict[str, Any] = {"id": workflow.id, "description": workflow.description}
    if workflow.connection is not None:
        made["connection"] = _connection(workflow.connection, folder)
    if workflow.table is not None:
        made["table"] = _table(workflow.table, folder)
    if workflow.inputs:
        made["inputs"] = {name: declaration.document() for name, declaration in workflow.inputs.items()}
    made |= {"limits": _changed(workflow.limits), "retry": _changed(workflow.retry)}
    store = None if workflow.store is None else _relative(os.fspath(workflow.store), folder)
    made |= {"submission": workflow.submission, "store": store, "deadline": workflow.deadline}
    made = {name: value for name, value in made.items() if value is not None}
    made["nodes"] = [_step(name, step, folder) for name, step in workflow._as_given]
    output: Any = workflow.output
    if output is not None:
        made["output"] = _output(output)
    return made


def _table(table: Any, folder: str) -> Any:
    if isinstance(table, DatabaseTable):
        return _queried(table, folder)
    path = os.fspath(table)
    path = path if path == STANDARD_INPUT else _relative(path, folder)
    return {"path": path, **table.options()} if isinstance(table, TableSource) else path


def _queried(table: DatabaseTable, folder: str) -> Any:
    url, query = _address(table.url, lambda path: _relative(path, folder)), table.query
    if query is not None and query.startswith("@"):
        query = f"@{_relative(query[1:], folder)}"
    return url if query is None else {"url": url, "query": query}


def _address(address: DatabaseAddress, placed: Callable[[str], str] = str) -> str:
    if address.secrets:
        raise WorkflowError(f"{address} has a password, which is never written to a file: set PGPASSWORD instead")
    return f"{address.engine}:///{placed(address.path)}" if address.path else address.url.reveal()


def _output(output: Any) -> Any:
    if isinstance(output, DatabaseOutput):
        target = {name: getattr(output.target, name) for name in ("table", "if_exists", "key")}
        made = {"url": _address(output.target.url), **target, "raw": output.raw, "columns": output.columns}
        return {name: value for name, value in made.items() if value not in (None, False)}
    made = {name: value for name, value in asdict(output).items() if value not in (None, False)}
    return output.path if len(made) == 1 else made


def _step(name: str, step: Step, folder: str) -> dict[str, Any]:
    made = {"id": name, "type": _type(step.node, folder), "description": step.description, "when": step.when}
    if step.connection is not None:
        made["connection"] = _connection(step.connection, folder)
    return {**{key: value for key, value in made.items() if value is not None}, **_settings(step.node, folder)}


def _type(node: Node, folder: str) -> str:
    """Return the type that a node has in a file: that of an operation names its document."""
    path, sign, operation = node._declared.known_as.removeprefix("openapi:").partition("#")
    return f"openapi:{_relative(path, folder)}#{operation}" if sign else type(node).__name__


def _settings(node: Node, folder: str) -> dict[str, Any]:
    made = {}
    for each in fields(node):
        value = getattr(node, each.name)
        if value is None or value == each.default:
            continue
        if each.name == "schema" and isinstance(value, str) and value not in schemas.revisions():
            value = _relative(value, folder)
        if each.name == "image_root":
            value = _relative(os.path.abspath(value), folder)
        made[each.name] = _answer(node, value) if each.name == "answer" else _plain(value, each.name)
    return {name: made[name] for name in setting_names(type(node)) if name in made}


def _answer(node: Any, value: Any) -> Any:
    """Return what an answer is as a file can say it: as it was written, or its JSON Schema."""
    try:
        return _plain(value, "answer")
    except WorkflowError:
        return node._answers.written()


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, Column | LiteralText):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{position}]") for position, item in enumerate(value)]
    try:
        return plain(value)
    except Unfit as error:
        raise WorkflowError(f"{place}: {error}, which a workflow file cannot contain") from None


def _connection(connection: Connection, folder: str) -> Any:
    if connection.local_model is not None:
        local = _changed(connection.local_model) or {}
        if local.get("path") is not None:
            local["path"] = _relative(os.path.abspath(local["path"]), folder)
        return {"local": local} if local else "local"
    profile = connection.profile
    if profile is not None and connection == Connection(**profile.settings, profile=profile):
        return profile.name
    made: dict[str, Any] = {}
    for each in fields(connection):
        value = getattr(connection, each.name)
        if each.name == "profile":
            continue
        if each.init and value is not None and value != each.default:
            made[each.name] = _connection_setting(each.name, value, folder)
    return made


def _connection_setting(name: str, value: Any, folder: str) -> Any:
    if value == Secret(""):
        return ""
    if name == "api_key":
        raise WorkflowError("connection: a key is never written to a file: use api_key_env instead of api_key")
    if isinstance(value, Timeout):
        return _changed(value)
    if name in ("ca_bundle", "env_file"):
        return _relative(os.path.abspath(value), folder)
    items = value.values() if isinstance(value, Mapping) else (value,)
    if any(isinstance(item, Secret) for item in items):
        raise WorkflowError(f"connection: {name} contains a secret, which is never written to a file")
    if isinstance(value, Mapping):
        return {key: dict(item) if isinstance(item, Mapping) else item for key, item in value.items()}
    if not isinstance(value, str | bool):
        raise WorkflowError(f"connection: a {name} cannot be written to a file")
    return value


def _changed(settings: Any) -> dict[str, Any] | None:
    """Return the fields that are not at their defaults; None for no settings."""
    if settings is None:
        return None
    values = {each.name: (getattr(settings, each.name), each.default) for each in fields(settings)}
    return {name: value for name, (value, default) in values.items() if value != default}


def _relative(path: str, folder: str) -> str:
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # another drive
        return path
