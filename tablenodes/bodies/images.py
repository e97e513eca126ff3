"""Images of a chat's rows: of paths, URLs, bytes and PIL images to parts of the user's message."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from io import BytesIO
from itertools import chain
from typing import Any, NamedTuple

import orjson

from ..column_names import planned_name
from ..errors import SettingError
from ..problems import Problem, Rejected, Unfit
from ..templates.template import Column, LiteralText, inner
from .folder import Folder, fitting
from .schema_types import Typing
from .values import ArrayValue, Cells, CellValue, ObjectValue, Row, TextValue, is_varying, parse

IMAGE = "image"  # the setting of a chat
_TAKEN = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"GIF87a": "gif", b"GIF89a": "gif"}
"""How the kinds of images begin that servers take; WebP has its size in between."""
_OTHERS = {
    b"%PDF": "a PDF",
    b"BM": "a BMP image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"PK": "a ZIP file",
    b"<svg": "an SVG image",
    b"<?xml": "XML, perhaps an SVG image",
    b"<!doctype html": "HTML",
    b"<html": "HTML",
}
_BRANDS = {b"avif": "an AVIF image", b"heic": "a HEIC image", b"heix": "a HEIC image", b"mif1": "a HEIC image"}
_ARE_TAKEN = "an image must be PNG, JPEG, GIF or WebP"
_WEB = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
_DATA = re.compile(r"data:image/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|data:)", re.IGNORECASE)
_KEYS = ("url", "path", "bytes")  # of a mapping: where the image is
_IN_A_FORM = "write it as {'url': …, 'detail': …}"
_NO_MESSAGE = "the row has no user message that an image could go with"


class ImageBytes(bytes):
    """An image that a node holds, shown by its size."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<image, {len(self):,} bytes>"


class _Found(NamedTuple):
    """An image of a row: what it is, what that is called in a message, its place in the setting, its detail."""

    value: Any
    who: str
    place: str
    detail: Any = None


_Find = Callable[[Cells], Iterator[_Found]]


class ImageForm(NamedTuple):
    """How the images of a row stand in its request: in which property, as which parts, beside what is there.

    With `needs_text`, there must be something that they can go with.
    """

    place: str
    part: Callable[[str, Any], dict[str, Any]]
    joined: Callable[[Any, list[dict[str, Any]]], list[Any]]
    needs_text: bool = True


def own_image(value: Any, place: str = IMAGE) -> Any:
    """Return what `image` was given as the node's own; raise `SettingError` for what is no image."""
    if value is None or isinstance(value, str | Column | LiteralText | ImageBytes):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        if not any(key in value for key in _KEYS) or not value.keys() <= {*_KEYS, "detail"}:
            raise SettingError(f"{place} has other keys than an image: {_IN_A_FORM}", place=place)
        made = {key: own_image(item, f"{place}.{key}") for key, item in value.items()}
        return {key: item for key, item in made.items() if item is not None}
    if isinstance(value, list | tuple):
        return [own_image(item, f"{place}[{i}]") for i, item in enumerate(value)]
    try:
        return ImageBytes(_bytes_of(value))
    except Unfit as unfit:
        raise SettingError(f"{place} {unfit}", place=place) from None


