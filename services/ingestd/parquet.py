"""Rows into one Parquet file (I6): the same rows give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_HASHED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A Parquet file on disk."""

    row_count: int
    size: int
    sha256: str


def write_parquet(path: Path, schema: pa.Schema, tables: Iterator[pa.Table], repetitive: list[str]) -> Written:
    """Writes each table as one row group, replacing the file. Some 2 ms a MiB of rows.

    `repetitive` names the columns worth a dictionary.
    """
    count = 0
    # The stubs know only the boolean form of use_dictionary.
    with pq.ParquetWriter(str(path), schema, compression="zstd", use_dictionary=repetitive) as writer:  # type: ignore[arg-type]
        for table in tables:
            writer.write_table(table, row_group_size=table.num_rows)
            count += table.num_rows
    return Written(row_count=count, size=path.stat().st_size, sha256=_sha256(path))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowGroups:
    """How large a row group gets: as many rows as allowed, fewer where rows are large."""

    rows: int
    bytes: int

    def cut(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
        """Gathers batches into tables of one row group each."""
        held: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in batches:
            while rows + batch.num_rows >= self.rows:
                held.append(batch.slice(0, self.rows - rows))
                batch = batch.slice(self.rows - rows)
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
            if batch.num_rows:
                held.append(batch)
                rows += batch.num_rows
                size += batch.nbytes
            if size >= self.bytes:
                yield pa.Table.from_batches(held)
                held, rows, size = [], 0, 0
        if held:
            yield pa.Table.from_batches(held)


def repetitive_columns(sample: pa.Table) -> list[str]:
    """Columns in which at least half of the sample repeats an earlier value: a dictionary pays there only."""
    return [
        name
        for name, values in zip(sample.column_names, sample.columns, strict=True)
        if pc.count_distinct(values, mode="all").as_py() * 2 <= len(values)
    ]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_HASHED_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()
