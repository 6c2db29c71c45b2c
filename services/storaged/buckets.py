"""The buckets there are: made and removed at run time, remembered across restarts (S7).

Each has a small JSON file of its own, so that one damaged file costs one bucket, and only until a
bucket of that name is made again over the same objects.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from services.runtime.durable import atomic_write, make_directory, remove_file, sweep_temporaries
from services.runtime.names import check_name, directory_name, same_name
from services.storaged.backend import Backend, ObjectStore
from services.storaged.errors import BackendNotConfigured, BucketExists, BucketNotFound, BucketProtected

log = logging.getLogger(__name__)

PRIMARY = "primary"
PROTECTED = (PRIMARY, "rescue")
_SHOWN_NAMES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A named place for objects and the back end that holds it."""

    name: str
    backend: str
    created_at: datetime

    @property
    def removable(self) -> bool:
        """Whether it may be removed."""
        return self.name not in PROTECTED


class Buckets:
    """The registry. Looking up takes no lock and touches no disk; changes block for two syncs."""

    def __init__(self, directory: Path, backends: Mapping[str, Backend], default_backend: str) -> None:
        """Reads the registry in `directory` and makes the protected buckets where they are missing.

        `default_backend` is one of `backends`.
        """
        self._directory = make_directory(directory)
        self._backends = backends
        self._default = default_backend
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[Bucket, ObjectStore]] = {}
        sweep_temporaries(directory)
        for file in sorted(directory.glob("*.json")):
            self._load(file)
        for name in PROTECTED:
            if name not in self._buckets:
                self.create(name, "")

    def _load(self, file: Path) -> None:
        try:
            fields = orjson.loads(file.read_bytes())
            created_at = datetime.fromisoformat(fields["created_at"])
            bucket = Bucket(name=fields["name"], backend=fields["backend"], created_at=created_at)
            backend = self._backend(bucket.backend)
        except (ValueError, KeyError, TypeError, BackendNotConfigured) as error:
            log.error("the bucket recorded in %s is left out: %s", file.name, error)
            return
        self._buckets[bucket.name] = bucket, backend.open_bucket(bucket.name)

    def store(self, name: str) -> ObjectStore:
        """The objects of a bucket, of `primary` when the name is empty. Raises BucketNotFound."""
        return self._find(name or PRIMARY)[1]

    def get(self, name: str) -> Bucket:
        """One bucket. Raises BucketNotFound with the names there are."""
        return self._find(name)[0]

    def list(self, *, after: str, limit: int) -> list[Bucket]:
        """The first buckets behind the name `after`, in the order of their names."""
        buckets = [bucket for bucket, _ in self._buckets.copy().values() if bucket.name > after]
        return sorted(buckets, key=lambda bucket: bucket.name)[:limit]

    def create(self, name: str, backend: str) -> Bucket:
        """Makes a bucket, on the default back end when none is named.

        Raises InvalidArgument (X14), BackendNotConfigured, BucketExists naming the other.
        """
        name = check_name(name)
        held_by = self._backend(backend or self._default)
        bucket = Bucket(name=name, backend=backend or self._default, created_at=datetime.now(UTC))
        with self._lock:
            for other in self._buckets:
                if same_name(other) == same_name(name):
                    raise BucketExists(f"there is a bucket {other!r} already", bucket=other)
            store = held_by.open_bucket(name)
            record = {"name": name, "backend": bucket.backend, "created_at": bucket.created_at.isoformat()}
            atomic_write(self._file(name), orjson.dumps(record))
            self._buckets[name] = bucket, store
        return bucket

    def remove(self, name: str) -> None:
        """Removes an empty bucket. Raises BucketNotFound, BucketProtected, BucketNotEmpty."""
        with self._lock:
            bucket, store = self._find(name)
            if not bucket.removable:
                raise BucketProtected(f"the bucket {bucket.name!r} cannot be removed", bucket=bucket.name)
            store.destroy()
            remove_file(self._file(bucket.name))
            del self._buckets[bucket.name]

    def _find(self, name: str) -> tuple[Bucket, ObjectStore]:
        found = self._buckets.get(check_name(name, "bucket"))
        if found is None:
            names = ", ".join(sorted(self._buckets.copy()))
            # Errors travel in headers, which are small.
            shown = names if len(names) <= _SHOWN_NAMES else names[:_SHOWN_NAMES] + "…"
            raise BucketNotFound(f"there is no bucket {name!r}; the buckets are {shown}", bucket=name, buckets=shown)
        return found

    def _backend(self, name: str) -> Backend:
        backend = self._backends.get(name)
        if backend is None:
            shown = ", ".join(sorted(self._backends))
            raise BackendNotConfigured.of("backend", f"must be one of {shown}, is {name!r}", backends=shown)
        return backend

    def _file(self, name: str) -> Path:
        return self._directory / f"{directory_name(name)}.json"
