"""Texts in, vectors out: what is remembered is not computed, and nothing is computed twice at once (E1, E3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import NamedTuple

from services.embedd.cache import Key, Stats, Vector, VectorCache, cache_key
from services.embedd.providers import Matrix, Model, Provider, check_answer_size
from services.embedd.registry import Registry
from services.runtime.errors import DeadlineExceeded, InvalidArgument, ServiceError


class Embedded(NamedTuple):
    """The vectors of a batch: one row of length `model.dimension` for each text, in order."""

    model: Model
    rows: Sequence[Vector]


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
        DeadlineExceeded. About 4 us on top of the model for one text, 3 us a text of a batch.
        """
        provider = self._registry.resolve(model_id)
        if len(texts) == 1:
            row = self._embed_one_now(provider, texts[0])
            if row is not None:
                return Embedded(provider.model, (row,))
        return await self._embed_batch(provider, texts)

    def _embed_one_now(self, provider: Provider, text: str) -> Vector | None:
        """The vector of one text, if that needs no waiting. Every search by text passes here, so it is lean."""
        check_text(text, 0)
        key = cache_key(provider.model.id, text)
        row = self._cache.get(key)
        if row is not None:
            self._cache.count(1, 0)
        elif key not in self._flights:
            row = provider.embed_one_now(text)
            if row is not None:
                self._cache.count(0, 1)
                self._cache.put(key, row)
        return row

    async def _embed_batch(self, provider: Provider, texts: Sequence[str]) -> Embedded:
        model_id = provider.model.id
        check_texts(texts)
        check_answer_size(len(texts), provider.model.dimension)
        keys = [cache_key(model_id, text) for text in texts]
        rows = self._cache.find(keys)
        if len(rows) < len(texts):
            missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in rows}
            rows |= await self._complete(provider, missing, len(texts))
            # The first answer may have told the dimension.
            check_answer_size(len(texts), provider.model.dimension)
        else:
            self._cache.count(len(texts), 0)
        return Embedded(provider.model, [rows[key] for key in keys])

    async def _complete(self, provider: Provider, missing: dict[Key, str], texts: int) -> dict[Key, Vector]:
        """Computes what nobody computes yet and waits for the rest."""
        flights = self._flights
        own = {key: text for key, text in missing.items() if key not in flights} if flights else missing
        self._cache.count(texts - len(own), len(own))
        rows: dict[Key, Vector] = {}
        if own:
            quick = provider.embed_now(list(own.values()))
            if quick is not None:
                rows = self._remember(own, quick)
        return rows if len(rows) == len(missing) else await self._wait(provider, missing, rows)

    async def _wait(self, provider: Provider, missing: dict[Key, str], rows: dict[Key, Vector]) -> dict[Key, Vector]:
        """Rounds until every row is there: what another call failed to compute is then computed for this one."""
        deadline = asyncio.get_running_loop().time() + self._deadline
        try:
            async with asyncio.timeout_at(deadline):
                while open_texts := {key: text for key, text in missing.items() if key not in rows}:
                    rows |= await self._round(provider, open_texts, deadline)
        except TimeoutError:
            message = f"the batch took longer than {self._deadline:g} s: send fewer texts"
            raise DeadlineExceeded(message, seconds=self._deadline) from None
        return rows

    async def _round(self, provider: Provider, texts: dict[Key, str], deadline: float) -> dict[Key, Vector]:
        """Computes what nobody else does. Raises UpstreamFailed for this; a failure of others leaves a gap."""
        others = {self._flights[key] for key in texts if key in self._flights}
        own = {key: text for key, text in texts.items() if key not in self._flights}
        flights = [self._launch(provider, own, deadline), *others] if own else list(others)
        rows: dict[Key, Vector] = {}
        for flight in flights:
            flight.join()
        try:
            for flight in flights:
                with suppress(ServiceError) if flight in others else nullcontext():
                    rows |= await flight.landed()
        finally:
            for flight in flights:
                flight.leave()
        return rows

    def _remember(self, texts: Mapping[Key, str], matrix: Matrix) -> dict[Key, Vector]:
        rows = dict(zip(texts, matrix, strict=True))
        self._cache.store(rows)
        return rows

    def _launch(self, provider: Provider, own: dict[Key, str], deadline: float) -> _Flight:
        async def compute() -> dict[Key, Vector]:
            return self._remember(own, await provider.embed(list(own.values()), deadline))

        def forget() -> None:
            for key in own:
                if self._flights.get(key) is flight:
                    del self._flights[key]

        flight = _Flight(asyncio.create_task(compute()), forget)
        self._flights.update(dict.fromkeys(own, flight))
        return flight

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
        task.add_done_callback(self._end)

    def join(self) -> None:
        """Says that one more waits, who will `leave`."""
        self._waiters += 1

    async def landed(self) -> dict[Key, Vector]:
        """The vectors. Raises what computing them raised."""
        return await asyncio.shield(self._task)

    def leave(self) -> None:
        """Says that one waits no longer."""
        self._waiters -= 1
        if not self._waiters and not self._task.done():
            self._forget()
            self._task.cancel()

    def _end(self, task: asyncio.Task[dict[Key, Vector]]) -> None:
        self._forget()
        if not task.cancelled():
            # Seen, even when everybody left in the same moment.
            task.exception()


def check_texts(texts: Sequence[str]) -> None:
    """Raises InvalidArgument naming the first text without a character that is not white space."""
    for index, text in enumerate(texts):
        check_text(text, index)


def check_text(text: str, index: int) -> None:
    """Raises InvalidArgument naming the text if it has no character that is not white space."""
    if not text or text.isspace():
        raise InvalidArgument.of(f"texts[{index}]", "must have a character that is not white space")
