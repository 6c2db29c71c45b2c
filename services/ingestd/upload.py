"""The bytes of one file as they arrive, raw or in a form, with a cap on their number (I1, I7)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.ingestd.errors import EmptyFile, FileTooLarge, UploadSizeMismatch
from services.ingestd.form import FormFile, boundary_of
from services.ingestd.scratch import Folder

PIECE_BYTES = 1 << 20
_FORM_OVERHEAD = 64 << 10
"""What a form may add to the file it carries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A file that arrived whole."""

    size: int
    sha256: str
    file_name: str
    """The name a form gave it; empty otherwise."""


class Upload:
    """Writes the file in a request body to `folder.received`, a MiB at a time."""

    def __init__(self, folder: Folder, *, content_type: str, limit: int, declared: int | None) -> None:
        """Touches no disk. Raises FileTooLarge for a declared size, BrokenMultipart for a form without boundary."""
        boundary = boundary_of(content_type)
        overhead = 0 if boundary is None else _FORM_OVERHEAD
        self._most = limit + overhead
        if declared is not None and declared > self._most:
            raise _too_large(limit)
        self._folder = folder
        self._form = None if boundary is None else FormFile(boundary)
        self._limit = limit
        self._declared = declared
        self._arrived = 0
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def add(self, data: bytes) -> bool:
        """Takes bytes without blocking; returns whether it is time to `flush`."""
        self._arrived += len(data)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        return self._waiting_bytes >= PIECE_BYTES

    def flush(self) -> None:
        """Writes what waits; blocks for 1-2 ms a MiB. Raises FileTooLarge, and what is wrong with a form."""
        data = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        found = data if self._form is None else self._form.feed(data)
        self._size += len(found)
        if self._size > self._limit or self._arrived > self._most:
            raise _too_large(self._limit)
        self._sha256.update(found)
        # Scratch, not state: it may be lost with the process.
        with self._folder.use(), open(self._folder.received, "ab") as file:
            file.write(found)

    def finish(self) -> Received:
        """Ends the upload; blocks. Raises UploadSizeMismatch, MissingFile, EmptyFile, and what `flush` does."""
        self.flush()
        if self._form is not None:
            self._form.finish()
        if self._declared is not None and self._declared != self._arrived:
            message = f"{self._declared:,} bytes were announced and {self._arrived:,} arrived: send the file again"
            raise UploadSizeMismatch(message, declared=self._declared, arrived=self._arrived)
        if self._size == 0:
            raise EmptyFile("the file is empty: send a header and at least one row")
        file_name = self._form.file_name if self._form is not None else ""
        return Received(size=self._size, sha256=self._sha256.hexdigest(), file_name=file_name)


def _too_large(limit: int) -> FileTooLarge:
    message = f"the file is over the limit of {limit:,} bytes (max_ingest_bytes): send it in parts with mode=append"
    return FileTooLarge(message, limit=limit)
