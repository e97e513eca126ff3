"""Endpoint: a connection opened: its environment read, the key found, the embedded model started."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from .. import addresses
from .._version import __version__
from ..engine.calls import PlacedBody, Request, Transport
from ..engine.transports import transport_class
from ..engine.transports.port_check import PortCheck
from ..engine.transports.server_switch import ServerSwitch
from ..engine.transports.wrapper import Borrowed
from ..errors import ConnectionSettingError, nearest
from ..secret import Secret, Veiled
from ..settings import Limits, Timeout
from .connection import OPENAI, Connection, is_custom
from .environment import address, filled_in, surrounding, variables

Headers = list[tuple[str, str | Secret]]
_EMBEDDED = "embedded://model/"
_USER_AGENT = ("User-Agent", f"tablenodes/{__version__}")
NOT_SET = "no-value-is-set"
"""What stands in a request that is only shown for a secret that is not there."""
_NO_KEY = ("no_key", "no_key_for_address")
_OF_THE_ENVIRONMENT = (("OPENAI_ORG_ID", "OpenAI-Organization"), ("OPENAI_PROJECT_ID", "OpenAI-Project"))


@dataclass(frozen=True)
class Endpoint:
    """What one run talks to: `base_url` has no slash at its end, `headers` are all of ours but those of the body.

    `query` and the headers have the values of the environment's variables in them; the key is among the headers.
    """

    base_url: str
    headers: tuple[tuple[str, str | Secret], ...]
    connection: Connection
    query: Mapping[str, str | Secret] = field(default_factory=dict)
    key: Secret | None = None
    others: tuple[Endpoint, ...] = ()
    idle_of: ClassVar[None] = None

    @property
    def servers(self) -> int:
        """How many servers the rows are spread over."""
        return 1 + len(self.others)

    @property
    def places(self) -> list[str]:
        """Each server as ``HOST:PORT``, with its path where another one differs by that alone."""
        each = [self, *self.others]
        hosts = [_host_of(one.base_url) for one in each]
        return [host if hosts.count(host) == 1 else one.base_url for host, one in zip(hosts, each, strict=True)]

    @property
    def slots(self) -> int | None:
        """The most requests in flight that make sense, or None."""
        return None if self.connection.local_model is None else self.connection.local_model.slots

    @property
    def timeout(self) -> Timeout:
        """The timeouts of an attempt."""
        timeout = self.connection.timeout
        return timeout if isinstance(timeout, Timeout) else Timeout()

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What must never be in a result: the keys as they may be echoed; one that may be a word only after Bearer."""
        headers = [value for each in (self, *self.others) for value in dict(each.headers).values()]
        sent = [value.reveal() for value in (*headers, *self.query.values()) if isinstance(value, Secret)]
        keys = ((each, each.removeprefix("Bearer ")) for each in sent)
        found = (key if len(key) >= 6 else each for each, key in keys if key)
        return tuple(secret.encode("latin-1") for secret in found if len(secret) >= 6)

    @property
    def place(self) -> str:
        """The server as ``HOST:PORT``; of several, the first ones."""
        first, *more = self.places
        if not more:
            return first
        return f"{first} and {more[0] if len(more) == 1 else f'{len(more)} other servers'}"

    @property
    def lines(self) -> list[str]:
        """The servers of each connection, of which this is one."""
        return [self.place]

    @property
    def sends_key(self) -> bool:
        """Whether a key goes with every request, or may, for all that is known of a session or transport."""
        headers = [value for each in (self, *self.others) for value in dict(each.headers).values()]
        values = (*headers, *self.query.values())
        unknown = self.connection.session is not None or is_custom(self.connection.transport)
        return unknown or any(isinstance(value, Secret) for value in values)

    def request(self, method: str, path: str) -> Request:
        """Return what all calls to one path have in common."""
        query = {name: _plain(value) for name, value in self.query.items()}
        url = f"{self.base_url}{path}{'?' + urlencode(query) if query else ''}"
        revealed = tuple((name, _plain(value)) for name, value in self.headers)
        return Request(method, url, (*revealed, ("Content-Type", "application/json")))

    def elsewhere(self, request: Request, server: int) -> Request:
        """Return a request of the first server's, as another one gets it: at its address, with the key for it."""
        other = self.others[server - 1]
        own = tuple((name, _plain(value)) for name, value in other.headers)
        url = f"{other.base_url}{request.url.removeprefix(self.base_url)}"
        return request._replace(url=url, headers=(*own, *request.headers[len(self.headers) :]))

    def placing(self, method: str) -> Callable[[PlacedBody], Request]:
        """Return what makes the request of a row that has a place of its own.

        A header of the connection is not a row's to say, whatever it is called.
        """
        base = self.request(method, "")
        start, _, always = base.url.partition("?")
        own = base.headers[:-1]
        names = {name.casefold() for name, _ in own}

        def placed(body: PlacedBody) -> Request:
            query = "&".join(filter(None, (always, body.query)))
            given = tuple(each for each in body.headers if each[0].casefold() not in names)
            kind = (("Content-Type", body.media_type),) if body.media_type else ()
            url = f"{start}{body.path}{'?' + query if query else ''}"
            return Request(method, url, (*own, *given, *kind), bool(body.media_type))

        return placed

    def identity(self, path: str) -> str:
        """Return the address by which a journal knows a path: the embedded model's port is another one at each run."""
        model = self.connection.local_model
        if model is None:
            return self.request("POST", path).url
        return f"{_EMBEDDED}{quote(model.path or default_properties(self.connection, path)['model'])}{path}"

    def transport(
        self,
        limits: Limits,
        may_send: Callable[[int], bool] | None = None,
        *,
        stream: bool = False,
        server_of: Callable[[int], int] | None = None,
    ) -> Transport:
        """Open what carries the bytes, and with `stream` tells of every piece; whoever asks for it closes it.

        `server_of` returns the number of the server that a call goes to, where there are several.
        """
        carrying = self._carrying(limits, may_send, stream=stream)
        return carrying if server_of is None else ServerSwitch(carrying, server_of, self.elsewhere)

    def _carrying(self, limits: Limits, may_send: Callable[[int], bool] | None, *, stream: bool) -> Transport:
        connection = self.connection
        name = connection.transport or ("curl" if connection.session is None else "requests")
        if not isinstance(name, str):
            return Borrowed(name)
        options: dict[str, Any] = {
            "timeout": self.timeout,
            "body_bytes": limits.body_bytes,
            "concurrency": limits.concurrency,
            "proxy": None if connection.proxy is None else _plain(connection.proxy),
            "ca_bundle": connection.ca_bundle,
            "may_send": may_send,
            "stream": stream,
        }
        if connection.session is not None:
            options["session"] = connection.session
        opened: Transport = transport_class(name)(**options)
        if connection.local_model is None:
            return opened if connection.session is not None else PortCheck(opened, options["proxy"])
        from ..local import FunctionCalls, Watched  # noqa: PLC0415 - the embedded model is an extra

        return FunctionCalls(opened if connection.server is None else Watched(opened, connection.server))


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _host_of(base_url: str) -> str:
    _, host, port = addresses.origin(base_url)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def base_url_of(connection: Connection | None) -> str:
    """Return where a connection's requests go, by the process's environment where it does not say: the first server."""
    connection = connection or Connection()
    return _base_url(connection, surrounding(connection.env_file))[0]


