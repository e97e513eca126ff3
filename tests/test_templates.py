"""Placeholders: what they may say, what they give, and what they never do."""

from __future__ import annotations

import datetime
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentences import wording

import tablenodes as tn
from tablenodes.plain import plain
from tablenodes.problems import Unfit
from tablenodes.templates import template as template_module
from tablenodes.templates.bounds import Room
from tablenodes.templates.environment import Lacking
from tablenodes.templates.template import Template


def render(source, /, constants=None, **cells):  # a column may have any name
    template = Template(source, "prompt")
    template.check(list(cells), tuple(constants or ()))
    return template.bind({name: i for i, name in enumerate(cells)}, constants or {})(tuple(cells.values()))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        (16, "16"),
        (16.0, "16"),
        (-2.0, "-2"),
        (1e15, "1000000000000000"),
        (2.0**53, "9007199254740992.0"),
        (0.5, "0.5"),
        (True, "true"),
        ([1, "a"], '[1,"a"]'),
        ({"a": 1}, '{"a":1}'),
        ("é\n\r\n<&>", "é\n\r\n<&>"),
    ],
)
@pytest.mark.parametrize("source", ["[{{ cell }}]", "[{{ cell | default('x') }}]", "[{{ row['cell'] }}]"])
def test_text_renders_as_it_is_and_anything_else_as_json(source, value, text):
    """Every way to write a placeholder renders a value alike."""
    assert render(source, cell=value) == f"[{text}]"


@given(
    st.text(),
    st.text().filter(lambda text: "{{" not in text and "\ufdd0" not in text and "\ufdd1" not in text),
)
def test_text_around_a_placeholder_is_kept_to_the_letter(cell, around):
    """Line breaks, trailing newlines, {% and {# are plain text."""
    around = around.replace("{", "(")
    assert render(f"{around}{{{{ cell }}}}{around}", cell=cell) == around + cell + around
    assert render(f"{around}{{{{ cell | string }}}}{around}", cell=cell) == around + cell + around


@pytest.mark.parametrize(
    "source",
    ["a\r\n{{ c }}\r\nb\r", "{% if c %}{{ c }}{% endif %}", "{# no comment #}{{ c }}\n", "a\n\n{{ c }}\n\n"],
)
def test_statements_comments_and_line_breaks_are_plain_text(source):
    """Only ``{{ … }}`` means something."""
    assert render(source, c="X") == source.replace("{{ c }}", "X")


@pytest.mark.parametrize(
    "source",
    ["{{ cell }}", "{{ cell | upper }}", "{{ row['cell'] }}", "{{ cell }} {{ other }}", "{{ row.cell }}"],
)
def test_a_null_cell_is_undefined(source):
    """A row with a null cell is not sent by accident."""
    with pytest.raises(Unfit, match="default"):
        render(source, cell=None, other="x")


def test_the_message_for_a_null_cell_names_the_column():
    """The user learns which column is empty."""
    with wording.raises(Unfit):
        render("{{ cell }}", cell=None)
    with wording.raises(Unfit):
        render("{{ cell | upper }}", cell=None)


def test_default_meets_a_null_cell():
    """A default stands in for a null cell, also inside a struct."""
    assert render("{{ cell | default('none') }}", cell=None) == "none"
    assert render("{{ cell.a | default('none') }}", cell={"a": None}) == "none"
    assert render("{{ cell['a'] | default('none') }}", cell={}) == "none"


@pytest.mark.parametrize("source", ["{{ a | default('no ' ~ b) }}", "{{ a | d(b | upper) }}", "{{ a | default(b.c) }}"])
def test_a_default_is_worked_out_only_where_it_is_needed(source):
    """What it is made of may be missing elsewhere; where it is needed, the user learns which column is empty."""
    assert render(source, a="there", b=None) == "there"
    with wording.raises(Unfit):
        render(source.replace(".c", ""), a=None, b=None)


def test_items_come_before_attributes():
    """A field named like a method is the field."""
    assert render("{{ cell.items }} {{ cell.keys }}", cell={"items": 3, "keys": "k"}) == "3 k"


