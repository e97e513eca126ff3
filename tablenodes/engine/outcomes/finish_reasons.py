"""What a ``finish_reason`` means, in the words of many servers: an end, or that there is none yet."""

from __future__ import annotations

from typing import Any, Literal

Meaning = Literal["whole", "cut", "filtered", "refused", "failed", "unknown"]

_NOT_YET = frozenset(
    (
        *("", "null", "none", "nil", "undefined", "unspecified", "finish_reason_unspecified"),
        *("in_progress", "pending", "running", "unfinished", "not_finished", "continue"),
    )
)
"""Placeholders of an answer that goes on."""
_MEANINGS: dict[Meaning, tuple[str, ...]] = {
    "whole": (
        *("stop", "stopped", "end", "ended", "eos", "eos_token", "eot", "end_turn", "end_of_text", "end_of_sequence"),
        *("stop_sequence", "stop_token", "stop_string", "stop_str", "complete", "completed", "done", "finish"),
        *("finished", "normal", "success", "tool_calls", "tool_call", "tool_use", "function_call", "function_calls"),
    ),
    "cut": (
        *("length", "max_length", "max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens"),
        *("model_length", "token_limit", "context_length", "context_window_exceeded", "context_length_exceeded"),
        *("model_context_window_exceeded", "repetition_truncation", "truncated", "incomplete", "time_limit"),
    ),
    "filtered": (
        *("content_filter", "content_filtered", "content_filtering", "content_policy", "content_policy_violation"),
        *("safety", "image_safety", "sensitive", "blocklist", "prohibited_content", "recitation", "spii", "language"),
        *("guardrail_intervened", "guardrails", "moderation", "moderated", "flagged", "blocked", "error_toxic"),
    ),
    "refused": ("refusal", "refused"),
    "failed": (
        *("error", "failed", "failure", "network_error", "server_error", "internal_error", "upstream_error"),
        *("inference_error", "engine_error", "provider_error", "api_error", "model_error", "unknown_error"),
        *("insufficient_system_resource", "out_of_memory", "oom", "overloaded", "engine_overloaded", "rate_limit"),
        *("abort", "aborted", "cancel", "cancelled", "canceled", "user_cancel", "interrupted", "preempted"),
        *("disconnect", "disconnected", "timeout", "timed_out", "unavailable", "service_unavailable"),
        *("malformed_function_call", "unexpected_tool_call", "malformed_response"),
    ),
}
_MEANING_OF: dict[str, Meaning] = {word: meaning for meaning, words in _MEANINGS.items() for word in words}


def says(reason: Any) -> bool:
    """Check whether a ``finish_reason`` says something: what stands for none, such as ``""``, says nothing."""
    return bool(reason) and (type(reason) is not str or reason in _MEANING_OF or _plain(reason) not in _NOT_YET)


def meaning_of(reason: Any) -> Meaning:
    """Return what a ``finish_reason`` means for its choice; one that says nothing, or is no text, is ``whole``."""
    if type(reason) is not str:
        return "whole"
    word = _plain(reason)
    return _MEANING_OF.get(word) or ("whole" if word in _NOT_YET else "unknown")


def _plain(reason: str) -> str:
    """Return a word as the tables have it, whatever its case and its joints are."""
    return reason.strip().lower().replace("-", "_").replace(" ", "_")
