"""Tables: rows out of any of them, a table of the same kind back, and files. Only here are pandas and pyarrow known."""

from __future__ import annotations

from .batch_files import files_of, has_more_rows, read_files
from .batch_sources import batch_source
from .batch_values import bytes_of, check_of
from .batch_writer import STREAMED, batch_writer, is_streamed
from .batches import BatchSource, batch_of, columns_of_batch, joined, no_rows, numbered, patched, schema_of, stream_of
from .database_writer import check_key, check_target, write_rows
from .formats import PARTIAL, Reading
from .kinds import like_given, rowless, view
from .pandas_view import frame, long_frame, with_named_index
from .spill import Spill
from .table_files import count_rows, read_table
from .views import TableView
from .writer import check_output, check_place, check_writing, text_part, write_stream, write_table

__all__ = [
    "PARTIAL",
    "STREAMED",
    "BatchSource",
    "Reading",
    "Spill",
    "TableView",
    "batch_of",
    "batch_source",
    "batch_writer",
    "bytes_of",
    "check_key",
    "check_of",
    "check_output",
    "check_place",
    "check_target",
    "check_writing",
    "columns_of_batch",
    "count_rows",
    "files_of",
    "frame",
    "has_more_rows",
    "is_streamed",
    "joined",
    "like_given",
    "long_frame",
    "no_rows",
    "numbered",
    "patched",
    "read_files",
    "read_table",
    "rowless",
    "schema_of",
    "stream_of",
    "text_part",
    "view",
    "with_named_index",
    "write_rows",
    "write_stream",
    "write_table",
]
