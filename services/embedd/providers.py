"""What computes vectors: the one small interface, and its form for models inside this process (E2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from services.runtime.errors import TooLarge
from services.runtime.threads import Threads

Matrix = npt.NDArray[np.float32]
"""One row for each text, as many columns as the model has dimensions."""
Vector = npt.NDArray[np.float32]

MAX_ANSWER_BYTES = 60 << 20
"""Stays under the largest message that a channel takes, which is 64 MiB."""
SLICE_TEXTS = 64
SLICE_CHARACTERS = 32_768
# Measured: a text costs about 10 us and each of its characters 0.13 us, so this much stays under 1 ms.
_INLINE_COST = 6_000
_TEXT_COST = 80
_INLINE_CHARACTERS = _INLINE_COST - _TEXT_COST


class Model(NamedTuple):
    """What is known of one embedding model."""

    id: str
    provider: str
    dimension: int
    """0 while unknown."""
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

    def embed_one_now(self, text: str) -> Vector | None:
        """The vector of one text, if it can be had so; an array of its own."""
        ...

    async def embed(self, texts: Sequence[str], deadline: float) -> Matrix:
        """The vectors, however long they take. Raises UpstreamFailed.

        The caller ends it after `deadline`, a time of the loop's clock; no try is begun that cannot end before.
        """
        ...

    async def load(self) -> None:
        """Makes the first call as fast as the others. Raises UpstreamFailed."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


class Encoder(Protocol):
    """A model in this process. Thread-safe."""

    def encode(self, texts: Sequence[str]) -> Matrix:
        """The vectors; each depends on its own text alone, never on its neighbours."""
        ...

    def encode_one(self, text: str) -> Vector:
        """The vector of one text, to the bit what a batch gives it."""
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

    def embed_one_now(self, text: str) -> Vector | None:
        """The vector of one text that is not too long, if the model is loaded; else None."""
        if self._encoder is None or len(text) > _INLINE_CHARACTERS:
            return None
        return self._encoder.encode_one(text)

    async def embed(self, texts: Sequence[str], deadline: float) -> Matrix:
        """The vectors, computed in a thread: slice after slice, as two at once were measured to be no faster."""
        encoder = await self._loaded()
        rows = np.empty((len(texts), self._model.dimension), dtype=np.float32)
        for start, stop in slices(texts):
            rows[start:stop] = await self._threads.run(encoder.encode, texts[start:stop])
        return rows

    async def load(self) -> None:
        """Reads the model."""
        await self._loaded()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _loaded(self) -> Encoder:
        # Two first calls may both load: the loaders remember what they read, so this costs nothing twice.
        if self._encoder is None:
            self._encoder = await self._threads.run(self._load)
        return self._encoder


def slices(
    texts: Sequence[str], most_texts: int = SLICE_TEXTS, most_characters: int = SLICE_CHARACTERS
) -> Iterator[tuple[int, int]]:
    """Cuts a batch into ranges; every text is in exactly one, in order, a longer one alone.

    As it stands a range takes the model in this process a few milliseconds.
    """
    start = 0
    characters = 0
    for index, text in enumerate(texts):
        full = index - start == most_texts or characters + len(text) > most_characters
        if full and index > start:
            yield start, index
            start, characters = index, 0
        characters += len(text)
    if start < len(texts):
        yield start, len(texts)


def check_answer_size(texts: int, dimension: int) -> None:
    """Raises TooLarge for a batch whose vectors would not fit into one message."""
    most = MAX_ANSWER_BYTES // (dimension * 4 + 16)
    if texts > most:
        raise TooLarge(f"at most {most} texts at once with this model, not {texts}", limit=most, texts=texts)
