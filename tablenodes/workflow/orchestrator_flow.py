"""Flows of an orchestrator, Kestra with its OpenAI plugin, as workflows: what is carried over, and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from ..column_names import INPUTS, OUTPUTS
from .foreign_placeholders import VALUE, VARIABLES, Placeholders, only

CHAT = "CreateChatCompletion"
_TYPE = re.compile(r"io\.kestra\.(?:(?:plugin\.core|core\.tasks)\.\w+\.(\w+)|plugin\.openai\.(ChatCompletion))")
_CARRIED = {"model", "temperature", "n", "stop", "user", "functions", "description", "top_p", "client_timeout"}
_CARRIED |= {"max_tokens", "presence_penalty", "frequency_penalty", "logit_bias", "function_call"}
_TYPES = {"STRING": "string", "INT": "integer", "FLOAT": "number", "BOOLEAN": "boolean", "BOOL": "boolean"}
_TYPES |= {"JSON": "object", "ARRAY": "array", "MULTISELECT": "array", "SELECT": "string", "ENUM": "string"}
_OF_FLOW = {"id", "description", "namespace", "inputs", "variables", "tasks", "pluginDefaults", "taskDefaults"}
_OF_TASK = {"id", "type", "runIf", "disabled"}
_SECRET = re.compile(r"\{\{-?\s*secret\(\s*['\"](\w+)['\"]\s*\)\s*-?\}\}")
_KEY = "OPENAI_API_KEY"
_SECONDS = 10  # that a task waits for an answer where its flow does not say how long
_WAITS = f"a request may take {_SECONDS} s, as in the flow: raise client_timeout for longer answers"
_PATH = re.compile(r"[\w.\[\]'\"-]+")
_NOTHING = ("", "false", "0", "-0")  # texts that are no condition's truth

Json = dict[str, Any]


def converted(flow: Mapping[str, Any]) -> tuple[Json, list[str]]:
    """Return what a workflow's file holds for a flow, and a line for each thing that it does not carry over."""
    return _Conversion(flow).made()


class _Condition(NamedTuple):
    """What a task runs for: a text of the flow's, and what is made of its expression."""

    text: Any
    becomes: Callable[[str], str] = str
    is_truth: bool = True  # or a value that is compared


@dataclass(frozen=True)
class _Task:
    """A task that becomes a node: what it is called here, with the flow's defaults in it."""

    name: str
    kind: str
    given: Mapping[str, Any]
    conditions: tuple[_Condition, ...]


