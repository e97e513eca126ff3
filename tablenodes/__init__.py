"""tablenodes: every row of a table is a request to a language-model API, every answer comes back as a row.

>>> import tablenodes as tn
>>> node = tn.CreateChatCompletion(model="gpt-4o-mini", prompt="Translate into French: {{ text }}")
>>> result, configuration = node.run(table)  # doctest: +SKIP
"""

from __future__ import annotations

from ._version import __version__
from .nodes import NODES

_HOMES = {
    **dict.fromkeys(NODES, "nodes"),
    "Check": "run.check",
    "Connection": "connection",
    "Limits": "settings",
    "NodeOutput": "run.output",
    "Problem": "problems",
    "Responses": "run.output",
    "Retry": "settings",
    "Timeout": "settings",
    "Workflow": "workflow",
    "col": "templates",
    "literal": "templates",
    "read_table": "tables",
    "validate": "schemas",
}
"""Where each public name is; the stub beside this file is made of it."""
__all__ = [*_HOMES, "__version__", "errors"]  # noqa: PLE0604 - the keys are names


def __getattr__(name: str) -> object:
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
