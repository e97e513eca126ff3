"""Connection: where requests go and with which key, as a frozen value that shows no secret."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from .. import addresses
from ..arguments import explaining
from ..engine.transports import TRANSPORTS
from ..errors import ConnectionSettingError, SettingError, UsageError, nearest
from ..secret import MASK, Secret
from ..settings import Timeout
from .environment import VARIABLE, check_variables, variables
from .profile import Profile
from .profile_register import default_profile, find_profile

if TYPE_CHECKING:
    import requests

    from ..engine.calls import Carrier
    from ..local import LocalModel, LocalServer

OPENAI = "https://api.openai.com/v1"
LOCAL = "local"
MOST_SERVERS = 64
_SENSITIVE = re.compile(r"auth|key|token|secret|cookie|password|signature", re.IGNORECASE)


def _hiding(made: type[Connection]) -> type[Connection]:
    """Have it refuse its arguments without a traceback whose local variables, as some tools print them, show a key."""
    initialize: Callable[..., None] = made.__init__

    @functools.wraps(initialize)
    def __init__(self: Connection, *given: Any, **named: Any) -> None:  # noqa: N807
        try:
            initialize(self, *given, **named)
        except Exception as error:  # noqa: BLE001 - whatever it is, the frames within know the key
            del self, given, named
            error.__context__ = None
            raise error.with_traceback(None) from None

    made.__init__ = __init__  # type: ignore[method-assign]
    return made


@_hiding
@explaining("__init__")
@dataclass(frozen=True, repr=False)
class Connection:
    """Where requests go and with which key.

    Parameters
    ----------
    base_url : str or sequence of str, optional
        The API's address, such as ``http://127.0.0.1:8080/v1``. Default: ``OPENAI_BASE_URL`` of the environment, else
        ``https://api.openai.com/v1``. Here, in headers and in the query, ``${NAME}`` stands for an environment
        variable, which is read at each run. A list names several servers that answer alike: rows are spread over them,
        and one that fails is left until it answers again. A journal knows rows by the first of them.
    api_key : str, optional
        The key, sent as a bearer token. Default: ``OPENAI_API_KEY``, which goes to the environment's own base URL (or
        ``https://api.openai.com/v1``) and nowhere else. ``""`` sends no key.
    api_key_env : str, optional
        The environment variable that holds the key, read at each run.
    api_key_header : str, optional
        The header in which the key is sent as it is, such as ``api-key``. Default: ``Authorization``, as a bearer
        token.
    env_file : path, optional
        A file with lines ``NAME=VALUE``. What the environment does not have is looked up there, at each run; nothing of
        it goes into the environment.
    headers : mapping of str to str, optional
        Further headers of every request.
    query : mapping of str to str, optional
        A query for every request's address, such as ``{"api-version": "2024-06-01"}``.
    timeout : Timeout or float, optional
        A plain number is the total in seconds.
    proxy : str, optional
        A proxy's address; default: those of the environment. Loopback addresses never go through one.
    ca_bundle : str, optional
        A file of trusted certificates.
    session : requests.Session, optional
        Your own session, with its authentication, adapters and hooks; used as it is.
    transport : {"curl", "requests"} or Transport, optional
        What carries the bytes. Default: libcurl, or `requests` where `session` is given; ``"requests"`` alone is a
        plain new session. An object of your own with ``start``, ``cancel``, ``wait`` and ``close`` is used as it is;
        it may have ``capacity`` and ``end`` too (`tablenodes.engine.calls.Transport`).
    allow_insecure : bool
        Let a key travel over plain http to another machine.
    prices : mapping of str to mapping, optional
        What models cost here, in USD per million tokens: ``{"my-model": {"input": 0.15, "cached_input": 0.075,
        "output": 0.60}}``; without ``cached_input``, what was cached costs as much as other input. These go before the
        built-in prices, which are those of known providers' addresses alone.
    local_model : LocalModel, optional
        The embedded model, as `Connection.local` sets it.
    profile : Profile, optional
        The profile that this comes from, as `Connection.from_profile` sets it.

    Raises
    ------
    ConnectionSettingError
        If an address, a key or a header cannot be used as it is written.
    """

    base_url: str | Sequence[str] | None = None
    api_key: str | Secret | None = None
    _: KW_ONLY
    api_key_env: str | None = None
    api_key_header: str | None = None
    env_file: str | os.PathLike[str] | None = None
    headers: Mapping[str, str | Secret] | None = None
    query: Mapping[str, str | Secret] | None = None
    timeout: Timeout | float | None = None
    proxy: str | Secret | None = None
    ca_bundle: str | None = None
    session: requests.Session | None = None
    transport: str | Carrier | None = None
    allow_insecure: bool = False
    prices: Mapping[str, Mapping[str, float]] | None = None
    local_model: LocalModel | None = None
    profile: Profile | None = None
    server: LocalServer | None = field(default=None, init=False, repr=False, compare=False)
    _running: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check and convert each field, also one given alone, as a YAML file's are; what this made passes again."""
        put = object.__setattr__
        _refuse_placeholders({f.name: getattr(self, f.name) for f in fields(self)})
        put(self, "base_url", _addresses(self.base_url))
        if isinstance(self.api_key, str):
            key = addresses.check_key(self.api_key, "api_key") if self.api_key else ""
            put(self, "api_key", Secret(key))
        elif self.api_key is not None and not isinstance(self.api_key, Secret):
            raise ConnectionSettingError(f"api_key must be a text, not {type(self.api_key).__name__}")
        if self.api_key is not None and self.api_key_env is not None:
            raise ConnectionSettingError("api_key and api_key_env are both set: keep one of them", place="api_key")
        _check_variable(self.api_key_env)
        if self.api_key_header is not None:
            addresses.check_header(_text(self.api_key_header, "api_key_header"), "")
        if self.env_file is not None and not isinstance(self.env_file, str | os.PathLike):
            raise ConnectionSettingError(f"env_file must be a path, not {type(self.env_file).__name__}")
        if not isinstance(self.allow_insecure, bool):
            raise ConnectionSettingError("allow_insecure must be True or False")
        put(self, "headers", _each("headers", self.headers, _header))
        put(self, "query", _each("query", self.query, _query_value))
        put(self, "timeout", _timeout(self.timeout))
        _check_proxy(self.proxy)
        if isinstance(self.proxy, str) and "@" in self.proxy:
            put(self, "proxy", Secret(self.proxy))
        _check_ca_bundle(self.ca_bundle)
        _check_transport(self.transport, self.session)
        put(self, "prices", _prices(self.prices))

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of all servers; empty where the environment says it."""
        given = self.base_url
        return () if given is None else (given,) if isinstance(given, str) else tuple(given)

    @classmethod
    def local(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> Connection:
        """Describe the embedded model: a small language model on this machine, without a key and without a network.

        The description starts nothing. A run starts the model's server and ends it; in a ``with`` block the server
        lives as long as the block. For `CreateEmbedding` it is another model, which makes vectors.

        Parameters
        ----------
        path : path, optional
            A GGUF file. Default: the model that ``tablenodes model install`` put into the user's cache folder, for
            vectors the one of ``tablenodes model install --embedding``.
        **options
            Further fields of `tablenodes.local.LocalModel`, such as ``slots`` and ``context``.
        """
        from ..local import LocalModel  # noqa: PLC0415 - the embedded model is an extra

        try:
            model = LocalModel(path=None if path is None else os.fspath(path), **options)
        except TypeError:
            allowed = [f.name for f in fields(LocalModel)]
            wrong = next((name for name in options if name not in allowed), "")
            raise SettingError(f"the embedded model has no option {wrong!r}{nearest(wrong, allowed)}") from None
        return cls(local_model=model)

    @classmethod
    def from_profile(cls, name: str) -> Connection:
        """Return the connection of a profile: a name for an address, the variable that holds its key, and more.

        Profiles are built in for known servers (``tablenodes connections`` lists them), and are written into
        ``config.yaml`` in the user's configuration folder or ``tablenodes.yaml`` in the current one, which goes before
        it. Its ``limits``, ``retry`` and ``model`` are used where a run and a node do not say others. A profile's name
        may stand wherever a connection goes; "local" is the embedded model.

        Raises
        ------
        ConnectionSettingError
            If there is no such profile, or a file with profiles cannot be used: names the file and the line.
        """
        if name == LOCAL:
            return cls.local()
        profile = find_profile(_text(name, "profile"), cls)
        return cls(**profile.settings, profile=profile)

    def __repr__(self) -> str:
        if self.local_model is not None:
            return f"Connection.local({'' if self.local_model.path is None else repr(self.local_model.path)})"
        shown = []
        for f in fields(self):
            value = getattr(self, f.name)
            if not f.repr or value is None or value == f.default:
                continue
            if f.name == "headers":
                value = dict.fromkeys(value, MASK)
            elif f.name in {"session", "transport"} and not isinstance(value, str):
                value = f"<{type(value).__name__}>"
            shown.append(f"{f.name}={value!r}")
        return f"Connection({', '.join(shown)})"

    def __reduce__(self) -> tuple[Callable[..., Connection], tuple[dict[str, Any]]]:
        # Sessions, transports and running servers stay where they are; secrets travel as "missing".
        state = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        state["session"] = None
        if isinstance(self.api_key, Secret) and not self.api_key.missing and not self.api_key.reveal():
            state["api_key"] = ""  # that no key is sent is no secret
        state["transport"] = self.transport if isinstance(self.transport, str) else None
        return _restore, (state,)

    def __enter__(self) -> Connection:
        """Start the embedded model's server, if this is one; return a connection to it."""
        stack = ExitStack()
        self._running.append(stack)
        if self.local_model is None:
            return self
        return self.served_by(stack.enter_context(self.local_model.start()))

    def served_by(self, server: LocalServer) -> Connection:
        """Return a connection to a running server of an embedded model."""
        started = replace(self, base_url=server.base_url, api_key=server.api_key)
        object.__setattr__(started, "server", server)
        return started

    def __exit__(self, *exception: object) -> None:
        self._running.pop().close()


