"""The nodes that begin conversations and make them longer; nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..bodies.taken_columns import BODY, CONVERSATION
from ..errors import ColumnError, SettingError
from ..problems import Problem, Rejected, Unfit
from ..run.rows import Context
from ..store.commits import EMPTY, is_id
from ..templates.template import as_text
from .conversation_base import AddingNode, ConversationNode, Said
from .message_lists import content_parts, message_list
from .replies import said

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from ..bodies.settings_plan import SettingsPlan
    from ..connection.connection import Connection
    from ..run.options import OnInvalid
    from ..run.output import NodeOutput
    from ..tables import TableView
    from ..templates.template import Column, LiteralText

    Text = str | Column | LiteralText | None
    List = Sequence[Any] | str | Column | None


_TAKEN = f"the column {CONVERSATION!r} holds something else than ids, which would take its place: rename it"


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

    defaults: ClassVar[Mapping[str, str]] = MappingProxyType({CONVERSATION: CONVERSATION})

    system: Text = None
    messages: List = None

    @classmethod
    def does(cls) -> str:
        """Say what becomes of a row."""
        return "a conversation"

    def run(
        self,
        table: Any,
        *,
        store: str | os.PathLike[str] | None = None,
        on_invalid: OnInvalid = "report",
        progress: bool | None = None,
    ) -> NodeOutput:
        """Begin a conversation in every row.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One conversation a row.
        store : path, optional
            The file that keeps the messages. Default: ``TABLENODES_STORE`` of the environment, else one in the user's
            data folder.
        on_invalid : {"report", "raise"}
            What happens with rows that have no text, since a cell is empty: they are reported in their place, or
            nothing is made.
        progress : bool, optional
            Whether to show a bar. Default: in a terminal or a notebook, once the work lasts.

        Returns
        -------
        NodeOutput
            Unpacks into a table with the column ``conversation``, and the configuration, the very table that was given.
            ``.table`` is the configuration with that column.

        Raises
        ------
        UsageError
            If the node and the table do not fit together.
        InvalidRequests
            If a row has no text and `on_invalid` is "raise".
        StoreError
            If the store cannot be read or written.
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        options = RunOptions.of(store=store, on_invalid=on_invalid, progress=progress)
        return self.carry_out(table, None, Context(), options)

    def said(self, row: Mapping[str, Any]) -> Said:
        """Give the empty conversation, and what is said in it; a column whose place the ids would take must be free."""
        if row.get(CONVERSATION) not in (None, "") and not is_id(row[CONVERSATION]):
            raise Rejected(Problem(f"$.{CONVERSATION}", "conversation", _TAKEN))
        system, messages = row.get("system"), row.get("messages")
        first = [] if system is None else [{"role": "system", "content": as_text(system)}]
        return Said(EMPTY, first + message_list(messages))

    def instead(self, name: str, view: TableView) -> Iterable[Any]:
        """Give the cells that are no ids: they are the user's own, and stay."""
        if name not in view.columns:
            return super().instead(name, view)
        cells = (cell for (cell,) in view.rows((name,)))
        return (None if cell is None or is_id(cell) or isinstance(cell, Unfit) else as_text(cell) for cell in cells)


@dataclass(frozen=True, kw_only=True, repr=False)
class AddingTextNode(AddingNode):
    """What adds a text to each row's conversation.

    Parameters
    ----------
    text : str
        A text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    """

    role: ClassVar[str] = ""

    text: Text = None

    def __post_init__(self) -> None:
        if self.text is None:
            raise SettingError('text is missing: say what is added, such as text="{{ question }}"')
        super().__post_init__()
        if isinstance(self.text, list | dict):
            message = "text is one text; for parts, texts and images, set content (of AddUserMessage)"
            raise SettingError(message, place="text")

    @classmethod
    def does(cls) -> str:
        """Say what becomes of a row."""
        return "a longer conversation" if cls.role else ""

    def messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Give the message."""
        text = row["text"]
        if text is None:
            raise Rejected(Problem("$.text", "cell", "the cell is empty, and a message needs a text"))
        if isinstance(text, list) and text and all(isinstance(part, dict) and "type" in part for part in text):
            raise Rejected(Problem("$.text", "type", "the cell holds parts: set content (of AddUserMessage)", "array"))
        return [{"role": self.role, "content": as_text(text)}]


@dataclass(frozen=True, kw_only=True, repr=False)
class AddSystemMessage(AddingTextNode):
    """Add a system message to every row's conversation.

    Parameters
    ----------
    text : str
        A text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    conversation : str, optional
        The id of the conversation that is made longer. Default: the column ``conversation``.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added first.
    """

    role: ClassVar[str] = "system"


@dataclass(frozen=True, kw_only=True, repr=False)
class AddAssistantMessage(AddingTextNode):
    """Add what a model is to have said to every row's conversation.

    Parameters
    ----------
    text : str
        A text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    conversation : str, optional
        The id of the conversation that is made longer. Default: the column ``conversation``.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added first.
    """

    role: ClassVar[str] = "assistant"


@dataclass(frozen=True, kw_only=True, repr=False)
class AddUserMessage(AddingTextNode):
    """Add a user's message to every row's conversation.

    Parameters
    ----------
    text : str
        A text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    content : list of dict
        In place of `text`: the parts of the message, texts and images, as the API has them.
    conversation : str, optional
        The id of the conversation that is made longer. Default: the column ``conversation``.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added first.
    """

    role: ClassVar[str] = "user"

    content: List = None

    def __post_init__(self) -> None:
        if self.content is None:
            super().__post_init__()
            return
        if self.text is not None:
            raise SettingError("a message has a text or parts: set text or content, not both")
        AddingNode.__post_init__(self)

    def messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Give the message."""
        if self.content is None:
            return super().messages(row)
        return [{"role": self.role, "content": content_parts(row["content"])}]


