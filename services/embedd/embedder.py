"""Texts in, vectors out: what is remembered is not computed, and nothing is computed twice at once (E1, E3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.embedd.cache import Key, Stats, Vector, VectorCache, cache_key
from services.embedd.providers import Matrix, Model, Provider
from services.embedd.registry import Registry
from services.runtime.errors import DeadlineExceeded, InvalidArgument, TooLarge

MAX_ANSWER_BYTES = 60 << 20
"""Stays under the largest message that a channel takes, which is 64 MiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """The vectors of a batch: one row of length `model.dimension` for each text, in order."""

    model: Model
    rows: list[Vector]


class Embedder:
    """Embeds batches. Belongs to one event loop."""

    def __init__(self, registry: Registry, cache: VectorCache, deadline_seconds: float) -> None:
        """`deadline_seconds` bounds each batch, whatever its caller allows."""
        self._registry = registry
        self._cache = cache
        self._deadline = deadline_seconds
        self._flights: dict[Key, _Flight] = {}

    async def embed(self, texts: Sequence[str], model_id: str) -> Embedded:
        """Embeds a batch with one model; the default one for an empty id.

        Raises InvalidArgument naming an empty text, ModelNotFound, TooLarge, UpstreamFailed,
        DeadlineExceeded. About 3 us a text on top of the model; 2 us when it is remembered.
        """
        provider = self._registry.resolve(model_id)
        model = provider.model
        check_texts(texts)
        check_answer_size(len(texts), model.dimension)
        keys = [cache_key(model.id, text) for text in texts]
        rows = self._cache.find(keys)
        if len(rows) < len(texts):
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
            rows |= await self._complete(provider, missing, len(texts))
        else:
            self._cache.count(hits=len(texts), misses=0)
        return Embedded(model=model, rows=[rows[key] for key in keys])

    async def _complete(self, provider: Provider, missing: dict[Key, str], texts: int) -> dict[Key, Vector]:
        """Computes what nobody computes yet and waits for the rest."""
        flights = self._flights
        own = {key: text for key, text in missing.items() if key not in flights} if flights else missing
        self._cache.count(hits=texts - len(own), misses=len(own))
        rows: dict[Key, Vector] = {}
        if own:
            quick = provider.embed_now(list(own.values()))
            if quick is not None:
                rows = self._remember(own, quick)
            else:
                self._launch(provider, own)
        waiting = {flights[key] for key in missing if key in flights} if flights else None
        return rows | await self._landed(waiting) if waiting else rows

    def _remember(self, texts: Mapping[Key, str], matrix: Matrix) -> dict[Key, Vector]:
        rows = dict(zip(texts, matrix, strict=True))
        self._cache.store(rows)
        return rows

    def _launch(self, provider: Provider, own: dict[Key, str]) -> None:
        async def compute() -> dict[Key, Vector]:
            return self._remember(own, await provider.embed(list(own.values())))

        def forget() -> None:
            for key in own:
                if self._flights.get(key) is flight:
                    del self._flights[key]

        flight = _Flight(asyncio.create_task(compute()), forget)
        self._flights.update(dict.fromkeys(own, flight))

    async def _landed(self, flights: set[_Flight]) -> dict[Key, Vector]:
        rows: dict[Key, Vector] = {}
        try:
            async with asyncio.timeout(self._deadline):
                for landed in await asyncio.gather(*[flight.join() for flight in flights]):
                    rows |= landed
        except TimeoutError:
            message = f"the batch took longer than {self._deadline:g} s: send fewer texts"
            raise DeadlineExceeded(message, seconds=self._deadline) from None
        return rows

    async def warm_up(self) -> None:
        """Loads the default model, so that the first call is as fast as the others."""
        await self._registry.default.load()

    def models(self) -> list[Model]:
        """Every model, in the order of ids."""
        return self._registry.models()

    def default_model(self) -> str:
        """The id of the model of requests that name none."""
        return self._registry.default.model.id

    def stats(self) -> Stats:
        """How often the cache helped."""
        return self._cache.stats()


class _Flight:
    """Vectors that are being computed, for every call that waits for them.

    A call that goes away leaves the others undisturbed; when the last has gone, the work stops.
    """

    def __init__(self, task: asyncio.Task[dict[Key, Vector]], forget: Callable[[], None]) -> None:
        self._task = task
        self._forget = forget
        self._waiters = 0
        task.add_done_callback(lambda _: forget())

    async def join(self) -> dict[Key, Vector]:
        self._waiters += 1
        try:
            return await asyncio.shield(self._task)
        finally:
            self._waiters -= 1
            if not self._waiters and not self._task.done():
                self._forget()
                self._task.cancel()


def check_texts(texts: Sequence[str]) -> None:
    """Raises InvalidArgument naming the first text without a character that is not white space."""
    for index, text in enumerate(texts):
        if not text or text.isspace():
            raise InvalidArgument.of(f"texts[{index}]", "must have a character that is not white space")


def check_answer_size(texts: int, dimension: int) -> None:
    """Raises TooLarge for a batch whose vectors would not fit into one message."""
    most = MAX_ANSWER_BYTES // (dimension * 4 + 16)
    if texts > most:
        raise TooLarge(f"at most {most} texts at once with this model, not {texts}", limit=most, texts=texts)
