"""One index: a small log-structured merge tree of vectors (V1-V6).

A write is checked, logged, applied, published, and only then answered. A search takes the published
snapshot and needs no lock. `compact` makes one sealed segment of the hot one and its neighbours
beside all that.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.vectord import compaction, filters, items, journal, plan
from services.vectord.building import Stopped
from services.vectord.config import VectorConfig
from services.vectord.directory import Directory
from services.vectord.errors import AnswerTooLarge, IndexNotFound, LogUnwritable
from services.vectord.filters import Filter
from services.vectord.items import Batch, Item
from services.vectord.journal import Delete, Operation
from services.vectord.manifest import Description, Manifest
from services.vectord.metric import Floats
from services.vectord.native import use_threads
from services.vectord.snapshot import Found, Query
from services.vectord.state import Applied, Slot, State

_GROUP_BYTES = 64 << 20
_LOG_BYTES = 64 << 20
_INLINE_FLOATS = 8_000_000
_INLINE_ITEMS = 100
_ANSWER_ITEMS = 1_000_000
_ANSWER_FLOATS = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """What is known of an index at this moment (V9)."""

    description: Description
    count: int
    hot_count: int
    segments: int
    tombstones: int
    updated_ns: int
    size: int
    problems: Sequence[str]


class _Write:
    """A write that waits for the log, and what came of it."""

    __slots__ = ("applied", "count", "done", "error", "operation")

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.applied = Applied()
        self.count = 0
        self.done = False
        self.error: Exception | None = None


class Index:
    """Safe from any number of threads: one writes at a time, searches never wait."""

    def __init__(self, directory: Directory, config: VectorConfig) -> None:
        """Loads what the directory holds; use `create` or `open`."""
        self.description: Description = directory.manifest.description
        self._directory = directory
        self._config = config
        self._updated_ns = directory.manifest.updated_ns
        self._written_at = 0.0
        self._writer = threading.Lock()
        self._waiting: deque[_Write] = deque()
        self._compacting = threading.Lock()
        self._gone = False
        self._state = self._loaded()
        self._snapshot = self._state.snapshot()

    @classmethod
    def create(cls, path: Path, description: Description, config: VectorConfig) -> Index:
        """Makes an empty index that survives from now on."""
        first = Manifest(description=description, updated_ns=description.created_ns)
        return cls(Directory.create(path, first), config)

    @classmethod
    def open(cls, path: Path, config: VectorConfig) -> Index:
        """Opens an index: its segments, then the writes since. Damage is reported in `info`.

        Raises DamagedManifest. Costs one read of its files, and some 3 us a logged item.
        """
        return cls(Directory.open(path), config)

    def _loaded(self) -> State:
        description = self.description
        sealed = [Slot(segment, entry.alive) for entry, segment in self._directory.segments()]
        state = State(dimension=description.dimension, metric=description.metric, sealed=sealed)
        for time_ns, operations in self._directory.writes():
            for operation in operations:
                state.apply(operation)
            self._updated_ns = max(self._updated_ns, time_ns)
        return state

    @property
    def path(self) -> Path:
        """Where its files are."""
        return self._directory.path

    def add(self, given: Sequence[Item]) -> tuple[Applied, int]:
        """Adds or replaces items, all or none; returns what changed and how many items there are now.

        When it returns they are on disk and every search finds them. Raises what `items.check` raises,
        IndexNotFound when the index was deleted, LogUnwritable. Costs a disk sync, shared with whoever
        writes at the same time.
        """
        description = self.description
        return self._write(items.check(given, dimension=description.dimension, metric=description.metric))

    def delete(self, ids: Sequence[str]) -> tuple[Applied, int]:
        """Deletes items by id; ids that are not there are counted. Raises and costs as `add`."""
        return self._write(Delete(ids=list(dict.fromkeys(ids))))

    def add_missing(self, given: Sequence[Item]) -> Applied:
        """Adds those items whose ids are not there yet and leaves the others alone. Raises as `add`."""
        description = self.description
        batch = items.check(given, dimension=description.dimension, metric=description.metric)
        with self._writer:
            missing = [position for position, item_id in enumerate(batch.ids) if not self._state.holds(item_id)]
            write = _Write(batch.take(missing))
            self._commit([write])
        return self._outcome(write)[0]

    def delete_unchanged(self, seen: Found) -> Applied:
        """Deletes items that still have the vectors and metadata with which they were seen. Raises as `add`."""
        was = dict(zip(seen.ids, zip(seen.metadata, _rows(seen), strict=True), strict=True))
        with self._writer:
            now = self._snapshot.get(seen.ids, condition=None, with_vectors=True)
            same = [
                item_id
                for item_id, *rest in zip(now.ids, now.metadata, _rows(now), strict=True)
                if was[item_id] == tuple(rest)
            ]
            write = _Write(Delete(ids=same))
            self._commit([write])
        return self._outcome(write)[0]

    def _write(self, operation: Operation) -> tuple[Applied, int]:
        write = _Write(operation)
        self._waiting.append(write)
        with self._writer:
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
            if self._gone:
                raise IndexNotFound(f"the index {self.description.name!r} was deleted", name=self.description.name)
            now = time.time_ns()
            self._directory.log.append(journal.encode([write.operation for write in group], time_ns=now))
            for write in group:
                write.applied = self._state.apply(write.operation)
            self._snapshot = self._state.snapshot()
            self._updated_ns, self._written_at = now, time.monotonic()
        except Exception as error:
            for write in group:
                write.error = error
        finally:
            for write in group:
                write.count = self._snapshot.count
                write.done = True

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
        return self._snapshot.search(matrix, query)

    def quick(self, query: Query, vectors: int = 1) -> bool:
        """Whether a search is bounded by 1 ms, so that it need not leave the event loop."""
        if query.selective or len(query.exclude_ids) > _INLINE_ITEMS or query.k * vectors > _INLINE_ITEMS:
            return False
        return self._snapshot.cost(query, self.description.dimension) * vectors <= _INLINE_FLOATS

    def get(self, ids: Sequence[str], *, condition: Filter | None = None, with_vectors: bool = True) -> Found:
        """Items by id in the order of the ids; those that are not there or do not pass are left out."""
        self._check_answer(len(ids), with_vectors=with_vectors)
        if condition is not None:
            filters.check(condition)
        return self._snapshot.get(ids, condition=condition, with_vectors=with_vectors)

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
        return self._snapshot.page(after, limit, with_vectors=with_vectors)

    def info(self) -> Info:
        """What is known of the index; a look at each of its few files."""
        slots = list(self._state.slots)
        sealed = self._state.sealed()
        return Info(
            description=self.description,
            count=self._snapshot.count,
            hot_count=sum(slot.live for slot in slots if slot not in sealed),
            segments=len(sealed),
            tombstones=sum(slot.dead for slot in slots),
            updated_ns=self._updated_ns,
            size=self._directory.size,
            problems=tuple(self._directory.problems),
        )

    def due(self) -> int | None:
        """The growth with which the index should be compacted now; None while it is well as it is."""
        state = self._state
        limit = plan.hot_limit(self._config.hot_bytes, self.description.dimension)
        full = state.hot.count >= limit or self._directory.log.size >= _LOG_BYTES + 8 * state.hot.size
        if full or state.frozen() or any(plan.worn(slot) for slot in state.sealed()):
            return plan.BUSY
        quiet = time.monotonic() - self._written_at >= self._config.quiet_seconds
        return plan.QUIET if quiet and plan.choose(state.slots[:1], state.sealed(), growth=plan.QUIET).joins else None

    def compact(self, growth: int = plan.BUSY, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Seals the hot segment, with what should join it; searches and writes go on meanwhile.

        Gives up quietly when `stop` says so or the index is deleted; raises OSError, after which the
        index is as it was. Costs some 0.1 ms for each row of 256 that a graph takes in.
        """
        with self._compacting:
            with self._writer:
                if self._gone:
                    return
                made = compaction.cut(self._state, self._directory, growth=growth, updated_ns=self._updated_ns)
                self._snapshot = self._state.snapshot()
            try:
                threads = self._config.build_threads
                sealed = compaction.seal(made, self._directory, threads=threads, stop=lambda: self._gone or stop())
            except (Stopped, OSError):
                if self._gone or stop():
                    return
                raise
            with self._writer:
                self._state.replace(made.rows, sealed)
                self._snapshot = self._state.snapshot()

    def retire(self) -> int:
        """Ends all writing, because the index is being deleted; returns how many items it held."""
        with self._writer:
            self._gone = True
            self._directory.close()
        return self._snapshot.count

    def close(self) -> None:
        """Closes the log; every acknowledged write is on disk already."""
        self._directory.close()


def _rows(found: Found) -> list[bytes]:
    assert found.vectors is not None
    return [vector.tobytes() for vector in found.vectors]