def _restore(state: dict[str, Any]) -> Connection:
    kept = {name: state.pop(name) for name in ("headers", "query")}
    connection = Connection(**state)
    for name, value in kept.items():
        object.__setattr__(connection, name, value)
    return connection


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        column = type(value).__module__.startswith(__package__.partition(".")[0])
        what = "the same for every row, not a column" if column else f"not {type(value).__name__}"
        raise ConnectionSettingError(f"{name} must be a text, {what}")
    return value


def _refuse_placeholders(settings: Mapping[str, Any]) -> None:
    """Raise `ConnectionSettingError` for braces in a setting, which is the same in every row."""
    for name, value in settings.items():
        several = value if isinstance(value, list | tuple) else [value]
        texts = value.values() if isinstance(value, Mapping) else several
        if name != "prices" and any(isinstance(text, str) and "{{" in text for text in texts):
            how = "it is the same for every row, and placeholders are not filled in"
            raise ConnectionSettingError(f"{name}: {how}", place=name)


def _addresses(given: object) -> str | tuple[str, ...] | None:
    """Return the addresses as they are kept: a list of one is that one."""
    if given is None:
        return None
    each = tuple(given) if isinstance(given, list | tuple) else (_text(given, "base_url"),)
    for address in each:
        check_variables(_text(address, "base_url"), "base_url")
        if not variables(address):
            addresses.split_base_url(address)
    if not 0 < len(each) <= MOST_SERVERS:
        raise ConnectionSettingError(f"base_url must be an address, or a list of 1 to {MOST_SERVERS} of them")
    alike = [address.strip().rstrip("/") for address in each]
    if twice := next((address for address in alike if alike.count(address) > 1), None):
        raise ConnectionSettingError(f"base_url names {twice} twice: leave one out")
    return each if len(each) > 1 else each[0]


