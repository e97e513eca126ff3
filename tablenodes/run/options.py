"""How a run is carried out: its keyword arguments, checked in one place for every node and for a whole workflow."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..engine.journal.keeping import RETRY_FAILED
from ..errors import SettingError, nearest
from ..settings import Limits, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CHOICES = {"on_invalid": ("report", "raise"), "on_in_doubt": ("resend", "report"), "retry_failed": RETRY_FAILED}


@dataclass(frozen=True)
class Manner:
    """How a run is carried out: the keyword arguments of `Node.run`, checked.

    Raises
    ------
    SettingError
        If one of them cannot be used.
    """

    limits: Limits = field(default_factory=Limits)
    retry: Retry = field(default_factory=Retry)
    journal: str | os.PathLike[str] | None = None
    progress: bool | None = None
    on_invalid: str = "report"
    on_in_doubt: str = "resend"
    on_text: Callable[[int, str], None] | None = None
    retry_failed: str = "transient"
    store: str | os.PathLike[str] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Manner:
        """Give it for keyword arguments, of which None says nothing."""
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        for name, kind in (("limits", Limits), ("retry", Retry)):
            if not isinstance(getattr(self, name), kind):
                raise SettingError(f"{name} must be a {kind.__name__}, not {type(getattr(self, name)).__name__}")
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known:
                clause = nearest(value, known) if isinstance(value, str) else ""
                choices = ", ".join(f'"{choice}"' for choice in known)
                raise SettingError(f"{name} must be one of {choices}{clause}")
        if self.journal is not None and not isinstance(self.journal, str | os.PathLike):
            raise SettingError(f"journal must be a path, not {type(self.journal).__name__}")
        if self.on_text is not None and not callable(self.on_text):
            raise SettingError(f"on_text must be a function, not {type(self.on_text).__name__}")
