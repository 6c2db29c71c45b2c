"""What an index is and which files hold it: one small file, replaced as a whole and written last (V6, V9).

It is the index's exact state where the log was last cut; the logs from `log_from` on tell the rest.
"""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson

from services.runtime.durable import Record, atomic_write, frame, scan
from services.vectord.segments.building import Parameters
from services.vectord.segments.metric import Mask, Metric
from services.vectord.segments.storage import StorageType

VERSION = 1

T = TypeVar("T")


class DamagedManifest(Exception):
    """A manifest is missing or is not what was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What an index was made from; every field may be empty."""

    dataset: str = ""
    dataset_version: int = 0
    embedding_model: str = ""
    embedding_model_version: str = ""
    properties: bytes = b""
    """A serialised Struct: whatever else the builder wants to keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the index is: as it was created, and as it was changed since."""

    name: str
    dimension: int
    metric: Metric
    storage_type: StorageType = "float32"
    parameters: Parameters = field(default_factory=Parameters)
    source: Source = field(default_factory=Source)
    bucket: str = "primary"
    created_ns: int = 0
    backend: str = "memory"
    """Which engine keeps it; see backends.py."""


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
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else is kept with the index, JSON values by key; unknown to whoever does not need it."""


_KEYS = ("version", "description", "updated_ns", "log_from", "next_segment", "segments", "problems")


def write(path: Path, manifest: Manifest) -> None:
    """Replaces the manifest durably."""
    atomic_write(path, encode(manifest))


def encode(manifest: Manifest) -> bytes:
    """The bytes of a manifest, with a checksum."""
    document = {
        **manifest.extra,
        "version": VERSION,
        "description": about(manifest.description),
        "updated_ns": manifest.updated_ns,
        "log_from": manifest.log_from,
        "next_segment": manifest.next_segment,
        "segments": [
            {"file": entry.file, "sha256": entry.sha256, "count": entry.count, "alive": _packed(entry.alive)}
            for entry in manifest.segments
        ],
        "problems": list(manifest.problems),
    }
    return frame(1, orjson.dumps(document))


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
        description=described(document["description"]),
        updated_ns=document["updated_ns"],
        log_from=document["log_from"],
        next_segment=document["next_segment"],
        segments=[_entry(one) for one in document["segments"]],
        problems=document["problems"],
        extra={key: value for key, value in document.items() if key not in _KEYS},
    )


def about(description: Description) -> dict[str, Any]:
    """A description as a JSON object."""
    document = dataclasses.asdict(description)
    document["source"]["properties"] = base64.b64encode(description.source.properties).decode()
    return document


def described(document: Mapping[str, Any]) -> Description:
    """A description from its JSON object; keys of a later release are passed over."""
    source = dict(document["source"])
    source["properties"] = base64.b64decode(source["properties"])
    nested = {"parameters": _known(Parameters, document["parameters"]), "source": _known(Source, source)}
    return _known(Description, {**document, **nested})


def _known(made: type[T], document: Mapping[str, Any]) -> T:
    names = {one.name for one in dataclasses.fields(made)}  # type: ignore[arg-type]  # only dataclasses come here
    return made(**{key: value for key, value in document.items() if key in names})


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
