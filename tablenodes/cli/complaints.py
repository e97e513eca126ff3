"""What is said where a command cannot do its work, in one line, and the codes that the process ends with."""

from __future__ import annotations

import errno
import threading
import traceback
from typing import TYPE_CHECKING, Any

import click

from ..errors import EndedError, nearest
from ..notices import printable, put
from ..secret import without_passwords

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import TablenodesError

OK = 0
BAD_INPUT = 1
BAD_USAGE = 2
SOME_FAILED = 3
INTERRUPTED = 130

_LONGEST = 200
_ERRNO = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE)
_ARROW = "thread"  # what Arrow says of a thread that could not be started; its errors have no code
_SENTENCES = {
    "no_key": "no API key for {host}: set the environment variable OPENAI_API_KEY, or name another one with"
    " {api_key_env}, or use --no-key if the server needs none",
    "no_key_for_address": "no API key for {host}: name the environment variable that holds it with {api_key_env}"
    " (OPENAI_API_KEY goes only to the environment's own base URL), or use --no-key if the server needs none",
    "key_unencrypted": "the API key would be sent unencrypted to {host}: use https, or --allow-insecure",
    "variable_unset": "the environment variable {variable} is not set{hint}",
    "no_address": "the embedded model has an address only while it runs, so there is no curl command: use --dry-run",
    "no_query": "{name} is a database: say what to read of it, such as --query 'select * from {table}'; {there}",
    "target_exists": "{target} is there already: add the rows to it (--if-exists append), write it anew"
    " (--if-exists replace), or update its rows by a key (--key-column NAME)",
    "target_lacks": "{target} has no column {column!r}: add it there, or choose the columns to write with"
    " {columns}{hint}",
    "several_sheets": "{name} has {sheets} sheets ({shown}): {first!r} is read; name another one with {sheet}",
    "unpriced": "{what}: no price for {names}; give it with {prices}",
    "duplicates": "{ask} the same as an earlier row, and all are sent (with {duplicates} once, one is)",
    "unsent": "--no-send uses the answers of a journal alone: name it with --journal",
    "no_price": "max_cost: no price is known for {model} at this server: give it with --prices, or leave"
    " --max-cost out; nothing was sent",
    "no_ending": "{ending}; or say what it is, such as --input-format csv",
    "encoding": "{place}: not UTF-8 but {title}, as it seems; to read it as such, add --encoding {encoding}",
    "encoding_unknown": "{place}: not UTF-8; name its encoding, such as --encoding cp1252",
    "input_format": "{place} is {title}{why}; to read it as such, add --input-format {form}",
    "no_variable_name": "--api-key-env must be the name of an environment variable, such as OPENAI_API_KEY;"
    " never the key itself",
    "sends_later": "--no-send: {what}; leave it out",
    "answer_column": "the table already has the {column} {told}, which is what the answer's {column} would be called:"
    " choose another name with {into}, such as {other}",
    "no_journal": "no journal: if this process ends before the run does, the answers are lost; write the table to a"
    " file (--output FILE), or keep them with --journal FILE",
    "billed_twice": "{told} ({on_in_doubt} report leaves them)",
    "no_key_sent": "no API key was sent: name the variable that holds it with {api_key_env}",
    "no_key_sent_here": "no API key was sent: OPENAI_API_KEY goes only to the environment's own base URL; for another"
    " server, name the variable that holds it with {api_key_env}",
    "key_in_address": "{name} contains a user name or password: name the variable that holds the key with"
    " {api_key_env}",
    "query_in_address": "{name} contains a query or a fragment: set a query with --query-param NAME=VALUE, or as query"
    " under connection in a workflow file",
    "submitted_again": "{name}: {known} submitted before, and sent again. With a name ({submission}) or a file for the"
    " ids ({output}) rows keep these from then on; tablenodes store --ids lists the earlier ones.",
    "ids_lost": "{path} has {ids} of other rows, which would be in no file any more; nothing was submitted."
    " Choose another output; or keep the file as {beside} ({replace})",
    "ids_elsewhere": "{path} has {ids} that the store {file} does not have; nothing was submitted."
    " Name the store that has them ({store}), or choose another output; or keep the file as {beside} ({replace})",
    "choices": "{told}: {raw} writes the bodies, which have all",
    "calls": "{told}, and the table has no calls: {raw} writes the bodies, which have them",
    "may_pass": "{failed}: --retry-failed transient has {them} sent again",
}
"""What the command line says, by the code of an error or a remark, where Python's own message names what is Python's.

A name in braces that is none of its values is a setting, and stands for how that is set at the command line.
"""
_ANY = "settings"  # stands for whichever setting it is
_EXAMPLES = {"prompt": "'Sum up: {{ text }}'", "model": "gpt-4o-mini"}


class _Words(dict[str, Any]):
    """The values of a sentence; of a setting, how it is set."""

    def __missing__(self, name: str) -> str:
        return option_for(name)


def option_for(setting: str) -> str:
    """Return how a setting is set by the command that runs: by an option of its own, by --set, or in its file."""
    context = click.get_current_context(silent=True)
    if context is None:
        return f"--{setting.replace('_', '-')}"
    if found := _option_of(context.command, setting):
        return found
    if isinstance(file := context.params.get("file"), str):
        return f"in {file}" if setting == _ANY else f"{setting} in {file}"
    every = context.find_root().command
    submit = every.get_command(context, "submit") if isinstance(every, click.Group) else None
    own = f"--set {'NAME' if setting == _ANY else setting}=VALUE"
    return f"{(submit and _option_of(submit, setting)) or own} of tablenodes submit"


