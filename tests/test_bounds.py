"""What a placeholder makes is bounded before it is made: one cell takes neither the memory nor the time of a run."""

from __future__ import annotations

import json
import re
import sys
import time

import pandas as pd
import pytest
from commands import Command
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording
from test_bodies import chat, encoded, rejected
from test_run import Canned

import tablenodes as tn
from tablenodes.templates.bounds import Room, TooLarge
from tablenodes.templates.template import Template

MIB = 2**20
TOO_MUCH = r"""
"-" * n ; n * q ; [q] * n ; [m] * 1000 ; [[m] * 1000] * 1000 ; ([m] * 1000) | join ; m ~ m * 100 ; m * 99
q | center(n) ; q.ljust(n) ; q.zfill(n) ; "\t".expandtabs(n) ; m.replace("x", m) ; m | replace("", m)
m.join(m) ; m | join(m) ; s | join(m) ; m | indent(n) ; lines | indent(m) ; m | wordwrap(1, wrapstring=m)
words | urlize(rel=m) ; m | batch(n, "x") | list ; m | slice(n) | list ; large | list ; large.split("x")
7 ** n ; (10 ** 4000) ** 4000 ; hex | int(0, 16) * (hex | int(0, 16)) ; (hex | int(0, 16)) // 7
"%*d" | format(n, 1) ; "%.*f" % (n, 1.5) ; wide | format(5) ; wide % 5 ; named | format(m=m) ; "%s%s" % (m, m * 63)
"{:>{}}".format(q, n) ; braces.format(q) ; many.format(m) ; "{0[0]:>{1}}".format([q], n)
rows ; rows | tojson ; rows | string ; [row] * 1000 ; rows | map(attribute="v") | join ; rows | upper
numbers | map("center", 60000000) | map("length") | sum ; numbers | map("default", m) | list | tojson
s | map("replace", "s", m) | map("length") | sum ; s | select("in", large) | list | length
([numbers] * 10000) | map("sort") | map("first") | list ; ([s] * 10000) | map("join") | map("length") | sum
([numbers] * 1000) | sum(start=[]) ; ([m] * 1000000) | map("count") | sum ; m.translate({120: m})
n.to_bytes(n) ; nested | fromjson ; large | urlencode ; "%s" % row
"""
RENDERING = """
import json, resource, sys, time
from tablenodes.templates.template import Template
from tablenodes.templates.bounds import Room, TooLarge
m = "x" * 2**20
cells = {
    "n": 10**10, "q": "ab", "m": m, "s": ["s"] * 10**5, "lines": "\\n" * 10**6, "words": "w " * 10**5,
    "large": "x" * 2**23,
    "hex": "f" * 10**5, "wide": "%10000000000d", "named": "%(m)s" * 1000, "braces": "{:>10000000000}",
    "many": "{0}" * 1000, "rows": [{"v": m}] * 1000, "numbers": list(range(10**5)),
    "nested": "[" + "[]," * 10**7 + "1]",
}
position = {name: at for at, name in enumerate(cells)}
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
for expression in json.loads(sys.argv[1]):
    start = time.process_time()
    try:
        made = len(Template("{{ %s }}" % expression, "prompt").bind(position, {}, Room(2**20))(tuple(cells.values())))
    except Exception as error:
        made = type(error).__name__ if not isinstance(error, TooLarge) else None
    seconds = time.process_time() - start
    if made is not None or seconds > 5:
        print(expression, made, round(seconds, 1))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded in the way of Linux")
def test_what_is_too_much_is_refused_before_it_is_made():
    """Operators, filters, methods, formats, lists and loops over large values: whatever grows with a cell."""
    done, said = Command([json.dumps(re.split(" ; |\n", TOO_MUCH.strip()))], program=RENDERING).communicate(timeout=120)
    assert (done, said) == ("", "")


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("q * 3", "ababab"),
        ("'-' * 0", ""),
        ("'-' * -5", ""),
        ("[1, 2] * 2", "[1,2,1,2]"),
        ("2 ** 62", str(2**62)),
        ("2 ** 100 % 7", "2"),
        ("(-1) ** 1000001", "-1"),
        ("7 ** -2 > 0", "true"),
        ("(q * 500000) | upper | trim | length", "1000000"),
        ("q | center(6)", "  ab  "),
        ("2.567 | round(1)", "2.6"),
        ("25 | round(-1)", "20"),
        ("[[1], [2]] | sum(start=[])", "[1,2]"),
        ("'%5.1f|%-4s|%d%%' % (2.25, q, 7)", "  2.2|ab  |7%"),
        ("'{:>4}|{:.1f}|{}'.format(q, 2.25, 16.0)", "  ab|2.2|16"),
        ("'%s' % 16.0", "16"),
        ("', '.join(['a', 'b'])", "a, b"),
        ("[1, 'a', none is none] | join('-')", "1-a-true"),
        ("'a,b'.split(',')", '["a","b"]'),
    ],
)
def test_what_is_not_is_made_as_ever(expression, text):
    """The bounds are far from what an author writes."""
    assert Template(f"{{{{ {expression} }}}}", "prompt").bind({"q": 0}, {})(("ab",)) == text


@given(st.integers(-(2**40), 2**40), st.sampled_from(["'ab' * n", "'ab' | center(n)", "'a\nb' | indent(n)", "[n] * n"]))
def test_no_number_of_a_cell_makes_more_than_is_allowed(n, expression):
    """The row is too large, or its text is short enough."""
    render = Template(f"{{{{ {expression} }}}}", "prompt").bind({"n": 0}, {}, Room(1000))
    try:
        made = len(render((n,)))
    except TooLarge:
        made = 0
    assert made <= 1000


def test_a_row_that_makes_too_much_ends_alone():
    """It is too_large and not sent; the others go on; a check finds it beforehand."""
    table = pd.DataFrame({"q": ["a", "b", "c"], "n": [3, 10**10, 2]})
    node = tn.CreateChatCompletion(model="m", prompt='{{ q }} {{ "-" * n }}')
    assert node.check(table).valid == 2
    out = node.run(table, tn.Connection("https://nowhere.example/v1", transport=Canned()), progress=False)
    assert out.log["outcome"].tolist() == ["ok", "too_large", "ok"]
    assert out.log["attempts"].tolist() == [1, 0, 1]
    wording(out.log["message"][1])


@pytest.mark.parametrize(
    "settings",
    [
        {"prompt": "{{ c }}"},
        {"prompt": "{{ c | trim }}"},
        {"prompt": tn.col("c")},
        {"prompt": "{{ c }}", "system": "{{ c }}"},
        {"messages": [{"role": "user", "content": "{{ c }}{{ c }}"}]},
    ],
)
def test_the_limit_is_the_runs(settings):
    """A text of a cell's is bounded by Limits.body_bytes, as an answer is."""
    own = tn.Connection("https://nowhere.example/v1", transport=Canned())
    table = pd.DataFrame({"c": ["x" * 300_000, "x" * 3_000_000, "x" * 40]})
    node = tn.CreateChatCompletion(model="m", **settings)
    out = node.run(table, own, limits=tn.Limits(body_bytes=MIB), progress=False)
    assert out.log["outcome"].tolist() == ["ok", "too_large", "ok"]


def test_a_prompt_of_a_megabyte_is_sent_and_one_of_a_hundred_is_not():
    """By its cell alone, and as a whole request in a column."""
    assert len(encoded(chat(prompt="{{ c }}"), {"c": "x" * MIB})["messages"][0]["content"]) == MIB
    (problem,) = rejected(chat(prompt="{{ c }}"), {"c": "x" * 100 * MIB})
    assert problem.rule == "too_large"
    (problem,) = rejected(tn.CreateChatCompletion(), {"body": " " * 100 * MIB})
    assert problem.rule == "too_large"


def test_constants_are_not_worked_out_when_a_node_is_made():
    """They are refused with their row, too."""
    start = time.process_time()
    (problem,) = rejected(
        chat(prompt='{{ "-" * 10000000000 }} {{ "x" | center(10000000000) }} {{ 7 ** 500000000 }}'), {"c": "c"}
    )
    assert problem.rule == "too_large"
    assert time.process_time() - start < 2
