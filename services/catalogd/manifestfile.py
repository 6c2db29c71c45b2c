"""A manifest as one Parquet object: one row that says everything, beside columns a person can query (C3)."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from services.catalogd.errors import ManifestDamaged
from services.catalogd.manifest import Column, DataObject, EmbeddingState, Lineage, Manifest, dataset_id
from services.runtime.errors import InvalidArgument
from services.runtime.names import COMPONENT_MAX_BYTES, check_name, directory_name

PREFIX = "_catalog/manifests/"
_SUFFIX = ".parquet"
_COLUMNS: list[pa.Field[Any]] = [
    pa.field("name", pa.string()),
    pa.field("dataset_id", pa.string()),
    pa.field("version", pa.int64()),
    pa.field("fingerprint", pa.string()),
    pa.field("row_count", pa.int64()),
    pa.field("updated_at", pa.timestamp("us", "UTC")),
    pa.field("manifest", pa.string()),
]


def manifest_key(name: str) -> str:
    """The object key of a dataset's manifest: the name itself wherever that is a legal key."""
    short = len((name + _SUFFIX).encode()) <= COMPONENT_MAX_BYTES
    return f"{PREFIX}{name if short else directory_name(name)}{_SUFFIX}"


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as Parquet; 0.4 ms, and 1 ms more for each 1,000 objects."""
    row = {
        "name": manifest.name,
        "dataset_id": manifest.dataset_id,
        "version": manifest.version,
        "fingerprint": manifest.schema_fingerprint,
        "row_count": manifest.row_count,
        "updated_at": manifest.updated_at,
        "manifest": orjson.dumps(manifest).decode(),
    }
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([row], schema=pa.schema(_COLUMNS))
    pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_statistics=False)
    return bytes(sink.getvalue())


def decode_manifest(key: str, data: bytes) -> Manifest:
    """Reads a manifest and checks that it belongs under its key. Raises ManifestDamaged.

    Fields that a later release may have added are left aside.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), columns=["manifest"])
        text: Any
        (text,) = table.column("manifest").to_pylist()
        manifest = _manifest(orjson.loads(text))
        legal = check_name(manifest.name) == manifest.name and manifest.dataset_id == dataset_id(manifest.name)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, InvalidArgument) as error:
        raise ManifestDamaged(f"{key}: the manifest cannot be read ({type(error).__name__})", key=key) from error
    if not legal or manifest_key(manifest.name) != key:
        raise ManifestDamaged(f"{key}: the manifest is that of another dataset, {manifest.name!r}", key=key)
    return manifest


def _manifest(fields: dict[str, Any]) -> Manifest:
    embedding = fields["embedding"]
    return Manifest(
        dataset_id=fields["dataset_id"],
        name=fields["name"],
        schema_fingerprint=fields["schema_fingerprint"],
        columns=tuple(_known(Column, column) for column in fields["columns"]),
        objects=tuple(_known(DataObject, part) for part in fields["objects"]),
        version=int(fields["version"]),
        rows_version=int(fields["rows_version"]),
        created_at=datetime.fromisoformat(fields["created_at"]),
        updated_at=datetime.fromisoformat(fields["updated_at"]),
        lineage=_known(Lineage, fields["lineage"]) if fields["lineage"] else None,
        embedding=EmbeddingState(
            last_embedded_at=_moment(embedding["last_embedded_at"]),
            stale_since=_moment(embedding["stale_since"]),
            refresh_policy=embedding["refresh_policy"],
            embedded_version=int(embedding["embedded_version"]),
        ),
    )


def _known(kind: Any, fields: dict[str, Any]) -> Any:
    return kind(**{name: fields[name] for name in kind.__slots__ if name in fields})


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
