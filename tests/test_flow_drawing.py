"""The drawing of a workflow: every node below what it reads, nothing over another, and names that are only text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes.cli import main
from tablenodes.errors import WorkflowError
from tablenodes.workflow.flow_drawing import Box, drawing

SVG = "{http://www.w3.org/2000/svg}"
ODD = "<b>&\"'</b>\x00\ud800 漢字"
CHAT = tn.CreateChatCompletion(model="m", prompt="{{ word }}")


def read(text):
    """Return the boxes of a drawing by their first lines: left, top, right, bottom; and the ways of its lines."""
    root = ElementTree.fromstring(text)
    boxes = {}
    for group in root.iter(f"{SVG}g"):
        for rect in group.findall(f"{SVG}rect"):
            left, top, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            boxes[group.find(f"{SVG}text").text] = (left, top, left + width, top + height)
    lines = [path.get("d") for path in root.iter(f"{SVG}path") if "z" not in path.get("d")]
    return boxes, [[float(number) for number in re.findall(r"-?[0-9.]+", line)] for line in lines]


@st.composite
def graphs(draw):
    """Return up to twenty boxes, and lines from earlier to later ones, each box below those that it hangs on."""
    boxes, edges = [], {}
    for at in range(draw(st.integers(1, 20))):
        above = draw(st.sets(st.integers(0, at - 1), max_size=3)) if at else ()
        edges |= {(each, at): draw(st.booleans()) for each in above}
        lines = (f"{at}", *["x" * draw(st.integers(0, 30))] * draw(st.integers(0, 3)))
        boxes.append(Box(lines, layer=max((boxes[each].layer for each in above), default=-1) + 1))
    return boxes, edges


@settings(max_examples=50, deadline=None)
@given(graphs())
def test_nothing_stands_over_another_and_lines_lead_down_from_box_to_box(graph):
    """Whatever the graph; and all of it lies in the drawing."""
    boxes, lines = read(drawing(*graph))
    assert (len(boxes), len(lines)) == (len(graph[0]), len(graph[1]))
    placed = [*boxes.values()]
    for at, (left, top, right, bottom) in enumerate(placed):
        for other in placed[:at]:
            assert right < other[0] or other[2] < left or bottom < other[1] or other[3] < top
    for (start, end), line in zip(graph[1], lines, strict=True):
        left, _, right, bottom = placed[start]
        assert left < line[0] < right
        assert line[1] == pytest.approx(bottom, abs=0.2)
        left, top, right, _ = placed[end]
        assert left < line[-2] < right
        assert line[-1] == pytest.approx(top, abs=0.2)
        for x, y in zip(line[3::7], line[2::7], strict=False):  # where it turns
            assert not any(left < x < right and top < y < bottom for left, top, right, bottom in placed)


def test_each_node_is_below_what_it_reads():
    """With its type, its condition and the columns that it reads; dotted where it reads only what became of rows."""
    asked = tn.Step(CHAT, when="{{ kind == 'bad' }}")
    flow = tn.Workflow({"kind": CHAT, "reply": asked, "say": tn.Return(text="{{ outputs.reply.outcome }}")})
    text = flow.graph("svg")
    boxes, lines = read(text)
    assert boxes["table"][3] < boxes["kind"][1] < boxes["kind"][3] < boxes["reply"][1] < boxes["say"][1]
    assert (len(lines), text.count("dasharray")) == (3, 1)
    assert "when kind == &#x27;bad&#x27;" in text
    assert "reads word" in text


def test_names_are_text_and_nothing_is_loaded():
    """Of a table, a description, a condition; whatever they are."""
    step = tn.Step(tn.Return(text="{{ word }}"), when="word == '<b>&'", description=ODD)
    text = tn.Workflow({"a": step}, table="<script>.csv", output=f"{ODD[:6]}.csv").graph("svg")
    assert ElementTree.fromstring(text) is not None
    assert not re.search(r"<script|<b>|href|url\(|@import|\x00", text)
    assert text.count("http") == 1


def test_a_notebook_shows_it_and_a_file_brings_its_colours(tmp_path, capsys):
    """In the page's own colours there; a file follows light and dark by itself."""
    flow = tn.Workflow({"ask": CHAT, "say": tn.Return(text="{{ ask }}")})
    shown = flow._repr_html_()
    assert "<svg" in shown
    assert "tablenodes-flow{" not in shown
    assert "currentColor" in shown
    assert "prefers-color-scheme:dark" in flow.graph("svg")
    flow.save(tmp_path / "flow.yaml")
    for name, begins in (("a.svg", "<svg"), ("a.mmd", "flowchart")):
        with pytest.raises(SystemExit) as ended:
            main(["graph", str(tmp_path / "flow.yaml"), "--output", str(tmp_path / name)])
        assert not ended.value.code
        assert (tmp_path / name).read_text().startswith(begins)
    with pytest.raises(SystemExit) as ended:
        main(["graph", str(tmp_path / "flow.yaml"), "--output", str(tmp_path / "a.png")])
    assert ended.value.code == 2
    wording(capsys.readouterr().err)
    with wording.raises(WorkflowError):
        flow.graph("png")


def test_a_drawing_that_is_too_large_for_a_page_is_left_out():
    """The nodes are still told."""
    flow = tn.Workflow({f"n{at}": tn.Return(text="{{ word }}") for at in range(90)})
    assert "<svg" not in flow._repr_html_()
    assert "n0: Return" in flow._repr_html_()
