"""What computes vectors: the one small interface, and its form for models inside this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.runtime.threads import Threads

Matrix = npt.NDArray[np.float32]
"""One row for each text, as many columns as the model has dimensions."""

SLICE_TEXTS = 64
SLICE_CHARACTERS = 32_768
# Measured: a text costs about 10 us and each of its characters 0.13 us, so this much stays under 1 ms.
_INLINE_COST = 6_000
_TEXT_COST = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is known of one embedding model."""

    id: str
    provider: str
    dimension: int
    normalized: bool


class Provider(Protocol):
    """Computes the vectors of one model, wherever that happens."""

    @property
    def model(self) -> Model:
        """The model it computes."""
        ...

    def embed_now(self, texts: Sequence[str]) -> Matrix | None:
        """The vectors, if they can be had in under 1 ms and without waiting; else None."""
        ...

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """The vectors, however long they take. Raises UpstreamFailed."""
        ...

    async def load(self) -> None:
        """Makes the first call as fast as the others. Raises UpstreamFailed."""
        ...


class Encoder(Protocol):
    """A model in this process. Thread-safe."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        """The vectors; each depends on its own text alone, never on its neighbours."""
        ...


class ComputedProvider:
    """A model in this process: small batches inline, big ones slice by slice in threads.

    Between two slices other calls get their turn, so a big batch holds up nobody.
    """

    def __init__(self, model: Model, load: Callable[[], Encoder], threads: Threads) -> None:
        """`load` reads the model when it is first needed; it may take a second and runs in a thread."""
        self._model = model
        self._load = load
        self._threads = threads
        self._encoder: Encoder | None = None

    @property
    def model(self) -> Model:
        """The model it computes."""
        return self._model

    def embed_now(self, texts: Sequence[str]) -> Matrix | None:
        """The vectors, if they can be had in under 1 ms and the model is loaded; else None."""
        if self._encoder is None or len(texts) * _TEXT_COST + sum(map(len, texts)) > _INLINE_COST:
            return None
        return self._encoder.encode(texts)

    async def embed(self, texts: Sequence[str]) -> Matrix:
        """The vectors, computed in a thread."""
        encoder = await self._loaded()
        rows = np.empty((len(texts), self._model.dimension), dtype=np.float32)
        for start, stop in slices(texts):
            rows[start:stop] = await self._threads.run(encoder.encode, texts[start:stop])
        return rows

    async def load(self) -> None:
        """Reads the model."""
        await self._loaded()

    async def _loaded(self) -> Encoder:
        # Two first calls may both load: the loaders remember what they read, so this costs nothing twice.
        if self._encoder is None:
            self._encoder = await self._threads.run(self._load)
        return self._encoder


def slices(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cuts a batch into ranges of a few milliseconds each; every text is in exactly one, in order."""
    start = 0
    characters = 0
    for index, text in enumerate(texts):
        full = index - start == SLICE_TEXTS or characters + len(text) > SLICE_CHARACTERS
        if full and index > start:
            yield start, index
            start, characters = index, 0
        characters += len(text)
    if start < len(texts):
        yield start, len(texts)
