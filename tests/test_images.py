"""Images of a chat's rows: shown with the last message of the user, and read from nowhere but the table's folder."""

from __future__ import annotations

import os
import pickle
from base64 import b64decode
from contextlib import suppress
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from background import ending
from hypothesis import given
from hypothesis import strategies as st
from permissions import permissions_bind
from sentences import wording
from servers import echo, fault_server
from test_bodies import plan_of, rejected

import tablenodes as tn
from tablenodes.answers import prompt_bound
from tablenodes.bodies.folder import Folder
from tablenodes.cli import main
from tablenodes.engine.calls import tokens_of
from tablenodes.problems import Unfit
from tablenodes.store import futures
from tablenodes.testing import canned

PNG = b"\x89PNG\r\n\x1a\n" + b"p" * 20
JPEG = b"\xff\xd8\xff\xe0" + b"j" * 20
GIF = b"GIF89a" + b"g" * 20
WEBP = b"RIFF\x24\0\0\0WEBP" + b"w" * 20
KINDS = {"png": PNG, "jpeg": JPEG, "gif": GIF, "webp": WEBP}
PATH = tn.col("path")


class Drawing:
    """As PIL's images are: it can be saved; of some modes, only once it is converted."""

    def __init__(self, mode="RGB"):
        self.mode = mode

    def save(self, file, format):
        if self.mode != "RGB":
            raise OSError(f"cannot write mode {self.mode} as {format}")
        file.write({"PNG": PNG}[format])

    def convert(self, mode):
        return Drawing(mode)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one image of each kind, of which nothing is to be read from outside."""
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    for kind, data in KINDS.items():
        (here / f"{kind}.dat").write_bytes(data)
        (here / "sub" / f"{kind}.dat").write_bytes(data)
    (tmp_path / "secret.png").write_bytes(PNG + b"secret")
    monkeypatch.chdir(here)
    return here


def chat(image=PATH, **more):
    return tn.CreateChatCompletion(**{"model": "m", "prompt": "What?", "image": image} | more)


def table(*cells):
    return pd.DataFrame({"path": pd.Series(cells, dtype=object)})


def sent(node, rows, **more):
    """Return the bodies that are sent, in the order of the rows, None for a row of which none is."""
    bodies = {}

    def reply(body):
        bodies[len(bodies)] = body
        return "a"

    out = node.run(rows, canned(reply), limits=tn.Limits(concurrency=1), progress=False, **more)
    bodies = iter(bodies.values())
    return [next(bodies) if str(status) == "200" else None for status in out.result["status"]]


def shown(body, message=-1):
    """Return what a message shows: the bytes of each image, or its URL."""
    content = body["messages"][message]["content"]
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return [b64decode(url.partition(",")[2]) if url.startswith("data:image/") else url for url in urls]


def faults(*cells, **more):
    """Return what is wrong with cells, one each."""
    check = chat(**more).check(table(*cells))
    assert list(check.problems["row"]) == list(range(len(cells)))
    assert set(check.problems["column"]) == {"path"}
    return list(check.problems["message"])


# What is sent.


def test_an_image_stands_after_the_text_with_its_type_by_its_bytes(folder):
    """Whatever the file is called."""
    rows = table(*(f"{kind}.dat" for kind in KINDS))
    for kind, data, body in zip(KINDS, KINDS.values(), sent(chat(), rows), strict=True):
        text, image = body["messages"][0]["content"]
        assert text == {"type": "text", "text": "What?"}
        assert image["image_url"]["url"].startswith(f"data:image/{kind};base64,")
        assert shown(body) == [data]


CELLS = {
    "a path": ("sub/png.dat", [PNG]),
    "a URL": ("https://h.example/a.png?b=c", ["https://h.example/a.png?b=c"]),
    "a data URL": ("data:image/png;base64,iVBORw0KGgo=", [b"\x89PNG\r\n\x1a\n"]),
    "bytes": (JPEG, [JPEG]),
    "a bytearray": (bytearray(JPEG), [JPEG]),
    "a drawing": (Drawing(), [PNG]),
    "one in another mode": (Drawing("CMYK"), [PNG]),
    "a list": (["gif.dat", WEBP, None, "", Drawing()], [GIF, WEBP, PNG]),
    "an array": (np.array(["gif.dat", "png.dat"], dtype=object), [GIF, PNG]),
    "a list of JSON": ('["gif.dat", "png.dat"]', [GIF, PNG]),
    "a struct": ({"bytes": GIF, "path": "nowhere.png"}, [GIF]),
}


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_may_be(kind, folder):
    """Also an absolute path, and a path's object."""
    cell, images = CELLS[kind]
    assert shown(*sent(chat(), table(cell))) == images


