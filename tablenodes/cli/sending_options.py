"""The options that say how rows are sent: one for each field of `Limits`, `Retry`, `Timeout` and `Connection`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args

import click

from ..connection.connection import Connection, default_connection, is_sensitive
from ..connection.environment import VARIABLE, variables
from ..engine.transports import TRANSPORTS
from ..errors import SettingError
from ..settings import Limits, Retry, Timeout, altered, described, ranges
from .command_options import Given, Option, chosen_of, flag, option, under

if TYPE_CHECKING:
    from ..settings import Range

_NONE = "none"
_PREFIXES = {Limits: "", Retry: "retry_", Timeout: "timeout_"}
_SHORT = {"concurrency": "-c", "timeout_total": "--timeout"}
_UNITS = {"max_cost": "USD", "body_bytes": "BYTES", "grace": "SECONDS"}
_ENV = "name the environment variable that holds it with --header-env"


class Number(click.ParamType):  # type: ignore[type-arg, unused-ignore] # generic since click 8.4
    """A number of a range, or the word none where a setting may be without one."""

    name = "number"

    def __init__(self, kind: type, bounds: Range, *, optional: bool) -> None:
        self._kind, self._optional = kind, optional
        self._low, self._high = (kind(bounds.low), kind(bounds.high))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number that a text is."""
        if self._optional and value == _NONE:
            return value
        try:
            number = self._kind(value)
        except ValueError:
            number = None
        if number is None or not self._low <= number <= self._high:
            what = "a whole number" if self._kind is int else "a number"
            end = f" from {self._low:,.10g} to {self._high:,.10g}"
            most = f", {self._low:,} or more" if self._high >= 2**53 else end
            self.fail(f"must be {what}{most}{', or none' if self._optional else ''}", param, ctx)
        return number


def number_options(kind: Any) -> tuple[Option, ...]:
    """Return an option for each field of `Limits`, `Retry` or `Timeout`."""
    return tuple(_number_option(kind, name, text) for name, text in described(kind).items())


def _number_option(kind: Any, name: str, text: str) -> Option:
    known = f"{_PREFIXES[kind]}{name}"
    names = f"--{known.replace('_', '-')} {_SHORT.get(known, '')}"
    default = getattr(kind, name)
    told = text if default is None else f"{text} [{default:,}]" if isinstance(default, int) else f"{text} [{default}]"
    if name not in ranges(kind):
        return option(names, "auto|no", told, callback=chosen_of("auto", "no"))
    annotated, bounds = ranges(kind)[name]
    number, *optional = get_args(annotated) or (annotated,)
    unit = _UNITS.get(name, "N" if number is int or kind is Limits else "SECONDS")
    return option(names, unit, told, type=Number(number, bounds, optional=bool(optional)))


_ADDRESS = "The API's address, such as http://127.0.0.1:8080/v1; once for each of several servers."
_KEY = "The environment variable of the key. Default: OPENAI_API_KEY, for OPENAI_BASE_URL or api.openai.com alone."
_NAMED = "A connection with a name; tablenodes connections lists them."


def _completed(_: click.Context, __: click.Parameter, begun: str) -> list[str]:
    """Return the names of profiles that begin like this."""
    from ..connection.profile_register import known_profiles  # noqa: PLC0415 - loaded where it is used

    return [name for name in known_profiles(Connection) if name.startswith(begun)]


(PROFILE,) = under("Connection", option("--profile", "NAME", _NAMED, shell_complete=_completed))
CONNECTION = under(
    "Connection",
    PROFILE,
    option("--base-url", "URL", f"{_ADDRESS} Name the key for it with --api-key-env.", multiple=True),
    option("--api-key-env", "NAME", _KEY),
    option("--api-key-header", "NAME", "The header of the key, such as api-key. [Authorization, as a bearer token]"),
    option("--env-file", "FILE", "A file of NAME=VALUE lines, for variables that the environment does not have."),
    flag("--no-key", "Send no API key, for a server that needs none."),
    flag("--local", "Use the embedded model on this machine."),
    option("headers --header", "'NAME: VALUE'", "A further header, which is no secret.", multiple=True),
    option("header_envs --header-env", "NAME=VARIABLE", "A header from an environment variable.", multiple=True),
    option("query --query-param", "NAME=VALUE", "A part of every address's query.", multiple=True),
    option("--proxy", "URL", "A proxy. Default: those of the environment."),
    option("--ca-bundle", "FILE", "A file of trusted certificates."),
    option("--transport", "|".join(TRANSPORTS), "What carries the bytes. [curl]", callback=chosen_of(*TRANSPORTS)),
    flag("--allow-insecure", "Let a key travel over plain http to another machine."),
    option("--prices", "FILE", "What models cost here, in USD per million tokens, as JSON."),
)
SENDING = (  # what says how rows are sent, and where
    *under("Limits", *number_options(Limits)),
    *under("Retries", *number_options(Retry)),
    *CONNECTION,
    *under("Timeouts", *number_options(Timeout)),
)


