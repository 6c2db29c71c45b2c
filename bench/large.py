"""100,000 x 768 at float16: memory, build, search and restart, each beside FAISS or the bare disk.

The mesh is filled by gRPC; what is measured inside a process is measured in processes of their own
(`python -m bench.large_engine`), so that neither disturbs the other.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np
import orjson

from lakehouse.vector.v1.operation_pb2 import RebuildIndexRequest, WatchJobRequest
from lakehouse.vector.v1.vector_pb2 import SearchRequest
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from bench import data, report
from bench.stack import BenchStack, running_stack
from services.runtime.connect import connect_remote
from services.runtime.floats import set_floats

INDEX = "large"
ITEMS, DIMENSION, QUERIES = 100_000, 768, 2_000
MOST_MIB = 0.30 * 1e9 / (1 << 20)


async def measure() -> list[report.Row]:
    """Fills a mesh, stops it, and measures what it left."""
    corpus = data.corpus_of(data.structured(ITEMS, DIMENSION, seed=1))
    with running_stack() as stack:
        idle = stack.process.memory_info().rss
        await data.fill(stack, INDEX, corpus, storage_type="float16")
        await stack.wait_until_idle()
        built = await _rebuild(stack)
        await _search(stack, data.structured(QUERIES, DIMENSION, seed=2))
        grown = (stack.process.memory_info().rss - idle) / (1 << 20)
        stack.stop()
        vectors = stack.data / "bench-vectors.npy"
        np.save(vectors, corpus.vectors)
        inside = await _engine(stack.data, vectors)
    return [
        report.limit("100,000 x 768 float16: memory above idle", grown, MOST_MIB, "MiB"),
        report.at_most("100,000 x 768: rebuild / FAISS build", [built], inside["faiss_build"], 1.25, "s"),
        report.at_most("100,000 x 768: search / bare FAISS", inside["search"], inside["faiss_search"], 1.25, "us"),
        report.least("100,000 x 768: recall@10", inside["recall"][0], 0.99),
        report.at_most("100,000 x 768: restart / cold read and SHA-256", inside["open"], inside["read"], 3, "s"),
    ]


async def _rebuild(stack: BenchStack) -> float:
    """Seconds of the mesh's CPU time in which all graphs are made anew, measured and written."""
    async with connect_remote(stack.address("vectord")) as channel, asyncio.timeout(900):
        vector = VectorServiceStub(channel)
        before = stack.process.cpu_times()
        job = (await vector.RebuildIndex(RebuildIndexRequest(name=INDEX))).job
        async for state in vector.WatchJob(WatchJobRequest(job_id=job.id)):
            job = state.job
        after = stack.process.cpu_times()
    if job.state != "succeeded":
        raise RuntimeError(f"the rebuild ended as {job.state}: {job.error.message}")
    return (after.user + after.system) - (before.user + before.system)


async def _search(stack: BenchStack, questions: data.Floats) -> None:
    """Searches all over the index, so that what it needs of its files is in memory."""
    async with connect_remote(stack.address("vectord")) as channel:
        vector = VectorServiceStub(channel)
        for question in questions:
            request = SearchRequest(name=INDEX)
            set_floats(request, "vector", question)
            await vector.Search(request)


async def _engine(folder: Path, vectors: Path) -> dict[str, list[float]]:
    command = (sys.executable, "-m", "bench.large_engine", str(folder), str(vectors))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("bench.large_engine failed; its message is above")
    found: dict[str, list[float]] = orjson.loads(out)
    return found
