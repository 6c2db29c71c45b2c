"""All indexes of the daemon: created, found by name, deleted, merged, and kept tidy in the background.

indexes/<name>-<random>/   one index; a name used again gets a new directory
trash/<random>/            an index on its way out
"""

from __future__ import annotations

import logging
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from services.runtime.durable import make_directory, sync_directory
from services.runtime.errors import InvalidArgument
from services.runtime.names import check_name, directory_name, same_name
from services.vectord.config import VectorConfig
from services.vectord.errors import DimensionsDiffer, IndexExists, IndexNotFound, SelfMerge, StorageTypeNotAvailable
from services.vectord.index import Index
from services.vectord.items import Item
from services.vectord.keeper import Keeper
from services.vectord.manifest import DamagedManifest, Description
from services.vectord.snapshot import Found

log = logging.getLogger(__name__)

STORAGE_TYPES = ("float32",)
LEAST_LINKS = 2

_MERGE_ITEMS = 1000


@dataclass(slots=True, kw_only=True)
class Merged:
    """What a merge did, in items."""

    merged: int = 0
    skipped: int = 0
    failed: int = 0
    source_count: int = 0
    dest_count: int = 0


class Indexes:
    """Safe from any number of threads."""

    def __init__(self, data: Path, config: VectorConfig) -> None:
        """Opens every index below `data`; one that cannot be opened is reported and left alone."""
        self._config = config
        self._places = make_directory(data / "indexes")
        self._trash = make_directory(data / "trash")
        self._lock = threading.Lock()
        self._indexes: dict[str, Index] = {}
        self._keeper = Keeper(self.all)
        shutil.rmtree(self._trash, ignore_errors=True)
        make_directory(self._trash)
        for path in sorted(self._places.iterdir()):
            self._open(path)

    def _open(self, path: Path) -> None:
        if _unfinished(path):
            shutil.rmtree(path, ignore_errors=True)
            return
        try:
            index = Index.open(path, self._config)
        except DamagedManifest as error:
            log.error("the index in %s is left out: %s", path.name, error)
            return
        self._indexes[same_name(index.description.name)] = index

    def start(self) -> None:
        """Begins to seal and tidy in the background."""
        self._keeper.start()

    def close(self) -> None:
        """Stops the background work within about a second; every acknowledged write is on disk already."""
        self._keeper.stop()
        for index in self.all():
            index.close()

    def all(self) -> list[Index]:
        """Every index, in the order of the names."""
        return sorted(self._indexes.copy().values(), key=lambda index: index.description.name)

    def page(self, after: str, limit: int) -> tuple[list[Index], bool]:
        """The first `limit` indexes whose names come after `after`, and whether more follow."""
        rest = [index for index in self.all() if index.description.name > after]
        return rest[:limit], len(rest) > limit

    def get(self, name: str) -> Index:
        """The index of that name, without regard to case; raises IndexNotFound."""
        index = self._indexes.get(same_name(name))
        if index is None:
            raise IndexNotFound(f"no index is named {name!r}", name=name)
        return index

    def create(self, description: Description) -> Index:
        """Makes an empty index, created now.

        Raises IndexExists naming the other, StorageTypeNotAvailable, or InvalidArgument for a bad name
        or a graph that cannot be built. Costs some disk syncs.
        """
        name = check_name(description.name)
        _check(description)
        description = replace(description, name=name, created_ns=time.time_ns())
        with self._lock:
            other = self._indexes.get(same_name(name))
            if other is not None:
                taken = other.description.name
                raise IndexExists(f"an index is named {taken!r} already", name=name, existing=taken)
            path = self._places / f"{directory_name(name)}-{secrets.token_hex(4)}"
            index = Index.create(path, description, self._config)
            self._indexes[same_name(name)] = index
            return index

    def delete(self, name: str) -> int:
        """Deletes an index and all its files; returns how many items it held. Raises IndexNotFound.

        Searches that have begun end well on what they see.
        """
        with self._lock:
            index = self.get(name)
            count = index.retire()
            trash = self._trash / secrets.token_hex(8)
            index.path.rename(trash)
            sync_directory(self._places)
            del self._indexes[same_name(name)]
        shutil.rmtree(trash, ignore_errors=True)
        return count

    def merge(self, source_name: str, dest_name: str, *, clear_source: bool) -> Merged:
        """Copies the items that the destination does not have yet, and clears the source of what is there (V7).

        Raises IndexNotFound, SelfMerge, DimensionsDiffer. An item that cannot be written, say a zero
        vector into a cosine index, is counted and stays in the source. May be repeated at any time.
        """
        source, dest = self.get(source_name), self.get(dest_name)
        if source is dest:
            raise SelfMerge.of("dest", "must not be the source itself", name=dest_name)
        if source.description.dimension != dest.description.dimension:
            ours, theirs = source.description.dimension, dest.description.dimension
            raise DimensionsDiffer(
                f"vectors of {ours} components cannot go into an index of {theirs}", source=ours, dest=theirs
            )
        merged = Merged()
        after, more = "", True
        while more:
            found, more = source.page(after, _MERGE_ITEMS, with_vectors=True)
            if found.ids:
                after = found.ids[-1]
                _merge_page(found, source, dest, merged, clear_source=clear_source)
        merged.source_count, merged.dest_count = source.info().count, dest.info().count
        return merged


def _check(description: Description) -> None:
    if description.storage_type not in STORAGE_TYPES:
        given = description.storage_type
        known = ", ".join(STORAGE_TYPES)
        raise StorageTypeNotAvailable(f"vectors cannot be kept as {given} yet, only as {known}", storage_type=given)
    if description.parameters.m < LEAST_LINKS:
        raise InvalidArgument.of("parameters.m", f"a graph needs at least {LEAST_LINKS} links for each node")


def _unfinished(path: Path) -> bool:
    """Whether the creation of an index was interrupted: no manifest, and nothing was ever written."""
    files = [file for file in path.iterdir() if not file.name.startswith(".")]
    return all(file.suffix == ".log" and file.stat().st_size == 0 for file in files)


def _merge_page(found: Found, source: Index, dest: Index, merged: Merged, *, clear_source: bool) -> None:
    written = found
    try:
        added = dest.add_missing(_items(found)).added
    except InvalidArgument:
        written, added = _merge_singly(found, dest)
    merged.merged += added
    merged.skipped += len(written.ids) - added
    merged.failed += len(found.ids) - len(written.ids)
    if clear_source:
        source.delete_unchanged(written)


def _merge_singly(found: Found, dest: Index) -> tuple[Found, int]:
    fine: list[int] = []
    added = 0
    for place, item in enumerate(_items(found)):
        try:
            added += dest.add_missing([item]).added
        except InvalidArgument as error:
            log.warning("item %r cannot be merged into %r: %s", item.id, dest.description.name, error.reason)
        else:
            fine.append(place)
    assert found.vectors is not None
    chosen = Found(
        ids=[found.ids[place] for place in fine],
        metadata=[found.metadata[place] for place in fine],
        vectors=found.vectors[fine],
    )
    return chosen, added


def _items(found: Found) -> list[Item]:
    assert found.vectors is not None
    return [
        Item(id=item_id, vector=vector, metadata=metadata)
        for item_id, vector, metadata in zip(found.ids, found.vectors, found.metadata, strict=True)
    ]
