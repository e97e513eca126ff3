"""The mark of tests that measure what is promised in seconds or bytes, on a machine that has other work."""

from __future__ import annotations

import pytest

measures_seconds = pytest.mark.flaky(reruns=2, only_rerun=["AssertionError"])
"""The bound is what is promised, so it stays as it is: a machine that stood still just then gets two more chances."""
measures_memory = measures_seconds
"""The same for bytes."""
