"""The last output: what the newest run in this process gave, for whoever has no name for it."""

from __future__ import annotations

import sys
import threading
import weakref
from typing import Any

HAS_THEM = "them, and so has tn.last_output()"


class _Last:
    """The newest output: held itself, or only as long as somebody else holds it."""

    held: Any = None
    seen: weakref.ref[Any] | None = None


_LAST = _Last()


def last_output(*, forget: bool = False) -> Any:
    """Return the newest output made in this process's main thread, also that of a run that was stopped.

    For a cell that was interrupted, or whose next line failed: the answers are still here. An output is kept until the
    next run ends if its run was stopped or the session is interactive (a notebook, a Python prompt), else only while
    something else refers to it. Processes that are workers of another one keep none.

    Parameters
    ----------
    forget : bool
        Let go of it: from then on it lives as long as you keep it.

    Returns
    -------
    NodeOutput, or of a workflow its outputs by node
        None if there was no run, or its output was not kept.
    """
    found = _LAST.held if _LAST.seen is None else _LAST.seen()
    if forget:
        _LAST.held = _LAST.seen = None
    return found


def remember(output: Any, *, stopped: bool) -> None:
    """Keep the output of a run that has ended, or was `stopped`, as the newest."""
    if threading.current_thread() is not threading.main_thread() or _is_child():
        return
    keeps = stopped or hasattr(sys, "ps1") or bool(sys.flags.interactive)
    try:
        seen = None if keeps else weakref.ref(output)
    except TypeError:  # a plain dict: what its last node gave is still the newest
        return
    _LAST.held, _LAST.seen = output if keeps else None, seen


def _is_child() -> bool:
    """Check whether this process does the work of another one."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None
