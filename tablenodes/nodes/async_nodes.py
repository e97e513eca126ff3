"""The nodes whose answers come later: requests that a worker sends, and the answers by their ids."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..answers import RowAnswers
from ..bodies.body_plan import BodyPlan
from ..bodies.recipe import Recipe
from ..bodies.response_plan import ResponsePlan
from ..bodies.settings_plan import SettingsPlan, needed
from ..bodies.stop_sequences import separated, sequences
from ..bodies.values import TextValue, is_varying
from ..column_names import OUTPUTS
from ..connection.connection import given_connection
from ..errors import ConnectionSettingError, SettingError
from ..problems import Problem, Rejected, Remark
from ..run.display import counted
from ..run.options import DAY
from ..run.rows import Context, PlanInputs
from ..store import ids
from .answer_columns import CHECKS, answers_of, beside_earlier, check_free, suffixed
from .answer_shapes import Shape, of_any
from .declarations import CreateChatCompletion, CreateCompletion, CreateResponse
from .node import OWN, Declaration, Node
from .reference import documented
from .request_node import RequestNode

if TYPE_CHECKING:
    from ..connection.connection import Connection, GivenConnection
    from ..run.options import OnInvalid, RetryFailed, RunOptions
    from ..run.output import AnyOutput, NodeOutput, Responses, T
    from ..settings import Limits, Retry
    from ..templates.template import Column, LiteralText
    from .node import Nodes

ID = "future_response_id"
_ENDLESS = 365 * DAY  # seconds beyond which a wait has no end


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

        if not options.send:
            what = f"{context.scope or type(self).__name__} hands its rows to a worker, which sends them"
            told = f"send=False: {what}; leave it out"
            raise SettingError(told, code="sends_later", place="send", values={"what": what})
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


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class RetrieveResponse(Node):
    """Get the answers of submitted requests, by their ids.

    Parameters
    ----------
    future_response_id : str
        The id. Default: the column of that name.
    wait : float, optional
        Seconds to wait for answers that have not come; 0 waits for none. Default, as infinity: until no more can come.
    answer : type, list or mapping
        What an answer is, as on the chat that was submitted: the answers are judged by it and come as typed columns.
    into : str, optional
        What the answer's column is called, in place of ``answer``; of an answer of several fields, what stands before
        their names.
    """

    _declared = Declaration(gives="an id becomes its answer", defaults={ID: ID})

    future_response_id: str | Column | LiteralText | None = None
    wait: float | str | None = field(default=None, metadata=OWN)
    answer: Any = field(default=None, metadata=OWN)
    into: str | None = field(default=None, metadata=OWN)

    @cached_property
    def _answers(self) -> RowAnswers:
        """How the answers are read, however they were asked for: one that was given by a tool is found there."""
        return answers_of(self, mode="tool")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._answers  # noqa: B018 - what `answer` says is read here, or refused

    def _kept(self, name: str, value: Any) -> Any:
        check = {**CHECKS, "wait": _seconds}.get(name)
        return super()._kept(name, value) if check is None else check(value)

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> SettingsPlan:
        if self.future_response_id is None:
            needed(ID, columns)
        defaults, constants = self._declared.defaults, inputs.constants
        plan = SettingsPlan(self._parsed(), columns, defaults=defaults, constants=constants, becomes=_stored_id)
        answers = self._answers.within(inputs.prefix)
        others = beside_earlier(answers, columns, plan.columns)
        check_free(answers, others)
        plan.note(suffixed(answers, others))
        return plan

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        if options.retry_failed == "transient":  # in a workflow, those are submitted again where the same rows are
            options = replace(options, retry_failed="none")
        try:
            return self._retrieved(table, connection, context, options)
        except ConnectionSettingError:  # it sends nothing: what was submitted may need no key of this connection
            return self._retrieved(table, None, context, options)

    def _retrieved(
        self, table: Any, connection: Connection | None, context: Context, options: RunOptions
    ) -> Responses[Any]:
        from ..later.retrieval import Wanted, retrieve  # noqa: PLC0415 - loaded where it is used
        from ..run.provenance import Asked, Provenance  # noqa: PLC0415

        name, wait = context.scope or type(self).__name__, None if self.wait is None else float(self.wait)
        wanted = Wanted(name, self._plan, wait, self._answers, options.retry_failed)
        output = retrieve(wanted, table, connection, context, options)
        asked = Asked(name, type(self).__name__, self._shown())
        output._provenance = Provenance.of(asked, connection, seconds=output.summary.seconds)
        return output

    def _answer_shape(self, earlier: Nodes, columns: Sequence[str] | None) -> Shape | None:
        """Return what is known of answers that were asked for earlier, in the workflow or elsewhere."""
        submitted = dict(earlier).get(self._retrieves(earlier) or "")
        if isinstance(submitted, RequestNode):
            shape = submitted._answered(columns)
        else:
            shape = of_any(node._declared.operation for node in (CreateChatCompletion, CreateCompletion))
        return shape and shape._replace(answer=self._answers.written())

    def _answer_columns(self, name: str) -> Mapping[str, Any]:
        return self._answers.within(name).types

    def _retrieves(self, earlier: Nodes) -> str | None:
        value: Any = self._parsed().get(ID)
        named = set(value.columns()) if is_varying(value) else {ID} if value is None else set()
        if named == {OUTPUTS} and isinstance(value, TextValue):
            paths = value.template.reached[OUTPUTS]
            ids = [str(path[0]) for path in paths if path[1:] == (ID,)] if len(paths) == 1 else []
        elif named == {ID}:
            ids = [name for name, each in earlier if each is not None and ID in each._declared.makes][-1:]
        else:
            ids = []
        submitted = dict(earlier).get(ids[0]) if ids else None
        return ids[0] if submitted is not None and submitted._declared.later else None

    def run(
        self,
        table: Any,
        wait: float | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        connection: GivenConnection | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        retry_failed: RetryFailed = "none",
    ) -> Responses[Any]:
        """Return the answers that have come; start a worker if rows are pending and none is at work.

        Parameters
        ----------
        table : NodeOutput, table or str
            What a node that ends in Async gave; or a table with one id a row in the column ``future_response_id``; or
            one id.
        wait : float, optional
            Seconds to wait for answers that have not come; 0 waits for none. Default: the setting, else, as with
            infinity, until all are there or no more can come.
        connection : Connection, optional
            The one that the rows were submitted with, where its key was given by ``api_key=``.
        store, progress, on_invalid
            As in `CreateChatCompletion.run`: where the rows were submitted; rows without a valid id are invalid.
        retry_failed : {"none", "transient", "all"} or list of str
            Which rows that failed the worker sends again before anything is returned: those whose failure may pass,
            all, or those of a list: of outcomes, and "transient". They have as much time as they had at first.

        Returns
        -------
        Responses
            As `CreateChatCompletion.run` gives them, judged and typed by ``answer``. A row without an answer has no
            status and an error object of type ``pending`` with the reason, if there is one; a wrong id is
            ``invalid_id``, one that the store does not know ``unknown_id``. Columns of an earlier retrieval in the
            table make room for these.

        Raises
        ------
        UsageError, StoreError, Interrupted
            If something does not fit together, the store cannot be read, or it was stopped while it waited: ``.output``
            has what came by then. The worker goes on.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        options = RunOptions.of(store=store, progress=progress, on_invalid=on_invalid, retry_failed=retry_failed)
        node = self if wait is None else self.replace(wait=wait)
        return node._retrieved(_of_ids(table), given_connection(connection, SettingError), Context(), options)