def changed(kind: Any, before: Any, given: Given) -> Any:
    """Return the settings with what the options say in place of their own; as they were where that is nothing."""
    prefix = _PREFIXES[kind]
    found = {each.name: getattr(given, f"{prefix}{each.name}", None) for each in fields(kind)}
    words = {_NONE: None, "no": False}
    made = {name: words.get(value, value) for name, value in found.items() if value is not None}
    return altered(before or kind(), **made) if made else before


def connected_by(connection: Connection | None, given: Given) -> Connection | None:
    """Return a connection with the timeouts, headers and so on that the options say in place of its own."""
    before = None if connection is None else connection.timeout
    timeout = changed(Timeout, before if isinstance(before, Timeout) else None, given)
    made: dict[str, Any] = {} if timeout is before else {"timeout": timeout}
    own = connection or default_connection()
    if found := _headers(given):
        kept = {name: value for name, value in (own.headers or {}).items() if name.casefold() not in found}
        made["headers"] = kept | dict(found.values())
    if query := _query(given.query):
        made["query"] = {**(own.query or {}), **query}
    if given.proxy is not None:
        made["proxy"] = _without_password(given.proxy)
    plain = ("ca_bundle", "transport", "api_key_header", "env_file")
    made |= {name: value for name in plain if (value := getattr(given, name)) is not None}
    if given.allow_insecure:
        made["allow_insecure"] = True
    if given.prices is not None:
        made["prices"] = _prices(given.prices)
    if given.local and made.keys() - {"timeout"}:
        refused = next(iter(made.keys() - {"timeout"}))
        raise click.BadParameter(f"the embedded model is on this machine: leave {refused} out", param_hint="--local")
    return replace(own, **made) if made else connection


def _headers(given: Given) -> dict[str, tuple[str, str]]:
    """Return the headers that the options say, by their names in small letters."""
    found: dict[str, tuple[str, str]] = {}
    for text in given.headers:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter("write it as 'NAME: VALUE'", param_hint="--header")
        if is_sensitive(name) and not variables(value):
            what = f"{name.strip()[:40]} may be a secret, and others can read arguments: {_ENV}"
            raise click.BadParameter(what, param_hint="--header")
        _put(found, name.strip(), value.strip(), "--header")
    for text in given.header_envs:
        name, equals, variable = text.partition("=")
        if not equals or not name or not variable:
            raise click.BadParameter("write it as NAME=VARIABLE", param_hint="--header-env")
        if not VARIABLE.fullmatch(variable):
            what = f"write it as '{name[:40]}=VARIABLE': a variable's name, never what it holds"
            raise click.BadParameter(what, param_hint="--header-env")
        _put(found, name, f"${{{variable}}}", "--header-env")
    return found


def _put(found: dict[str, tuple[str, str]], name: str, value: str, hint: str) -> None:
    if name.casefold() in found:
        raise click.BadParameter(f"{name} is given twice", param_hint=hint)
    found[name.casefold()] = name, value


def _query(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter("write it as NAME=VALUE", param_hint="--query-param")
        if is_sensitive(name) and not variables(value):
            what = f"{name[:40]} may be a secret, and others can read arguments: write '{name[:40]}=${{VARIABLE}}'"
            raise click.BadParameter(what, param_hint="--query-param")
        if name in found:
            raise click.BadParameter(f"{name} is given twice", param_hint="--query-param")
        found[name] = value
    return found


def _without_password(proxy: str) -> str:
    if "@" in proxy:
        what = "its password would stand in the arguments, which others can read: set HTTPS_PROXY in the environment"
        raise click.BadParameter(what, param_hint="--proxy")
    return proxy


def _prices(path: str) -> Any:
    import orjson  # noqa: PLC0415 - loaded where it is used

    try:
        with open(path, "rb") as file:
            return orjson.loads(file.read())
    except OSError as error:
        raise SettingError(f"--prices {path}: cannot read it ({error.strerror})") from None
    except orjson.JSONDecodeError as error:
        raise SettingError(f"--prices {path}: is not JSON, at line {error.lineno}: {error.msg}") from None
