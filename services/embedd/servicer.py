"""EmbedService: proto in, embedder, proto out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from lakehouse.embed.v1 import embed_pb2, embed_pb2_grpc

from services.embedd.cache import Vector, VectorCache
from services.embedd.config import EmbedConfig
from services.embedd.embedder import Embedder
from services.embedd.providers import Model
from services.embedd.registry import build_registry
from services.runtime.floats import length_tag, varint
from services.runtime.threads import Threads

_MAX_INT32 = 2**31 - 1
_EMBEDDINGS = length_tag(embed_pb2.EmbedResponse.DESCRIPTOR, "embeddings")
_VALUES = length_tag(embed_pb2.Embedding.DESCRIPTOR, "values")


class EmbedServicer(embed_pb2_grpc.EmbedServiceServicer):
    """Embeds texts with one of the configured models."""

    def __init__(self, *, config: EmbedConfig) -> None:
        self._threads = Threads("embedd", config.threads)
        self._registry = build_registry(config, self._threads, os.environ)
        self._embedder = Embedder(self._registry, VectorCache(config.cache_size), config.deadline_seconds)

    async def start(self) -> None:
        """Loads the default model."""
        await self._embedder.warm_up()

    async def close(self) -> None:
        """Lets go of connections and waits for the slices that are being computed."""
        await self._registry.close()
        self._threads.close()

    async def Embed(self, request: embed_pb2.EmbedRequest, context: Any) -> embed_pb2.EmbedResponse:
        """Returns one vector for each text."""
        model, rows = await self._embedder.embed(request.texts, request.model)
        return embed_pb2.EmbedResponse.FromString(_wire(model, rows))

    async def ListModels(self, request: embed_pb2.ListModelsRequest, context: Any) -> embed_pb2.ListModelsResponse:
        """Lists the models."""
        default = self._embedder.default_model()
        return embed_pb2.ListModelsResponse(
            models=[
                embed_pb2.Model(
                    id=model.id,
                    provider=model.provider,
                    dimension=model.dimension,
                    normalized=model.normalized,
                    default=model.id == default,
                )
                for model in self._embedder.models()
            ]
        )

    async def GetStats(self, request: embed_pb2.GetStatsRequest, context: Any) -> embed_pb2.GetStatsResponse:
        """Returns how often the cache helped."""
        stats = self._embedder.stats()
        return embed_pb2.GetStatsResponse(
            hits=min(stats.hits, _MAX_INT32),
            misses=min(stats.misses, _MAX_INT32),
            hit_rate=stats.hit_rate,
            size=stats.size,
            capacity=stats.capacity,
        )


def _wire(model: Model, rows: Sequence[Vector]) -> bytes:
    """The wire form of EmbedResponse: one join, where a message for each row costs five times as much."""
    head, prefix = _wire_parts(model)
    return head + prefix + prefix.join([row.astype("<f4", copy=False).tobytes() for row in rows])


@cache
def _wire_parts(model: Model) -> tuple[bytes, bytes]:
    """What stands before all rows, and before the floats of each: the tags and sizes of Embedding and of its values."""
    about = embed_pb2.EmbedResponse(model=model.id, dimension=model.dimension, normalized=model.normalized)
    size = model.dimension * 4
    values = _VALUES + varint(size)
    return about.SerializeToString(), _EMBEDDINGS + varint(len(values) + size) + values
