"""The event-stream format: what a stream of bytes says, wherever it is cut into pieces."""

from __future__ import annotations

import itertools
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablenodes.engine.outcomes.sse import STRAY, EventReader, EventTooLongError, ServerEvent


def read(*pieces):
    """Return the events that the standard knows."""
    return [event for event in read_all(*pieces) if event.name not in (STRAY, b"error")]


def read_all(*pieces):
    reader = EventReader()
    return [event for piece in pieces for event in reader.push(piece)]


def data(*texts):
    return [ServerEvent(b"", text) for text in texts]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_end_in_three_ways(end):
    """LF, CR and CRLF are all the same."""
    assert read(b"data: a\n\ndata: b\n\n".replace(b"\n", end)) == data(b"a", b"b")


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\r\ndata: b\n\r\ndata: c\r\r", data(b"a\nb", b"c")),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", data(b"a")),
        (b"\n\n\n:\n: comment\ndata: a\n: more\n\n", data(b"a")),
        (b"data:a\ndata: b\ndata:  c\n\n", data(b"a\nb\n c")),
        (b"data\n\n", data(b"")),
        (b"data:\ndata:\n\n", data(b"\n")),
        (b"event: x\n\ndata: a\n\n", data(b"a")),
        (b"event: x\ndata: a\n\ndata: b\n\n", [ServerEvent(b"x", b"a"), *data(b"b")]),
        (b"id: 1\nretry: 5\nfoo: bar\nDATA: no\ndata : no\nbaz\n\ndata: a\n\n", data(b"a")),
        (b" \n\r\n\xef\xbb\xbfdata: a\n\n", data(b"a")),
        ("data: a\u2028b\x0b\x0c\x85\u2029\n\n".encode(), data("a\u2028b\x0b\x0c\x85\u2029".encode())),
        (b"data: a: b\n\n", data(b"a: b")),
        (b"data: a\n", []),
        (b"", []),
    ],
)
def test_what_a_stream_says(stream, events):
    """Comments, names, several lines, a byte order mark at the start alone, and nothing without a blank line."""
    assert read(stream) == events
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == events
    for at in range(len(stream) + 1):
        assert read(stream[:at], b"", stream[at:]) == events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b'data: {"a":1}\ndata: {"a":2}\ndata: [DONE]\n', data(b'{"a":1}', b'{"a":2}', b"[DONE]")),
        (b'data: {\ndata: "a":{}}\n\n', data(b'{\n"a":{}}')),
        (b'error: {"code":500}\n\n', [ServerEvent(b"error", b'{"code":500}')]),
        (b'data: a\n{"error":1}\n', [*data(b"a"), ServerEvent(STRAY, b'{"error":1}')]),
        (b"upstream: no\nan upstream: no\n", [ServerEvent(STRAY, b"an upstream: no")]),
        (b"Bad Gateway\r\n\t\r\n", [ServerEvent(STRAY, b"Bad Gateway")]),
    ],
)
def test_what_servers_do_besides(stream, events):
    """They forget blank lines, have a field for errors, and write what is none of a stream."""
    assert read_all(stream) == events
    assert read_all(*(stream[at : at + 1] for at in range(len(stream)))) == events


def test_an_event_comes_out_with_its_last_byte():
    """A carriage return ends a line at once, whatever follows."""
    for end in (b"\n\n", b"\r\r", b"\r\n\r"):
        reader = EventReader()
        assert reader.push(b"data: a" + end[:-1]) == []
        assert reader.push(end[-1:]) == data(b"a")
        assert reader.push(b"\ndata: b\n\n") == data(b"b")


def test_what_no_blank_line_has_ended_can_be_asked_for():
    """It is not told by itself."""
    for stream, last in ((b"data: a", b"a"), (b"data: a\ndata", b"a\n"), (b"data: a\r", b"a")):
        reader = EventReader()
        assert reader.push(stream) == []
        assert reader.finish() == data(last)
        assert reader.finish() == []
    for stream in (b"", b"data: a\n\n", b"event: x", b": data"):
        reader = EventReader()
        reader.push(stream)
        assert reader.finish() == []


def test_an_event_is_not_longer_than_its_limit():
    """Neither a line, nor all lines together, however they come."""
    for pieces in (
        [b"data: " + b"x" * 200],
        [b"x"] * 200,
        [b"data: xxxxxxxx\n"] * 20,
        [b"data: " + b"x" * 200 + b"\n"],
    ):
        with pytest.raises(EventTooLongError):
            _ = [*map(EventReader(100).push, pieces)]
    assert len(EventReader(100).push(b"data: xxxxxxxx\n\n" * 50)) == 50


def test_memory_does_not_grow_with_a_stream():
    """What was told is forgotten: 10 MB go by, 100 KB are not held."""
    reader = EventReader()
    piece = b": comment\r\nevent: x\r\ndata: " + b"y" * 1000 + b"\r\n\r\n"
    tracemalloc.start()
    for _ in range(10_000):
        assert len(reader.push(piece)) == 1
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 100_000


def plainly(stream):
    """Read a whole stream as the standard words it, slowly."""
    events, name, lines = [], b"", []
    *whole, _ = re.split(rb"\r\n|\r|\n", stream)
    first = next((at for at, line in enumerate(whole) if line.strip()), None)
    if first is not None:
        whole[first] = whole[first].removeprefix(b"\xef\xbb\xbf")
    for line in whole:
        if not line:
            if lines:
                events.append(ServerEvent(name, b"\n".join(lines)))
            name, lines = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return events


SNIPPETS = st.sampled_from(
    [b"data", b"event", b":", b" ", b"\r", b"\n", b"\r\n", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"a", b"id"]
)


@given(st.lists(SNIPPETS, max_size=60).map(b"".join) | st.binary(max_size=80), st.lists(st.integers(0, 200)))
def test_any_stream_in_any_pieces_is_read_as_the_standard_says(stream, cuts):
    """As a reader that sees all of it at once, one line after the other."""
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    assert read(*pieces) == plainly(stream)
