"""A first look at a CSV file: its columns, and which look like ids and which like text.

Only for asking the right question before any work starts. What the columns really are is decided
when the file is ingested.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

_SAMPLE_ROWS = 200
_SNIFFED = 64 * 1024
_ID_LENGTH = 64
_TEXT_LENGTH = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """The header of a file, and guesses from its first rows."""

    columns: tuple[str, ...]
    likely_ids: tuple[str, ...]
    """Columns of short values, each different: the best guess first."""
    likely_texts: tuple[str, ...]
    """Columns of long values: the longest first."""


def preview(path: Path) -> Preview:
    """Reads the header and some rows. Raises OSError, and ValueError when it is no CSV in UTF-8 with a header."""
    try:
        header, rows = _sample(path)
    except UnicodeDecodeError as error:
        raise ValueError("the file is not UTF-8 text") from error
    except csv.Error as error:
        raise ValueError(f"the file cannot be read as CSV: {error}") from error
    if not any(header):
        raise ValueError("the file has no header line")
    return Preview(columns=header, likely_ids=_ids(header, rows), likely_texts=_texts(header, rows))


def _sample(path: Path) -> tuple[tuple[str, ...], list[list[str]]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        start = file.read(_SNIFFED)
        file.seek(0)
        reader = csv.reader(file, delimiter=_delimiter(start))
        header = tuple(next(reader, ()))
        rows = [row for row in islice(reader, _SAMPLE_ROWS) if len(row) == len(header)]
    return header, rows


def _delimiter(start: str) -> str:
    first = start.partition("\n")[0]
    return max(",;\t|", key=first.count)


def _ids(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    found = []
    for index, name in enumerate(header):
        values = [row[index] for row in rows]
        short = all(0 < len(value) <= _ID_LENGTH and "\n" not in value for value in values)
        if values and short and len(set(values)) == len(values):
            found.append((not _named_id(name), index, name))
    return tuple(name for _, _, name in sorted(found))


def _named_id(name: str) -> bool:
    plain = name.casefold()
    return plain in ("id", "key", "uuid", "sku") or plain.endswith(("_id", " id", "-id", "_key")) or name.endswith("Id")


def _texts(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    found = []
    for index, name in enumerate(header):
        values = [row[index] for row in rows if row[index]]
        mean = sum(map(len, values)) / len(values) if values else 0.0
        if mean >= _TEXT_LENGTH and any(" " in value for value in values):
            found.append((-mean, index, name))
    return tuple(name for _, _, name in sorted(found))
