"""Requests that offer functions, said to a model that knows none: as a schema, examples and plain words."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

# The properties of a request that speak of functions.
OFFERS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")
RESULTS = ("tool", "function")  # the roles of a message that holds what a function gave
BOUNDS = (("minimum", "maximum"), *((f"min{what}", f"max{what}") for what in ("Length", "Items", "Properties")))
_REPETITION = re.compile(r"\{(\d{1,9}),(\d{1,9})\}")
ROUNDS = 2
"""Examples of each function that a model of 135 million parameters needs to choose well; the schema is too little.

Most arguments that stand in the request are right then; what must be concluded, such as an urgency, is a guess.
"""
BUDGET = 4000
"""Characters of all examples, about half of a slot's default context; functions beyond get fewer examples, or none."""
_FORM = b'"format":{"type":"json'  # of a response's text; a longer word is found faster
WORDS = ("the red one", "Rome", "Friday", "a long story", "Anna", "number nine")
NUMBERS = (17, 4, 230)


class Offer(NamedTuple):
    """The functions of a request of which one will be called."""

    functions: tuple[dict[str, Any], ...]
    refused: str
    legacy: bool


def plainly(body: bytes) -> tuple[bytes, Offer | None]:
    """Turn a chat request's functions into what any model with a chat template understands.

    A schema for the answer that nothing satisfies becomes one that the server refuses: the engine would not survive it.
    """
    # Inside a text a quote is escaped, so no prompt meets this test; every mention of a function or a schema does.
    if b'"tool' not in body and b'"function' not in body and b'"response_format"' not in body and _FORM not in body:
        return body, None
    request = orjson.loads(body)
    if isinstance(request, dict) and "input" in request:
        return _with_format(request, body), None
    if not isinstance(request, dict) or not isinstance(request.get("messages"), list):
        return body, None
    given = request.copy()
    offer = _offer(request)
    for name in OFFERS:
        request.pop(name, None)
    request["messages"] = _in_words(request["messages"])
    if offer is not None:
        _ask_for_a_call(request, offer)
    wrong = contradiction(request.get("response_format"))
    if wrong:
        request["response_format"] = _answer_schema({"$ref": f"#/{wrong}"})
    return (body if request == given else orjson.dumps(request)), offer


def _with_format(request: dict[str, Any], body: bytes) -> bytes:
    """Return a request for a response whose answer's form is said as a chat says it: this server reads no other."""
    text = request.get("text")
    form = text.get("format") if isinstance(text, dict) else None
    kind = form.get("type") if isinstance(form, dict) else None
    if form is None or kind not in ("json_schema", "json_object"):
        return body
    del request["text"]
    named = {"json_schema": {"name": "answer", "schema": form.get("schema", {})}} if kind == "json_schema" else {}
    asked = {"type": kind, **named}
    wrong = contradiction(asked)
    request["response_format"] = _answer_schema({"$ref": f"#/{wrong}"}) if wrong else asked
    return orjson.dumps(request)


def _ask_for_a_call(request: dict[str, Any], offer: Offer) -> None:
    messages = request["messages"]
    start = next((i for i, m in enumerate(messages) if _role(m) not in {"system", "developer"}), len(messages))
    request["messages"] = [*messages[:start], *examples(offer.functions), *messages[start:]]
    request["response_format"] = _answer_schema(call_schema(offer))
    # A call is short, and of no use before it is whole.
    request.pop("stream", None)
    request.pop("stream_options", None)


def _answer_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def call_schema(offer: Offer) -> dict[str, Any]:
    """Return the schema of a call, one variant a function; where none can be served, one that the server refuses."""
    if offer.refused:
        return {"$ref": f"#/{offer.refused}"}
    definitions, variants = {}, []
    for number, function in enumerate(offer.functions):
        place = f"#/$defs/{number}"
        definitions[str(number)] = _moved(function.get("parameters") or {"type": "object", "properties": {}}, place)
        parts = {"name": {"const": function["name"]}, "arguments": {"$ref": place}}
        variants.append({"type": "object", "properties": parts, "required": [*parts], "additionalProperties": False})
    return {"$defs": definitions, "anyOf": variants}


def _offer(request: dict[str, Any]) -> Offer | None:
    """Read which functions may be called; None if the answer will be words."""
    legacy = not request.get("tools")
    tools = [{"function": f} for f in request.get("functions") or ()] if legacy else request["tools"]
    if not tools:
        return None
    offered = {tool["function"]["name"]: tool["function"] for tool in tools if "function" in tool}
    mode, names = _choice(request.get("function_call" if legacy else "tool_choice"))
    refused = [f"tools/{tool.get('type')}" for tool in tools if "function" not in tool]
    refused += [f"functions/{name}" for name in names or () if name not in offered]
    allowed = tuple(function for name, function in offered.items() if names is None or name in names)
    # Left to itself this model calls nothing, so "auto" means a call; after a function's result it means words.
    messages = request["messages"]
    answered = bool(messages) and _role(messages[-1]) in RESULTS
    if mode == "none" or (mode == "auto" and answered):
        return None
    return Offer(allowed, refused[0] if refused else "", legacy)


