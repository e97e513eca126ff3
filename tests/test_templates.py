"""Placeholders: what they may say, what they give, and what they never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tablenodes as tn
from tablenodes.problems import Unfit
from tablenodes.templates.template import EmptyCell, Template


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
    with pytest.raises(EmptyCell, match="default"):
        render(source, cell=None, other="x")


def test_the_message_for_a_null_cell_names_the_column():
    """The user learns which column is empty."""
    with pytest.raises(EmptyCell, match="column 'cell' is empty"):
        render("{{ cell }}", cell=None)
    with pytest.raises(EmptyCell, match="column 'cell' is empty"):
        render("{{ cell | upper }}", cell=None)


def test_default_meets_a_null_cell():
    """A default stands in for a null cell, also inside a struct."""
    assert render("{{ cell | default('none') }}", cell=None) == "none"
    assert render("{{ cell.a | default('none') }}", cell={"a": None}) == "none"
    assert render("{{ cell['a'] | default('none') }}", cell={}) == "none"


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
    with pytest.raises(EmptyCell):
        render(f"{{{{ {expression} }}}}", cell="x")


@pytest.mark.parametrize(
    "name", ["range", "dict", "lipsum", "cycler", "joiner", "namespace", "os", "environ", "config"]
)
def test_there_are_no_globals(name):
    """A name is a column or nothing."""
    with pytest.raises(tn.errors.ColumnError, match=f"no column '{name}'"):
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
    with pytest.raises(tn.errors.ColumnError, match=r"^prompt: no column 'reviw'; did you mean 'review'\?$"):
        render("{{ reviw }}", review="x")
    with pytest.raises(tn.errors.ColumnError, match="did you mean 'any name'"):
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
    with pytest.raises(tn.errors.TemplateError, match=r"^prompt: a placeholder cannot be read"):
        Template(source, "prompt")


def test_names_of_workflows_are_there_only_in_workflows():
    """inputs and outputs are never columns."""
    with pytest.raises(tn.errors.ColumnError, match="only inside a workflow"):
        render("{{ inputs.a }}", inputs="x")
    assert render("{{ inputs.a }} {{ c }}", constants={"inputs": {"a": 1}}, c="x") == "1 x"


def test_an_unusable_cell_says_why_without_its_value():
    """A cell that cannot be JSON is named with its column."""
    with pytest.raises(EmptyCell, match="column 'cell' holds NaN"):
        render("{{ cell }}", cell=Unfit("holds NaN"))


@pytest.mark.parametrize("expression", ["cell + 1", "cell / 0", "cell.nothing", "cell[0][0][0].x"])
def test_an_expression_that_fails_for_a_row_never_shows_the_cell(expression):
    """Errors name their kind only."""
    with pytest.raises(EmptyCell) as caught:
        render(f"{{{{ {expression} }}}}", cell="canary-4711")
    assert "4711" not in str(caught.value)


def test_col_and_literal_take_texts():
    """A wrong type is said at once."""
    assert repr(tn.col("a")) == "col('a')"
    assert repr(tn.literal("{{")) == "literal('{{')"
    with pytest.raises(tn.errors.ColumnError, match="not int"):
        tn.col(1)
    with pytest.raises(tn.errors.TemplateError, match="not int"):
        tn.literal(1)
