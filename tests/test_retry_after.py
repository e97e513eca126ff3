"""The delay that a server asks for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablenodes.engine import policy
from tablenodes.engine.response_head import retry_after

NOON = b"Fri, 20 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (b"Retry-After: 2\r\n", 2.0),
        (b"retry-after:2", 2.0),
        (b"Server: x\r\nRETRY-AFTER:   1.5  \r\nDate: y\r\n", 1.5),
        (b"Retry-After: 0\r\n", 0.0),
        (b"Retry-After: .5\r\n", 0.5),
        (b"Retry-After: +3\r\n", 3.0),
        (b"Retry-After: 1e2\r\n", 100.0),
        (b"x-retry-after: 9\r\nRetry-After: 2\n", 2.0),
    ],
)
def test_seconds_are_read_however_the_line_is_written(headers, seconds):
    """A number of seconds is what it says, whatever the case and the spaces."""
    assert retry_after(headers) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"-1",
        b"-0.5",
        b"nan",
        b"soon",
        b"",
        b"1,5",
        b"1_0",
        b"0x10",
        b"2 s",
        b"--",
        b"\xff\xfe",
        b"Fri, soon",
        b"F" * 99,
    ],
)
def test_what_is_no_delay_is_ignored(value):
    """A delay that cannot be one leaves the wait to our own backoff."""
    assert retry_after(b"Retry-After: " + value + b"\r\n") is None


@pytest.mark.parametrize("value", [b"inf", b"Infinity", b"9" * 400, b"9" * 100_000, b"1e999"])
def test_an_absurd_number_is_a_very_long_delay(value):
    """A delay without end is too long to wait for, not a reason to come back at once."""
    assert retry_after(b"Retry-After: " + value + b"\r\n") == policy.LONGEST_DELAY


def test_milliseconds_come_before_seconds():
    """``retry-after-ms`` is the more precise one."""
    assert retry_after(b"Retry-After: 2\r\nRetry-After-Ms: 250\r\n") == 0.25


def test_milliseconds_that_are_none_leave_the_seconds():
    """A line that says nothing hides no other."""
    assert retry_after(b"retry-after-ms: soon\r\nRetry-After: 2\r\n") == 2.0


def test_a_date_is_measured_by_the_servers_own_clock():
    """Our clock may be wrong by years: the response's own date tells how far off the moment is."""
    headers = b"Retry-After: Fri, 20 Nov 2026 12:00:07 GMT\r\nDate: " + NOON + b"\r\n"
    assert retry_after(headers, lambda: 0.0) == 7.0


@pytest.mark.parametrize(
    "date", [b"Fri Nov 20 12:00:07 2026", b"Friday, 20-Nov-26 12:00:07 GMT", b"Fri, 20 Nov 2026 12:00:07 -0000"]
)
def test_the_old_forms_of_a_date_are_read_too(date):
    """HTTP knows three forms; all are understood."""
    assert retry_after(b"Retry-After: " + date + b"\r\nDate: " + NOON + b"\r\n") == 7.0


def test_a_date_in_the_past_is_no_delay():
    """A moment that has passed says nothing about how long to wait."""
    headers = b"Retry-After: Fri, 20 Nov 2026 11:59:00 GMT\r\nDate: " + NOON + b"\r\n"
    assert retry_after(headers) is None


def test_a_date_without_the_servers_date_needs_a_clock():
    """Only then is the wall clock asked; without one the date is ignored."""
    headers = b"Retry-After: Fri, 20 Nov 2026 12:00:07 GMT\r\n"
    assert retry_after(headers) is None
    assert retry_after(headers, lambda: 1_795_176_000.0) == 7.0


@pytest.mark.parametrize("date", [b"Fri, 20 Nov 99999999 12:00:00 GMT", b"Fri, 99 Nov 2026 12:00:00 GMT", b"A, B"])
def test_a_date_that_is_none_is_ignored(date):
    """No date can do harm, in either place."""
    assert retry_after(b"Retry-After: " + date + b"\r\nDate: " + NOON + b"\r\n") is None
    assert retry_after(b"Retry-After: " + NOON + b"\r\nDate: " + date + b"\r\n") is None


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.floats().map(lambda x: str(x).encode()))
def test_nothing_is_raised_and_no_delay_is_negative(value):
    """Whatever stands in the headers: a delay from 0 to the longest, or none."""
    for headers in (
        value,
        b"retry-after: " + value,
        b"retry-after-ms:" + value,
        b"retry-after: " + NOON + b"\ndate:" + value,
    ):
        seconds = retry_after(headers, lambda: 0.0)
        assert seconds is None or 0.0 <= seconds <= policy.LONGEST_DELAY


@given(
    st.sampled_from(["Fri", "Sun", "", "x"]),
    st.integers(-5, 400),
    st.sampled_from(["Nov", "Feb", "Foo", ""]),
    st.integers(-5, 10**12),
    st.text(max_size=12),
)
def test_no_date_raises(day, number, month, year, rest):
    """Dates of any shape are read or ignored."""
    value = f"{day}, {number} {month} {year} {rest}".encode()
    found = retry_after(b"retry-after: " + value.replace(b"\n", b" ") + b"\ndate: " + NOON)
    assert found is None or 0 <= found < math.inf