def parse_image(value: Any, place: str = IMAGE) -> Any:
    """Return what `image` was given as it is, or with values that depend on the row."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        items = {key: parse_image(item, f"{place}.{key}") for key, item in value.items()}
        return ObjectValue(items) if any(map(is_varying, items.values())) else items
    if isinstance(value, list):
        array = [parse_image(item, f"{place}[{i}]") for i, item in enumerate(value)]
        return ArrayValue(array) if any(map(is_varying, array)) else array
    made = parse(value, place)
    name = _only_column(made) if isinstance(made, TextValue) else None
    return made if name is None else CellValue(name, place)


def _only_column(text: TextValue) -> str | None:
    """Return the column that a text is the whole cell of: ``{{ path }}`` or ``{{ row["path"] }}``."""
    columns, written = text.template.columns, text.template.source.strip()
    if len(columns) != 1 or not written.startswith("{{"):
        return None
    (name,) = columns
    return name if inner(written) in (name, f'row["{name}"]', f"row['{name}']") else None


class Images:
    """Adds the images of each row to what it says; a file is read when its row is built."""

    def __init__(self, value: Any, row: Row, folder: str, most: int, form: ImageForm) -> None:
        self._find, self._form = _bound(value, row, IMAGE), form
        self._folder, self._most = Folder(folder), most

    def add(self, cells: Cells, body: dict[str, Any]) -> None:
        """Add a row's images to its body; raise `Rejected` where one cannot be used."""
        left, parts = self._most, []
        for found in self._find(cells):
            try:
                url = self._url(found.value, left)
            except Unfit as unfit:
                problem = Problem(f"$.{found.place}", IMAGE, f"{found.who} {unfit}")
                raise Rejected(problem) from None
            left -= len(url)
            parts.append(self._form.part(url, found.detail))
        if parts:
            place = self._form.place
            body[place] = self._form.joined(body.get(place), parts)

    def _url(self, value: Any, left: int) -> str:
        """Return an image's URL, which may be `left` characters long."""
        most = max(0, left) // 4 * 3
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if not isinstance(value, str):
            data = _bytes_of(value)
            if len(data) > most:
                raise Unfit(f"has {len(data):,} bytes; {fitting(most)}")
            return _data_url(data, "is")
        if _URL.match(value.strip()):
            return _checked_url(value.strip(), left)
        return _data_url(self._folder.read(value, most), "names a file that is")


def _bound(value: Any, row: Row, place: str) -> _Find:
    """Return a function from a row's cells to its images."""
    if isinstance(value, CellValue):
        at, who = row.position[planned_name(value.name)], f"the cell of column {value.name!r}"
        return lambda cells: _found(_as_it_is(cells[at]), who, place)
    if isinstance(value, TextValue):
        give = value.bind(row, Typing.of_anything(), f"$.{place}")
        return lambda cells: _found(give(cells), place, place)
    value = value.items if isinstance(value, ArrayValue | ObjectValue) else value
    if isinstance(value, list):
        finds = [_bound(item, row, f"{place}[{i}]") for i, item in enumerate(value)]
        return lambda cells: chain.from_iterable(find(cells) for find in finds)
    if isinstance(value, dict):
        detail = _bound(value.get("detail"), row, f"{place}.detail")
        key = next(key for key in _KEYS if key in value)
        find = _bound(value[key], row, f"{place}.{key}")
        return lambda cells: _detailed(find(cells), next((each.value for each in detail(cells)), None))
    return lambda cells: _found(value, place, place)


def _detailed(images: Iterator[_Found], detail: Any) -> Iterator[_Found]:
    return images if detail is None else (each._replace(detail=detail) for each in images)


def _as_it_is(cell: Any) -> Any:
    """Return a cell that JSON may not hold, bytes or an image or a list of them; or what a JSON text is."""
    if type(cell) is str and cell.lstrip()[:1] in ("[", "{"):
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(cell)
    return cell.value if type(cell) is Unfit and cell.value is not None else cell


def _found(value: Any, who: str, place: str) -> Iterator[_Found]:
    """Yield the images that a cell or a text is: none where it is empty."""
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        if not _is_empty(value):
            yield _one(value, who, place)
        return
    for i, item in enumerate(value):
        if not _is_empty(item):
            yield _one(item, f"{who}, item {i}," if len(value) > 1 else who, f"{place}[{i}]")


def _one(value: Any, who: str, place: str) -> _Found:
    """Return an image; a struct has its URL, path or bytes, and perhaps its detail."""
    if not isinstance(value, Mapping):
        return _Found(value, who, place)
    there = (item for key in ("bytes", "url", "path") if (item := value.get(key)) is not None)
    return _Found(next(there, value), who, place, value.get("detail"))


