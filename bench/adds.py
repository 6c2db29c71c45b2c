"""Durable adds in batches of 100, beside the same adds on a file system in memory, where a sync costs nothing."""

from __future__ import annotations

from pathlib import Path

from lakehouse.vector.v1.vector_pb2 import AddItemsRequest, CreateIndexRequest
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from bench import data, load, report
from bench.stack import running_stack
from services.runtime.connect import connect_remote

MEMORY = Path("/dev/shm")
BATCH, BATCHES, DIMENSION = 100, 200, 256
CALLERS, SECONDS, ROUNDS = 4, 1.5, 5


async def measure() -> list[report.Row]:
    """Adds to two meshes in turn: one on disk, one in memory."""
    corpus = data.corpus_of(data.structured(BATCH * BATCHES, DIMENSION, seed=1))
    batches = [data.batch_of("adds", corpus, range(n * BATCH, (n + 1) * BATCH)) for n in range(BATCHES)]
    with running_stack() as on_disk, running_stack(parent=MEMORY) as in_memory:
        async with (
            connect_remote(on_disk.address("vectord")) as one,
            connect_remote(in_memory.address("vectord")) as two,
        ):
            rounds = await _rounds(VectorServiceStub(one), VectorServiceStub(two), batches)
    durable = [found.calls_per_second * BATCH for found in rounds["durable"]]
    fleeting = [found.calls_per_second * BATCH for found in rounds["fleeting"]]
    return [report.at_least("durable adds / without a disk", durable, fleeting, 0.6, "items/s")]


async def _rounds(
    durable: VectorServiceStub, fleeting: VectorServiceStub, batches: list[AddItemsRequest]
) -> dict[str, list[load.Load]]:
    for stub in (durable, fleeting):
        await stub.CreateIndex(CreateIndexRequest(name="adds", dimension=DIMENSION))
    return await load.alternate(
        {
            "durable": lambda _, turn: durable.AddItems(batches[turn % BATCHES]),
            "fleeting": lambda _, turn: fleeting.AddItems(batches[turn % BATCHES]),
        },
        callers=CALLERS,
        seconds=SECONDS,
        rounds=ROUNDS,
    )