def test_a_path_may_be_absolute_or_lead_over_a_link_that_stays_inside(folder):
    """What counts is where the file lies."""
    os.symlink("sub", folder / "link")
    rows = table(str(folder / "png.dat"), folder / "gif.dat", "link/jpeg.dat")
    assert [shown(body) for body in sent(chat(), rows)] == [[PNG], [GIF], [JPEG]]


@pytest.mark.parametrize("cell", [None, "", "  ", float("nan"), pd.NA, [], [None, ""]], ids=str)
def test_an_empty_cell_is_no_image(cell, folder):
    """The row is as it would be without the setting."""
    (body,) = sent(chat(), table(cell))
    assert body["messages"] == [{"role": "user", "content": "What?"}]


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pa.table, pl.DataFrame, lambda d: pa.table(d).to_pandas(types_mapper=pd.ArrowDtype)]
)
def test_bytes_come_out_of_every_kind_of_table(make, folder):
    """Null is null, and a list of them is one."""
    rows = make({"path": [PNG, None, GIF], "more": [[JPEG], [PNG, GIF], None]})
    bodies = sent(chat([PATH, tn.col("more")], prompt="{{ 'x' }}"), rows)
    assert [shown(body) for body in bodies] == [[PNG, JPEG], [PNG, GIF], [GIF]]


