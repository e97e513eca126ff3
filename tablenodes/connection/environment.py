"""What a connection reads of the environment: variables that stand in its texts, and a file of them that it names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..errors import ConnectionSettingError, nearest
from ..secret import Veiled

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_IN_TEXT = re.compile(rf"\$\{{({VARIABLE.pattern})\}}")
_LINE = re.compile(rf"(?:export[ \t]+)?({VARIABLE.pattern})[ \t]*=[ \t]*(.*)")
_QUOTED = re.compile(r"(['\"])(.*)\1[ \t]*(?:#.*)?")
_MOST_BYTES = 2**16


def variables(text: object) -> tuple[str, ...]:
    """Return the names of the variables that stand in a text as ``${NAME}``."""
    return tuple(_IN_TEXT.findall(text)) if isinstance(text, str) else ()


def pieces(text: str) -> list[str]:
    """Return a text in pieces: every second one is the name of a variable."""
    return _IN_TEXT.split(text)


def check_variables(text: str, place: str) -> None:
    """Raise `ConnectionSettingError` for a variable that is not written as it must be."""
    if "${" in _IN_TEXT.sub("", text):
        raise ConnectionSettingError(f"{place}: write an environment variable as ${{NAME}}", place=place)


def filled_in(text: str, environ: Mapping[str, str]) -> str:
    """Return a text with the variables' values; raise `ConnectionSettingError` for one that is not set."""
    return _IN_TEXT.sub(lambda found: value_of(found[1], environ), text)


def address(text: str, environ: Mapping[str, str]) -> str:
    """Return an address with the variables' values: what follows a variable is not added where its value has it."""
    before, name, *rest = pieces(text)
    after = filled_in(text[len(before) + len(name) + len("${}") :], environ)
    value = value_of(name, environ).rstrip("/") if rest[0].startswith("/") else value_of(name, environ)
    return before + (value if after and value.endswith(after.rstrip("/")) else value + after)


def value_of(name: str, environ: Mapping[str, str]) -> str:
    """Return a variable's value; raise `ConnectionSettingError` for one that is not set."""
    if environ.get(name, "").strip():
        return environ[name].strip()
    word = name.rpartition("_")[2].upper()
    close = nearest(name, [each for each in environ if word in each.upper()])
    is_name = name == name.upper()  # else it may be the key itself
    raise ConnectionSettingError(
        f"the environment variable {name if is_name else 'that is named there'} is not set{close}",
        code="variable_unset",
        values={"variable": name if is_name else None, "hint": close},
    )


def surrounding(env_file: str | os.PathLike[str] | None, environ: Mapping[str, str] | None = None) -> Veiled:
    """Return an environment (the process's own) with what a file adds to it; the environment goes before the file."""
    own = os.environ if environ is None else environ
    return Veiled(own) if env_file is None else Veiled({**_read(env_file), **own})


def _read(env_file: str | os.PathLike[str]) -> dict[str, str]:
    """Return the variables of a file with a line ``NAME=VALUE`` each; no message shows a value."""
    name = os.fspath(env_file)
    try:
        with open(name, "rb") as file:
            text = file.read(_MOST_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise ConnectionSettingError(f"env_file: cannot read {name!r} ({error.strerror})", place="env_file") from None
    except UnicodeDecodeError:
        raise ConnectionSettingError(f"env_file: {name!r} is not UTF-8 text", place="env_file") from None
    if len(text) > _MOST_BYTES:
        raise ConnectionSettingError(f"env_file: {name!r} is longer than {_MOST_BYTES:,} bytes", place="env_file")
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            variable, value = _parsed(line.strip(), f"{name}:{number}")
            found[variable] = value
    return found


def _parsed(line: str, where: str) -> tuple[str, str]:
    matched = _LINE.fullmatch(line)
    if matched is None:
        raise ConnectionSettingError(f"{where}: must be NAME=VALUE, an empty line or a # comment", place="env_file")
    name, value = matched.groups()
    if value[:1] in ("'", '"'):
        quoted = _QUOTED.fullmatch(value)
        if quoted is None or quoted[1] in quoted[2]:
            raise ConnectionSettingError(f"{where}: the quote around the value is not closed", place="env_file")
        return name, quoted[2]
    return name, re.split(r"(?:^|[ \t])#", value, maxsplit=1)[0].strip()
