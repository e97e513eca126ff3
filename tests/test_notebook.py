"""What a notebook shows: every value as bounded, escaped HTML, a mistake in one line, a bar that ends as a line."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from servers import fault_server, message

import tablenodes as tn
from tablenodes.engine.sink import OK
from tablenodes.notebook.markup import Panel
from tablenodes.notebook.markup import html as shown
from tablenodes.run.panels import estimate_panel, outputs_panel

ALL = 60_000
HOSTILE = '<script>alert("x")</script>&amp;\x1b[2J\ud800\u202e\'`{{ 1 }}'.replace("\ud800", "")
VOID = {"br", "hr"}
ALLOWED = {"style", "div", "span", "p", "b", "i", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "pre"}
ALLOWED |= {"svg", "g", "title", "rect", "path", "text"}
SHAPES = {
    "xmlns",
    "role",
    "width",
    "height",
    "viewbox",
    "fill",
    "stroke",
    "x",
    "y",
    "rx",
    "d",
    "opacity",
    "text-anchor",
}
SHAPES |= {"font-family", "font-size", "font-weight", "stroke-opacity", "fill-opacity", "stroke-dasharray"}
CHAT = tn.CreateChatCompletion(model="m", prompt="Read: {{ review }}", answer={"sentiment": str, "stars": int})
KINDS = {
    "pandas": pd.DataFrame,
    "pandas with levels": lambda rows: pd.DataFrame(rows).set_index(pd.MultiIndex.from_product([["a"], range(12)])),
    "pyarrow": pa.table,
    "polars": pl.DataFrame,
    "duckdb": lambda rows: duckdb.from_arrow(pa.table(rows)),
}


class Page(HTMLParser):
    """Reads HTML strictly: what is opened is closed in turn; keeps tags, tables and texts."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.items, self.rows = [], set(), "", [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.open.append(tag)
        drawn = SHAPES if "svg" in self.open else set()
        assert not [name for name, _ in attrs if name not in {"class", "style"} | drawn]
        if tag == "li":
            self.items.append("")
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "li" in self.open:
            self.items[-1] += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def page(value):
    """Return what a notebook shows of a value, read, after the rules that hold for all."""
    text = value if isinstance(value, str) else value._repr_html_()
    assert len(text.encode()) <= ALL
    read = Page(text)
    assert read.tags <= ALLOWED
    assert "prefers-color-scheme" in text
    assert "var(--jp-" in text
    assert "://" not in re.sub(r">[^<]*<", "><", text)  # no address but in what is said
    return read


def reviews(rows=12):
    texts = [None if row % 6 == 0 else f"{HOSTILE} {row}" for row in range(rows)]
    return {"id": [*range(rows)], "note": [HOSTILE] * rows, "review": texts}


def judging(exchange):
    """Answer by the row's number: some cannot be read, some are refused."""
    row = int(json.loads(exchange.received.body)["messages"][0]["content"].split()[-1])
    if row % 5 == 3:
        error = {"error": {"message": f"{HOSTILE} wait {row} s", "code": "bad"}}
        exchange.send(message(json.dumps(error).encode(), 400))
        return
    content = json.dumps({"sentiment": HOSTILE, "stars": row}) if row % 5 else "{"
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    exchange.send(message(json.dumps({"choices": [choice]}).encode()))


@pytest.fixture(scope="module")
def server():
    with fault_server(judging) as running:
        yield running