def test_filters_and_inline_if_work():
    """The expressions of Jinja are there."""
    assert render("{{ cell | upper if cell else 'nothing' }}", cell="yes") == "YES"
    assert render("{{ cell | tojson }}", cell='<"é">') == '"<\\"é\\">"'
    assert render("{{ cells | join(', ') }}", cells=["a", "b"]) == "a, b"


@pytest.mark.parametrize(
    "expression",
    [
        "cell.__class__",
        "cell.__class__.__mro__",
        "cell['__class__']",
        "''.__class__.__base__.__subclasses__()",
        "cell.format.__globals__",
        "(cell|attr('__class__'))",
        "'{0.__class__}'.format(cell)",
    ],
)
def test_no_expression_reaches_python(expression):
    """Internals of Python are out of reach."""
    with pytest.raises(Unfit):
        render(f"{{{{ {expression} }}}}", cell="x")


@pytest.mark.parametrize(
    "name", ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "os", "environ", "config"]
)
def test_there_are_no_globals(name):
    """A name is a column or nothing."""
    with wording.raises(tn.errors.ColumnError):
        render(f"{{{{ {name} }}}}", cell="x")


@given(
    st.sampled_from(
        [
            "{{7*7}}",
            "{{ row }}",
            "{x.__class__}",
            "${HOME}",
            "{% raw %}",
            "%(a)s",
            "{{ cell }}",
            "<%= 1 %>",
            "#{1}",
        ]
    )
)
def test_a_cell_is_never_evaluated(payload):
    """What stands in a cell arrives literally."""
    assert render("{{ cell }}", cell=payload) == payload
    assert render("{{ cell | trim }}", cell=payload) == payload


def test_a_name_that_is_no_column_is_an_error_with_the_nearest_name():
    """A typing mistake is found before anything is sent."""
    with wording.raises(tn.errors.ColumnError):
        render("{{ reviw }}", review="x")
    with wording.raises(tn.errors.ColumnError):
        render("{{ row['any nam'] }}", **{"any name": "x"})


def test_self_is_reached_through_row():
    """The one name that the template language keeps for itself is refused, with what to write instead."""
    with pytest.raises(tn.errors.TemplateError, match=r"row\['self'\]"):
        Template("{{ self }}", "prompt")
    assert render("{{ row['self'] }}", self="x") == "x"


def test_row_reaches_a_column_of_any_name():
    """Names that are no identifiers are reached as items."""
    assert render("{{ row['any name'] }}", **{"any name": "x"}) == "x"
    assert render("{{ row }}", a=1, b=None) == '{"a":1,"b":null}'


@pytest.mark.parametrize(
    "source", ["{{ a", "{{ }}", "{{ a b }}", "{{ a | nofilter }}", "{{ a is notest }}", "{{ a | random }}"]
)
def test_a_placeholder_that_cannot_be_read_is_an_error_at_once(source):
    """The place is named."""
    with wording.raises(tn.errors.TemplateError):
        Template(source, "prompt")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ a | uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("x\n{{ b }} {{ a | trim | to_json }}", "there is no filter 'to_json'; did you mean 'tojson'?"),
        ("{{ a | xyzzy }}", "there is no filter 'xyzzy'"),
        ("{{ a | xyzzy('}}') }}", "No filter named 'xyzzy'"),
        ("{{ a is defind }}", "there is no test 'defind'; did you mean 'defined'?"),
    ],
)
def test_a_filter_that_there_is_none_of_is_said_with_the_nearest_name(source, said):
    """And so is a test."""
    with pytest.raises(tn.errors.TemplateError) as caught:
        Template(source, "prompt")
    assert str(caught.value).endswith(f": {said}")


def test_an_input_without_a_value_is_told_how_to_be_given():
    """It may be left out where a default meets it; a name that stands in a cell is never shown."""
    inputs = {"tone": None, "kind": {"a": 1}}
    for source in ("{{ inputs.tone }}", "{{ inputs['tone'] | upper }}", "{{ inputs.tone.x }}", "{{ inputs.none }}"):
        with wording.raises(Unfit):
            render(source, constants={"inputs": inputs})
    with wording.raises(Unfit):
        render("{{ inputs.kind.b }}", constants={"inputs": inputs})
    with wording.raises(Unfit):
        render("{{ inputs[c] }}", constants={"inputs": inputs}, c="tone")
    assert (
        render("{{ inputs.tone | default('-') }}{{ inputs }}", constants={"inputs": {"tone": None}}) == '-{"tone":null}'
    )


