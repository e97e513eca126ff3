"""What is in a batch, as bytes: equal for equal values, however they were sliced."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy
import pyarrow
from pyarrow import ipc

if TYPE_CHECKING:
    from collections.abc import Collection

    from .views import TableView


def bytes_of(view: TableView, columns: Collection[str]) -> Any:
    """Return names, types and values of these columns of a batch; None where Arrow cannot copy them."""
    try:
        # What is taken is copied: whatever stood before, between, behind and under nulls is not in the copy.
        table = view.table.select([name for name in view.columns if name in columns])
        if table.num_columns:
            table = table.take(pyarrow.array(numpy.arange(table.num_rows))).combine_chunks()
        with pyarrow.BufferOutputStream() as packed:
            with ipc.new_stream(packed, table.schema.remove_metadata()) as writer:
                writer.write_table(table.replace_schema_metadata(None))
            return packed.getvalue()
    except (pyarrow.ArrowException, TypeError):
        return None


def check_of(view: TableView) -> int | None:
    """Return a number that is another one once a value of a batch was changed; None where Arrow cannot copy them."""
    packed = bytes_of(view, view.columns)
    return None if packed is None else zlib.crc32(packed)
