"""The documentation's site: it is built without a warning, its links lead somewhere, and what it shows is run."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from pages import DOCS, blocks, page, reader

import tablenodes as tn
from docs.site import reference
from docs.site.__main__ import build
from tablenodes.cli.application import application
from tablenodes.nodes import known_nodes
from tablenodes.nodes.node import setting_names

ROOT = DOCS.parent
SITE = "https://tablenodes.github.io/tablenodes/"
SOURCE = "https://github.com/tablenodes/tablenodes/"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
SHOWN = {"text", "yaml", "json", "toml", "csv", "mermaid", "ini", "env", "jinja", "html"}
"""What is read rather than run."""
NOT_RUN = re.compile(r"not run: \w.*|theirs")
"""A mark that says why a block is not run; another tool's is compiled alone."""
ALL_OF_A_PAGE = {"run", "setup", "snippet", "recipe", "file"}
"""Marks of which a page's test runs all; any other is named by its test."""
RUN_BY_CI = {"test"}
DOWNLOADING = {("../README.md", "run"), ("../README.md", "local")}
"""They download a model; what they run then is run as a sample."""
NOT_OURS = {"Any", "BodyPlan", "Iterable", "Iterator", "None", "OperationNode", "Part", "Self"}
"""What others define, and what the package hands to itself alone."""
LOOKED_FOR = {
    "cost": "cost",
    "memory": "scale",
    "big table": "scale",
    "large file": "scale",
    "out of memory": "scale",
    "json schema": "answers",
    "excel": "files",
    "pandas": "files",
    "pip": "install",
    "anthropic": "servers",
    "claude": "servers",
    "cluster": "clusters",
    "dask": "clusters",
    "self signed certificate": "servers",
    "streaming": "requests",
    "vision": "images",
    "timeout": "retries",
    "several prompts": "recipes",
}
"""What people look for, and the page that says it."""
TESTS = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")]


