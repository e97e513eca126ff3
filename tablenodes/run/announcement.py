"""What is said of a journal before anything is sent: how many rows are in it, and which may be billed twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.look_ahead import in_front, look_ahead
from ..problems import Remark
from . import display

if TYPE_CHECKING:
    from ..engine.journal.recorder import Recorder
    from ..engine.sink import Sink, Source

_NONE_FITS = (
    "no answer in the journal fits, so all of these rows are sent, and paid for, again: the settings, the prompt, the "
    "model, the server or the cells are not those that were asked with"
)


def announced(source: Source, recorder: Recorder, name: str, sink: Sink, *, sends: bool, others: int = 0) -> Source:
    """Return a source, once it is said how many of its rows are in the journal; of a long one, of its first rows.

    `others` are rows of earlier nodes, which may be in the journal too.
    """
    calls, is_all = look_ahead(source, sink)
    reused, sending = recorder.reused, len(calls)
    if not is_all:
        known = f"{reused:,} of the {reused + sending:,} rows looked at so far are reused from the journal"
        display.say(f"{name}: {known}; each further row is looked up in it when its turn comes")
    elif reused + sending:
        known = f"{reused:,} of {reused + sending:,} rows reused from the journal"
        display.say(f"{name}: {known}, {f'sending {sending:,}' if sends else 'sending nothing'}")
    if calls and sends and not reused and recorder.answered_beyond(others):
        display.say(f"{name}: {_NONE_FITS}")
    if recorder.doubtful and sends:
        display.say(_billed_twice(name, recorder.doubtful))
    return in_front(calls, source)


def _billed_twice(name: str, rows: int) -> Remark:
    """Return what is said of rows that are sent although an earlier run did so."""
    were = "was" if rows == 1 else "were"
    told = f"{name}: {rows:,} of them {were} sent before without an answer seen, and may be billed twice"
    return Remark(f"{told} (on_in_doubt='report' leaves them)", code="billed_twice", values={"told": told})
