"""Redaction: no key in an answer, whatever form it comes back in, and no word changed where there is none."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest

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
    masked = Redaction([KEY.encode(), b"other-key"])(Answer(1, 200, **parts))
    assert secret not in f"{masked.body!r}{masked.headers!r}{masked.message}"
    assert getattr(masked, where) in (b"a ***", b"X: 1\r\n***", "no: ***")
    assert (masked.key, masked.status) == (1, 200)


def test_an_answer_without_a_key_is_the_very_same():
    """Nothing is copied."""
    answer = Answer(1, 200, b"X: 1\r\n", b"sk-a/b", message="lone \udcff")
    assert Redaction([KEY.encode()])(answer) is answer


def test_a_short_secret_masks_no_words():
    """ "test" as a key would make holes in every other answer."""
    answer = Answer(1, 200, b"", b"a test")
    assert Redaction([b"test"])(answer) is answer