def test_names_of_workflows_are_there_only_in_workflows():
    """inputs and outputs are never columns."""
    with wording.raises(tn.errors.ColumnError):
        render("{{ inputs.a }}", inputs="x")
    assert render("{{ inputs.a }} {{ c }}", constants={"inputs": {"a": 1}}, c="x") == "1 x"


def test_an_unusable_cell_says_why_without_its_value():
    """A cell that cannot be JSON is named with its column."""
    with wording.raises(Unfit):
        render("{{ cell }}", cell=Unfit("holds NaN"))


@pytest.mark.parametrize("expression", ["cell + 1", "cell / 0", "cell.nothing", "cell[0][0][0].x"])
def test_an_expression_that_fails_for_a_row_never_shows_the_cell(expression):
    """Errors name their kind only."""
    with pytest.raises(Unfit) as caught:
        render(f"{{{{ {expression} }}}}", cell="canary-4711")
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    "expression", ["row[sku]", "prices[sku]", "row[sku] | upper", "prices[sku].x", "prices[sku] < 3"]
)
def test_a_name_that_stands_in_a_cell_is_never_shown(expression):
    """Only what the author wrote is said again."""
    with pytest.raises(Unfit) as caught:
        render(f"{{{{ {expression} }}}}", sku="PATIENT-4711", prices={"a": 1})
    wording(caught.value)


def test_a_name_that_stands_in_the_template_is_shown():
    """The author finds the place."""
    for source in ("{{ prices.amount }}", "{{ prices['amount'] }}", "{{ prices.amount.x }}"):
        with wording.raises(Unfit):
            render(source, prices={"a": 1})


def test_a_key_that_is_called_like_a_method_is_no_item():
    """Whatever stands in a cell, looking it up gives an item or nothing."""
    assert render("{{ prices[sku] | default('none') }}", sku="items", prices={"a": 1}) == "none"
    assert render("{{ prices[sku] }}", sku="items", prices={"items": 1}) == "1"
    assert render("{{ row[sku] | default('none') }}", sku="keys") == "none"


INFINITE = Unfit("holds infinity")


@pytest.mark.parametrize(
    "source",
    [
        *('{{ row["unit price"] | default("unknown") }}', "{{ row['unit price'] }}", "{{ row }}", "{{ row | tojson }}"),
        *("{{ [row] }}", "{{ row | string }}", "{{ 'all: ' ~ row }}", "{{ row | items | list }}"),
        *(
            "{{ row | dictsort }}",
            "{{ row | dictsort | map('last') | join }}",
            "{{ row | dictsort | last | last }}",
        ),
    ],
)
def test_an_unusable_cell_is_never_taken_for_a_missing_one(source):
    """Whichever way a cell is reached, its row is not sent without it, and the column is named."""
    with wording.raises(Unfit):
        render(source, **{"unit price": INFINITE, "b": 1})


def test_an_unusable_cell_spoils_nothing_that_does_not_read_it():
    """A row counts as unusable only where the cell is used."""
    cells = {"unit price": INFINITE, "name": "b", "b": 1}
    assert render("{{ row['b'] }} {{ row[name] }}", **cells) == "1 1"
    with pytest.raises(Unfit) as caught:
        render("{{ row[name] | default('x') }}", **{**cells, "name": "unit price"})
    wording(caught.value)


