"""The folder of the file that a table was read from, which goes with the table and its parts."""

from __future__ import annotations

from typing import Any, TypeVar

Frame = TypeVar("Frame", bound=Any)

_KEY = "tablenodes"  # in a data frame's `attrs`, which pandas hands on to what is made of it


class Origin(str):
    """A table's folder, as an empty text: a file that is written does not show it, and one that is read names none."""

    folder: str


def set_folder(frame: Frame, folder: str) -> Frame:
    """Return a data frame that knows the folder of its file."""
    frame.attrs[_KEY] = origin = Origin()
    origin.folder = folder
    return frame


def folder_of(frame: Any) -> str | None:
    """Return the folder of the file that a data frame was read from; None of any other table."""
    origin = frame.attrs.get(_KEY)
    return origin.folder if type(origin) is Origin else None


def without_origin(frame: Frame) -> Frame:
    """Return a data frame that does not know where it came from, to be written."""
    if _KEY not in frame.attrs:
        return frame
    made: Frame = frame.copy(deep=False)
    del made.attrs[_KEY]
    return made
