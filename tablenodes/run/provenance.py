"""Where an output comes from: which node ran, when and how; no secret is in it, and a prompt's text only apart."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from .._version import __version__
from ..connection.connection import is_custom
from ..connection.endpoint import shown_base_urls
from ..notices import counted
from ..secret import MASK, Secret, masked_address
from ..settings import Limits, Retry, Timeout
from ..templates.template import Column

if TYPE_CHECKING:
    from ..connection.connection import Connection
    from .options import RunOptions

_WORDS = ("answer_mode", "columns", "into", "model", "reasoning_effort", "schema", "service_tier", "verbosity")
"""Settings whose texts are the names of something, and no part of a prompt."""
_PLACEHOLDER = re.compile(r"\{\{-?\s*([A-Za-z_]\w*)")
_LONGEST = 20_000  # characters of a prompt that are kept for whoever asks for them
_NAMES = 6


class Named(Protocol):
    """A node as a run knows it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102


class Asked(NamedTuple):
    """A node that sends nothing itself: its id in a workflow, its class, its settings."""

    name: str
    kind: str
    settings: Mapping[str, Any]
    path: str = ""


class Setting(NamedTuple):
    """A setting as it is shown: what it is, and the text of a prompt, which is shown only to whoever asks for it."""

    name: str
    value: str
    text: str = ""


@dataclass(frozen=True)
class Provenance:
    """Which node made an output, of which class, with which settings by their group, and the time at which it began.

    `path` is where the node's requests go, below the base URL.
    """

    node: str
    kind: str
    settings: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)
    began: float | None = None
    versions: str = ""
    key_variable: str = ""  # that the connection names; what may be a key by mistake is none
    path: str = ""

    @classmethod
    def of(
        cls,
        asking: Named,
        connection: Connection | None = None,
        options: RunOptions | None = None,
        *,
        seconds: float = 0.0,
    ) -> Provenance:
        """Return it for a run that ends now and took so many seconds."""
        groups = {"Node": (*map(_described, asking.settings.items()),)}
        if connection is not None:
            groups["Connection"] = (*_connected(connection),)
        if options is not None:
            groups["Limits"], groups["Retries"] = (*_fields(options.limits),), (*_fields(options.retry),)
            groups["Run"] = (*_manner(options),)
        versions = f"tablenodes {__version__}, Python {platform.python_version()}, {platform.system()}"
        named = (connection and connection.api_key_env) or ""
        variable = named if named == named.upper() else ""
        return cls(asking.name, asking.kind, groups, time.time() - seconds, versions, variable, asking.path)


def _described(each: tuple[str, Any]) -> Setting:
    """Return a node's setting: of what may be a part of a prompt, how long it is."""
    name, value = each
    if isinstance(value, str):
        return _text(name, value)
    if isinstance(value, list | tuple):
        are_names = name in _WORDS and all(isinstance(each, str) for each in value)
        return Setting(name, ", ".join(value) or "none" if are_names else counted(len(value), "part"), _whole(value))
    if isinstance(value, Mapping):
        return Setting(name, f"{counted(len(value), 'part')}: {', '.join(map(str, [*value][:_NAMES]))}", _whole(value))
    if isinstance(value, bool | int | float):
        return Setting(name, str(value))
    kind = value if isinstance(value, type) else type(value)
    return Setting(name, f"column {value.name!r}" if isinstance(value, Column) else kind.__name__)


def _text(name: str, value: str) -> Setting:
    reads = [*dict.fromkeys(_PLACEHOLDER.findall(value))]
    if name in _WORDS and not reads:
        return Setting(name, value)
    names = f", with {', '.join(reads[:_NAMES])}{', …' if len(reads) > _NAMES else ''}" if reads else ""
    return Setting(name, f"{counted(len(value), 'character')}{names}", _whole(value))


def _whole(value: Any) -> str:
    return str(value)[:_LONGEST]


def _connected(connection: Connection) -> Iterator[Setting]:
    """Yield where requests go, and how; what may be a secret is masked, whatever it is called."""
    if connection.local_model is not None:
        yield Setting("server", "the embedded model")
    else:
        each = [masked_address(one).partition("?")[0] for one in shown_base_urls(connection)]
        yield Setting("server", ", ".join(each))
    if connection.profile is not None:
        yield Setting("profile", connection.profile.name)
    if connection.api_key_env is not None:
        yield Setting("API key", f"{MASK} (from {connection.api_key_env})")
    elif connection.api_key is not None:
        key = connection.api_key
        yield Setting("API key", "none" if isinstance(key, Secret) and not key.missing and not key.reveal() else MASK)
    for what, given in (("header", connection.headers), ("query", connection.query)):
        for name in given or {}:
            yield Setting(f"{what} {name}", MASK)
    yield from (Setting(name, MASK) for name in ("proxy", "ca_bundle", "env_file") if getattr(connection, name))
    if connection.transport is not None:
        custom = is_custom(connection.transport)
        yield Setting("transport", type(connection.transport).__name__ if custom else str(connection.transport))
    if connection.allow_insecure:
        yield Setting("allow_insecure", "True")
    if connection.prices:
        yield Setting("prices", f"given for {counted(len(connection.prices), 'model')}")
    timeout = connection.timeout if isinstance(connection.timeout, Timeout) else Timeout()
    yield Setting("timeouts", ", ".join(f"{each.name} {each.value} s" for each in _fields(timeout)))


def _fields(settings: Limits | Retry | Timeout) -> Iterator[Setting]:
    for each in fields(settings):
        value = getattr(settings, each.name)
        if value is not None:
            yield Setting(each.name, f"{value:,}" if isinstance(value, int) else str(value))


def _manner(options: RunOptions) -> Iterator[Setting]:
    yield Setting("journal", "kept" if options.journal is not None else "none")
    for name in ("retry_failed", "on_in_doubt", "duplicates", "on_invalid"):
        value = getattr(options, name)
        yield Setting(name, value if isinstance(value, str) else ", ".join(value))
