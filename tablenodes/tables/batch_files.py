"""Files as sources of batches: one or several, each read as far as the next batch needs."""

from __future__ import annotations

import codecs
import glob
import io
import lzma
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow
from pyarrow import ipc

from ..errors import TableError
from .batches import BATCH_BYTES, BATCH_ROWS, BatchSource, Meter, like
from .columnar import stored
from .csv_batches import CsvBatches
from .formats import SEPARATORS, Reading, check_is_text, path_of
from .json_batches import JsonBatches, JsonTypes
from .json_lines import numbered_objects
from .origin import set_folder
from .pandas_view import with_named_index
from .table_files import STANDARD_INPUT, check_file, read_table
from .text_files import check_marks

if TYPE_CHECKING:
    import pandas

PathLike = str | os.PathLike[str]
_TEXTS = ("csv", "tsv", "jsonl")
_START = 4_096
_PIECE = 2**20
_LOOK = 2**16  # bytes of a further file of CSV that are looked at before the first row is sent


def file_source(source: PathLike | Sequence[PathLike], reading: Reading | None = None) -> BatchSource:
    """Return the source of a file, of all files of a pattern, or of several files."""
    reading = (reading or Reading()).checked()
    paths = files_of(source)
    parts = [_File(path, reading) for path in paths]
    known = parts[0].types() if parts[0].form.name == "jsonl" and parts[0].again else None
    for part in parts[1:] if known is not None else ():
        part.types(known)
    if not parts[0].again:
        return _of_input(parts[0])
    with parts[0].opened(known) as (schema, _):
        pass
    for part in parts[1:]:
        part.check(schema, known)
    meter = Meter(sum(map(os.path.getsize, paths))) if parts[0].form.name in _TEXTS else None

    def read() -> Iterator[Any]:
        if meter is not None:
            meter.begin()
        for part in parts:
            with part.opened(known, meter) as (_, batches):
                for table in batches:
                    yield table if len(parts) == 1 else like(table, schema, part.name)

    rows = [part.rows() for part in parts]
    total = None if None in rows else sum(filter(None, rows))
    folder = str(Path(paths[0]).absolute().parent)
    return BatchSource(schema, read, again=True, rows=total, folder=folder, meter=meter)


def read_files(source: PathLike, reading: Reading) -> pandas.DataFrame:
    """Return the rows of a file, or of all files of a pattern, as `read_table` does."""
    paths = files_of(source)
    if len(paths) == 1:
        return read_table(paths[0], **reading._asdict())
    import pandas  # noqa: PLC0415 - loaded where it is used

    file_source(paths, reading)  # raises where they do not fit together
    frames = [with_named_index(read_table(each, **reading._asdict())) for each in paths]
    whole = pandas.concat([each[[*frames[0].columns]] for each in frames], ignore_index=True)
    return set_folder(whole, str(Path(paths[0]).absolute().parent))


def _of_input(part: _File) -> BatchSource:
    """Return the source of the standard input, which is read once."""
    stack = ExitStack()
    schema, batches = stack.enter_context(part.opened(None))

    def read() -> Iterator[Any]:
        with stack:
            yield from batches

    return BatchSource(schema, read, folder=os.getcwd())


def files_of(source: PathLike | Sequence[PathLike]) -> list[str]:
    """Return the files that are meant, in their order."""
    if not isinstance(source, str | os.PathLike):
        found = [os.fspath(path_of(each, "table")) for each in source]
        if not found:
            raise TableError("no file is named, so there is no table")
        return found
    if source == STANDARD_INPUT:
        return [STANDARD_INPUT]
    path = os.fspath(path_of(source, "table"))
    if not glob.has_magic(path) or os.path.exists(path):
        return [path]
    found = sorted(each for each in glob.glob(path, recursive=True) if os.path.isfile(each))
    if not found:
        raise TableError(f"no file matches {path!r}")
    return found


def has_more_rows(path: PathLike, most: int, reading: Reading | None = None) -> bool:
    """Check whether a file has more rows than that, by what it says or by its lines; not if it cannot be read."""
    try:
        part = _File(os.fspath(path), (reading or Reading()).checked())
        return os.path.isfile(part.path) and part.has_more_rows(most)
    except (TableError, pyarrow.ArrowException, OSError, EOFError, lzma.LZMAError):
        return False  # it is said when it is read


class _Batches(NamedTuple):
    schema: Any
    tables: Iterable[Any]


