"""The rows of a query, as an engine returns them in Arrow, in batches: JSON is structured, decimals are texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow

from .arrow_view import PARSED
from .columnar import stored
from .typed_columns import PLAIN_TYPES


def query_batches(reader: Any, as_json: Collection[str] = ()) -> tuple[Any, Iterator[Any]]:
    """Return the schema of a stream of record batches, and its tables; of JSON, a cell is what its text is."""
    schema = pyarrow.schema([_field(field, as_json) for field in reader.schema])
    return schema, (_table(batch, schema) for batch in reader)


def _field(field: Any, as_json: Collection[str]) -> Any:
    if field.name in as_json or getattr(field.type, "extension_name", "") == "arrow.json":
        return pyarrow.field(field.name, PLAIN_TYPES["text"], metadata={PARSED: b""})
    return pyarrow.field(field.name, stored(pyarrow.chunked_array([], field.type)).type)


def _table(batch: Any, schema: Any) -> Any:
    columns = [stored(pyarrow.chunked_array([column])) for column in batch.columns]
    arrays = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pyarrow.Table.from_arrays(arrays, schema=schema)
