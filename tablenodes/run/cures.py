"""What to do about rows that failed: a sentence for each kind of failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..answers import limit_names
from ..engine.outcomes.error_codes import is_about_content, is_about_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from .failures import Failed
    from .provenance import Provenance

_ADDRESS = "check that the server is running, and its address ({base_url})"
_LONGER = "shorten these rows, or use a model with a longer context ({model})"
_OF_OUTCOME = {
    "auth": "use a key that this server accepts: in {key}",
    "quota_exhausted": "add credit to the account, or raise its limit, at the provider",
    "rate_limited": "run again later, or send fewer at a time ({concurrency})",
    "connect": _ADDRESS,
    "timeout_connect": _ADDRESS,
    "dns": "check the server's address ({base_url})",
    "tls": "check the server's address and its certificate ({base_url})",
    "proxy": "check the proxy in the variables HTTPS_PROXY and NO_PROXY",
    "redirect_refused": "use the address that the server redirects to ({base_url})",
    "protocol": "check that the address is that of an API ({base_url})",
    "decode_error": "check that the address is that of an API ({base_url})",
    "timeout_first_byte": "give an answer more time ({timeout}), or ask for shorter ones",
    "timeout_total": "give an answer more time ({timeout}), or ask for shorter ones",
    "too_large": "allow more ({body_bytes}), or shorten these rows or their answers",
    "internal_error": "this is a mistake in tablenodes: please report it",
    "unknown_id": "name the store that has these ids ({store})",
    "invalid_request": "correct these cells, or the settings that read them",
}
_OF_REASON = {
    "cut": "allow longer answers ({limit}), or ask for shorter ones",
    "filtered": "change these rows: a content filter held the answers back",
    "refused": "change the prompt or these rows: the model would not answer",
    "empty": "ask these rows again, or use another model ({model})",
    "called_tool": "leave the tools out, or let the model answer ({tool_choice})",
    "not_json": "say in the prompt what is wanted, or use another model ({model}) or {answer_mode}",
    "does_not_fit": "say in the prompt what is wanted, or allow more ({answer})",
}
_OF_STATUS = {
    402: _OF_OUTCOME["quota_exhausted"],
    403: "use a key that may do this (in {key}), or another model ({model})",
    413: _LONGER,
}
_IN_PYTHON = {
    **{name: f"Connection({name}=…)" for name in ("base_url", "api_key_env", "timeout")},
    **{name: f"Limits({name}=…)" for name in ("concurrency", "body_bytes")},
    "settings": "one of the node's",
}
_KEY = "OPENAI_API_KEY, or in the variable that {api_key_env} names"
_DISLIKED = "change these rows, or leave them out: the server refuses what they hold"
_REFUSED = "correct these rows, or the setting that the server names ({settings})"


def cure(failed: Failed, how_set: Callable[[str], str], made: Provenance | None = None) -> str:
    """Return what to do about rows that failed alike; empty where there is nothing to add to what is said.

    `how_set` returns how a setting is set at the door that says it; `made` says which node asked, and which
    environment variable its run had its key from, where its connection names one.
    """
    words = _Words(how_set)
    words["key"] = (made and made.key_variable) or _KEY.format_map(words)
    limit, *others = limit_names(made.path if made else "")
    words["limit"] = ", or ".join([how_set(limit), *(f"{name} where that is set" for name in others)])
    return _sentence(failed).format_map(words)


def set_in_python(name: str) -> str:
    """Return how a setting is set in Python."""
    return _IN_PYTHON.get(name, f"{name}=…")


class _Words(dict[str, str]):
    """How settings are set, by their names."""

    def __init__(self, how_set: Callable[[str], str]) -> None:
        super().__init__()
        self._how_set = how_set

    def __missing__(self, name: str) -> str:
        return self._how_set(name)


def _sentence(failed: Failed) -> str:
    outcome, reason = failed.outcome, failed.reason or ""
    if outcome == "invalid_request" and reason == "required":
        return _fill(failed)
    if outcome == "unusable":
        return _OF_REASON.get(reason, "")
    if is_about_size(reason) or is_about_content(reason):
        return _LONGER if is_about_size(reason) else _DISLIKED
    return _of_status(failed.status or 0, reason, failed) if outcome == "http_error" else _OF_OUTCOME.get(outcome, "")


def _of_status(status: int, reason: str, failed: Failed) -> str:
    if status == 404:
        return (
            "name a model that this server has ({model})"
            if reason
            else "check the server's address ({base_url}); it mostly ends in /v1"
        )
    is_refused = 400 <= status < 500 and not failed.passes
    return _OF_STATUS.get(status, _REFUSED) if is_refused else ""


def _fill(failed: Failed) -> str:
    """Return how to set what some rows lack, which the message begins with."""
    name = failed.message.removeprefix("$.").partition(":")[0]
    name = "prompt" if name == "messages" else name
    return f"fill it in these rows, or set it for all ({{{name}}})" if name.isidentifier() else ""
