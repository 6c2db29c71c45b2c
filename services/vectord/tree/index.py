"""One index: a small log-structured merge tree of vectors (V1-V6).

A write is checked, logged, applied, published, and only then answered. A search takes the published
snapshot and needs no lock. Seals and merges (compaction.py) go on beside all that.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.vectord.config import VectorConfig
from services.vectord.errors import AnswerTooLarge, IndexBusy, IndexNotFound, IndexStopped, LogUnwritable, NotFinite
from services.vectord.files import exporting
from services.vectord.files.exporting import Export
from services.vectord.files.manifest import Description
from services.vectord.files.vault import Vault
from services.vectord.segments import filters
from services.vectord.segments.filters import Filter
from services.vectord.segments.metric import Floats
from services.vectord.segments.native import use_threads
from services.vectord.segments.snapshot import Found, Query, Snapshot
from services.vectord.tree import items, journal, plan
from services.vectord.tree.checking import Checks
from services.vectord.tree.core import Core
from services.vectord.tree.engine import Checked, Chore, Info, Stop, never
from services.vectord.tree.fitting import fits
from services.vectord.tree.items import Batch, Item
from services.vectord.tree.journal import Delete, Operation
from services.vectord.tree.reshaping import Reshaping
from services.vectord.tree.state import Applied

log = logging.getLogger(__name__)

_GROUP_BYTES = 64 << 20
_BUSY_FACTOR = 2  # writers who do not ask are let through up to this many times the limit
_INLINE_FLOATS = 8_000_000
_INLINE_ITEMS = 100
_ANSWER_ITEMS = 1_000_000
_ANSWER_FLOATS = 1 << 24


class _Write:
    """A write that waits for the log, and what came of it."""

    __slots__ = ("applied", "count", "described", "done", "error", "operation")

    def __init__(self, operation: Operation, described: Description) -> None:
        self.operation = operation
        self.described = described
        self.applied = Applied()
        self.count = 0
        self.done = False
        self.error: Exception | None = None


class Index(Reshaping):
    """Safe from any number of threads: one writes at a time, searches never wait."""

    has_graphs = True
    """Whether there are graphs to rebuild, to try and to tune."""

    def __init__(self, core: Core) -> None:
        """Use `create` or `open`."""
        super().__init__(core)
        self._waiting: deque[_Write] = deque()
        self.successor: Index | None = None
        """What took its place when it was moved; None while it has its name."""
        self._checks = Checks(core)

    @classmethod
    def create(
        cls,
        path: Path,
        description: Description,
        config: VectorConfig,
        vault: Vault | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Index:
        """Makes an empty index that survives from now on; `extra` is kept with it, see `keep`."""
        return cls(Core.create(path, description, config, vault, extra))

    @classmethod
    def open(cls, path: Path, config: VectorConfig, vault: Vault | None = None, pool: Executor | None = None) -> Index:
        """Opens an index: its segments, in `pool` side by side, then the writes since. Damage is told in `info`.

        A segment that is not sound here is fetched from `vault`. Raises DamagedManifest, NewerVersion, and
        Unavailable when a segment can neither be opened nor fetched now. Costs one read of its files, and
        some 3 us a logged item.
        """
        return cls(Core.open(path, config, vault, pool))

    @property
    def description(self) -> Description:
        """What it is."""
        return self._core.description

    @property
    def snapshot(self) -> Snapshot:
        """What searches see at this moment; it never changes."""
        return self._core.snapshot

    @property
    def gone(self) -> bool:
        """Whether it is being deleted, or was."""
        return self._core.gone

    @property
    def path(self) -> Path:
        """Where its files are."""
        return self._core.directory.path

    def add(self, given: Sequence[Item]) -> tuple[Applied, int]:
        """Adds or replaces items, all or none; returns what changed and how many items there are now.

        When it returns they are on disk and every search finds them. Raises what `items.check` raises,
        IndexNotFound when the index was deleted, LogUnwritable. Costs a disk sync, shared with whoever
        writes at the same time.
        """
        return self._write(self._checked(given))

    def delete(self, ids: Sequence[str]) -> tuple[Applied, int]:
        """Deletes items by id; ids that are not there are counted. Raises and costs as `add`."""
        return self._write(Delete(ids=list(dict.fromkeys(ids))))

    def add_missing(self, given: Sequence[Item]) -> Applied:
        """Adds those items whose ids are not there yet and leaves the others alone. Raises as `add`."""
        batch = self._checked(given)
        with self._core.writer:
            held = self._core.state.held(batch.ids)
            missing = [position for position, item_id in enumerate(batch.ids) if item_id not in held]
            write = _Write(batch.take(missing), self.description)
            self._commit([write])
        return self._outcome(write)[0]

    def delete_unchanged(self, seen: Found) -> Applied:
        """Deletes items that still have the vectors and metadata with which they were seen. Raises as `add`."""
        was = dict(zip(seen.ids, zip(seen.metadata, _rows(seen), strict=True), strict=True))
        with self._core.writer:
            now = self._core.snapshot.get(seen.ids, condition=None, with_vectors=True)
            same = [
                item_id
                for item_id, *rest in zip(now.ids, now.metadata, _rows(now), strict=True)
                if was[item_id] == tuple(rest)
            ]
            write = _Write(Delete(ids=same), self.description)
            self._commit([write])
        return self._outcome(write)[0]

    def _checked(self, given: Sequence[Item]) -> Batch:
        described = self.description
        return items.check(
            given, dimension=described.dimension, metric=described.metric, storage=described.storage_type
        )

    def _write(self, operation: Operation) -> tuple[Applied, int]:
        if self._core.directory.unsealed >= _BUSY_FACTOR * self._core.config.unsealed_bytes:
            raise IndexBusy(f"the index {self.description.name!r} takes in as much as it can; nothing was written")
        write = _Write(operation, self.description)
        self._waiting.append(write)
        with self._core.writer:
            # Whoever gets the lock first writes for all who wait meanwhile.
            while not write.done:
                self._commit(self._group())
        return self._outcome(write)

    def _group(self) -> list[_Write]:
        group: list[_Write] = []
        size = 0
        while self._waiting and size < _GROUP_BYTES:
            group.append(self._waiting.popleft())
            operation = group[-1].operation
            size += operation.vectors.nbytes if isinstance(operation, Batch) else 0
        return group

    def _commit(self, group: Sequence[_Write]) -> None:
        try:
            now = self._log(group)
            self._apply(group)
            self._core.updated_ns, self._core.written_at = now, time.monotonic()
        except Exception as error:
            for write in group:
                write.error = error
        finally:
            for write in group:
                write.count = self._core.snapshot.count
                write.done = True

    def _log(self, group: Sequence[_Write]) -> int:
        if self._core.gone:
            raise IndexNotFound(f"the index {self.description.name!r} was deleted", name=self.description.name)
        if self._core.broken:
            raise IndexStopped(f"the index {self.description.name!r} must be opened again before it takes writes")
        now = time.time_ns()
        for write in group:
            self._check_fits(write)
        record = journal.encode([write.operation for write in group], time_ns=now)
        # Memory first: what is in the log will be there after a restart, so it must be applied.
        self._core.state.reserve([write.operation for write in group])
        self._core.directory.log.append(record)
        return now

    def _check_fits(self, write: _Write) -> None:
        # Checked before the storage type changed: it may be too long for what is kept now.
        present, operation = self.description, write.operation
        if write.described is present or not isinstance(operation, Batch):
            return
        if not fits(operation.vectors, present.storage_type):
            raise NotFinite(f"a vector is too long to be kept as {present.storage_type}")

    def _apply(self, group: Sequence[_Write]) -> None:
        try:
            for write in group:
                write.applied = self._core.state.apply(write.operation)
                for follower in self._core.followers:
                    follower(write.operation)
            self._core.publish()
        except BaseException:
            # Searches go on with what was published; to write on would be to forget what the log holds.
            log.critical("index %s: a logged write could not be applied", self.description.name)
            self._core.broken = True
            raise

    def _outcome(self, write: _Write) -> tuple[Applied, int]:
        if isinstance(write.error, OSError):
            problem = write.error.strerror
            raise LogUnwritable(f"nothing was written: the disk says {problem!r}", problem=problem) from write.error
        if write.error is not None:
            raise write.error
        return write.applied, write.count

    def search(self, vectors: Sequence[Floats], query: Query, names: Sequence[str]) -> list[Found]:
        """The nearest items of each vector on one state of the index; see Snapshot.search.

        `names` are the fields the vectors came in. Raises WrongDimension, NotFinite, ZeroNorm,
        FilterTooDeep, AnswerTooLarge. Bounded by 1 ms when `quick` says so.
        """
        description = self.description
        use_threads(1)
        self._check_answer(query.k * len(vectors), with_vectors=query.with_vectors)
        if query.filter is not None:
            filters.check(query.filter)
        matrix, _ = items.normalise(vectors, dimension=description.dimension, metric=description.metric, names=names)
        return self._core.snapshot.search(matrix, query)

    def quick(self, query: Query, vectors: int = 1) -> bool:
        """Whether a search is bounded by 1 ms, so that it need not leave the event loop."""
        if query.selective or len(query.exclude_ids) > _INLINE_ITEMS or query.k * vectors > _INLINE_ITEMS:
            return False
        return self._core.snapshot.cost(query, self.description.dimension) * vectors <= _INLINE_FLOATS

    @property
    def immediate(self) -> bool:
        """Whether items are read by id without waiting for a disk."""
        return True

    def get(self, ids: Sequence[str], *, condition: Filter | None = None, with_vectors: bool = True) -> Found:
        """Items by id in the order of the ids; those that are not there or do not pass are left out."""
        self._check_answer(len(ids), with_vectors=with_vectors)
        if condition is not None:
            filters.check(condition)
        return self._core.snapshot.get(ids, condition=condition, with_vectors=with_vectors)

    def _check_answer(self, count: int, *, with_vectors: bool) -> None:
        most = min(_ANSWER_ITEMS, _ANSWER_FLOATS // self.description.dimension) if with_vectors else _ANSWER_ITEMS
        if count > most:
            what = "items with their vectors" if with_vectors else "items"
            raise AnswerTooLarge(f"ask for at most {most} {what} at once, not {count}", limit=most, count=count)

    def page(self, after: str, limit: int, *, with_vectors: bool = False) -> tuple[Found, bool]:
        """The first `limit` items whose ids come after `after`, and whether more follow; see Snapshot.page.

        Fewer when their vectors would not fit into memory.
        """
        limit = min(limit, _ANSWER_FLOATS // self.description.dimension) if with_vectors else limit
        return self._core.snapshot.page(after, limit, with_vectors=with_vectors)

    def info(self) -> Info:
        """What is known of the index; a look at each of its few files."""
        slots = list(self._core.state.slots)
        sealed = self._core.state.sealed()
        return Info(
            description=self.description,
            count=self._core.snapshot.count,
            hot_count=sum(slot.live for slot in slots if slot not in sealed),
            segments=len(sealed),
            tombstones=sum(slot.dead for slot in slots),
            updated_ns=self._core.updated_ns,
            size=self._core.directory.size,
            problems=tuple(self._problems()),
            checked=self._checks.last,
        )

    def _problems(self) -> Iterator[str]:
        yield from self._core.directory.problems
        if self._core.broken:
            yield "a write that is in the log could not be applied: no more are taken until the daemon starts again"
        if self._core.stored is not None and self._core.stored.problem:
            waiting = self._core.stored.waiting(self._core.directory.manifest)
            bucket, problem = self.description.bucket, self._core.stored.problem
            yield f"{waiting} segments wait to be stored in the bucket {bucket!r}: {problem}"

    @property
    def busy(self) -> bool:
        """Whether writers should wait, because seals or merges cannot keep up."""
        return self._upkeep.behind

    def chores(self) -> list[Chore]:
        """What should be done in the background now."""
        chores = self._upkeep.chores()
        if not self.gone and self._checks.due():
            chores.append(Chore(lane="check", work=lambda stop: self.check_recall(stop=stop)))
        return chores

    def check_recall(self, *, k: int = 10, sample: int = 100, stop: Stop = never) -> Checked | None:
        """See Checks.run."""
        return self._checks.run(k=k, sample=sample, stop=stop)

    def due(self) -> int | None:
        """See Upkeep."""
        return self._upkeep.due()

    def seal(self, *, stop: Stop = never) -> None:
        """See Upkeep."""
        self._upkeep.seal(stop=stop)

    def compact(self, growth: int = plan.BUSY, *, stop: Stop = never, fresh: bool = False) -> None:
        """See Upkeep."""
        self._upkeep.compact(growth, stop=stop, fresh=fresh)

    def store(self) -> None:
        """See Upkeep."""
        self._upkeep.store()

    def export(self) -> Export:
        """The items at this moment as one `.lhv1` file, whose pieces may be taken at leisure."""
        return exporting.export(self._core.snapshot, self.description)

    def describe(self, description: Description) -> None:
        """Replaces the description, durably; graphs that are there stay as they are. Raises OSError."""
        self._core.directory.change(lambda present: replace(present, description=description))
        self._core.description = description

    def retire(self) -> int:
        """Ends all writing, because the index is being deleted; returns how many items it held."""
        with self._core.writer:
            self._core.gone = True
            self._core.directory.close()
        self.tuning.close()
        if self._core.stored is not None:
            self._core.stored.retire()
        return self._core.snapshot.count

    def close(self) -> None:
        """Closes the logs; every acknowledged write is on disk already."""
        self._core.directory.close()
        self.tuning.close()


def _rows(found: Found) -> list[bytes]:
    assert found.vectors is not None
    return [vector.tobytes() for vector in found.vectors]
