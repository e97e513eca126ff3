"""What an answer means: its outcome, and which kind of failure it is."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from ..redaction import Redaction
from ..response_head import header_in, is_event_stream, is_text, request_id, retry_after
from . import rules, shortcomings
from .answer_json import UnreadableError, document_of, read, without_done
from .assembly import MalformedError, assembled, choices_asked, encoded
from .body_form import BLANK, form_of
from .error_codes import NOTHING, ServerError, circuit_of
from .error_words import names_an_error, says_something
from .finish_reasons import says
from .response_objects import choices_of, counted, is_underway
from .rules import Failure, Rule
from .server_errors import error_object, quoted, server_error, status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..calls import Answer
    from .assembly import Assembly


class Verdict(NamedTuple):
    """What an answer means."""

    outcome: str  # one of `OUTCOMES`
    kind: Failure | None  # None where the outcome is ``ok``
    message: str = ""  # one line for the user; it may quote the server, never a secret
    may_have_run: bool = False  # executed and billed, perhaps, without its answer being delivered
    retry_after: float | None = None  # seconds that the server asks to wait
    request_id: str | None = None  # the server's name for the exchange
    finish_reason: str | None = None  # why the first choice ended
    prompt_tokens: int | None = None  # as the server counted them, as the next two
    completion_tokens: int | None = None
    total_tokens: int | None = None
    told: bytes | None = None  # header lines, in lower case, where they tell of an allowance; whoever paces reads them
    circuit: str | None = None  # what it counts against beyond its row: one of `error_codes.circuit_of`, or ``setup``
    stale_connection: bool = False  # says nothing of the server: a kept connection was dead, or an option was refused
    body: bytes | None = None  # where it is not what came: a stream, put together, without a secret
    reason: str | None = None  # what an ``ok`` answer lacks, one of `LACKS` mostly; else the server's code
    text: str | None = None  # the first choice's, where it is short and stands in the body as it is


REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
"""The methods whose requests may be sent several times, with the effect of one."""
_ANSWERS = ("choices", "output")
_GONE = (404, 410)
_ALLOWANCE = b"x-ratelimit-remaining-"
_REQUEST_ID = b"\nx-request-id:"
_LARGEST_COUNT = 2**53
_SHORT = 64  # characters of a text that is kept beside its body, so that this needs not be parsed again
_NO_TOKENS = (None, None, None)
_new: Any = tuple.__new__  # a named tuple's own constructor takes three times as long


def judge(
    answer: Answer,
    asked: bytes = b"",
    *,
    needs_choices: bool = True,
    at_most_once: bool = False,
    secrets: Sequence[bytes] = (),
    wall_clock: Callable[[], float] | None = None,
    read_stream: Callable[[Answer], Assembly] | None = None,
    use: Callable[[Any, Verdict], Verdict] | None = None,
) -> Verdict:
    """Return what an answer means; nothing is raised, whatever the server sent.

    It is ``ok`` with a status of 2xx, a whole body, a strict JSON object in it, no ``error`` that says anything and,
    where choices are needed, at least one, none of which failed. An event stream, which is one by its bytes, whatever
    its content type, is put together first; it is whole if ``[DONE]`` came, or the end of every choice.

    `asked` is the request's body, which says how many choices a stream must have. With `at_most_once`, nothing may be
    repeated that a server may have executed. No message carries one of `secrets`. `wall_clock` is for `retry_after`;
    `read_stream` puts an answer's stream together, for those who have done so while it came. `use` is given each
    ``ok`` answer, as a document, and its verdict, and returns it, or that of one that cannot be used.
    """
    if answer.status == 200 and answer.fault is None:
        try:
            document = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            document = None
        verdict = _success(answer, document, needs_choices) if type(document) is dict else None
        if verdict is not None:
            return verdict if use is None else use(document, verdict)
    failing = _Failing(answer, at_most_once, secrets, wall_clock)
    verdict = failing.judge(asked, needs_choices=needs_choices, read_stream=read_stream)
    if use is None or verdict.kind is not None:
        return verdict
    return use(document_of(answer.body if verdict.body is None else verdict.body), verdict)


def _success(answer: Answer, document: dict[str, Any], needs_choices: bool) -> Verdict | None:
    """Return the verdict of an answer that is ``ok``; None where it is not. Every row comes through here."""
    if document.get("error") and says_something(document["error"]):
        return None
    finish_reason, lack, text = None, shortcomings.NOTHING, None
    if needs_choices:
        choices = document.get("choices")
        if type(choices) is not list:
            choices = choices_of(document)
        if not choices:
            return None
        for choice in choices:
            if type(choice) is not dict or (choice.get("error") and says_something(choice["error"])):
                return None
        finish_reason = choice.get("finish_reason")
        message = choice.get("message")
        text = message.get("content") if type(message) is dict and not message.get("refusal") else None
        if finish_reason != "stop" or len(choices) > 1 or type(text) is not str or not text or text.isspace():
            finish_reason = choices[0].get("finish_reason")
            found = shortcomings.lack_of(choices)
            if found is None:
                return None
            lack, text = found, None
            finish_reason = finish_reason if type(finish_reason) is str and says(finish_reason) else None
    prompt_tokens, completion_tokens, total_tokens = _tokens(document.get("usage"))
    headers = answer.headers
    lowered = headers.lower()
    at = lowered.find(_REQUEST_ID)  # bytes `in` bytes takes three times as long
    if at >= 0:
        end = headers.find(b"\n", at + 1)
        named: str | None = headers[at + len(_REQUEST_ID) : end if end >= 0 else None].strip().decode("latin-1")
    else:
        named = request_id(headers, lowered) if b"id:" in lowered or b"cf-ray:" in lowered else None
    # fmt: off
    verdict: Verdict = _new(Verdict, (
        "ok", None, lack.words or "",
        answer.sends > 1,  # the earlier ones may have been executed, unseen
        None, named,
        finish_reason,
        prompt_tokens, completion_tokens, total_tokens,
        lowered if lowered.find(_ALLOWANCE) >= 0 else None, None, False, None, lack.reason,
        text if text and len(text) <= _SHORT else None,
    ))
    # fmt: on
    return verdict


def judge_as_it_came(
    answer: Answer,
    asked: bytes = b"",
    *,
    may_repeat: bool = False,
    has_own_path: bool = False,
    at_most_once: bool = False,
    secrets: Sequence[bytes] = (),
    wall_clock: Callable[[], float] | None = None,
    **_: Any,
) -> Verdict:
    """Return what an answer of any operation means: a whole one with a status of 2xx is ``ok``, whatever is in it.

    What is no text is kept as base64, which the message says. With `may_repeat`, what may have been executed is as if
    the server had failed: it does no harm to send it again. Where each request `has_own_path`, what is not found says
    nothing of other rows.
    """
    status = answer.status
    if status is not None and 200 <= status < 300 and answer.fault is None:
        return _as_it_came(answer)
    failing = _Failing(answer, at_most_once, secrets, wall_clock)
    if status is None or 200 <= status < 300:
        verdict = failing.by_fault(str(answer.fault))
    else:
        verdict = failing.by_status(status)
        if has_own_path and status in _GONE and verdict.circuit is None:
            verdict = verdict._replace(circuit="row")
    again = may_repeat and verdict.kind is Failure.AMBIGUOUS
    return verdict._replace(kind=Failure.SERVER_ERROR) if again else verdict


def _as_it_came(answer: Answer) -> Verdict:
    lowered = answer.headers.lower()
    tokens: tuple[int | None, int | None, int | None] = _NO_TOKENS
    words, body = "", None
    if answer.body[:1] == b"{":
        try:
            tokens = _tokens(orjson.loads(answer.body).get("usage"))
        except orjson.JSONDecodeError:
            tokens = _NO_TOKENS
    if not is_text(lowered, answer.body):
        kind = header_in(answer.headers, lowered, b"\ncontent-type:") or "an unknown type"
        words, body = f"the body is base64 of {quoted(kind, ())}", b64encode(answer.body)
    told = lowered if _ALLOWANCE in lowered else None
    request = request_id(answer.headers, lowered)
    return Verdict("ok", None, words, answer.sends > 1, None, request, None, *tokens, told, body=body)


def is_outlasted(answer: Answer, verdict: Verdict, earlier: Any, outcome: str | None) -> bool:
    """Check whether an earlier answer of the same row is kept, for it was paid, and a later one brought nothing.

    Of the earlier one, also from a journal, the status and the body are looked at.
    """
    good = earlier.status is not None and 200 <= earlier.status < 300 and earlier.body
    if not good or verdict.kind in (None, Failure.UNUSABLE):
        return False
    nothing = answer.status is not None and not (200 <= answer.status < 300 and answer.body)
    return nothing or outcome == "unusable"


class _Failing:
    """One answer that is no plain success, with what is needed to say which failure it is."""

    def __init__(
        self,
        answer: Answer,
        at_most_once: bool = False,
        secrets: Sequence[bytes] = (),
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self._answer = answer
        self._at_most_once = at_most_once
        self._secrets = secrets
        self._lowered = answer.headers.lower()
        self._retry_after = retry_after(answer.headers, wall_clock) if b"retry-after" in self._lowered else None

    def judge(
        self, asked: bytes, *, needs_choices: bool, read_stream: Callable[[Answer], Assembly] | None = None
    ) -> Verdict:
        """Return what the answer means."""
        answer = self._answer
        if answer.status is not None and not 200 <= answer.status < 300:
            return self.by_status(answer.status)
        if answer.status is not None and self._is_stream():
            assembly = assembled(answer.body) if read_stream is None else read_stream(answer)
            return self._in_stream(assembly, choices_asked(asked), needs_choices=needs_choices)
        if answer.fault is not None:
            return self.by_fault(answer.fault)
        return self._in_body(answer.body, needs_choices=needs_choices)

    def _is_stream(self) -> bool:
        """Check whether the body is an event stream: by its bytes, and by its head only where they do not tell."""
        body = self._answer.body
        form = form_of(body)
        if form is None and body.strip(BLANK):
            return True  # it was cut in the middle of a stream's first word
        return form == "stream" or (form in (None, "other") and is_event_stream(self._lowered))

    def _in_body(self, body: bytes, *, needs_choices: bool) -> Verdict:
        answer = self._answer
        if not body.strip():
            return self._by_rule(rules.EMPTY_BODY)
        try:
            document = read(body)
        except UnreadableError as error:
            if (alone := without_done(body)) is not None:
                verdict = self._in_body(alone, needs_choices=needs_choices)
                return verdict if verdict.kind is not None else verdict._replace(body=alone)
            return self._unreadable(error)
        if isinstance(document, list) and document and isinstance(document[0], dict):
            return self._in_document(document[0] | {"choices": None})
        if not isinstance(document, dict):
            return self._by_rule(rules.NOT_AN_OBJECT, error_object(document))
        good = _success(answer, document, needs_choices)
        return self._in_document(document) if good is None else good._replace(text=None)  # it is read in another way

    def _in_stream(self, assembly: Assembly, choices: int, *, needs_choices: bool) -> Verdict:
        """Judge a stream: what was wrong in it comes before what broke it off, and a whole one is not broken."""
        answer = self._answer
        if assembly.error is not None:
            return self._in_document({"error": assembly.error})
        if assembly.malformed:
            return self._by_rule(rules.FAULT_RULES["stream_error"], server_error(assembly.stray))
        if not assembly.is_whole(choices, ended_well=answer.fault is None and not self._ends_with_connection()):
            cut = answer.fault is None or answer.fault in rules.CUTS
            return self.by_fault("stream_truncated" if cut else str(answer.fault))
        document = assembly.document()
        try:
            body = Redaction(self._secrets).mask(encoded(document))
        except MalformedError:
            return self._by_rule(rules.FAULT_RULES["stream_error"])
        verdict = _success(answer, document, needs_choices)
        return self._in_document(document) if verdict is None else verdict._replace(body=body, text=None)

    def _in_document(self, document: dict[str, Any]) -> Verdict:
        """Judge an object that came under a good status and is no success; an error in it by its own code."""
        tokens = _tokens(document.get("usage"))
        choices = choices_of(document)
        failed = _failed_choice(choices)
        if failed is not None and says_something(failed.get("error")):
            error = error_object(failed["error"])
        elif failed is not None and not says_something(document.get("error")):
            code = failed.get("finish_reason")
            told = ServerError(code=code if isinstance(code, str) else None)
            return self._by_rule(rules.FAILED_CHOICE, told, tokens=tokens)
        else:
            error = error_object({name: value for name, value in document.items() if name not in _ANSWERS})
            if not names_an_error(document):
                rule = rules.UNDERWAY if is_underway(document) else rules.NO_CHOICES
                return self._by_rule(rule, error, tokens=tokens)
        status = status_of(error)
        known = 400 <= status < 600
        circuit = circuit_of(status, error)
        like = rules.rule_of_status(status, self._retry_after) if known else rules.IN_BAND
        like = rules.rule_of_circuit(circuit, status, like)
        return self._by_rule(
            rules.IN_BAND._replace(kind=like.kind, may_have_run=like.may_have_run),
            error,
            label="" if error.number is None else str(error.number),
            tokens=tokens,
            circuit=circuit,
        )

    def by_status(self, status: int) -> Verdict:
        """Return what a status means that is not good."""
        if self._answer.fault == rules.OPTION_REFUSED:
            return self._by_rule(rules.OPTION_RULE, label=str(status), stale_connection=True)
        error = server_error(self._answer.body) if status >= 400 else NOTHING
        rule = rules.rule_of_status(status, self._retry_after)
        circuit = "setup" if 300 <= status < 400 else circuit_of(status, error, self._answer.body)
        rule = rules.rule_of_circuit(circuit, status, rule)
        final = circuit in ("quota", "auth") or (circuit == "row" and status == 429)
        liftable = status >= 400 and status not in rules.REFUSED_FOR_GOOD and not final
        if rule.kind is Failure.FINAL and liftable and self._should_retry() == "true":
            rule = rule._replace(kind=Failure.SERVER_ERROR)
        return self._by_rule(rule, error, label=str(status), circuit=circuit)

    def by_fault(self, fault: str) -> Verdict:
        """Return what a broken exchange means."""
        answer = self._answer
        rule = rules.FAULT_RULES.get(fault, rules.FAULT_RULES["internal_error"])
        silent = answer.status is None and not answer.headers and not answer.body
        stale = fault in ("reset", "disconnected") and answer.reused and silent and not self._at_most_once
        if stale or (rule.kind is Failure.AMBIGUOUS and answer.sends == 0):
            rule = rule._replace(kind=Failure.NOT_EXECUTED)
        elif rule.kind is Failure.NOT_EXECUTED and answer.sends:
            # A silent repeat failed, and the first may have arrived.
            kind = Failure.AMBIGUOUS if self._at_most_once else rule.kind
            rule = rule._replace(kind=kind, may_have_run=True)
        detail = answer.message if answer.status is None else ""
        circuit = rules.CIRCUIT_OF_FAULT.get(fault)
        return self._by_rule(rule, detail=detail, stale_connection=stale, circuit=circuit)

    def _unreadable(self, error: UnreadableError) -> Verdict:
        form = form_of(self._answer.body)
        if error.broken and form == "json" and self._ends_with_connection():
            return self._by_rule(rules.FAULT_RULES["truncated"])
        kind = Failure.AMBIGUOUS if error.broken else Failure.FINAL
        told = server_error(self._answer.body) if form in ("page", "other") else NOTHING
        return self._by_rule(rules.UNREADABLE._replace(kind=kind, words=f"the answer cannot be read: {error}"), told)

    def _by_rule(
        self,
        rule: Rule,
        error: ServerError = NOTHING,
        *,
        label: str = "",
        detail: str = "",
        tokens: tuple[int | None, int | None, int | None] = _NO_TOKENS,
        circuit: str | None = None,
        stale_connection: bool = False,
    ) -> Verdict:
        """Return the verdict of a rule: the API's own words for it, else the rule's with a number and a detail."""
        answer = self._answer
        words = f"{rule.words} ({label})" if label else rule.words
        told, detail = ("", error.message) if not error.is_api else (error.message, detail)
        told, detail = quoted(told, self._secrets), quoted(detail, self._secrets)
        return Verdict(
            rule.outcome,
            Failure.FINAL if self._should_retry() == "false" else rule.kind,
            told or (f"{words}: {detail}" if detail else words),
            answer.sends > 1 or (rule.may_have_run and answer.sends > 0),
            self._retry_after,
            request_id(answer.headers, self._lowered) or quoted(error.request_id or "", self._secrets) or None,
            None,
            *tokens,
            self._lowered if _ALLOWANCE in self._lowered else None,
            circuit,
            stale_connection,
            reason=quoted(error.code or "", self._secrets) or None,
        )

    def _should_retry(self) -> str | None:
        return header_in(self._lowered, self._lowered, b"\nx-should-retry:")

    def _ends_with_connection(self) -> bool:
        """Whether only the end of the connection said that the body was whole."""
        lines = self._lowered
        return not any(header_in(lines, lines, name) for name in (b"\ncontent-length:", b"\ntransfer-encoding:"))


def _failed_choice(choices: list[Any] | None) -> dict[str, Any] | None:
    """Return the choice for which an answer is no success, if there is one."""
    for choice in choices or ():
        if isinstance(choice, dict) and (says_something(choice.get("error")) or shortcomings.lack_of([choice]) is None):
            return choice
    return None


def _tokens(usage: Any) -> tuple[int | None, int | None, int | None]:
    """Return prompt, completion and total tokens; the total is summed up where the server leaves that to us."""
    if type(usage) is not dict:
        return _NO_TOKENS
    if "input_tokens" in usage:
        usage = counted(usage)
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    total = usage.get("total_tokens")
    if (
        type(prompt) is int
        and type(completion) is int
        and type(total) is int
        and 0 <= (prompt | completion | total) < _LARGEST_COUNT  # by their bits, one comparison holds for all three
    ):
        return prompt, completion, total
    prompt, completion, total = map(_token_count, (prompt, completion, total))
    if total is None and prompt is not None and completion is not None:
        total = prompt + completion
    return prompt, completion, total


def _token_count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < _LARGEST_COUNT else None
