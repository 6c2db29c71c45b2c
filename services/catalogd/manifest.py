"""What is known of a dataset, as values that cannot change: readers may keep them, nobody can alias state (C3, C5)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

NAMESPACE = UUID("a8f3c1d2-4e5b-5a6c-9d8e-7f0a1b2c3d4e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column; `pii` is empty when no personal data was found in it."""

    name: str
    type: str
    pii: str = ""
    sensitivity: str = "internal"
    scale: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """One immutable Parquet object; `size` in bytes, `sha256` in lower-case hexadecimal."""

    bucket: str
    key: str
    size: int
    sha256: str
    row_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where rows came from, without credentials."""

    source_system: str = ""
    source: str = ""
    ingested_by: str = ""
    source_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingState:
    """How far the text is embedded. A dataset that never was embedded is never stale."""

    last_embedded_at: datetime | None = None
    stale_since: datetime | None = None
    refresh_policy: str = "manual"
    embedded_version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One state of one dataset.

    `version` is the catalog version that brought this state, `rows_version` the one that brought
    its rows: a new refresh policy changes the first, not the second.
    """

    dataset_id: str
    name: str
    schema_fingerprint: str
    columns: tuple[Column, ...] = ()
    objects: tuple[DataObject, ...] = ()
    version: int = 0
    rows_version: int = 0
    created_at: datetime
    updated_at: datetime
    lineage: Lineage | None = None
    embedding: EmbeddingState = EmbeddingState()

    @property
    def row_count(self) -> int:
        """Rows in all objects."""
        return sum(part.row_count for part in self.objects)

    @property
    def size(self) -> int:
        """Bytes in all objects."""
        return sum(part.size for part in self.objects)


def dataset_id(name: str) -> str:
    """The identity of a dataset: the same on any machine, also after losing the disk (C2). `name` is in NFC."""
    return str(uuid5(NAMESPACE, name))
