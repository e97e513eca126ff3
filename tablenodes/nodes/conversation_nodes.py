"""The nodes that begin conversations and make them longer; nothing is sent."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ..bodies.recipe import BODY, CONVERSATION
from ..errors import ColumnError, SettingError
from ..problems import Problem, Rejected, Unfit
from ..run.growth import Replies, Said, content_parts, grow, message_list, message_of, spoken
from ..run.rows import Context
from ..store.commits import EMPTY, NO_CONVERSATION, is_id, unknown_conversation
from ..templates.environment import as_text
from .answer_columns import dropped, text_in, turn_in
from .node import OWN, Declaration
from .reference import documented
from .table_node import TableNode

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..bodies.settings_plan import SettingsPlan
    from ..connection.connection import Connection
    from ..run.options import OnInvalid, RunOptions
    from ..run.output import AnyOutput, NodeOutput, Responses, T
    from ..run.rows import PlanInputs
    from ..templates.template import Column, LiteralText

    Text = str | Column | LiteralText | None
    List = Sequence[Any] | str | Column | None

_BEGUN = Declaration(
    gives="a conversation",
    makes={CONVERSATION: "text"},
    handed_on=frozenset({CONVERSATION}),
    defaults={CONVERSATION: CONVERSATION},
    structured=frozenset({"messages", "content"}),
)
_LONGER = replace(_BEGUN, gives="a longer conversation")
_TAKEN = f"the column {CONVERSATION!r} has values that are not ids, and ids would replace them: rename it"
_OUTPUT = "the_output"  # what the output of an earlier run is called outside of a workflow


@dataclass(frozen=True, kw_only=True, repr=False)
class ConversationNode(TableNode):
    """What gives each row a conversation, by its id."""

    @abstractmethod
    def _becomes(self, settings: dict[str, Any]) -> Said:
        """Return the conversation that a row's settings name, and the messages that they make; raise `Rejected`."""

    def _hands_on(self, columns: Sequence[str]) -> tuple[str, ...]:
        return (*(name for name in columns if name != CONVERSATION), CONVERSATION)

    def _make(self, rows: Iterable[Any], context: Context, options: RunOptions) -> Iterator[tuple[Any, ...] | Rejected]:
        answers = [Replies(cast("Responses[Any]", context.outputs[name])) for name in self._follows().values()]
        return grow(rows, answers[0] if answers else None, options.store)


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class CreateConversation(ConversationNode):
    """Begin a conversation in every row.

    A conversation is immutable, and its id stands for its messages: the same ones have the same id, in every row and
    every run. The id is the column ``conversation`` of the output's table, where chat nodes find it.

    Parameters
    ----------
    system : str, optional
        What the system says first: a text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    messages : list of dict, optional
        What has been said, as on chat nodes.
    """

    _declared = _BEGUN

    system: Text = None
    messages: List = None

    def _begins_empty(self) -> bool:
        return self.system is None and not self.messages

    def _becomes(self, settings: dict[str, Any]) -> Said:
        """Return the empty conversation, and what is said in it; the ids may only replace a column of ids."""
        if settings.get(CONVERSATION) not in (None, "") and not is_id(settings[CONVERSATION]):
            raise Rejected(Problem(f"$.{CONVERSATION}", "conversation", _TAKEN))
        system, messages = settings.get("system"), settings.get("messages")
        first = [] if system is None else [{"role": "system", "content": as_text(system)}]
        return Said(EMPTY, first + message_list(messages))

    def _instead(self, before: Any) -> Any:
        """Return a cell that is no id: it is the user's own, and stays."""
        return None if before is None or is_id(before) or isinstance(before, Unfit) else as_text(before)


