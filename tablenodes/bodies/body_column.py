"""The column ``body``: a whole request in a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from ..plain import read_json
from ..problems import Problem, Rejected, Unfit

if TYPE_CHECKING:
    from ..store.conversations import Conversations


def whole_body(cell: Any, conversations: Conversations | None) -> dict[str, Any]:
    """Give the request that a cell holds: JSON text, or a mapping; an empty one for an empty cell.

    Parameters
    ----------
    cell : object
        Plain JSON, or `Unfit`.
    conversations : Conversations or None
        Those that the row's messages come from; an answer in the cell is then passed over.

    Raises
    ------
    Rejected
        If it holds something else, an answer for one.
    """
    if cell is None:
        return {}
    if type(cell) is Unfit:
        raise Rejected(Problem("$", "cell", f"the cell of column 'body' {cell}"))
    if type(cell) is str:
        try:
            cell = read_json(cell)
        except Unfit as error:
            raise Rejected(Problem("$", "json", f"column 'body' {error}", "string")) from None
        except orjson.JSONDecodeError as error:
            where = f"line {error.lineno}, character {error.colno}"
            message = f"column 'body' is not JSON ({where}); {_NO_REQUESTS}"
            raise Rejected(Problem("$", "json", message, "string")) from None
    if type(cell) is not dict:
        kind = _KINDS.get(type(cell), "value")
        raise Rejected(Problem("$", "type", f"column 'body' must hold a request, a JSON object; {_NO_REQUESTS}", kind))
    for answer in ("choices", "error"):
        if answer in cell:
            if conversations is not None:  # an answer that was added to them is often still there
                return {}
            message = f"column 'body' holds an answer (it has {answer}), not a request: pass columns=() or drop it"
            raise Rejected(Problem("$", "answer", message, "object"))
    return cell


_NO_REQUESTS = "if it holds no requests, pass columns=() (--set columns=[] on the command line)"
_KINDS = {list: "array", str: "string", int: "integer", float: "number", bool: "boolean"}