class _Conversion:
    """One flow on its way."""

    def __init__(self, flow: Mapping[str, Any]) -> None:
        self._flow, self._notes = flow, dict[str, list[str]]()
        self._variables = {str(name): value for name, value in _mapping(flow.get("variables")).items()}
        self._placeholders = Placeholders(self._variables)
        self._inputs: dict[str, Mapping[str, Any]] = {}
        for each in filter(_is_mapping, _list(flow.get("inputs"))):
            name = str(each.get("id", each.get("name", "")))
            self._inputs[name] = each
            self._placeholders.call(INPUTS, name)
        self._called = {name: self._placeholders.call(VARIABLES, name) for name in self._variables}
        defaults = [*_list(flow.get("taskDefaults")), *_list(flow.get("pluginDefaults"))]
        self._defaults = [each for each in defaults if _is_mapping(each)]
        self._tasks = [*self._flat(_list(flow.get("tasks")), ())]

    def made(self) -> tuple[Json, list[str]]:
        """Return the workflow and what is said of it."""
        made = {name: self._flow[name] for name in ("id", "description") if name in self._flow}
        self._leave("flow", self._flow.keys() - _OF_FLOW)
        nodes = [self._node(task) for task in self._tasks]
        inputs = {**self._carried_inputs(), **self._carried_variables()}
        keys = [node["connection"] for node in nodes if "connection" in node]
        if keys:  # one for all, where all have the same
            made["connection"] = keys[0]
            nodes = [{k: v for k, v in node.items() if (k, v) != ("connection", keys[0])} for node in nodes]
        return {**made, **({"inputs": inputs} if inputs else {}), "nodes": nodes}, [*self._said()]

    # What is said.

    def _note(self, where: str, message: str) -> None:
        said = self._notes.setdefault(message, [])
        if where not in said:
            said.append(where)

    def _said(self) -> Iterator[str]:
        for message, places in self._notes.items():
            tasks = [each.removeprefix("task ") for each in places if each.startswith("task ")]
            several = len(tasks) > 1
            yield from (f"{each}: {message}" for each in places if not several or not each.startswith("task "))
            if several:
                yield f"tasks {', '.join(tasks)}: {message}"

    def _leave(self, where: str, names: Any) -> None:
        for name in sorted(map(str, names)):
            self._note(where, f"{name} is not carried over")

    # Inputs and variables.

    def _carried_inputs(self) -> Json:
        made = {}
        for name, given in self._inputs.items():
            of_type = str(given.get("type", "STRING"))
            if of_type == "SECRET" and (INPUTS, name) not in self._placeholders.used:
                self._note(f"inputs.{name}", "a secret is not carried over: a key is read from its variable")
                continue
            made[self._placeholders.name(INPUTS, name)] = self._input(name, given, of_type)
        return made

    def _input(self, name: str, given: Mapping[str, Any], of_type: str) -> Json:
        kind, default = _TYPES.get(of_type), given.get("defaults")
        if kind is None:
            said = "it is a string here" + (", which is shown and stored like any other" if of_type == "SECRET" else "")
            self._note(f"inputs.{name}", f"type {of_type} is not carried over: {said}")
        if kind == "object" and (isinstance(default, list) or str(default).lstrip().startswith("[")):
            kind = "array"
        made = {"type": kind or "string", "default": default, "description": given.get("description")}
        if "defaults" not in given and given.get("required") is False:
            made["required"] = False
        self._leave(f"inputs.{name}", given.keys() - {"id", "name", "type", "defaults", "description", "required"})
        return {key: value for key, value in made.items() if value is not None}

    def _carried_variables(self) -> Json:
        """Return the variables that are read, as inputs with defaults."""
        read = (name for name in self._variables if (VARIABLES, name) in self._placeholders.used)
        return {self._called[name]: {"default": self._variables[name]} for name in read}

    # Tasks.

    def _flat(self, tasks: list[Any], conditions: tuple[_Condition, ...]) -> Iterator[_Task]:
        """Yield the tasks that become nodes, those within others too, each with all that it runs for."""
        for given in filter(_is_mapping, tasks):
            task = self._filled(given)
            where = f"task {given['id']}" if given.get("id") is not None else "a task without an id"
            of_type, found = task.get("type"), _TYPE.fullmatch(str(task.get("type")))
            kind = (found[1] or found[2]) if found else ""
            own = (*conditions, *([_Condition(task["runIf"])] if task.get("runIf") is not None else []))
            if task.get("disabled") is True:
                self._note(where, "it is disabled in the flow, and left out")
            elif kind in _MAKING:
                yield _Task(self._named(task, kind), kind, task, own)
            elif kind in _HOLDING:
                keys, parts = _HOLDING[kind]
                self._leave(where, task.keys() - _OF_TASK - keys)
                if kind in _LOOPS:
                    self._placeholders.has_loop = True
                    self._note(where, f"its values are not carried over: they are the column {VALUE!r} of a table here")
                for below, condition in parts(task):
                    yield from self._flat(below, (*own, *condition))
            else:
                what = "it has no type, and" if of_type is None else f"its type, {of_type},"
                within = _list(task.get("tasks"))
                self._note(where, f"{what} is not carried over{'; what is in it is' if within else ''}")
                yield from self._flat(within, own)

    def _filled(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a task with what the flow sets for all of its type."""
        task, of_type = given, str(given.get("type"))
        for each in self._defaults:
            if of_type.startswith(str(each.get("type"))):
                values = _mapping(each.get("values"))
                task = {**task, **values} if each.get("forced") is True else {**values, **task}
        return task

    def _named(self, task: Mapping[str, Any], kind: str) -> str:
        """Return what a task is called here; say so where the flow has no name of its own for it."""
        given = task.get("id")
        name = self._placeholders.call(OUTPUTS, str(given) if given is not None else _snake(kind).lstrip("_"))
        if given is None:
            self._note(f"task {name}", "it has no id in the flow")
        elif self._placeholders.name(OUTPUTS, str(given)) != name:
            self._note(f"task {name}", f"{given} is the id of an earlier task too")
        elif kind != "ChatCompletion":
            self._placeholders.texts.add(str(given))
        return name

    def _node(self, task: _Task) -> Json:
        where = f"task {task.given.get('id', task.name)}"
        kind, keys, make = _MAKING[task.kind]
        made = {"id": task.name, "type": kind, **self._when(task, where), **make(self, task, where)}
        self._leave(where, {key for key in task.given if key not in _OF_TASK and _snake(key) not in keys})
        return made

    def _when(self, task: _Task, where: str) -> Json:
        """Return the expression of all that a task runs for."""
        made = []
        for text, becomes, is_truth in task.conditions:
            expression = (_constant(text) if is_truth else None) or (only(text) if isinstance(text, str) else None)
            if expression is None:
                self._note(
                    where, "its condition is not carried over, as it is not one expression: it runs for all rows"
                )
                continue
            if is_truth and _PATH.fullmatch(expression) and not self._is_boolean(expression):
                self._note(where, "the texts 'false' and '0' count as true in its condition here")
            made.append(becomes(str(self._text(f"{{{{ {expression} }}}}", where, "when"))[2:-2].strip()))
        whole = made[0] if len(made) == 1 else " and ".join(f"({each})" for each in made)
        return {"when": f"{{{{ {whole} }}}}"} if made else {}

    def _is_boolean(self, path: str) -> bool:
        return path in ("true", "false") or str(
            self._inputs.get(path.removeprefix("inputs."), {}).get("type")
        ).startswith("BOOL")

    def chat(self, task: _Task, where: str) -> Json:
        """Return the settings of a request to a model."""
        given = {_snake(key): value for key, value in task.given.items() if value is not None}
        made: Json = {"connection": self._connection(where, given.get("api_key"))}
        prompt, messages = given.get("prompt"), given.get("messages")
        if prompt is not None and isinstance(messages, list):  # the prompt is the last of them
            messages, prompt = [*messages, {"role": "user", "content": prompt}], None
        settings = {key: value for key, value in given.items() if key in _CARRIED}
        settings |= {"prompt": prompt, "messages": messages, "response_format": _format_of(given)}
        order = [*given, "response_format"]
        for key in sorted((key for key in settings if settings[key] is not None), key=order.index):
            made[key] = self._text(settings[key], where, key)
        if "json_response_schema" in given and "response_format" not in made:
            self._leave(where, ["jsonResponseSchema"])
        if "client_timeout" not in made:
            made["client_timeout"] = _SECONDS
            self._note(where, _WAITS)
        return made

    def text_of(self, task: _Task, where: str) -> Json:
        """Return the settings of a text that is made of what came before."""
        given = task.given.get("format" if task.kind == "Return" else "message", "")
        text = "\n".join(map(str, given)) if isinstance(given, list) else given
        about = task.given.get("description")
        return {**({"description": about} if about else {}), "text": self._text(text, where, "text")}

    def _connection(self, where: str, key: Any) -> dict[str, str]:
        found = _SECRET.fullmatch(str(key).strip())
        if found is None:
            self._note(where, f"the key itself is not carried over: put it into the variable {_KEY}")
        return {"api_key_env": found[1] if found else _KEY}

    def _text(self, value: Any, where: str, place: str) -> Any:
        """Return a value in whose placeholders everything is called as it is here."""
        if isinstance(value, Mapping):
            return {key: self._text(item, where, place) for key, item in value.items()}
        if isinstance(value, list):
            return [self._text(item, where, place) for item in value]
        if not isinstance(value, str):
            return value
        if "{%" in value:
            self._note(where, f"{place}: statements between {{% and %}} are not carried over")
        made = self._placeholders.text(value)
        for placeholder, name in self._placeholders.unknown(made):
            self._note(where, f"{place}: {placeholder} is not carried over: there is no {name!r} here")
        return made


class _Making(NamedTuple):
    """How a task becomes a node: the node's type, the properties that are carried over, its settings."""

    node: str
    keys: set[str]
    settings: Callable[[_Conversion, _Task, str], Json]


_MAKING: Mapping[str, _Making] = {
    "ChatCompletion": _Making(
        CHAT, {*_CARRIED, "api_key", "prompt", "messages", "json_response_schema"}, _Conversion.chat
    ),
    "Return": _Making("Return", {"format", "description"}, _Conversion.text_of),
    "Log": _Making("Return", {"message", "description"}, _Conversion.text_of),
}

_Parts = Iterator[tuple[list[Any], tuple[_Condition, ...]]]


class _Holding(NamedTuple):
    """How the tasks within a task are reached: the properties that are looked at, the tasks and what they run for."""

    keys: set[str]
    parts: Callable[[Mapping[str, Any]], _Parts]


def _all(task: Mapping[str, Any]) -> _Parts:
    yield _list(task.get("tasks")), ()


def _graph(task: Mapping[str, Any]) -> _Parts:
    yield [each.get("task") for each in _list(task.get("tasks")) if _is_mapping(each)], ()


def _if(task: Mapping[str, Any]) -> _Parts:
    condition = task.get("condition")
    yield _list(task.get("then")), (_Condition(condition),)
    yield _list(task.get("else")), (_Condition(condition, "not ({})".format),)


def _switch(task: Mapping[str, Any]) -> _Parts:
    cases = {_written(case): tasks for case, tasks in _mapping(task.get("cases")).items()}
    for case, tasks in cases.items():
        yield _list(tasks), (_Condition(task.get("value"), partial(_compared, f"== {case}"), False),)
    none = partial(_compared, f"not in [{', '.join(cases)}]")
    yield _list(task.get("defaults")), (_Condition(task.get("value"), none, False),)


def _compared(how: str, expression: str) -> str:
    return f"({expression}) | string {how}"


_LOOPS = ("ForEach", "EachSequential", "EachParallel")
_HOLDING: Mapping[str, _Holding] = {
    **dict.fromkeys(("Parallel", "Sequential", "WorkingDirectory", "AllowFailure"), _Holding({"tasks"}, _all)),
    **dict.fromkeys(_LOOPS, _Holding({"tasks", "values", VALUE}, _all)),
    "Dag": _Holding({"tasks"}, _graph),
    "If": _Holding({"condition", "then", "else"}, _if),
    "Switch": _Holding({"value", "cases", "defaults"}, _switch),
}


def _constant(text: Any) -> str | None:
    """Return the condition that is the same for every row; None for one that is worked out."""
    plain = str(text).lower() if isinstance(text, bool | int) else text
    if not isinstance(plain, str) or "{{" in plain:
        return None
    return "false" if plain.strip() in _NOTHING else "true"


def _format_of(given: Mapping[str, Any]) -> Json | None:
    """Return the form of the answer that a task asks for, as it is sent; None where the text is no JSON."""
    with suppress(ValueError, TypeError):
        schema = json.loads(given["json_response_schema"]) if "json_response_schema" in given else None
        if isinstance(schema, dict):
            named = {"name": "kestra_schema", "strict": True, "schema": schema}
            return {"type": "json_schema", "json_schema": named}
    return None


def _written(case: Any) -> str:
    return json.dumps(str(case).lower() if isinstance(case, bool) else str(case), ensure_ascii=False)


def _snake(key: str) -> str:
    """Return what a task's property is called here: `top_p` for ``topP``."""
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", key)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
