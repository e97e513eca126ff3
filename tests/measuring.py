"""The mark of tests that measure what is promised in seconds or bytes: they run alone, after the others."""

from __future__ import annotations

import pytest

measures_seconds = pytest.mark.timing
"""The bound is what is promised, so it stays as it is: nothing else of the suite runs beside it.

What is only computed is measured by `time.process_time`: other programs of the machine take none of that.
"""
measures_memory = measures_seconds
"""The same for bytes."""
