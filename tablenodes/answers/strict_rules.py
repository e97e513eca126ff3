"""What the strict modes of providers forbid in a schema, found before anything is sent.

The rules of OpenAI and Azure are those that their servers enforce (HTTP 400): they are errors there, and warnings for
a server that nobody knows, which may well be stricter or laxer. Anthropic, Gemini and llama.cpp have rules of their
own; what they ignore or refuse is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from ..schemas.subschemas import followed
from ..schemas.wording import shown
from .schema_references import LISTS, MAPS, SINGLE

Provider = Literal["openai", "azure", "anthropic", "gemini", "llama.cpp", "other"]

Path = tuple[str, ...]


class StrictProblem(NamedTuple):
    """What a provider's strict mode forbids, or does not heed.

    Attributes
    ----------
    path : str
        Where: the path of the value in an answer, such as ``$.people[*].age``.
    rule : str
        A keyword, or one of ``root closed required type items reference depth properties enum_values enum_length
        names_length recursion unions``.
    message : str
        What is wrong and what to do.
    severity : str
        ``error``: the server refuses every request; ``warning``: it may, or it does not heed the rule.
    """

    path: str
    rule: str
    message: str
    severity: Literal["error", "warning"]


_COMPOSITION = frozenset({"allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas"})
_REFUSED = _COMPOSITION | {
    *("dependencies", "patternProperties", "propertyNames", "minProperties", "maxProperties"),
    *("unevaluatedProperties", "unevaluatedItems", "additionalItems", "prefixItems"),
    *("contains", "minContains", "maxContains", "uniqueItems", "minLength", "maxLength"),
    *("default", "$dynamicRef", "$recursiveRef", "nullable"),
}
_DOCUMENTED = frozenset(
    {
        *("type", "title", "description", "enum", "const", "properties", "required", "additionalProperties", "items"),
        *("anyOf", "$ref", "$defs", "definitions", "$schema", "pattern", "format"),
        *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"),
    }
)
_BOUNDS = frozenset(
    {
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
        *("minLength", "maxLength", "minItems", "maxItems", "uniqueItems"),
    }
)
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_NOT_HEEDED = _COMPOSITION - {"allOf"} | {
    *("patternProperties", "propertyNames", "minProperties", "maxProperties", "unevaluatedProperties"),
    *("unevaluatedItems", "contains", "minContains", "maxContains", "uniqueItems", "dependencies"),
}

_WAYS: Mapping[str, str] = MappingProxyType(
    {
        "oneOf": "write anyOf",
        "allOf": "write what its parts say as one schema",
        "uniqueItems": "leave it out, and drop what repeats from the column",
        "prefixItems": "write an object with a field for each item",
        "patternProperties": "name the fields",
        "propertyNames": "name the fields",
        "nullable": "write the type as [TYPE, null]",
    }
)


@dataclass(frozen=True)
class _Rules:
    """What one provider's strict mode asks for."""

    name: str
    refused: frozenset[str]
    documented: frozenset[str] | None = None
    formats: frozenset[str] | None = None
    strict: bool = True  # objects closed, properties required, a type everywhere, an object as the root
    doubtful: frozenset[str] = frozenset()  # keywords that are documented as not supported, and may be by now
    limits: Mapping[str, int] = field(default_factory=dict)


_OPENAI_LIMITS = MappingProxyType(
    {"depth": 10, "properties": 5_000, "enum_values": 1_000, "enum_length": 15_000, "names_length": 120_000}
)
_LARGE_ENUM = 250
_OPENAI = _Rules("OpenAI", _REFUSED, _DOCUMENTED, _FORMATS, limits=_OPENAI_LIMITS)
RULES: Mapping[Provider, _Rules] = MappingProxyType(
    {
        "openai": _OPENAI,
        "azure": _Rules(
            "Azure",
            _REFUSED,
            _DOCUMENTED,
            _FORMATS,
            doubtful=_BOUNDS - {"exclusiveMinimum", "exclusiveMaximum", "uniqueItems"} | {"pattern", "format"},
            limits=_OPENAI_LIMITS,
        ),
        "anthropic": _Rules(
            "Anthropic",
            _NOT_HEEDED | _BOUNDS - {"minItems"} | {"prefixItems"},
            limits=MappingProxyType({"recursion": 0, "unions": 16, "min_items": 1}),
        ),
        "gemini": _Rules(
            "Gemini",
            _NOT_HEEDED | {"allOf", "minLength", "maxLength", "pattern", "multipleOf"},
            strict=False,
        ),
        "llama.cpp": _Rules(
            "llama.cpp", _NOT_HEEDED - {"oneOf"} | {"multipleOf", "exclusiveMinimum", "exclusiveMaximum"}, strict=False
        ),
        "other": _OPENAI,
    }
)

