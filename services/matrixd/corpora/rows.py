"""Rows of a dataset as items of a corpus, or as failures in a sentence (M11)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from services.matrixd.corpora.chunks import split
from services.matrixd.corpora.plan import Plan
from services.matrixd.corpora.values import as_metadata, as_text

MAX_ID_BYTES = 1_024


@dataclass(frozen=True, slots=True)
class Piece:
    """One item to be: a row's text, or a chunk of it. `row` is the row's place in its batch."""

    row: int
    id: str
    text: str
    metadata: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """A hash of the text, the same on every machine and in every release. 1 us."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()


@dataclass(slots=True)
class Mapped:
    """A batch of rows after mapping."""

    rows: int
    pieces: list[Piece] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """One sentence for each row that cannot be embedded."""


class RowMapper:
    """Turns the rows of one build into pieces, and remembers which ids they have. 10 us a row."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._documents: set[str] = set()
        self.ids: set[str] = set()
        """Every id that the dataset gives to the corpus; others are left over from an earlier build."""

    def map(self, batch: pa.RecordBatch) -> Mapped:
        """The pieces of a batch. A row that cannot be embedded fails alone."""
        rows: Sequence[Mapping[str, Any]] = batch.to_pylist()
        mapped = Mapped(rows=len(rows))
        for number, row in enumerate(rows):
            problem = self._map_row(number, row, mapped.pieces)
            if problem is not None:
                mapped.failures.append(problem)
        return mapped

    def _map_row(self, number: int, row: Mapping[str, Any], pieces: list[Piece]) -> str | None:
        plan = self._plan
        value = row[plan.id_column]
        if value is None or value == "":
            return f"a row has no value in {plan.id_column!r}"
        document = plan.id_prefix + as_text(value)
        if len(document.encode()) > MAX_ID_BYTES - 8:
            return f"the id {document[:40]!r}… is too long: at most {MAX_ID_BYTES - 8} bytes"
        if document in self._documents:
            return f"the id {document!r} occurs more than once in {plan.id_column!r}"
        self._documents.add(document)
        text = plan.text.render(row)
        if not text or text.isspace():
            return f"the text of {document!r} is empty"
        metadata = {column: as_metadata(row[column]) for column in plan.metadata_columns}
        for piece in self._pieces(number, document, text, metadata):
            self.ids.add(piece.id)
            pieces.append(piece)
        return None

    def _pieces(self, number: int, document: str, text: str, metadata: dict[str, Any]) -> Iterator[Piece]:
        if self._plan.chunking is None:
            yield Piece(number, document, text, metadata)
            return
        for place, chunk in enumerate(split(text, self._plan.chunking)):
            yield Piece(number, f"{document}#{place}", chunk, {**metadata, "document_id": document, "chunk": place})
