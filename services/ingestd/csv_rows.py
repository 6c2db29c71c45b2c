"""The rows of a CSV file as text, and what is wrong with them where they are broken.

RFC 4180, leniently: text after a closing quote and a quote inside an unquoted field stay as they
are. A field that is empty and not quoted is null, a quoted one is empty text. The reader counts
rows, so that an error names its row; blank lines do not count, save in a file of one column, where
a blank line is a row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from services.ingestd.dialect import Dialect
from services.ingestd.errors import MalformedFile, NotUtf8, NulByte, RaggedRow, RowTooLong, UnterminatedQuote

BLOCK_BYTES = 2 << 20
MAX_ROW_BYTES = 4 << 20
"""The reader keeps some 32 blocks in memory, so a block holds the longest row only where it has to."""

_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")
_NOT_UTF8 = re.compile(r"column #(\d+): Row #(\d+): .*UTF8")


def append_end_mark(path: Path, dialect: Dialect) -> None:
    """Adds the last row by which an unterminated quote is found; the file must be the caller's scratch copy."""
    # Scratch, not state. If the file ends inside a quote, the quoted field swallows this row. It starts with a quoted
    # empty field, so that it is no blank line in a file of one column.
    with open(path, "rb+") as file:
        file.seek(-1, 2)
        ended = file.read(1) in b"\r\n"
        file.seek(0, 2)
        file.write((b"" if ended else b"\n") + _end_mark(dialect))


def _end_mark(dialect: Dialect) -> bytes:
    return b'""' + dialect.delimiter.encode() * (len(dialect.header) - 1) + b"\n"


class BlockTooSmallError(Exception):
    """A row is longer than the block in which the file is read: read it with `wider()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRows:
    """The rows of a CSV file with every field as text."""

    path: Path
    dialect: Dialect
    block: int = BLOCK_BYTES

    def wider(self) -> TextRows:
        """The same rows, read in blocks that hold the longest row allowed."""
        return replace(self, block=MAX_ROW_BYTES)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all rows, some 2 MiB at a time; 1.5 ms a MiB."""
        last: pa.RecordBatch | None = None
        seen = 0
        try:
            with pa.OSFile(str(self.path), "r") as file:
                for batch in self._reader(file):
                    _refuse_nul(batch, first_row=seen + 2)
                    seen += batch.num_rows
                    if batch.num_rows and last is not None:
                        yield last
                    last = batch if batch.num_rows else last
        except pa.ArrowInvalid as error:
            raise self._explained(str(error), seen) from None
        yield from _without_end_mark(last, seen)

    def _reader(
        self,
        file: pa.OSFile,
        *,
        encoding: str = "utf-8",
        on_ragged: Callable[[csv.InvalidRow], Literal["error"]] | None = None,
    ) -> csv.CSVStreamingReader:
        header = self.dialect.header
        file.seek(self.dialect.rows_at)
        return csv.open_csv(
            cast(IO[bytes], file),
            # Row numbers in errors need the one-threaded reader; who reads ahead is the conversion.
            csv.ReadOptions(block_size=self.block, use_threads=False, column_names=list(header), encoding=encoding),
            csv.ParseOptions(
                delimiter=self.dialect.delimiter,
                newlines_in_values=True,
                ignore_empty_lines=len(header) > 1,
                invalid_row_handler=on_ragged,
            ),
            csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _explained(self, message: str, seen: int) -> Exception:
        if place := _RAGGED.search(message):
            row, expected, found = int(place[1]) + 1, int(place[2]), int(place[3])
            return self._ragged(row, expected, found)
        if place := _NOT_UTF8.search(message):
            column, row = self.dialect.header[int(place[1])], int(place[2]) + 1
            text = f"row {row}, column {column!r} is not UTF-8: save the file as UTF-8"
            return NotUtf8(text, row=row, column=column)
        if "straddling" in message:
            return self._endless(seen + 2) if self.block >= MAX_ROW_BYTES else BlockTooSmallError()
        return MalformedFile(f"the file cannot be read as CSV after row {seen + 1}", row=seen + 1)

    def _ragged(self, row: int, expected: int, found: int) -> Exception:
        if self._first_ragged_row().endswith(_end_mark(self.dialect).decode().rstrip("\n")):
            return _unterminated(row)
        text = f"row {row} has {found} fields, the header has {expected}: quote a field that holds the delimiter"
        return RaggedRow(text, row=row, expected=expected, found=found)

    def _first_ragged_row(self) -> str:
        """The whole text of the row that has too many or too few fields; reads the file up to it once more."""
        texts: list[str] = []

        def keep(row: csv.InvalidRow) -> Literal["error"]:
            texts.append(row.text)
            return "error"

        # The handler is given text, so the bytes of the row must be text in the encoding read.
        with pa.OSFile(str(self.path), "r") as file, suppress(pa.ArrowInvalid):
            for _ in self._reader(file, encoding="latin-1", on_ragged=keep):
                pass
        return texts[0] if texts else ""

    def _endless(self, row: int) -> Exception:
        limit = f"{MAX_ROW_BYTES >> 20} MiB"
        if self._has_quote():
            text = f"row {row} does not end within {limit}: a quote is opened there and probably never closed"
            return UnterminatedQuote(text, row=row)
        return RowTooLong(f"row {row} does not end within {limit}: is this a CSV file?", row=row, limit=MAX_ROW_BYTES)

    def _has_quote(self) -> bool:
        with open(self.path, "rb") as file:
            # The end mark has two quotes of its own.
            return sum(piece.count(b'"') for piece in iter(lambda: file.read(1 << 20), b"")) > 2


def _unterminated(row: int) -> UnterminatedQuote:
    return UnterminatedQuote(f"row {row}: a quote is opened and never closed", row=row)


def _without_end_mark(last: pa.RecordBatch | None, seen: int) -> Iterator[pa.RecordBatch]:
    if last is None or not _is_end_mark(last.slice(last.num_rows - 1)):
        raise _unterminated(seen + 1)
    if last.num_rows > 1:
        yield last.slice(0, last.num_rows - 1)


def _is_end_mark(row: pa.RecordBatch) -> bool:
    first, *others = [column[0].as_py() for column in row.columns]
    return first == "" and not any(value is not None for value in others)


def _refuse_nul(batch: pa.RecordBatch, *, first_row: int) -> None:
    for name, texts in zip(batch.schema.names, batch.columns, strict=True):
        data = texts.buffers()[2]
        # The least byte of a buffer is found at memory speed; looking into each text is not.
        if data is None or data.size == 0 or np.frombuffer(memoryview(data), np.uint8).min() > 0:
            continue
        index = pc.index(pc.match_substring(texts, "\0"), True).as_py()
        if index >= 0:
            row = first_row + index
            raise NulByte(f"row {row}, column {name!r} has a NUL byte, which no text has", row=row, column=name)
