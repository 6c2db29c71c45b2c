"""Entries whose answer has left the data: retired, and back when the answer is (M5).

A retired entry neither boosts nor injects. It is not deleted: what was learned of an answer holds
again when the answer is there again.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.corpora import Corpora
from services.matrixd.errors import CorpusNotFound
from services.matrixd.playbooks.playbook import DEFAULT_PLAYBOOK, Entry
from services.matrixd.playbooks.recorder import Locks, check_playbook, entry_of, item_of
from services.runtime.errors import ServiceError
from services.runtime.names import same_name

log = logging.getLogger(__name__)

GONE = "the answer is no longer in its corpus"
_PAGE = 1_000


@dataclass(slots=True)
class Swept:
    """What a sweep found."""

    checked: int = 0
    retired: int = 0
    revived: int = 0


class Retirement:
    """Retires and revives entries. Belongs to one event loop."""

    def __init__(self, corpora: Corpora, locks: Locks, now: Callable[[], datetime]) -> None:
        self._corpora = corpora
        self._locks = locks
        self._now = now
        self._tasks: set[asyncio.Task[None]] = set()

    async def sweep(self, playbook: str, corpus: str | None = None) -> Swept:
        """Looks at every entry, or at those for answers of one corpus. Raises CorpusNotFound, NotAPlaybook.

        Reads the whole playbook, a page at a time.
        """
        name = playbook or DEFAULT_PLAYBOOK
        check_playbook(await self._corpora.get(name), "")
        swept = Swept()
        token = ""
        while True:
            async with self._locks.of(name):
                response = await self._corpora.page(name, _PAGE, token)
                entries = [entry for item in response.items if (entry := entry_of(item.metadata)) is not None]
                await self._settle(name, [one for one in entries if _of(one, corpus)], swept)
            token = response.next_page_token
            if not token:
                return swept

    def retire_later(self, playbook: str, ids: Collection[str]) -> None:
        """Looks at some entries in the background, because their answers were not found."""
        self._later(self._look_at(playbook, list(ids)))

    def sweep_later(self, corpus: str) -> None:
        """Sweeps every playbook for the answers of a corpus in the background, because its data changed."""
        self._later(self._sweep_all(corpus))

    async def close(self) -> None:
        """Stops what runs; what is not retired yet will be when it is looked at again."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        # A fresh context: it must not end with the deadline of the call that noticed.
        task = asyncio.create_task(_logged(work), context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _look_at(self, name: str, ids: Sequence[str]) -> None:
        async with self._locks.of(name):
            found = await self._corpora.metadata(name, ids)
            entries = [entry for metadata in found.values() if (entry := entry_of(metadata)) is not None]
            await self._settle(name, entries, Swept())

    async def _sweep_all(self, corpus: str) -> None:
        for info in await self._corpora.all():
            if info.is_playbook:
                await self.sweep(info.name, corpus)

    async def _settle(self, name: str, entries: Sequence[Entry], swept: Swept) -> None:
        """Writes those entries anew that count and should not, or the other way round. Needs the playbook's lock."""
        there = await self._there(entries)
        changed: list[Entry] = []
        for entry in entries:
            present = (same_name(entry.answer_corpus), entry.answer_id) in there
            if present and entry.retired_at is not None:
                changed.append(replace(entry, retired_at=None, retired_reason=""))
                swept.revived += 1
            elif not present and entry.retired_at is None:
                changed.append(replace(entry, retired_at=self._now(), retired_reason=GONE))
                swept.retired += 1
        swept.checked += len(entries)
        if changed:
            vectors = await self._corpora.vectors(name, [entry.playbook_id for entry in changed])
            items = [
                item_of(entry.playbook_id, vectors[entry.playbook_id], entry)
                for entry in changed
                if entry.playbook_id in vectors
            ]
            await self._corpora.add(vector_pb2.AddItemsRequest(name=name, items=items))

    async def _there(self, entries: Iterable[Entry]) -> set[tuple[str, str]]:
        """The answers that exist."""
        wanted: dict[str, list[str]] = {}
        for entry in entries:
            wanted.setdefault(same_name(entry.answer_corpus), []).append(entry.answer_id)
        there: set[tuple[str, str]] = set()
        for corpus, ids in wanted.items():
            try:
                found = await self._corpora.metadata(corpus, list(dict.fromkeys(ids)))
            except CorpusNotFound:
                continue  # with the corpus, all its answers are gone
            there.update((corpus, item_id) for item_id in found)
        return there


def _of(entry: Entry, corpus: str | None) -> bool:
    return corpus is None or same_name(entry.answer_corpus) == same_name(corpus)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except ServiceError as error:
        # Nobody waits for it; it is noticed again when the entry is met again.
        log.warning("entries of a playbook could not be retired: %s", error.message)
