"""One build of a corpus: read, embed, add, and clear away what is left over (M11).

The next batch is embedded while the last one is added. A batch that is refused is halved until the
row at fault stands alone, so that one bad row costs only itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora import Corpora
from services.matrixd.datasets import Dataset, Datasets
from services.matrixd.errors import RowsFailed
from services.matrixd.plan import Plan
from services.matrixd.rows import Mapped, Piece, RowMapper
from services.matrixd.spool import Spool
from services.matrixd.sql import select_columns
from services.matrixd.texts import Texts, Vectors
from services.runtime.errors import InvalidArgument, ResourceExhausted, Unavailable
from services.runtime.jobs.jobs import Progress
from services.runtime.threads import Threads

T = TypeVar("T")

GROUP_BYTES = 8 << 20
"""What one call to a neighbour carries at most, far below what it takes; a larger piece goes alone."""

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


class Build:
    """Carries out a plan, once."""

    def __init__(
        self,
        plan: Plan,
        dataset: Dataset,
        target: Target,
        neighbours: Neighbours,
        *,
        threads: Threads,
        scratch: Path,
    ) -> None:
        """`scratch` is a directory for the rows on their way."""
        self._plan = plan
        self._dataset = dataset
        self._target = target
        self._corpora = neighbours.corpora
        self._texts = neighbours.texts
        self._datasets = neighbours.datasets
        self._threads = threads
        self._scratch = scratch
        self._mapper = RowMapper(plan)
        self._items = 0

    async def run(self, progress: Progress) -> dict[str, Any]:
        """Builds the corpus and returns what came of it.

        Raises RowsFailed when some rows could not be embedded, though the others are in; otherwise
        what a neighbour raised that no other row could have changed.
        """
        begun = datetime.now(UTC)
        with Spool(self._scratch) as spool:
            sql = select_columns(self._dataset.name, self._plan.columns)
            await self._datasets.read(sql, lambda data: self._threads.run(spool.write, data))
            await self._embed_all(spool, progress)
        removed = 0 if self._target.new else await self._clear_away()
        if progress.failed:
            message = f"{progress.failed} rows could not be embedded; the first: {progress.first_failure}"
            raise RowsFailed(message, failed=progress.failed, corpus=self._plan.corpus)
        await self._datasets.mark_embedded(self._dataset, begun)
        return {
            "corpus": self._plan.corpus,
            "dataset": self._dataset.name,
            "model": self._target.model,
            "dimension": self._target.dimension,
            "items": self._items,
            "removed": removed,
        }

    async def _embed_all(self, spool: Spool, progress: Progress) -> None:
        batches = spool.batches(self._plan.batch_size)
        adding: asyncio.Task[None] | None = None
        try:
            while (mapped := await self._threads.run(self._next, batches)) is not None:
                groups = list(grouped(mapped.pieces, self._target.dimension))
                embedded = [(group, await self._embed(group)) for group in groups]
                if adding is not None:
                    await adding
                adding = asyncio.create_task(self._add_all(mapped, embedded, progress))
            if adding is not None:
                await adding
        finally:
            if adding is not None:
                adding.cancel()
                await asyncio.gather(adding, return_exceptions=True)

    def _next(self, batches: Iterator[Any]) -> Mapped | None:
        batch = next(batches, None)
        return None if batch is None else self._mapper.map(batch)

    async def _embed(self, group: Sequence[Piece]) -> Vectors | None:
        """The vectors of a group; None when it is refused."""
        texts = [piece.text for piece in group]
        try:
            return await patiently(lambda: self._texts.embed(texts, self._target.model))
        except _REFUSED:
            return None

    async def _add_all(
        self, mapped: Mapped, embedded: Sequence[tuple[Sequence[Piece], Vectors | None]], progress: Progress
    ) -> None:
        failed: dict[int, str] = {}
        for group, vectors in embedded:
            await self._add(group, vectors, failed)
        progress.advance(mapped.rows, [*mapped.failures, *failed.values()])

    async def _add(self, group: Sequence[Piece], vectors: Vectors | None, failed: dict[int, str]) -> None:
        """Adds a group, or its halves where it is refused; notes the rows that fail alone."""
        try:
            if vectors is None:
                vectors = await self._texts.embed([piece.text for piece in group], self._target.model)
            request = await self._threads.run(add_request, self._plan.corpus, group, vectors)
            await patiently(lambda: self._corpora.add(request))
            self._items += len(group)
        except _REFUSED as error:
            if len(group) == 1:
                failed.setdefault(group[0].row, f"{group[0].id!r} is refused: {error.message}")
                return
            middle = len(group) // 2
            await self._add(group[:middle], None, failed)
            await self._add(group[middle:], None, failed)

    async def _clear_away(self) -> int:
        """Removes the items that the dataset has no row for any more; returns how many."""
        removed = 0
        async for ids in self._corpora.ids(self._plan.corpus):
            gone = [item_id for item_id in ids if item_id not in self._mapper.ids]
            removed += await self._corpora.delete(self._plan.corpus, gone)
        return removed


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Calls a neighbour again while it is unavailable, for a few seconds."""
    for delay in _DELAYS:
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(delay)
    return await call()


def grouped(pieces: Sequence[Piece], dimension: int) -> Iterator[Sequence[Piece]]:
    """Cuts pieces into groups that one call can carry, in order."""
    start, size = 0, 0
    for index, piece in enumerate(pieces):
        weight = len(piece.text.encode()) + 4 * dimension + len(repr(piece.metadata))
        if size + weight > GROUP_BYTES and index > start:
            yield pieces[start:index]
            start, size = index, 0
        size += weight
    if start < len(pieces):
        yield pieces[start:]


def add_request(corpus: str, group: Sequence[Piece], vectors: Vectors) -> vector_pb2.AddItemsRequest:
    """The request that adds a group. 10 us a piece."""
    request = vector_pb2.AddItemsRequest(name=corpus)
    for piece, vector in zip(group, vectors.rows, strict=True):
        item = request.items.add(id=piece.id, vector=vector)
        item.metadata.update(piece.metadata)
    return request
