"""The report of a run: whole by itself, small, readable, and without a secret or a cell."""

from __future__ import annotations

import json
import pickle
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measuring import measures_seconds
from sentences import wording
from servers import answer, fault_server, interrupting
from test_cli import folder, server, shout  # noqa: F401 - fixtures

import tablenodes as tn
from tablenodes.answers import Pricing
from tablenodes.engine.sink import End, Records
from tablenodes.report import charts, page
from tablenodes.report.measures import measures_of
from tablenodes.report.sections import Chart
from tablenodes.report.veil import VEIL, Asked, veiled
from tablenodes.run.row_columns import RowColumns
from tablenodes.run.row_sums import RowSums
from tablenodes.run.spending import Spending
from tablenodes.run.timeline import MOST, Recording, Timeline

KEY = "sk-canary-0123456789"
CELL = "cell canary of Mrs Example"
MODEL = "m<script>alert(1)</script>"
NODE = tn.CreateChatCompletion(model=MODEL, prompt="prompt canary, which is long: {{ review }}", temperature=0.5)
CALL = ["call", "CreateChatCompletion", "words.csv", "--prompt", "{{ word }}"]
QUIET = {"progress": False}
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.open, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [
            value for name, value in attrs if name.partition(":")[2] in ("href", "src") or name in ("href", "src")
        ]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def report(out, path, **more):
    """Return the page of an output, which is well formed, and asks for nothing."""
    out.report(path, **more)
    text = path.read_text()
    seen = Seen(text)
    assert seen.open == []
    assert {*seen.tags}.isdisjoint({"script", "img", "link", "iframe", "object", "base", "form"})
    assert all(each.startswith("#") for each in [*seen.addresses, *re.findall(r"url\(['\"]?([^)]*)", text)])
    assert "default-src 'none'" in text
    return text, " ".join(" ".join(seen.words).split())


@pytest.fixture
def undrawn(monkeypatch):
    """Have charts not drawn, which takes most of the time."""
    monkeypatch.setattr(page, "drawn", lambda part: (None, None))


