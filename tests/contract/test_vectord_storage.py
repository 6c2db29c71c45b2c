"""Indexes that keep vectors smaller, through the stub, on both legs (V8)."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from lakehouse.vector.v1 import vector_pb2, vector_pb2_grpc

from services.mesh import Mesh

DIMENSION = 24


async def tidied(stub: vector_pb2_grpc.VectorServiceStub, name: str) -> vector_pb2.Index:
    """The index once nothing in it is hot; bounded."""
    async with asyncio.timeout(10):
        while True:
            index = (await stub.GetIndex(vector_pb2.GetIndexRequest(name=name))).index
            if index.hot_count == 0 and index.segments:
                return index
            await asyncio.sleep(0.02)


@pytest.mark.requirement("V8")
@pytest.mark.settings(vector={"hot_bytes": 1})
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("storage", ["float16", "int8"])
async def test_an_index_keeps_vectors_as_it_was_told(mesh: Mesh, storage: str, metric: str) -> None:
    stub = vector_pb2_grpc.VectorServiceStub(mesh.connect("vectord"))
    made = await stub.CreateIndex(
        vector_pb2.CreateIndexRequest(name="small", dimension=DIMENSION, metric=metric, storage_type=storage)
    )
    assert made.index.storage_type == storage
    vectors = np.random.default_rng(1).standard_normal((300, DIMENSION)).astype(np.float32)
    items = [vector_pb2.Item(id=f"{row:03d}", vector=vector.tolist()) for row, vector in enumerate(vectors)]
    await stub.AddItems(vector_pb2.AddItemsRequest(name="small", items=items))
    request = vector_pb2.SearchRequest(name="small", vector=vectors[7].tolist(), k=300, with_vectors=True)
    fresh = await stub.Search(request)
    assert (await tidied(stub, "small")).count == 300
    sealed = await stub.Search(request)
    assert sealed == fresh
    assert len(fresh.hits) == 300
    if metric != "ip":
        assert fresh.hits[0].id == "007"
        assert fresh.hits[0].distance == pytest.approx(0, abs=1e-5)
    by_id = {hit.id: hit.vector for hit in fresh.hits}
    kept = np.array([by_id[f"{row:03d}"] for row in range(300)])
    assert np.allclose(kept, vectors, rtol=2e-3, atol=2e-3)
    if metric != "cosine":
        assert np.array_equal(kept, vectors.astype(np.float16).astype(np.float32))
