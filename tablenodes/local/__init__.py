"""The embedded model: a small language model in a child process on the user's own machine."""

from .functions import FunctionCalls, Watched
from .model_files import DEFAULT_MODEL, ModelStatus, install, installed, remove, status
from .server import SLOTS, LocalModel, LocalServer

__all__ = [
    "DEFAULT_MODEL",
    "SLOTS",
    "FunctionCalls",
    "LocalModel",
    "LocalServer",
    "ModelStatus",
    "Watched",
    "install",
    "installed",
    "remove",
    "status",
]
