"""The nodes whose answers come later: requests that a worker sends, and the answers by their ids."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import orjson

from ..bodies.body_plan import BodyPlan
from ..bodies.settings_plan import SettingsPlan, needed
from ..errors import ConnectionSettingError, SettingError
from ..problems import Problem, Rejected
from ..run.rows import Context
from ..store import ids
from .declarations import CreateChatCompletion, CreateCompletion
from .node import Node
from .request_node import RequestNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..connection.connection import Connection
    from ..run.options import OnInvalid, RunOptions
    from ..run.output import NodeOutput, Responses
    from ..settings import Limits, Retry
    from ..templates.template import Column, LiteralText

ID = "future_response_id"
DAY = 86_400.0
_ENDLESS = 365 * DAY
"""Seconds beyond which a wait has no end."""


class _CommaSeparatedStop(BodyPlan):
    """Bodies whose ``stop`` may be one text: a JSON array of the sequences, or the sequences with commas between."""

    def build(self, cells: tuple[Any, ...]) -> dict[str, Any]:
        """Give a row's body, before the gate."""
        body = super().build(cells)
        stop = body.get("stop")
        if type(stop) is not str:
            return body
        sequences = _listed(stop)
        if sequences is None:
            sequences = [part.strip(" ") or part for part in stop.split(",") if part]
            if sequences and "," not in stop:
                return body
        if sequences:
            body["stop"] = sequences
        else:
            del body["stop"]
        return body


def _listed(text: str) -> list[str] | None:
    """Give the texts of a JSON array of texts, None for any other text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(each, str) for each in found) else None


@dataclass(frozen=True, kw_only=True, repr=False)
class AsyncRequestNode(RequestNode):
    """What is asked of every row, to be sent by a worker."""

    makes: ClassVar[Mapping[str, str]] = MappingProxyType({ID: "text", "error_message": "text"})
    sends: ClassVar[bool] = False
    bodies: ClassVar[type[BodyPlan]] = _CommaSeparatedStop

    @classmethod
    def does(cls) -> str:
        """Give the method and the path."""
        return f"{super().does()}, later" if cls.operation else ""

    def carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> NodeOutput:
        """Run the node as a part of a workflow; see `Node.carry_out`."""
        from ..later.submission import submit  # noqa: PLC0415 - loaded where it is used

        if options.submission is None and options.journal is not None:
            # Nothing is kept there, but it says what a workflow is run for.
            options = replace(options, submission=os.path.abspath(options.journal))
        return submit(self, table, connection, context, options)

    def run(  # type: ignore[override] # what comes back is no answer yet, and there is no journal beside the store
        self,
        table: Any,
        connection: Connection | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        retry: Retry | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        deadline: float = DAY,
        submission: str | os.PathLike[str] | None = None,
    ) -> NodeOutput:
        """Hand one request a row to the store's worker and come back at once.

        The worker is a process of its own, which is started if none is at work: it goes on when this one ends. The
        answers are got by `RetrieveResponse`, from any process, also from a saved table. Requests and answers stay in
        the store, which its owner alone can read, until ``tablenodes store --clear`` deletes them.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One request a row.
        connection : Connection, optional
            Default: ``Connection()``, which reads the environment. Its key goes to the worker through the worker's
            environment; it is never written down.
        store : path, optional
            Default: the file that ``TABLENODES_STORE`` names, else one in the user's data folder.
        limits : Limits, optional
            What the worker may use at most for rows that are asked alike.
        retry : Retry, optional
            How often a row is tried again.
        progress : bool, optional
            False says less.
        on_invalid : {"report", "raise"}
            What happens with rows that cannot be sent: they are reported in their place, or nothing is submitted.
        deadline : float
            Seconds from now within which a row must be sent, 1 to 2,592,000. A worker that is started again later does
            not extend it.
        submission : str or path, optional
            A name of your own for it. Rows that were submitted under the same name before, to the same store, get the
            ids that they had and are not sent again, unless they failed in a way that may pass. Default: each row is
            new.

        Returns
        -------
        NodeOutput
            Its columns are ``future_response_id`` (text, null where the row failed) and ``error_message`` (text, null
            where it was accepted). ``.table`` has them beside the configuration; so do ``.succeeded`` and ``.failed``.

        Raises
        ------
        UsageError
            If something does not fit together, such as a missing key; nothing has been submitted then.
        InvalidRequests
            If rows cannot be sent and `on_invalid` is "raise"; nothing has been submitted then.
        Interrupted
            If it was stopped; ``.output`` has the ids of the rows that were accepted by then.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        options = RunOptions.of(
            store=store,
            limits=limits,
            retry=retry,
            progress=progress,
            on_invalid=on_invalid,
            deadline=deadline,
            submission=submission,
        )
        return self.carry_out(table, connection, Context(), options)


@dataclass(frozen=True, kw_only=True, repr=False)
class CreateChatCompletionAsync(AsyncRequestNode, CreateChatCompletion):
    """Ask a chat model, without waiting for its answer: POST /chat/completions, by a worker.

    Its settings are those of `CreateChatCompletion`; ``stop`` may also be one text: the sequences with commas
    between them, or as a JSON array.
    """


