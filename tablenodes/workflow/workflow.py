"""Workflow: nodes over one configuration table, each of which may read the answers of those before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from ..arguments import explaining
from ..disk import write_file
from ..errors import WorkflowError, nearest
from .definition import Definition
from .definition_reader import LATER, Reader
from .step import Condition

if TYPE_CHECKING:
    from ..connection.connection import GivenConnection
    from ..run.check import Check
    from ..run.options import Duplicates, OnInDoubt, OnInvalid, RetryFailed
    from ..settings import Limits, Retry
    from .workflow_batches import WorkflowBatches
    from .workflow_estimate import WorkflowEstimate
    from .workflow_output import WorkflowOutput

    Table = Any


@explaining("__init__", "check", "estimate", "run")
@dataclass(frozen=True, repr=False)
class Workflow(Definition):
    """Nodes that run one after another over the same configuration table.

    A later node reads an earlier one's answer to the same row as ``{{ ID }}``: a text, a label, or a record of fields
    (``{{ ID.stars }}``). ``{{ outputs.ID.choices[0].message.content }}`` reads any part of what the server sent (the
    arguments of function calls are there as parsed JSON), and ``{{ inputs.NAME }}`` an input. What became of a row,
    also of one that failed, is ``outputs.ID.outcome``, ``.status`` and ``.error.message``.

    Parameters
    ----------
    nodes : mapping of str to Node or Step, or sequence of (str, Node or Step)
        The nodes with their ids, in the order in which they run. A `Step` says of a node for which rows it runs
        (``when``), and where its requests go.
    id : str, optional
        The workflow's name.
    description : str, optional
        What it is for.
    connection : Connection or str, optional
        Where requests go, but of nodes that have their own; a text is the name of a profile. Default: that of a run.
    table : path or mapping, optional
        The configuration table's file, or ``-`` for the standard input, where a run names no other. A mapping has
        ``path``, and ``format``, ``encoding``, ``separator`` and ``sheet`` as `read_table` has them; or, of a database,
        ``url`` and ``query``.
    inputs : mapping, optional
        Names and defaults; or names and mappings with ``type``, ``default``, ``required`` and ``description``.
    output : path or mapping, optional
        Where the table with every node's columns is written; relative to the current directory of the run. A mapping
        has ``path``, and ``columns``, a list that chooses and orders them, or ``raw`` (True: the last node's body and
        status instead). For a database it has ``url`` and ``table``, ``if_exists`` and ``key``, as `write_table` has
        them, in the place of ``path``.
    limits : Limits, optional
        What a run may use at most.
    retry : Retry, optional
        How often a row is tried again.
    submission, store, deadline : str, path or float, optional
        What a run does with rows that a worker sends, and the file that keeps conversations and their answers, where
        the run says nothing else; see `run`. In a YAML file, the store's path is relative to the file.

    Raises
    ------
    WorkflowError
        If the parts do not fit together: two nodes of one id, a reference to a node that is not earlier, to a part of
        its answer that cannot be there, or to an input that is not there.
    """

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a workflow from a YAML file.

        The paths in it (the table's, a schema's, certificates', a model's) are relative to the file; the output's is
        relative to the current directory of the run.

        Raises
        ------
        WorkflowError
            If it cannot be read or does not fit together; names the file and the line. Where more than one thing is
            wrong, the others are its notes (``__notes__``), a line each.
        """
        from ..documents import yaml_reader  # noqa: PLC0415 - the parser is loaded where it is needed

        if not isinstance(path, str | os.PathLike):
            raise WorkflowError(f"a workflow's file must be a path, not a {type(path).__name__}")
        place = Path(path).expanduser()
        document = yaml_reader.read(place, os.fspath(path))
        reader = Reader(document, str(place.parent))
        arguments = reader.read()
        with reader.locating(()):
            made = cls(**arguments)
        object.__setattr__(made, "_reader", reader)
        return made

    def to_yaml(self, folder: str | os.PathLike[str] = ".") -> str:
        """Return the workflow as YAML text, as `load` reads it.

        The paths in it are relative to `folder`, where the file will stand. A `WorkflowError` is raised if something in
        it cannot be in a file: a key, a session.
        """
        from . import yaml_writer  # noqa: PLC0415 - loaded where it is needed

        return yaml_writer.write(yaml_writer.document(self, os.path.abspath(folder)))

    def graph(self, form: Literal["mermaid", "svg"] = "mermaid") -> str:
        """Return the workflow as Mermaid text or as SVG: its nodes, and what each reads of the table and earlier ones.

        A dotted line: what became of the earlier node's rows is read, not what they were answered. A notebook shows
        the SVG with the workflow; it follows light and dark.
        """
        if form not in ("mermaid", "svg"):
            raise WorkflowError(f"form must be 'mermaid' or 'svg', not {form!r}")
        if form == "svg":
            from .flow_drawing import svg  # noqa: PLC0415 - loaded where it is used

            return svg(self)
        from .flow_graph import mermaid  # noqa: PLC0415 - loaded where it is used

        return mermaid(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the workflow to a YAML file; ``Workflow.load`` of it returns an equal one.

        A `WorkflowError` is raised if something in it cannot be in a file, or the file cannot be written.
        """
        place = Path(path).expanduser()
        text = self.to_yaml(place.parent)
        try:
            write_file(place, text.encode())
        except OSError as error:
            raise WorkflowError(f"{path}: cannot write it ({error.strerror})") from None

    def replace(self, **parts: Any) -> Self:
        """Return a workflow with some parts changed; raise `WorkflowError` if they are none or do not fit together."""
        known = [each.name for each in fields(self) if each.init]
        for name in parts:
            if name not in known:
                raise WorkflowError(f"a workflow has no part {name!r}{nearest(name, known)}")
        made = replace(self, **parts)
        for kept in ("_alone", "_only"):
            object.__setattr__(made, kept, getattr(self, kept))
        object.__setattr__(made, "_reader", None if "nodes" in parts else self._reader)
        changed = {name for name in parts if getattr(made, name) != getattr(self, name)}
        object.__setattr__(made, "_replaced", self._replaced | changed)
        return made

    def _where(self, expression: str, name: str) -> Self:
        """Return the workflow with all its nodes run only for rows for which an expression of the table is true."""
        made = self.replace()
        object.__setattr__(made, "_only", Condition(expression, name))
        return made

    def _repr_html_(self) -> str:
        from ..notebook.markup import Panel, html  # noqa: PLC0415 - loaded where it is used
        from .flow_drawing import svg  # noqa: PLC0415

        named = ("description", "connection", "table", "inputs", "output", "limits", "retry", *LATER)
        facts = [(name, str(getattr(given, "path", given))) for name in named if (given := getattr(self, name))]
        nodes = [(name, step.node) for name, step in self._as_given]
        parts = [replace(node._panel(), title=f"{name}: {type(node).__name__}") for name, node in nodes]
        return html(Panel(f"Workflow {self.id or ''}", facts=facts, drawing=svg(self, alone=False), parts=parts))

    def check(
        self,
        table: Table = None,
        inputs: Mapping[str, Any] | None = None,
        connection: GivenConnection | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
    ) -> dict[str, Check]:
        """Return what each node would send, and which rows cannot be sent and why; nothing is sent.

        What depends on an earlier node's answer is known only when that has come, and is left out; a row that cannot be
        sent at an earlier node whose answer is read is a problem of the later one too.

        Parameters
        ----------
        table, inputs, connection, store
            As in `run`, as is the `UsageError` where the nodes and the table do not fit together.

        Returns
        -------
        dict of str to Check
            By node id, in their order. Warnings about the inputs are among the first one's.
        """
        from . import workflow_check  # noqa: PLC0415 - pandas is loaded where it is needed

        return workflow_check.check(self, table, inputs, connection, self.store if store is None else store)

    def estimate(
        self,
        table: Table = None,
        inputs: Mapping[str, Any] | None = None,
        connection: GivenConnection | None = None,
        *,
        limits: Limits | None = None,
        journal: str | os.PathLike[str] | None = None,
        store: str | os.PathLike[str] | None = None,
    ) -> WorkflowEstimate:
        """Estimate what a run would send, use, cost and take, before anything is sent.

        What a later node reads of earlier answers is known only when these have come. How long they are is a guess,
        which widens the range of the tokens; where they decide for which rows a node runs (``when``), it begins at 0.
        The assumptions say so.

        Parameters
        ----------
        table, inputs, connection, limits, store
            As in `run`; a stream that can be read only once is refused.
        journal : path, optional
            The journal of the run, as in `CreateChatCompletion.estimate`. Of a node that reads earlier answers, every
            row counts as one to send.

        Returns
        -------
        dict of str to Estimate
            By node id, of the nodes that send; ``.total`` is all of them together.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed
        from .workflow_estimate import estimate  # noqa: PLC0415

        store = self.store if store is None else store
        options = RunOptions.of(limits=limits or self.limits, journal=journal, store=store)
        return estimate(self, table, inputs, connection, options)

    def run(
        self,
        table: Table = None,
        inputs: Mapping[str, Any] | None = None,
        connection: GivenConnection | None = None,
        *,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        on_in_doubt: OnInDoubt = "resend",
        on_text: Callable[[int, str], None] | None = None,
        retry_failed: RetryFailed = "transient",
        store: str | os.PathLike[str] | None = None,
        duplicates: Duplicates = "send",
        send: bool = True,
        deadline: float | None = None,
        submission: str | os.PathLike[str] | None = None,
        replace: bool = False,
    ) -> WorkflowOutput:
        """Run every node over the table, one after another, and write the output if one is named.

        Parameters
        ----------
        table : table or path, optional
            One request a row. Default: the workflow's own.
        inputs : mapping, optional
            The inputs' values.
        connection : Connection or str, optional
            Where all requests go. Default: each node's own, else the workflow's, else as in `CreateChatCompletion.run`.
            The embedded model's server lives for the whole run.
        limits, retry : Limits, Retry, optional
            Default: the workflow's own. The requests and tokens of all nodes together count. What a worker sends counts
            once it has been retrieved, until then as one request a row: a chat that is to begin with what is left of
            the limits stands after `RetrieveResponse`.
        journal, progress, on_invalid, on_in_doubt, on_text, retry_failed, duplicates, send
            As in `CreateChatCompletion.run`, for each node; they share the journal. `RetrieveResponse` sends failed
            rows again for "all" and lists alone: by "transient", they are submitted again where the same rows are.
        store : path, optional
            The file that keeps conversations, and answers that come later, of every node. Default: ``TABLENODES_STORE``
            of the environment, else one in the user's data folder.
        deadline, submission : float, str or path, optional
            As in `CreateChatCompletionAsync.run`, for each node whose requests a worker sends. Without a name, rows
            that were submitted before keep their ids if the run has a journal: they are known by the node and by what
            they ask, wherever the files are.
        replace : bool
            Whether an output may take the place of a file with ids of other submitted rows than this run's: that file
            is kept as NAME.before. By default such a run is refused.

        Returns
        -------
        WorkflowOutput
            A mapping of node ids, in their order, to their outputs; ``.table`` is the table with the columns of
            every node. A row whose earlier answer is missing or not ok is ``upstream_failed``, or ``skipped`` where it
            was skipped there, unless each placeholder that reads it has a ``default(…)``.

        Raises
        ------
        UsageError
            If something does not fit together; nothing has been sent then.
        InvalidRequests
            If rows cannot be sent and `on_invalid` is "raise", or an output is named and no row at all can be sent;
            nothing has been sent and nothing written then.
        Interrupted
            If the run was stopped; ``.output`` is the same as far as it had come, and the output is written with that.
        JournalError, ModelError, TransportError
            If the journal, the embedded model or a transport of yours cannot be used or fails; ``.output`` as before,
            where something was sent.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed
        from . import runner  # noqa: PLC0415

        options = RunOptions.of(
            limits=limits or self.limits,
            retry=retry or self.retry,
            journal=journal,
            progress=progress,
            on_invalid=on_invalid,
            on_in_doubt=on_in_doubt,
            on_text=on_text,
            retry_failed=retry_failed,
            store=self.store if store is None else store,
            duplicates=duplicates,
            send=send,
            deadline=self.deadline if deadline is None else deadline,
            submission=self.submission if submission is None else submission,
            replace=replace,
        )
        return runner.run(self, table, inputs, connection, options)

    def run_batches(
        self,
        source: Any = None,
        connection: GivenConnection | None = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        retry: Retry | None = None,
        journal: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        on_in_doubt: OnInDoubt = "resend",
        retry_failed: RetryFailed = "transient",
        store: str | os.PathLike[str] | None = None,
        duplicates: Duplicates = "send",
        deadline: float | None = None,
        submission: str | os.PathLike[str] | None = None,
        check: Literal["lazy", "first", False] = "lazy",
        window: str | int = "64MB",
        spill: str | int = "10GB",
        query: str | None = None,
    ) -> WorkflowBatches:
        """Run the workflow over a table that need not fit into memory; what becomes of it comes in batches.

        A row goes through all nodes while others are still waiting, and rows that have come further go first. All
        requests have one set of limits; where nodes have different connections, ``concurrency`` and the rates are each
        connection's, and what is counted over the run (``max_requests``, ``token_budget``, ``max_cost``) that of all.
        No output is written.

        Parameters
        ----------
        source : path, address of a database, table, Arrow stream or dataset, or iterator of batches
            As in `CreateChatCompletion.run_batches`. Default: the workflow's own table.
        inputs, store, deadline, submission
            As in `run`. Rows for a worker are submitted as they come to their node, with which neither ``max_requests``
            nor ``token_budget`` can be set.
        connection, limits, retry, journal, progress, on_invalid, on_in_doubt, retry_failed, check, window, spill, query
            As in `CreateChatCompletion.run_batches`; limits and retries are by default the workflow's own.
        duplicates : {"send", "once"}
            As in `run`, for each node. Of equal rows the first to come is sent, which need not be the table's first.

        Returns
        -------
        WorkflowBatches
            A stream of Arrow record batches: the table that `run` returns. Its ``.summaries`` are there at the end.

        Raises
        ------
        UsageError, InvalidRequests
            If something does not fit together, a node needs the whole table, or a row cannot be sent and `on_invalid`
            is "raise"; nothing has been sent then.
        JournalError, Interrupted
            While it is read, after the rows that have come.
        """
        from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
        from ..nodes.batch_node import check_batch_options, size_in_bytes  # noqa: PLC0415
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed
        from .workflow_stream import stream  # noqa: PLC0415

        check_batch_options(check, on_invalid)
        options = RunOptions.of(
            limits=limits or self.limits,
            retry=retry or self.retry,
            journal=journal,
            progress=progress,
            on_invalid=on_invalid,
            on_in_doubt=on_in_doubt,
            retry_failed=retry_failed,
            store=self.store if store is None else store,
            duplicates=duplicates,
            deadline=self.deadline if deadline is None else deadline,
            submission=self.submission if submission is None else submission,
        )
        return stream(
            self,
            tables.batch_source(self.table if source is None else source, query),
            inputs,
            connection,
            options,
            check=check,
            window=size_in_bytes(window, "window"),
            spill=size_in_bytes(spill, "spill"),
        )
