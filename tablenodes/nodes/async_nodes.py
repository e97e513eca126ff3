"""The nodes whose answers come later: their requests are sent by a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..bodies.body_plan import BodyPlan
from ..bodies.recipe import Recipe
from ..bodies.response_plan import ResponsePlan
from ..bodies.stop_sequences import separated, sequences
from ..connection.connection import given_connection
from ..errors import SettingError
from ..problems import Remark
from ..run.display import counted
from ..run.options import DAY
from ..run.rows import Context, PlanInputs
from .batch_node import check_batch_options, source_of
from .declarations import CreateChatCompletion, CreateCompletion, CreateResponse
from .node import Declaration
from .reference import documented
from .request_node import RequestNode

if TYPE_CHECKING:
    from ..connection.connection import Connection, GivenConnection
    from ..later.submission_batches import SubmissionBatches
    from ..run.options import OnInvalid, RunOptions
    from ..run.output import AnyOutput, NodeOutput, T
    from ..settings import Limits, Retry

ID = "future_response_id"


class _CommaSeparatedStop(BodyPlan):
    """Bodies whose ``stop`` may be one text: a JSON array of the sequences, or the sequences with commas between."""

    def build(self, cells: tuple[Any, ...]) -> dict[str, Any]:
        """Return a row's body, before the gate."""
        body = super().build(cells)
        stop = body.get("stop")
        if type(stop) is str and not (found := sequences(stop)):
            del body["stop"]
        elif type(stop) is str:
            body["stop"] = found
        return body


