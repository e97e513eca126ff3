"""What the nodes of conversations have in common: their messages are in the store before their ids are given."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from ..bodies.settings_plan import SettingsPlan
from ..bodies.taken_columns import CONVERSATION
from ..bodies.values import parse
from ..errors import ColumnError, SettingError
from ..problems import Problem, Rejected
from ..run.rows import Context
from ..store.commits import NO_CONVERSATION, Link, UnknownConversation, is_id, links
from .replies import Replies
from .table_node import TableNode

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ..connection.connection import Connection
    from ..run.options import OnInvalid, RunOptions
    from ..run.output import NodeOutput, Responses
    from ..store.conversations import Conversations
    from ..templates.template import Column, LiteralText

    Text = str | Column | LiteralText | None
    List = Sequence[Any] | str | Column | None

_ROWS = 2_000
"""Rows whose messages are put into the store together at most."""
_BYTES = 32 * 2**20
"""Fewer rows are put there together where their messages are longer than this."""
_ANOTHER = (
    "the answer is to another conversation than this row's: give the very rows that the chat was asked with,"
    " in their order"
)
_OUTPUT = "the_output"
"""What the output of an earlier run is called outside of a workflow."""


class Said(NamedTuple):
    """What a row's settings say: the conversation that it has, and the messages that come next."""

    conversation: str
    messages: list[Any]


class ConversationPlan(SettingsPlan):
    """What the rows of a table say; a row that says nothing usable is rejected by a check as by a run.

    Parameters
    ----------
    said : callable
        From a row's settings to what they say.
    """

    def __init__(self, said: Callable[[Mapping[str, Any]], Said], *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._said = said

    def encode(self, cells: tuple[Any, ...]) -> Any:
        """Give what a row says."""
        return self._said(super().encode(cells))


class _Growth(NamedTuple):
    """A row's conversation, and what is added to it."""

    parent: str
    added: list[Link]

    @property
    def conversation(self) -> str:
        return self.added[-1].id if self.added else self.parent


@dataclass(frozen=True, kw_only=True, repr=False)
class ConversationNode(TableNode):
    """What gives each row a conversation, by its id."""

    makes: ClassVar[Mapping[str, str]] = MappingProxyType({CONVERSATION: "text"})
    handed_on: ClassVar[frozenset[str]] = frozenset({CONVERSATION})

    @abstractmethod
    def said(self, row: Mapping[str, Any]) -> Said:
        """Give the conversation that a row's settings name, and the messages that they make.

        Raises
        ------
        Rejected
            If there is no such conversation or no such message.
        """

    def planned(self, *arguments: Any, **more: Any) -> SettingsPlan:
        """Give the plan of what the rows say."""
        return ConversationPlan(self.said, *arguments, **more)

    def parsed(self) -> dict[str, Any]:
        """Give the settings as plain JSON, or as values that depend on the row; placeholders may stand anywhere."""
        return {name: parse(value, name, templates=True) for name, value in self.settings().items()}

    def make(self, rows: Iterable[Any], context: Context, options: RunOptions) -> Iterator[tuple[Any, ...] | Rejected]:
        """Give each row's conversation; see `TableNode.make`. Its messages are in the store before it is given."""
        from ..store.conversations import Conversations  # noqa: PLC0415 - loaded where it is needed

        conversations = Conversations(options.store)
        replies = self.replies(context)
        with conversations.held():
            for some in _together(_grown(position, said, replies) for position, said in enumerate(rows)):
                yield from _kept(some, conversations)

    def replies(self, context: Context) -> Replies | None:
        """Give the answers that are added before anything else; None where none are."""
        return None


def _grown(position: int, said: Said | Rejected, replies: Replies | None) -> _Growth | Rejected:
    """Give what is added to a row's conversation: the answer to it, where there is one, and what is said."""
    if isinstance(said, Rejected):
        return said
    parent, messages = said
    if replies is None:
        return _Growth(parent, links(parent, messages))
    try:
        added = [replies(position), *messages]
        return _Growth(parent, links(parent, _continued(parent, added, replies.asked(position))))
    except Rejected as rejected:
        return Rejected(rejected.problems[0], outcome=rejected.outcome)


def _together(rows: Iterable[_Growth | Rejected]) -> Iterator[list[_Growth | Rejected]]:
    """Give rows some at a time."""
    some: list[_Growth | Rejected] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(link.message) for link in row.added) if isinstance(row, _Growth) else 0
        if len(some) == _ROWS or size > _BYTES:
            yield some
            some, size = [], 0
    yield some