def _option_of(command: click.Command, setting: str) -> str:
    """Return how a command sets a setting; empty where it cannot."""
    known = {name for each in command.params for name in each.opts}
    if (own := f"--{setting.replace('_', '-')}") in known:
        return own
    return f"--set {'NAME' if setting == _ANY else setting}=VALUE" if "--set" in known else ""


def complain(text: str, kind: str = "") -> None:
    """Write one line that says what is wrong."""
    line = printable(without_passwords(" ".join(text.split())))
    put(f"tablenodes: {kind}{': ' if kind else ''}{line}")


def complain_of(error: TablenodesError) -> int:
    """Write what is wrong, and what else is, a line each; return the exit code."""
    for line in (worded(error), *getattr(error, "__notes__", ())):
        complain(line, "error")
    return BAD_INPUT


def worded(told: TablenodesError | str) -> str:
    """Return the message of an error, or a remark, in words of the command line, which has options, no ``.output``."""
    code, values = getattr(told, "code", ""), dict(getattr(told, "values", {}))
    if code == "lacking":
        return _lacking(told, values)
    if code == "option" and "before" not in values:
        return f"{option_for(values['option'])}: {values['told']}"
    if code in _SENTENCES and "line" not in values:  # a file's line is said with what a file has
        if not values.get("variable"):
            values["variable"] = "that --api-key-env or api_key_env names"
        return _SENTENCES[code].format_map(_Words(values))
    message = told.message if isinstance(told, EndedError) else str(told)
    return _without_calls(message) if "literal(" in message else message


def _without_calls(message: str) -> str:
    """Return a message about braces without what only Python and files can write, where a setting is an option."""
    from ..templates.template_faults import BRACES, LITERALLY  # noqa: PLC0415 - loads Jinja

    context = click.get_current_context(silent=True)
    is_of_file = context is None or "file" in context.params
    return message if is_of_file else message.replace(LITERALLY, BRACES)


def notice(told: str) -> str | None:
    """Return what is said of a notice; None of one that the report at a run's end has in its place."""
    return None if getattr(told, "code", "") == "unchanged" else worded(told)


def _lacking(told: TablenodesError | str, values: Mapping[str, str]) -> str:
    """Return what to say where all rows lack a property: which option sets it, and an example."""
    name = values["lacking"]
    option, example = option_for(name), _EXAMPLES.get(name)
    if not option.startswith("--"):
        return str(told)
    such = f", such as {option.removesuffix('=VALUE')}{'=' if '=' in option else ' '}{example}" if example else ""
    context = click.get_current_context(silent=True)
    command = f"{context.info_name} " if context else ""
    return f"{command}{values['kind']} needs {option}{such}, or a column {name!r}; nothing was sent or written"


def misused(error: click.ClickException) -> str:
    """Return what is wrong with the arguments, and whose help to read."""
    context: click.Context | None = getattr(error, "ctx", None)
    path = "tablenodes" if context is None else context.command_path
    return f"{_misuse(error, context)}; see {path} --help"


def _misuse(error: click.ClickException, context: click.Context | None) -> str:
    if isinstance(error, click.NoSuchOption):
        params = () if context is None else context.command.get_params(context)
        known = [name for each in params if isinstance(each, click.Option) for name in each.opts]
        told = _as_setting(error.option_name) if "--set" in known else ""
        return f"no option {error.option_name}{told or nearest(error.option_name, known)}"
    if not isinstance(error, click.BadParameter):
        return error.format_message().rstrip(".")
    param, kind = error.param, error.param and error.param.type
    name = _called(param) if isinstance(param, click.Option) else param and param.metavar
    hint = error.param_hint or name or ""
    if isinstance(error, click.MissingParameter):
        return f"{hint} is missing"
    if not isinstance(kind, click.IntRange | click.FloatRange):
        return f"{hint}: {error.message}"
    what = "a whole number" if isinstance(kind, click.IntRange) else "a number"
    return f"{hint}: must be {what}{f', {kind.min} or more' if kind.max is None else f' from {kind.min} to {kind.max}'}"


def _called(option: click.Option) -> str:
    """Return an option's long names, the shortest first."""
    return " or ".join(sorted((each for each in option.opts if each.startswith("--")), key=len)) or option.opts[0]


def _as_setting(option: str) -> str:
    """Return a hint where an unknown option is a node's setting, or another server's; an empty text for any other."""
    from ..nodes import NODES, find_node  # noqa: PLC0415 - loaded where it is used
    from ..nodes.neighbours import neighbour  # noqa: PLC0415
    from ..nodes.node import setting_names  # noqa: PLC0415

    name, names = option.lstrip("-").replace("-", "_"), setting_names(find_node("CreateChatCompletion"))
    is_setting = name in names or any(name in setting_names(find_node(each)) for each in NODES)
    told = f"write --set {name}=…" if is_setting else neighbour(name, None, names, "command line")
    return f"; {told}" if told else ""


def shortage(error: BaseException) -> str | None:
    """Return what the machine lacks; None where an error is about something else."""
    if isinstance(error, MemoryError):
        return "not enough memory: use fewer rows (--rows), or give the process more memory"
    first = str(error).strip().partition("\n")[0][:_LONGEST]
    if isinstance(error, ImportError):
        return f"a library cannot be loaded: it is not installed correctly, or memory ran out: {first}"
    if _is_of_threads(error) or (isinstance(error, OSError) and error.errno in _ERRNO):
        return f"the system gives this process no more memory, threads or files: {first}"
    return None


def _is_of_threads(error: BaseException) -> bool:
    """Check whether a thread could not be started: Python's own, where that is raised, or one of Arrow's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if isinstance(error, RuntimeError) and frames and frames[-1].f_code is threading.Thread.start.__code__:
        return True
    return type(error).__module__.partition(".")[0] == "pyarrow" and _ARROW in str(error)