def shown_base_url(connection: Connection | None) -> str:
    """Return the same for a person, of all servers."""
    return ", ".join(shown_base_urls(connection))


def shown_base_urls(connection: Connection | None) -> list[str]:
    """Return the address of each server for a person; a variable that is not set stands as ``${NAME}``."""
    connection = connection or Connection()
    each = [replace(connection, base_url=one) for one in connection.base_urls] or [connection]
    return [_shown(one) for one in each]


def _shown(connection: Connection) -> str:
    try:
        return base_url_of(connection)
    except ConnectionSettingError:
        return str(connection.base_url)


def default_properties(connection: Connection | None, path: str = "") -> dict[str, str]:
    """Return the request properties that a connection supplies to requests to a path, where nobody sets them."""
    if connection is None:
        return {}
    if connection.local_model is None:
        return {"model": connection.profile.model} if connection.profile and connection.profile.model else {}
    from ..local import model_for  # noqa: PLC0415 - the embedded model is an extra

    return {"model": model_for(path).name}


@contextmanager
def opened(
    connection: Connection, environ: Mapping[str, str] | None = None, *, path: str = "", sends: bool = True
) -> Iterator[Endpoint]:
    """Yield what a connection comes to in an environment (the process's own), with the embedded model for `path`.

    One over which nothing is sent needs no key and starts no model.

    Raises `ConnectionSettingError` or `ModelError` where there is no key, it would travel in the open, or no model.
    """
    if not sends:
        yield unsent(connection)
        return
    if connection.local_model is not None:
        with started(connection, path) as running:
            yield _endpoint(running, {})
        return
    yield _endpoint(connection, surrounding(connection.env_file, environ))


