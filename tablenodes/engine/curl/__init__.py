"""The libcurl transport: thousands of calls in flight in one thread."""

from .transport import CurlTransport

__all__ = ["CurlTransport"]
