"""One pass over a dataset that brings a corpus in line with it: read, compare, embed, add, clear away (M11).

Only what is new or changed is embedded. Several batches are under way at once, so that a slow model
always has work. A group that is refused is halved until the row at fault stands alone, so that one
bad row costs only itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.corpora import Corpora
from services.matrixd.corpora.datasets import Datasets
from services.matrixd.corpora.delta import Delta, compare, grouped
from services.matrixd.corpora.ledger import Ledger
from services.matrixd.corpora.plan import Plan
from services.matrixd.corpora.rows import Mapped, Piece, RowMapper
from services.matrixd.corpora.spool import Spool
from services.matrixd.corpora.sql import select_columns
from services.matrixd.corpora.texts import Texts, Vectors
from services.runtime.errors import InvalidArgument, ResourceExhausted, Unavailable
from services.runtime.jobs.jobs import Progress
from services.runtime.threads import Threads

T = TypeVar("T")

# A neighbour that restarts is back within seconds; a build of hours need not begin anew for it.
_DELAYS = (0.1, 0.3, 1.0, 3.0)

_REFUSED = (InvalidArgument, ResourceExhausted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Everybody a build talks to."""

    corpora: Corpora
    texts: Texts
    datasets: Datasets


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The corpus to write, which is there: its vectors' model and dimension, and whether it is new."""

    model: str
    dimension: int
    new: bool


class Words(Protocol):
    """Where texts are found by their words."""

    @property
    def complete(self) -> bool:
        """Whether it has every text of the corpus but those of this pass."""
        ...

    def put(self, texts: Iterable[tuple[str, str]]) -> None: ...
    def remove(self, ids: Iterable[str]) -> None: ...


@dataclass(slots=True)
class Counts:
    """What a pass did. Rows are of the dataset, all but `failed` of the others are items of the corpus."""

    rows: int = 0
    failed: int = 0
    """Rows that could not be embedded."""
    embedded: int = 0
    updated: int = 0
    """Items that got new metadata and kept their vector."""
    unchanged: int = 0
    removed: int = 0

    @property
    def items(self) -> int:
        """Items of the corpus that are as the dataset wants them."""
        return self.embedded + self.updated + self.unchanged