@contextmanager
def started(connection: Connection, path: str) -> Iterator[Connection]:
    """Yield a connection as it is used for a path below its base URL: with the embedded model that answers there.

    Where the connection is already to a running one, another model is started beside it and ends with it.
    """
    if connection.local_model is None:
        with connection as same:
            yield same
        return
    from ..local import model_for  # noqa: PLC0415 - the embedded model is an extra

    model, running = model_for(path), connection.server
    if connection.base_url is None:
        with connection.local_model.start(model) as server:
            yield connection.served_by(server)
    else:
        is_right = running is None or running.model is model
        yield connection if is_right else connection.served_by(running.serving(model))  # type: ignore[union-attr]


def unsent(connection: Connection) -> Endpoint:
    """Return what a connection comes to where nothing is sent: no key is needed."""
    environ = surrounding(connection.env_file)
    query = {name: _filled_in(value, environ) for name, value in (connection.query or {}).items()}
    return Endpoint(base_url_of(connection).strip().rstrip("/"), (), connection, query)


def as_shown(connection: Connection, path: str = "") -> Endpoint:
    """Return what a connection comes to where nothing is sent or started; a key that is not there stands as a secret.

    Raises `ConnectionSettingError` for all else that a run would refuse.
    """
    if connection.local_model is not None and connection.base_url is None:
        model = quote(connection.local_model.path or default_properties(connection, path)["model"])
        return Endpoint(f"{_EMBEDDED}{model}", (_USER_AGENT,), connection)
    environ = surrounding(connection.env_file)
    texts = (*(connection.headers or {}).values(), *(connection.query or {}).values())
    named = [connection.api_key_env, *(name for text in texts for name in variables(text))]
    unset = {name: NOT_SET for name in named if name and not environ.get(name)}
    try:
        return _endpoint(connection, Veiled({**environ, **unset}))
    except ConnectionSettingError as error:
        if error.code not in _NO_KEY:
            raise
    return _endpoint(replace(connection, api_key=Secret(NOT_SET), api_key_env=None), environ)


def unset_variable(connection: Connection) -> Iterator[str]:
    """Yield why a run would be refused where the variable that is to hold the connection's key is not set."""
    try:
        if connection.local_model is None:
            _endpoint(connection, surrounding(connection.env_file))
    except ConnectionSettingError as error:
        if error.code == "variable_unset":
            is_key = not {error.values["variable"]} & {*variables(" ".join(connection.base_urls))}
            yield f"{error}: a run needs the {'key' if is_key else 'address'} that it holds"


def _endpoint(connection: Connection, environ: Mapping[str, str]) -> Endpoint:
    """Return what a connection comes to; of several servers each has its own headers, for a key goes where it may."""
    if len(connection.base_urls) < 2:
        return _one_endpoint(connection, environ)
    first, *others = (_one_endpoint(replace(connection, base_url=each), environ) for each in connection.base_urls)
    return replace(first, connection=connection, others=tuple(others))