@dataclass(frozen=True, kw_only=True, repr=False)
class AddingNode(ConversationNode):
    """What gives each row a longer conversation.

    Parameters
    ----------
    conversation : str, optional
        The id of the conversation that is made longer. Default: the column ``conversation``.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added first.
    """

    conversation: Text = None
    continue_from: str | None = field(default=None, metadata=OWN)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.continue_from is not None and not isinstance(self.continue_from, str):
            raise SettingError("continue_from names an earlier node of a workflow by its id", place="continue_from")

    def _kept(self, name: str, value: Any) -> Any:
        from ..run.output import NodeOutput  # noqa: PLC0415 - loaded where it is needed

        if isinstance(value, NodeOutput):
            how = "pass it to the run: run(table, continue_from=…)"
            raise SettingError(f"{name}: an output is not a setting; {how}", place=name)
        return super()._kept(name, value)

    def _follows(self) -> dict[str, str]:
        return {} if self.continue_from is None else {"continue_from": self.continue_from}

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> SettingsPlan:
        if self.conversation is None and CONVERSATION not in columns:
            raise ColumnError(f"no column {CONVERSATION!r}: start with CreateConversation, or set conversation")
        plan = super()._plan(columns, inputs)
        if self.conversation is None and not self._appends:
            plan.note(dropped(columns, CONVERSATION, plan.columns))
        return plan

    def _turn(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of an answer to the conversations that is not in them."""
        return turn_in(columns, CONVERSATION) if self.conversation is None else ()

    @property
    def _appends(self) -> bool:
        """Whether an answer is added to the conversations."""
        return self.continue_from is not None

    def run(
        self,
        table: T,
        *,
        store: str | os.PathLike[str] | None = None,
        continue_from: NodeOutput[Any] | None = None,
        on_invalid: OnInvalid = "report",
        progress: bool | None = None,
    ) -> NodeOutput[T]:
        """Make every row's conversation longer; the one that it was is there as before.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One conversation a row, by its id in the column ``conversation``.
        continue_from : NodeOutput, optional
            What a chat node returned for the same rows: each row's answer is added to its conversation first. A row
            without an answer is ``upstream_failed``, and its conversation null. Rows are matched by their positions,
            and an answer is added only to the conversation that it answers: any other row is ``invalid_request``. A row
            that has the answer and this message already keeps its conversation, so that a cell may be run twice. The
            columns that the answer has in the table, such as ``answer`` and ``status``, are left out of the new one.
        store, on_invalid, progress
            As in `CreateConversation.run`, as what is returned and raised.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        options = RunOptions.of(store=store, on_invalid=on_invalid, progress=progress)
        if continue_from is None:
            _refuse_unanswered(table)
            if self.continue_from is not None:
                outside = "outside one, pass its output to run(): continue_from="
                raise SettingError(f"continue_from names a node of a workflow; {outside}")
            return self._carry_out(table, None, Context(), options)
        _refuse_other_rows(continue_from, table)
        node = self if self.continue_from is not None else self.replace(continue_from=_OUTPUT)
        answers = cast("Responses[Any]", continue_from)
        context = Context(outputs={str(node.continue_from): answers}, appended=answers._added())
        return node._carry_out(table, None, context, options)

    def _hands_on(self, columns: Sequence[str]) -> tuple[str, ...]:
        left = self._turn(columns) if self._appends and self.continue_from is None else ()
        return super()._hands_on([name for name in columns if name not in left])

    def _carry_out(self, table: Any, connection: Connection | None, context: Context, options: RunOptions) -> AnyOutput:
        if self._appends and self.continue_from is None:  # answers that are added from a column leave the table
            from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed

            context = replace(context, appended=frozenset(self._turn(tables.view(table, read=False).columns)))
        return super()._carry_out(table, connection, context, options)

    def _becomes(self, settings: dict[str, Any]) -> Said:
        known_as = settings.get(CONVERSATION)
        if known_as is None:
            raise Rejected(Problem(f"$.{CONVERSATION}", "conversation", NO_CONVERSATION), outcome="upstream_failed")
        if not is_id(known_as):
            raise unknown_conversation()
        return Said(str(known_as), self._messages(settings))

    @abstractmethod
    def _messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Return the messages that a row's settings make."""


@dataclass(frozen=True, kw_only=True, repr=False)
class AddingTextNode(AddingNode):
    """What adds a text to each row's conversation.

    Parameters
    ----------
    text : str
        A text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    """

    _role: ClassVar[str] = ""

    text: Text = None

    def __post_init__(self) -> None:
        if self.text is None:
            raise SettingError('text is missing: set what to add, such as text="{{ question }}"')
        super().__post_init__()
        if isinstance(self.text, list | dict):
            how = "for parts (texts and images), set content of AddUserMessage"
            raise SettingError(f"text must be one text; {how}", place="text")

    def _messages(self, row: Mapping[str, Any]) -> list[Any]:
        text = row["text"]
        if text is None:
            raise Rejected(Problem("$.text", "cell", "the cell is empty, and a message needs a text"))
        if isinstance(text, list) and text and all(isinstance(part, dict) and "type" in part for part in text):
            raise Rejected(Problem("$.text", "cell", "the cell has parts: set content of AddUserMessage", "array"))
        return [{"role": self._role, "content": as_text(text)}]


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class AddSystemMessage(AddingTextNode):
    """Add a system message to every row's conversation."""

    _declared = _LONGER
    _role = "system"


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class AddAssistantMessage(AddingTextNode):
    """Add an assistant message to every row's conversation."""

    _declared = _LONGER
    _role = "assistant"


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class AddUserMessage(AddingTextNode):
    """Add a user's message to every row's conversation.

    Parameters
    ----------
    content : list of dict
        In place of `text`: the parts of the message, texts and images, as the API has them.
    """

    _declared = _LONGER
    _role = "user"

    content: List = None

    def __post_init__(self) -> None:
        if self.content is None:
            super().__post_init__()
            return
        if self.text is not None:
            raise SettingError("a message has either a text or parts: set text or content, not both")
        AddingNode.__post_init__(self)

    def _messages(self, row: Mapping[str, Any]) -> list[Any]:
        if self.content is None:
            return super()._messages(row)
        return [{"role": self._role, "content": content_parts(row["content"])}]


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class AddToolMessage(AddingTextNode):
    """Add what a tool returned, which an answer called for, to every row's conversation.

    The message with the call comes before it: name the chat node in `continue_from`, or append its reply.

    Parameters
    ----------
    tool_call_id : str
        The call's id, such as ``{{ outputs.ask.choices[0].message.tool_calls[0].id }}`` in a workflow.
    """

    _declared = _LONGER
    _role = "tool"

    tool_call_id: Text = None

    def __post_init__(self) -> None:
        if self.tool_call_id is None:
            raise SettingError('tool_call_id is missing: set which call to answer, such as tool_call_id="{{ call }}"')
        super().__post_init__()

    def _messages(self, row: Mapping[str, Any]) -> list[Any]:
        if row["tool_call_id"] is None:
            raise Rejected(Problem("$.tool_call_id", "cell", "the cell is empty, so it names no call"))
        return [{**super()._messages(row)[0], "tool_call_id": as_text(row["tool_call_id"])}]


@documented
@dataclass(frozen=True, kw_only=True, repr=False)
class AppendReply(AddingNode):
    """Add a chat node's answers to the conversations that they answer.

    Of each answer, the message of its first choice is added, as the API takes it back: its text, refusal and calls.

    Parameters
    ----------
    body : str, optional
        The answer's body, as JSON. Default: the column ``body``; without one, the text of the answer that the table has
        to the right of its conversations, as `CreateChatCompletion` and `RetrieveResponse` write it.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added; in place of `body`.
    """

    _declared = replace(_LONGER, defaults={CONVERSATION: CONVERSATION, BODY: BODY})

    body: Text = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.body is not None and self.continue_from is not None:
            raise SettingError("the answer must come from one place: set body or continue_from, not both")

    def run(
        self,
        table: Any,
        *,
        store: str | os.PathLike[str] | None = None,
        continue_from: NodeOutput[Any] | None = None,
        on_invalid: OnInvalid = "report",
        progress: bool | None = None,
    ) -> NodeOutput[Any]:
        """Add each row's answer to its conversation; else as `AddUserMessage.run`.

        Parameters
        ----------
        table : NodeOutput or table
            What a chat node returned; or a table with the columns ``conversation`` and ``body``, or with the answers of
            such an output in text columns, as a file has them.
        """
        from ..run.output import Responses  # noqa: PLC0415 - loaded where it is needed

        if isinstance(table, Responses) and continue_from is None:
            table, continue_from = table.configuration, table
        return super().run(table, store=store, continue_from=continue_from, on_invalid=on_invalid, progress=progress)

    def _plan(self, columns: Sequence[str], inputs: PlanInputs) -> SettingsPlan:
        if self.body is None and self.continue_from is None and BODY not in columns and not self._spoken(columns):
            lacking = "no column 'body', and no 'answer' to the right of the conversations"
            by_hand = 'for an answer in other columns use AddAssistantMessage, text="{{ … }}"'
            how = f"give the output of a chat node as continue_from, or set body; {by_hand}"
            raise ColumnError(f"{lacking}: {how}", code="no_reply", values={"column": BODY})
        return super()._plan(columns, inputs)

    def _defaults(self, columns: Sequence[str]) -> Mapping[str, str]:
        return {**super()._defaults(columns), **self._spoken(columns)}

    def _spoken(self, columns: Sequence[str]) -> dict[str, str]:
        """Return which columns have the answers' texts and outcomes, where no column has their bodies."""
        turn = self._turn(columns)
        text = text_in(turn)
        if text is None or self.body is not None or self.continue_from is not None or BODY in columns:
            return {}
        return {"text": text, **({"outcome": turn[-2]} if turn[1:] else {})}

    @property
    def _appends(self) -> bool:
        return True

    def _messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Return the answer's message, where it is not the one of an earlier node."""
        if self.continue_from is not None:
            return []
        return [spoken(row["text"], row.get("outcome")) if "text" in row else message_of(row.get(BODY))]


def _refuse_unanswered(table: Any) -> None:
    """Raise `SettingError` for answers that are given as a table: they would be missing from the conversations."""
    from ..run.output import Responses  # noqa: PLC0415 - loaded where it is needed

    if isinstance(table, Responses):
        how = "run(out.configuration, continue_from=out) adds them, run(out.table) does not"
        raise SettingError(f"unclear whether to add its answers: {how}")


def _refuse_other_rows(output: Any, table: Any) -> None:
    """Raise `SettingError` for an output that cannot be that of the table's rows."""
    from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
    from ..run.output import NodeOutput, Responses  # noqa: PLC0415 - loaded where it is needed

    if not isinstance(output, NodeOutput):
        raise SettingError(f"continue_from must be what a chat node's run returned, not {type(output).__name__}")
    if not isinstance(output, Responses):
        how = "pass the output of a chat node, or of RetrieveResponse for a node that ends in Async"
        raise SettingError(f"continue_from: this output has no answers of a model to continue from: {how}")
    view = tables.view(table, read=False)
    if not view.one_shot and len(view) != output.summary.rows:  # what is read once has no length yet
        rows = f"it has {output.summary.rows:,}, the table {len(view):,}"
        how = "continue all of them, then use .succeeded of the result"
        raise SettingError(f"continue_from must be the output for the same rows: {rows}; {how}")
