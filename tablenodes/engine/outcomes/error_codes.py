"""Whose fault a refusal is, by its codes: the account's, the key's, a model's, or that of what one request holds."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple


class ServerError(NamedTuple):
    """An error object of the API's shape, as far as a server fills it.

    `words` are its ``code``, ``type`` and ``status`` where they are texts, `number` the first of them that is a number,
    such as 429; `param` is what it is about, `message` the server's own words, `code` its code or, without one, its
    type, and `request_id` the server's name for the exchange. `is_api` is False where a page or a text says it all.
    """

    words: frozenset[str] = frozenset()
    number: int | None = None
    param: str | None = None
    message: str = ""
    code: str | None = None
    request_id: str | None = None
    is_api: bool = True


NOTHING = ServerError()

# Codes and types are compared without case.

_SPENT = frozenset(
    (
        *("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "access_terminated"),  # OpenAI
        *("credit_balance_exhausted", "billing_error"),
        "exceeded_current_quota_error",  # Moonshot
        *("1112", "1113"),  # Zhipu and Z.ai: the account is locked, or in arrears
        *("budget_exceeded", "exceededbudget"),  # LiteLLM
        *("insufficient_user_quota", "pre_consume_token_quota_failed", "token_quota_exhausted"),  # One API, New API
        *("arrearage", "prepaidbilloverdue", "postpaidbilloverdue", "allocationquota.freetieronly"),  # Alibaba
        *("accountoverdueerror", "serviceoverdue", "accountoverdue", "account_overdue"),  # Volcengine, Baidu
        *("not_enough_balance", "balance_not_enough", "insufficient_balance", "insufficient_balance_error"),  # Novita
        *("30001", "1008"),  # SiliconFlow, MiniMax
        *("failedoperation.resourcepackexhausted", "failedoperation.freeresourcepackexhausted"),  # Tencent
        *("insufficient_credits", "insufficient_credit", "insufficient_funds", "credit_limit", "credits_exhausted"),
        *("credit_balance_too_low", "personal-team-blocked:spending-limit", "spending_limit_reached"),  # xAI
        *("payment_required_error", "account_suspended", "err_insufficient_credits", "no_quota"),
    )
)
"""No request of the account succeeds until somebody pays."""

_KEY = frozenset(
    (
        *("invalid_api_key", "api_key_invalid", "invalidapikey", "invalid_authentication_error", "api_key_expired"),
        *("authentication_error", "authenticationerror", "unauthenticated", "account_deactivated"),
    )
)
"""The key is refused, also where the status is no 401."""

_KEY_IN_DETAILS = b'"API_KEY_INVALID"'  # Google's

_SIZES = frozenset(
    (
        *("context_length_exceeded", "context_window_exceeded", "contextwindowexceedederror"),
        *("string_above_max_length", "input_too_long", "input_length_exceeded"),
        *("max_tokens_exceeded", "token_limit_exceeded", "tokens_limit_reached", "string_too_long", "prompt_too_long"),
        *("request_too_large", "requesttoolarge", "payload_too_large", "token_reservation_exceeds_limit"),
        *("array_above_max_length", "image_too_large"),
    )
)
_CONTENTS = frozenset(
    (
        *("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "contentpolicyviolationerror"),
        *("data_inspection_failed", "datainspectionfailed", "moderation_blocked", "content_blocked", "invalid_prompt"),
        *("1301", "sensitive_words_detected", "sensitive_content_detected", "inputtextsensitivecontentdetected"),
        *("inputimagesensitivecontentdetected", "cyber_policy_violation", "safety_violations", "prompt_blocked"),
    )
)
_OF_ONE_REQUEST = _SIZES | _CONTENTS | {"invalid_image", "invalid_image_url", "image_parse_error"}
"""What one request is, or holds: its size, or what a filter dislikes."""

_ABOUT_CONTENT = re.compile(rb'"(flagged_input|reasons|content_filter_results?)"\s*:')
"""Fields by which moderations say what they dislike, where they give no code."""

_OF_STATUS = {401: "auth", 402: "payment"}

_NUMBER = r"(\d{1,3}(?:[,_ ]\d{3})+|\d+)"
_LIMIT = re.compile(rf"\b(?:limit|maximum|max)(?:\s+(?:is|of|at|was|size))*\s*[:=]?\s*{_NUMBER}", re.IGNORECASE)
_ASKED = re.compile(rf"\b(?:requested|request(?:ed)?\s+(?:of|for|has|with|is|was))\s*[:=]?\s*{_NUMBER}", re.IGNORECASE)


def _codes(error: ServerError) -> frozenset[str]:
    return frozenset((*map(str.casefold, error.words), str(error.number)))


def is_about_size(code: str) -> bool:
    """Check whether a code is about how large one request is."""
    return code.casefold() in _SIZES


def is_about_content(code: str) -> bool:
    """Check whether a code says that a filter dislikes what one request holds."""
    return code.casefold() in _CONTENTS


def is_spent(error: ServerError) -> bool:
    """Check whether an error says that no request of the account succeeds until somebody pays."""
    return not _SPENT.isdisjoint(_codes(error))


def circuit_of(status: int, error: ServerError, body: bytes = b"") -> str | None:
    """Return what a failure counts against beyond its row; ``row`` for none, whatever its status; None for nothing.

    ``auth`` and ``access`` are the key, refused by 401 or 403; ``page`` is a 403 of somebody else; ``quota`` and
    ``payment`` the account, by a code or a bare 402; ``model`` a model; ``row`` is what only this request is, or holds.
    """
    codes = _codes(error) if 400 <= status < 500 else frozenset()
    if not _SPENT.isdisjoint(codes):
        return "quota"
    if status == 413 or not _OF_ONE_REQUEST.isdisjoint(codes):
        return "row"
    if status == 400 and (not _KEY.isdisjoint(codes) or _KEY_IN_DETAILS in body):
        return "auth"
    if status == 403:
        return _circuit_of_403(error, body)
    if status == 404 and ("model_not_found" in codes or error.param == "model"):
        return "model"
    return "row" if status == 429 and is_too_large(error.message) else _OF_STATUS.get(status)


def _circuit_of_403(error: ServerError, body: bytes) -> str | None:
    """Return what a 403 counts against: the key only where an API says so, no firewall and no moderation."""
    if _ABOUT_CONTENT.search(body):
        return "row"
    is_api_error = error.words or error.number is not None or b'"error"' in body
    return "access" if is_api_error else "page"


@lru_cache(maxsize=32)
def is_too_large(message: str) -> bool:
    """Check whether a server's words name a limit, and that a request asked for more than it."""
    limits, asked = ([int(re.sub(r"\D", "", n)) for n in each.findall(message)] for each in (_LIMIT, _ASKED))
    return bool(limits and asked) and min(asked) > max(limits)