def _each(name: str, given: object, checked: Callable[[Any, Any], str | Secret]) -> Mapping[str, str | Secret] | None:
    if given is not None and not isinstance(given, Mapping):
        raise ConnectionSettingError(f"{name} must be a mapping, not {type(given).__name__}")
    return None if given is None else {key: checked(key, value) for key, value in given.items()}


def _header(name: str, value: str | Secret) -> str | Secret:
    plain = value.reveal() if isinstance(value, Secret) and not value.missing else value
    if isinstance(plain, Secret):
        return plain
    addresses.check_header(name, plain)
    check_variables(plain, f"headers: {name}")
    if isinstance(value, Secret):
        return value
    return Secret(plain) if is_sensitive(name) and not variables(plain) else plain


def _check_variable(name: str | None) -> None:
    if name is not None and not VARIABLE.fullmatch(_text(name, "api_key_env")):
        raise ConnectionSettingError(
            "api_key_env must be the name of an environment variable, such as OPENAI_API_KEY; never the key itself",
            code="no_variable_name",
        )


def _check_ca_bundle(path: object) -> None:
    if path is None:
        return
    if not isinstance(path, str | os.PathLike):
        raise ConnectionSettingError(f"ca_bundle must be a path, not {type(path).__name__}")
    if not os.path.exists(path):
        raise ConnectionSettingError(f"ca_bundle: no such file {os.fspath(path)!r}")


