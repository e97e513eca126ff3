"""The node that gets the answers of submitted requests, by their ids."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ..answers import RowAnswers
from ..bodies.settings_plan import SettingsPlan, needed
from ..bodies.values import TextValue, is_varying
from ..column_names import OUTPUTS
from ..connection.connection import given_connection
from ..errors import ConnectionSettingError, SettingError
from ..problems import Problem, Rejected
from ..run.options import DAY
from ..run.rows import Context, PlanInputs
from ..store import ids
from .answer_columns import CHECKS, answers_of, beside_earlier, check_free, suffixed
from .answer_shapes import Shape, of_any
from .async_nodes import ID
from .batch_node import check_batch_options, source_of
from .declarations import CreateChatCompletion, CreateCompletion
from .node import OWN, Declaration, Node
from .reference import documented
from .request_node import RequestNode

if TYPE_CHECKING:
    from ..connection.connection import Connection, GivenConnection
    from ..later.pending_answers import Wanted
    from ..run.options import OnInvalid, RetryFailed, RunOptions
    from ..run.output import AnyOutput, Responses
    from ..run.response_batches import ResponseBatches
    from ..templates.template import Column, LiteralText
    from .node import Nodes

_ENDLESS = 365 * DAY  # seconds beyond which a wait has no end


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
        from ..later.retrieval import retrieve  # noqa: PLC0415 - loaded where it is used
        from ..run.provenance import Asked, Provenance  # noqa: PLC0415

        wanted = self._wanted(context, options)
        output = retrieve(wanted, table, connection, context, options)
        asked = Asked(wanted.name, type(self).__name__, self._shown())
        output._provenance = Provenance.of(asked, connection, seconds=output.summary.seconds)
        return output

    def _in_batches(
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
        **_: Any,
    ) -> ResponseBatches:
        from ..later.retrieval_batches import retrieve_batches  # noqa: PLC0415 - loaded where it is used
        from ..run.provenance import Asked, Provenance  # noqa: PLC0415

        if context.scope and options.retry_failed == "transient":  # as above
            options = replace(options, retry_failed="none")
        wanted, batches = self._wanted(context, options), source_of(source, query, reading, rows)
        try:
            made = retrieve_batches(wanted, batches, connection, context, options, check=check)
        except ConnectionSettingError:  # as above
            made = retrieve_batches(wanted, batches, None, context, options, check=check)
        made._provenance = Provenance.of(Asked(wanted.name, type(self).__name__, self._shown()), connection)
        return made

    def _wanted(self, context: Context, options: RunOptions) -> Wanted:
        from ..later.pending_answers import Wanted  # noqa: PLC0415 - loaded where it is used

        name, wait = context.scope or type(self).__name__, None if self.wait is None else float(self.wait)
        return Wanted(name, self._plan, wait, self._answers, options.retry_failed)

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

    def run_batches(
        self,
        source: Any,
        wait: float | None = None,
        *,
        store: str | os.PathLike[str] | None = None,
        connection: GivenConnection | None = None,
        progress: bool | None = None,
        on_invalid: OnInvalid = "report",
        retry_failed: RetryFailed = "none",
        check: Literal["lazy", "first", False] = "lazy",
        query: str | None = None,
    ) -> ResponseBatches:
        """Return the answers to a table of ids that need not fit into memory, batch by batch, in its order.

        Each batch comes out once its answers are there, or no more can come; the worker goes on with the others
        meanwhile.

        Parameters
        ----------
        source, check, query
            As in `CreateChatCompletion.run_batches`; the rows have their ids in the column ``future_response_id``.
        wait : float, optional
            Seconds to wait for all answers together, from now on; what has come later is there all the same. Otherwise
            as in `run`.
        store, connection, progress, on_invalid, retry_failed
            As in `run`; ``on_invalid="raise"`` needs ``check="first"``. Failed rows of all batches are sent again
            before the first one comes out; of a source that can be read only once, those of each batch when it is read.

        Returns
        -------
        ResponseBatches
            A stream of Arrow record batches, as `CreateChatCompletion.run_batches` gives it, with the columns that the
            table of `run` has. Columns of an earlier retrieval make room where the source can be read twice.

        Raises
        ------
        UsageError, StoreError
            As in `run`.
        Interrupted
            While it is read, after the batches whose answers were there. The worker goes on.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        check_batch_options(check, on_invalid)
        options = RunOptions.of(store=store, progress=progress, on_invalid=on_invalid, retry_failed=retry_failed)
        node = self if wait is None else self.replace(wait=wait)
        given = given_connection(connection, SettingError)
        return node._in_batches(source, given, options, Context(), check=check, query=query)


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