def mixed(exchange):
    """Answer good, refuse bad, in words that repeat what was sent, key and all."""
    asked = json.loads(exchange.received.body)["messages"][0]["content"]
    if "bad" in asked:
        words = f"<em>no</em> {asked.upper()} with {KEY} <img src=x onerror=alert(1)>"
        answer({"error": {"message": words, "code": "<i>code</i>"}}, 400)(exchange)
        return
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    choice = {"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    answer({"model": MODEL, "choices": [choice], "usage": usage})(exchange)


def test_a_report_has_no_secret_no_cell_and_no_markup_of_others(tmp_path, monkeypatch):
    """The key, header values, cells and the prompt are absent, what else came from outside is text."""
    table = pd.DataFrame({"review": [f"{CELL} {end}" for end in ("good", "bad", "good")], "<u>name</u>": [1, 2, 3]})
    prices = {MODEL: {"input": 1, "output": 2}}
    with fault_server(mixed) as other:
        own = tn.Connection(
            other.url, KEY, headers={"X-Team": "header canary"}, query={"v": "query-canary"}, prices=prices
        )
        out = NODE.run(table, own, **QUIET)
    text, words = report(out, tmp_path / "run.html")
    assert not [each for each in (KEY, "canary", "Mrs Example", "MRS EXAMPLE", "<em>", "<i>", "<u>") if each in text]
    assert "http_error, HTTP 400 (<i>code</i>) · first at row 1" in words
    assert f"model {MODEL} prompt 42 characters, with review temperature 0.5" in words
    assert "API key *** header X-Team *** query v *** prices given for 1 model" in words
    assert "2 of 3 rows were answered" in words
    assert "To do: correct these rows, or the setting that the server names (one of the node's)." in words
    assert text.count("<svg") == 4
    monkeypatch.setattr(page, "drawn", lambda part: (None, None))
    _, shown = report(out, tmp_path / "rows.html", samples=1)
    assert f"row 1 review {CELL} bad <u>name</u> 2 answer null" in shown
    assert f"row 0 review {CELL} good <u>name</u> 1 answer fine" in shown
    assert KEY not in shown


def test_a_stream_has_the_report_of_a_run(tmp_path):
    """Of what it summed up, without a row in memory; what a server repeats is hidden where it is a row's own."""
    review = [f"{CELL} {'bad' if at % 40 == 7 else 'good'}" for at in range(100)]
    with fault_server(mixed) as other:
        own = tn.Connection(other.url, KEY, prices={MODEL: {"input": 1, "output": 2}})
        whole = NODE.run(pd.DataFrame({"review": review}), own, **QUIET)
        parts = (pa.table({"review": review[start : start + 7]}) for start in range(0, 100, 7))
        batches = NODE.run_batches(parts, own, **QUIET)
        with wording.raises(tn.errors.UsageError):
            batches.report(tmp_path / "early.html")
        batches.read_all()
    (_, expected), (text, words) = report(whole, tmp_path / "a.html"), report(batches, tmp_path / "b.html")
    for start, end in (("Outcomes", "Time"), ("Tokens and cost", "Made on")):
        part = words.partition(start)[2].partition(end)[0]
        assert part == expected.partition(start)[2].partition(end)[0] != ""
    assert "of 100 rows: the last attempt of each" in words
    assert text.count("<svg") == 4
    assert "Mrs Example" not in text
    with wording.raises(tn.errors.SettingError):
        batches.report(tmp_path / "c.html", samples=1)


def test_a_workflow_that_streams_has_the_report_of_its_run(tmp_path):
    """Node by node; what a server repeats is hidden, of a later node whatever it is of earlier answers."""

    def reply(body):
        text = body["messages"][-1]["content"]
        is_bad = text.startswith("bad") or "7" in text
        return (400, {"error": {"message": f"not {text!r}"}}) if is_bad else f"said {text}"

    nodes = {"ask": NODE.replace(prompt="{{ review }}"), "note": tn.Return(text="{{ ask }}")}
    nodes["again"] = NODE.replace(prompt="{{ note }} of row {{ id }}")
    review = [f"bad {CELL}" if at % 5 == 3 else f"good {CELL}" for at in range(30)]
    workflow, table = tn.Workflow(nodes), pa.table({"review": review, "id": range(30)})
    own = tn.testing.canned(reply)
    whole, batches = workflow.run(table, connection=own, **QUIET), workflow.run_batches(table, own, **QUIET)
    with pytest.raises(tn.errors.UsageError):
        batches.report(tmp_path / "early.html")
    batches.read_all()
    (_, expected), (text, words) = report(whole, tmp_path / "a.html"), report(batches, tmp_path / "b.html")
    for name in nodes:
        for start, end in (("Outcomes", "Time"), ("Tokens and cost", "Settings")):
            part = words.partition(f" {name} ")[2].partition(start)[2].partition(end)[0]
            assert part == expected.partition(f" {name} ")[2].partition(start)[2].partition(end)[0] != "", (name, start)
    assert "first at row 3" in words
    assert CELL not in text
    with pytest.raises(tn.errors.SettingError):
        batches.report(tmp_path / "c.html", samples=1)


@pytest.mark.parametrize("samples", [-1, 101, True, 1.5])
def test_samples_are_a_number_of_rows(tmp_path, samples):
    out = tn.Return(text="x").run(pd.DataFrame({"a": [1]}), **QUIET)
    with wording.raises(tn.errors.SettingError):
        out.report(tmp_path / "run.html", samples=samples)


SAID = ("", ": ", " you said: ", " invalid value '", "' is not supported ", ", try again ", " error: `", '"')
LETTERS = "".join(chr(at) for at in (*range(0x61, 0x7B), *range(0xE0, 0xF7), *range(0x3B1, 0x3C9), 0x130, 0x1E9E))
OWN = st.text(LETTERS, min_size=5, max_size=9).map(lambda text: f"q{text}q") | st.sampled_from(
    (
        "Ng",
        "Jo Frances",
        "2468",
        "\u5f20\u4e09\u5148\u751f",
        "M\u00fcller",
        "Stra\u00dfe 7",
        "u\u0308ber_x",
        "\uff76\uff85",
    )
)


@settings(max_examples=30)
@given(st.lists(OWN, min_size=1, max_size=5), st.sampled_from(SAID), st.sampled_from(SAID), st.data())
def test_no_word_of_a_request_is_repeated(own, before, after, data):
    """As it is, cut, in capitals, escaped, with other gaps, or with an ending."""
    text = data.draw(st.sampled_from((" ", "\n", ", ", "-"))).join(own)
    echo = text[: data.draw(st.integers(min(4, len(text)), len(text)), "cut")]
    changed = (str, str.upper, str.title, repr, ascii, json.dumps, quote, str.split, escape, lambda _: f"{text}s")
    echo = str(data.draw(st.sampled_from(changed), "change")(echo))
    shown = veiled(before + echo + after, Asked([f"sum up {text} please"])).lower()
    rest = shown.replace(before.lower(), "", 1).replace(after.lower(), "", 1).replace(VEIL, "")
    assert not re.findall(r"[^\W\d]{2,}|\d{3,}", re.sub(r"&\w+;", "", rest)), shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Unsupported value: 'low' for reasoning_effort, use 'high'", "Unsupported value: 'low' for […], use 'high'"),
        ("no such model: gpt-x of 8192 tokens", "no such model: gpt-x of 8192 tokens"),
        ("the label 'error' is not allowed", "the label '[…]' is not allowed"),
        ("you said: is the model right for this", "you said: […]"),
        ("Prefix_Canaries, Kims", "[…]"),
    ],
)
def test_what_errors_are_made_of_stays(message, shown):
    """Unless it is a whole cell that is quoted, or four words that the prompt has in a row."""
    asked = Asked(["Say: is the model right for this kettle? canary Kim"], ["error", "kettle"])
    assert veiled(message, asked) == shown.replace("[…], use", "reasoning_effort, use")


