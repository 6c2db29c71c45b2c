"""CSV: every field is read as text first, and becomes a typed value only where nothing is lost (I2).

Blanks are null in a typed column, quoted or not; in a text column a quoted one is empty text.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from services.ingestd import pii
from services.ingestd.csv_rows import BlockTooSmallError, TextRows, append_end_mark
from services.ingestd.dataset import ARROW_TYPES
from services.ingestd.dialect import read_dialect
from services.ingestd.errors import HeaderOnly, UnknownColumn
from services.ingestd.notation import Notation, fitting_notations, infer, without_blanks
from services.ingestd.source import SAMPLE_BYTES, SAMPLE_ROWS, Options, RereadError

_DIGITS_OF_NO_NUMBER = ("phone", "ssn")
"""Personal data that may look like an integer: nobody adds it up, and the next file writes it otherwise."""


def open_csv(path: Path, options: Options) -> CsvSource:
    """Looks into a CSV file: dialect, header, and types by its first 1,000 rows. Some 20 ms.

    Appends an end mark to the file, which must be the caller's own scratch copy. Raises as
    read_dialect does, HeaderOnly, UnknownColumn, and whatever is wrong with the first rows.
    """
    dialect = read_dialect(path, options.delimiter)
    for name in options.string_columns:
        if name not in dialect.header:
            raise UnknownColumn.of("string_columns", f"the file has no column {name!r}", column=name)
    append_end_mark(path, dialect)
    rows = TextRows(path=path, dialect=dialect)
    try:
        sample = _sample(rows)
    except BlockTooSmallError:
        rows = rows.wider()
        sample = _sample(rows)
    return CsvSource(rows, sample, _infer_columns(sample, options))


def _sample(rows: TextRows) -> pa.Table:
    taken: list[pa.RecordBatch] = []
    rows_left, bytes_left = SAMPLE_ROWS, SAMPLE_BYTES
    for batch in rows.batches():
        taken.append(batch.slice(0, rows_left))
        rows_left -= taken[-1].num_rows
        bytes_left -= taken[-1].nbytes
        if rows_left <= 0 or bytes_left <= 0:
            break
    if not taken:
        raise HeaderOnly("the file has a header and no rows: send at least one row")
    return pa.Table.from_batches(taken).combine_chunks()


def _infer_columns(sample: pa.Table, options: Options) -> tuple[_Column, ...]:
    return tuple(
        _Column(name, () if _stays_text(name, texts, options) else infer(texts))
        for name, texts in zip(sample.column_names, _text_columns(sample), strict=True)
    )


def _text_columns(rows: pa.Table | pa.RecordBatch) -> list[pa.StringArray]:
    """The columns as arrays; those of a table must be in one piece."""
    columns = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in rows.columns]
    return cast("list[pa.StringArray]", columns)


def _stays_text(name: str, texts: pa.StringArray, options: Options) -> bool:
    return name in options.string_columns or pii.kind_of(name, texts.to_pylist()) in _DIGITS_OF_NO_NUMBER


@dataclass(frozen=True, slots=True)
class _Column:
    """A column and the notations in which all of its values seen so far are written; none is text."""

    name: str
    notations: tuple[Notation, ...]

    @property
    def type(self) -> str:
        return self.notations[0].type if self.notations else "string"

    @property
    def scale(self) -> int | None:
        return next((notation.scale for notation in self.notations if notation.scale is not None), None)


class CsvSource:
    """A CSV file whose columns have types; see Source."""

    def __init__(
        self, rows: TextRows, sample: pa.Table, columns: tuple[_Column, ...], widened: Mapping[str, str] | None = None
    ) -> None:
        self.sample = sample
        self.schema = pa.schema([(column.name, ARROW_TYPES[column.type]) for column in columns])
        self.scales: dict[str, int] = {}
        self.widened = dict(widened or {})
        self._rows = rows
        self._columns = columns

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields typed rows; the first value that does not fit makes the rest a mere check.

        So one RereadError names every column that has to be text, and the second reading is the last.
        """
        columns = [_Reading(column) for column in self._columns]
        first_row = 2
        try:
            for texts in self._rows.batches():
                values = [
                    column.read(text, first_row) for column, text in zip(columns, _text_columns(texts), strict=True)
                ]
                first_row += texts.num_rows
                if not any(column.misfit for column in columns):
                    yield pa.RecordBatch.from_arrays(values, schema=self.schema)
        except BlockTooSmallError:
            raise RereadError(CsvSource(self._rows.wider(), self.sample, self._columns, self.widened)) from None
        misfits = {column.column.name: column.misfit for column in columns if column.misfit}
        if misfits:
            raise RereadError(self._with_text(misfits))
        self.scales = {column.column.name: column.column.scale for column in columns if column.column.scale is not None}

    def _with_text(self, misfits: dict[str, str]) -> CsvSource:
        columns = tuple(_Column(column.name, ()) if column.name in misfits else column for column in self._columns)
        return CsvSource(self._rows, self.sample, columns, {**self.widened, **misfits})


class _Reading:
    """A column in the course of one reading: which notations still hold, or where none did."""

    def __init__(self, column: _Column) -> None:
        self.column = column
        self.misfit = ""

    def read(self, texts: pa.StringArray, first_row: int) -> pa.Array[Any]:
        """Returns the typed values, or the texts of a text column and after a misfit."""
        if not self.column.notations or self.misfit:
            return texts
        texts = without_blanks(texts)
        read = [(notation, notation.read(texts)) for notation in self.column.notations]
        fitting = tuple(notation for notation, values in read if values is not None)
        if not fitting:
            row = first_row + self._first_misfit(texts)
            self.misfit = f"row {row} would not be the same text again if it were {self.column.type}"
            return texts
        self.column = replace(self.column, notations=fitting)
        return next(values for _, values in read if values is not None)

    def _first_misfit(self, texts: pa.StringArray) -> int:
        notations = self.column.notations
        return bisect_left(
            range(len(texts)), True, key=lambda end: not fitting_notations(notations, texts.slice(0, end + 1))
        )
