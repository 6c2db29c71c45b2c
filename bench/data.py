"""Vectors to measure with: those of short texts, and large ones with the structure that embeddings have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakehouse.embed.v1.embed_pb2 import EmbedRequest
from lakehouse.embed.v1.embed_pb2_grpc import EmbedServiceStub
from lakehouse.vector.v1.vector_pb2 import AddItemsRequest, CreateIndexRequest, IndexSource
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from bench.stack import BenchStack
from services.runtime.connect import connect_remote
from services.runtime.floats import set_floats

Floats = npt.NDArray[np.float32]

TEXT = """
forklift operator warehouse night shift licence crane welder certified electrician apprentice nurse ward
driver route delivery city harbour assembly line machine safety training experience years reliable team
lead inventory stock picking packing quality control inspection maintenance hydraulic solar roof painter
"""
WORDS = TEXT.split()
_LATENT = 24
_BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Items to search; `vectors` has a row of length 1 for each id."""

    ids: list[str]
    vectors: Floats
    metadata: list[dict[str, Any]]

    def nearest(self, query: Floats, k: int, mask: npt.NDArray[np.bool_] | None = None) -> set[str]:
        """The ids that an exact search finds, among those that the mask lets through."""
        apart = 1.0 - self.vectors @ query
        if mask is not None:
            apart[~mask] = np.inf
        return {self.ids[row] for row in np.argpartition(apart, k)[:k]}


def texts(count: int, *, seed: int) -> list[str]:
    """Texts of 6 to 13 words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=int(random.integers(6, 14)))) for _ in range(count)]


def metadata_of(number: int) -> dict[str, Any]:
    """Six small fields. `part` splits the items evenly into 1,000 parts."""
    return {
        "name": f"Person {number}",
        "role": WORDS[number % len(WORDS)],
        "city": WORDS[number % 7],
        "years": float(number % 30),
        "available": number % 2 == 0,
        "part": float(number * 7919 % 1_000),
    }


def corpus_of(vectors: Floats) -> Corpus:
    """A corpus with ids and metadata for some vectors."""
    numbers = range(len(vectors))
    return Corpus(
        ids=[f"item-{number:06d}" for number in numbers],
        vectors=vectors,
        metadata=[metadata_of(number) for number in numbers],
    )


def structured(count: int, dimension: int, *, seed: int) -> Floats:
    """Vectors of length 1 that vary in a few directions more than in the others, as embeddings do."""
    random = np.random.default_rng(seed)
    # The directions belong to the model, not to the sample: the same for every seed.
    directions = np.random.default_rng(0).standard_normal((_LATENT, dimension), dtype=np.float32)
    vectors: Floats = random.standard_normal((count, _LATENT), dtype=np.float32) @ directions
    vectors += random.standard_normal((count, dimension), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


async def embedded(stack: BenchStack, some: Sequence[str]) -> Floats:
    """The vectors of texts by the mesh's default model."""
    async with connect_remote(stack.address("embedd")) as channel:
        embed = EmbedServiceStub(channel)
        rows = []
        for begin in range(0, len(some), _BATCH):
            response = await embed.Embed(EmbedRequest(texts=some[begin : begin + _BATCH]))
            rows += [np.asarray(embedding.values, dtype=np.float32) for embedding in response.embeddings]
    return np.array(rows, dtype=np.float32)


async def fill(stack: BenchStack, name: str, corpus: Corpus, *, storage_type: str = "", model: str = "") -> None:
    """Makes an index of a corpus."""
    async with connect_remote(stack.address("vectord")) as channel:
        vector = VectorServiceStub(channel)
        request = CreateIndexRequest(name=name, dimension=corpus.vectors.shape[1], storage_type=storage_type)
        if model:
            request.source.CopyFrom(IndexSource(embedding_model=model))
        await vector.CreateIndex(request)
        for begin in range(0, len(corpus.ids), _BATCH):
            await vector.AddItems(batch_of(name, corpus, range(begin, min(begin + _BATCH, len(corpus.ids)))))


def batch_of(name: str, corpus: Corpus, rows: range) -> AddItemsRequest:
    """A request that adds some rows of a corpus."""
    request = AddItemsRequest(name=name)
    for row in rows:
        item = request.items.add(id=corpus.ids[row])
        set_floats(item, "vector", corpus.vectors[row])
        item.metadata.update(corpus.metadata[row])
    return request
