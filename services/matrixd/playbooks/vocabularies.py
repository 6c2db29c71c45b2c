"""The vocabularies of corpora: gathered in the background, kept while the corpus stays as it is."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from services.matrixd.corpora.corpora import Corpora
from services.matrixd.playbooks.agreement import difference
from services.matrixd.playbooks.constraints import Constraints, extract
from services.matrixd.playbooks.vocabulary import Collector, Implication, Pieces, Vocabulary
from services.runtime.errors import ServiceError
from services.runtime.names import same_name
from services.runtime.threads import Threads

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a search waits for a vocabulary that is being gathered."""
MAX_ITEMS = 200_000
"""Items of a corpus that are looked at; a value that only later ones have is not known."""
_PAGE = 1_000
_KEPT = 64
_REMEMBERED = 4_096

Fields = Mapping[str, frozenset[tuple[Pieces, bool]]]


class Reader:
    """Reads and compares questions in the words of some corpora. Remembers what it has read."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.read = lru_cache(_REMEMBERED)(lambda text: extract(text, vocabulary))
        self.difference = lru_cache(_REMEMBERED)(self._difference)

    def _difference(self, asked: str, recorded: str) -> str:
        return difference(self.read(asked), self.read(recorded))

    def constraints(self, text: str) -> Constraints:
        """What a text asks for exactly. 150 us the first time."""
        return self.read(text)


@dataclass(slots=True)
class _Known:
    """What is known of one corpus: its columns' values as of a state, and the gathering of the next."""

    state: str = ""
    fields: Fields | None = None
    implied: frozenset[Implication] = frozenset()
    gathering: asyncio.Task[None] | None = None
    rest_until: float = 0.0
    """When it may be gathered again: a corpus that is being written is not read all the time."""


class Vocabularies:
    """Belongs to one event loop."""

    def __init__(self, corpora: Corpora, threads: Threads) -> None:
        self._corpora = corpora
        self._threads = threads
        self._known: dict[str, _Known] = {}
        self._readers: dict[tuple[tuple[str, str], ...], Reader] = {}

    async def reader(self, names: Sequence[str]) -> Reader | None:
        """Reads questions in the words of these corpora; None while one of them is not known yet.

        Waits PATIENCE seconds at most. Raises CorpusNotFound.
        """
        waiting = []
        for name in names:
            known = await self._refresh(name)
            if known.gathering is not None:
                waiting.append(known.gathering)
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE)
        found = [(same_name(name), self._known.get(same_name(name))) for name in names]
        ready = [(name, known, known.fields) for name, known in found if known is not None and known.fields is not None]
        if len(ready) < len(names):
            return None
        key = tuple((name, known.state) for name, known, _ in ready)
        reader = self._readers.get(key)
        if reader is None:
            if len(self._readers) >= _KEPT:
                self._readers.pop(next(iter(self._readers)))
            reader = self._readers[key] = Reader(
                _united([fields for *_, fields in ready], [known.implied for _, known, _ in ready])
            )
        return reader

    async def close(self) -> None:
        """Stops gathering."""
        tasks = [known.gathering for known in self._known.values() if known.gathering is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _refresh(self, name: str) -> _Known:
        info = await self._corpora.get(name)
        state = f"{info.identity} {info.updated}"
        key = same_name(name)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _KEPT:
                self._forget_one()
            known = self._known[key] = _Known()
        if known.state != state and known.gathering is None and time.monotonic() >= known.rest_until:
            # A fresh context: gathering must not end with the deadline of the search that began it.
            known.gathering = asyncio.create_task(self._gather(info.name, known, state), context=contextvars.Context())
        return known

    def _forget_one(self) -> None:
        idle = next((key for key, known in self._known.items() if known.gathering is None), None)
        if idle is not None:
            del self._known[idle]

    async def _gather(self, name: str, known: _Known, state: str) -> None:
        begun = time.monotonic()
        collector = Collector()
        try:
            token, seen = "", 0
            while seen < MAX_ITEMS:
                page = await self._corpora.page(name, _PAGE, token)
                await self._threads.run(collector.add_all, [item.metadata for item in page.items])
                seen += len(page.items)
                token = page.next_page_token
                if not token:
                    break
            fields = await self._threads.run(collector.vocabulary)
            known.implied = await self._threads.run(frozenset, collector.implications())
            known.fields, known.state = fields, state
        except ServiceError as error:
            # Nobody waits for it by name; until it is known, remembered answers of this corpus do not count.
            log.warning("the values of corpus %r are not known: %s", name, error.message)
        finally:
            known.gathering = None
            now = time.monotonic()
            known.rest_until = now + 10 * (now - begun)


def _united(several: Sequence[Fields], implied: Sequence[frozenset[Implication]]) -> Vocabulary:
    united: dict[str, frozenset[tuple[Pieces, bool]]] = {}
    for fields in several:
        for field, values in fields.items():
            united[field] = united.get(field, frozenset()) | values
    # What one corpus shows alone holds of both only where the other does not show otherwise.
    shared = frozenset.intersection(*implied)
    known = [{" ".join(pieces) for values in fields.values() for pieces, _ in values} for fields in several]
    alone = [
        one
        for place, implications in enumerate(implied)
        for one in implications
        if not any(one[0] in names for other, names in enumerate(known) if other != place)
    ]
    return Vocabulary(united, shared.union(alone))
