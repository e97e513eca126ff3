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
    "Estimate": "run.estimate",
    "Limits": "settings",
    "NodeOutput": "run.output",
    "Problem": "problems",
    "Responses": "run.output",
    "Retry": "settings",
    "Step": "workflow",
    "Timeout": "settings",
    "Workflow": "workflow",
    "WorkflowOutput": "workflow",
    "col": "templates",
    "last_output": "run.last_output",
    "cross": "run.combinations",
    "literal": "templates",
    "read_journal": "run.journal_table",
    "read_table": "tables",
    "transcript": "run.transcripts",
    "validate": "schemas",
    "write_table": "tables.table_output",
}
"""Where each public name is; the stub beside this file is made of it."""
_MODULES = ("cluster", "errors", "openapi", "testing")
__all__ = [*_HOMES, *_MODULES, "__version__"]  # noqa: PLE0604 - the keys are names


def __getattr__(name: str) -> object:
    # Loaded when it is first used: importing the package costs neither pandas nor libcurl.
    import importlib  # noqa: PLC0415 - as above

    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        if name.startswith("_"):  # whatever looks at a module asks for such names, and needs no hint
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import errors, nodes  # noqa: PLC0415 - as above

        hint = nodes.nearest_node(name) or errors.nearest(name, __all__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    found = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return list(__all__)
