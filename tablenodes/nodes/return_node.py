"""Return: a text for every row, made of its cells and of earlier answers; nothing is sent."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import SettingError
from ..problems import Rejected
from ..run.rows import Context
from ..templates.template import as_text
from .table_node import TableNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..run.options import OnInvalid, RunOptions
    from ..run.output import NodeOutput
    from ..templates.template import Column, LiteralText


@dataclass(frozen=True, kw_only=True, repr=False)
class Return(TableNode):
    """Render a text for every row.

    The text is the column ``text`` of the output's table. In a workflow, later nodes read it as
    ``{{ outputs.ID.text }}``, and a row whose earlier answer is missing is ``upstream_failed``.

    Parameters
    ----------
    text : str
        A text with ``{{ … }}`` placeholders, or ``tn.col("name")``: ``{{ outputs.ask.choices[0].message.content }}``.
    """

    makes: ClassVar[Mapping[str, str]] = MappingProxyType({"text": "text"})

    text: str | Column | LiteralText | None = None

    def __post_init__(self) -> None:
        if self.text is None:
            raise SettingError("text is missing: say what each row gives")
        super().__post_init__()

    @classmethod
    def does(cls) -> str:
        """Say what becomes of a row."""
        return "a text"

    def run(self, table: Any, *, on_invalid: OnInvalid = "report") -> NodeOutput:
        """Render every row's text.

        Parameters
        ----------
        table : pandas.DataFrame, pyarrow.Table, polars.DataFrame or any other Arrow table
            One text a row.
        on_invalid : {"report", "raise"}
            What happens with rows that have no text, since a cell is empty: they are reported in their place, or
            nothing is made.

        Returns
        -------
        NodeOutput
            Unpacks into a table with the column ``text``, and the configuration, the very table that was given.

        Raises
        ------
        UsageError
            If the node and the table do not fit together.
        InvalidRequests
            If a row has no text and `on_invalid` is "raise".
        """
        from ..run.options import RunOptions  # noqa: PLC0415 - loaded where it is needed

        return self.carry_out(table, None, Context(), RunOptions.of(on_invalid=on_invalid))

    def make(
        self, rows: Iterable[dict[str, Any] | Rejected], context: Context, options: RunOptions
    ) -> Iterator[tuple[Any, ...] | Rejected]:
        """Give each row's text; see `TableNode.make`."""
        for row in rows:
            if isinstance(row, Rejected):
                yield row
            else:
                text = row["text"]
                yield (None if text is None else as_text(text),)