_HOSTS: Mapping[str, Provider] = MappingProxyType(
    {
        ".openai.azure.com": "azure",
        ".services.ai.azure.com": "azure",
        ".cognitiveservices.azure.com": "azure",
        "api.openai.com": "openai",
        ".api.openai.com": "openai",
        "api.anthropic.com": "anthropic",
        "generativelanguage.googleapis.com": "gemini",
        "aiplatform.googleapis.com": "gemini",
        "-aiplatform.googleapis.com": "gemini",
    }
)


def provider_of(base_url: str, *, local: bool = False) -> Provider:
    """Return whose rules hold at a base URL; `local` says that it is the embedded model's."""
    host = urlsplit(base_url).hostname or ""
    known = (provider for end, provider in _HOSTS.items() if host == end or (end[0] in ".-" and host.endswith(end)))
    return "llama.cpp" if local else next(known, "other")


def lint(document: Mapping[str, Any], provider: Provider = "openai") -> list[StrictProblem]:
    """Return what a provider's strict mode forbids in a schema; empty if it takes it as it is.

    Parameters
    ----------
    document : mapping
        The schema that is sent: `AnswerSchema.document`, or any other.
    provider : str
        Whose rules: what `provider_of` returns; ``other`` are OpenAI's as warnings.
    """
    look = _Look(document, RULES[provider])
    refuses = provider in ("openai", "azure")
    found = [*look.root(), *look.parts(), *look.sizes()]
    return list(
        dict.fromkeys(
            StrictProblem(shown(path, look.names), rule, message, "error" if refuses and sure else "warning")
            for path, rule, message, sure in found
        )
    )


Found = tuple[Path, str, str, bool]
"""Where, the rule, what is wrong, and whether it is sure that the server refuses it."""


