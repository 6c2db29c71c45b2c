"""What an index is and which files hold it: one small file, replaced as a whole and written last (V6, V9).

It is the index's exact state where the log was last cut; the logs from `log_from` on tell the rest.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from services.runtime.durable import Record, atomic_write, frame, scan
from services.vectord.building import Parameters
from services.vectord.metric import Mask, Metric

VERSION = 1


class DamagedManifest(Exception):
    """A manifest is missing or is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an index was made from; every field may be empty."""

    dataset: str = ""
    dataset_version: int = 0
    embedding_model: str = ""
    properties: bytes = b""
    """A serialised Struct: whatever else the builder wants to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What was said when the index was created."""

    name: str
    dimension: int
    metric: Metric
    storage_type: str = "float32"
    parameters: Parameters = field(default_factory=Parameters)
    source: Source = field(default_factory=Source)
    bucket: str = "primary"
    created_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One sealed segment."""

    file: str
    sha256: str
    count: int
    alive: Mask | None = None
    """Which rows were alive at the cut; None is all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All that must be known to open an index."""

    description: Description
    updated_ns: int
    log_from: int = 1
    """Number of the first log that the segments do not hold yet."""
    next_segment: int = 1
    """Number of the next segment file."""
    segments: Sequence[Entry] = ()
    problems: Sequence[str] = ()
    """Damage found so far that cannot be mended, each in a sentence."""


def write(path: Path, manifest: Manifest) -> None:
    """Replaces the manifest durably."""
    document = {
        "version": VERSION,
        "description": _description(manifest.description),
        "updated_ns": manifest.updated_ns,
        "log_from": manifest.log_from,
        "next_segment": manifest.next_segment,
        "segments": [
            {"file": entry.file, "sha256": entry.sha256, "count": entry.count, "alive": _packed(entry.alive)}
            for entry in manifest.segments
        ],
        "problems": list(manifest.problems),
    }
    atomic_write(path, frame(1, orjson.dumps(document)))


def read(path: Path) -> Manifest:
    """Reads a manifest; raises DamagedManifest."""
    try:
        record = next(iter(scan(path)), None)
    except OSError as error:
        raise DamagedManifest(f"the manifest cannot be read: {error.strerror}") from error
    if not isinstance(record, Record):
        raise DamagedManifest("the manifest does not have the checksum it was written with")
    document = orjson.loads(record.payload)
    if document["version"] != VERSION:
        raise DamagedManifest(f"the manifest has version {document['version']}, which this release cannot read")
    return Manifest(
        description=_parsed(document["description"]),
        updated_ns=document["updated_ns"],
        log_from=document["log_from"],
        next_segment=document["next_segment"],
        segments=[_entry(one) for one in document["segments"]],
        problems=document["problems"],
    )


def _description(description: Description) -> dict[str, Any]:
    properties = base64.b64encode(description.source.properties).decode()
    return {
        "name": description.name,
        "dimension": description.dimension,
        "metric": description.metric,
        "storage_type": description.storage_type,
        "parameters": description.parameters,
        "source": {
            "dataset": description.source.dataset,
            "dataset_version": description.source.dataset_version,
            "embedding_model": description.source.embedding_model,
            "properties": properties,
        },
        "bucket": description.bucket,
        "created_ns": description.created_ns,
    }


def _parsed(document: Mapping[str, Any]) -> Description:
    source = dict(document["source"])
    source["properties"] = base64.b64decode(source["properties"])
    return Description(**{**document, "parameters": Parameters(**document["parameters"]), "source": Source(**source)})


def _entry(document: Mapping[str, Any]) -> Entry:
    alive = document["alive"]
    return Entry(
        file=document["file"],
        sha256=document["sha256"],
        count=document["count"],
        alive=None if alive is None else _unpacked(alive, document["count"]),
    )


def _packed(alive: Mask | None) -> str | None:
    if alive is None or alive.all():
        return None
    return base64.b64encode(zlib.compress(np.packbits(alive).tobytes())).decode()


def _unpacked(text: str, count: int) -> Mask:
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return np.unpackbits(bits, count=count).astype(np.bool_)