@pytest.fixture(scope="module")
def answered(server):
    return CHAT.run(pd.DataFrame(reviews()), tn.Connection(server.url, ""), progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_shows_what_was_read_and_answered_first_and_failed_rows_first(kind, server):
    """Of every kind of table; every cell is text."""
    out = CHAT.run(KINDS[kind](reviews()), tn.Connection(server.url, ""), progress=False)
    read = page(out)
    head, *rows = read.rows[-11:]
    assert head[1:6] == ["review", "sentiment", "stars", "outcome", "message"]
    outcomes = [row[4] for row in rows]
    assert outcomes == sorted(outcomes, key=lambda each: each == OK)
    assert {"invalid_request", "http_error", OK} < {*outcomes}
    assert rows[0][0] == ("('a', 0)" if "levels" in kind else "0")
    assert "… 2 more rows" in read.text
    assert read.text.count("<script>alert") >= 10
    assert not re.search(r"[\x00-\x08\x1b\u202e]", read.text)


def test_reasons_are_grouped_whatever_numbers_are_in_them(answered):
    """Most first, each with how many rows it has and the first of them."""
    first, second, *_ = page(answered).items
    assert first.startswith(("2 × ", "3 × "))
    refused = next(each for each in page(answered).items if "HTTP 400" in each)
    assert refused.startswith("2 × HTTP 400: ")
    assert refused.endswith("(http_error, first at row 3)")
    assert int(first.split()[0]) >= int(second.split()[0])


@pytest.mark.parametrize("asked", ["run", "check"])
def test_what_every_row_lacks_is_said_once_with_what_to_give(asked, server):
    """30 times the same is one line."""
    node, table = tn.CreateChatCompletion(prompt="{{ id }}"), pd.DataFrame({"id": range(30)})
    made = node.check(table) if asked == "check" else node.run(table, tn.Connection(server.url, ""), progress=False)
    (only,) = page(made).items
    assert only.startswith("30 × $.model: is required; set model, or add a column 'model' (")


def test_a_wide_and_long_table_of_long_cells_stays_small(server):
    """Whatever is in it: 60 kB at the most, and it says what it leaves out."""
    cells = ['"' * 1_000, "\U0001f600" * 1_000, "<&>" * 1_000, "ä" * 1_000, "\x00" * 1_000]
    wide = {f"{'<n&m>' * 40}{at}": [cells[at % 5]] * 30 for at in range(200)}
    table = pd.DataFrame(wide | {"id": range(30), "deep": [[{"a": ["<" * 50] * 50}]] * 30})
    out = tn.CreateChatCompletion(model="m", prompt="{{ id }}").run(
        table, tn.Connection(server.url, ""), progress=False
    )
    read = page(out)
    assert "… 20 more rows; … " in read.text
    page(tn.CreateChatCompletion(model="m", prompt="<b>" * 9_000, stop=['"' * 5_000] * 4))
    nodes = {f"n{at}": tn.Return(text="<'&>" * 9_000) for at in range(60)}
    flow = tn.Workflow(nodes, description="<" * 9_000)
    page(flow)
    page(flow.run(table[["id"]].head(2), progress=False))
    page(tn.CreateChatCompletion(model="m").check(pd.DataFrame({"prompt": [cell * 90 for cell in cells]})))


def test_what_is_too_long_ends_with_a_word():
    """However many parts there are."""
    long = Panel("<" * 9_000, facts=[("<" * 9_000, "<" * 9_000)] * 99, lines=["<" * 9_000] * 99)
    assert page(shown(replace(long, parts=[long] * 99))).text.endswith("… and more")


def _estimate(cost=(0.1, 0.25, 0.3)):
    """Return an estimate, as far as it is shown."""
    return SimpleNamespace(
        rows=1_000,
        invalid=3,
        duplicates=1,
        reused=100,
        skipped=0,
        to_send=897,
        input_tokens=(1_000, 2_000, 3_000),
        output_tokens=(1, 2, 3),
        cost=cost,
        seconds=(1, 2, 3.4),
        problems=(),
        assumptions=(f"prices of 2026-11-01 {HOSTILE}",),
    )


def test_every_other_value_shows_itself(answered, server):
    """With its counts, and what it was told, as text."""
    summary = page(answered.summary)
    assert summary.text.startswith("12 rows in ")
    assert repr(answered.summary) == str(answered.summary)
    node = CHAT.replace(prompt=HOSTILE.replace("{{ 1 }}", "{{ id }}"))
    assert ["prompt", node.prompt.replace("\x1b", "�").replace("\u202e", "�")] in page(node).rows
    flow = tn.Workflow({"first": node, "second": tn.Return(text="{{ outputs.first }}")})
    assert "second: Return" in page(flow).text
    made = tn.Return(text="{{ id }}").run(pd.DataFrame(reviews()), progress=False)
    assert page(made).rows[-1][:3] == ["9", "9", "9"]
    estimate = page(shown(estimate_panel(_estimate())))
    assert ["cost", "$0.10", "$0.25", "$0.30"] in estimate.rows
    assert "897 to send" in estimate.text
    assert (
        "12 rows; nothing was sent" in page(CHAT.estimate(pd.DataFrame(reviews()), tn.Connection(server.url, ""))).text
    )
    unpriced = page(shown(estimate_panel(_estimate(cost=None))))
    assert "time" in unpriced.text
    assert not [row for row in unpriced.rows if row[0] == "cost"]
    both = page(shown(outputs_panel({"first": answered, "second": answered}, "WorkflowOutput")))
    assert "second" in both.text
    assert sum(row[1:2] == ["review"] for row in both.rows) == 1  # the rows of the last node alone


def test_an_output_of_no_rows_shows_itself():
    """Its counts and the columns' names."""
    table = pd.DataFrame({"id": pd.Series([], dtype="int64")})
    assert page(tn.Return(text="{{ id }}").run(table, progress=False)).rows[-1] == ["row", "text", "id"]
    assert "0 of 0 rows" in page(CHAT.check(pd.DataFrame({"review": pd.Series([], dtype=str)}))).text


def test_a_check_shows_what_it_got():
    """Where the value of a setting is what is wrong."""
    found = CHAT.replace(temperature="{{ t | tojson }}").check(pd.DataFrame({"review": ["x"], "t": [3.5]}))
    assert "$.temperature: must be at most 2 (got 3.5)" in page(found).text


def test_a_check_shows_the_first_prompt_and_the_longest():
    """Of rows that can be sent; a long one is cut, with its length."""
    table = pd.DataFrame({"review": [None, "short", "ä" * 5_000, HOSTILE]})
    found = CHAT.check(table)
    assert [(each.row, each.length) for each in found.prompts] == [(1, 11), (2, 5_006)]
    read = page(found)
    assert "first prompt (row 1, 11 characters)Read: short" in read.text
    assert "longest prompt (row 2, 5,006 characters)Read: äää" in read.text
    accents = CHAT.check(pd.DataFrame({"review": ["first", "ä" * 5, "\n" * 5]}))  # more bytes, no more characters
    assert [(each.row, each.length) for each in accents.prompts] == [(0, 11)]
    lines = repr(found).splitlines()
    assert [line for line in lines if line.startswith("first prompt")] == [
        "first prompt (row 1, 11 characters): Read: short"
    ]
    assert max(map(len, lines)) < 200
    said = CHAT.replace(prompt=None, system="Be\x1b brief.", columns=["prompt"]).check(pd.DataFrame({"prompt": ["x"]}))
    assert said.prompts[0].text == "system: Be\x1b brief.\nuser: x"
    assert "\x1b" not in repr(said)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"messages": ["x"]}, '["x"]'),
        ({"messages": "x"}, "x"),
        ({"messages": [{"content": None}, {"role": "user"}]}, "None: \nuser: "),
        ({"messages": [{"content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]}, "a [image_url]"),
        ({"prompt": [1, 2]}, "[1,2]"),
        ({"input": "x"}, "x"),
        ({}, ""),
    ],
)
def test_any_request_has_a_prompt_to_show(body, expected):
    """A schema of the user's own may let through what the API does not know."""
    node = tn.CreateChatCompletion(schema={"type": "object", "properties": {"messages": {}}})
    (only,) = node.check(pd.DataFrame({"body": [json.dumps(body)]})).prompts
    assert only.text == expected


def test_showing_needs_no_ipython():
    """And importing the package loads neither it nor what makes HTML."""
    code = """if True:
        import sys, tablenodes as tn
        assert not [name for name in sys.modules if name.startswith("tablenodes.notebook")]
        node = tn.CreateChatCompletion(prompt=tn.col("a"))
        assert "<table" in node._repr_html_()
        import pandas as pd
        assert "1 ×" in node.check(pd.DataFrame({"a": ["x"]}))._repr_html_()
        assert "IPython" not in sys.modules
        try:
            node.check(pd.DataFrame({"b": ["x"]}))
        except tn.errors.ColumnError as error:
            print(*error._render_traceback_(), sep="\\n")
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8")
    assert ran.stdout == "ColumnError: prompt: no column 'a'; the table has b\n"


MISTAKES = {
    "node = tn.CreateChatCompletion(model='m', prompt='{{ reveiw }}')\nnode.run(table, tn.Connection(ADDRESS, ''))": 2,
    "def f():\n    return node.check(table)\nf()": 3,
    "table.pipe(node.check)": 2,
    "tn.CreateChatCompletion(modle='m')": 2,
    "tn.CreateChatCompletion(model='m', temperature='{{ reveiw')": 2,
    "tn.read_table('nowhere.csv')": 2,
    "import signal\nstopping = tn.testing.canned(lambda request: signal.raise_signal(signal.SIGINT) or 'x')\n"
    "node.replace(prompt='x').run(table, stopping)": 2,
    "tn.Workflow({'a': node}).check(table)": 2,
    "tn.CreateChatCompletion(prompt='x').run(table, tn.Connection(ADDRESS, ''), on_invalid='raise', progress=False)": 2,
}
FINE = "tn.CreateChatCompletion(model='m', prompt='{{ review }} 1')"
ENDS = {
    f"def told(*_):\n    1 / 0\n{FINE}.run(table, tn.Connection(ADDRESS, ''), on_text=told)": "ZeroDivisionError",
    "from tablenodes.run import progress\nprogress._DELAY = 0\nwith progress.Progress(9) as bar:\n"
    "    bar.show(1, 1, '<b>')\n    bar.show(4, 3)\n    1 / 0": "ended after 4 of 9 rows in ",
    "with progress.Progress(9) as bar:\n    bar.show(4, 4)\n    bar.close(9, 9)": "9 rows in ",
    f"{FINE}.run(table, tn.Connection(ADDRESS, ''), progress=False).summary": "2 rows in ",
}


@pytest.fixture(scope="module")
def cells(server):
    """Return the outputs of these cells, by a kernel of its own."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    first = f"import pandas as pd, tablenodes as tn\nADDRESS = {server.url!r}\n"
    first += "table = pd.DataFrame({'review': ['a', 'b']})"
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(text) for text in (first, *MISTAKES, *ENDS)]
    nbclient.NotebookClient(notebook, timeout=100, allow_errors=True).execute()
    return {cell.source: cell.outputs for cell in notebook.cells}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_the_users_own(mistake, cells):
    """Without a frame of the package, however deep it was found."""
    (error,) = (each for each in cells[mistake] if each.output_type == "error")
    *places, told = "\n".join(error.traceback).splitlines()
    assert len(places) + 1 == MISTAKES[mistake]
    assert told == f"{error.ename}: {error.evalue}"
    last = mistake.splitlines()[-1]
    assert re.fullmatch(rf"Cell In\[\d+\], line \d+: {re.escape(last)}", places[0])


def test_an_error_of_the_users_own_code_has_its_frames(cells):
    """The line in which it was raised is what they need."""
    source = next(iter(ENDS))
    (error,) = (each for each in cells[source] if each.output_type == "error")
    told = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    assert "1 / 0" in told
    assert f"{ENDS[source]}: division by zero" in told


@pytest.mark.parametrize("source", [*ENDS][1:3])
def test_a_notebooks_bar_ends_as_one_line(source, cells):
    """In its own place, whatever ended the work; no bar is left half."""
    (bar,) = (each for each in cells[source] if each.output_type == "display_data")
    assert [*bar.data] == ["text/plain"]
    assert bar.data["text/plain"].startswith(ENDS[source])


def test_a_notebook_shows_html(cells):
    """With the text beside it."""
    (made,) = cells[[*ENDS][3]]
    assert {"text/html", "text/plain"} <= {*made.data}
    assert made.data["text/plain"].startswith("2 rows in ")
    assert html.escape("2 rows") in made.data["text/html"]
