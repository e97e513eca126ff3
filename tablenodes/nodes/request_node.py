"""The nodes that send: one request a row."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

from .. import schemas
from ..answers import ANSWER, ANSWER_MODES, RowAnswers, check_settings, lint, provider_of, request_part
from ..bodies.images import IMAGE, own_image
from ..bodies.recipe import BODY, CONVERSATION, EXTRA, SHORTCUTS, Recipe
from ..bodies.stop_sequences import separated
from ..connection.connection import given_connection
from ..connection.endpoint import default_properties, shown_base_url
from ..errors import SettingError, TableError
from ..problems import Problem, Remark
from ..run.display import counted
from ..run.rows import Asking, Context
from .answer_columns import answers_of, check_free, dropped, settings_too, suffixed
from .answer_shapes import answered
from .batch_node import BatchNode
from .node import OWN
from .own_settings import CHECKS, PACK, checked_pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..answers import AnswerSchema
    from ..bodies.body_plan import BodyPlan
    from ..connection.connection import Connection, GivenConnection
    from ..local import LocalModel
    from ..run.estimate import Estimate
    from ..run.options import Duplicates, OnInDoubt, OnInvalid, RetryFailed, RunOptions
    from ..run.output import AnyOutput, Responses, T
    from ..run.rows import PlanInputs
    from ..settings import Limits, Retry
    from ..store.conversations import Conversations
    from .answer_shapes import Shape
    from .node import Nodes

    Schema = str | os.PathLike[str] | Mapping[str, Any]

_SERVED_LOCALLY = ("/chat/completions", "/completions", "/responses", "/embeddings")
# What is the whole of the messages, and what makes messages too.
_ALONE = {"messages": ("prompt", "system", "conversation"), "conversation": ("prompt", "system")}


@dataclass(frozen=True, kw_only=True, repr=False)
class RequestNode(BatchNode):
    """What is asked of every row.

    Parameters
    ----------
    columns : "auto" or sequence of str
        Which table columns set the request properties of their names. "auto" takes all but ``n``, ``best_of``,
        ``user``, ``store``, ``metadata``, ``stream``, ``seed``, ``stop`` and ``prediction``; a sequence takes exactly
        those; ``()`` takes none. A column ``system`` goes with a prompt, as ``system=`` does.
        A column ``body`` holds whole requests; with "auto" it is left alone where a setting reads it, as the text of an
        e-mail in ``prompt="{{ body }}"``, and so it is with ``()``.
    extra_body : mapping, optional
        Properties put on top of every body: those of a certain server, or an explicit null.
    schema : str, path or mapping
        The schema of the request body: a bundled revision, a JSON file, or the schema itself.
    client_timeout : float or str, optional
        Seconds that one attempt may take in all, 0.001 to 86,400; goes before the connection's own.
    into : str, optional
        What the answer's column is called, in place of ``answer``; of an answer of several fields, what stands before
        their names.
    """

    columns: Literal["auto"] | Sequence[str] = field(default="auto", metadata=OWN)
    extra_body: Mapping[str, Any] | None = field(default=None, metadata=OWN)
    schema: Schema = field(default=schemas.DEFAULT_REVISION, metadata=OWN)
    client_timeout: float | str | None = field(default=None, metadata=OWN)
    into: str | None = field(default=None, metadata=OWN)

    @cached_property
    def _answers(self) -> RowAnswers:
        """How the answers are read."""
        return (self._declared.answers or answers_of)(self)

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = self._settings()
        given, mode = getattr(self, "answer", None), getattr(self, "answer_mode", ANSWER_MODES[0])
        place, names = self._declared.form.asked_in, {*settings, *(self.extra_body or ())}
        check_settings(names, mode, has_answer=given is not None, place=place)
        for name in self.extra_body or ():
            if name in settings:
                raise SettingError(f"{name} is set twice, as a setting and in extra_body", place=name)
        for name, known_as in self._declared.form.aliases.items():
            if getattr(self, name) is not None and getattr(self, known_as) is not None:
                raise SettingError(f"{name} is short for {known_as}: set one of the two", place=name)
        for given, others in _ALONE.items() if self._declared.shortcuts else ():
            for name in others:
                if given in settings and name in settings:
                    raise SettingError(f"{name} makes its own messages: set {name} or {given}, not both", place=name)

    def _kept(self, name: str, value: Any) -> Any:
        if name == IMAGE and self._declared.form.images is not None:
            return own_image(value)
        if name == PACK and self._declared.packs:
            return checked_pack(value)
        check = CHECKS.get(name)
        return super()._kept(name, value) if check is None else check(value)

    def _recipe(self) -> Recipe:
        columns = self.columns if isinstance(self.columns, str) else tuple(self.columns)
        answers = self._answers
        declared, given = self._declared, (self._settings(), columns, self._declared.shortcuts)
        asks = answers.schema is not None and getattr(self, ANSWER, None) is not None
        asked = request_part(answers.schema, answers.mode, declared.form.asked_in) if asks and answers.schema else {}
        return Recipe(*given, dict(self.extra_body or {}), asked, form=declared.form)

    def _parsed(self) -> dict[str, Any]:
        """Return the settings as plain JSON, or as values that depend on the row; the shortcuts are messages now."""
        recipe = self._recipe()
        return recipe.parsed() | recipe.parsed_extra()

    def _written(self) -> dict[str, Any]:
        return super()._written() | ({} if self.extra_body is None else {EXTRA: self.extra_body})

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> BodyPlan:
        """Return how a table's rows become request bodies; conversations are looked up in the store."""
        schema, answers = self._schema_of_requests(), self._answers
        defaults = {name: value for name, value in self._declared.supplied.items() if name in schema.properties}
        if inputs.connection is not None and inputs.connection.local_model:
            self._check_local(inputs.connection.local_model)
        plan = self._bodies()(
            self._recipe(),
            schema,
            columns,
            defaults=defaults | default_properties(inputs.connection, self._declared.path),
            constants=inputs.constants,
            conversations=partial(_conversations, inputs.store),
            body_bytes=inputs.body_bytes,
            folder=_image_root(self) or inputs.folder or ".",
        )
        if not self._declared.later:
            plan.note(_with_commas(self._settings().get("stop")))
            written = answers.within(inputs.prefix)
            check_free(written, columns)
            plan.note(suffixed(written, columns))
            shortcuts = SHORTCUTS if self._declared.shortcuts else tuple(self._declared.form.aliases)
            properties = (*schema.properties, *shortcuts, BODY)
            plan.note(() if inputs.prefix else settings_too(written, properties, self._declared.form.named_only))
        if CONVERSATION in plan.taken:
            plan.note(dropped(columns, CONVERSATION, plan.columns))
        if answers.schema is not None and getattr(self, ANSWER, None) is not None:
            check_settings(plan.taken, answers.mode, place=self._declared.form.asked_in)
            warned, refused = _linted(answers.schema, inputs.connection) if answers.mode != "json_object" else ((), ())
            plan.warnings, plan.refused = (*plan.warnings, *answers.schema.remarks, *warned), refused
        return plan

    def _check_local(self, model: LocalModel) -> None:
        """Raise `SettingError` for what the embedded model cannot do."""
        from ..local import DIMENSIONS  # noqa: PLC0415 - the embedded model is an extra

        path = self._declared.path
        if not self._declared.as_it_came and path not in _SERVED_LOCALLY:
            told = f"the embedded models serve {', '.join(_SERVED_LOCALLY)}, and not {path}: use another server"
            raise SettingError(told, place="connection")
        if getattr(self, IMAGE, None) is not None:
            raise SettingError("image: the embedded model sees no images; use a server whose model does", place=IMAGE)
        dimensions = getattr(self, "dimensions", None)
        if model.path is None and isinstance(dimensions, int) and dimensions != DIMENSIONS:
            told = f"dimensions: the embedded model's vectors have {DIMENSIONS}; leave it out, or use another server"
            raise SettingError(told, place="dimensions")
        calls = getattr(self, "tools", None) is not None or getattr(self, "answer_mode", None) == "tool"
        if calls and not self._declared.shortcuts:
            what = "the embedded model calls tools in CreateChatCompletion alone: use that, or another server"
            raise SettingError(f"tools: {what}", place="tools")

    def _schema_of_requests(self) -> schemas.Schema:
        return schemas.load(self.schema, self._declared.operation)

    def _bodies(self) -> Callable[..., BodyPlan]:
        """Return what makes the plan of a table's rows."""
        return self._declared.bodies

    def _asking(self, scope: str) -> Asking:
        """Return what a run knows of the node, which may be a part of a workflow."""
        seconds: Any = self.client_timeout  # a number, since it was checked
        kind, declared = type(self).__name__, self._declared
        own = scope or kind, declared.path, self._plan, declared.choices, seconds, self._answers
        return Asking(*own, kind, self._shown(), declared.method, declared.as_it_came, self._pack)

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        from ..run.run import run  # noqa: PLC0415 - the engine is loaded where it is needed

        return run(self._asking(context.scope), table, connection, context, options)

    def _answer_shape(self, earlier: Nodes, columns: Sequence[str] | None) -> Shape | None:
        made = super()._answer_shape(earlier, columns)
        return made if made is not None else self._answered(columns)

    def _answered(self, columns: Sequence[str] | None) -> Shape | None:
        """Return what is known of the answers themselves, whoever sends the requests."""
        declared, may_use = self._declared, partial(self._may_use, columns)
        shape = answered(declared.operation, declared.form.writers, self._parsed(), may_use, self._choices)
        return shape and shape._replace(answer=self._answers.written())

    def _answer_columns(self, name: str) -> Mapping[str, Any]:
        return {} if self._declared.later else self._answers.within(name).types

    def _choices(self, number: int, given: Mapping[str, Any]) -> int | None:
        """Return how many choices each answer has, of which ``n`` says `number`; None where that is not known."""
        return number

    def _may_use(self, columns: Sequence[str] | None, name: str) -> bool:
        """Return whether a column of the table, one of this name or of whole bodies, may set a property."""
        there = [each for each in (name, BODY) if columns is None or each in columns]
        return any(
            each not in self._declared.form.named_only if self.columns == "auto" else each in self.columns
            for each in there
        )

    def estimate(
        self,
        table: Any,
        connection: GivenConnection | None = None,
        *,
        limits: Limits | None = None,
        journal: str | os.PathLike[str] | None = None,
        sample: int = 0,
    ) -> Estimate:
        """Estimate what a run would send, use, cost and take, before anything is sent.

        Parameters
        ----------
        table, connection, limits
            As in `run`; a stream that can be read only once is refused. What a request costs depends on whose server it
            is.
        journal : path, optional
            The journal of the run. Rows that are answered there are not sent again; what their answers used measures
            the others.
        sample : int
            Send this many rows now, evenly over the table, and measure by their answers. They are paid for once: the
            journal, which must be named, keeps them.

        Raises
        ------
        UsageError
            If the node and the table do not fit together, or a sample would be lost.
        """
        from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
        from ..run.estimate import estimated  # noqa: PLC0415
        from ..run.options import RunOptions, checked  # noqa: PLC0415
        from ..run.rows import PlanInputs, prepared  # noqa: PLC0415

        if journal is not None and self._declared.later:
            raise SettingError("journal: the answers of this node are kept in the store", place="journal")
        if isinstance(sample, bool) or not isinstance(sample, int) or sample < 0:
            raise SettingError("sample must be a whole number of rows from 0", place="sample")
        if sample and journal is None:
            raise SettingError("sample needs journal=: its answers are paid for, and kept there", place="sample")
        options, connection = RunOptions.of(limits=limits, journal=journal), checked(connection)
        view = tables.view(table, read=False)
        if view.one_shot:
            raise TableError("the table is a stream, which can be read only once: read it into a table first")
        if sample and len(view):
            self.run(view.take(_spread_out(len(view), sample)), connection, limits=limits, journal=journal)
        plan = self._plan(
            view.columns, PlanInputs(connection=connection, body_bytes=options.limits.body_bytes, folder=view.folder)
        )
        rows = prepared(plan, view, Context())
        declared = self._declared
        given = rows, connection, options.limits, declared.path
        return estimated(*given, journal=journal, method=declared.method, writes=declared.writes, pack=self._pack)

    def run(
        self,
        table: T,
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
    ) -> Responses[T]:
        """Send one request a row and return every answer in its row's place.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One request a row.
        connection : Connection or str, optional
            A text is the name of a profile (`Connection.from_profile`); "local" is the embedded model. Default: the
            profile that ``TABLENODES_PROFILE`` names, else the ``default`` of ``tablenodes.yaml`` in the current
            folder, else ``Connection()``, which reads the environment. Limits and retries that are not given are a
            profile's.
        limits : Limits, optional
            What the run may use at most.
        retry : Retry, optional
            How often a row is tried again.
        journal : path, optional
            A file that keeps every answer as it comes; a later run of the same rows sends only what is missing.
        progress : bool, optional
            Whether to show a bar. Default: in a terminal or a notebook, once the work lasts.
        on_invalid : {"report", "raise"}
            What happens with rows that cannot be sent: they are reported in their place, or nothing is sent.
        on_in_doubt : {"resend", "report"}
            What happens with rows that an earlier run sent without seeing an answer.
        on_text : callable, optional
            Called with a row's position and the text of its first choice as it arrives: piece by piece where ``stream``
            is set, else once. An empty text says that the row is tried again: what came of it before is void. Answers
            of the journal are left out, and secrets are masked. Where it raises, it is not called again, nothing more
            is sent, what is in flight comes to its end, and an `EndedError` has it as its cause (after
            `KeyboardInterrupt`, an `Interrupted` is raised). No bar is shown.
        retry_failed : {"transient", "all", "none"} or list of str
            Which rows that failed in an earlier run of the same journal are sent again: those whose failure may pass,
            all, none, or those of a list: of outcomes, and "transient", such as ``["transient", "unusable"]``.
        store : path, optional
            The file that conversations are looked up in. Default: ``TABLENODES_STORE`` of the environment, else one in
            the user's data folder.
        duplicates : {"send", "once"}
            What happens with rows that ask the same: each is sent and has an answer of its own; or the first is sent
            alone, and the others have its answer, or its failure, in their places, with no attempts, tokens and cost of
            their own. A row that the journal has an answer for keeps that one.
        send : bool
            False sends nothing and needs no key: each row has the answer that the journal has, or is ``not_sent``.

        Returns
        -------
        Responses
            Unpacks into the Raw Response table and the configuration, the very table that was given.

        Raises
        ------
        UsageError, InvalidRequests
            If something does not fit together, or rows cannot be sent and `on_invalid` is "raise"; nothing has been
            sent then.
        JournalError
            If the journal is in use, foreign, damaged or cannot be written. Where it fails in the middle of a run,
            what was in flight comes to its end, and ``.output`` has it.
        Interrupted
            If the run was stopped; ``.output`` has what came by then.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..run.run import run  # noqa: PLC0415

        options = RunOptions.of(
            limits=limits,
            retry=retry,
            journal=journal,
            progress=progress,
            on_invalid=on_invalid,
            on_in_doubt=on_in_doubt,
            on_text=on_text,
            retry_failed=retry_failed,
            store=store,
            duplicates=duplicates,
            send=send,
        )
        return run(self._asking(""), table, given_connection(connection, SettingError), Context(), options)

    def parse(self, raw: T | str | os.PathLike[str], connection: GivenConnection | None = None) -> Responses[T]:
        """Return a stored Raw Response table as the output of this node again, with nothing sent.

        Outcomes, reasons, answers, texts and usage are as after a run of this node: another ``answer=`` reads the same
        bodies anew.

        Parameters
        ----------
        raw : table or path
            Has the columns ``body`` and ``status``; or the file of such a table, or a table of `read_journal`. What it
            has of a log counts too: its outcomes, or all columns of ``.log``. Its other columns are the configuration.
        connection : Connection, optional
            Whose ``prices`` count, where it has some.

        Raises
        ------
        UsageError
            If the table lacks ``body`` or ``status``, or has a column that is called as one of the answers.
        """
        from ..run.options import checked  # noqa: PLC0415 - the engine is loaded where it is needed
        from ..run.raw_table import parse  # noqa: PLC0415

        prices = checked(connection).prices or {}
        return parse(self._asking(""), raw, prices, partial(check_free, self._answers))


def _spread_out(rows: int, sample: int) -> list[int]:
    """Return the positions of a sample of rows, evenly over the table."""
    return sorted({at * rows // sample for at in range(sample)})


def _conversations(store: str | os.PathLike[str] | None) -> Conversations:
    from ..store.conversations import Conversations  # noqa: PLC0415 - loaded where it is needed

    return Conversations(store)


def _with_commas(stop: Any) -> Sequence[Remark]:
    """Return a line on a ``stop`` whose author may have meant several sequences."""
    found = separated(stop)
    if found is None:
        return ()
    how = f'for {counted(len(found), "sequence")}, write a list: stop=["…", "…"]'
    return [Remark(f"stop is one sequence, with {counted(len(found) - 1, 'comma')} in it; {how}", "stop")]


def _image_root(node: Any) -> str | None:
    """Return the folder that a node's images must lie in, where it names one."""
    given = getattr(node, "image_root", None)
    if given is None:
        return None
    path: str = os.path.abspath(os.path.expanduser(given))
    if not os.path.isdir(path):
        raise SettingError(f"image_root: there is no folder {path}", place="image_root")
    return path


def _linted(answer: AnswerSchema, connection: Connection | None) -> tuple[tuple[str, ...], tuple[Problem, ...]]:
    """Return what a server may not heed in an answer's schema, and what it refuses."""
    is_local = connection is not None and connection.local_model is not None
    found = lint(answer.document, provider_of("" if is_local else shown_base_url(connection), local=is_local))
    places = [(f"answer{path[1:]}", rule, message, severity) for path, rule, message, severity in found]
    warned = tuple(Remark(f"{place}: {message}", place) for place, _, message, each in places if each == "warning")
    return warned, tuple(Problem(place, rule, message) for place, rule, message, each in places if each == "error")
