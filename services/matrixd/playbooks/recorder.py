"""Remembering answers, and taking them back (M5).

An entry becomes one item of a playbook: its id is the playbook_id, its vector the embedded question,
its metadata the entry. A playbook is made by its first entry, with the model of that answer's corpus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.corpora import PLAYBOOK, Corpora, CorpusInfo
from services.matrixd.corpora.texts import Texts, Vectors
from services.matrixd.errors import AnswerNotFound, CorpusNotFound, MixedModels, NotAPlaybook, PlaybookNotFound
from services.matrixd.playbooks.draft import Draft, check_draft
from services.matrixd.playbooks.playbook import (
    ACCEPTED,
    DEFAULT_PLAYBOOK,
    Entry,
    from_metadata,
    replacing,
    restored,
    to_metadata,
)
from services.matrixd.retrieval.usual import Usual
from services.runtime.errors import AlreadyExists, InvalidArgument, ServiceError
from services.runtime.names import same_name

T = TypeVar("T")

_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """The entry that was written, and whether it replaced an earlier one."""

    playbook_id: str
    replaced: bool


Result = Recorded | ServiceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An entry on its way: its place in the batch, the playbook to write, the model of its answer's corpus."""

    index: int
    entry: Entry
    playbook: str
    model: str = ""


class Locks:
    """One lock for each playbook: whoever reads entries to write them again holds it."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def of(self, playbook: str) -> asyncio.Lock:
        """The lock of a playbook."""
        return self._locks.setdefault(same_name(playbook), asyncio.Lock())


class Recorder:
    """Writes and reads playbooks."""

    def __init__(
        self,
        corpora: Corpora,
        texts: Texts,
        now: Callable[[], datetime],
        version_of: Callable[[str], Awaitable[int]],
        locks: Locks,
        usual: Usual,
    ) -> None:
        """`now` tells the time of recording, in UTC; `version_of` the catalog version of a dataset, 0 for none."""
        self._usual = usual
        self._corpora = corpora
        self._texts = texts
        self._now = now
        self._version_of = version_of
        self._locks = locks

    async def record(self, draft: Draft) -> Recorded:
        """Remembers one answer.

        Raises InvalidArgument, CorpusNotFound, AnswerNotFound, NotAPlaybook, MixedModels.
        """
        result = (await self.record_all([draft]))[0]
        if isinstance(result, ServiceError):
            raise result
        return result

    async def feedback(self, draft: Draft) -> Recorded:
        """Remembers a sign, unless a stronger one is remembered: a click does not undo a placement.

        Raises what `record` raises.
        """
        result = (await self.record_all([draft], weaker_stays=True))[0]
        if isinstance(result, ServiceError):
            raise result
        return result

    async def record_all(self, drafts: Sequence[Draft], *, weaker_stays: bool = False) -> list[Result]:
        """Remembers many. Each has its own result in order; a bad one never fails the others.

        With `weaker_stays`, an entry that is there stays where it has a higher score.
        """
        results: dict[int, Result] = {}
        pending: list[Pending] = []
        for index, draft in enumerate(drafts):
            try:
                entry = check_draft(draft, self._now())
            except InvalidArgument as error:
                results[index] = error
            else:
                pending.append(Pending(index=index, entry=entry, playbook=draft.playbook or DEFAULT_PLAYBOOK))
        located: list[Pending] = []
        for group in _groups(pending, lambda one: same_name(one.entry.answer_corpus)):
            try:
                located += await self._locate(group, results)
            except ServiceError as error:
                results.update((one.index, error) for one in group)
        for group in _groups(located, lambda one: (same_name(one.playbook), one.model)):
            for start in range(0, len(group), _BATCH):
                batch = group[start : start + _BATCH]
                try:
                    async with self._locks.of(batch[0].playbook):
                        results.update(await self._write(batch, weaker_stays))
                except ServiceError as error:
                    results.update((one.index, error) for one in batch)
        return [results[index] for index in range(len(drafts))]

    async def page(self, playbook: str, size: int, token: str, *, retired: bool) -> tuple[list[Entry], str]:
        """A page of entries in the order of their ids, and the token of the next. Raises CorpusNotFound.

        Retired ones are left out unless asked for; a page may then have fewer entries than its size.
        """
        response = await self._corpora.page(playbook or DEFAULT_PLAYBOOK, size, token)
        entries = [entry for item in response.items if (entry := entry_of(item.metadata)) is not None]
        return [entry for entry in entries if retired or entry.retired_at is None], response.next_page_token

    async def delete(self, playbook: str, playbook_id: str) -> tuple[Entry, Entry | None]:
        """Takes a recording back; returns it, and the one it had replaced, which counts again.

        Raises CorpusNotFound, PlaybookNotFound.
        """
        name = playbook or DEFAULT_PLAYBOOK
        async with self._locks.of(name):
            metadata = (await self._corpora.metadata(name, [playbook_id])).get(playbook_id)
            entry = entry_of(metadata) if metadata is not None else None
            before = restored(entry) if entry is not None else None
            if entry is not None and before is not None:
                vectors = await self._corpora.vectors(name, [playbook_id])
                items = [item_of(playbook_id, vector, before) for vector in vectors.values()]
                if items:
                    await self._corpora.add(vector_pb2.AddItemsRequest(name=name, items=items))
                    return entry, before
            if entry is None or not await self._corpora.delete(name, [playbook_id]):
                message = f"playbook {name!r} has no entry {playbook_id!r}"
                raise PlaybookNotFound(message, playbook_id=playbook_id, corpus=name)
            return entry, None

    async def _locate(self, group: Sequence[Pending], results: dict[int, Result]) -> list[Pending]:
        """Those of the entries of one corpus whose answers exist there; an error for each of the others."""
        info = await self._corpora.get(group[0].entry.answer_corpus)
        ids = list(dict.fromkeys(one.entry.answer_id for one in group))
        existing = await self._corpora.metadata(info.name, ids)
        version = await self._version_of(info.dataset)
        located: list[Pending] = []
        for one in group:
            if one.entry.answer_id in existing:
                entry = replace(one.entry, answer_corpus=info.name, dataset_version=version)
                located.append(replace(one, entry=entry, model=info.model))
            else:
                message = f"corpus {info.name!r} has no item {one.entry.answer_id!r}"
                results[one.index] = AnswerNotFound(message, answer_id=one.entry.answer_id, corpus=info.name)
        return located

    async def _write(self, batch: Sequence[Pending], weaker_stays: bool) -> dict[int, Result]:
        """Embeds the questions of one playbook and writes the entries."""
        name, model = batch[0].playbook, batch[0].model
        info = await self._corpora.find(name)
        if info is not None:
            check_playbook(info, model)
            model = info.model
        vectors = await self._texts.embed([one.entry.query_text for one in batch], model)
        before = await self._before(name, batch) if info is not None else {}
        items: dict[str, vector_pb2.Item] = {}
        for one, vector in zip(batch, vectors.rows, strict=True):
            there = before.get(one.entry.playbook_id)
            entry = replacing(one.entry, there) if there is not None else one.entry
            stronger = there is not None and there.retired_at is None and there.score > entry.score
            if not (weaker_stays and stronger):
                items[entry.playbook_id] = item_of(entry.playbook_id, vector, entry)
        await self._add(name, list(items.values()), vectors, new=info is None)
        self._learn(batch, vectors)
        return {one.index: Recorded(one.entry.playbook_id, one.entry.playbook_id in before) for one in batch}

    def _learn(self, batch: Sequence[Pending], vectors: Vectors) -> None:
        """Lets be measured how far right answers lie from their questions."""
        pairs: dict[str, list[tuple[Sequence[float], str]]] = {}
        for one, vector in zip(batch, vectors.rows, strict=True):
            if one.entry.outcome == ACCEPTED:
                pairs.setdefault(one.entry.answer_corpus, []).append((vector, one.entry.answer_id))
        for corpus, found in pairs.items():
            self._usual.learn_later(corpus, found)

    async def _before(self, name: str, batch: Sequence[Pending]) -> dict[str, Entry]:
        try:
            found = await self._corpora.metadata(name, [one.entry.playbook_id for one in batch])
        except CorpusNotFound:
            return {}  # deleted a moment ago; adding makes it anew
        return {item_id: entry for item_id, metadata in found.items() if (entry := entry_of(metadata)) is not None}

    async def _add(self, name: str, items: Sequence[vector_pb2.Item], vectors: Vectors, *, new: bool) -> None:
        if not items:
            return
        request = vector_pb2.AddItemsRequest(name=name, items=items)
        if not new:
            try:
                await self._corpora.add(request)
                return
            except CorpusNotFound:
                new = True
        await self._create(name, vectors)
        await self._corpora.add(request)

    async def _create(self, name: str, vectors: Vectors) -> None:
        await create_playbook(self._corpora, name, vectors.model, vectors.dimension)


async def create_playbook(corpora: Corpora, name: str, model: str, dimension: int) -> None:
    """Makes a playbook, unless there is one of this model. Raises NotAPlaybook, MixedModels."""
    properties = Struct()
    properties.update({"kind": PLAYBOOK})
    source = vector_pb2.IndexSource(embedding_model=model, properties=properties)
    request = vector_pb2.CreateIndexRequest(name=name, dimension=dimension, metric="cosine", source=source)
    try:
        await corpora.create(request)
    except AlreadyExists:
        # Another recording was quicker; both write into what it made.
        corpora.forget([name])
        check_playbook(await corpora.get(name), model)


def check_playbook(info: CorpusInfo, model: str) -> None:
    """Raises NotAPlaybook, and MixedModels for a playbook of another model than `model`, which may be empty."""
    if not info.is_playbook:
        message = f"{info.name!r} is a corpus; recordings need a playbook, which may have any free name"
        raise NotAPlaybook(message, corpus=info.name)
    if model and info.model != model:
        message = (
            f"playbook {info.name!r} holds questions embedded by {info.model!r}, the answer's corpus is embedded "
            f"by {model!r}: record it into another playbook"
        )
        raise MixedModels(message, corpus=info.name, models=f"{info.model},{model}")


def item_of(playbook_id: str, vector: Sequence[float], entry: Entry) -> vector_pb2.Item:
    """An entry as an item of its playbook."""
    item = vector_pb2.Item(id=playbook_id, vector=vector)
    item.metadata.update(to_metadata(entry))
    return item


def entry_of(metadata: Struct) -> Entry | None:
    """The entry in an item's metadata; None for an item that is no entry."""
    return from_metadata(MessageToDict(metadata))


def _groups(members: Iterable[T], key: Callable[[T], Any]) -> list[list[T]]:
    groups: dict[Any, list[T]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return list(groups.values())
