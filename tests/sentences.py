"""Sentences that a person reads, held in one file: `tests/sentences.json`.

A test checks codes, places and types itself. What a message says it compares with that file, at the test's own name:

    wording(problem.message)                   # this text, whole
    wording.line(err)                          # one line of this text
    with wording.raises(SettingError) as caught:    # the message of this exception

After messages have changed, write the file anew and read its diff:

    python -m pytest --sentences=write tests/test_store.py

Folders of the test, the interpreter, ports of this machine and measured times are no part of a sentence: they stand in
the file as `{tmp}`, `{python}`, `{port}`, `{seconds}` and `{rate}`.
Anything else that differs from run to run has a name: `wording(err, submission=name)` has `{submission}` for it.
"""

from __future__ import annotations

import difflib
import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILE = Path(__file__).with_suffix(".json")
_PYTHON = sys.executable  # a test may put another in its place
_VARYING = {
    r"\1:{port}": re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):\d{4,5}\b"),
    "{seconds} s": re.compile(r"\b\d+\.\d+ s\b"),
    r"{rate} \1": re.compile(r"\b\d[\d,.]* (a second\b|per second\b|rows/s\b|requests/s\b)"),
}
"""What differs from run to run in every sentence."""
COLLECTED = pytest.StashKey[set[str]]()
"""Every test of the files that were named, deselected ones too."""


class Wording:
    """What the running test says, sentence by sentence."""

    def __init__(self) -> None:
        self.writing = False
        self.known: dict[str, dict[str, list[str]]] = {}
        self.written: dict[str, dict[str, list[str]]] = {}
        self._folders = re.compile(r"(?!)")

    def begin(self, item: pytest.Item) -> None:
        """Compare with the sentences of this test from now on."""
        self._file, _, self._test = _named(item).partition("::")
        kept = self.known.get(self._file, {})
        self._expected = kept.get(self._test, kept.get(self._test.partition("[")[0], []))
        self._said: list[str] = []
        folder = re.escape(str(item.config._tmp_path_factory.getbasetemp()))
        self._folders = re.compile(rf"{folder}(/[^/\s'\":;,()]+)?")

    def end(self) -> None:
        """Check that all sentences of this test were said, or keep those that were."""
        if self.writing:
            self.written.setdefault(self._file, {})[self._test] = self._said
        elif left := self._expected[len(self._said) :]:
            pytest.fail(f"{FILE.name} holds sentences that this test does not look at: {left}", pytrace=False)

    def __call__(self, text: object, **values: object) -> None:
        """Check that the text is the next sentence; a list or tuple of texts is one text of several lines."""
        self._add(self._plain(text, values))

    def line(self, text: object, like: str = "", **values: object) -> None:
        """Check that the next sentence is one line of the text; `like` finds that line when it is written first."""
        lines = self._plain(text, values).splitlines()
        known = self._next()
        if self.writing and known not in lines:
            if known is None or like:
                lines = [line for line in lines if self._plain(like, values) in line] or pytest.fail(
                    f"{like!r}: {lines}"
                )
                known = lines[-1]
            else:
                known = difflib.get_close_matches(known, lines, 1, 0.0)[0]
        self._add(known if known in lines else "\n".join(lines))

    @contextmanager
    def raises(self, kind: type[BaseException] | tuple[type[BaseException], ...], **values: object) -> Iterator:
        """Check that this exception is raised, with the next sentence as its message."""
        with pytest.raises(kind) as caught:
            yield caught
        self(caught.value, **values)

    def _next(self) -> str | None:
        return self._expected[len(self._said)] if len(self._said) < len(self._expected) else None

    def _add(self, text: str) -> None:
        known = self._next()
        self._said.append(text)
        if not self.writing and text != known:
            how = f"python -m pytest --sentences=write 'tests/{self._file}' accepts it"
            pytest.fail(f"this is not in {FILE.name} ({how}):\n  says  {text}\n  file  {known}")

    def _plain(self, text: object, values: dict[str, object]) -> str:
        made = "\n".join(map(str, text)) if isinstance(text, Iterable) and not isinstance(text, str) else str(text)
        for name, value in values.items():
            placeholder = f"{{{name}}}"
            made = (
                value.sub(placeholder, made) if isinstance(value, re.Pattern) else made.replace(str(value), placeholder)
            )
        made = self._folders.sub("{tmp}", made.rstrip("\n")).replace(_PYTHON, "{python}")
        for placeholder, pattern in _VARYING.items():
            made = pattern.sub(placeholder, made)
        return made


