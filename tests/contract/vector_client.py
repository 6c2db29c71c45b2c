"""What tests of index operations do through vectord's stub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lakehouse.job.v1 import job_pb2
from lakehouse.vector.v1 import operation_pb2, vector_pb2, vector_pb2_grpc

Stub = vector_pb2_grpc.VectorServiceStub
DIMENSION = 8


def vectors(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Clustered, as embeddings are."""
    chance = np.random.default_rng(seed)
    centres = chance.standard_normal((20, DIMENSION))
    noise = chance.standard_normal((count, DIMENSION))
    return (centres[chance.integers(0, 20, count)] + 0.3 * noise).astype(np.float32)


async def create(stub: Stub, name: str, count: int = 0, **fields: Any) -> None:
    await stub.CreateIndex(vector_pb2.CreateIndexRequest(name=name, dimension=DIMENSION, metric="l2", **fields))
    if count:
        await add(stub, name, range(count), vectors(count))


async def add(stub: Stub, name: str, numbers: Sequence[int], given: Any) -> None:
    items = [
        vector_pb2.Item(id=f"{number:06d}", vector=vector)
        for number, vector in zip(numbers, given.tolist(), strict=True)
    ]
    await stub.AddItems(vector_pb2.AddItemsRequest(name=name, items=items))


async def info(stub: Stub, name: str) -> vector_pb2.Index:
    return (await stub.GetIndex(vector_pb2.GetIndexRequest(name=name))).index


async def ids(stub: Stub, name: str) -> list[str]:
    found: list[str] = []
    request = vector_pb2.ListItemsRequest(name=name, page_size=10_000)
    while True:
        page = await stub.ListItems(request)
        found += [item.id for item in page.items]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def set_alias(stub: Stub, name: str, index: str) -> operation_pb2.SetAliasResponse:
    return await stub.SetAlias(operation_pb2.SetAliasRequest(name=name, index=index))


async def ended(stub: Stub, job_id: str) -> job_pb2.Job:
    """The job at its end, watched from wherever it stands."""
    latest = job_pb2.Job()
    async for update in stub.WatchJob(operation_pb2.WatchJobRequest(job_id=job_id)):
        assert update.job.done >= latest.done
        latest = update.job
    return latest


async def rebuilt(stub: Stub, **fields: Any) -> job_pb2.Job:
    started = await stub.RebuildIndex(operation_pb2.RebuildIndexRequest(**fields))
    job = await ended(stub, started.job.id)
    assert job.state == "succeeded", job
    assert (job.kind, job.subject, job.done, job.total) == ("index.rebuild", fields["name"], job.total, job.total)
    return job