class Build:
    """Carries out a plan, once."""

    def __init__(
        self,
        plan: Plan,
        target: Target,
        neighbours: Neighbours,
        ledger: Ledger,
        *,
        threads: Threads,
        scratch: Path,
        in_flight: int,
        words: Words | None = None,
    ) -> None:
        """`words` is where the texts go to be found by their words.

        `scratch` is a directory for the rows on their way; `in_flight` batches are worked on at once."""
        self._plan = plan
        self._target = target
        self._corpora = neighbours.corpora
        self._texts = neighbours.texts
        self._datasets = neighbours.datasets
        self._ledger = ledger
        self._threads = threads
        self._scratch = scratch
        self._in_flight = in_flight
        self._words = words
        self._mapper = RowMapper(plan)
        self._counts = Counts()

    async def run(self, progress: Progress) -> Counts:
        """Brings the corpus in line with the rows that there are now, and returns what that took.

        Raises what a neighbour raised that no other row could have changed. What was done until then
        is not done again by the next pass.
        """
        with Spool(self._scratch) as spool:
            sql = select_columns(self._plan.dataset, self._plan.columns)
            await self._datasets.read(sql, lambda data: self._threads.run(spool.write, data))
            await self._bring_all(spool, progress)
        if not self._target.new:
            await self._clear_away()
        await self._threads.run(self._ledger.keep, self._mapper.ids)
        return self._counts

    async def _bring_all(self, spool: Spool, progress: Progress) -> None:
        batches = spool.batches(self._plan.batch_size)
        slots = asyncio.Semaphore(self._in_flight)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await slots.acquire()
                    mapped = await self._threads.run(self._next, batches)
                    if mapped is None:
                        break
                    bringing = tasks.create_task(self._bring(mapped, progress))
                    bringing.add_done_callback(lambda _: slots.release())
        except BaseExceptionGroup as several:
            # What ended one batch ended the others; the job has one reason.
            raise several.exceptions[0] from None

    def _next(self, batches: Iterator[Any]) -> Mapped | None:
        batch = next(batches, None)
        return None if batch is None else self._mapper.map(batch)

    async def _bring(self, mapped: Mapped, progress: Progress) -> None:
        failed: dict[int, str] = {}
        counts = self._counts
        for group in grouped(mapped.pieces, self._target.dimension):
            delta, kept = await self._compare(group)
            updated = await self._store(delta.touched, kept, failed)
            embedded = await self._store(delta.fresh, None, failed)
            await self._say(group, delta)
            # Added up without waiting in between: other batches count here, too.
            counts.unchanged += delta.unchanged
            counts.updated += updated
            counts.embedded += embedded
        failures = [*mapped.failures, *failed.values()]
        counts.rows += mapped.rows
        counts.failed += len(failures)
        progress.advance(mapped.rows, failures)

    async def _say(self, group: Sequence[Piece], delta: Delta) -> None:
        """Puts the texts that are new, or all where some may be missing, where their words are found."""
        words = self._words
        if words is not None:
            pieces = delta.fresh if words.complete else group
            await self._threads.run(words.put, [(piece.id, piece.text) for piece in pieces])

    async def _compare(self, group: Sequence[Piece]) -> tuple[Delta, dict[str, Sequence[float]]]:
        """What has to be done to a group, and the vectors of the items that keep theirs."""
        if self._target.new:
            return Delta(fresh=list(group)), {}
        corpus = self._plan.corpus
        stored = await patiently(lambda: self._corpora.metadata(corpus, [piece.id for piece in group]))
        delta = await self._threads.run(compare, group, stored, self._ledger)
        if not delta.touched:
            return delta, {}
        kept = await patiently(lambda: self._corpora.vectors(corpus, [piece.id for piece in delta.touched]))
        # Somebody may have deleted one by hand since it was compared.
        delta.fresh += [piece for piece in delta.touched if piece.id not in kept]
        delta.touched = [piece for piece in delta.touched if piece.id in kept]
        return delta, kept

    async def _store(
        self, pieces: Sequence[Piece], kept: dict[str, Sequence[float]] | None, failed: dict[int, str]
    ) -> int:
        """Adds pieces with the vectors they keep, or embeds them; notes the rows that fail alone.

        Returns how many pieces are in. Where they are refused together, each half is tried.
        """
        if not pieces:
            return 0
        try:
            vectors = await self._vectors(pieces, kept)
            request = await self._threads.run(add_request, self._plan.corpus, pieces, vectors)
            await self._threads.run(self._forget, pieces)
            await patiently(lambda: self._corpora.add(request))
            await self._threads.run(self._ledger.note, {piece.id: piece.digest for piece in pieces})
            return len(pieces)
        except _REFUSED as error:
            if len(pieces) == 1:
                failed.setdefault(pieces[0].row, f"{pieces[0].id!r} is refused: {error.message}")
                return 0
            middle = len(pieces) // 2
            first = await self._store(pieces[:middle], kept, failed)
            return first + await self._store(pieces[middle:], kept, failed)

    async def _vectors(self, pieces: Sequence[Piece], kept: dict[str, Sequence[float]] | None) -> Vectors:
        if kept is not None:
            return Vectors(self._target.model, self._target.dimension, [kept[piece.id] for piece in pieces])
        texts = list(dict.fromkeys(piece.text for piece in pieces))
        made = await patiently(lambda: self._texts.embed(texts, self._target.model))
        vectors = dict(zip(texts, made.rows, strict=True))
        return Vectors(made.model, made.dimension, [vectors[piece.text] for piece in pieces])

    def _forget(self, pieces: Sequence[Piece]) -> None:
        # Before the item changes: were this process killed in between, the old hash would lie.
        self._ledger.forget([piece.id for piece in pieces if self._ledger.get(piece.id) != piece.digest])

    async def _clear_away(self) -> None:
        """Removes the items that the dataset has no row for any more."""
        corpus = self._plan.corpus
        if await self._corpora.count(corpus) == self._counts.items:
            return
        async for ids in self._corpora.ids(corpus):
            gone = [item_id for item_id in ids if item_id not in self._mapper.ids]
            if gone:
                removed = await self._corpora.delete(corpus, gone)
                self._counts.removed += removed
                await self._threads.run(self._ledger.forget, gone)
                if self._words is not None:
                    await self._threads.run(self._words.remove, gone)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Calls a neighbour again while it is unavailable, for a few seconds."""
    for delay in _DELAYS:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(delay)
    return await call()


def add_request(corpus: str, group: Sequence[Piece], vectors: Vectors) -> vector_pb2.AddItemsRequest:
    """The request that adds a group. 10 us a piece."""
    request = vector_pb2.AddItemsRequest(name=corpus)
    for piece, vector in zip(group, vectors.rows, strict=True):
        item = request.items.add(id=piece.id, vector=vector)
        item.metadata.update(piece.metadata)
    return request