wording = Wording()


def load() -> dict[str, dict[str, list[str]]]:
    """Read the file: sentences by test and by file of tests."""
    if not FILE.exists():
        return {}
    kept = json.loads(FILE.read_text())
    return {
        file: {test: [_whole(each) for each in texts] for test, texts in tests.items()} for file, tests in kept.items()
    }


def save(kept: dict[str, dict[str, list[str]]]) -> None:
    """Write the file, a text of several lines as a list of them."""
    ordered = {
        file: {test: [_parted(each) for each in texts] for test, texts in sorted(tests.items()) if texts}
        for file, tests in sorted(kept.items())
    }
    text = json.dumps({file: tests for file, tests in ordered.items() if tests}, ensure_ascii=False, indent=1)
    FILE.write_text(text + "\n", errors="backslashreplace")


def left_over(kept: dict[str, dict[str, list[str]]], collected: set[str]) -> list[str]:
    """Return the tests of the file that are no more, of those files of tests that were collected."""
    names = collected | {each.partition("[")[0] for each in collected}
    files = {each.partition("::")[0] for each in collected}
    found = [f"{file}::{test}" for file, tests in kept.items() if file in files for test in tests]
    gone = [file for file in kept if not (FILE.parent / file).exists()]
    return [each for each in found if each not in names] + gone


def merge(kept: dict, written: dict[str, dict[str, list[str]]], collected: set[str]) -> dict:
    """Return the sentences with those that were written, once for a test whose cases all say the same."""
    for file, tests in written.items():
        now = kept.setdefault(file, {})
        for function in {test.partition("[")[0] for test in tests}:
            cases = {each.partition("::")[2] for each in collected if _function(each) == f"{file}::{function}"}
            ran = {test: texts for test, texts in tests.items() if _function(test) == function}
            common = now.pop(function, None)
            if common is not None:
                now.update(dict.fromkeys(cases, common))
            now.update(ran)
            texts = [now.get(case, []) for case in cases]
            if all(each == texts[0] for each in texts):
                for case in cases:
                    now.pop(case, None)
                now[function] = texts[0]
    return kept


def _named(item: pytest.Item) -> str:
    """Return the name of a test by its file, without folders."""
    file, _, test = item.nodeid.partition("::")
    return f"{file.rpartition('/')[2]}::{test}"


def _function(test: str) -> str:
    return test.partition("[")[0]


def _whole(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "\n".join(text)


def _parted(text: str) -> str | list[str]:
    return text.split("\n") if "\n" in text else text


def pytest_addoption(parser):
    """Add `--sentences`."""
    parser.addoption(
        "--sentences", choices=["compare", "write"], default="compare", help="write tests/sentences.json anew"
    )


def pytest_configure(config):
    """Read the file once."""
    wording.writing = config.getoption("sentences") == "write"
    wording.known = load()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Keep the names of all tests, before some are deselected."""
    config.stash[COLLECTED] = {_named(item) for item in items}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Have the test's sentences at hand while it runs."""
    wording.begin(item)
    result = yield
    wording.end()
    return result


def pytest_sessionfinish(session):
    """Write the file; a worker of pytest-xdist hands on what it has."""
    config = session.config
    if not wording.writing:
        return
    collected = config.stash.get(COLLECTED, set())
    if hasattr(config, "workeroutput"):
        config.workeroutput["sentences"] = (wording.written, sorted(collected))
    else:
        collected |= _of_workers
        kept = merge(load(), wording.written, collected)
        if not any("::" in str(each) for each in config.args):
            gone = set(left_over(kept, collected))
            kept = {
                file: {test: texts for test, texts in tests.items() if f"{file}::{test}" not in gone}
                for file, tests in kept.items()
                if file not in gone
            }
        save(kept)


_of_workers: set[str] = set()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """Keep what a worker of pytest-xdist has written."""
    written, collected = getattr(node, "workeroutput", {}).get("sentences", ({}, []))
    _of_workers.update(collected)
    for file, tests in written.items():
        wording.written.setdefault(file, {}).update(tests)
