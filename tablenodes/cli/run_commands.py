"""``tablenodes run``, ``check``, ``call``, ``submit`` and ``retrieve``: build a workflow and run it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from ..connection.connection import Connection, default_connection
from ..database_address import database_table
from ..errors import SettingError, TablenodesError
from ..settings import Limits, Retry
from . import command_options as options
from .batch_call import MEMORY, call_in_batches, comes_in_batches
from .command_options import Given, command, flag, option, option_of_run
from .complaints import BAD_INPUT
from .consent import YES, Intended, consented
from .database_options import database_output, queried
from .presentation import Manner, Presentation
from .preview import PREVIEWS, previewed, show_check, show_estimate
from .printout import is_terminal
from .selection import table_of
from .sending_options import PROFILE, SENDING, changed, connected_by

if TYPE_CHECKING:
    from ..nodes import Node
    from ..workflow import Workflow

"""Where a word begins in a node's name; its id is written with underscores, and answers are found by it again."""
_FROM_FILES = ("prompt", "system")
_HOW = (*PREVIEWS, YES, *options.JOURNAL, *SENDING, options.STORE, options.REPORT, *options.TOLD)
_ONE_NODE = (options.NODE, options.SOURCE, *options.REQUEST, *options.ANSWERS, *options.INPUT, *options.OUTPUT)
(_AGAIN,) = options.under("Store", flag("--again", "Submit every row again, even if it was submitted before."))
_LONG = "Wait at most this many seconds. Default: until every row is finished."
_ESTIMATE = options.under(
    "Before sending",
    flag("--estimate", "Show the tokens, the cost and the time of a run too."),
    option("--journal", "FILE", "With --estimate: measure by the answers in this journal."),
)
_RETRY = "Which failed rows to have sent again first: those whose failure may pass, all, none, or some outcomes."
_WAIT = option("--wait -w", "SECONDS", _LONG, type=click.FloatRange(0))


@command(
    "run", options.FILE, options.TABLE, options.INPUTS, *options.INPUT, *options.OUTPUT, MEMORY, *_HOW, *options.LATER
)
def run(given: Given) -> int:
    """Run a workflow and write its table.

    The paths in the file are relative to the file; the output is relative to the current directory. The first rows of
    the file's own output are shown too; those of --output only in a terminal.
    """
    from ..workflow import Workflow  # noqa: PLC0415 - loaded where it is used

    texts = pairs(given.inputs, "--input")
    workflow = equipped(Workflow.load(given.file), given)
    return _run(workflow, given, inputs=_inputs(workflow, texts), later=_of_store(given.store or workflow.store))


def _run(
    workflow: Workflow, given: Given, *, inputs: Mapping[str, Any], later: str | None = None, keeps: bool = True
) -> int:
    if given.quiet and given.verbose:
        raise click.BadParameter("--verbose is set too: keep one of them", param_hint="--quiet")
    workflow = workflow if given.where is None else workflow._where(given.where, "--where")
    given.table = source_of(workflow, given)
    workflow, raw, columns = destined(workflow, given)
    how, asked = manner(workflow, given), given.output is not None
    code = previewed(workflow, given, inputs, how.get("connection"), how["journal"])
    if code is not None:
        return code
    beside = {"log": given.log, "report": getattr(given, "report", None)}
    shown = Manner(raw, given.form, columns, asked, beside, given.quiet, given.verbose)
    if hasattr(given, "memory") and comes_in_batches(workflow, given, how):
        return call_in_batches(workflow, given, how, shown, inputs, later=later, keeps=keeps)
    presented = Presentation(shown, how, later=later, keeps=keeps)
    table = table_of(workflow, given.table, given.rows)
    table, agreed = consented(Intended(workflow, table, inputs, how), given)
    return presented.run(workflow, table, inputs) if agreed else BAD_INPUT


@command("check", options.FILE, options.TABLE, options.INPUTS, *options.INPUT, *_ESTIMATE, *SENDING, options.STORE)
def check(given: Given) -> int:
    """Show what a workflow would send, and which rows cannot be sent and why; nothing is sent."""
    from ..workflow import Workflow  # noqa: PLC0415 - loaded where it is used

    texts = pairs(given.inputs, "--input")
    workflow = equipped(Workflow.load(given.file), given)
    workflow = workflow if given.where is None else workflow._where(given.where, "--where")
    given.table = source_of(workflow, given)
    connection, inputs = _before_all(workflow, given), _inputs(workflow, texts)
    table = table_of(workflow, given.table, given.rows)
    code = show_check(workflow, table, inputs, connection, given.store)
    if given.estimate:
        show_estimate(workflow, table, inputs, connection, given.store, given.journal)
    return code


