"""What other servers, tools and parts of this package call a setting, answered with the way to write it here."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..column_names import plainly
from ..connection.connection import Connection

if TYPE_CHECKING:
    from ..answers.foreign_settings import Door

_OF_SERVERS = {
    plainly(name): name
    for name in (
        *("top_k", "min_p", "top_a", "tfs", "typical_p", "repetition_penalty", "repeat_penalty", "length_penalty"),
        *("min_tokens", "ignore_eos", "stop_token_ids", "skip_special_tokens", "include_stop_str_in_output"),
        *("bad_words", "logits_processors", "prompt_logprobs", "add_generation_prompt", "continue_final_message"),
        *("chat_template", "chat_template_kwargs", "guided_regex", "guided_grammar", "structured_outputs"),
        *("mirostat", "mirostat_tau", "mirostat_eta", "dry_multiplier", "xtc_probability", "dynatemp_range"),
        *("num_ctx", "num_predict", "keep_alive", "cache_prompt", "grammar", "n_predict", "samplers", "best_of"),
        *("use_beam_search", "early_stopping", "do_sample", "lora", "safe_prompt", "random_seed", "thinking"),
        *("reasoning", "enable_thinking", "include_reasoning", "provider", "route", "transforms", "plugins", "models"),
    )
}
"""Properties of well-known servers beside the API's own."""
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_CALLED = {
    **dict.fromkeys(("maxnewtokens", "maxlength", "maxoutputtokens"), "max_tokens"),
    **dict.fromkeys(("engine", "deployment", "modelname"), "model"),
    **dict.fromkeys(("input", "question"), "prompt"),
    **dict.fromkeys(("instructions", "systemprompt"), "system"),
    **dict.fromkeys(("maxtokens", "maxcompletiontokens"), "max_output_tokens"),
    **dict.fromkeys(("messages", "inputs", "prompt", "text"), "input"),
    "responseformat": "text",
    "reasoningeffort": "reasoning",
    "functions": "tools",
    "temp": "temperature",
    "timeout": "client_timeout",
    "extra": "extra_body",
}
"""What others call settings, written plainly, and what they are called here."""
_CONNECTED = {
    **{plainly(each.name): each.name for each in fields(Connection) if each.init},
    **dict.fromkeys(("apibase", "endpoint", "url"), "base_url"),
    **dict.fromkeys(("defaultheaders", "extraheaders"), "headers"),
    "extraquery": "query",
}
"""The settings of a connection, and what others call them."""
_LINES: Mapping[str, str] = {
    "python": 'extra_body={{"{name}": {value}}}',
    "yaml": "extra_body: {{{name}: {value}}}",
    "command line": "--set extra_body='{{\"{name}\": {value}}}'",
}
_AROUND: Mapping[str, Mapping[str, str]] = {
    "retry": {
        "python": "retry=Retry(…) of the run",
        "yaml": "retry: beside nodes:",
        "command line": "--retry-max-attempts",
    },
    "limits": {
        "python": "limits=Limits(…) of the run",
        "yaml": "limits: beside nodes:",
        "command line": "--concurrency, --requests-per-minute",
    },
    "when": {"python": "Step(node, when=…)", "yaml": "when:", "command line": "--where"},
}
"""What is said around a node, and how at each door."""
_ELSEWHERE = {
    **dict.fromkeys(("retry", "retries", "maxretries", "maxattempts", "retrypolicy", "numretries"), "retry"),
    **dict.fromkeys(("limits", "concurrency", "maxconcurrency", "parallelism", "ratelimit", "rpm"), "limits"),
    **dict.fromkeys(("requestsperminute", "tokensperminute", "maxrequests", "maxcost"), "limits"),
    **dict.fromkeys(("when", "if", "runif", "condition", "conditions"), "when"),
}
_NEEDLESS = {
    **dict.fromkeys(("needs", "dependson", "after"), "nodes run in their order, and read earlier ones as {{ ID }}"),
    **dict.fromkeys(("foreach", "loop", "withitems"), "a node runs for each row of the table anyway"),
}
_KEY = {
    "python": "set a key in the connection: Connection(api_key_env=…)",
    "yaml": "a key must not be in a file: name the environment variable that holds it as api_key_env under connection",
    "command line": "set a key in the connection: --api-key-env",
}


def neighbour(name: str, value: Any, names: Collection[str], door: Door = "python") -> str | None:
    """Return what to write in the place of a setting that is none of `names` but is known elsewhere; else None."""
    plain = plainly(name)
    if plain == "apikey":
        return _KEY[door]
    if (around := _ELSEWHERE.get(plain)) is not None or plain in _NEEDLESS:
        return f"write {_AROUND[around][door]}" if around is not None else _NEEDLESS[plain]
    if (called := _CALLED.get(plain)) in names:
        return f"it is called {called!r} here"
    if plain in _OF_SERVERS and "extra_body" in names:
        shown = value if _NUMBER.fullmatch(str(value)) else "…"
        line = _LINES[door].format(name=_OF_SERVERS[plain], value=shown)
        return f"it is no property of the API; for a server that knows it: {line}"
    if plain in _CONNECTED and not any(plainly(each) == plain for each in names):
        own = _CONNECTED[plain]
        where = {"python": f"Connection({own}=…)", "yaml": f"{own} under connection"}.get(
            door, "the connection's options"
        )
        return f"it belongs to the connection, the same for every row: {where}"
    return None


_OPTIONS = {
    **dict.fromkeys(("submission", "deadline", "replace"), "the nodes whose names end in Async have it"),
    **dict.fromkeys(("inputs", "nodes"), "a Workflow has it"),
    **dict.fromkeys(("retries", "maxretries", "attempts"), "set retry=Retry(…)"),
    **dict.fromkeys(
        ("concurrency", "maxrequests", "maxcost", "requestsperminute", "ratelimit"), "set limits=Limits(…)"
    ),
    "share": "it is for processes that have a part of the table each: node.mapper(share=…)",
}


def option_elsewhere(is_later: bool, name: str, settings: Collection[str]) -> str | None:
    """Return where something is said that a node's call is not told; None where no place is known."""
    if name in settings:
        return f"it is a setting of the node: node.replace({name}=…)"
    if is_later and name == "journal":
        return "the answers of this node are kept in the store: store=…"
    if plainly(name) == "apikey":
        return _KEY["python"]
    own = _CONNECTED.get(plainly(name))
    around = _ELSEWHERE.get(plainly(name))
    if around in ("retry", "limits"):
        return f"write {around}={around.capitalize()}(…)"
    return _OPTIONS.get(plainly(name)) or (own and f"it belongs to the connection: Connection({own}=…)")