@dataclass(frozen=True, kw_only=True, repr=False)
class AddToolMessage(AddingTextNode):
    """Add what a tool gave, which an answer called for, to every row's conversation.

    The message with the call comes before it: name the chat node in `continue_from`, or append its reply.

    Parameters
    ----------
    text : str
        A text with ``{{ column }}`` placeholders, or ``tn.col("name")``.
    tool_call_id : str
        The call's id, such as ``{{ outputs.ask.choices[0].message.tool_calls[0].id }}`` in a workflow.
    conversation : str, optional
        The id of the conversation that is made longer. Default: the column ``conversation``.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added first.
    """

    role: ClassVar[str] = "tool"

    tool_call_id: Text = None

    def __post_init__(self) -> None:
        if self.tool_call_id is None:
            raise SettingError('tool_call_id is missing: say which call is answered, such as tool_call_id="{{ call }}"')
        super().__post_init__()

    def messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Give the message."""
        if row["tool_call_id"] is None:
            raise Rejected(Problem("$.tool_call_id", "cell", "the cell is empty, and names no call"))
        return [{**super().messages(row)[0], "tool_call_id": as_text(row["tool_call_id"])}]


@dataclass(frozen=True, kw_only=True, repr=False)
class AppendReply(AddingNode):
    """Add a chat node's answers to the conversations that they answer.

    Of each answer, the message of its first choice is added, as the API takes it back: its text, refusal and calls.

    Parameters
    ----------
    conversation : str, optional
        The id of the conversation that is made longer. Default: the column ``conversation``.
    body : str, optional
        The answer's body, as JSON. Default: the column ``body``.
    continue_from : str, optional
        In a workflow, the id of an earlier node whose answers are added; in place of `body`.
    """

    defaults: ClassVar[Mapping[str, str]] = MappingProxyType({CONVERSATION: CONVERSATION, BODY: BODY})

    body: Text = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.body is not None and self.continue_from is not None:
            raise SettingError("an answer comes from one place: set body or continue_from, not both")

    @classmethod
    def does(cls) -> str:
        """Say what becomes of a row."""
        return "a longer conversation"

    def run(
        self,
        table: Any,
        *,
        store: str | os.PathLike[str] | None = None,
        continue_from: NodeOutput | None = None,
        on_invalid: OnInvalid = "report",
        progress: bool | None = None,
    ) -> NodeOutput:
        """Add each row's answer to its conversation; see `AddUserMessage.run`.

        Parameters
        ----------
        table : NodeOutput or table
            What a chat node gave; or a table with the columns ``conversation`` and ``body``.
        store, continue_from, on_invalid, progress
            As in `AddUserMessage.run`.

        Returns
        -------
        NodeOutput
            As in `AddUserMessage.run`.
        """
        from ..run.output import Responses  # noqa: PLC0415 - loaded where it is needed

        if isinstance(table, Responses) and continue_from is None:
            table, continue_from = table.configuration, table
        return super().run(table, store=store, continue_from=continue_from, on_invalid=on_invalid, progress=progress)

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> SettingsPlan:
        """Give what becomes of a table's rows; see `Node.plan`."""
        if self.body is None and self.continue_from is None and BODY not in columns:
            raise ColumnError("no column 'body': give the output of a chat node (continue_from), or set body=")
        return super().plan(columns, constants=constants, connection=connection)

    def messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Give the answer's message, where it is not the one of an earlier node."""
        return [] if self.continue_from is not None else [said(row.get(BODY))]