def _of_ids(table: Any) -> Any:
    """Return a table of ids: of the one that is given in its place, else as it is."""
    if not isinstance(table, str):
        return table
    if not table.startswith("resp_"):
        how = f"one id, or a table, such as tn.read_table({table!r})"
        raise SettingError(f"a text is the id of a submitted row, which begins with resp_: give {how}", place="table")
    from .. import tables  # noqa: PLC0415 - loads pandas

    return tables.frame({ID: [table]}, {ID: "text"})


def _stored_id(settings: dict[str, Any]) -> bytes:
    """Return a row's id as the store keeps it; raise `Rejected` for what is none."""
    value = settings.get(ID)
    if value is None or value == "":
        raise Rejected(Problem(f"$.{ID}", "null", "this row has no id", "null"))
    if (found := ids.read(value)) is None:
        words = "not the id of a submitted row, or a character of it was changed"
        raise Rejected(Problem(f"$.{ID}", "id", words), outcome="invalid_id")
    return found


def _seconds(value: Any) -> float | None:
    """Return seconds as a number; they may be written as a text."""
    try:
        seconds = float(value) if isinstance(value, str) else value
    except ValueError:
        seconds = math.nan
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        message = "wait must be a number of seconds, 0 or more; leave it out to wait until all answers are there"
        raise SettingError(message, place="wait")
    return None if seconds > _ENDLESS else float(seconds)
