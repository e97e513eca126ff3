"""The pages of the documentation are true: each block runs, and comes to what the page says."""

from __future__ import annotations

import itertools
import json

import pandas as pd
import pytest
from background import ending, nobody_at_work, work
from pages import blocks, page, reader

import tablenodes as tn

PRICES = {name: {"input": 0.15, "cached_input": 0.075, "output": 0.6} for name in ("gpt-4o-mini", "gpt-4o")}
RECIPES = [(int(block.mark.split()[1]), block) for block in blocks("recipes.md") if block.mark != "setup"]
LINES = {1: 2, 2: 2, 3: 2, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 2, 11: 2, 12: 1, 13: 1, 15: 1, 16: 4, 17: 1}
LINES |= {18: 1, 19: 1, 20: 1, 21: 1, 22: 1, 23: 3, 24: 3, 25: 2}
REVIEWS = {
    "id": [1, 2, 3, 4],
    "review": ["good, and cheap", "bad", "good, and cheap", "so so, and dear"],
    "label": ["positive", "negative", "positive", "negative"],
}


def reply(request):
    """Return what a model would say, by the form that is asked for."""
    if "tools" in request:
        call = {"id": "1", "type": "function", "function": {"name": "order", "arguments": '{"item": "lamp"}'}}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
        return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    text = json.dumps(request["messages"][-1])
    schema = request.get("response_format", {}).get("json_schema", {}).get("schema", {})
    fields = schema.get("properties", {})
    if "stars" in fields:
        if "so so" in text and request.get("max_tokens", 0) < 400:
            message = {"role": "assistant", "content": '{"summary": "s'}
            return 200, {"choices": [{"index": 0, "message": message, "finish_reason": "length"}]}
        return {name: {"summary": "s", "stars": 4, "topics": ["price"]}[name] for name in fields}
    kind = fields.get("answer", {})
    if "enum" in kind:
        return "positive" if "good" in text else "negative" if "bad" in text else "unsure"
    return {"boolean": "cheap" in text, "integer": len(text)}.get(kind.get("type"), "Well.")


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A folder with what the recipes read, and names as after the page's first block."""
    folder, names = tmp_path_factory.mktemp("recipes"), {}
    photos = [f"photo_{number}.png" for number in range(4)]
    for photo in photos:
        (folder / photo).write_bytes(b"\x89PNG\r\n\x1a\n" + photo.encode())
    pd.DataFrame(REVIEWS | {"photo": photos}).to_csv(folder / "reviews.csv", index=False)
    with reader(folder, reply):
        blocks("recipes.md")[0].run(names)
        names["S"] = tn.testing.canned(reply, prices=PRICES)
        names["products"] = pd.DataFrame({"product": ["lamp", "kettle"]})
        first = names["node"].run(names["df"], names["S"], journal="run.journal", progress=False)
        first.result.to_parquet("raw.parquet")
        yield names


def stopped_in_the_middle(names):
    """Begin a run that is stopped when two rows were answered."""
    asked = itertools.count()

    def answered_twice(request):
        if next(asked) == 2:
            raise KeyboardInterrupt
        return reply(request)

    connection, slow = tn.testing.canned(answered_twice), tn.Limits(concurrency=1)
    with pytest.raises(KeyboardInterrupt):
        names["node"].run(names["df"], connection, limits=slow, progress=False)


def checks(names, shown):
    """Return for each task what its recipe must have come to."""
    out = names.get("out")
    return {
        2: lambda: str(out.answers["stars"].dtype) == "Int64" and list(out.log["outcome"]) == ["ok"] * 3 + ["unusable"],
        3: lambda: out.summary.requests == 5 and len(out.failed) == 1,
        1: lambda: shown in ("", "100% of 3 are right, 1 without an answer\n") and len(out.answer.cat.categories) == 3,
        4: lambda: list(names["calls"]["name"]) == ["order"] * 4,
        7: lambda: "USD" in shown or "$" in shown,
        8: lambda: len(names["choices"]) == 12,
        9: lambda: len(out.table) == 4,
        11: lambda: len(out.table) == 16 and out.table["prompt_name"].nunique() == 2,
        13: lambda: list(out.log["outcome"]) == ["ok"] * 4,
        15: lambda: list(out.log["outcome"]).count("ok") == 2 and len(out.table) == 4,
        16: lambda: len(tn.transcript(names["chat"])) == 16,
        18: lambda: list(out.log["reused"]) == [True] * 4,
        20: lambda: shown.startswith("curl") and "Read this review: good" in shown,
        24: lambda: list(out.log["outcome"]) == ["ok"] * 4 and out.summary.requests == 5,
        22: lambda: out.summary.requests == 3 and list(out.log["outcome"]) == ["ok"] * 4,
    }