class _Look:
    """One look through a schema."""

    def __init__(self, document: Mapping[str, Any], rules: _Rules) -> None:
        self.names: set[str] = set()
        self._document = document
        self._rules = rules
        self._parts = list(self._walked())

    def _walked(self) -> Iterator[tuple[Path, Any]]:
        """Yield each part once, with the path of its values; definitions that nothing leads to at last."""
        seen: set[int] = set()
        waiting: list[tuple[Path, Any]] = [((), self._document)]
        spare = [self._document.get(name) for name in ("$defs", "definitions")]
        waiting[:0] = [((name,), each) for group in spare if isinstance(group, Mapping) for name, each in group.items()]
        while waiting:
            path, schema = waiting.pop()
            if not isinstance(schema, Mapping):
                yield path, schema
            elif id(schema) not in seen:
                seen.add(id(schema))
                self.names.update(step for step in path if step != "*")
                yield path, schema
                waiting.extend(reversed([(path + step, each) for step, each in _inside(schema, self._target(schema))]))

    def _target(self, schema: Mapping[str, Any]) -> Any:
        reference = schema.get("$ref")
        return followed(self._document, reference[1:]) if isinstance(reference, str) and reference[:1] == "#" else None

    def root(self) -> Iterator[Found]:
        """Yield what is wrong with the root."""
        if not self._rules.strict:
            return
        if self._document.get("type") != "object":
            yield (), "root", "the root must be an object", True
        for keyword in ("anyOf", "enum", "const"):
            if keyword in self._document:
                yield (), "root", f"the root must be an object of fields, without {keyword}", True

    def parts(self) -> Iterator[Found]:
        """Yield what is wrong with each part."""
        for path, schema in self._parts:
            if not isinstance(schema, Mapping):
                if self._rules.strict:
                    yield path, "type", "a part that admits any value: say its type", True
                continue
            yield from self._keywords(path, schema)
            if self._rules.strict:
                yield from self._shape(path, schema)
                yield from _first_fields(path, schema) if self._rules.documented else ()
                yield from _object(path, schema)

    def _keywords(self, path: Path, schema: Mapping[str, Any]) -> Iterator[Found]:
        rules = self._rules
        for keyword in schema:
            way = f"; {_WAYS[keyword]}" if keyword in _WAYS else ""
            if keyword in rules.refused:
                verb = "refuses a schema with" if rules.strict else "does not heed"
                yield path, keyword, f"{rules.name} {verb} {keyword!r}{way}", True
            elif keyword in rules.doubtful:
                yield path, keyword, f"{rules.name} says that it does not support {keyword!r}", False
            elif rules.documented is not None and keyword not in rules.documented:
                yield path, keyword, f"{keyword[:60]!r} is not among the keywords that {rules.name} documents", False
        name = schema.get("format")
        if rules.formats is not None and isinstance(name, str) and name not in rules.formats:
            listed = ", ".join(sorted(rules.formats))
            yield path, "format", f"{rules.name} knows no format {name[:60]!r}; it knows {listed}", True
        least = schema.get("minItems")
        if "min_items" in rules.limits and isinstance(least, int) and least > rules.limits["min_items"]:
            yield path, "minItems", f"{rules.name} takes 0 or 1 as minItems", True

    def _shape(self, path: Path, schema: Mapping[str, Any]) -> Iterator[Found]:
        """Yield a missing type or items, and references that are not alone or lead outside."""
        if "$ref" in schema:
            if len(schema.keys() - {"$ref", "$defs", "definitions"}) > 0:
                yield path, "reference", "no keyword may stand beside $ref", True
            if self._target(schema) is None:
                yield path, "reference", f"$ref {str(schema['$ref'])[:60]!r} leads to nothing in the schema", True
        elif not schema.keys() & {"type", "anyOf", "oneOf", "allOf"}:
            yield path, "type", "a type must be said", True
        types = schema.get("type")
        if "array" in (types if isinstance(types, list) else [types]) and not isinstance(schema.get("items"), Mapping):
            yield path, "items", "a list must say what its items are", True

    def sizes(self) -> Iterator[Found]:
        """Yield the limits that the schema as a whole is beyond."""
        limits, name = self._rules.limits, self._rules.name
        for rule, (path, size) in self._measured().items():
            if rule in limits and size > limits[rule]:
                yield path, rule, f"{_SIZES[rule].format(size)}; {name} takes at most {limits[rule]:,}", True
        levels = self._depth(self._document, frozenset(), ("object", "array"))
        if "depth" in limits and levels > limits["depth"] >= self._measured()["depth"][1]:
            yield (), "depth", f"objects and lists are nested {levels} levels deep; {name} may count both", False
        if self._rules.name == "Azure" and not levels > limits["depth"]:
            for rule, most in (("depth", 5), ("properties", 100)):
                if most < self._measured()[rule][1] <= limits[rule]:
                    yield (), rule, f"{name} says that it takes at most {most:,}", False

    def _measured(self) -> dict[str, tuple[Path, int]]:
        """Return the sizes of the schema by rule, with the place that is meant."""
        schemas = [(path, schema) for path, schema in self._parts if isinstance(schema, Mapping)]
        named = [name for _, schema in schemas for name in _mapping(schema, "properties")]
        defined = [
            name for _, schema in schemas for group in ("$defs", "definitions") for name in _mapping(schema, group)
        ]
        listed = [(path, schema["enum"]) for path, schema in schemas if isinstance(schema.get("enum"), list)]
        values = [value for _, members in listed for value in members]
        constants = [schema["const"] for _, schema in schemas if "const" in schema]
        large = [(path, _length(members)) for path, members in listed if len(members) > _LARGE_ENUM]
        unions = sum(isinstance(schema.get("type"), list) or "anyOf" in schema for _, schema in schemas)
        return {
            "depth": ((), self._depth(self._document, frozenset(), ("object",))),
            "properties": ((), len(named)),
            "enum_values": ((), len(values)),
            "enum_length": max(large, key=lambda each: each[1], default=((), 0)),
            "names_length": ((), _length([*named, *defined, *values, *constants])),
            "unions": ((), unions),
            "recursion": ((), int(self._recurs(self._document, frozenset(), set()))),
        }

    def _depth(self, schema: Any, around: frozenset[int], counted: tuple[str, ...]) -> int:
        """Return how deep the counted types are nested; what recurs counts once."""
        known: dict[int, int] = {}

        def below(part: Any, around: frozenset[int]) -> int:
            if not isinstance(part, Mapping) or id(part) in around:
                return 0
            if id(part) not in known:
                types = part.get("type")
                here = any(name in counted for name in (types if isinstance(types, list) else [types]))
                inside = [each for _, each in _inside(part, self._target(part))]
                known[id(part)] = here + max((below(each, around | {id(part)}) for each in inside), default=0)
            return known[id(part)]

        return below(schema, around)

    def _recurs(self, schema: Any, around: frozenset[int], done: set[int]) -> bool:
        if not isinstance(schema, Mapping) or id(schema) in done:
            return False
        if id(schema) in around:
            return True
        inside = [each for _, each in _inside(schema, self._target(schema))]
        found = any(self._recurs(each, around | {id(schema)}, done) for each in inside)
        done.add(id(schema))
        return found


