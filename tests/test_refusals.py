"""Whose fault a refusal is, as servers word it: the account's, the key's, or that of what one request holds."""

from __future__ import annotations

import orjson
import pytest

from tablenodes.engine.calls import Answer
from tablenodes.engine.outcomes.judge import judge
from tablenodes.engine.outcomes.rules import Failure


def refusal(status, error):
    """Return what a refusal means; a text is a whole body."""
    body = error.encode() if isinstance(error, str) else orjson.dumps(error)
    return judge(Answer(0, status, b"retry-after: 9\r\n", body))


SPENT = {
    "OpenAI": (429, {"code": "insufficient_quota", "type": "insufficient_quota"}),
    "OpenAI, by its type alone": (429, {"type": "insufficient_quota", "code": None}),
    "OpenAI, a limit": (400, {"code": "billing_hard_limit_reached"}),
    "Moonshot": (429, {"type": "exceeded_current_quota_error"}),
    "Zhipu, a text": (429, {"code": "1113"}),
    "Zhipu, a number": (429, {"code": 1113}),
    "LiteLLM": (429, {"type": "budget_exceeded", "code": "429"}),
    "LiteLLM, as a 400": (400, {"type": "budget_exceeded", "code": "400"}),
    "New API": (403, {"code": "insufficient_user_quota", "type": "new_api_error"}),
    "One API": (403, {"code": "pre_consume_token_quota_failed"}),
    "Alibaba": (400, {"code": "Arrearage", "type": "Arrearage"}),
    "Alibaba, the free part": (403, {"code": "AllocationQuota.FreeTierOnly"}),
    "Volcengine": (403, {"code": "AccountOverdueError", "type": "Forbidden"}),
    "Novita": (403, {"code": "NOT_ENOUGH_BALANCE"}),
    "OhMyGPT": (402, {"type": "insufficient_balance_error"}),
    "Tencent": (403, {"code": "FailedOperation.ResourcePackExhausted"}),
    "Vercel": (402, {"type": "insufficient_funds"}),
    "Together": (402, {"type": "credit_limit", "code": None}),
    "xAI": (403, {"code": "personal-team-blocked:spending-limit"}),
    "Poe": (402, {"code": 402, "type": "insufficient_credits"}),
}


@pytest.mark.parametrize("vendor", SPENT)
def test_an_account_that_is_spent_is_told_by_its_code(vendor):
    """Whatever the status: nothing is waited for, and it is about all rows."""
    status, error = SPENT[vendor]
    verdict = refusal(status, {"error": {"message": "Top up.", **error}})
    assert (verdict.outcome, verdict.kind, verdict.circuit) == ("quota_exhausted", Failure.FINAL, "quota")
    assert "Top up." in verdict.message


@pytest.mark.parametrize(
    "error",
    [
        {"code": "rate_limit_exceeded", "message": "Limit 10000, Used 9000, Requested 2000. Try again in 6s."},
        {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-4 on requests: Limit 3, Requested 1"},
        {"code": "rate_limit_exceeded", "message": "Rate limit reached for gpt-4: Requested 2000 of tokens per minute"},
        {"code": "1302", "message": "too many requests"},
        {"code": "429", "type": "None"},
        {"status": "RESOURCE_EXHAUSTED", "code": 429, "message": "Quota exceeded, retry in 20s"},
        {"message": "limit: 60 requests, 41000 tokens a minute"},
    ],
)
def test_a_server_that_asks_to_slow_down_is_waited_for(error):
    """A limit that others use up is no row's fault, and no account's end."""
    verdict = refusal(429, {"error": error})
    assert (verdict.outcome, verdict.kind, verdict.circuit) == ("rate_limited", Failure.THROTTLED, None)


@pytest.mark.parametrize(
    "error",
    [
        {
            "message": "Request too large for gpt-4o in organization org-1 on tokens per min (TPM): Limit 30000, "
            "Requested 41000. The input or output tokens must be reduced in order to run successfully.",
            "type": "tokens",
            "code": "rate_limit_exceeded",
        },
        {"message": "Limit 30,000, Used 0, Requested 41,000."},
        {"message": "Your request of 9000 tokens is above the limit of 6000 tokens a minute"},
        {"message": "requested: 12000, limit: 10000"},
        {"message": "Requested 9000 tokens; maximum is 8000"},
        {"code": "request_too_large"},
        {"code": "tokens_limit_reached"},
        {"code": "context_length_exceeded"},
    ],
)
def test_a_row_that_is_too_large_for_the_limit_is_final(error):
    """It would be refused for ever: nobody waits for it, whatever delay comes with it."""
    verdict = refusal(429, {"error": error})
    assert (verdict.outcome, verdict.kind, verdict.circuit) == ("rate_limited", Failure.FINAL, "row")


@pytest.mark.parametrize(
    ("error", "circuit", "outcome"),
    [
        ("<html><title>403 Forbidden</title></html>", "page", "http_error"),
        ("", "page", "http_error"),
        ({"message": "Forbidden"}, "page", "http_error"),
        ({"error": {"message": "flagged", "code": 403, "metadata": {"reasons": ["violence"]}}}, "row", "http_error"),
        ({"error": {"message": "no", "code": "content_policy_violation"}}, "row", "http_error"),
        ({"error": {"message": "no", "code": "data_inspection_failed"}}, "row", "http_error"),
        ({"error": {"message": "no", "type": "permission_error"}}, "access", "auth"),
        ({"error": {"message": "no"}}, "access", "auth"),
        ({"error": "no"}, "access", "auth"),
    ],
)
def test_a_403_is_the_keys_only_where_the_api_says_so(error, circuit, outcome):
    """A firewall's page and a moderation are about what a prompt holds."""
    verdict = refusal(403, error)
    assert (verdict.circuit, verdict.outcome, verdict.kind) == (circuit, outcome, Failure.FINAL)


@pytest.mark.parametrize(
    "error",
    [
        {"code": "invalid_api_key"},
        {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]},
    ],
)
def test_a_key_may_be_refused_with_400(error):
    """The code says more than the status."""
    verdict = refusal(400, {"error": error})
    assert (verdict.circuit, verdict.outcome) == ("auth", "auth")
