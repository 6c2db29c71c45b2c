"""All indexes of the daemon: created, found by name, deleted, merged, and kept tidy in the background."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from services.runtime.errors import ServiceError
from services.runtime.names import check_name, same_name
from services.vectord.config import VectorConfig
from services.vectord.errors import IndexExists, IndexNotFound
from services.vectord.files import importing, portable
from services.vectord.files.importing import Spool
from services.vectord.files.manifest import Description
from services.vectord.files.shelf import Shelf
from services.vectord.files.vault import Vault
from services.vectord.operations import merging
from services.vectord.operations.merging import Merged
from services.vectord.tree.engine import Chore, Engine, Lane
from services.vectord.tree.keeper import Keeper, Owner
from services.vectord.tree.names import Names, checked

log = logging.getLogger(__name__)


class Indexes(Names):
    """Safe from any number of threads."""

    def __init__(self, data: Path, config: VectorConfig, storage: Vault | None = None) -> None:
        """Opens every index below `data`, and those that only `storage` has; what cannot be opened is left alone."""
        self._config = config
        super().__init__(data, Shelf(data, config, storage))
        threads: dict[Lane, int] = {"seal": 2, "merge": config.merges, "store": 2, "check": 1}
        self._keeper = Keeper(self._chores, threads)
        self._register(self._shelf.open_all())
        try:
            self._tidy()
        except ServiceError as error:
            log.error("storage cannot be reached yet: %s", error)

    def _register(self, opened: list[Engine]) -> None:
        with self._lock:
            for index in opened:
                key = same_name(index.description.name)
                if key in self._indexes:
                    log.error("the index in %s is left out: its name is taken", index.path.name)
                    index.close()
                else:
                    self._indexes[key] = index
                self._shelf.waiting.pop(index.path, None)

    def _tidy(self) -> None:
        self._shelf.tidy(self._register)

    def _chores(self) -> Iterator[tuple[Owner, Chore]]:
        for index in self.all():
            for chore in index.chores():
                yield (index, f"index {index.description.name}"), chore
        if self._shelf.untidy:
            yield (self, "indexes"), Chore(lane="store", work=lambda stop: self._tidy())

    def start(self) -> None:
        """Begins to seal and tidy in the background."""
        self._keeper.start()

    def close(self) -> None:
        """Stops the background work within about a second; every acknowledged write is on disk already."""
        self._keeper.stop()
        for index in self.all():
            index.close()

    def all(self) -> list[Engine]:
        """Every index, in the order of the names."""
        return sorted(self._indexes.copy().values(), key=lambda index: index.description.name)

    def page(self, after: str, limit: int) -> tuple[list[Engine], bool]:
        """The first `limit` indexes whose names come after `after`, and whether more follow."""
        rest = [index for index in self.all() if index.description.name > after]
        return rest[:limit], len(rest) > limit

    def create(self, description: Description) -> Engine:
        """Makes an empty index, created now.

        Raises IndexExists naming the other, NotFound for an unknown bucket, or InvalidArgument for a bad name
        or a graph that cannot be built. Costs some disk syncs.
        """
        description = checked(description)
        self._shelf.check_bucket(description.bucket)
        with self._lock:
            self._check_free(description.name)
            index = self._shelf.create(description)
            self._indexes[same_name(description.name)] = index
            return index

    def spool(self, declared: int | None) -> Spool:
        """Where the bytes of a file to import go. Raises ImportTooLarge for what is announced."""
        return Spool(self._shelf.scratch, limit=self._config.max_import_bytes, declared=declared)

    def adopt(self, name: str, bucket: str, spool: Spool) -> Engine:
        """Makes an index of a file that has arrived: whole, or not at all.

        Raises what `create` and portable.read raise. Costs two reads and a write of the file.
        """
        with self._lock:
            self._check_free(check_name(name))
        self._shelf.check_bucket(bucket)
        found = portable.read(spool.path)
        description = checked(replace(found.description, name=name, bucket=bucket, backend="memory"))
        index = self._shelf.adopt(
            description, lambda path: importing.build(path, spool.path, found, description, self._config)
        )
        try:
            with self._lock:
                self._check_free(description.name)
                self._indexes[same_name(description.name)] = index
        except IndexExists:
            index.retire()
            self._take_away(index)
            raise
        return index

    def delete(self, name: str) -> int:
        """Deletes an index and all that belongs to it; returns how many items it held.

        Raises IndexNotFound, also for an alias, and IndexHasAlias when one stands for it.
        Searches that have begun end well on what they see. What storage does not delete now it does later,
        also after a crash.
        """
        key = same_name(name)
        with self._lock:
            if key in self._leaving:
                raise IndexNotFound(f"the index {name!r} is being deleted", name=name)
            index = self._check_leaving(name)
            self._leaving.add(key)
        try:
            count = index.retire()
            with self._lock:
                self._shelf.remove(index.path)
                del self._indexes[key]
        finally:
            self._leaving.discard(key)
        self._shelf.clear(index.path)
        return count

    def _take_away(self, index: Engine) -> None:
        self._shelf.remove(index.path)
        self._shelf.clear(index.path)

    def merge(self, source_name: str, dest_name: str, *, clear_source: bool) -> Merged:
        """Copies items from one index into another; see merging.merge. Raises IndexNotFound."""
        source, dest = self.get(source_name), self.get(dest_name)
        return merging.merge(source, dest, clear_source=clear_source, patience=self._config.busy_seconds)