@dataclass(frozen=True, kw_only=True, repr=False)
class AsyncRequestNode(RequestNode):
    """What is asked of every row, to be sent by a worker."""

    def _recipe(self) -> Recipe:
        recipe = super()._recipe()
        stop = separated(recipe.settings.get("stop"))
        return recipe if stop is None else replace(recipe, settings={**recipe.settings, "stop": stop})

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> BodyPlan:
        plan = super()._plan(columns, inputs)
        if (stop := separated(self._settings().get("stop"))) is not None:
            read = f"stop is read as {counted(len(stop), 'sequence')}, separated by commas"
            plan.note([Remark(f'{read}; for a comma in one, write a list: stop=["…"]', "stop")])
        return plan

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        from ..later.submission import submit  # noqa: PLC0415 - loaded where it is used

        self._check_sent(context, options)
        return submit(self._asking(context.scope), self._declared.makes, table, connection, context, options)

    def run(  # type: ignore[override] # what comes back is no answer yet, and there is no journal beside the store
        self,
        table: T,
        connection: GivenConnection | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        retry: Retry | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        deadline: float = DAY,
        submission: str | os.PathLike[str] | None = None,
    ) -> NodeOutput[T]:
        """Hand one request a row to the store's worker and come back at once.

        The worker is a process of its own, which is started if none is at work: it goes on when this one ends. The
        answers are got by `RetrieveResponse`, from any process, also from a saved table. Requests and answers stay in
        the store, which its owner alone can read, until ``tablenodes store --clear`` deletes them.

        Parameters
        ----------
        table, store, retry, progress, on_invalid
            As in `CreateChatCompletion.run`.
        connection : Connection or str, optional
            As in `CreateChatCompletion.run`. Its key goes to the worker through the worker's environment; it is never
            written down.
        limits : Limits, optional
            What the worker may use at most for rows that are asked alike.
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
        UsageError, InvalidRequests
            As in `CreateChatCompletion.run`; nothing has been submitted then.
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
        return self._carry_out(table, given_connection(connection, SettingError), Context(), options)

    def run_batches(  # type: ignore[override] # as `run`
        self,
        source: Any,
        connection: GivenConnection | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        limits: Limits | None = None,
        retry: Retry | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        deadline: float = DAY,
        submission: str | os.PathLike[str] | None = None,
        check: Literal["lazy", "first", False] = "lazy",
        query: str | None = None,
    ) -> SubmissionBatches:
        """Hand the requests of a table that need not fit into memory to the store's worker, batch by batch.

        Rows are read and submitted as the batches are taken: those of a batch are in the store when it comes out, and
        the worker sends them while others follow. It is one submission, however many batches it has.

        Parameters
        ----------
        source, check, query
            As in `CreateChatCompletion.run_batches`.
        connection, store, limits, retry, progress, on_invalid, deadline
            As in `run`; ``on_invalid="raise"`` needs ``check="first"``.
        submission : str or path, optional
            As in `run`. After a kill or Ctrl-C, the same call submits what is missing, and the rows that were submitted
            have the ids that they had. Without a name, each row is new.

        Returns
        -------
        SubmissionBatches
            A stream of Arrow record batches: the table that `run` returns. At its end it has ``.summary``.

        Raises
        ------
        UsageError, InvalidRequests
            As in `run`; nothing has been submitted then.
        Interrupted
            While it is read, after the rows that were submitted.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        check_batch_options(check, on_invalid)
        options = RunOptions.of(
            store=store,
            limits=limits,
            retry=retry,
            progress=progress,
            on_invalid=on_invalid,
            deadline=deadline,
            submission=submission,
        )
        given = given_connection(connection, SettingError)
        return self._in_batches(source, given, options, Context(), check=check, query=query)

    def _in_batches(  # type: ignore[override] # what comes back is no answer yet
        self,
        source: Any,
        connection: Connection | None,
        options: RunOptions,
        context: Context,
        *,
        check: str | bool = "lazy",
        query: str | None = None,
        reading: Mapping[str, str] | None = None,
        rows: slice | None = None,
        logged: bool = False,
        **_: Any,
    ) -> SubmissionBatches:
        from ..later.submission_batches import submit_batches  # noqa: PLC0415 - loaded where it is used

        self._check_sent(context, options)
        batches, asking = source_of(source, query, reading, rows), self._asking(context.scope)
        how: Any = {"check": check, "logged": logged}
        return submit_batches(asking, self._declared.makes, batches, connection, context, options, **how)

    def _check_sent(self, context: Context, options: RunOptions) -> None:
        """Raise `SettingError` where nothing is to be sent."""
        if not options.send:
            what = f"{context.scope or type(self).__name__} hands its rows to a worker, which sends them"
            told = f"send=False: {what}; leave it out"
            raise SettingError(told, code="sends_later", place="send", values={"what": what})


def _later(declared: Declaration) -> Declaration:
    """Return what a node is whose requests a worker sends."""
    return replace(declared, makes=dict.fromkeys((ID, "error_message"), "text"), bodies=_CommaSeparatedStop, later=True)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateChatCompletionAsync(AsyncRequestNode, CreateChatCompletion):
    """Ask a chat model, without waiting for its answer: POST /chat/completions, by a worker.

    Its settings are those of `CreateChatCompletion`; ``stop`` may also be one text: the sequences with commas
    between them, or as a JSON array. What ``answer`` says is asked for; set the same ``answer`` on the
    `RetrieveResponse` that gets the answers: it makes the typed columns. What comes is stored as the server sent it.
    """

    _declared = _later(CreateChatCompletion._declared)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateCompletionAsync(AsyncRequestNode, CreateCompletion):
    """Have a model go on with a text, without waiting for it: POST /completions, by a worker.

    Its settings are those of `CreateCompletion`; ``stop`` may also be one text: the sequences with commas
    between them, or as a JSON array.
    """

    _declared = _later(CreateCompletion._declared)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateResponseAsync(AsyncRequestNode, CreateResponse):
    """Ask a model by the Responses API, without waiting for its answer: POST /responses, by a worker.

    Its settings are those of `CreateResponse`. Set the same ``answer`` on the `RetrieveResponse` that gets the answers.
    """

    _declared = replace(_later(CreateResponse._declared), bodies=ResponsePlan)
