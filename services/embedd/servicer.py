"""EmbedService: proto in, embedder, proto out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from lakehouse.embed.v1 import embed_pb2, embed_pb2_grpc

from services.embedd.cache import Vector, VectorCache
from services.embedd.config import EmbedConfig
from services.embedd.embedder import Embedder
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
        registry = build_registry(config, self._threads)
        self._embedder = Embedder(registry, VectorCache(config.cache_size), config.deadline_seconds)

    async def start(self) -> None:
        """Loads the default model."""
        await self._embedder.warm_up()

    async def close(self) -> None:
        """Waits for the slices that are being computed."""
        self._threads.close()

    async def Embed(self, request: embed_pb2.EmbedRequest, context: Any) -> embed_pb2.EmbedResponse:
        """Returns one vector for each text."""
        batch = await self._embedder.embed(request.texts, request.model)
        response = embed_pb2.EmbedResponse(
            model=batch.model.id, dimension=batch.model.dimension, normalized=batch.model.normalized
        )
        response.MergeFromString(_wire_embeddings(batch.rows, batch.model.dimension))
        return response

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


def _wire_embeddings(rows: Sequence[Vector], dimension: int) -> bytes:
    """The wire form of EmbedResponse.embeddings: one join, where a message for each row costs five times as much."""
    prefix = _wire_prefix(dimension)
    return prefix + prefix.join([row.astype("<f4", copy=False).tobytes() for row in rows])


@cache
def _wire_prefix(dimension: int) -> bytes:
    """What stands before the floats of each row: the tags and sizes of Embedding and of its values."""
    size = dimension * 4
    values = _VALUES + varint(size)
    return _EMBEDDINGS + varint(len(values) + size) + values
