"""The requests transport: a thread a call, over a session of ours or of the user's."""

from .transport import RequestsTransport

__all__ = ["RequestsTransport"]