@pytest.mark.parametrize(
    "source", ['{{ row["product name"] }}', '{{ row["product name"] | upper }}', "{{ 'a' ~ row['product name'] }}"]
)
def test_a_null_cell_that_is_reached_through_row_is_named_too(source):
    """The same is said as of a plain name, and how to allow it."""
    with wording.raises(Unfit) as caught:
        render(source, **{"product name": None})
    wording(caught.value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'Tags: ' ~ tags ~ '!' }}", 'Tags: ["x"]!'),
        ("{{ 'Tags: ' ~ (tags ~ flag) }}", 'Tags: ["x"]true'),
        ("{{ flag ~ '' }}", "true"),
        ("{{ flag | string }}", "true"),
        ("{{ tags | string | length }}", "5"),
        ("{{ [flag, 1, 0.5, 'a', tags, thing] | join(', ') }}", 'true, 1, 0.5, a, ["x"], {"a":false}'),
        ("{{ [thing, thing] | join(flag, attribute='a') }}", "falsetruefalse"),
        ("{{ tags | trim }} {{ thing | replace('a\"', 'b\"') }}", '["x"] {"b":false}'),
        ("{{ flag | lower }} {{ flag | upper }} {{ tags | truncate(50) }}", 'true TRUE ["x"]'),
        ("{{ tags | indent }} {{ thing | wordwrap(50) }} {{ thing | e }}", '["x"] {"a":false} {&#34;a&#34;:false}'),
        ("{{ '%s %s %.1f' | format(flag, tags, 0.55) }}", 'true ["x"] 0.6'),
        ("{{ '%s' % flag }} {{ '%s %d' % (thing, 3) }} {{ 7 % 4 }}", 'true {"a":false} 3 3'),
        ("{{ '%(a)s' | format(a=flag) }}", "true"),
        ("{{ '{} {} {n:.1f}'.format(flag, tags, n=0.55) }}", 'true ["x"] 0.6'),
        ("{{ '{0[a]} {a}'.format(thing, a=tags) }} {{ '{a}'.format_map(thing) }}", 'false ["x"] false'),
        ("{{ '<' | e | e }}", "&lt;"),
    ],
)
def test_values_are_shown_as_json_inside_of_expressions_too(source, text):
    """No expression shows a value as Python writes it."""
    assert render(source, tags=["x"], flag=True, thing={"a": False}) == text


@pytest.mark.parametrize(
    "source", ["{{ 'a' ~ cell }}", "{{ [cell] | join }}", "{{ cell | string }}", "{{ '%s' % cell }}"]
)
def test_a_null_cell_is_undefined_inside_of_expressions_too(source):
    """Nothing is put together with what is not there."""
    with wording.raises(Unfit):
        render(source, cell=None)


@pytest.mark.parametrize(
    ("source", "null", "text"),
    [
        ("{{ cell is none }}", "true", "false"),
        ("{{ cell is not none }}", "false", "true"),
        ("{{ cell == none }}", "true", "false"),
        ("{{ none != row['cell'] }}", "false", "true"),
        ("{{ '-' if cell.part is none else cell }}", "-", "-"),
    ],
)
def test_a_null_cell_is_none(source, null, text):
    """Whoever asks for it as other languages do is answered."""
    assert [render(source, cell=None), render(source, cell="x")] == [null, text]


def test_a_name_of_more_words_is_told_how_to_be_written():
    """The language stops at the second word; the way to reach such a column is said."""
    with wording.raises(tn.errors.TemplateError):
        Template("{{ ok }} {{ product name }}", "prompt")
    with wording.raises(tn.errors.TemplateError):
        Template("{{ price in € }}", "prompt")
    with pytest.raises(tn.errors.TemplateError) as caught:
        Template("{{ 'a' 'b' }} {{ a | nofilter }}", "prompt")
    assert "row[" not in str(caught.value)


@pytest.mark.parametrize("source", ["{{ a-b }}", "{{ a-b | upper }}", "{{ a - b }}"])
def test_a_name_that_reads_as_a_calculation_is_told_how_to_be_written(source):
    """Where a column is called as the expression is written, that is meant."""
    with pytest.raises(tn.errors.ColumnError) as caught:
        render(source, **{"a-b": 1, "a": 2} if "a-b" in source else {"a - b": 1})
    wording(caught.value)


@pytest.mark.parametrize(
    "expression",
    [
        "'x' if price < 10 else 'y'",
        "10 > price",
        "count * 2 - price",
        "-price",
        "price | round",
        "row['unit price'] / 2",
    ],
)
def test_a_text_in_a_calculation_is_told_to_be_made_a_number(expression):
    """The columns of a CSV file are texts; the message says which, never what is in it."""
    with pytest.raises(Unfit) as caught:
        render(f"{{{{ {expression} }}}}", price="4711", count=1, **{"unit price": "4711"})
    wording(caught.value)
    assert "4711" not in str(caught.value)
    with wording.raises(Unfit):
        render("{{ count + [1] }}", count=1)


