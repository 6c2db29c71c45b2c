"""The lexical arm: which corpora have their words at hand, kept in step by passes, made again when lost."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import filter_pb2

from services.matrixd.corpora.corpora import CORPUS, IDS_PER_CALL, Corpora, CorpusInfo
from services.matrixd.corpora.datasets import Datasets
from services.matrixd.corpora.plan import Plan, make_plan
from services.matrixd.corpora.recipe import first_recipe
from services.matrixd.corpora.records import Records
from services.matrixd.corpora.rows import Mapped, RowMapper
from services.matrixd.corpora.spool import Spool
from services.matrixd.corpora.sql import select_columns
from services.matrixd.errors import LexicalNotReady, NoTexts
from services.matrixd.retrieval.fusion import Scored
from services.matrixd.retrieval.lexical import LexicalIndex
from services.runtime.durable import make_directory
from services.runtime.errors import InvalidArgument, ServiceError
from services.runtime.names import same_name
from services.runtime.threads import Threads

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds that a search waits for words that are being made."""
_BATCH = 512
_FIRST_LOOK = 100


class Lexicons:
    """Belongs to one event loop."""

    def __init__(
        self, directory: Path, corpora: Corpora, datasets: Datasets, records: Records, threads: Threads, scratch: Path
    ) -> None:
        """Keeps one directory for each corpus in `directory`; `scratch` is for rows on their way."""
        self._directory = make_directory(directory)
        self._corpora = corpora
        self._datasets = datasets
        self._records = records
        self._threads = threads
        self._scratch = scratch
        self._indexes: dict[str, tuple[str, LexicalIndex]] = {}
        self._opening = asyncio.Lock()
        self._passes: dict[str, int] = {}
        self._filling: dict[str, asyncio.Task[None]] = {}

    async def search(
        self,
        name: str,
        text: str,
        count: int,
        *,
        condition: filter_pb2.Filter | None,
        exclude_ids: Sequence[str],
        ids: Sequence[str] | None,
    ) -> list[Scored]:
        """The best texts of a corpus among the items that it has now and that pass.

        Raises CorpusNotFound, NoTexts, LexicalNotReady.
        """
        info = await self._corpora.get(name)
        index = await self._ready(info)
        excluded = frozenset(exclude_ids)
        found: list[Scored] = []
        offset, look = 0, max(_FIRST_LOOK, 2 * count)
        while len(found) < count:
            page = await self._threads.run(index.search, text, look, offset=offset, ids=ids)
            wanted = [item_id for item_id, _ in page if item_id not in excluded]
            passing = await self._corpora.metadata(name, wanted, condition) if wanted else {}
            found += [
                Scored(score, name, item_id, passing[item_id].SerializeToString())
                for item_id, score in page
                if item_id in passing
            ]
            if len(page) < look:
                break
            offset, look = offset + look, min(4 * look, IDS_PER_CALL)
        return found[:count]

    async def evidence(self, name: str, words: str, count: int) -> list[Struct] | None:
        """The metadata of the texts that some words find; None for a corpus whose words are not at hand."""
        info = await self._corpora.get(name)
        index = await self._open(info) if self.has_texts(info) else None
        if index is None or not index.complete:
            return None
        page = await self._threads.run(index.search, words, count)
        return list((await self._corpora.metadata(name, [item_id for item_id, _ in page])).values()) if page else []

    async def begin(self, info: CorpusInfo) -> LexicalIndex:
        """Opens the words of a corpus for a pass, which puts what it embeds, or everything where it is incomplete."""
        key = same_name(info.name)
        self._passes[key] = self._passes.get(key, 0) + 1
        filling = self._filling.get(key)
        if filling is not None:
            await asyncio.wait([filling])
        if not (self._directory / _folder(info.name)).exists():
            await self._tidy()
        return await self._open(info)

    async def end(self, info: CorpusInfo, index: LexicalIndex, *, complete: bool) -> None:
        """Ends what `begin` began. An index that a pass did not come through is filled again when it is needed."""
        await self._threads.run(index.finish, complete=complete)
        self._passes[same_name(info.name)] -= 1

    async def close(self) -> None:
        """Stops filling and closes every index."""
        tasks = list(self._filling.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for _, index in self._indexes.values():
            await self._threads.run(index.close)

    @staticmethod
    def has_texts(info: CorpusInfo) -> bool:
        """Whether the texts of a corpus can be read again from its dataset."""
        return info.properties.get("kind") == CORPUS and bool(info.dataset)

    async def _ready(self, info: CorpusInfo) -> LexicalIndex:
        if not self.has_texts(info):
            message = f"corpus {info.name!r} has vectors only: build it from a dataset, or search it by `dense`"
            raise NoTexts(message, corpus=info.name)
        key = same_name(info.name)
        index = await self._open(info)
        if not index.complete and not self._passes.get(key) and key not in self._filling:
            # A fresh context: filling must not end with the deadline of the search that began it.
            task = asyncio.create_task(self._fill(info, index), context=contextvars.Context())
            self._filling[key] = task
            task.add_done_callback(lambda _: self._filling.pop(key, None))
        if key in self._filling:
            await asyncio.wait([self._filling[key]], timeout=PATIENCE)
        if not index.complete:
            raise LexicalNotReady(f"the words of corpus {info.name!r} are being made: try again", corpus=info.name)
        return index

    async def _open(self, info: CorpusInfo) -> LexicalIndex:
        key = same_name(info.name)
        async with self._opening:
            known = self._indexes.get(key)
            if known is not None and known[0] == info.identity:
                return known[1]
            if known is not None:
                await self._threads.run(known[1].close)
            path = self._directory / _folder(info.name)
            index = await self._threads.run(LexicalIndex, path, info.identity)
            self._indexes[key] = (info.identity, index)
            return index

    async def _fill(self, info: CorpusInfo, index: LexicalIndex) -> None:
        """Reads the texts of a corpus from its dataset once more."""
        try:
            plan = await self._plan(info)
            with Spool(self._scratch) as spool:
                sql = select_columns(plan.dataset, plan.columns)
                await self._datasets.read(sql, lambda data: self._threads.run(spool.write, data))
                batches, mapper = spool.batches(_BATCH), RowMapper(plan)
                while await self._threads.run(_put_next, index, batches, mapper):
                    pass
            await self._threads.run(index.finish, complete=True)
        except ServiceError as error:
            # Searches say that the words are not ready; this says why.
            log.warning("the words of corpus %r cannot be made: %s", info.name, error.message)
            await self._threads.run(index.finish, complete=False)

    async def _plan(self, info: CorpusInfo) -> Plan:
        dataset = await self._datasets.get(info.dataset)
        record = self._records.get(info)
        recipe = record.recipe if record is not None else first_recipe(info)
        if recipe is None:
            raise InvalidArgument(f"how corpus {info.name!r} was made is not known: build it once more")
        return make_plan(recipe, dataset.columns)

    async def _tidy(self) -> None:
        """Removes the words of corpora that are no longer there."""
        there = {_folder(info.name) for info in await self._corpora.all()}
        known = {_folder(name): name for name in self._indexes}
        for path in await self._threads.run(list, self._directory.iterdir()):
            if path.name not in there:
                gone = self._indexes.pop(known.get(path.name, ""), None)
                if gone is not None:
                    await self._threads.run(gone[1].close)
                await self._threads.run(shutil.rmtree, path, ignore_errors=True)


def _put_next(index: LexicalIndex, batches: Iterator[Any], mapper: RowMapper) -> bool:
    batch = next(batches, None)
    if batch is None:
        return False
    mapped: Mapped = mapper.map(batch)
    index.put((piece.id, piece.text) for piece in mapped.pieces)
    return True


def _folder(corpus: str) -> str:
    return hashlib.sha256(same_name(corpus).encode()).hexdigest()[:32]