def test_of_a_request_that_is_not_known_nothing_is_repeated():
    """Only words of which errors are made are left."""
    shown = veiled("Invalid value: 'Kim'. Supported values are: 'low' and 'high' in 24 of 25", None)
    assert shown == "Invalid value: '[…]'. Supported values are: 'low' and 'high' in […] of […]"


@pytest.mark.usefixtures("undrawn")
def test_what_a_row_became_is_not_in_its_report(tmp_path):
    """The prompt, what was made of a cell, and a part of one: also of a stored output."""
    node = tn.CreateChatCompletion(model="m", prompt="CANARYPROMPT {{ name }} {{ n * 2 }} x")
    table = pd.DataFrame({"name": ["Jolandas"], "n": [1234]})
    refused = tn.testing.canned(lambda _: (400, {"error": {"message": "invalid value: 'CANARYPROMPT Jol', 2468"}}))
    out = node.run(table, refused, **QUIET)
    again = out.updated(node.run(table, refused, **QUIET))
    for made in (out, pickle.loads(pickle.dumps(out)), again):
        text, words = report(made, tmp_path / "run.html")
        assert "invalid value: '[…]" in words
        assert not [each for each in ("CANARY", "Jol", "2468") if each in text]


def test_the_page_stays_small_with_many_kinds_of_failure_and_nodes(tmp_path, monkeypatch):
    """Hundreds of reasons in each of twenty nodes are told as far as they fit, the others counted; charts come last."""
    monkeypatch.setattr(page, "drawn", lambda part: (Chart("<svg></svg>", "x" * 20_000), Chart("y" * 20_000, "")))
    texts = iter(range(10**6))

    def refused(_):
        number = next(texts)
        name = "".join(chr(97 + number // 26**at % 26) for at in range(4)) * 90
        return 400, {"error": {"message": f"{name} & <x>", "code": name[:9]}}

    out = tn.CreateChatCompletion(model="m", prompt="{{ a }}").run(
        pd.DataFrame({"a": range(400)}), tn.testing.canned(refused), limits=tn.Limits(stop_after_alike=None), **QUIET
    )
    assert out.summary.failed == 400
    _, words = report(out, tmp_path / "one.html")
    assert "… and 360 more kinds of failure, 360 rows: the log has each" in words
    page.write({f"node {at}": out for at in range(20)}, tmp_path / "many.html")
    assert (tmp_path / "many.html").stat().st_size <= 300_000
    many = (tmp_path / "many.html").read_text()
    assert 1 <= many.count("<svg") == 20 - many.count("Its charts are left out") < 20


@pytest.mark.parametrize("samples", [5, 100])
@pytest.mark.usefixtures("undrawn")
def test_the_page_stays_small_with_rows(tmp_path, samples):
    """Cells are cut, then rows left out, whatever signs they are made of."""
    table = pd.DataFrame({f"column {at} {'&' * 100}": ["<é>" * 2_000] * 300 for at in range(14)})
    out = tn.Return(text="x" * 3_000).run(table, **QUIET)
    _, words = report(out, tmp_path / "run.html", samples=samples)
    assert (tmp_path / "run.html").stat().st_size <= 300_000
    assert "row 0 column 0" in words
    assert "Rows and texts are shown in part" in words


# --- over time ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 200_000), st.sampled_from(("ok", "in_flight")), st.integers(1, 50)), max_size=30)
)
def test_buckets_double_and_nothing_is_lost(events):
    """Sums stay sums and maxima maxima, however long a run takes, in no more buckets than there may be."""
    timeline = Timeline()
    for second, name, value in events:
        timeline.add(second, name, value)
    last = max((second for second, *_ in events), default=0)
    assert len(timeline) <= MOST
    assert timeline.width == 1 or timeline.width * MOST <= 2 * last
    assert sum(timeline.columns.get("ok", [])) == sum(value for _, name, value in events if name == "ok")
    for second, name, value in events:
        assert timeline.columns[name][int(second / timeline.width)] >= value
    highest = [value for _, name, value in events if name == "in_flight"]
    assert max(timeline.columns.get("in_flight", [0])) == max(highest, default=0)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_sums_say_what_rows_say(data):
    """Counts and what was used exactly, latencies to a hundredth part, whatever was left out of a batch first."""
    outcomes, seconds = st.sampled_from(["ok", "http_error", "not_sent"]), st.floats(1e-4, 9e4)
    fields = st.tuples(outcomes, st.booleans(), seconds | st.none(), st.integers(0, 3), st.floats(0, 5e3))
    rows = data.draw(st.lists(fields, min_size=1, max_size=40))
    late = data.draw(st.sets(st.integers(0, len(rows) - 1)))

    def records(some):
        made = Records(len(some))
        for at, (outcome, reused, latency, attempts, started) in enumerate(some):
            how = {"reused": reused, "latency": latency, "attempts": attempts, "started": started}
            made.accept(at, End(outcome, b"", prompt_tokens=attempts * 7, **how))
        made.finish(None)
        return made

    def spending(made):
        return Spending(made.body, made.reused, Pricing("", {}))

    sums, whole = RowSums(), records(rows)
    sums.add(whole, spending(whole), late)
    if late:
        rest = records([rows[at] for at in sorted(late)])
        sums.add(rest, spending(rest))
    timed = whole.latency, whole.started, whole.attempts
    columns = RowColumns(whole.outcome, whole.reused, *timed, {"prompt": whole.prompt_tokens})
    summed, exact = measures_of(sums), measures_of(columns)
    order, edges = [*whole.counts], np.linspace(0, 5e3, 6)
    told = [(each.outcome, each.rows, each.reused, each.requests, each.tokens["prompt"]) for each in summed.used(order)]
    assert told == [(*each[:4], each.tokens["prompt"]) for each in exact.used(order)]
    assert (summed.latency is None) == (exact.latency is None)
    if exact.latency is not None:
        assert summed.latency.attempts == exact.latency.attempts == summed.latency.counts.sum()
        for name in ("longest", "mean"):
            assert summed.latency.quantiles[name] == pytest.approx(exact.latency.quantiles[name])
        ordered = np.sort([each for each, own in zip(whole.latency, whole.reused, strict=True) if each and not own])
        lower = ordered[int(np.ceil(0.5 * len(ordered))) - 1]
        assert summed.latency.quantiles["p50"] == pytest.approx(lower, rel=0.01)
    assert summed.over_time(edges).keys() == exact.over_time(edges).keys()


def test_what_a_run_waits_for_is_put_where_it_waited():
    """However seldom it is looked at."""
    recording = Recording()
    recording.look(0.5, {"ok": 3}, 0, "pause")
    recording.highest = 7
    recording.look(2.25, {"ok": 5}, 4, "")
    assert recording.timeline.table() == {
        "second": [0, 1, 2],
        "ok": [5, 0, 0],
        "seconds_pause": [0.5, 1, 0.25],
        "in_flight": [7, 0, 0],
        "waiting": [4, 0, 0],
    }
    assert recording.until == 3


def test_a_second_run_is_behind_the_first():
    first, second = Timeline(), Timeline(2.0)
    first.add(0, "ok", 1)
    second.add(3, "ok", 2)
    both = first.followed(second, 10.0)
    assert (both.width, both.second_runs) == (2.0, (10.0,))
    assert both.table()["ok"] == [1, 0, 0, 0, 0, 0, 2]


@pytest.mark.usefixtures("undrawn")
def test_a_row_has_started_when_it_was_first_sent(tmp_path):
    """In seconds from the run's first moment; null where nothing was sent, as of an answer from the journal."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ word }}")
    table = pd.DataFrame({"word": ["a", None, "bad", "c"]})
    kept = {"limits": tn.Limits(concurrency=1), "journal": tmp_path / "j", "retry_failed": "all", **QUIET}
    with fault_server(lambda exchange: (exchange.pause(0.05), shout(exchange))) as other:
        out, again = (node.run(table, tn.Connection(other.url, KEY), **kept) for _ in range(2))
    first, nothing, second, third = out.log["started"]
    assert 0 <= first < 0.5
    assert pd.isna(nothing)
    assert first + 0.05 <= second <= third - 0.05
    assert again.log["started"].isna().tolist() == [True, True, False, True]
    counted = again.summary.timeline.columns
    assert {name: sum(counted[name]) for name in ("ok", "failed", "sent") if name in counted} == {
        "failed": 2,
        "sent": 1,
    }
    _, words = report(again, tmp_path / "again.html")
    assert "ok 2 50.0% 2" in words
    assert "reused from the journal 2" in words


# --- other outputs, and the command line ----------------------------------------------------------------------------


def test_an_output_that_sent_nothing_says_so(tmp_path):
    """Rather than show charts without anything in them."""
    node = tn.CreateChatCompletion(model="m", prompt="{{ a }}")
    out = node.run(pd.DataFrame({"a": ["x"]}), tn.testing.canned("fine"), **QUIET)
    text, words = report(node.parse(out.result), tmp_path / "parsed.html")
    assert "There is no axis of time" in words
    assert "Nothing is known of how long attempts took." in words
    assert "<svg" not in text


@pytest.mark.usefixtures("undrawn")
def test_a_workflow_has_a_section_for_each_node(folder, command):  # noqa: F811
    """Also on the command line, where it is said where the report is."""
    again = '  - id: again\n    type: Return\n    text: "{{ ask }}"\n'
    Path("w.yaml").write_text(Path("w.yaml").read_text().replace("output:", f"{again}output:"))
    code, _, err = command("run", "w.yaml", "--report", "run.html")
    assert code == 0
    wording.line(err)
    words = " ".join(Seen(Path("run.html").read_text()).words)
    assert "ask" in words
    assert "again" in words
    assert words.count("All 2 rows were answered") == 4


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_is_stopped_has_its_report(folder, command):  # noqa: F811
    """Of what there is."""
    Path("words.csv").write_text("word\n" + "w\n" * 9)
    with fault_server(interrupting(shout, 3)) as other:
        code, _, _ = command("run", "w.yaml", "--base-url", other.url, "--concurrency", "1", "--report", "run.html")
    assert code == 130
    words = " ".join(Seen(Path("run.html").read_text()).words)
    assert "3 of 9 rows were answered" in words
    assert "It was stopped early: interrupted." in words


@pytest.mark.parametrize("path", ["no/run.html", ".", "words.csv", "log.csv", "-"])
def test_a_report_that_cannot_be_written_is_known_before_anything_is_sent(folder, command, path):  # noqa: F811
    with fault_server(shout) as other:
        more = ["--base-url", other.url, "--no-key", "--model", "m", "--log", "log.csv", "--report", path]
        code, _, err = command(*CALL, *more)
        assert (code, other.requests) == (1, [])
    wording.line(err)


def test_without_the_charts_library_nothing_is_sent(folder, command, monkeypatch):  # noqa: F811
    """One line says how to install it; in Python the same, where the report is asked for."""
    monkeypatch.setattr(charts.importlib.util, "find_spec", lambda name: None)
    with fault_server(shout) as other:
        code, _, err = command(*CALL, "--base-url", other.url, "--no-key", "--model", "m", "--report", "run.html")
        assert (code, other.requests) == (1, [])
    wording.line(err)
    with wording.raises(tn.errors.SettingError):
        tn.Return(text="x").run(pd.DataFrame({"a": [1]}), **QUIET).report("run.html")


# --- how it looks ---------------------------------------------------------------------------------------------------


def luminance(colour):
    """Return the relative luminance of WCAG 2."""
    digits = colour if len(colour) == 6 else "".join(each * 2 for each in colour)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    parts = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_and_drawings_stand_out(scheme):
    """Texts by 4.5 to 1 before each background, what is drawn by 3 to 1."""
    style = Path(charts.__file__).with_name("page.html").read_text()
    found = dict(re.findall(r"--(\w+):#([0-9a-f]+)", re.findall(r":root\{([^}]*)\}", style)[scheme]))
    assert {*charts.TONES, "back", "soft"} == {*found}
    for back in ("back", "soft"):
        assert all(contrast(found[name], found[back]) >= 4.5 for name in ("ink", "dim"))
    drawn = {*charts.TONES} - {"ink", "dim", "line"}
    assert {name: contrast(found[name], found["back"]) >= 3 for name in drawn} == dict.fromkeys(drawn, True)


@pytest.mark.slow
@measures_seconds
def test_a_million_rows_are_reported_in_three_seconds(tmp_path):
    """Columns are read, and no object is made for a row."""
    import time

    rows = 1_000_000
    out = tn.CreateChatCompletion(model="m", prompt="{{ a }}").run(
        pd.DataFrame({"a": ["x"] * rows}), tn.testing.canned("fine"), **QUIET
    )
    began = time.process_time()
    report(out, tmp_path / "run.html")
    assert time.process_time() - began <= 3
    assert (tmp_path / "run.html").stat().st_size <= 300_000
