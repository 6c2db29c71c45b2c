"""What is asked of storage, and what of an index is there (V6).

    _vectors/<name>/<incarnation>/<sha256>.lhv1     a sealed segment
    _vectors/<name>/<incarnation>/manifest          written last: the segments that count, as in the directory

An incarnation is one life of a name, from its creation to its deletion, so objects of an index that
is on its way out are never taken for those of its successor.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import orjson

from services.runtime.durable import atomic_write
from services.runtime.errors import NotFound, ServiceError
from services.runtime.names import directory_name, key_component
from services.vectord.files import manifest
from services.vectord.files.manifest import Description, Entry, Manifest

log = logging.getLogger(__name__)

PREFIX = "_vectors/"
MANIFEST = "manifest"
STORED = "stored"
_SEGMENT = ".lhv1"


class Vault(Protocol):
    """Storage, as engines see it. Every method may block, and raises ServiceErrors: Unavailable, NotFound."""

    def put(self, bucket: str, key: str, source: Path | bytes) -> None:
        """Stores a file or bytes, whole or not at all."""
        ...

    def get(self, bucket: str, key: str, target: Path) -> None:
        """Copies an object into a file."""
        ...

    def delete(self, bucket: str, key: str) -> None:
        """Deletes an object; nothing happens when it is not there."""
        ...

    def keys(self, bucket: str, prefix: str) -> Sequence[str]:
        """All keys that begin with a prefix."""
        ...

    def buckets(self) -> Sequence[str]:
        """The buckets there are."""
        ...

    def check_bucket(self, bucket: str) -> None:
        """Raises NotFound (BUCKET_NOT_FOUND) listing the buckets, when this one is not there."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the objects of one index are."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, path: Path, description: Description) -> Place:
        """The place of the index in a directory."""
        incarnation = path.name.rpartition("-")[2]
        return cls(bucket=description.bucket, prefix=f"{PREFIX}{key_component(description.name)}/{incarnation}/")

    def segment(self, sha256: str) -> str:
        """The key of a segment."""
        return f"{self.prefix}{sha256}{_SEGMENT}"

    @property
    def manifest(self) -> str:
        """The key of the manifest."""
        return self.prefix + MANIFEST


def new_directory(name: str, incarnation: str) -> str:
    """The directory of an index."""
    return f"{directory_name(name)}-{incarnation}"


@dataclass(slots=True, kw_only=True)
class _Known:
    """What is in storage, as far as we were told."""

    begun: list[str] = field(default_factory=list)
    """Segments that may be there, by checksum."""
    whole: list[str] = field(default_factory=list)
    """Segments that are."""
    manifest: str = ""
    """Checksum of the manifest that is."""


class Stored:
    """Brings the segments of one index into storage and back. Safe from any number of threads."""

    def __init__(self, path: Path, description: Description, vault: Vault) -> None:
        """Reads what was known when the daemon stopped."""
        self._file = path / STORED
        self._path = path
        self._vault = vault
        self._place = Place.of(path, description)
        self._lock = threading.Lock()
        self._gone = False
        self._known = _read(self._file)
        self._done: Manifest | None = None
        self.problem = ""
        """Why the last attempt failed; empty when it did not."""

    def due(self, present: Manifest) -> bool:
        """Whether storage lacks something of the present state."""
        if present is self._done or self._gone:
            return False
        if _digest(_portable(present)) != self._known.manifest:
            return True
        self._done = present
        return False

    def waiting(self, present: Manifest) -> int:
        """How many segments are not in storage."""
        return sum(entry.sha256 not in self._known.whole for entry in present.segments)

    def save(self, current: Callable[[], Manifest]) -> None:
        """Stores new segments, then the manifest, then removes what it no longer names. Raises ServiceError, OSError.

        Costs nothing but time: searches and writes go on. May be repeated at any point, and gives up
        quietly when the manifest changes meanwhile and a segment of it is gone: then it is due again.
        """
        with self._lock:
            if self._gone:
                return
            present = current()
            try:
                self._save(present)
            except FileNotFoundError:
                if current() is present and not self._gone:
                    raise
                return
            except (ServiceError, OSError) as error:
                self.problem = error.message if isinstance(error, ServiceError) else str(error.strerror)
                raise
            self.problem = ""

    def _save(self, present: Manifest) -> None:
        known, place = self._known, self._place
        named = [entry.sha256 for entry in present.segments]
        self._remember(replace(known, begun=list(dict.fromkeys([*known.begun, *named]))))
        for entry in present.segments:
            if entry.sha256 not in known.whole:
                self._vault.put(place.bucket, place.segment(entry.sha256), self._path / entry.file)
                known.whole.append(entry.sha256)
        data = _portable(present)
        self._vault.put(place.bucket, place.manifest, data)
        for sha256 in set(self._known.begun) - set(named):
            self._vault.delete(place.bucket, place.segment(sha256))
        self._remember(_Known(begun=named, whole=named, manifest=_digest(data)))
        self._done = present

    def _remember(self, known: _Known) -> None:
        if known != self._known or not self._file.exists():
            atomic_write(self._file, orjson.dumps(known))
        self._known = known

    def fetch(self, entry: Entry, target: Path) -> bool:
        """Brings a segment's file back; False when it is not in storage. Raises Unavailable."""
        try:
            self._vault.get(self._place.bucket, self._place.segment(entry.sha256), target)
        except NotFound:
            return False
        return True

    def retire(self) -> None:
        """Ends all storing; returns when none is under way."""
        self._gone = True
        with self._lock:
            pass


def _portable(present: Manifest) -> bytes:
    # Logs are of one machine, and so is the damage that was found there.
    return manifest.encode(replace(present, log_from=1, problems=()))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read(file: Path) -> _Known:
    try:
        return _Known(**orjson.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return _Known()  # then everything is stored once more


def purge(path: Path, vault: Vault) -> None:
    """Removes all objects of an index that was deleted, its manifest first. Raises ServiceError.

    `path` is its directory on the way out, under its old name, in which the manifest still stands.
    """
    place = Place.of(path, manifest.read(path / MANIFEST).description)
    try:
        vault.delete(place.bucket, place.manifest)
        for key in vault.keys(place.bucket, place.prefix):
            vault.delete(place.bucket, key)
    except NotFound:
        log.info("the bucket %s is gone, and with it what was stored of %s", place.bucket, path.name)


def restorable(vault: Vault) -> dict[str, tuple[str, str]]:
    """Bucket and key of every manifest in storage, by incarnation. Raises ServiceError."""
    found = {}
    for bucket in vault.buckets():
        for key in vault.keys(bucket, PREFIX):
            parts = key.split("/")
            if len(parts) == 4 and parts[3] == MANIFEST:
                found[parts[2]] = (bucket, key)
    return found


def restore(vault: Vault, bucket: str, key: str, *, scratch: Path) -> Manifest:
    """The manifest of an index whose directory is lost. Raises ServiceError, DamagedManifest."""
    copy = scratch / f"restored-{_digest(key.encode())[:16]}"
    try:
        vault.get(bucket, key, copy)
        return manifest.read(copy)
    finally:
        copy.unlink(missing_ok=True)
