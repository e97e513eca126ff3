"""``tablenodes connections``: which connections have a name, where each goes, and whether it can be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..connection.connection import LOCAL, Connection
from ..notices import columns_of
from .command_options import Argument, Given, command, flag
from .complaints import BAD_INPUT, OK
from .printout import aligned, show, terminal_width

if TYPE_CHECKING:
    from ..connection.profile import Profile

_AT_ONCE = 8
_CHECK = "Ask each server whose key is set for its models, at no cost, for 5 seconds at most."


@command(
    "connections", Argument("name", "NAME", "Show, or check, this one alone.", required=False), flag("--check", _CHECK)
)
def connections(given: Given) -> int:
    """List the connections that have a name, for --profile, or check them.

    They are built in, or written into config.yaml in the user's configuration folder, or into tablenodes.yaml in the
    current folder, which goes before it. TABLENODES_PROFILE names the one that is used where none is said.
    """
    from ..connection.profile_register import find_profile, known_profiles  # noqa: PLC0415 - loaded where it is used

    if given.name == LOCAL:
        chosen: Mapping[str, Profile | None] = {LOCAL: None}
    elif given.name is not None:
        chosen = {given.name: find_profile(given.name, Connection)}
    else:
        chosen = {**known_profiles(Connection), LOCAL: None}
    if given.check:
        return _check(chosen, alone=given.name is not None)
    _show_rows([_row(name, profile) for name, profile in chosen.items()])
    return OK


def _check(chosen: Mapping[str, Profile | None], *, alone: bool) -> int:
    """Check connections at the same time, and show a line each as its turn comes."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - loaded where it is used

    from ..connection.probe import probe  # noqa: PLC0415

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        paths = {name: profile.probe if profile else "" for name, profile in chosen.items()}
        made = {name: Connection.from_profile(name) for name in chosen}
        found = {name: threads.submit(probe, made[name], paths[name]) for name in chosen}
        width = max(map(len, chosen))
        for name, each in found.items():
            show(f"{name:<{width}}  {each.result().message}")
    return BAD_INPUT if alone and any(each.result().outcome != "usable" for each in found.values()) else OK


def _row(name: str, profile: Profile | None) -> tuple[str, ...]:
    """Return a connection's name, address, variables, model and source."""
    from ..connection.endpoint import default_properties, shown_base_url  # noqa: PLC0415 - loads the transports

    connection = Connection.from_profile(name)
    model = default_properties(connection).get("model", "")
    if profile is None:
        return name, "the embedded model", "no key", model, "built in"
    return name, shown_base_url(connection), ", ".join(_variables(connection)) or "no key", model, profile.source


def _variables(connection: Connection) -> Iterator[str]:
    """Yield the variables that a connection reads, the key's first, and whether each is set."""
    from ..connection.environment import surrounding, variables  # noqa: PLC0415 - loaded where it is used

    texts = (*(connection.headers or {}).values(), *(connection.query or {}).values(), *connection.base_urls)
    named = [connection.api_key_env, *(name for text in texts for name in variables(text))]
    environ = surrounding(connection.env_file)
    for name in dict.fromkeys(filter(None, named)):
        yield f"{name} ({'set' if environ.get(name) else 'not set'})"


def _show_rows(rows: Sequence[tuple[str, ...]]) -> None:
    """Show a row a line; where the lines are too long, what comes after the address stands below it."""
    kept = [at for at, column in enumerate(zip(*rows, strict=True)) if any(column)]
    lines = list(aligned([[row[at] for at in kept] for row in rows]))
    if max(map(columns_of, lines)) <= terminal_width():
        for line in lines:
            show(line)
        return
    width = max(len(row[0]) for row in rows)
    for name, address, *more in rows:
        show(f"{name:<{width}}  {address}")
        show(f"{'':<{width}}  {'; '.join(filter(None, more))}")
