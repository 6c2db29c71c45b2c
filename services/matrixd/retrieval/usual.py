"""How far from its question an answer usually lies, so that a search can say when it only has a stretch (M9).

Learned from accepted recordings: a person, a validator or a judge said that these answers were right.
Distances belong to a corpus and its embedding model; of a corpus made anew, nothing is known.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import orjson

from services.matrixd.corpora.corpora import Corpora
from services.runtime.durable import atomic_write, make_directory
from services.runtime.errors import ServiceError
from services.runtime.names import same_name
from services.runtime.threads import Threads

log = logging.getLogger(__name__)

FEWEST = 20
"""Recordings that must be known before anything is called unusual."""
QUANTILE = 0.95
_KEPT = 500
_AT_ONCE = 50


class Usual:
    """The distances of accepted answers, in one small file for each corpus. Belongs to one event loop."""

    def __init__(self, directory: Path, corpora: Corpora, threads: Threads) -> None:
        self._directory = make_directory(directory)
        self._corpora = corpora
        self._threads = threads
        self._known: dict[str, tuple[str, list[float]]] = {}
        self._limits: dict[str, tuple[str, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        for path in sorted(directory.glob("*.json")):
            try:
                state = orjson.loads(path.read_bytes())
                self._note(state["corpus"], state["identity"], [float(one) for one in state["distances"]])
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("the usual distances in %s are skipped: %s", path.name, error)

    @property
    def known(self) -> bool:
        """Whether anything is known of any corpus."""
        return bool(self._limits)

    async def limit(self, corpus: str) -> float | None:
        """The distance beyond which the best hit is unusual; None while that is not known. 2 us."""
        limit = self._limits.get(same_name(corpus))
        if limit is None:
            return None
        info = await self._corpora.get(corpus)
        return limit[1] if limit[0] == info.identity else None

    def learn_later(self, corpus: str, pairs: Sequence[tuple[Sequence[float], str]]) -> None:
        """Measures how far some answers lie from their questions' vectors, in the background; fifty at once at most."""
        if pairs:
            # A fresh context: it must not end with the deadline of the call that recorded.
            work = self._learn(corpus, pairs[:_AT_ONCE])
            task = asyncio.create_task(work, context=contextvars.Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stops measuring."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _learn(self, corpus: str, pairs: Sequence[tuple[Sequence[float], str]]) -> None:
        try:
            info = await self._corpora.get(corpus)
            found = []
            for vector, answer_id in pairs:
                hits = await self._corpora.search(corpus, vector, 1, ids=[answer_id])
                found += [hit.distance for hit in hits]
        except ServiceError as error:
            # Nothing depends on a single recording; the next ones are measured again.
            log.info("the distances of answers in corpus %r were not measured: %s", corpus, error.message)
            return
        identity, before = self._known.get(same_name(corpus), ("", []))
        distances = [*(before if identity == info.identity else []), *found][-_KEPT:]
        self._note(info.name, info.identity, distances)
        state = {"corpus": info.name, "identity": info.identity, "distances": distances}
        name = hashlib.sha256(same_name(info.name).encode()).hexdigest()[:32]
        await self._threads.run(atomic_write, self._directory / f"{name}.json", orjson.dumps(state))

    def _note(self, corpus: str, identity: str, distances: list[float]) -> None:
        key = same_name(corpus)
        self._known[key] = (identity, distances)
        if len(distances) >= FEWEST:
            self._limits[key] = (identity, sorted(distances)[int(QUANTILE * (len(distances) - 1))])
        else:
            self._limits.pop(key, None)