def _choice(choice: Any) -> tuple[str, tuple[str, ...] | None]:
    """Read ``tool_choice`` or ``function_call``: a mode, and the names that are allowed (None: all)."""
    if choice is None or isinstance(choice, str):
        return choice or "auto", None
    if "allowed_tools" in choice:
        allowed = choice["allowed_tools"]
        return allowed.get("mode", "auto"), tuple(_named(tool) for tool in allowed.get("tools", ()))
    return "required", (_named(choice),)


def _named(choice: dict[str, Any]) -> str:
    kind = choice.get("type", "function")
    return str((choice.get(kind) or choice).get("name", ""))


def _moved(schema: Any, place: str) -> Any:
    """Let references inside a schema point to where it now stands."""
    if isinstance(schema, dict):
        moved = {key: _moved(value, place) for key, value in schema.items()}
        target = schema.get("$ref")
        if isinstance(target, str) and target.startswith("#"):
            moved["$ref"] = place + target[1:]
        return moved
    return [_moved(item, place) for item in schema] if isinstance(schema, list) else schema


def _in_words(messages: list[Any]) -> list[Any]:
    """Write calls and their results as an assistant's and a user's words, the only roles that the model knows."""
    names: dict[str, str] = {}
    said = []
    for message in messages:
        calls = _calls(message)
        names.update({str(call.get("id")): call["function"]["name"] for call in calls if "id" in call})
        if calls:
            texts = [_text(message.get("content")), *(_call_in_words(call["function"]) for call in calls)]
            said.append({"role": "assistant", "content": "\n".join(text for text in texts if text)})
        elif _role(message) in RESULTS:
            name = message.get("name") or names.get(str(message.get("tool_call_id")), "the function")
            said.append({"role": "user", "content": f"The answer of {name} is: {_text(message.get('content'))}"})
        else:
            said.append(message)
    return said


def _calls(message: Any) -> list[dict[str, Any]]:
    if _role(message) != "assistant":
        return []
    calls = [call for call in message.get("tool_calls") or () if "function" in call]
    if message.get("function_call"):
        calls.append({"function": message["function_call"]})
    return calls


def _call_in_words(function: dict[str, Any]) -> str:
    try:
        arguments = orjson.loads(function.get("arguments") or "{}")
    except orjson.JSONDecodeError:
        arguments = {}
    said = ", ".join(f"{key} {_word(value)}" for key, value in arguments.items()) if isinstance(arguments, dict) else ""
    return f"Calling {function.get('name')}{' with ' if said else ''}{said}."


def _word(value: Any) -> str:
    return value if isinstance(value, str) else _dumped(value)


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def contradiction(schema: Any) -> str:
    """Return which lower bound of a schema exceeds its upper bound, else "": such a schema would end the engine."""
    if isinstance(schema, list):
        return next(filter(None, map(contradiction, schema)), "")
    if not isinstance(schema, dict):
        return ""
    for low, high in BOUNDS:
        if _number(schema.get(low)) and _number(schema.get(high)) and schema[low] > schema[high]:
            return f"{low} is greater than {high}"
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        for found in _REPETITION.finditer(pattern):
            if int(found[1]) > int(found[2]):
                return "a repetition in a pattern has a lower bound greater than its upper bound"
    return contradiction(list(schema.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int | float)


def examples(functions: tuple[dict[str, Any], ...]) -> list[dict[str, str]]:
    """Return turns of a user and an assistant, with a call of every function in each round."""
    turns: list[dict[str, str]] = []
    spent = told = 0
    for number in range(ROUNDS):
        one_round = []
        for function in functions:
            arguments = {}
            for name, schema in _properties(function).items():
                arguments[name] = _sample(schema, number, told)
                told += 1
            one_round += _turn(function, arguments)
        spent += sum(len(message["content"]) for message in one_round)
        if spent > BUDGET:
            break
        turns += one_round
    return turns


def _turn(function: dict[str, Any], arguments: dict[str, Any]) -> list[dict[str, str]]:
    name = str(function["name"])
    said = ", ".join(f"{key} {_word(value)}" for key, value in arguments.items())
    purpose = str(function.get("description") or name.replace("_", " "))
    # With spaces, as the model itself writes JSON.
    values = ", ".join(f"{_dumped(key)}: {_dumped(value)}" for key, value in arguments.items())
    call = f'{{"name": {_dumped(name)}, "arguments": {{{values}}}}}'
    asked = f"{purpose}: {said}" if said else purpose
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": call}]


def _properties(function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters")
    properties = parameters.get("properties") if isinstance(parameters, dict) else None
    return properties if isinstance(properties, dict) else {}


def _sample(schema: Any, number: int, told: int) -> Any:
    """Return a value that a parameter could have: no two in a row alike, so that none is taken for the rule."""
    if not isinstance(schema, dict):
        return WORDS[told % len(WORDS)]
    if schema.get("enum"):
        return schema["enum"][number % len(schema["enum"])]
    kinds = schema.get("type")
    kind = next((k for k in kinds if k != "null"), "null") if isinstance(kinds, list) else kinds
    if kind == "array":
        return [_sample(schema.get("items"), number, told)]
    a_number = NUMBERS[told % len(NUMBERS)]
    plain = {"integer": a_number, "number": a_number, "boolean": number % 2 == 0, "object": {}, "null": None}
    return plain.get(str(kind), WORDS[told % len(WORDS)])


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()
