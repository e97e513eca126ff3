"""Which columns of a table are taken into a request because of their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ColumnError, SettingError, nearest
from ..problems import Remark
from ..templates.template import known

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

BODY = "body"
"""The column that may hold a whole request body in each row."""

CONVERSATION = "conversation"
"""The column that may hold the id of a conversation in each row."""

NAMED_ONLY = frozenset({"n", "best_of", "user", "store", "metadata", "stream", "seed"})
"""Request properties that a table may well use for something else: taken from a column only when named."""

SHORTCUTS = ("prompt", "system", CONVERSATION)
"""What makes the messages of a chat, in place of ``messages``."""


def taken(
    wanted: str | tuple[str, ...],
    properties: Iterable[str],
    table: Sequence[str],
    made: Collection[str],
    *,
    shortcuts: bool,
    reads_body: bool = False,
) -> tuple[str, ...]:
    """Give the columns that are taken by their names.

    Parameters
    ----------
    wanted : "auto" or tuple of str
        What the node says about it.
    properties : iterable of str
        The request's properties.
    table : sequence of str
        The table's columns.
    made : collection of str
        The properties that are set.
    shortcuts : bool
        Whether `SHORTCUTS` make messages.
    reads_body : bool
        Whether settings may read the column `BODY`: it then holds what they are about, and requests only if named.

    Raises
    ------
    ColumnError
        If a column that is wanted is not there, or two columns make messages.
    SettingError
        If what is wanted is no property.
    """
    possible = dict.fromkeys((*properties, *(SHORTCUTS if shortcuts else ()), BODY))
    if wanted == "auto":
        left = NAMED_ONLY | {"system"} | ({BODY} if reads_body else set())
        names = [name for name in possible if name not in left and name in table]
    else:
        names = list(wanted)
        for name in names:
            if name not in possible:
                message = f"columns: {name!r} is no property of the request{nearest(name, possible)}"
                raise SettingError(message, place="columns")
            if name not in table:
                message = f"columns: no column {name!r}{nearest(name, table) or known(table)}"
                raise ColumnError(message, place="columns")
    spoken = shortcuts and "messages" in made
    found = tuple(name for name in names if name not in made and not (spoken and name in SHORTCUTS))
    if shortcuts:
        _refuse_two([name for name in (CONVERSATION, "prompt", "messages") if name in found])
    return found


def passed_over(
    wanted: str | tuple[str, ...], table: Sequence[str], made: Collection[str], read: Collection[str]
) -> tuple[str, ...]:
    """Say which column of conversations is not taken, since what is set makes the messages.

    Parameters
    ----------
    wanted, table
        As in `taken`.
    made : collection of str
        The properties and shortcuts that are set, by their own names.
    read : collection of str
        The columns that are read.
    """
    speaking = next((name for name in ("messages", "prompt") if name in made), None)
    if speaking is None or CONVERSATION in made or CONVERSATION in read or CONVERSATION not in table:
        return ()
    if wanted != "auto" and CONVERSATION not in wanted:
        return ()
    what = f"{speaking} is set, so that the column {CONVERSATION} is not taken and nothing of it is sent"
    return (Remark(f"{what}: what is said in a conversation is added by AddUserMessage", speaking),)


def misspelt(
    wanted: str | tuple[str, ...], properties: Iterable[str], table: Sequence[str], read: Collection[str]
) -> tuple[str, ...]:
    """Say which columns are perhaps meant to be properties, but written in another way: ``Max Tokens``.

    Parameters
    ----------
    wanted, properties, table
        As in `taken`.
    read : collection of str
        The columns that are read.
    """
    if wanted != "auto":
        return ()
    plain = {_plainly(name): name for name in properties if name not in NAMED_ONLY}
    meant = [(name, plain.get(_plainly(name), name)) for name in table if name not in read]
    return tuple(
        f"column {name!r} is not taken and nothing of it is sent: the property is called {known_as!r}"
        for name, known_as in meant
        if known_as not in (name, *table)
    )


def _plainly(name: str) -> str:
    """Give a name without what is easily written in another way: case and gaps."""
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")


def _refuse_two(speaking: Sequence[str]) -> None:
    if len(speaking) > 1:
        one, other = speaking[:2]
        raise ColumnError(
            f"the table has both a {one} and a {other} column: choose one with "
            f'{one}=col("{one}") or {other}=col("{other}")'
        )
