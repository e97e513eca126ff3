"""The page of recipes is true: each runs, in as few lines as it should take, and gives what it is for."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from background import ending, nobody_at_work, work
from servers import answer, fault_server

import tablenodes as tn
from tablenodes.store.store_file import VARIABLE

PAGE = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
ANSWERS = (Path(__file__).parent.parent / "docs" / "answers.md").read_text(encoding="utf-8")
RECIPES = [
    (int(task), code) for task, code in re.findall(r"<!-- recipe (\d+) -->\n```python\n(.*?)```", PAGE, re.DOTALL)
]
LINES = {1: 2, 2: 2, 3: 1, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1, 10: 2, 11: 2, 12: 1, 13: 1, 15: 1, 16: 4, 17: 1}
LINES |= {18: 1, 19: 1, 20: 1, 21: 1, 22: 1, 23: 3}
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
        return {"summary": "s", "stars": 4, "topics": ["price"]} if "so so" not in text else {"stars": "four"}
    kind = fields.get("answer", {})
    if "enum" in kind:
        return "positive" if "good" in text else "negative"
    return {"boolean": "cheap" in text, "integer": len(text)}.get(kind.get("type"), "Well.")


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A folder with what the recipes read, and names as after the page's first block."""
    folder = tmp_path_factory.mktemp("recipes")
    with contextlib.chdir(folder):
        photos = [f"photo_{number}.png" for number in range(4)]
        for photo in photos:
            Path(photo).write_bytes(b"\x89PNG\r\n\x1a\n" + photo.encode())
        pd.DataFrame(REVIEWS | {"photo": photos}).to_csv("reviews.csv", index=False)
        (setup,) = re.findall(r"<!-- setup -->\n```python\n(.*?)```", PAGE, re.DOTALL)
        prices = {name: {"input": 1, "output": 2} for name in ("gpt-4o-mini", "gpt-4o")}
        names = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OPENAI_API_KEY", "sk-none")
            exec(compile(setup, "recipes.md", "exec"), names)
        names["S"] = dataclasses.replace(tn.testing.canned(reply), prices=prices)
        names["products"] = pd.DataFrame({"product": ["lamp", "kettle"]})
        first = names["node"].run(names["df"], names["S"], journal="run.journal", progress=False)
        first.result.to_parquet("raw.parquet")
        yield folder, names


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
        1: lambda: [*out.answer.cat.categories] == ["positive", "negative", "mixed"],
        2: lambda: str(out.answers["stars"].dtype) == "Int64" and list(out.log["outcome"]) == ["ok"] * 3 + ["unusable"],
        3: lambda: out.summary.requests == 5 and len(out.failed) == 1,
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
        22: lambda: out.summary.requests == 3 and list(out.log["outcome"]) == ["ok"] * 4,
    }


def test_every_recipe_runs_and_comes_to_what_it_is_for(setting):
    """One after the other, as a reader would; but for what is read on another day."""
    folder, names = setting
    with contextlib.chdir(folder):
        for task, code in RECIPES:
            if "ids.csv" in code:
                continue
            if task == 15:
                stopped_in_the_middle(names)
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(code, f"recipe {task}", "exec"), names)
            check = checks(names, printed.getvalue()).get(task)
            assert check is None or check(), f"recipe {task}: {code}"


def test_ids_of_a_submission_are_read_on_another_day(tmp_path, monkeypatch):
    """With the worker's part done in between."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "store"))
    (code,) = [code for _, code in RECIPES if "ids.csv" in code]
    stars = {"index": 0, "message": {"content": '{"stars": 4}'}, "finish_reason": "stop"}
    node = tn.CreateChatCompletionAsync(model="m", prompt="{{ review }}", answer={"stars": int})
    with ending(tmp_path / "store") as store, fault_server(answer({"choices": [stars]})) as server:
        with nobody_at_work(store):
            ids = node.run(pd.DataFrame(REVIEWS), tn.Connection(server.url), progress=False).table
        ids.to_csv("ids.csv", index=False)
        work(store)
        names = {"tn": tn}
        exec(compile(f"out = {code}", "recipes.md", "exec"), names)
    assert list(names["out"].answers["stars"]) == [4] * 4


def test_the_page_on_answers_prints_what_it_says(capsys):
    """Its first block, word for word."""
    (snippet,) = re.findall(r"<!-- snippet -->\n```python\n(.*?)```", ANSWERS, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", ANSWERS, re.DOTALL)
    said = iter([("positive", 5, ["speed"]), ("negative", 1, ["broken"]), ("mixed", 3, ["looks", "speed"])])

    def rated(request):
        return dict(zip(("sentiment", "stars", "topics"), next(said), strict=True))

    snippet = snippet.replace("tn.Connection()", "CANNED")
    exec(compile(snippet, "answers.md", "exec"), {"CANNED": tn.testing.canned(rated)})
    assert capsys.readouterr().out == shown


def test_every_task_has_a_recipe_of_as_few_lines_as_it_should_take():
    """Each block by itself."""
    assert {task for task, _ in RECIPES} == set(LINES)
    assert [(task, code) for task, code in RECIPES if code.count("\n") > LINES[task]] == []
