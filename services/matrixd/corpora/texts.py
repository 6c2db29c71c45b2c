"""Vectors of texts: every call to embedd is here."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from lakehouse.embed.v1 import embed_pb2


class EmbedStub(Protocol):
    """The methods of embedd that matrixd calls."""

    def Embed(self, request: embed_pb2.EmbedRequest) -> Awaitable[embed_pb2.EmbedResponse]: ...
    def ListModels(self, request: embed_pb2.ListModelsRequest) -> Awaitable[embed_pb2.ListModelsResponse]: ...


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of some texts, in order, and the model that made them."""

    model: str
    dimension: int
    rows: Sequence[Sequence[float]]


class Texts:
    """Calls embedd."""

    def __init__(self, stub: EmbedStub) -> None:
        self._stub = stub

    async def embed(self, texts: Sequence[str], model: str) -> Vectors:
        """Embeds texts with a model; embedd's default one for an empty id. Raises what embedd raises."""
        response = await self._stub.Embed(embed_pb2.EmbedRequest(texts=texts, model=model))
        return Vectors(response.model, response.dimension, [embedding.values for embedding in response.embeddings])

    async def default_model(self) -> str:
        """The id of embedd's default model."""
        response = await self._stub.ListModels(embed_pb2.ListModelsRequest())
        return next(model.id for model in response.models if model.default)