class _File:
    """One file: its format, what it is called in messages, and how it is read in batches."""

    def __init__(self, path: str, reading: Reading) -> None:
        self.path, self._reading = path, reading
        self.again = path != STANDARD_INPUT
        self.name = f"table {path!r}" if self.again else "the standard input"
        self.form = reading.format_of(Path(path if self.again else "-.csv"), "table")
        if self.again:
            check_file(Path(path), self.name)

    def rows(self) -> int | None:
        """Return the number of rows where the file says it."""
        if self.form.name != "parquet":
            return None
        from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

        return int(parquet.read_metadata(self.path).num_rows)

    def has_more_rows(self, most: int) -> bool:
        """Check whether it has more rows than that; a line break in a cell counts as one too."""
        if self.form.name == "arrow":
            from pyarrow import dataset  # noqa: PLC0415 - what it needs takes long to load

            return bool(dataset.dataset(self.path, format="ipc").count_rows() > most)
        if self.form.name not in _TEXTS:
            return (self.rows() or 0) > most
        left = most + (self.form.name != "jsonl")  # the names of the columns are a line
        with ExitStack() as stack:
            lines = _unpacked(stack.enter_context(open(self.path, "rb")), self.form.compression, stack)
            while left >= 0 and (piece := lines.read(_PIECE)):
                left -= piece.count(b"\n")
        return left < 0

    def check(self, schema: Any, known: JsonTypes | None) -> None:
        """Raise `TableError` for a file that is damaged, empty, or of other columns than the first, by its start."""
        if self.form.name in (*_TEXTS, "parquet", "arrow"):
            with self.opened(known, block=_LOOK) as (own, _):
                like(own.empty_table(), schema, self.name)

    def types(self, known: JsonTypes | None = None) -> JsonTypes:
        """Return the types of the columns of JSON lines, and those that are known of other files."""
        known = JsonTypes() if known is None else known
        with self._text() as lines:
            for _, row in numbered_objects(lines, self.name, tells=False):  # it is told where the rows are read
                known.look_at(row)
        return known

    @contextmanager
    def opened(
        self, known: JsonTypes | None, meter: Meter | None = None, block: int | None = None
    ) -> Iterator[_Batches]:
        """Open it: what is read of it is what the next batch needs; a meter is told which file is read."""
        try:
            if self.form.name in _TEXTS:
                with self._text(meter) as stream:
                    made: Any = self._of_text(stream, known, block)
                    yield _Batches(made.schema, made)
            elif self.form.name in ("parquet", "arrow"):
                with pyarrow.OSFile(self.path) as source:
                    yield (_of_parquet if self.form.name == "parquet" else _of_arrow)(source)
            else:
                frame = read_table(self.path, **self._reading._asdict())
                table = pyarrow.Table.from_pandas(frame, preserve_index=False)
                yield _Batches(table.schema, [table])
        except (pyarrow.ArrowException, OSError, EOFError, lzma.LZMAError) as error:
            raise TableError(f"{self.name} is damaged or cut off") from error

    def _of_text(self, stream: Any, known: JsonTypes | None, block: int | None) -> CsvBatches | JsonBatches:
        if self.form.name == "jsonl":
            return JsonBatches(stream, self.name, known)
        separators = ",;\t|" if self.form.name == "csv" else SEPARATORS[self.form.name]
        return CsvBatches(stream, self.name, separators, self._reading.separator, block)

    @contextmanager
    def _text(self, meter: Meter | None = None) -> Iterator[Any]:
        """Open its text as UTF-8, without a byte order mark."""
        with ExitStack() as stack:
            raw: Any = stack.enter_context(open(self.path, "rb")) if self.again else sys.stdin.buffer
            if meter is not None:
                meter.begin(raw, os.path.getsize(self.path))
                stack.callback(meter.end)
            stream = io.BufferedReader(_unpacked(raw, self.form.compression, stack))
            start = stream.peek(_START)[:_START]
            check_is_text(start, self.form, self.name)
            if self._reading.encoding in (None, "utf-8", "utf-8-sig"):
                check_marks(start, self.name)
                if start.startswith(codecs.BOM_UTF8):
                    stream.read(len(codecs.BOM_UTF8))
                yield stream
            else:
                yield io.BufferedReader(_Recoded(stream, str(self._reading.encoding), self.name), _PIECE)


def _unpacked(raw: Any, compression: str | None, stack: ExitStack) -> Any:
    if compression is None:
        return raw.raw if isinstance(raw, io.BufferedReader) else raw
    if compression == "xz":
        return stack.enter_context(lzma.open(raw))
    return stack.enter_context(pyarrow.input_stream(raw, compression=compression))


class _Recoded(io.RawIOBase):
    """A text of another encoding as UTF-8."""

    def __init__(self, stream: Any, encoding: str, name: str) -> None:
        super().__init__()
        self._stream, self._name, self._encoding = stream, name, encoding
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._ready, self._is_first, self._lines = b"", True, 1

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        while not self._ready:
            piece = self._stream.read(_PIECE)
            try:
                text = self._decoder.decode(piece, final=not piece)
            except UnicodeError:
                raise TableError(f"{self._name}, after line {self._lines}: not {self._encoding}") from None
            self._lines += text.count("\n")
            self._ready = (text.removeprefix("\ufeff") if self._is_first else text).encode()
            self._is_first = self._is_first and not text
            if not piece:
                break
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


def _of_parquet(source: Any) -> _Batches:
    from pyarrow import parquet  # noqa: PLC0415 - what it needs takes long to load

    file = parquet.ParquetFile(source, pre_buffer=False)  # else all that was read of the file stays in memory
    schema = _changed(file.schema_arrow.empty_table()).schema
    about = file.metadata
    size = sum(about.row_group(at).total_byte_size for at in range(about.num_row_groups))
    rows = max(1, min(BATCH_ROWS, BATCH_BYTES * about.num_rows // max(1, size)))
    tables = (pyarrow.Table.from_batches([each]) for each in file.iter_batches(rows))
    return _Batches(schema, (_checked(table) for table in tables))


def _of_arrow(source: Any) -> _Batches:
    start = source.read(6)
    source.seek(0)
    if start == b"ARROW1":
        file = ipc.open_file(source)
        batches = (file.get_batch(at) for at in range(file.num_record_batches))
    else:
        batches = file = ipc.open_stream(source)
    schema = _changed(file.schema.empty_table()).schema
    return _Batches(schema, (_checked(pyarrow.Table.from_batches([each])) for each in batches))


def _checked(table: Any) -> Any:
    """Return a table whose texts and offsets are as they must be, with what columns of somebody's own types store."""
    table = _changed(table)
    table.validate(full=True)
    return table


def _changed(table: Any) -> Any:
    for position, name in enumerate(table.column_names):
        table = table.set_column(position, name, stored(table.column(position)))
    return table.replace_schema_metadata(None)
