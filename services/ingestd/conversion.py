"""The one way from a received file to a Parquet file that can be registered (I13).

Every way in ends here: read as typed rows, written in row groups, described with personal data and
fingerprint. Reading runs one step ahead of writing, so that two cores are used.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from services.ingestd import pii
from services.ingestd.dataset import TYPE_NAMES, Column, fingerprint
from services.ingestd.formats import detect, open_source
from services.ingestd.parquet import RowGroups, Written, repetitive_columns, write_parquet
from services.ingestd.scratch import Folder
from services.ingestd.source import Options, RereadError, Source
from services.runtime.errors import Cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """A Parquet file and all that the catalog wants to know of it."""

    format: str
    columns: tuple[Column, ...]
    schema_fingerprint: str
    written: Written


def convert(folder: Folder, *, format_name: str, options: Options, groups: RowGroups) -> Converted:
    """Converts what a folder received, in the format given or found out, into its Parquet file.

    CPU-bound, about 3 ms a MiB on two cores, once more where a column has to be widened; memory is
    bounded by the row group. Raises what is wrong with the file, and Cancelled soon after
    the folder is closed.
    """
    with folder.use():
        format_name = format_name or detect(folder.received)
        try:
            source, written = _convert(open_source(folder.received, format_name, options), folder, groups)
        finally:
            pa.default_memory_pool().release_unused()
    columns = _describe(source)
    return Converted(format=format_name, columns=columns, schema_fingerprint=fingerprint(columns), written=written)


def _convert(source: Source, folder: Folder, groups: RowGroups) -> tuple[Source, Written]:
    while True:
        tables = _ahead(groups.cut(_until_stopped(source.batches(), folder.stop)))
        try:
            written = write_parquet(folder.converted, source.schema, tables, repetitive_columns(source.sample))
            return source, written
        except RereadError as reread:
            source = reread.source


def _describe(source: Source) -> tuple[Column, ...]:
    return tuple(
        _column(source, field, kind) for field, kind in zip(source.schema, _personal_data(source.sample), strict=True)
    )


def _column(source: Source, field: pa.Field[Any], kind: str) -> Column:
    return Column(
        name=field.name,
        type=TYPE_NAMES[field.type],
        scale=source.scales.get(field.name),
        pii=kind,
        sensitivity=pii.sensitivity_of(kind),
        widened=source.widened.get(field.name, ""),
    )


def _personal_data(sample: pa.Table) -> Iterator[str]:
    for name, values in zip(sample.column_names, sample.columns, strict=True):
        yield pii.kind_of(name, values.cast(pa.string()).to_pylist())


def _until_stopped(batches: Iterator[pa.RecordBatch], stop: threading.Event) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if stop.is_set():
            raise Cancelled("the caller went away while the file was converted")
        yield batch


def _ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Prepares the next table in a thread of its own while the last one is used."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ingest-read") as thread:
        coming = thread.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = thread.submit(next, tables, None)
            yield table
