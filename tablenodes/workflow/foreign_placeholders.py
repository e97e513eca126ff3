"""Placeholders of an orchestrator's flow, written as they are here: other names, ``??`` as a ``default(…)``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, count
from typing import Any

from ..column_names import INPUTS, OUTPUTS
from ..errors import TemplateError
from ..templates.template import ROW, Template

VARIABLES = "vars"
VALUE = "value"  # the column that holds what a loop of the flow's goes through
_PLACEHOLDER = re.compile(r"\{\{(-?)(.*?)(-?)\}\}", re.DOTALL)
_TEXT = r"'[^']*'|\"[^\"]*\""
_ROUND, _SQUARE = r"\((?:[^()]|\([^()]*\))*\)", r"\[(?:[^\[\]]|\[[^\[\]]*\])*\]"
_OPERAND = rf"(?:{_TEXT}|{_ROUND}|{_SQUARE}|-?\w+(?:\.[\w-]+|{_SQUARE}|{_ROUND})*)"
_COALESCED = re.compile(rf"({_TEXT})|\s*\?\?\??\s*({_OPERAND})")
_AS_JSON = re.compile(rf"({_TEXT})|\|\s*(?:toJson|json|jsonEncode)\b(?:\(\))?")
_RENDERED = re.compile(r"\s*render\(\s*vars\.([\w-]+)\s*\)\s*")
_NO_NAME = r"(?!)"
_LONGEST = 60


class Placeholders:
    """What the flow's inputs, variables and tasks are called here, and which of them its texts read."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self._variables = variables
        self._called: dict[tuple[str, str], str] = {}
        self._taken = {True: {INPUTS, OUTPUTS, ROW}, False: set[str]()}  # whether nodes are called so, or inputs
        self.texts = set[str]()  # the tasks whose answer is a text
        self.used = set[tuple[str, str]]()
        self.has_loop = False

    def call(self, of: str, name: str) -> str:
        """Return what an input, a variable or a task is called here: as no other is."""
        made = re.sub(r"\W", "_", name, flags=re.ASCII)
        made = f"_{made}" if not made or made[0].isdigit() else made
        taken = self._taken[of == OUTPUTS]
        free = next(each for each in chain([made], (f"{made}_{n}" for n in count(2))) if each not in taken)
        taken.add(free)
        self._called.setdefault((of, name), free)
        return free

    def name(self, of: str, name: str) -> str:
        """Return what is meant here by a name of the flow's: the first thing of that name."""
        return self._called[of, name]

    def text(self, text: str) -> str:
        """Return a text in whose placeholders everything is called as it is here."""
        return _PLACEHOLDER.sub(self._placeholder, text)

    def _placeholder(self, found: re.Match[str]) -> str:
        rendered = _RENDERED.fullmatch(found[2])
        if rendered and isinstance(value := self._variables.get(rendered[1]), str):
            return value if "render(" in value else self.text(value)
        return f"{{{{{found[1]}{self.expression(found[2])}{found[3]}}}}}"

    def expression(self, text: str) -> str:
        """Return an expression as it is written here."""
        names = "|".join(re.escape(name) for _, name in sorted(self._called, key=lambda each: -len(each[1])))
        one = rf"(?:\.(?P<below>{names or _NO_NAME})(?![\w-])|\[\s*(['\"])(?P<at>{names or _NO_NAME})\4\s*\])"
        reference = rf"({_TEXT})|(?<![\w.])(?P<of>{INPUTS}|{OUTPUTS}|{VARIABLES}){one}"
        text = re.sub(rf"{reference}(\[\s*taskrun\.value\s*\])?(?P<value>\.value\b)?", self._reference, text)
        if self.has_loop:
            text = re.sub(rf"({_TEXT})|(?<![\w.])taskrun\.value\b", lambda each: each[1] or VALUE, text)
        text = _AS_JSON.sub(lambda each: each[1] or "| tojson", text)
        return _coalesced(text)

    def _reference(self, found: re.Match[str]) -> str:
        key = (found["of"], found["below"] or found["at"])
        if found[1] or key not in self._called:
            return found[0]
        self.used.add(key)
        is_text = key[0] == OUTPUTS and key[1] in self.texts and found["value"]
        end = ".text" if is_text else found["value"] or ""
        return f"{OUTPUTS if key[0] == OUTPUTS else INPUTS}.{self._called[key]}{end}"

    def unknown(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield each placeholder of a converted text that reads what is not here, and the name of that."""
        known = {INPUTS, OUTPUTS, *([VALUE] if self.has_loop else [])}
        for found in _PLACEHOLDER.finditer(text):
            try:
                names = Template(found[0], "").names
            except TemplateError:  # of which its reader says more
                continue
            for name in sorted({*names} - known):
                yield found[0] if len(found[0]) <= _LONGEST else f"{found[0][:_LONGEST]}…", name


def _coalesced(text: str) -> str:
    """Return an expression with ``a | default(b)`` for ``a ?? b``, which binds as tightly."""
    return _COALESCED.sub(lambda each: each[1] or f" | default({_coalesced(each[2])})", text)


def only(text: str) -> str | None:
    """Return what stands between the braces of a text that is one placeholder; None of any other."""
    found = _PLACEHOLDER.fullmatch(text.strip())
    return found[2].strip() if found and "{{" not in found[2] else None
