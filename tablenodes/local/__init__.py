"""The embedded models, for words and for vectors: each in a child process on the user's own machine."""

from .functions import FunctionCalls, Watched
from .model_files import (
    CHAT,
    DEFAULT_MODEL,
    DIMENSIONS,
    EMBEDDING,
    ModelStatus,
    install,
    installed,
    model_for,
    remove,
    status,
)
from .server import SLOTS, LocalModel, LocalServer

__all__ = [
    "CHAT",
    "DEFAULT_MODEL",
    "DIMENSIONS",
    "EMBEDDING",
    "SLOTS",
    "FunctionCalls",
    "LocalModel",
    "LocalServer",
    "ModelStatus",
    "Watched",
    "install",
    "installed",
    "model_for",
    "remove",
    "status",
]
