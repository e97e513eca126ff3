"""Example turns that show a small model what a call of each function looks like.

A model of 135 million parameters chooses among up to five functions well where it sees two examples of each, and badly
where it has the schema alone. Most arguments that stand in the request are right; what must be concluded, such as an
urgency, is a guess.
"""

from __future__ import annotations

from typing import Any

import orjson

ROUNDS = 2
BUDGET = 4000
"""Characters of all examples, about half of a slot's default context; functions beyond get fewer examples, or none."""

WORDS = ("the red one", "Rome", "Friday", "a long story", "Anna", "number nine")
NUMBERS = (17, 4, 230)


def examples(functions: tuple[dict[str, Any], ...]) -> list[dict[str, str]]:
    """Return turns of a user and an assistant, with a call of every function in each round."""
    turns: list[dict[str, str]] = []
    spent = 0
    told = 0
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
    said = ", ".join(f"{key} {value if isinstance(value, str) else _json(value)}" for key, value in arguments.items())
    purpose = str(function.get("description") or name.replace("_", " "))
    # With spaces, as the model itself writes JSON.
    values = ", ".join(f"{_json(key)}: {_json(value)}" for key, value in arguments.items())
    call = f'{{"name": {_json(name)}, "arguments": {{{values}}}}}'
    return [
        {"role": "user", "content": f"{purpose}: {said}" if said else purpose},
        {"role": "assistant", "content": call},
    ]


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
    if kind in {"integer", "number"}:
        return NUMBERS[told % len(NUMBERS)]
    plain = {"boolean": number % 2 == 0, "object": {}, "null": None}
    if kind == "array":
        return [_sample(schema.get("items"), number, told)]
    return plain.get(str(kind), WORDS[told % len(WORDS)])


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
