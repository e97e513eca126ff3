"""Redaction: no key in an answer, whatever form it comes back in, and no word changed where there is none."""

from __future__ import annotations

import base64
import itertools
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablenodes import Connection
from tablenodes.connection.endpoint import opened
from tablenodes.engine.calls import Answer
from tablenodes.engine.redaction import Redaction

KEY = "sk-a/b+c=4711 abcdef"
FORMS = {"plain": KEY, "url": quote(KEY, safe=""), "base64": base64.b64encode(KEY.encode()).decode().rstrip("=")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("where", ["body", "headers", "message"])
def test_a_key_is_masked_wherever_it_is(form, where):
    """In the body, in a header and in the transport's own words; the rest of the answer stays."""
    parts = {"body": b"a ", "headers": b"X: 1\r\n", "message": "no: "}
    secret = FORMS[form]
    parts[where] += secret if where == "message" else secret.encode()
    masked = Redaction([KEY.encode(), b"other-key"]).masked(Answer(1, 200, **parts))
    assert secret not in f"{masked.body!r}{masked.headers!r}{masked.message}"
    assert getattr(masked, where) in (b"a ***", b"X: 1\r\n***", "no: ***")
    assert (masked.key, masked.status) == (1, 200)


def escaped(text, every):
    """Return a text as JSON may write it: each `every`th character as an escape."""
    return "".join(f"\\u{ord(c):04X}" if i % every == 0 else "\\/" if c == "/" else c for i, c in enumerate(text))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("every", [1, 2, 5, 1000])
def test_a_key_in_jsons_escapes_is_masked(form, every):
    """A reader of the JSON would see the key: it is masked, and the rest stays as it was written."""
    body = f'{{"a":"\\u00e9 {escaped(FORMS[form], every)} \\u0041"}}'
    assert FORMS[form] in json.loads(body)["a"]
    masked = Redaction([KEY.encode()]).masked(Answer(1, 200, b"", body.encode())).body
    assert masked == b'{"a":"\\u00e9 *** \\u0041"}'


def test_escapes_without_a_key_are_left_alone():
    """Nothing is copied."""
    answer = Answer(1, 200, b"", b'{"a":"\\u003cb\\u003e \\/"}')
    assert Redaction([KEY.encode()]).masked(answer) is answer


def test_an_answer_without_a_key_is_the_very_same():
    """Nothing is copied."""
    answer = Answer(1, 200, b"X: 1\r\n", b"sk-a/b", message="lone \udcff")
    assert Redaction([KEY.encode()]).masked(answer) is answer


def test_a_short_secret_masks_no_words():
    """ "test" as a key would make holes in every other answer."""
    answer = Answer(1, 200, b"", b"a test")
    assert Redaction([b"test"]).masked(answer) is answer


def test_a_short_key_is_masked_after_bearer():
    """There it is no word; alone it may be one."""
    with opened(Connection("http://localhost:1/v1", api_key="sk-x")) as endpoint:
        masked = Redaction(endpoint.secrets).masked(Answer(1, 401, b"", b"no: Bearer sk-x, in a task-x"))
    assert masked.body == b"no: ***, in a task-x"


# --- a text that comes in pieces ------------------------------------------------------------------------------------

WORDS = st.sampled_from([*FORMS.values(), KEY[:9], KEY[9:], "sk-", "s", "é🙂", " ", "other", "***"])


@given(st.lists(WORDS, max_size=8).map("".join), st.lists(st.integers(0, 150), max_size=12))
def test_a_text_in_pieces_is_masked_as_the_whole_is(text, cuts):
    """Whatever the pieces; nothing of a key is shown before it is known that it is none."""
    redaction = Redaction([KEY.encode(), b"other-key"])
    mask, shown = redaction.live(), ""
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    for start, end in itertools.pairwise(places):
        shown += mask.push(text[start:end])
        assert all(form not in shown for form in FORMS.values())
        assert redaction.mask(text.encode()).decode().startswith(shown)
    assert shown + mask.rest() == redaction.mask(text.encode()).decode()
    assert mask.rest() == ""


def test_only_what_may_be_a_key_is_held_back():
    """A text in which none begins is shown at once."""
    mask = Redaction([KEY.encode()]).live()
    assert mask.push("a task.") == "a task."
    assert mask.push("s") == ""
    assert mask.push("k-a") == ""
    assert mask.push("by") == "sk-aby"
    assert Redaction(()).live().push(KEY) == KEY


def test_halves_of_characters_are_shown_whole():
    """A surrogate pair that comes in two pieces; half of one alone is U+FFFD."""
    mask = Redaction(()).live()
    assert mask.push("a\ud83d") == "a"
    assert mask.push("\ude42b") == "🙂b"
    assert mask.push("\ude42\ud83dx") == "\ufffd\ufffdx"
    assert mask.push("\ud83d") == ""
    assert mask.rest() == "\ufffd"
