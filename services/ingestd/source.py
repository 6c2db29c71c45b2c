"""The seam between a file format and everything after it.

A format is one module with one `open_…` function that returns a Source, plus one line in
`formats`. A source hands out typed record batches; personal data, fingerprint, Parquet, storing and
registering are the same for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

SAMPLE_ROWS = 1_000
"""Types and personal data are judged by this many first rows,"""
SAMPLE_BYTES = 8 << 20
"""or by fewer, once the rows so far have this many bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller says about a file."""

    string_columns: tuple[str, ...] = ()
    """Columns that stay text whatever their values look like."""
    delimiter: str = ""
    """The delimiter of a CSV file; found out when empty."""


class Source(Protocol):
    """A file that has been looked into and can be read as typed rows."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""

    @property
    def sample(self) -> pa.Table:
        """The first rows, at most SAMPLE_ROWS or a little over SAMPLE_BYTES; as text where the file is text."""

    @property
    def scales(self) -> Mapping[str, int]:
        """Digits after the point of double columns that have one number of them; whole after `batches`."""

    @property
    def widened(self) -> Mapping[str, str]:
        """Columns that are text although they looked like another type, each with the reason."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yields all rows in order, a few MiB at a time.

        Raises RereadError when the file has to be read again in another way, and an InvalidArgument
        with its reason where the file is broken.
        """


class RereadError(Exception):
    """The rows read so far are void: read this source instead."""

    def __init__(self, source: Source) -> None:
        super().__init__("the file has to be read again")
        self.source = source