@dataclass(frozen=True, kw_only=True, repr=False)
class CreateCompletionAsync(AsyncRequestNode, CreateCompletion):
    """Have a model go on with a text, without waiting for it: POST /completions, by a worker.

    Its settings are those of `CreateCompletion`; ``stop`` may also be one text: the sequences with commas
    between them, or as a JSON array.
    """


class _IdPlan(SettingsPlan):
    """The ids of a table, row by row."""

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Give a row's id as the store keeps it."""
        value = super().encode(cells).get(ID)
        if value is None or value == "":
            raise Rejected(Problem(f"$.{ID}", "null", "there is no id in this row", "null"))
        found = ids.read(value)
        if found is None:
            words = "this is no id of a future, or a character of it was changed"
            raise Rejected(Problem(f"$.{ID}", "id", words), outcome="invalid_id")
        return found


@dataclass(frozen=True, kw_only=True, repr=False)
class RetrieveResponse(Node):
    """Get the answers of submitted requests, by their ids.

    Parameters
    ----------
    future_response_id : str
        The id. Default: the column of that name.
    wait : float, optional
        Seconds to wait for answers that have not come; 0 waits for none. Default, as infinity: until no more can come.
    """

    own: ClassVar[tuple[str, ...]] = ("wait",)

    future_response_id: str | Column | LiteralText | None = None
    wait: float | str | None = None

    @classmethod
    def does(cls) -> str:
        """Say what becomes of a row."""
        return "an id becomes its answer"

    def kept(self, name: str, value: Any) -> Any:
        """Give a setting's value as the node's own."""
        return _seconds(value) if name == "wait" else super().kept(name, value)

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> SettingsPlan:
        """Give what becomes of a table's rows; see `Node.plan`."""
        if self.future_response_id is None:
            needed(ID, columns)
        return _IdPlan(self.parsed(), columns, defaults={ID: ID}, constants=constants)

    def carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> NodeOutput:
        """Run the node as a part of a workflow; see `Node.carry_out`."""
        try:
            return _retrieved(self, table, connection, context, options)
        except ConnectionSettingError:  # it sends nothing: what was submitted may need no key of this connection
            return _retrieved(self, table, None, context, options)

    def run(
        self,
        table: Any,
        wait: float | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        connection: Connection | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
    ) -> Responses:
        """Give the answers that have come; start a worker if rows are pending and none is at work.

        Parameters
        ----------
        table : NodeOutput or table
            What a node that ends in Async gave; or a table with one id a row in the column ``future_response_id``.
        wait : float, optional
            Seconds to wait for answers that have not come; 0 waits for none. Default: the setting, else, as with
            infinity, until all are there or no more can come.
        store : path, optional
            The store into which the rows were submitted.
        connection : Connection, optional
            The one that the rows were submitted with, where its key was given by ``api_key=``.
        progress : bool, optional
            Whether to show a bar while waiting. Default: in a terminal or a notebook.
        on_invalid : {"report", "raise"}
            What happens with rows that have no valid id.

        Returns
        -------
        Responses
            As `CreateChatCompletion.run` gives them. A row without an answer has no status and an error object of
            type ``pending`` with the reason, if there is one; a wrong id is ``invalid_id``, one that the store does
            not know ``unknown_id``.

        Raises
        ------
        UsageError
            If something does not fit together.
        StoreError
            If the store cannot be read.
        Interrupted
            If it was stopped while it waited; ``.output`` has what came by then. The worker goes on.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        options = RunOptions.of(store=store, progress=progress, on_invalid=on_invalid)
        node = self if wait is None else self.replace(wait=wait)
        return _retrieved(node, table, connection, Context(), options)


def _retrieved(
    node: RetrieveResponse, table: Any, connection: Connection | None, context: Context, options: RunOptions
) -> Responses:
    from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
    from ..later.retrieval import Retrieval  # noqa: PLC0415
    from ..run.check import check_rows, refuse_invalid  # noqa: PLC0415
    from ..run.output import NodeOutput  # noqa: PLC0415
    from ..run.rows import prepared  # noqa: PLC0415
    from ..store import StoreFile  # noqa: PLC0415

    view = tables.view(table.table if isinstance(table, NodeOutput) else table)
    plan = node.plan(view.columns, constants=context.constants)
    if options.on_invalid == "raise":
        refuse_invalid(check_rows(plan, view))
    name = context.scope or type(node).__name__
    wait = None if node.wait is None else float(node.wait)
    with StoreFile(options.store) as store:
        retrieval = Retrieval(view, store, connection, plan.columns)
        return retrieval.carry_out(prepared(plan, view, context), wait, options.progress, name)


def _seconds(value: Any) -> float | None:
    """Give seconds as a number; they may be written as a text."""
    try:
        seconds = float(value) if isinstance(value, str) else value
    except ValueError:
        seconds = math.nan
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        message = "wait must be a number of seconds, 0 or more; leave it out to wait until all are there"
        raise SettingError(message, place="wait")
    return None if seconds > _ENDLESS else float(seconds)