def _is_empty(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN


def _bytes_of(value: Any) -> bytes:
    """Return the bytes of an image that is no text; one of PIL's is written as PNG."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Unfit):
        raise Unfit(*value.args)
    if not callable(getattr(value, "save", None)):
        kind = type(value).__name__
        raise Unfit(f"has a value of type {kind}; an image is a path, a URL, bytes or a PIL image, or a list of them")
    with suppress(Exception):
        return _png(value)
    with suppress(Exception):
        return _png(value.convert("RGB"))  # PNG has no CMYK, and others
    raise Unfit(f"has a {type(value).__name__} that cannot be written as PNG")


def _png(image: Any) -> bytes:
    written = BytesIO()
    image.save(written, format="PNG")
    return written.getvalue()


def _data_url(data: bytes, what_is: str) -> str:
    """Return the ``data:`` URL of an image; its bytes say of which type it is."""
    kind = next((kind for start, kind in _TAKEN.items() if data.startswith(start)), None)
    if kind is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise Unfit(f"{what_is} {_other(data)}; {_ARE_TAKEN}")
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def _other(data: bytes) -> str:
    """Return what bytes are that are no image which a server takes."""
    if not data:
        return "empty"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "a video or a phone's photo")
    start = data[:64].lstrip(b"\xef\xbb\xbf\t\n\r ").lower()
    found = (kind for marks in (data, start) for mark, kind in _OTHERS.items() if marks.startswith(mark))
    return next(found, "of an unknown type")


def _checked_url(url: str, left: int) -> str:
    """Return a URL as it is, which is the server's to fetch."""
    if len(url) > left:
        raise Unfit(f"has {len(url):,} characters; {fitting(left)}")
    if url[:5].lower() == "data:":
        if (found := _DATA.fullmatch(url)) is None or len(found.group(1)) % 4:
            raise Unfit("has no well-formed data: URL, such as data:image/png;base64,…")
    elif _WEB.fullmatch(url) is None:
        raise Unfit("has a URL that is not http:// or https://, or is not well-formed")
    return url


def _with_parts(messages: Any, parts: list[dict[str, Any]], kind: str = "text") -> list[Any]:
    """Return messages with parts at the end of the last one of the user's, whose text is a part of this kind then."""
    made = [*messages] if isinstance(messages, list) else []
    spoken = (i for i, each in enumerate(made) if isinstance(each, dict) and each.get("role") == "user")
    if (last := max(spoken, default=None)) is None:
        raise Rejected(Problem(f"$.{IMAGE}", IMAGE, _NO_MESSAGE))
    content = made[last].get("content")
    if isinstance(content, str):
        content = [{"type": kind, "text": content}] if content else []
    made[last] = {**made[last], "content": [*(content or ()), *parts]}
    return made


def _in_chat(url: str, detail: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url, **({} if detail is None else {"detail": detail})}}


def _in_response(url: str, detail: Any) -> dict[str, Any]:
    return {"type": "input_image", "image_url": url, "detail": "auto" if detail is None else detail}


def _in_items(given: Any, parts: list[dict[str, Any]]) -> list[Any]:
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return _with_parts(items, parts, "input_text")


def _in_moderation(url: str, detail: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _beside_text(given: Any, parts: list[dict[str, Any]]) -> list[Any]:
    """Return what is moderated as a whole: a text and its images."""
    if isinstance(given, list) and any(isinstance(each, str) for each in given):
        raise Rejected(Problem("$.input", IMAGE, "is a list of texts, and an image can go with one"))
    texts = [{"type": "text", "text": given}] if isinstance(given, str) and given else given or []
    return [*texts, *parts]


OF_CHAT = ImageForm("messages", _in_chat, _with_parts)
OF_RESPONSE = ImageForm("input", _in_response, _in_items)
OF_MODERATION = ImageForm("input", _in_moderation, _beside_text, needs_text=False)
