"""Flows of an orchestrator, Kestra with its OpenAI plugin, as workflows: what is carried over, and what is not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

_CHAT, _RETURN = "plugin.openai.ChatCompletion", ("plugin.core.debug.Return", "core.tasks.debugs.Return")
_CARRIED = {"model", "prompt", "messages", "temperature", "n", "stop", "user", "functions", "description", "top_p"}
_CARRIED |= {"max_tokens", "presence_penalty", "frequency_penalty", "logit_bias", "function_call", "when"}
_TIMEOUT = "client_timeout"
_TYPES = {"STRING": "string", "INT": "integer", "FLOAT": "number", "BOOLEAN": "boolean", "BOOL": "boolean"}
_TYPES |= {"JSON": "object", "ARRAY": "array", "SELECT": "string", "SECRET": "string"}
_SECRET = re.compile(r"\{\{-?\s*secret\(\s*['\"](\w+)['\"]\s*\)\s*-?\}\}")
_KEY = "OPENAI_API_KEY"
_SECONDS = 10  # that a task waits for an answer where its flow does not say how long
_WAITS = f"a request may take {_SECONDS} s, as in the flow: raise client_timeout for longer answers"


def converted(flow: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return what a workflow's file holds for a flow, and a line for each thing that it does not carry over."""
    return _Conversion(flow).made()


class _Conversion:
    """One flow on its way."""

    def __init__(self, flow: Mapping[str, Any]) -> None:
        self._flow, self._notes = flow, list[str]()
        self._tasks = [task for task in _list(flow.get("tasks")) if isinstance(task, Mapping)]
        inputs = [each for each in _list(flow.get("inputs")) if isinstance(each, Mapping)]
        self._inputs = {str(each.get("id", each.get("name", ""))): each for each in inputs}
        self._returns = {str(task.get("id")) for task in self._tasks if _kind(task) == "Return"}

    def made(self) -> tuple[dict[str, Any], list[str]]:
        made = {name: self._flow[name] for name in ("id", "description") if name in self._flow}
        self._leave("flow", self._flow.keys() - {"id", "description", "inputs", "tasks", "namespace"})
        inputs = {_name(name): self._input(name, given) for name, given in self._inputs.items()}
        nodes = [node for task in self._tasks for node in self._node(task)]
        keys = [node["connection"] for node in nodes if "connection" in node]
        if keys:  # one for all, where all have the same
            made["connection"] = keys[0]
            nodes = [{k: v for k, v in node.items() if (k, v) != ("connection", keys[0])} for node in nodes]
        return {**made, **({"inputs": inputs} if inputs else {}), "nodes": nodes}, self._notes

    def _leave(self, where: str, names: Any) -> None:
        self._notes += [f"{where}: {name} is not carried over" for name in sorted(map(str, names))]

    def _input(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        kind = _TYPES.get(str(given.get("type", "STRING")))
        if kind is None:
            self._notes.append(f"inputs.{name}: type {given['type']} is not carried over: it is a string here")
        made = {"type": kind or "string", "default": given.get("defaults"), "description": given.get("description")}
        if "defaults" not in given and given.get("required") is False:
            made["required"] = False
        self._leave(f"inputs.{name}", given.keys() - {"id", "name", "type", "defaults", "description", "required"})
        return {key: value for key, value in made.items() if value is not None}

    def _node(self, task: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name, kind = str(task.get("id")), _kind(task)
        made: dict[str, Any] = {"id": _name(name), "type": kind}
        if kind == "Return":
            yield made | {"text": self._text(task.get("format", ""))}
            self._leave(f"task {name}", task.keys() - {"id", "type", "format"})
        elif kind:
            made["connection"] = self._connection(name, task.get("apiKey"))
            carried = {key: _setting(key) for key in task if _setting(key) in {*_CARRIED, _TIMEOUT}}
            settings = {to: self._text(task[key]) for key, to in carried.items() if task[key] is not None}
            if _TIMEOUT not in settings:
                settings[_TIMEOUT] = _SECONDS
                self._notes.append(f"task {name}: {_WAITS}")
            yield made | settings
            self._leave(f"task {name}", task.keys() - {"id", "type", "apiKey", *carried})
        else:
            self._notes.append(f"task {name}: a task of type {task.get('type')} is not carried over")

    def _connection(self, name: str, key: Any) -> dict[str, str]:
        found = _SECRET.fullmatch(str(key).strip())
        if found is None:
            self._notes.append(f"task {name}: the key itself is not carried over: put it into the variable {_KEY}")
        return {"api_key_env": found[1] if found else _KEY}

    def _text(self, value: Any) -> Any:
        """Return a value in whose placeholders earlier tasks and inputs are called as they are here."""
        if isinstance(value, Mapping):
            return {key: self._text(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._text(item) for item in value]
        if not isinstance(value, str) or "{{" not in value:
            return value
        names = [("inputs", each) for each in self._inputs]
        for of, each in [*names, *(("outputs", str(task.get("id"))) for task in self._tasks)]:
            written = rf"\b{of}(?:\.{re.escape(each)}(?![\w-])|\[(['\"]){re.escape(each)}\1\])"
            below = r"\.value\b" if of == "outputs" and each in self._returns else "$^"
            value = re.sub(f"{written}(?:(?P<value>{below}))?", partial(_step, of, each), value)
        return value


def _step(of: str, name: str, found: re.Match[str]) -> str:
    return f"{of}.{_name(name)}{'.text' if found['value'] else ''}"


def _kind(task: Mapping[str, Any]) -> str:
    of_type = str(task.get("type"))
    return "CreateChatCompletion" if of_type.endswith(_CHAT) else "Return" if of_type.endswith(_RETURN) else ""


def _setting(key: str) -> str:
    """Return what a task's property is called here: `top_p` for ``topP``."""
    return "when" if key == "runIf" else re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key)


def _name(name: str) -> str:
    made = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{made}" if made[:1].isdigit() else made


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
