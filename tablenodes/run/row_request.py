"""The request that a row would be, as it would be sent: to be looked at, or pasted into a terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

import orjson

from .. import tables
from ..connection.endpoint import NOT_SET, as_shown
from ..connection.environment import pieces, variables
from ..engine.calls import PlacedBody
from ..engine.transports.streams import extended
from ..errors import UsageError
from ..notices import printable
from ..problems import Problem, Rejected, in_a_line
from ..secret import MASK, Secret

if TYPE_CHECKING:
    from ..bodies.settings_plan import RowPlan
    from ..connection.connection import Connection
    from ..connection.endpoint import Endpoint
    from ..tables import TableView

_SCHEMES = ("Bearer", "Basic")
_BASE64 = re.compile(r"(;base64,[A-Za-z0-9+/]{40})[A-Za-z0-9+/=]{60,}+")
_ONE_ARGUMENT = 100_000  # bytes; a shell hands on no longer ones


@dataclass(frozen=True, repr=False)
class RowRequest:
    """One row's request, as it would be sent; it prints as such.

    Attributes
    ----------
    method, url : str
        Where it goes; a secret in the address is masked.
    headers : dict of str to str
        Its headers, the key masked; ``(not set)`` stands for one that is not there.
    body : dict
        Its body, as parsed JSON; None where it has none.
    problems : tuple of Problem
        Why it cannot be sent; empty where it can.
    place : str
        At which of several servers it is shown, where there are several.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    problems: tuple[Problem, ...] = ()
    place: str = ""

    def text(self) -> str:
        """Return it as it would be sent, the body over several lines."""
        head = [f"{self.method} {self.url}", *(f"{name}: {value}" for name, value in self.headers.items())]
        if self.body is None:
            return "\n".join(head)
        return "\n".join((*head, "", orjson.dumps(self.body, option=orjson.OPT_INDENT_2).decode()))

    def shown(self) -> str:
        """Return it for a person: of each image's base64 the beginning."""
        return _BASE64.sub(r"\1…", self.text())

    def __repr__(self) -> str:
        wrong = (in_a_line(message, path, (rule,)) for path, rule, message, _ in self.problems)
        place = [f"# {self.place}"] if self.place else []
        return "\n".join((*(f"cannot be sent: {each}" for each in wrong), *place, printable(self.shown())))

    def _repr_html_(self) -> str:
        from ..notebook.markup import html  # noqa: PLC0415 - loaded where it is used
        from .panels import request_panel  # noqa: PLC0415

        return html(request_panel(self))