def test_every_recipe_runs_and_comes_to_what_it_is_for(setting):
    """One after the other, as a reader would; but for what is read on another day."""
    for task, block in RECIPES:
        if "ids.csv" in block.code or block.language == "sh":
            continue
        if task == 15:
            stopped_in_the_middle(setting)
        check = checks(setting, block.run(setting)).get(task)
        assert check is None or check(), f"recipe {task}: {block.code}"


def test_some_rows_of_a_written_table_are_asked_again_by_a_command(tmp_path):
    """The others are skipped."""
    (block,) = [block for _, block in RECIPES if block.language == "sh"]
    with reader(tmp_path, reply):
        pd.DataFrame(REVIEWS | {"outcome": ["ok"] * 3 + ["unusable"]}).to_csv("read.csv", index=False)
        block.run({})
    assert list(pd.read_csv(tmp_path / "again.csv")["again_outcome"]) == ["skipped"] * 3 + ["ok"]


def test_ids_of_a_submission_are_read_on_another_day(tmp_path):
    """With the worker's part done in between."""
    (block,) = [block for _, block in RECIPES if "ids.csv" in block.code]
    node = tn.CreateChatCompletionAsync(model="m", prompt="{{ review }}", answer={"stars": int})
    names = {"tn": tn}
    with ending(tmp_path / "store") as store, reader(tmp_path, {"stars": 4}):
        with nobody_at_work(store):
            ids = node.run(pd.DataFrame(REVIEWS), progress=False).table
        ids.to_csv("ids.csv", index=False)
        work(store)
        block._replace(code=f"out = {block.code}").run(names)
    assert list(names["out"].answers["stars"]) == [4] * 4


def rated(request):
    """Answer as the page on answers says."""
    said = {"love": ("positive", 5, ["speed"]), "broke": ("negative", 1, ["broken"])}
    text = request["messages"][-1]["content"]
    found = next((said[word] for word in said if word in text), ("mixed", 3, ["looks", "speed"]))
    answers = dict(zip(("sentiment", "stars", "topics"), found, strict=True))
    schema = request.get("response_format", {}).get("json_schema", {}).get("schema", {})
    return {name: answers[name] for name in schema.get("properties", answers)}


def helped(request):
    """Answer as the page on workflows says."""
    text = request["messages"][-1]["content"]
    place = next(number for number, word in enumerate(("app", "charged", "opening")) if word in text)
    if "response_format" in request:
        return {"topic": ("bug", "billing", "other")[place], "urgency": 4 - place // 2 * 3}
    return ("We look at it.", "We pay it back.")[place]


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("answers.md", rated),
        ("placeholders.md", ""),
        ("workflows.md", helped),
        ("later.md", {"stars": 4}),
        ("cost.md", "Well."),
        ("databases.md", {"stars": 4}),
        ("files.md", {"stars": 4}),
        ("report.md", "Well."),
    ],
)
def test_a_page_runs_from_top_to_bottom_and_prints_what_it_says(name, answers, tmp_path):
    """In one session; a worker is at work where answers come later."""
    names = {}
    with ending(tmp_path / "store"), reader(tmp_path, answers):
        pd.DataFrame(REVIEWS).to_csv("reviews.csv", index=False)
        for block in blocks(name):
            printed = block.run(names)
            if block.mark == "setup":
                names["S"] = tn.testing.canned(answers, prices=PRICES)
            assert block.shown in (None, printed)


@pytest.mark.parametrize("name", ["workflows.md", "later.md", "cost.md", "databases.md", "files.md"])
def test_a_page_is_short_and_shows_nothing_that_is_not_run(name):
    """One page; each block of code has a mark, and each of text belongs to one."""
    shown = sum(1 + (block.shown is not None) for block in blocks(name))
    assert (page(name).count("```"), page(name).count("\n") <= 125) == (2 * shown, True)


def test_every_task_has_a_recipe_of_as_few_lines_as_it_should_take():
    """Each block by itself."""
    assert {task for task, _ in RECIPES} == set(LINES)
    assert [(task, block) for task, block in RECIPES if block.code.count("\n") > LINES[task]] == []