def _one_endpoint(connection: Connection, environ: Mapping[str, str]) -> Endpoint:
    base_url, from_environment = _base_url(connection, environ)
    parts = addresses.split_base_url(base_url, _name_of_address(connection))
    host = str(parts.hostname)
    _check_present("header", connection.headers or {})
    _check_present("query", connection.query or {})
    query = {name: _filled_in(value, environ) for name, value in (connection.query or {}).items()}
    headers: Headers = [(name, _filled_in(value, environ)) for name, value in (connection.headers or {}).items()]
    for name, value in headers:
        addresses.check_header(name, _plain(value))  # what a variable holds was not checked yet
    own = {name.casefold() for name, _ in headers}
    key_header = connection.api_key_header or "Authorization"
    key = None
    if key_header.casefold() not in own:
        key = _key(connection, environ, host, headers, from_environment=from_environment)
    if key is not None:
        headers.append((key_header, key if connection.api_key_header else Secret(f"Bearer {key.reveal()}")))
    headers += _further_headers(environ if from_environment else {}, own)
    travels = any(isinstance(value, Secret) for value in (*dict(headers).values(), *query.values()))
    if travels and parts.scheme == "http" and not addresses.is_loopback(host) and not connection.allow_insecure:
        raise ConnectionSettingError(
            f"the API key would be sent unencrypted to {host}: use https, or set allow_insecure=True",
            code="key_unencrypted",
            values={"host": host},
        )
    return Endpoint(base_url.strip().rstrip("/"), tuple(headers), connection, query, key)


def _base_url(connection: Connection, environ: Mapping[str, str]) -> tuple[str, bool]:
    """Return the base URL, and whether the environment's key belongs to it."""
    theirs = environ.get("OPENAI_BASE_URL") or OPENAI
    if not connection.base_urls:
        return theirs, True
    given = connection.base_urls[0]
    own = address(given, environ) if variables(given) else given
    addresses.split_base_url(theirs, "OPENAI_BASE_URL")
    return own, addresses.origin(own, _name_of_address(connection)) == addresses.origin(theirs)


def _name_of_address(connection: Connection) -> str:
    """Return what an error calls the address."""
    given = next(iter(connection.base_urls), None)
    return next(iter(variables(given)), "base_url" if given else "OPENAI_BASE_URL")


def _filled_in(value: str | Secret, environ: Mapping[str, str]) -> str | Secret:
    """Return a header's or a query's value; one that comes from the environment is a secret."""
    return Secret(filled_in(value, environ)) if isinstance(value, str) and variables(value) else value


def _further_headers(environ: Mapping[str, str], own: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the account's headers that an environment says, and who we are; those of a connection's own stay."""
    for variable, name in _OF_THE_ENVIRONMENT:
        if environ.get(variable) and name.casefold() not in own:
            yield addresses.check_header(name, environ[variable])
    if "user-agent" not in own:
        yield _USER_AGENT


def _key(
    connection: Connection, environ: Mapping[str, str], host: str, headers: Headers, *, from_environment: bool
) -> Secret | None:
    given, named = connection.api_key, connection.api_key_env
    if isinstance(given, Secret):
        if given.missing:
            raise ConnectionSettingError(
                "the API key is missing: a pickled connection does not contain it; "
                "set api_key= again, or use api_key_env="
            )
        return given if given.reveal() else None
    variable = named or ("OPENAI_API_KEY" if from_environment else None)
    if variable and environ.get(variable):
        key = addresses.check_key(environ[variable].strip(), f"the environment variable {variable}")
        return Secret(key, variable)
    if named:
        close = nearest(named, [n for n in environ if "KEY" in n.upper()])
        shown = named if named == named.upper() else "that api_key_env names"
        raise ConnectionSettingError(
            f"the environment variable {shown} is not set{close}",
            code="variable_unset",
            values={"variable": named if named == named.upper() else None, "hint": close},
        )
    keyed = connection.session is not None or any(isinstance(each, Secret) for _, each in headers)
    if keyed or addresses.is_loopback(host) or is_custom(connection.transport):
        return None
    if from_environment:
        raise ConnectionSettingError(
            f"no API key for {host}: set the environment variable OPENAI_API_KEY, or pass api_key= or api_key_env=",
            code="no_key",
            values={"host": host},
        )
    raise ConnectionSettingError(
        f"no API key for {host}: pass api_key_env= or api_key= (OPENAI_API_KEY goes only to the environment's own "
        'base URL), or api_key="" if the server needs none',
        code="no_key_for_address",
        values={"host": host},
    )


def _check_present(kind: str, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, Secret) and value.missing:
            raise ConnectionSettingError(
                f"the value of {kind} {name} is missing: a pickled connection does not contain secrets"
            )