SETTINGS = {
    "a placeholder": ("{{ path }}", [PNG]),
    "a placeholder of the row's": ('{{ row["path"] }}', [PNG]),
    "a text with a placeholder": ("sub/{{ path[:-4] }}.dat", [PNG]),
    "a constant": ("gif.dat", [GIF]),
    "a literal text": (tn.literal("gif.dat"), [GIF]),
    "bytes": (JPEG, [JPEG]),
    "a drawing": (Drawing(), [PNG]),
    "a list": (["gif.dat", PATH, JPEG, "{{ path }}"], [GIF, PNG, JPEG, PNG]),
    "a mapping": ({"url": PATH, "detail": "low"}, [PNG]),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_the_setting_may_be(kind, folder):
    """And is a value: it compares, is pickled, replaced and shown in short."""
    node = chat(SETTINGS[kind][0])
    for each in (node, pickle.loads(pickle.dumps(node)), node.replace(), chat("x").replace(image=node.image)):
        assert each == node
    assert len(repr(node)) < 200
    (body,) = sent(node, table("png.dat"))
    assert shown(body) == SETTINGS[kind][1]
    assert [part["image_url"].get("detail") for part in body["messages"][0]["content"][1:]].count("low") == (
        kind == "a mapping"
    )


def test_images_of_pillow_are_written_as_png_in_every_mode(folder):
    """One that is broken is its row's problem."""
    pillow = pytest.importorskip("PIL.Image")
    modes = ("RGB", "RGBA", "P", "L", "1", "LA", "CMYK", "YCbCr", "HSV", "F", "I")
    bodies = sent(chat(), table(*(pillow.new(mode, (3, 2)) for mode in modes)))
    for body in bodies:
        assert pillow.open(BytesIO(*shown(body))).size == (3, 2)
    pillow.new("RGB", (300, 200)).save("cut.jpg")
    Path("cut.jpg").write_bytes(Path("cut.jpg").read_bytes()[:700])
    with pillow.open("cut.jpg") as cut:
        wording(*faults(cut))


def test_a_placeholder_of_one_cell_is_that_cell(folder):
    """As it is with a column: bytes too, and an empty one is no image."""
    bodies = sent(chat("{{ path }}"), table(JPEG, None))
    assert shown(bodies[0]) == [JPEG]
    assert bodies[1]["messages"][0]["content"] == "What?"


CHATS = {
    "prompt and system": ({"system": "S"}, {}, 1),
    "a column prompt": ({"prompt": None}, {"prompt": "What?"}, 0),
    "messages": (
        {
            "prompt": None,
            "messages": [
                {"role": "user", "content": "1"},
                {"role": "user", "content": [{"type": "text", "text": "{{ path }}"}]},
                {"role": "assistant", "content": "2"},
            ],
        },
        {},
        1,
    ),
    "a column body": (
        {"prompt": None},
        {"body": orjson.dumps({"messages": [{"role": "user", "content": "b"}]}).decode()},
        0,
    ),
}


@pytest.mark.parametrize("kind", CHATS)
def test_it_goes_to_the_last_message_of_the_user(kind, folder):
    """Whatever makes the messages; the other ones stay as they are."""
    settings, cells, at = CHATS[kind]
    rows = table("png.dat").assign(**cells)
    (body,) = sent(chat(**settings), rows)
    (plain,) = sent(chat(None, **settings), rows)
    assert shown(body, at) == [PNG]
    before = plain["messages"][at]["content"]
    kept = [{"type": "text", "text": before}] if isinstance(before, str) else before
    assert body["messages"][at]["content"][:-1] == kept
    assert [m for i, m in enumerate(body["messages"]) if i != at] == [
        m for i, m in enumerate(plain["messages"]) if i != at
    ]


def test_a_conversation_goes_on_without_the_image(folder, tmp_path):
    """It is set on each chat that asks about it."""
    store = tmp_path / "store"
    rows = table("png.dat", "gif.dat")
    begun = tn.CreateConversation(messages=[{"role": "user", "content": "What?"}]).run(rows, store=store).table
    out = chat(prompt=None).run(begun, canned("a"), store=store, progress=False)
    assert list(out.log["outcome"]) == ["ok", "ok"]
    longer = tn.AddUserMessage(text="And now?").run(begun, continue_from=out, store=store).table
    bodies = sent(chat(prompt=None), longer, store=store)
    assert [len(body["messages"]) for body in bodies] == [3, 3]
    assert [shown(body) for body in bodies] == [[PNG], [GIF]]
    assert bodies[0]["messages"][0] == {"role": "user", "content": "What?"}


def test_an_image_needs_a_message_of_the_user(folder):
    """Said at once where no row has one."""
    with wording.raises(tn.errors.SettingError) as caught:
        chat(prompt=None).check(table("png.dat"))
    assert caught.value.place == "image"
    wording(rejected(chat(prompt=None, messages=[{"role": "system", "content": "s"}]), {"path": "png.dat"})[0].message)
    assert rejected(chat(prompt=tn.col("p")), {"path": "png.dat", "p": None})[0].rule == "image"


# What is not read.


def test_what_cannot_be_read_is_the_rows_own_problem(folder):
    """It says the column and the reason, and no cell."""
    for name, data in {"a.pdf": b"%PDF-1.4", "empty.png": b"", "text.png": b"hello", "s.svg": b" <svg/>"}.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.png")
    os.symlink("loop.png", folder / "loop.png")
    os.symlink(folder.parent / "secret.png", folder / "out.png")
    os.symlink("/dev/zero", folder / "zero.png")
    cells = [
        *(
            "nope.png",
            "sub/nope/x.png",
            "png.dat/x",
            "a\0b",
            "x" * 5000,
            "\udcff.png",
            "sub",
            ".",
            "pipe.png",
            "loop.png",
        ),
        *("../secret.png", "sub/../png.dat", "..\\secret.png", "out.png", "zero.png", "/dev/null", "/etc/passwd"),
        *("a.pdf", "empty.png", "text.png", "s.svg", "ftp://h/x.png", "file:///etc/passwd", "http://", "https://a b"),
        *(
            "data:image/png;base64,A",
            "data:text/plain;base64,QQ==",
            "data:,x",
            b"BM..",
            5,
            {"a": 1},
            [["x"]],
            [PNG, "x.png"],
        ),
    ]
    wording([f"{len([*each])} of these: {what}" for what, each in groupby(faults(*cells))])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "a HEIC image"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "an AVIF image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "a video or a phone's photo"),
        (b"II*\0\x08\0", "a TIFF image"),
        (b"\xef\xbb\xbf\n <HTML>", "HTML"),
    ],
)
def test_what_people_take_for_an_image_is_named(folder, data, what):
    """Photos of phones first."""
    (folder / "photo.jpg").write_bytes(data)
    assert f"names a file that is {what}; an image must be PNG" in faults("photo.jpg")[0]


