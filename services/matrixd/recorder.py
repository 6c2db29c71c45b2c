"""Remembering answers, and taking them back (M5).

An entry becomes one item of a playbook: its id is the playbook_id, its vector the embedded question,
its metadata the entry. A playbook is made by its first entry, with the model of that answer's corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora import PLAYBOOK, Corpora, CorpusInfo
from services.matrixd.draft import Draft, check_draft
from services.matrixd.errors import AnswerNotFound, CorpusNotFound, MixedModels, NotAPlaybook, PlaybookNotFound
from services.matrixd.playbook import DEFAULT_PLAYBOOK, Entry, from_metadata, to_metadata
from services.matrixd.texts import Texts, Vectors
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


class Recorder:
    """Writes and reads playbooks."""

    def __init__(self, corpora: Corpora, texts: Texts, now: Callable[[], datetime]) -> None:
        """`now` tells the time of recording, in UTC."""
        self._corpora = corpora
        self._texts = texts
        self._now = now

    async def record(self, draft: Draft) -> Recorded:
        """Remembers one answer.

        Raises InvalidArgument, CorpusNotFound, AnswerNotFound, NotAPlaybook, MixedModels.
        """
        result = (await self.record_all([draft]))[0]
        if isinstance(result, ServiceError):
            raise result
        return result

    async def record_all(self, drafts: Sequence[Draft]) -> list[Result]:
        """Remembers many. Each has its own result in order; a bad one never fails the others."""
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
                    results.update(await self._write(batch))
                except ServiceError as error:
                    results.update((one.index, error) for one in batch)
        return [results[index] for index in range(len(drafts))]

    async def page(self, playbook: str, size: int, token: str) -> tuple[list[Entry], str]:
        """A page of entries in the order of their ids, and the token of the next. Raises CorpusNotFound."""
        response = await self._corpora.page(playbook or DEFAULT_PLAYBOOK, size, token)
        entries = [entry for item in response.items if (entry := _entry(item.metadata)) is not None]
        return entries, response.next_page_token

    async def delete(self, playbook: str, playbook_id: str) -> Entry:
        """Takes an entry back and returns it. Raises CorpusNotFound, PlaybookNotFound."""
        name = playbook or DEFAULT_PLAYBOOK
        metadata = (await self._corpora.metadata(name, [playbook_id])).get(playbook_id)
        entry = _entry(metadata) if metadata is not None else None
        if entry is None or not await self._corpora.delete(name, [playbook_id]):
            message = f"playbook {name!r} has no entry {playbook_id!r}"
            raise PlaybookNotFound(message, playbook_id=playbook_id, corpus=name)
        return entry

    async def _locate(self, group: Sequence[Pending], results: dict[int, Result]) -> list[Pending]:
        """Those of the entries of one corpus whose answers exist there; an error for each of the others."""
        info = await self._corpora.get(group[0].entry.answer_corpus)
        ids = list(dict.fromkeys(one.entry.answer_id for one in group))
        existing = await self._corpora.metadata(info.name, ids)
        located: list[Pending] = []
        for one in group:
            if one.entry.answer_id in existing:
                entry = replace(one.entry, answer_corpus=info.name)
                located.append(replace(one, entry=entry, model=info.model))
            else:
                message = f"corpus {info.name!r} has no item {one.entry.answer_id!r}"
                results[one.index] = AnswerNotFound(message, answer_id=one.entry.answer_id, corpus=info.name)
        return located

    async def _write(self, batch: Sequence[Pending]) -> dict[int, Result]:
        """Embeds the questions of one playbook and writes the entries."""
        name, model = batch[0].playbook, batch[0].model
        info = await self._corpora.find(name)
        if info is not None:
            _check_playbook(info, model)
            model = info.model
        vectors = await self._texts.embed([one.entry.query_text for one in batch], model)
        request = vector_pb2.AddItemsRequest(name=name, items=_items(batch, vectors))
        before: Iterable[str] = ()
        try:
            if info is not None:
                before = await self._corpora.metadata(name, [item.id for item in request.items])
                await self._corpora.add(request)
        except CorpusNotFound:
            info = None
        if info is None:
            await self._create(name, vectors)
            await self._corpora.add(request)
        return {one.index: Recorded(one.entry.playbook_id, one.entry.playbook_id in before) for one in batch}

    async def _create(self, name: str, vectors: Vectors) -> None:
        properties = Struct()
        properties.update({"kind": PLAYBOOK})
        source = vector_pb2.IndexSource(embedding_model=vectors.model, properties=properties)
        request = vector_pb2.CreateIndexRequest(name=name, dimension=vectors.dimension, metric="cosine", source=source)
        try:
            await self._corpora.create(request)
        except AlreadyExists:
            # Another recording was quicker; both write into what it made.
            self._corpora.forget([name])
            _check_playbook(await self._corpora.get(name), vectors.model)


def _check_playbook(info: CorpusInfo, model: str) -> None:
    if not info.is_playbook:
        message = f"{info.name!r} is a corpus; recordings need a playbook, which may have any free name"
        raise NotAPlaybook(message, corpus=info.name)
    if model and info.model != model:
        message = (
            f"playbook {info.name!r} holds questions embedded by {info.model!r}, the answer's corpus is embedded "
            f"by {model!r}: record it into another playbook"
        )
        raise MixedModels(message, corpus=info.name, models=f"{info.model},{model}")


def _items(batch: Sequence[Pending], vectors: Vectors) -> list[vector_pb2.Item]:
    items = []
    for one, vector in zip(batch, vectors.rows, strict=True):
        item = vector_pb2.Item(id=one.entry.playbook_id, vector=vector)
        item.metadata.update(to_metadata(one.entry))
        items.append(item)
    return items


def _entry(metadata: Struct) -> Entry | None:
    return from_metadata(MessageToDict(metadata))


def _groups(members: Iterable[T], key: Callable[[T], Any]) -> list[list[T]]:
    groups: dict[Any, list[T]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return list(groups.values())