@command("call", *_ONE_NODE, MEMORY, *_HOW)
def call(given: Given) -> int:
    """Run one node over a table.

    The table goes to --output, and its first rows are shown in a terminal. Without --output, these are shown in a
    terminal, and all of it goes into a pipe as CSV. With --set stream=true, the text of a table's only row is shown in
    a terminal as it arrives.
    """
    node = _one_node(given.node, _settings(given), _answer(given.answers))
    return _run(equipped(node, given), given, inputs={})


@command("submit", *_ONE_NODE, MEMORY, *PREVIEWS, YES, *SENDING, *options.LATER, _AGAIN, options.STORE, *options.TOLD)
def submit(given: Given) -> int:
    """Hand a node's requests to a worker in the background, and write the ids of their answers at once.

    The node is CreateChatCompletionAsync, CreateCompletionAsync or CreateResponseAsync. The table, with
    future_response_id and error_message, is written where call would write it. The worker ends by itself; tablenodes
    retrieve gets the answers: give it the same --answer. With --output or --submission, rows that were submitted before
    keep their ids and are not sent twice, wherever the files are.
    """
    kept = "".join(f" --answer {quote(text)}" for text in given.answers)
    kept += _of_store(given.store)
    _use(given.store)
    given.replace = given.replace or given.again
    workflow = equipped(_one_node(_later(given.node), _settings(given), _answer(given.answers)), given)
    return _run(workflow, _without_journal(given, no_journal=given.again), inputs={}, later=kept, keeps=False)


@command(
    "retrieve",
    options.IDS,
    _WAIT,
    *options.ANSWERS,
    *options.INPUT,
    *options.OUTPUT,
    MEMORY,
    option_of_run("--retry-failed", "retry_failed", default="none", text=_RETRY),
    PROFILE,
    options.STORE,
    options.REPORT,
    *options.TOLD,
)
def retrieve(given: Given) -> int:
    """Get the answers of submitted requests by the ids in the column future_response_id, or the answer of one id.

    If rows are pending and no worker is running, one is started. The key is read from the same environment variable as
    when the rows were submitted. The columns of an earlier retrieval are replaced.
    """
    _use(given.store)
    settings = {"wait": given.wait, "into": given.into}
    if given.table.startswith("resp_") and not os.path.splitext(given.table)[1]:
        settings["future_response_id"], given.table = given.table, None
    given_texts = {name: str(value) for name, value in settings.items() if value is not None}
    if isinstance(given.retry_failed, str):
        given.retry_failed = [given.retry_failed]  # it was asked for, whatever a workflow's own default is
    workflow = _one_node("RetrieveResponse", given_texts, _answer(given.answers))
    if given.profile is not None:
        workflow = workflow.replace(connection=given.profile)
    return _run(workflow, _without_journal(given, no_journal=True), inputs={}, keeps=False)


def _without_journal(given: Given, *, no_journal: bool) -> Given:
    """Add the journal's options, which these commands do not have; the store is the whole process's."""
    given.journal, given.no_journal, given.store = None, no_journal, None
    given.on_in_doubt, given.duplicates, given.no_send = "resend", "send", False
    given.retry_failed = getattr(given, "retry_failed", "transient")
    return given


def _of_store(path: str | os.PathLike[str] | None) -> str:
    """Return the option that names a store to a retrieval."""
    return "" if path is None else f" --store {quote(os.fspath(path))}"


def _use(path: str | None) -> None:
    """Have everything in this process use a store."""
    if path is not None:
        from ..store.store_file import VARIABLE, store_path  # noqa: PLC0415 - loaded where it is used

        os.environ[VARIABLE] = str(store_path(path))


def _later(name: str) -> str:
    """Return the name of the node that does later what one of this name does at once."""
    from ..nodes import NODES as nodes  # noqa: N811, PLC0415 - their names; none is loaded for it

    if "#" in name:
        raise click.BadParameter("an operation of a document is answered at once: use call", param_hint="NODE")
    later = name if name.endswith("Async") else f"{name}Async"
    if name in nodes and later not in nodes:
        use = " or ".join(each for each in nodes if f"{each}Async" in nodes)
        message = f"{name} sends nothing, so nothing can be answered later; use {use}"
        raise click.BadParameter(message, param_hint="NODE")
    return later


def _inputs(workflow: Workflow, texts: Mapping[str, str]) -> dict[str, Any]:
    from ..workflow.inputs import check_names  # noqa: PLC0415 - loaded where it is used

    check_names(workflow.inputs, texts)
    return {name: workflow.inputs[name].read(text) for name, text in texts.items()}