@permissions_bind
def test_a_file_without_permission_is_the_rows_own_problem(folder):
    """The system's reason is said."""
    (folder / "png.dat").chmod(0)
    wording(*faults("png.dat"))


def test_one_bad_row_never_stops_the_others(folder):
    """It is not sent, and says why."""
    out = chat().run(table("png.dat", "../secret.png", "gif.dat"), canned("a"), progress=False)
    assert list(out.log["outcome"]) == ["ok", "invalid_request", "ok"]
    wording(out.log["message"][1])


def test_a_large_file_is_refused_by_its_size_and_never_read(folder):
    """However large; of several images, what the others have left counts."""
    with open(folder / "huge.png", "wb") as file:
        file.write(PNG)
        file.truncate(2**40)
    (folder / "most.png").write_bytes(PNG + bytes(20_000))
    limits = tn.Limits(body_bytes=30_000)
    out = chat().run(
        table("huge.png", "most.png", ["most.png", "most.png"], PNG + bytes(40_000)),
        canned("a"),
        limits=limits,
        progress=False,
    )
    assert list(out.log["outcome"]) == ["invalid_request", "ok", "invalid_request", "invalid_request"]
    wording(list(out.log["message"]))


PARTS = st.sampled_from(
    ["", ".", "..", "...", "sub", "png.dat", "out", "out.png", "secret.png", "~", "\\", "..\\", "\0", "é", "here", " "]
)
NAMES = st.lists(PARTS, max_size=6).map("/".join) | st.text(max_size=8)


def test_no_name_leads_out_of_the_folder(folder):
    """Of any name, what is read is a file below it, or nothing is; a link out is no way in."""
    os.symlink(folder.parent, folder / "out")
    os.symlink(folder.parent / "secret.png", folder / "out.png")
    inside = {each.resolve() for each in folder.rglob("*") if each.is_file() and not each.is_symlink()}
    reader = Folder(str(folder))

    @given(NAMES)
    def holds(name):
        with suppress(Unfit):
            data = reader.read(name, 1000)
            path = Path(os.path.realpath(os.path.join(folder, name)))
            assert path in inside
            assert data == path.read_bytes()

    holds()


def test_a_folder_that_becomes_a_link_meanwhile_is_no_way_out(folder):
    """Each step of the way is opened as what it was found to be."""

    class Swapped(Folder):
        def _parts(self, name):
            found = super()._parts(name)
            (folder / "sub").rename(folder / "before")
            os.symlink(folder.parent, folder / "sub")
            return found

    (folder / "sub" / "secret.png").write_bytes(PNG)
    with pytest.raises(Unfit):
        Swapped(str(folder)).read("sub/secret.png", 1000)


def test_image_root_is_another_folder(folder, tmp_path):
    """It must be there, is the same for every row, and the table's own is no longer read."""
    bodies = sent(chat(image_root=tmp_path), table("here/png.dat", "secret.png"))
    assert [shown(body) for body in bodies] == [[PNG], [PNG + b"secret"]]
    assert len(faults("png.dat", image_root=tmp_path)) == 1
    for root in ("nowhere", "{{ path }}", tn.col("path"), ""):
        with wording.raises(tn.errors.SettingError) as caught:
            chat(image_root=root).check(table("x"))
        assert caught.value.place == "image_root"


