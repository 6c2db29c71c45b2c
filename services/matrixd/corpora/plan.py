"""What a build is going to do, checked against the dataset before it begins (M11)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.matrixd.corpora.chunks import Chunking
from services.matrixd.corpora.template import Columns, TextSource, parse_template
from services.runtime.errors import InvalidArgument

DEFAULT_BATCH = 512

DEFAULT_STORAGE = "float16"
"""Half the memory of float32 and faster to search; embeddings carry no more precision than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """A build as a caller asks for it."""

    corpus: str
    dataset: str
    id_column: str
    text_columns: Sequence[str] = ()
    template: str = ""
    metadata_columns: Sequence[str] = ()
    id_prefix: str = ""
    batch_size: int | None = None
    model: str = ""
    chunk_size: int | None = None
    chunk_overlap: int | None = None
    storage_type: str = ""
    bucket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A build that can be carried out: every column in it exists."""

    corpus: str
    dataset: str
    id_column: str
    text: TextSource
    template: str
    """The template as it was written; empty where columns are embedded."""
    metadata_columns: tuple[str, ...]
    id_prefix: str
    batch_size: int
    chunking: Chunking | None

    @property
    def columns(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys([self.id_column, *self.text.columns, *self.metadata_columns]))

    def properties(self) -> dict[str, Any]:
        """What is kept with the corpus, so that anybody can see how it was made."""
        return {
            "kind": "corpus",
            "id_column": self.id_column,
            "text_columns": list(self.text.columns),
            "template": self.template,
            "metadata_columns": list(self.metadata_columns),
            "id_prefix": self.id_prefix,
            "chunk_size": self.chunking.size if self.chunking else None,
            "chunk_overlap": self.chunking.overlap if self.chunking else None,
        }


def make_plan(request: BuildRequest, columns: Sequence[str]) -> Plan:
    """Checks a request against the columns of its dataset. Raises InvalidArgument naming the field."""
    known = dict.fromkeys(columns)
    _check_columns("id_column", [request.id_column], known)
    text = _text_source(request, known)
    _check_columns("metadata_columns", request.metadata_columns, known)
    left = [column for column in columns if column not in request.text_columns]
    return Plan(
        corpus=request.corpus,
        dataset=request.dataset,
        id_column=request.id_column,
        text=text,
        template="" if request.text_columns else request.template,
        metadata_columns=tuple(dict.fromkeys(request.metadata_columns or left)),
        id_prefix=request.id_prefix,
        batch_size=request.batch_size or DEFAULT_BATCH,
        chunking=_chunking(request),
    )


def _text_source(request: BuildRequest, known: Mapping[str, None]) -> TextSource:
    if request.template.strip() and request.text_columns:
        raise InvalidArgument.of("template", "must not stand beside text_columns: give one of them")
    if request.text_columns:
        _check_columns("text_columns", request.text_columns, known)
        return Columns(tuple(dict.fromkeys(request.text_columns)))
    if not request.template.strip():
        raise InvalidArgument.of("text_columns", "is required, or template: there is nothing to embed")
    template = parse_template(request.template)
    _check_columns("template", template.columns, known)
    return template


def _chunking(request: BuildRequest) -> Chunking | None:
    overlap = request.chunk_overlap or 0
    if request.chunk_size is None:
        if overlap:
            raise InvalidArgument.of("chunk_overlap", "needs chunk_size")
        return None
    if overlap >= request.chunk_size:
        raise InvalidArgument.of("chunk_overlap", f"must be less than chunk_size, which is {request.chunk_size}")
    return Chunking(size=request.chunk_size, overlap=overlap)


def _check_columns(field: str, wanted: Sequence[str], known: Collection[str]) -> None:
    for column in wanted:
        if column not in known:
            near = difflib.get_close_matches(column, list(known), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InvalidArgument.of(field, f"the dataset has no column {column!r}{hint}", column=column)