_NUMBERED = {"n": 1, "id": "4711", "unit price": "4711", "meta": {"tag": "4711"}, "ids": ["4711"], "scores": [4]}


@pytest.mark.parametrize(
    "expression",
    [
        *("id == 1", "1 != id", "id == n", "n == '1'", "n == id", "id == -2.5", "row['unit price'] == 1"),
        *("meta.tag == 1", "id in [1, 2]", "id not in [1, 2.5]", "n in ['1', 'x']", "n in id", "3 in ids", "n in ids"),
        *("id in scores", "id in row.scores", "'x' in scores", "id | trim == 1", "id is eq 1", "id is in [1]"),
        *("n < 3 == id", "ids | select('eq', 1) | list", f"id in {[*range(99)]}"),
    ],
)
def test_a_text_is_never_compared_with_a_number(expression):
    """The cells of a CSV file are texts: the row is not sent, and the message says what to write."""
    with pytest.raises(Unfit) as caught:
        render(f"{{{{ {expression} }}}}", **_NUMBERED)
    wording(caught.value)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("id == '4711' and id in ['a', '4711'] and id not in ['a', 1] and id | int == 4711", "true"),
        ("n == 1 and n == 1.0 and n != 2 and n in [1, '1'] and 0 < n < 2 == 2", "true"),
        ("flag == 1 and flag != 'true' and id != true and id not in [] and flag not in [2]", "true"),
        ("id != ids and n not in ids + [1.5] and '47' in id and 4 in scores and id in ids", "true"),
        ("id is eq '4711' and n is in [1] and 'tag' in meta and [n] != ['1']", "true"),
        ("empty == none or empty == 1", "true"),
    ],
)
def test_other_values_are_compared_as_they_are(expression, text):
    """Texts in a list that has any text, booleans, lists, and what is null."""
    assert render(f"{{{{ {expression} }}}}", **_NUMBERED, flag=True, empty=None) == text


def test_what_is_null_is_compared_with_nothing():
    """It is missing, as everywhere."""
    for expression in ("a == 1", "a in [1]", "1 in a"):
        with pytest.raises(Unfit, match="the cell of column 'a' is empty"):
            render(f"{{{{ {expression} }}}}", a=None)


@pytest.mark.parametrize(
    "expression",
    ["price | float * 2", "row['price'] | int", "[price] | map('float') | list", "meta.price | int * 2"],
)
def test_what_is_no_number_is_not_read_as_0(expression):
    """The row is not sent, and the message has the way to read decimal commas, but not the cell."""
    said = set()
    for cell in ("12,50", "x", "", "nan", "1e999", ["1"]):
        with pytest.raises(Unfit) as caught:
            render(f"{{{{ {expression} }}}}", price=cell, meta={"price": cell})
        said.add(str(caught.value))
    wording(said.pop())
    assert said == set()


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("a | float(0) + b | int(default=-1)", "-1"),
        ("a | float(none) is none", "true"),
        ("' 2.5 ' | float + '1e3' | float + 1 | float + true | int", "1004.5"),
        ("'42.9' | int + 'ff' | int(base=16) + '-3' | int", "294"),
        ("'1.234,50' | replace('.', '') | replace(',', '.') | float", "1234.5"),
    ],
)
def test_a_number_is_read_from_a_text_or_is_the_default(expression, text):
    """As Jinja has it."""
    assert render(f"{{{{ {expression} }}}}", a="abc", b="12,50") == text


@pytest.mark.parametrize("name", ["inputs", "outputs"])
def test_a_name_of_workflows_is_told_how_to_reach_a_column(name):
    """Outside of a workflow a column is probably meant."""
    with wording.raises(tn.errors.ColumnError):
        render(f"{{{{ {name} }}}}", **{name: "x"})


def test_col_and_literal_take_texts():
    """A wrong type is said at once."""
    assert repr(tn.col("a")) == "col('a')"
    assert repr(tn.literal("{{")) == "literal('{{')"
    with wording.raises(tn.errors.ColumnError):
        tn.col(1)
    with wording.raises(tn.errors.TemplateError):
        tn.literal(1)