def _settings(given: Given) -> dict[str, str]:
    """Return what ``--set`` was given, and the options that are short for it."""
    settings = pairs(given.settings, "--set")
    named = ("model", "prompt", "system", "image", "into")
    short = {name: value for name in named if (value := getattr(given, name, None)) is not None}
    for name in [each for each in short if each in settings]:
        raise click.BadParameter(f"{name} is given twice", param_hint=f"--{name}")
    return settings | {name: _text_of(name, text) if name in _FROM_FILES else text for name, text in short.items()}


def _text_of(name: str, text: str) -> str:
    """Return a text as it is, or that of the file that ``@FILE`` names; ``@@`` begins a text that begins with ``@``."""
    if not text.startswith("@") or text.startswith("@@"):
        return text[1:] if text.startswith("@@") else text
    try:
        with open(text[1:], encoding="utf-8-sig", newline="") as file:
            found = file.read().replace("\r\n", "\n").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SettingError(f"--{name} {text}: the file is not UTF-8 text", place=name) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no file has such a name"
        raise SettingError(f"--{name} {text}: cannot read it ({why}); write @@ for an @", place=name) from None
    if not found.strip():
        raise SettingError(f"--{name} {text}: the file is empty", place=name)
    return found


def _answer(texts: Sequence[str]) -> dict[str, Any]:
    """Return the setting that the texts of ``--answer`` are."""
    if not texts:
        return {}
    from ..answers import read_answer_texts  # noqa: PLC0415 - loaded where it is used
    from ..documents import yaml_reader  # noqa: PLC0415

    return {"answer": read_answer_texts(texts, lambda text: yaml_reader.parse(text, "--answer").value)}


def _one_node(name: str, settings: Mapping[str, str], more: Mapping[str, Any] | None = None) -> Workflow:
    """Return a workflow of one node, whose settings are texts, and `more`."""
    from ..nodes import find_node  # noqa: PLC0415 - loaded where it is used
    from ..workflow import Workflow  # noqa: PLC0415

    kind = find_node(name)
    made = Workflow({kind.__name__: kind(**_typed(kind, settings), **(more or {}))})
    object.__setattr__(made, "_alone", True)
    return made


def _typed(kind: type[Node], given: Mapping[str, str]) -> dict[str, Any]:
    """Return a node's settings from texts.

    A text that looks like a JSON array or object is read as one where the schema admits one. Any other text stays as it
    is: where no text is admitted, it is typed when a body is built, placeholders filled in.
    """
    from .. import schemas  # noqa: PLC0415 - loaded where it is used
    from ..nodes.node import check_names, property_of  # noqa: PLC0415

    of_requests = {name: _read(given[name]) for name in given.keys() & {"schema", "response_format"}}
    check_names(kind, {**given, **of_requests}, door="command line")
    if not kind._declared.operation:
        return dict(given)
    own = kind._described_by() if "schema" not in given else None
    schema = own or schemas.load(given["schema"], kind._declared.operation)
    made: dict[str, Any] = {}
    for name, text in given.items():
        if name == "columns":
            made[name] = _columns(text)
        elif name == "extra_body":
            made[name] = _json(name, text)
        elif name == "schema" or name in kind._declared.said:
            made[name] = text
        else:
            made[name] = _as_admitted(name, text, schema.admits((property_of(kind, name),)))
    return made


def _read(text: str) -> Any:
    """Return the list or mapping that a text is; any other as it is."""
    try:
        return _answer([text])["answer"] if text.lstrip().startswith(("[", "{")) else text
    except TablenodesError:
        return text


def _as_admitted(name: str, text: str, admitted: frozenset[str]) -> Any:
    import orjson  # noqa: PLC0415 - loaded where it is used

    start = text.lstrip()[:2]
    looks = "array" if start[:1] == "[" else "object" if start[:1] == "{" and start != "{{" else ""
    if looks not in admitted:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text if "string" in admitted else _json(name, text)


def _json(name: str, text: str) -> Any:
    import orjson  # noqa: PLC0415 - loaded where it is used

    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise SettingError(f"{name}: is not JSON, at character {error.pos + 1}: {error.msg}"[:200]) from None


def _columns(text: str) -> Any:
    """Return names: ``auto``, a JSON list, or names with commas between."""
    if text.lstrip().startswith("["):
        return _json("columns", text)
    return text if text == "auto" else [name.strip() for name in text.split(",") if name.strip()]


def _names(text: str) -> Any:
    """Return the columns that are written: a JSON list, or names with commas between."""
    if text.lstrip().startswith("["):
        return _json("--columns", text)
    return [name.strip() for name in text.split(",") if name.strip()]


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a dict; raise `click.BadParameter` for one of another form, or a second one."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter("write it as NAME=VALUE", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value
    return found


