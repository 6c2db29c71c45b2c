"""Which formats can be read: one line each. The bytes tell the format when the caller does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.ingestd.csv_source import open_csv
from services.ingestd.errors import FormatUnimplemented
from services.ingestd.source import Options, Source

FORMATS: dict[str, Callable[[Path, Options], Source]] = {"csv": open_csv}

_FIRST_BYTES = ((b"PAR1", "parquet"), (b"%PDF-", "pdf"), (b"{", "ndjson"), (b"[", "json"))


def open_source(path: Path, name: str, options: Options) -> Source:
    """Opens a scratch file in the named format, or in the one found out; see the format's open function.

    Raises FormatUnimplemented and whatever is wrong with the file.
    """
    open_format = FORMATS.get(name)
    if open_format is None:
        readable = ", ".join(FORMATS)
        message = f"this looks like {name}, which this release does not read yet: send {readable}, or name the format"
        raise FormatUnimplemented(message, format=name)
    return open_format(path, options)


def detect(path: Path) -> str:
    """The format that the first bytes show; `csv` unless they show another."""
    with open(path, "rb") as file:
        head = file.read(64).lstrip()
    return next((name for first, name in _FIRST_BYTES if head.startswith(first)), "csv")