@dataclass(frozen=True, repr=False)
class Requests:
    """The requests that the rows of a checked table would be; `stand_ins` are cells that no row has yet, by column."""

    plan: RowPlan
    view: TableView
    path: str
    connection: Connection
    stand_ins: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: RowPlan, view: TableView, path: str, connection: Connection) -> Requests | str:
        """Return the requests of a node that sends some, or that it sends none."""
        return cls(plan, view, path, connection) if path else "the node sends no requests"

    def request(self, row: int) -> RowRequest:
        """Return one row's request, with what is wrong with it."""
        data, problems = self._draft(row)
        endpoint = as_shown(self.connection, self.path)
        headers = {name: _masked(value) for name, value in self._headers(endpoint, data)}
        url = "".join(text for text, _ in self._address(endpoint, data))
        body = orjson.loads(bytes(data)) if _is_sent(data) else None
        return RowRequest(self.plan.method, url, headers, body, problems, self.place)

    @property
    def place(self) -> str:
        """At which of several servers a row is shown, which goes to any."""
        servers = len(self.connection.base_urls)
        return f"at the first of {servers} servers" if servers > 1 else ""

    def curl(self, row: int) -> str:
        """Return one row's request as a command for a POSIX shell."""
        data, problems = self._draft(row)
        if problems:
            raise _refused(row, problems)
        if self.connection.local_model is not None and self.connection.base_url is None:
            raise UsageError(
                "the embedded model has an address only while it runs: check the table inside "
                "'with tn.Connection.local() as connection:'",
                code="no_address",
            )
        endpoint, body, method = as_shown(self.connection), data.decode(), self.plan.method
        given = f"--data-raw {shlex.quote(body)}" if _is_sent(data) else ""
        if given and len(data) > _ONE_ARGUMENT:
            given = f"--data-binary @- <<'END_OF_BODY'\n{body}\nEND_OF_BODY"
        parts = self._address(endpoint, data)
        address = "".join(f'"{variable}"' if variable else shlex.quote(text) for text, variable in parts)
        how = "" if method == ("POST" if given else "GET") else "-I " if method == "HEAD" else f"-X {method} "
        parts_of_command = (f"curl -g {how}{address}", *self._options(endpoint, data), given)
        return " \\\n  ".join(filter(None, parts_of_command))

    def _options(self, endpoint: Endpoint, data: bytes) -> Iterator[str]:
        for name, value in self._headers(endpoint, data):
            if isinstance(value, Secret):
                yield f'-H "{name}: {self._variable(name, value)}"'
            else:
                yield f"-H {shlex.quote(f'{name}: {value}' if value else f'{name};')}"
        if isinstance(self.connection.proxy, str):
            yield f"--proxy {shlex.quote(self.connection.proxy)}"
        if self.connection.ca_bundle is not None:
            yield f"--cacert {shlex.quote(str(self.connection.ca_bundle))}"

    def _variable(self, name: str, value: Secret) -> str:
        """Return a secret as a variable of the shell's, after the word that says what kind of key it is."""
        own = (self.connection.headers or {}).get(name) or (self.connection.query or {}).get(name)
        if isinstance(own, str) and variables(own):
            first, name, *rest = pieces(own)
            if not any((first, *rest)):
                return f"${name}"
            return "".join(f"${{{each}}}" if at % 2 else _escaped(each) for at, each in enumerate(pieces(own)))
        if value.variable is not None:
            return f"${value.variable}"
        if name.casefold() != "authorization":
            return f"${''.join(sign if sign.isalnum() else '_' for sign in name).upper()}"
        scheme = "" if value.missing else value.reveal().partition(" ")[0]
        variable = f"${self.connection.api_key_env or 'OPENAI_API_KEY'}"
        return f"{scheme} {variable}" if scheme in _SCHEMES else variable

    def _headers(self, endpoint: Endpoint, data: bytes) -> list[tuple[str, str | Secret]]:
        if not isinstance(data, PlacedBody):
            return [*endpoint.headers, ("Content-Type", "application/json")]
        own = {name.casefold() for name, _ in endpoint.headers}
        given = [each for each in data.headers if each[0].casefold() not in own]
        return [*endpoint.headers, *given, *([("Content-Type", data.media_type)] if data.media_type else [])]

    def _address(self, endpoint: Endpoint, data: bytes) -> Iterator[tuple[str, str]]:
        """Yield the address in parts: a text, and of a secret the variable that stands for it."""
        path, query = (data.path, data.query) if isinstance(data, PlacedBody) else (self.path, "")
        yield f"{endpoint.base_url}{path}", ""
        for at, (name, value) in enumerate(endpoint.query.items()):
            sign = "&" if at else "?"
            if isinstance(value, Secret):
                yield f"{sign}{quote_plus(name)}=", ""
                yield MASK, self._variable(name, value)
            else:
                yield f"{sign}{urlencode({name: value})}", ""
        if query:
            yield f"{'&' if endpoint.query else '?'}{query}", ""

    def _draft(self, row: int) -> tuple[bytes, tuple[Problem, ...]]:
        """Return a row's body, and why it cannot be sent; raise `UsageError` where none can be made."""
        count = len(self.view)
        if isinstance(row, bool) or not isinstance(row, Integral):
            raise UsageError(f"row must be a position, not {type(row).__name__}", code="no_row", place="row")
        if not 0 <= row < count:
            most = f"its rows are counted from 0 to {count - 1:,}" if count else "it has no rows"
            raise UsageError(f"the table has no row {row:,}: {most}", code="no_row", place="row")
        part = tables.view(self.view.take([int(row)]))
        names = [name for name in self.plan.columns if name not in self.stand_ins]
        try:
            known = [dict(zip(names, cells, strict=True)) | self.stand_ins for cells in part.rows(names)]
            (cells,) = self.plan.ahead(tuple(each[name] for name in self.plan.columns) for each in known)
            data, problems = self.plan.draft(cells)
        except Rejected as rejected:
            raise _refused(row, rejected.problems) from None
        is_whole = problems or self.plan.streams is False
        return (data if is_whole else extended(orjson.loads(data), data)), (*self.plan.refused, *problems)


def _is_sent(data: bytes) -> bool:
    """Check whether a body is sent at all."""
    return not isinstance(data, PlacedBody) or bool(data.media_type)


def _refused(row: int, problems: tuple[Problem, ...]) -> UsageError:
    told = "; ".join(in_a_line(message, path, (rule,)) for path, rule, message, _ in problems)
    return UsageError(f"row {row:,} cannot be sent: {told}", code="row_refused", place="row", values={"row": int(row)})


def _escaped(text: str) -> str:
    """Return a text as it stands between a shell's double quotes."""
    return re.sub(r'([\\"$`])', r"\\\1", text)


def _masked(value: str | Secret) -> str:
    """Return a header's value with its secret masked, after the word that says what kind of key it is."""
    if not isinstance(value, Secret):
        return value
    scheme = "" if value.missing else value.reveal().partition(" ")[0]
    shown = "(not set)" if not value.missing and NOT_SET in value.reveal() else MASK
    return f"{scheme} {shown}" if scheme in _SCHEMES else shown
