"""Between the catalog's values and the messages of its contract; nothing is decided here."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf import timestamp_pb2

from lakehouse.catalog.v1 import catalog_pb2

from services.catalogd.manifest import Column, DataObject, EmbeddingState, Lineage, Manifest
from services.catalogd.registration import Registration
from services.runtime.errors import InvalidArgument


def registration(request: catalog_pb2.RegisterDatasetRequest) -> Registration:
    """What a request asks for; words left empty are the contract's defaults."""
    return Registration(
        name=request.name,
        schema_fingerprint=request.schema_fingerprint,
        columns=tuple(_column(column) for column in request.columns),
        objects=tuple(_object(part) for part in request.objects),
        append=request.mode == "append",
        lineage=_lineage(request.lineage) if request.HasField("lineage") else None,
    )


def embedding_state(message: catalog_pb2.EmbeddingState) -> EmbeddingState:
    """The state a request names. Raises InvalidArgument for a moment that no calendar has."""
    return EmbeddingState(
        last_embedded_at=_moment(message, "last_embedded_at"),
        stale_since=_moment(message, "stale_since"),
        refresh_policy=message.refresh_policy,
        embedded_version=message.embedded_version,
    )


def manifest_message(manifest: Manifest) -> catalog_pb2.Manifest:
    """The manifest as its message; 1 us for each object and column."""
    message = catalog_pb2.Manifest(
        dataset_id=manifest.dataset_id,
        name=manifest.name,
        schema_fingerprint=manifest.schema_fingerprint,
        columns=[_column_message(column) for column in manifest.columns],
        objects=[_object_message(part) for part in manifest.objects],
        row_count=manifest.row_count,
        size=manifest.size,
        version=manifest.version,
        created_at=_timestamp(manifest.created_at),
        updated_at=_timestamp(manifest.updated_at),
        embedding=_embedding_message(manifest.embedding),
    )
    if manifest.lineage is not None:
        message.lineage.CopyFrom(_lineage_message(manifest.lineage))
    return message


def _column(message: catalog_pb2.Column) -> Column:
    return Column(
        name=message.name,
        type=message.type,
        pii=message.pii,
        sensitivity=message.sensitivity or "internal",
        scale=message.scale if message.HasField("scale") else None,
    )


def _column_message(column: Column) -> catalog_pb2.Column:
    return catalog_pb2.Column(
        name=column.name, type=column.type, pii=column.pii, sensitivity=column.sensitivity, scale=column.scale
    )


def _object(message: catalog_pb2.DataObject) -> DataObject:
    return DataObject(
        bucket=message.bucket,
        key=message.key,
        size=message.size,
        sha256=message.sha256,
        row_count=message.row_count,
    )


def _object_message(part: DataObject) -> catalog_pb2.DataObject:
    return catalog_pb2.DataObject(
        bucket=part.bucket, key=part.key, size=part.size, sha256=part.sha256, row_count=part.row_count
    )


def _lineage(message: catalog_pb2.Lineage) -> Lineage:
    return Lineage(
        source_system=message.source_system,
        source=message.source,
        ingested_by=message.ingested_by,
        source_sha256=message.source_sha256,
    )


def _lineage_message(lineage: Lineage) -> catalog_pb2.Lineage:
    return catalog_pb2.Lineage(
        source_system=lineage.source_system,
        source=lineage.source,
        ingested_by=lineage.ingested_by,
        source_sha256=lineage.source_sha256,
    )


def _embedding_message(state: EmbeddingState) -> catalog_pb2.EmbeddingState:
    return catalog_pb2.EmbeddingState(
        last_embedded_at=_timestamp(state.last_embedded_at),
        stale_since=_timestamp(state.stale_since),
        refresh_policy=state.refresh_policy,
        embedded_version=state.embedded_version,
    )


def _moment(message: catalog_pb2.EmbeddingState, field: str) -> datetime | None:
    if not message.HasField(field):  # type: ignore[arg-type]  # the stub wants literals
        return None
    stamp: timestamp_pb2.Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument.of(f"embedding.{field}", "must lie in the years 1 to 9999") from error


def _timestamp(moment: datetime | None) -> timestamp_pb2.Timestamp | None:
    if moment is None:
        return None
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(moment)
    return stamp