def test_a_struct_fills_the_names_of_a_format():
    """``%(name)s`` takes items, shown as placeholders show them."""
    assert render('{{ "%(a)s and %(b)s" % it }}', it={"a": [1], "b": "x"}) == "[1] and x"


# What is looked up in a cell that is empty.


@pytest.mark.parametrize(
    "source", ["meta.k", "meta['k']", "meta.k.deeper[0]", "row['meta'].k", "row.meta['k']", "meta._id"]
)
def test_a_default_meets_whatever_is_looked_up_in_an_empty_cell(source):
    """A null cell is undefined, and so is all that would be in it."""
    assert render(f"{{{{ {source} | default('none') }}}}", meta=None) == "none"
    with wording.raises(Unfit):
        render(f"{{{{ {source} }}}}", meta=None)


def test_a_default_meets_what_is_looked_up_in_a_null_of_a_struct():
    """A null inside of a cell is as empty as the cell."""
    assert render("{{ meta.k.x[0] | default('none') }}", meta={"k": None}) == "none"
    with wording.raises(Unfit):
        render("{{ meta.k.x }}", meta={"k": None})


def test_a_misspelt_step_of_a_struct_that_is_there_is_no_default():
    """Only what is empty is met; below a name that is not there nothing can be."""
    for source in ("{{ meta.tpyo.x | default('none') }}", "{{ meta['tpyo'].x | default('none') }}"):
        with wording.raises(Unfit):
            render(source, meta={"typo": 1})


@pytest.mark.parametrize("filters", ["round(2)", "abs", "items | list", "upper", "int", "first", "length", "sum"])
def test_a_filter_of_an_empty_cell_says_that_it_is_empty(filters):
    """And how to allow it."""
    with pytest.raises(Unfit) as caught:
        render(f"{{{{ f | {filters} }}}}", f=None)
    wording(caught.value)


def test_a_filter_that_fails_is_named():
    """Never what it was given."""
    with pytest.raises(Unfit) as caught:
        render("{{ f | default(0) | round(2) }}", f=[4711])
    wording(caught.value)


# Dates and JSON.


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("2026-01-31", "31.01.2026 00:00"),
        ("2026-01-31T14:05:00.123456789+02:00", "31.01.2026 14:05"),
        (" 2026-01-31 14:05 ", "31.01.2026 14:05"),
        (plain(datetime.date(2026, 1, 31)), "31.01.2026 00:00"),
        (plain(pd.Timestamp("2026-01-31 14:05", tz="UTC")), "31.01.2026 14:05"),
        (datetime.date(2026, 1, 31), "31.01.2026 00:00"),
        (pd.Timestamp("2026-01-31 14:05"), "31.01.2026 14:05"),
    ],
)
def test_a_date_is_written_in_any_way(cell, text):
    """Whatever kind of date the cell was, and a text in ISO 8601."""
    assert render('{{ day | strftime("%d.%m.%Y %H:%M") }}', day=cell) == text


@pytest.mark.parametrize("cell", ["31.01.2026", "", "4711-4711", 20260131, True, ["2026-01-31"], "9" * 5000])
def test_what_is_no_date_is_not_written_as_one(cell):
    """The line says what is, and not what was found."""
    with pytest.raises(Unfit) as caught:
        render('{{ day | strftime("%Y") }}', day=cell)
    wording(caught.value)


def test_a_default_meets_a_date_that_is_not_there():
    """After the filter, for before it there is nothing to write."""
    assert render('{{ day | strftime("%Y") | default("unknown") }}', day=None) == "unknown"
    with wording.raises(Unfit):
        render('{{ day | strftime("%Y") }}', day=None)


@pytest.mark.parametrize("expression", ["day.strftime('%Y')", "day.year", "day.date()", "row['day'].isoformat()"])
def test_a_part_of_a_date_is_told_how_to_write_it(expression):
    """A date is a text here."""
    with pytest.raises(Unfit) as caught:
        render(f"{{{{ {expression} }}}}", day="2026-01-31")
    wording(caught.value)