def _kept(some: Sequence[_Growth | Rejected], conversations: Conversations) -> Iterator[tuple[str] | Rejected]:
    """Put what is added into the store, and give the conversations' ids."""
    wrong = conversations.verify(grown.parent for grown in some if isinstance(grown, _Growth))
    conversations.put(
        [link for grown in some if isinstance(grown, _Growth) and grown.parent not in wrong for link in grown.added]
    )
    for grown in some:
        if isinstance(grown, Rejected):
            yield grown
        elif grown.parent in wrong:
            unknown = wrong[grown.parent]
            yield Rejected(unknown.at(f"$.{CONVERSATION}"), outcome=unknown.outcome)
        else:
            yield (grown.conversation,)


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

    own: ClassVar[tuple[str, ...]] = ("continue_from",)
    defaults: ClassVar[Mapping[str, str]] = MappingProxyType({CONVERSATION: CONVERSATION})

    conversation: Text = None
    continue_from: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.continue_from is not None and not isinstance(self.continue_from, str):
            raise SettingError("continue_from names an earlier node of a workflow by its id", place="continue_from")

    def kept(self, name: str, value: Any) -> Any:
        """Give a setting's value as the node's own."""
        from ..run.output import NodeOutput  # noqa: PLC0415 - loaded where it is needed

        if isinstance(value, NodeOutput):
            message = f"{name}: an output is no setting; give it to the run: run(table, continue_from=…)"
            raise SettingError(message, place=name)
        return super().kept(name, value)

    def follows(self) -> dict[str, str]:
        """Give the ids of earlier nodes that settings name, by the settings' names."""
        return {} if self.continue_from is None else {"continue_from": self.continue_from}

    def plan(
        self,
        columns: Sequence[str],
        *,
        constants: Mapping[str, Any] | None = None,
        connection: Connection | None = None,
    ) -> SettingsPlan:
        """Give what becomes of a table's rows; see `Node.plan`."""
        if self.conversation is None and CONVERSATION not in columns:
            raise ColumnError(f"no column {CONVERSATION!r}: begin with CreateConversation, or set conversation=")
        return super().plan(columns, constants=constants, connection=connection)

    def run(
        self,
        table: Any,
        *,
        store: str | os.PathLike[str] | None = None,
        continue_from: NodeOutput | None = None,
        on_invalid: OnInvalid = "report",
        progress: bool | None = None,
    ) -> NodeOutput:
        """Give every row a longer conversation; the one that it was is there as before.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One conversation a row, by its id in the column ``conversation``.
        store : path, optional
            The file that keeps the messages. Default: ``TABLENODES_STORE`` of the environment, else one in the user's
            data folder.
        continue_from : NodeOutput, optional
            What a chat node gave for the same rows: each row's answer is added to its conversation first. A row
            without an answer is ``upstream_failed``, and its conversation null. Rows are matched by their positions,
            and an answer is added only to the conversation that it answers: any other row is ``invalid_request``. A row
            that has the answer and this message already keeps its conversation, so that a cell may be run twice.
        on_invalid : {"report", "raise"}
            What happens with rows that have no text, since a cell is empty: they are reported in their place, or
            nothing is made.
        progress : bool, optional
            Whether to show a bar. Default: in a terminal or a notebook, once the work lasts.

        Returns
        -------
        NodeOutput
            Unpacks into a table with the column ``conversation``, and the configuration, the very table that was given.
            ``.table`` is the configuration with that column in place of the one that it had.

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
        if continue_from is None:
            _refuse_unanswered(table)
            if self.continue_from is not None:
                raise SettingError(
                    "continue_from names a node of a workflow; here, give run() its output: continue_from="
                )
            return self.carry_out(table, None, Context(), options)
        _refuse_other_rows(continue_from, table)
        node = self if self.continue_from is not None else self.replace(continue_from=_OUTPUT)
        return node.carry_out(table, None, Context(outputs={str(node.continue_from): continue_from}), options)

    def replies(self, context: Context) -> Replies | None:
        """Give the answers that are added before anything else; None where none are."""
        return None if self.continue_from is None else Replies(cast("Responses", context.outputs[self.continue_from]))

    def said(self, row: Mapping[str, Any]) -> Said:
        """Give the conversation that a row's settings name, and the messages that they make."""
        known_as = row.get(CONVERSATION)
        if known_as is None:
            problem = Problem(f"$.{CONVERSATION}", "conversation", NO_CONVERSATION)
            raise Rejected(problem, outcome="upstream_failed")
        if not is_id(known_as):
            unknown = UnknownConversation.no_id()
            raise Rejected(unknown.at(f"$.{CONVERSATION}"), outcome=unknown.outcome)
        return Said(str(known_as), self.messages(row))

    @abstractmethod
    def messages(self, row: Mapping[str, Any]) -> list[Any]:
        """Give the messages that a row's settings make."""


def _continued(conversation: str, added: list[Any], asked: str | None) -> list[Any]:
    """Give what is added to a conversation that an answer goes on from: nothing where all of it was added before.

    Raises
    ------
    Rejected
        If the answer is to another conversation, so that it says nothing to this one.
    """
    if conversation == asked:
        return added
    if is_id(asked) and links(str(asked), added)[-1].id == conversation:
        return []
    raise Rejected(Problem(f"$.{CONVERSATION}", "conversation", _ANOTHER))


def _refuse_unanswered(table: Any) -> None:
    """Raise `SettingError` for answers that are given as a table: they would be missing from the conversations."""
    from ..run.output import Responses  # noqa: PLC0415 - loaded where it is needed

    if isinstance(table, Responses):
        raise SettingError(
            "whether its answers are to be added is not said: run(out.configuration, continue_from=out) adds them,"
            " run(out.table) does not"
        )


def _refuse_other_rows(output: Any, table: Any) -> None:
    """Raise `SettingError` for an output that cannot be that of the table's rows."""
    from .. import tables  # noqa: PLC0415 - pandas is loaded where it is needed
    from ..run.output import NodeOutput, Responses  # noqa: PLC0415 - loaded where it is needed

    if not isinstance(output, NodeOutput):
        raise SettingError(f"continue_from must be what a chat node's run gave, not {type(output).__name__}")
    if not isinstance(output, Responses):
        raise SettingError(
            "continue_from: this output has no answers of a model, which could be continued from: give that of a chat"
            " node, or of RetrieveResponse where the node ends in Async"
        )
    view = tables.view(table, read=False)
    if not view.one_shot and len(view) != output.summary.rows:
        rows = f"{output.summary.rows:,}, the table {len(view):,}"
        raise SettingError(
            f"continue_from must be the output for the same rows: it has {rows}; continue all of them, and take"
            " .succeeded of what that gives"
        )
