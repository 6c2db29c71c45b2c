"""The rules by which a dataset changes: pure functions from one manifest to the next (C1, C5, C6).

Each returns the manifest it was given, itself, when nothing changes. The version is stamped on
afterwards, by `stamped`, so that only real changes take one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from services.catalogd.errors import NameConflict, ObjectConflict, SchemaConflict, TooManyRows
from services.catalogd.manifest import Column, DataObject, EmbeddingState, Lineage, Manifest, dataset_id
from services.catalogd.redaction import redacted

PRIMARY = "primary"
LEGACY_BUCKETS = frozenset({"", "data", "local"})
MOST_ROWS = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A dataset as somebody wants it to be. `append` keeps the objects there are."""

    name: str
    schema_fingerprint: str
    columns: tuple[Column, ...] = ()
    objects: tuple[DataObject, ...] = ()
    append: bool = False
    lineage: Lineage | None = None


def registered(before: Manifest | None, wanted: Registration, now: datetime) -> Manifest:
    """The dataset after a registration. O(objects).

    Raises NameConflict, SchemaConflict, ObjectConflict, TooManyRows; then nothing changed. Where
    the same rows came from a second time is no news, so lineage changes with the rows only.
    """
    if before is None:
        before_rows: tuple[DataObject, ...] = ()
    else:
        _check_identity(before, wanted)
        before_rows = before.objects
    objects = _merged(before_rows if wanted.append else (), wanted.objects)
    lineage = _without_credentials(wanted.lineage)
    if before is None:
        return Manifest(
            dataset_id=dataset_id(wanted.name),
            name=wanted.name,
            schema_fingerprint=wanted.schema_fingerprint,
            columns=wanted.columns,
            objects=objects,
            created_at=now,
            updated_at=now,
            lineage=lineage,
        )
    columns = wanted.columns or before.columns
    if objects == before.objects:
        return before if columns == before.columns else replace(before, columns=columns, updated_at=now)
    return replace(
        before,
        columns=columns,
        objects=objects,
        updated_at=now,
        lineage=lineage or before.lineage,
        embedding=_lagging(before.embedding, now),
    )


def embedded(before: Manifest, state: EmbeddingState, now: datetime) -> Manifest:
    """The dataset after somebody said how far it is embedded; what `state` leaves open stays as it was.

    Whoever embedded rows of an older version than the present ones leaves the dataset stale.
    """
    last = state.last_embedded_at or before.embedding.last_embedded_at
    version = state.embedded_version or before.embedding.embedded_version
    after = EmbeddingState(
        last_embedded_at=last,
        stale_since=_stale_since(before, state, version) if last else None,
        refresh_policy=state.refresh_policy or before.embedding.refresh_policy,
        embedded_version=version,
    )
    return before if after == before.embedding else replace(before, embedding=after, updated_at=now)


def _stale_since(before: Manifest, state: EmbeddingState, version: int) -> datetime | None:
    known = before.embedding.stale_since
    if state.stale_since is not None:
        return state.stale_since
    if state.last_embedded_at is None:
        return known
    if version:
        return (known or before.updated_at) if version < before.rows_version else None
    return known if known is not None and state.last_embedded_at < known else None


def migrated(before: Manifest, legacy: Collection[str], now: datetime) -> Manifest:
    """The dataset with every legacy bucket name replaced by `primary`; the rows stay the same (C6)."""
    objects = tuple(replace(part, bucket=PRIMARY) if part.bucket in legacy else part for part in before.objects)
    return before if objects == before.objects else replace(before, objects=objects, updated_at=now)


def stamped(before: Manifest | None, after: Manifest, version: int) -> Manifest:
    """The new state with the version that brings it, and that brings its rows where they are new."""
    same_rows = before is not None and _rows(before) == _rows(after)
    return replace(after, version=version, rows_version=after.rows_version if same_rows else version)


def _rows(manifest: Manifest) -> list[tuple[str, str, int, int]]:
    return [(part.key, part.sha256, part.size, part.row_count) for part in manifest.objects]


def _check_identity(before: Manifest, wanted: Registration) -> None:
    if before.name != wanted.name:
        message = f"there is a dataset {before.name!r}, and names may not differ in case only"
        raise NameConflict(message, name=before.name)
    if before.schema_fingerprint != wanted.schema_fingerprint:
        message = f"the dataset {before.name!r} has another schema; register the new one under another name"
        raise SchemaConflict(message, name=before.name, schema_fingerprint=before.schema_fingerprint)


def _merged(before: tuple[DataObject, ...], wanted: Iterable[DataObject]) -> tuple[DataObject, ...]:
    # An object counts once, however often it is named: that makes an append repeatable.
    known = {(part.bucket, part.key): part for part in before}
    for position, part in enumerate(wanted):
        part = part if part.bucket else replace(part, bucket=PRIMARY)
        if known.setdefault((part.bucket, part.key), part) != part:
            message = f"is described in another way already: {part.key!r}; replace the dataset's objects instead"
            raise ObjectConflict.of(f"objects[{position}]", message, key=part.key)
    rows = sum(part.row_count for part in known.values())
    if rows > MOST_ROWS:
        raise TooManyRows(f"the dataset would have {rows} rows, {MOST_ROWS} are possible", rows=rows, limit=MOST_ROWS)
    return tuple(known.values())


def _without_credentials(lineage: Lineage | None) -> Lineage | None:
    if lineage is None:
        return None
    return replace(
        lineage,
        source_system=redacted(lineage.source_system),
        source=redacted(lineage.source),
        ingested_by=redacted(lineage.ingested_by),
    )


def _lagging(embedding: EmbeddingState, now: datetime) -> EmbeddingState:
    if embedding.last_embedded_at is None or embedding.stale_since is not None:
        return embedding
    return replace(embedding, stale_since=now)