def test_a_json_text_is_read_and_looked_into():
    """A model's answer is text; what is in it is reached by name."""
    answer = '{"label": "bug", "parts": [1, {"a": 16}], "items": 2}'
    assert render("{{ (a | fromjson).label }} {{ (a | fromjson).parts[1].a }}", a=answer) == "bug 16"
    assert render("{{ (a | fromjson)['items'] }} {{ (a | fromjson).parts }}", a=answer) == '2 [1,{"a":16}]'


def test_what_is_no_json_text_but_a_value_already_stays_so():
    """A struct's cell may stand where a text did."""
    assert render("{{ (a | fromjson).label }}", a={"label": "bug"}) == "bug"


@pytest.mark.parametrize("cell", ["PATIENT-4711", "", '{"a": ', "NaN", "[" * 2000, "{'a': 1}"])
def test_a_text_that_is_no_json_makes_the_row_invalid(cell):
    """What was found is not said."""
    with pytest.raises(Unfit) as caught:
        render("{{ (a | fromjson).label | default('x') }}", a=cell)
    wording(caught.value, place=re.compile(r"line \d+, character \d+"))
    assert "4711" not in str(caught.value)


def test_a_number_that_json_cannot_give_back_is_said():
    """It would be rounded."""
    with wording.raises(Unfit):
        render("{{ a | fromjson }}", a="123456789012345678901234567890")


@pytest.mark.parametrize("cell", [None, "null", '{"other": 1}', '{"label": null}'])
def test_a_default_meets_what_a_json_text_does_not_hold(cell):
    """An empty cell, null and a name that is not there alike."""
    assert render("{{ (a | fromjson).label | default('none') }}", a=cell) == "none"
    with pytest.raises(Unfit):
        render("{{ (a | fromjson).label }}", a=cell)


@pytest.mark.parametrize("filters", ["fromjson", "strftime('%Y')"])
def test_a_cell_that_cannot_be_json_is_neither_a_date_nor_read(filters):
    """It says itself why."""
    with wording.raises(Unfit):
        render(f"{{{{ row['c'] | {filters} | default('x') }}}}", c=INFINITE)


@pytest.mark.parametrize("expression", ["(a | fromjson).__class__", "(a | fromjson).update({'x': 1})", "a.__class__"])
def test_what_json_gives_reaches_no_python(expression):
    """The sandbox holds for it too."""
    with pytest.raises(Unfit):
        render(f"{{{{ {expression} }}}}", a='{"k": 1}')


def test_a_text_is_read_once_however_often_a_workflow_asks_for_it(monkeypatch):
    """Twenty nodes, each of which reads all that come before it."""
    read = []
    parse = template_module._parse
    monkeypatch.setattr(template_module, "_parse", lambda source: (read.append(source), parse(source))[1])
    prompts = ["read once {{ word }} " + " ".join(f"{{{{ n{j} }}}}" for j in range(i)) for i in range(20)]
    nodes = {f"n{i}": tn.CreateChatCompletion(model="m", prompt=prompt) for i, prompt in enumerate(prompts)}
    tn.Workflow(nodes).graph("svg")
    assert {read.count(source) for source in read if "read once" in source} == {2}  # to look at it, and for its code


@pytest.mark.parametrize(
    "source", ["{{ outputs.a.answer }}", "{{ text }}: {{ outputs.a.answer.word }}!", "{{outputs.b}}"]
)
@pytest.mark.parametrize(
    "read",
    [
        *({"a": {"answer": value}} for value in ("a text ✓", "", "x" * 70_000, None, 3, 2.0, ["x"], {"word": "w"})),
        *({"a": {"answer": {"word": value}}, "b": value} for value in (None, "w", True, {"items": None})),
        *({}, {"a": None}, {"a": {}}, {"a": {"answer": {"items": 1}}}, {"a": Lacking({"outcome": "x"}, "outputs.a")}),
    ],
)
def test_what_is_read_of_an_answer_is_the_same_without_jinja(source, read):
    template = Template(source, "prompt")
    position, cells = {"text": 0, "outputs": 1}, ("t", read)

    def made(render):
        try:
            return render(cells)
        except Unfit as unfit:
            return unfit.args

    assert made(template.bind(position, {})) == made(template._general(position, {}, Room()))