class Links:
    """What a page links to, what it fetches, and its anchors."""

    def __init__(self, text):
        self.links = re.findall(r'<a\s[^>]*?href="([^"]*)"', text)
        self.anchors = set(re.findall(r'\sid="([^"]+)"', text))
        fetching = [each for each in re.findall(r"<link\s[^>]+>", text) if re.search('rel="(style|icon|pre[lc])', each)]
        self.fetched = re.findall(r'\shref="([^"]+)"', "".join(fetching)) + re.findall(
            r'<\w+\s[^>]*?src="([^"]+)"', text
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages of the site as they are built."""
    folder = build(tmp_path_factory.mktemp("site"))
    return {path.name: Links(path.read_text("utf-8")) for path in folder.glob("*.html")}, folder


def test_every_page_is_in_the_navigation_once():
    """And the changelog."""
    text = (DOCS / "site" / "zensical.toml").read_text("utf-8")
    assert sorted(re.findall(r'= "([\w-]+\.md)" \}', text)) == sorted([*PAGES, "changelog.md"])


def test_every_link_leads_somewhere(site):
    """Also one to the site or to the source from beside it; the build alone checks those between pages."""
    pages, folder = site
    links = {link for each in pages.values() for link in each.links}
    links |= set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"].get("urls", {}).values())
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        links |= set(re.findall(r'https://[^\s)>\]"]+', path.read_text("utf-8")))
    dead = []
    for link in links:
        path, _, heading = link.removeprefix(SITE).removeprefix("/tablenodes/").partition("#")
        if path.startswith(f"{SOURCE}blob/main/"):
            dead += [] if (ROOT / path.removeprefix(f"{SOURCE}blob/main/")).exists() else [link]
        elif "://" not in path and path and not link.startswith("mailto:"):
            found = pages.get(path.removeprefix("./").rstrip("/") or "index.html")
            known = found.anchors if found else set() if (folder / path).exists() else None
            dead += [] if known is not None and (not heading or heading in known) else [link]
    assert dead == []


def test_a_page_fetches_nothing_from_elsewhere(site):
    """What it needs lies beside it."""
    pages, folder = site
    fetched = {each.removeprefix("/tablenodes/") for links in pages.values() for each in links.fetched}
    assert {each for each in fetched if not (folder / each).is_file()} == set()


@pytest.mark.parametrize(("words", "name"), LOOKED_FOR.items())
def test_a_search_for_a_users_words_leads_to_the_page(site, words, name):
    """As the first or the second that is found; the changelog, which names everything, is never found."""
    items = json.loads((site[1] / "search.json").read_text("utf-8"))["items"]
    found = sorted((place, item["location"]) for item in items if (place := ranked(item, words.split())))
    assert [location for _, location in found[:2] if location.partition("#")[0] == f"{name}.html"], found[:3]
    assert [location for _, location in found if "changelog" in location] == []


def ranked(item, words):
    """Return where the site's search sorts an entry: by title, path and text; how many words, how near, how early.

    An entry without one of the words is not found: nothing is returned.
    """
    place, seen = [], set()
    for field in (item["title"], " ".join(item["path"]), item["text"]):
        tokens = re.findall(r"\w+", re.sub("<[^>]+>", " ", field.lower()))
        at = {word: next((i for i, token in enumerate(tokens) if token.startswith(word)), None) for word in words}
        hits = [position for position in at.values() if position is not None]
        seen |= {word for word, position in at.items() if position is not None}
        place.append((-len(hits), max(hits) - min(hits), hits[0]) if hits else (1,))
    return place if seen == set(words) else None


def test_the_reference_has_every_name_node_setting_and_command(site):
    """With an anchor, to which other pages may link."""
    pages, _ = site
    nodes = known_nodes()
    assert {name.lower() for name in tn._HOMES if name not in nodes} - pages["python.html"].anchors == set()
    for name, kind in nodes.items():
        owners = [each.__name__.lower() for each in kind.__mro__ if each.__name__ in nodes]
        assert pages["nodes.html"].anchors >= {name.lower()}
        for setting in setting_names(kind):
            assert pages["nodes.html"].anchors & {f"{owner}-{setting}" for owner in owners}, setting
    assert pages["commands.html"].anchors >= {f"tablenodes-{name}" for name in application.homes}


def test_each_page_has_a_title_of_its_own(site):
    """The first one says what it is about."""
    _, folder = site
    titles = [re.search("<title>(.*)</title>", path.read_text("utf-8"))[1] for path in folder.glob("*.html")]
    assert len(titles) == len({*titles})
    assert [title for title in titles if title.startswith("tablenodes: Every row")]


def test_what_a_public_method_returns_is_in_the_reference():
    """Also a class that no program names."""
    kinds = [*known_nodes().values(), *(value for value in reference.NAMES.values() if isinstance(value, type))]
    members = [member for kind in kinds for _, member in reference._members(kind)]
    functions = [getattr(each, "func", getattr(each, "fget", getattr(each, "__func__", each))) for each in members]
    returned = {word for each in functions for word in re.findall(r"\b[A-Z]\w+", each.__annotations__["return"])}
    assert returned - reference.NAMES.keys() - NOT_OURS == set()


def marks(name):
    """Yield the mark of each block of code of a page that is not only read; an empty one where it has none."""
    inside = False
    for before, line in pairwise(["", *page(name).splitlines()]):
        fence = re.match(r" *```(\w*)", line)
        if fence and not inside and fence[1] not in SHOWN:
            marked = re.fullmatch(r" *<!-- (.*) -->", before)
            yield marked[1] if marked else ""
        inside ^= fence is not None


def is_run(name, mark):
    """Check whether a test runs a block: all of a page's, or this one; the README's test block is what CI runs."""
    if not mark:
        return False
    if name == "../README.md" and mark in RUN_BY_CI:
        return f"<!-- {mark} -->" in (ROOT / ".ci" / "run").read_text("utf-8")
    tests = [text for text in TESTS if f'"{name}"' in text and "blocks(" in text]
    named = any(f'"{mark}"' in text for text in tests)
    return bool(tests) and (named or (name != "../README.md" and mark.partition(" ")[0] in ALL_OF_A_PAGE))


@pytest.mark.parametrize("name", [*PAGES, "../README.md", "../CONTRIBUTING.md"], ids=lambda name: Path(name).stem)
def test_every_block_of_code_is_run_or_says_why_not(name):
    """As its mark says."""
    told = {mark for mark in marks(name) if NOT_RUN.fullmatch(mark) or (name, mark) in DOWNLOADING}
    assert [mark for mark in marks(name) if mark not in told and not is_run(name, mark)] == []


def test_the_first_page_runs(tmp_path):
    """From top to bottom."""
    names = {}
    with reader(tmp_path, {"mood": "happy", "stars": 4}):
        pd.DataFrame({"review": ["good", "bad"]}).to_csv("reviews.csv", index=False)
        for block in blocks("index.md"):
            block.run(names)
    assert list(names["out"].table["stars"]) == [4, 4]
