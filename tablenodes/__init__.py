"""tablenodes: every row of a table is a request to a language-model API, every answer comes back as a row.

>>> import tablenodes as tn
>>> node = tn.CreateChatCompletion(model="gpt-4o-mini", prompt="Translate into French: {{ text }}")
>>> result, configuration = node.run(table)  # doctest: +SKIP
"""

from __future__ import annotations

from ._version import __version__

TYPE_CHECKING = False  # typing itself is loaded only where it is needed: Ctrl-C while this loads would be a traceback
if TYPE_CHECKING:
    from typing import Any

    from . import errors
    from .connection.connection import Connection
    from .nodes import (
        AddAssistantMessage,
        AddSystemMessage,
        AddToolMessage,
        AddUserMessage,
        AppendReply,
        CreateChatCompletion,
        CreateChatCompletionAsync,
        CreateCompletion,
        CreateCompletionAsync,
        CreateConversation,
        RetrieveResponse,
        Return,
    )
    from .problems import Problem
    from .run.check import Check
    from .run.output import NodeOutput
    from .schemas import validate
    from .settings import Limits, Retry, Timeout
    from .tables import read_table
    from .templates import col, literal
    from .workflow import Workflow

_HOMES = {
    "AddAssistantMessage": "nodes",
    "AddSystemMessage": "nodes",
    "AddToolMessage": "nodes",
    "AddUserMessage": "nodes",
    "AppendReply": "nodes",
    "Check": "run.check",
    "Connection": "connection",
    "CreateChatCompletion": "nodes",
    "CreateChatCompletionAsync": "nodes",
    "CreateCompletion": "nodes",
    "CreateCompletionAsync": "nodes",
    "CreateConversation": "nodes",
    "Limits": "settings",
    "NodeOutput": "run.output",
    "Problem": "problems",
    "RetrieveResponse": "nodes",
    "Retry": "settings",
    "Return": "nodes",
    "Timeout": "settings",
    "Workflow": "workflow",
    "col": "templates",
    "literal": "templates",
    "read_table": "tables",
    "validate": "schemas",
}

__all__ = [
    "AddAssistantMessage",
    "AddSystemMessage",
    "AddToolMessage",
    "AddUserMessage",
    "AppendReply",
    "Check",
    "Connection",
    "CreateChatCompletion",
    "CreateChatCompletionAsync",
    "CreateCompletion",
    "CreateCompletionAsync",
    "CreateConversation",
    "Limits",
    "NodeOutput",
    "Problem",
    "RetrieveResponse",
    "Retry",
    "Return",
    "Timeout",
    "Workflow",
    "__version__",
    "col",
    "errors",
    "literal",
    "read_table",
    "validate",
]


def __getattr__(name: str) -> Any:
    # Loaded when it is first used: importing the package costs neither pandas nor libcurl.
    import importlib  # noqa: PLC0415 - as above

    if name == "errors":
        return importlib.import_module(".errors", __name__)
    if name not in _HOMES:
        from . import errors  # noqa: PLC0415 - as above

        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{errors.nearest(name, __all__)}")
    found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