def connected(connection: Connection | None, given: Given) -> Connection | None:
    """Return a connection with what the options say in place of its own.

    A key that was meant for another address never goes to ``--base-url``: it is named with it, or none is sent.
    """
    base_url, api_key_env, local = given.base_url, given.api_key_env, given.local
    no_key, connection = given.no_key, named(given) or connection
    if local and (base_url or api_key_env or no_key):
        what = "the embedded model needs no address and no key: leave out --base-url, --api-key-env and --no-key"
        raise click.BadParameter(what, param_hint="--local")
    if no_key and api_key_env:
        raise click.BadParameter("--api-key-env is set too: keep one of them", param_hint="--no-key")
    if not (base_url or api_key_env or no_key):
        return Connection.local() if local else connection
    kept = connection if connection is not None and connection.local_model is None else None
    key = "" if no_key else None
    if not base_url:
        return replace(kept or default_connection(), api_key=key, api_key_env=api_key_env)
    of_another: dict[str, Any] = {"headers": None, "query": None, "api_key_header": None, "profile": None}
    return replace(kept or Connection(), base_url=base_url, api_key=key, api_key_env=api_key_env, **of_another)


def named(given: Given) -> Connection | None:
    """Return the connection that ``--profile`` or ``--local`` says, None where neither is given."""
    if given.profile is None:
        return Connection.local() if given.local else None
    for name in ("local", "base_url"):
        if getattr(given, name, None):
            raise click.BadParameter(f"--{name.replace('_', '-')} is set too: keep one of them", param_hint="--profile")
    return Connection.from_profile(given.profile)


def equipped(workflow: Workflow, given: Given) -> Workflow:
    """Return a workflow with the connection, the limits and the retries that the options say."""
    connection = connected(workflow.connection, given)
    limits, retry = changed(Limits, workflow.limits, given), changed(Retry, workflow.retry, given)
    return workflow.replace(connection=connected_by(connection, given), limits=limits, retry=retry)


def source_of(workflow: Workflow, given: Given) -> Any:
    """Return the table's path with what the options say of it; None for a workflow's own."""
    from ..workflow.table_source import TableSource  # noqa: PLC0415 - loaded where it is used

    said = {"format": given.input_format} | {name: getattr(given, name) for name in ("encoding", "separator", "sheet")}
    said = {name: value for name, value in said.items() if value is not None}
    own: Any = workflow.table if given.table is None else given.table
    if given.sql is not None or database_table(own) is not None:
        return queried(own, given.sql, said)
    if not said or own is None:
        return given.table
    return replace(own, **said) if isinstance(own, TableSource) else TableSource(own, **said)


def manner(workflow: Workflow, given: Given) -> dict[str, Any]:
    """Return the keyword arguments of `Workflow.run` that the options say."""
    if given.no_journal and given.journal is not None:
        raise click.BadParameter("--journal is set too: keep one of them", param_hint="--no-journal")
    journal = given.journal
    if journal is None and not given.no_journal and workflow.output is not None:
        journal = getattr(workflow.output, "journal", None)
    own = {name: getattr(given, name) for name in ("retry_failed", "on_in_doubt", "duplicates", "store")}
    own["connection"] = _before_all(workflow, given)
    own |= {name: getattr(given, name) for name in ("submission", "deadline", "replace") if hasattr(given, name)}
    return {
        "journal": journal,
        "send": not given.no_send,
        "progress": False if given.no_progress or given.quiet else None,
        **own,
    }


def _before_all(workflow: Workflow, given: Given) -> Connection | None:
    """Return the connection that the options name, by its address too, which goes before the nodes' own; else None."""
    is_named = any(getattr(given, name, None) for name in ("local", "base_url", "profile"))
    return workflow.connection if is_named else None


def destined(workflow: Workflow, given: Given) -> tuple[Workflow, bool, Sequence[str] | None]:
    """Return a workflow whose output is where the options say (none: standard output), if it is raw, its columns."""
    from ..workflow.destination import Destination, checked_columns  # noqa: PLC0415 - loaded where it is used

    own: Any = workflow.output
    raw = given.raw or bool(own and own.raw)
    columns = own.columns if own and raw == own.raw else None
    if given.written is not None:
        columns = checked_columns(_names(given.written), raw=raw)
    if (output := database_output(given, own, raw=raw, columns=columns)) is not None:
        return workflow.replace(output=output), raw, columns
    path = own.path if given.output is None and own else given.output
    if path is None or path == "-":
        if given.form in options.BINARY and is_terminal():
            what = f"{given.form} is not for a terminal: name a file with --output, or use a pipe"
            raise click.BadParameter(what, param_hint="--format")
        return workflow.replace(output=None), raw, columns
    if given.form is not None:
        what = f"this option is for the standard output: give the file a name that ends in .{given.form}"
        raise click.BadParameter(what, param_hint="--format")
    return workflow.replace(output=Destination(path, raw, columns)), raw, columns
