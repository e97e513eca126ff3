"""The options of a run: each described once, checked once, and the same at every door."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args, get_origin, get_type_hints

from ..connection.connection import Connection, default_connection, given_connection
from ..connection.profile import Profile
from ..errors import SettingError, nearest
from ..settings import Limits, Range, Retry, beneath

Path = str | os.PathLike[str]
OnInvalid = Literal["report", "raise"]
OnInDoubt = Literal["resend", "report"]
RetryFailed = Literal["transient", "all", "none"] | list[str] | tuple[str, ...]
OnText = Callable[[int, str], None]
Duplicates = Literal["send", "once"]

DAY = 86_400.0
HELD_ROWS = 100_000  # of a table that is held in memory; a command works on a longer one in batches by itself
DEADLINES = Range(1, 30 * DAY)


class Option(NamedTuple):
    """One option of a run, as a door shows it: its description is one line; choices are empty where any will do."""

    name: str
    type: Any
    default: Any
    description: str
    choices: tuple[str, ...] = ()
    listed: bool = False  # whether outcomes may be given in the place of a choice


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The keyword arguments of every node's run, checked; each node heeds its own of them.

    A new option is one more field here: its type, its one line, its default.
    """

    limits: Annotated[Limits, "The most that the run may use."] = field(default_factory=Limits)
    retry: Annotated[Retry, "How often a row is tried again."] = field(default_factory=Retry)
    journal: Annotated[Path | None, "Keeps every answer: when you run again, only what is missing is sent."] = None
    progress: Annotated[bool | None, "Whether to show a bar. Default: in a terminal or a notebook."] = None
    on_invalid: Annotated[OnInvalid, "What to do with rows that cannot be sent."] = "report"
    on_in_doubt: Annotated[OnInDoubt, "What to do with rows that an earlier run sent without seeing an answer."] = (
        "resend"
    )
    on_text: Annotated[OnText | None, "Called with a row's position and its text as it arrives."] = None
    retry_failed: Annotated[RetryFailed, "Which failed rows of the journal to send again."] = "transient"
    store: Annotated[Path | None, "The file that keeps conversations, and answers that come later."] = None
    deadline: Annotated[float, "Seconds within which a worker must send a row."] = DAY
    duplicates: Annotated[Duplicates, "What to do with rows that ask the same: send each, or only the first."] = "send"
    send: Annotated[bool, "Whether to send anything; if not, only the journal's answers are used."] = True
    submission: Annotated[Path | None, "A name for what is submitted: under it, no row is submitted twice."] = None
    replace: Annotated[bool, "Replace a file whose ids would be lost; it is kept as NAME.before."] = False

    @classmethod
    def of(cls, **given: Any) -> Self:
        """Return the options for keyword arguments, of which None says nothing."""
        return cls(**{name: value for name, value in given.items() if value is not None})

    def __post_init__(self) -> None:
        for name, kind in (("limits", Limits), ("retry", Retry)):
            if not isinstance(getattr(self, name), kind):
                raise SettingError(f"{name} must be a {kind.__name__}, not {type(getattr(self, name)).__name__}")
        for option in described().values():
            _check_choice(option, getattr(self, option.name))
        if self.journal is not None and not isinstance(self.journal, str | os.PathLike):
            raise SettingError(f"journal must be a path, not {type(self.journal).__name__}")
        if self.on_text is not None and not callable(self.on_text):
            raise SettingError(f"on_text must be a function, not {type(self.on_text).__name__}")
        for name in ("send", "replace"):
            if not isinstance(value := getattr(self, name), bool):
                raise SettingError(f"{name} must be True or False, not {type(value).__name__}")
        if not self.send and self.journal is None:
            raise SettingError("send=False uses the answers of a journal alone: name it with journal=", code="unsent")
        self._check_submission()

    def _check_submission(self) -> None:
        given, seconds = self.submission, self.deadline
        if given is not None and not isinstance(given, str | os.PathLike):
            such = f', such as submission="{given}"' if isinstance(given, int | float) else ""
            raise SettingError(f"submission must be a text or a path, not {type(given).__name__}{such}")
        if given is not None and not os.fspath(given):
            raise SettingError("submission is empty: choose a name, or leave it out")
        if (
            isinstance(seconds, bool)
            or not isinstance(seconds, int | float)
            or not DEADLINES.low <= seconds <= DEADLINES.high
        ):
            raise SettingError(f"deadline must be a number of seconds from 1 to {DEADLINES.high:,.0f}")


@lru_cache(maxsize=1)
def described() -> dict[str, Option]:
    """Return every option of a run by its name."""
    hints = get_type_hints(RunOptions, include_extras=True)
    found = {}
    for each in fields(RunOptions):
        kind, description = get_args(hints[each.name])
        literal = next((each for each in (kind, *get_args(kind)) if get_origin(each) is Literal), None)
        choices = () if literal is None else get_args(literal)
        listed = bool(choices) and literal is not kind
        default = each.default if each.default_factory is MISSING else each.default_factory()
        found[each.name] = Option(each.name, kind, default, description, choices, listed)
    return found


def failures_known() -> tuple[str, ...]:
    """Return the outcomes of rows that failed."""
    from ..engine.outcomes.rules import OUTCOMES  # noqa: PLC0415 - help is shown without the engine

    return tuple(sorted(OUTCOMES - {"ok", "submitted"}))


def _check_choice(option: Option, value: Any) -> None:
    if option.listed and isinstance(value, list | tuple):
        known = (*failures_known(), *option.choices)
        for each in value:
            if each not in known:
                hint = nearest(each, known) if isinstance(each, str) else ""
                raise SettingError(f"{option.name}: {str(each)[:40]!r} is no outcome of a failed row{hint}")
    elif option.choices and value not in option.choices:
        clause = nearest(value, option.choices) if isinstance(value, str) else ""
        choices = ", ".join(f'"{choice}"' for choice in option.choices)
        more = " or a list of outcomes" if option.listed else ""
        if option.listed and value in failures_known():
            clause = f': ["{value}"]'
        raise SettingError(f"{option.name} must be one of {choices}{more}{clause}")


def checked(connection: Any) -> Connection:
    """Return the connection of a run; by default the default profile's, else the environment's."""
    return given_connection(connection, SettingError) or default_connection()


def over(profile: Profile | None, options: RunOptions) -> RunOptions:
    """Return options whose limits and retries are a profile's where they were not given."""
    if profile is None:
        return options
    limits, retry = beneath(options.limits, profile.limits), beneath(options.retry, profile.retry)
    return replace(options, limits=limits, retry=retry)