def _query_value(name: str, value: str | int | Secret) -> str | Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConnectionSettingError(f"query: the value of {_text(name, 'query')} must be a text or a number")
    check_variables(str(value), f"query: {_text(name, 'query')}")
    return Secret(str(value)) if is_sensitive(name) and not variables(value) else str(value)


def is_sensitive(name: str) -> bool:
    """Check whether a header or a part of a query may be a secret, by its name."""
    return bool(_SENSITIVE.search(name))


def _timeout(timeout: Timeout | float | None) -> Timeout | None:
    if timeout is None or isinstance(timeout, Timeout):
        return timeout
    return Timeout(total=timeout, connect=min(10, timeout) if isinstance(timeout, int | float) else 10)


def _prices(given: Any) -> Mapping[str, Mapping[str, float]] | None:
    if given is None:
        return None
    from ..answers.rate_card import given_cards  # noqa: PLC0415 - loaded where there are prices

    return {model: dict(given[model]) for model in given_cards(given)}


def _check_proxy(proxy: str | Secret | None) -> None:
    if proxy is None or isinstance(proxy, Secret):
        return
    try:
        parts = urlsplit(_text(proxy, "proxy"))
        fits = parts.scheme in {"http", "https", "socks5", "socks5h"} and bool(parts.hostname)
    except ValueError:
        fits = False
    if not fits:
        raise ConnectionSettingError("proxy is not an address; write it as http://HOST:PORT")


def _check_transport(transport: object, session: object) -> None:
    if isinstance(transport, str) and transport not in TRANSPORTS:
        raise ConnectionSettingError(
            f"no transport {transport!r}{nearest(transport, TRANSPORTS)}; choose one of {', '.join(TRANSPORTS)}"
        )
    if is_custom(transport):
        lacks = [m for m in ("start", "cancel", "wait", "close") if not callable(getattr(transport, m, None))]
        if lacks:
            raise ConnectionSettingError(f"transport: the object has no method {lacks[0]}()")
    if session is not None and transport not in {None, "requests"}:
        raise ConnectionSettingError("only the requests transport uses session: leave transport out")
    if session is not None and not callable(getattr(session, "request", None)):
        raise ConnectionSettingError(f"session must be a requests.Session, not {type(session).__name__}")


def is_custom(transport: object) -> bool:
    """Check whether a transport is the user's own object."""
    return transport is not None and not isinstance(transport, str)


GivenConnection: TypeAlias = Connection | str
"""A connection, or the name of a profile, of which "local" is the embedded model."""


def given_connection(given: Any, error: type[UsageError]) -> Connection | None:
    """Return the connection that is given, as itself or as the name of a profile; None where none is."""
    if isinstance(given, str):
        if "/" in given:
            how = "for a server, pass Connection(base_url)"
            raise error(f"connection must be a Connection or the name of a profile: {how}", place="connection")
        return Connection.from_profile(given)
    if given is not None and not isinstance(given, Connection):
        what = f"connection must be a Connection or the name of a profile, not {type(given).__name__}"
        raise error(what, place="connection")
    return given


def default_connection() -> Connection:
    """Return the connection of a run that is given none: of the default profile, else the environment's."""
    profile = default_profile(Connection)
    if profile is None:
        return Connection()
    made = Connection.local() if profile.name == LOCAL else Connection(**profile.settings)
    return replace(made, profile=profile)