@pytest.mark.parametrize("value", [5, {"a": 1}, {"detail": "low"}, [PNG, 5], object()], ids=lambda v: type(v).__name__)
def test_what_is_no_image_is_no_setting(value):
    """Said when the node is made."""
    with pytest.raises(tn.errors.SettingError) as caught:
        chat(value)
    assert caught.value.place.startswith("image")


def test_other_nodes_name_the_one_that_has_it():
    """In place of a nearest name."""
    for make in (tn.CreateCompletion, tn.AddUserMessage):
        with wording.raises(tn.errors.SettingNameError):
            make(image=PATH)


# When it is read.


def test_a_file_is_read_when_its_row_is_sent(folder):
    """Not before: each answer here writes the next row's file."""

    def reply(body):
        row = int(body["messages"][0]["content"][0]["text"])
        (folder / f"{row + 1}.png").write_bytes(PNG + bytes([row]))
        return "a"

    (folder / "0.png").write_bytes(PNG)
    rows = pd.DataFrame({"i": range(5), "path": [f"{row}.png" for row in range(5)]})
    node = chat(prompt="{{ i }}")
    out = node.run(rows, canned(reply), limits=tn.Limits(concurrency=1), progress=False)
    assert list(out.log["outcome"]) == ["ok"] * 5
    assert len(node.check(rows).problems) == 0


def test_a_journal_knows_an_image_by_its_bytes(folder, tmp_path):
    """A file that was moved is not sent again; one that has changed is."""
    run = {"progress": False, "journal": tmp_path / "journal"}
    chat().run(table("png.dat", "gif.dat"), canned("a"), **run)
    (folder / "png.dat").rename(folder / "moved.dat")
    (folder / "gif.dat").write_bytes(GIF + b"changed")
    out = chat().run(table("moved.dat", "gif.dat"), canned("b"), **run)
    assert list(out.text) == ["a", "b"]


def test_a_request_is_shown_with_the_beginning_of_its_image(folder):
    """All of it is in its body."""
    (folder / "large.png").write_bytes(PNG + bytes(100_000))
    request = chat().check(table("large.png")).request(0)
    assert len(repr(request)) < 1000
    assert len(request._repr_html_()) < 60_000
    assert shown(request.body) == [PNG + bytes(100_000)]


def test_base64_is_no_tokens():
    """What a request is guessed to have, for pacing, goes by its texts; so does what it may cost at the most."""
    body = plan_of(chat(), ["path"]).encode((PNG,))
    large = body.replace(b"iVBOR", b"iVBOR" * 100_000)
    assert tokens_of(large) <= 1100
    assert prompt_bound(orjson.loads(large), len(large)) < 50_000
    assert tokens_of(b"x" * 400_000) == 100_000
    assert prompt_bound({"messages": [{"role": "user", "content": "hi"}]}, 100) == 100


# At every door.


@pytest.fixture(scope="module")
def server():
    with fault_server(echo()) as made:
        yield made


YAML = """\
connection: {{base_url: "{url}", api_key: ""}}
table: data/list.csv
nodes:
  - {{id: ask, type: CreateChatCompletion, model: m, prompt: "What?", image: "{{{{ path }}}}"{more}}}
"""


@pytest.fixture
def doors(folder, server):
    """A table's file in one folder, a workflow in another, the current one a third."""
    (folder / "data").mkdir()
    (folder / "data" / "one.png").write_bytes(PNG + b"one")
    (folder / "one.png").write_bytes(PNG + b"current")
    (folder / "data" / "list.csv").write_text("path\none.png\n../png.dat\n")
    (folder / "ask.yaml").write_text(YAML.format(url=server.url, more=""))
    (folder / "root.yaml").write_text(YAML.format(url=server.url, more=", image_root: ."))
    server.requests.clear()
    return server


