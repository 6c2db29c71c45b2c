"""What contract tests ask of matrixd, and how they prepare its neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Value

from lakehouse.embed.v1 import embed_pb2, embed_pb2_grpc
from lakehouse.matrix.v1 import matrix_pb2_grpc, playbook_pb2, search_pb2
from lakehouse.vector.v1 import filter_pb2, vector_pb2, vector_pb2_grpc

from services.mesh import Mesh
from services.runtime.errors import ServiceError

HASH = pytest.mark.settings(embed={"default_model": "hash"})


class Matrix:
    """What a test asks of matrixd, and how it prepares vectord."""

    def __init__(self, mesh: Mesh) -> None:
        self.stub = matrix_pb2_grpc.MatrixServiceStub(mesh.connect("matrixd"))
        self.vector = vector_pb2_grpc.VectorServiceStub(mesh.connect("vectord"))
        self.embed = embed_pb2_grpc.EmbedServiceStub(mesh.connect("embedd"))

    async def corpus(
        self, name: str, items: Mapping[str, Sequence[float]], *, model: str = "", metric: str = "", **metadata: Any
    ) -> None:
        """A corpus with these vectors; `metadata` is kept with each item beside its own id."""
        dimension = len(next(iter(items.values())))
        source = vector_pb2.IndexSource(embedding_model=model)
        await self.vector.CreateIndex(
            vector_pb2.CreateIndexRequest(name=name, dimension=dimension, metric=metric, source=source)
        )
        request = vector_pb2.AddItemsRequest(name=name)
        for item_id, vector in items.items():
            item = request.items.add(id=item_id, vector=vector)
            item.metadata.update({"name": item_id, **metadata})
        await self.vector.AddItems(request)

    async def texts(self, name: str, texts: Mapping[str, str], *, model: str = "hash") -> None:
        """A corpus of embedded texts."""
        response = await self.embed.Embed(embed_pb2.EmbedRequest(texts=list(texts.values()), model=model))
        rows = [list(embedding.values) for embedding in response.embeddings]
        await self.corpus(name, dict(zip(texts, rows, strict=True)), model=model)

    async def search(self, *corpora: str, **fields: Any) -> search_pb2.SearchResponse:
        return await self.stub.Search(search_pb2.SearchRequest(corpora=corpora, **fields))

    async def record(self, query_text: str, answer_id: str, answer_corpus: str, **fields: Any) -> str:
        request = playbook_pb2.RecordPlaybookRequest(
            query_text=query_text, answer_id=answer_id, answer_corpus=answer_corpus, **fields
        )
        return (await self.stub.RecordPlaybook(request)).playbook_id

    async def distance(self, one: str, other: str, model: str = "hash") -> float:
        response = await self.embed.Embed(embed_pb2.EmbedRequest(texts=[one, other], model=model))
        first, second = (np.asarray(embedding.values) for embedding in response.embeddings)
        return float(1 - first @ second)


def at(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def where(field: str, value: str) -> filter_pb2.Filter:
    return filter_pb2.Filter(equals=filter_pb2.Equals(field=field, value=Value(string_value=value)))


def ids(response: search_pb2.SearchResponse) -> list[str]:
    return [hit.id for hit in response.hits]


def reason_of(raised: pytest.ExceptionInfo[ServiceError]) -> str:
    return raised.value.reason
