"""The recorder of packs: each row of a request has its own place in the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...problems import error_body
from ..calls import Answer, Call
from ..outcomes.judge import Verdict
from ..outcomes.rules import Failure
from ..packs import Each
from ..sink import NOT_SENT, UNUSABLE, End
from .recorder import Recorder

if TYPE_CHECKING:
    from ..packs import Packs

_NEVER_SENT = Verdict(NOT_SENT, Failure.NOT_EXECUTED)


class PackRecorder(Recorder):
    """Records of a pack what a recorder knows of its rows: only the first one's send counts as a request."""

    def __init__(self, inner: Recorder, packs: Packs) -> None:
        super().__init__()
        self._inner, self._packs = inner, packs.packs
        self.keeps, self.knows, self.earlier = inner.keeps, inner.knows, inner.earlier

    def recall(self, call: Call) -> Call | tuple[int, End]:
        """Return a row's call that is to be sent, or its end in an earlier run."""
        return self._inner.recall(call)

    def before(self, call: Call) -> Any:
        """Return the ends that a pack's rows had in an earlier run, although they were to be sent again."""
        pack = self._packs.get(call.key)
        if pack is None:
            return self._inner.before(call)
        ends = [(each.key, self._inner.before(each)) for each in pack.calls]
        return Each(ends) if ends[0][1] is not None else None  # rows that were sent before are packed together

    def was_refused(self, key: int) -> bool:
        """Check whether a call was refused in an earlier run; the rows of a pack all were, or none was."""
        pack = self._packs.get(key)
        return self._inner.was_refused(key if pack is None else pack.calls[0].key)

    def has_answers(self) -> bool:
        """Check whether a row was answered in an earlier run."""
        return self._inner.has_answers()

    def intend(self, key: int) -> None:
        """Record that a call is about to be sent, with all its rows."""
        pack = self._packs.get(key)
        if pack is None:
            self._inner.intend(key)
            return
        for at, call in enumerate(pack.calls):
            self._inner.intend(call.key, **({"rides": True} if at else {}))

    def record(self, answer: Answer, verdict: Verdict) -> None:
        """Record what came of a send for each of its rows."""
        pack = self._packs.get(answer.key)
        if pack is None:
            self._inner.record(answer, verdict)
            return
        body = error_body(UNUSABLE, verdict.message) if verdict.outcome == UNUSABLE else answer.body
        for at, call in enumerate(pack.calls):
            own, meant = answer._replace(key=call.key, body=body), verdict
            if pack.parts is not None:
                own, meant = own._replace(body=pack.parts.body(at, call.key)), pack.parts.verdicts[at]
            elif pack.is_refused:
                own, meant = Answer(call.key, None, b"", b"", sends=answer.sends), _NEVER_SENT
            self._inner.record(own, meant)

    def take_back(self, key: int) -> None:
        """Record that a call was not sent after all."""
        pack = self._packs.get(key)
        for row in (key,) if pack is None else (call.key for call in pack.calls):
            self._inner.take_back(row)

    def forget(self, key: int) -> None:
        """Forget a row; what is known of a pack's is needed for their ends."""
        if key not in self._packs:
            self._inner.forget(key)

    def commit(self) -> None:
        """Bring what was recorded to the disk."""
        self._inner.commit()
