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

from bench import data, report
from bench.stack import BenchStack, running_stack

INDEX = "large"
ITEMS, DIMENSION, QUERIES = 100_000, 768, 500
MOST_MIB = 0.30 * 1e9 / (1 << 20)


async def measure() -> list[report.Row]:
    """Fills a mesh, stops it, and measures what it left."""
    corpus = data.corpus_of(data.structured(ITEMS, DIMENSION, seed=1))
    with running_stack() as stack:
        idle = stack.process.memory_info().rss
        built = await _fill(stack, corpus)
        grown = (stack.process.memory_info().rss - idle) / (1 << 20)
        stack.stop()
        vectors = stack.data / "bench-vectors.npy"
        np.save(vectors, corpus.vectors)
        inside = await _engine(stack.data, vectors)
    return [
        report.limit("100,000 x 768 float16: memory above idle", grown, MOST_MIB, "MiB"),
        report.at_most("100,000 x 768: adds until sealed / FAISS build", [built], inside["faiss_build"], 1.25, "s"),
        report.at_most("100,000 x 768: search / bare FAISS", inside["search"], inside["faiss_search"], 1.25, "us"),
        report.least("100,000 x 768: recall@10", inside["recall"][0], 0.99),
        report.at_most("100,000 x 768: restart / cold read and SHA-256", inside["open"], inside["read"], 3, "s"),
    ]


async def _fill(stack: BenchStack, corpus: data.Corpus) -> float:
    """Seconds of the mesh's own CPU time for adding and building, until nothing is left to tidy."""
    before = stack.process.cpu_times()
    await data.fill(stack, INDEX, corpus, storage_type="float16")
    await stack.wait_until_idle()
    after = stack.process.cpu_times()
    return (after.user + after.system) - (before.user + before.system)


async def _engine(folder: Path, vectors: Path) -> dict[str, list[float]]:
    command = (sys.executable, "-m", "bench.large_engine", str(folder), str(vectors))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("bench.large_engine failed; its message is above")
    found: dict[str, list[float]] = orjson.loads(out)
    return found
