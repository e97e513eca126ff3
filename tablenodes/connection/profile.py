"""Profile: a name for a connection, with the limits, retries and model that go with it, and where it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..settings import Limits, Retry

PROJECT = "tablenodes.yaml"
EMBEDDED = "local"
_KEY_LIKE = (
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|gsk|csk|xai|hf|fw|r8|pplx|nvapi|tgp|ghp|glpat)[-_][A-Za-z0-9_-]{16,}"
    r"|AIza[A-Za-z0-9_-]{30,}|eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{16,}"
)


def looks_like_key(text: str) -> bool:
    """Check whether a text holds what looks like a key, by how those of known servers begin."""
    return re.search(_KEY_LIKE, text) is not None


@dataclass(frozen=True)
class Profile:
    """A named connection: `settings` are its arguments, `source` is where it is written, `page` who says so.

    `probe` is the path below the base URL that a check asks for, `chosen_by` what made it the default.
    """

    name: str
    source: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    limits: Limits | None = None
    retry: Retry | None = None
    page: str | None = None
    probe: str = "/models"
    chosen_by: str = field(default="", compare=False)

    def __repr__(self) -> str:
        return repr(self.name)