_SIZES = {
    "depth": "objects are nested {:,} levels deep",
    "properties": "there are {:,} properties",
    "enum_values": "there are {:,} enum values",
    "enum_length": "the texts of an enum of more than 250 values have {:,} characters",
    "names_length": "the names of properties and definitions and the texts of enums have {:,} characters",
    "unions": "{:,} fields may be null or are of one of several types",
    "recursion": "the schema holds itself",
}


def _object(path: Path, schema: Mapping[str, Any]) -> Iterator[Found]:
    """Yield what is missing for an object to be closed, with each property required."""
    types = schema.get("type")
    if "object" not in (types if isinstance(types, list) else [types]) and "properties" not in schema:
        return
    if schema.get("additionalProperties") is not False:
        yield path, "closed", "an object must name its fields and be closed: additionalProperties: false", True
    named, required = _mapping(schema, "properties"), schema.get("required")
    listed = dict.fromkeys(map(str, required)) if isinstance(required, list) else {}
    for name in named:
        if name not in listed:
            yield (*path, name), "required", "must be required; what may be missing is nullable instead", True
    for name in listed:
        if name not in named:
            yield (*path, name), "required", "is required and is no property", True


def _first_fields(path: Path, schema: Mapping[str, Any]) -> Iterator[Found]:
    """Yield a union of objects that begin alike: some models choose by the first field."""
    forms = schema["anyOf"] if isinstance(schema.get("anyOf"), list) else []
    objects = [_mapping(form, "properties") for form in forms if isinstance(form, Mapping)]
    first = [next(iter(named.items())) for named in objects if named]
    if any(one in first[:at] for at, one in enumerate(first)):
        yield (
            path,
            "anyOf",
            "objects of a union that begin with the same field may be refused: let the first differ",
            False,
        )


def _mapping(schema: Mapping[str, Any], keyword: str) -> Mapping[str, Any]:
    value = schema.get(keyword)
    return value if isinstance(value, Mapping) else {}


def _length(texts: list[Any]) -> int:
    return sum(len(text) for text in texts if isinstance(text, str))


def _inside(schema: Mapping[str, Any], target: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the parts of a schema, and where their values stand below its own."""
    if target is not None:
        yield (), target
    for keyword, value in schema.items():
        if keyword in MAPS and isinstance(value, Mapping):
            yield from (((name,) if keyword == "properties" else (), each) for name, each in value.items())
        elif keyword in LISTS and isinstance(value, list):
            yield from ((("*",) if keyword == "prefixItems" else (), each) for each in value)
        elif keyword in SINGLE and (isinstance(value, Mapping) or (keyword == "items" and isinstance(value, bool))):
            yield ("*",) if keyword in ("items", "contains") else (), value
