"""The profiles that there are: built in, in the user's file and in the project's; and the default among them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import ConnectionSettingError, nearest
from .profile import EMBEDDED, PROJECT, Profile, looks_like_key

_VARIABLE = "TABLENODES_PROFILE"
_NAME = r"[A-Za-z0-9_.-]{1,40}"


def user_file() -> Path:
    """Return the file with a user's own profiles."""
    import platformdirs  # noqa: PLC0415 - loaded where a profile is named

    return Path(platformdirs.user_config_dir("tablenodes", appauthor=False)) / "config.yaml"


def known_profiles(kind: type[Any]) -> dict[str, Profile]:
    """Return every profile by its name: the project's go before the user's, these before those that are built in.

    `kind` is the class of connections, which checks the settings.
    """
    from .vendors import built_in  # noqa: PLC0415 - loaded where a profile is named

    known = built_in()
    user = user_file()
    for path, shown in ((user, str(user)), (Path(PROJECT), PROJECT)):
        if path.exists():
            known |= _of_file(path, shown, known, kind)[0]
    return known


def find_profile(name: str, kind: type[Any]) -> Profile:
    """Return the profile of a name; raise `ConnectionSettingError` if there is none."""
    known = known_profiles(kind)
    if name in known:
        return known[name]
    is_name = re.fullmatch(_NAME, name) and not looks_like_key(name)
    what = f"no profile {name!r}" if is_name else "no profile has such a name"
    how = nearest(name, [*known, EMBEDDED]) or "; tablenodes connections lists them"
    raise ConnectionSettingError(f"{what}{how}", code="no_profile", place="connection")


def default_profile(kind: type[Any]) -> Profile | None:
    """Return the profile of a run that is given no connection; None where it is the environment's."""
    name, chosen_by = os.environ.get(_VARIABLE, ""), _VARIABLE
    if not name and os.path.exists(PROJECT):
        name, chosen_by = _of_file(Path(PROJECT), PROJECT, {}, None)[1], f"default in {PROJECT}"
    if not name:
        return None
    try:
        found = Profile(name) if name == EMBEDDED else find_profile(name, kind)
    except ConnectionSettingError as error:
        if error.code == "no_profile":
            raise ConnectionSettingError(f"{chosen_by}: {error}", code=error.code, place=error.place) from None
        raise
    return replace(found, chosen_by=chosen_by)


def _of_file(
    path: Path, shown: str, below: Mapping[str, Profile], kind: type[Any] | None
) -> tuple[dict[str, Profile], str]:
    """Return the profiles of a file, and its default; without a `kind`, its default alone."""
    from .profile_file import ProfileFile  # noqa: PLC0415 - the parser is loaded where there is a file

    return ProfileFile.read(path, shown).profiles(below, kind)