def told(server):
    return [shown(orjson.loads(each.body)) for each in server.requests]


def test_a_table_that_was_read_knows_the_folder_of_its_file(doors, tmp_path):
    """So does what is made of it; a file that it is written to does not say so, and none can name another folder."""
    rows = tn.read_table("data/list.csv")
    node = chat()
    for made in (rows, rows[rows["path"] == "one.png"].assign(x=1), pickle.loads(pickle.dumps(rows)).head(1)):
        assert node.check(made).valid == 1
    assert len(node.check(pd.DataFrame(rows.to_dict())).problems) == 1
    out = node.run(rows, canned("a"), progress=False)
    assert shown(node.replace(into="b").check(out.succeeded).request(0).body) == [PNG + b"one"]
    rows.to_parquet(tmp_path / "copy.parquet")
    assert str(tmp_path).encode() not in (tmp_path / "copy.parquet").read_bytes()
    forged = pd.read_parquet(tmp_path / "copy.parquet")
    forged.attrs["tablenodes"] = str(tmp_path)
    check = node.check(forged)
    assert list(check.problems["row"]) == [1]
    assert shown(check.request(0).body) == [PNG + b"current"]


def test_a_workflow_reads_images_from_the_folder_of_its_table(doors):
    """Not from the current one."""
    out = tn.Workflow.load("ask.yaml").run(progress=False)
    assert list(out["ask"].log["outcome"]) == ["ok", "invalid_request"]
    assert told(doors) == [[PNG + b"one"]]


def test_a_workflow_keeps_its_image_root(doors, tmp_path):
    """Relative to its file, wherever it is run and saved."""
    workflow = tn.Workflow.load("root.yaml")
    os.chdir(tmp_path)
    assert "image_root: here\n" in workflow.to_yaml(tmp_path)
    assert [*workflow.check()["ask"].problems["row"]] == [1]
    workflow.run(progress=False)
    assert told(doors) == [[PNG + b"current"]]


@pytest.mark.parametrize("rows", [[], ["--rows", "1"]], ids=str)
def test_the_command_line_reads_images_from_the_folder_of_the_table(doors, rows):
    """With --image, short for --set image=…, also of the first rows alone."""
    given = ["call", "CreateChatCompletion", "data/list.csv", "--model", "m", "--prompt", "What?", *rows]
    with pytest.raises(SystemExit) as ended:
        main([*given, "--image", "{{ path }}", "--base-url", doors.url, "--no-key"])
    assert (ended.value.code or 0) == (0 if rows else 3)
    assert told(doors) == [[PNG + b"one"]]


def test_an_earlier_answer_may_name_the_image(doors):
    """Which a check cannot know yet."""
    first = tn.CreateChatCompletion(model="m", prompt="Which?")
    flow = tn.Workflow({"first": first, "ask": chat("{{ outputs.first.choices[0].message.content }}")})
    assert flow.check(table("x"))["ask"].valid == 1
    assert list(flow.run(table("x"), connection=canned("gif.dat"), progress=False)["ask"].log["outcome"]) == ["ok"]
    out = flow.run(table("x"), connection=canned("../secret.png"), progress=False)
    assert list(out["ask"].log["outcome"]) == ["invalid_request"]


def test_a_worker_sends_the_image_that_was_there(doors, tmp_path, monkeypatch):
    """Whatever becomes of its file; where requests are long, a few are read at a time to be judged."""
    monkeypatch.setattr(futures, "_BYTES", 1)
    node = tn.CreateChatCompletionAsync(model="m", prompt="What?", image=PATH)
    with ending(tmp_path / "store") as store:
        out = node.run(
            table("png.dat", "nope.png", "gif.dat"), tn.Connection(doors.url, ""), store=store, progress=False
        )
        os.remove("png.dat")
        found = tn.RetrieveResponse().run(out.succeeded, store=store, progress=False)
    assert list(found.log["outcome"]) == ["ok", "ok"]
    assert sorted(told(doors)) == [[GIF], [PNG]]
    wording(out.result["error_message"][1])
