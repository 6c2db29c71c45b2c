"""A Chroma server from an environment of its own, with what its REST API needs to be measured."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bench import load
from bench.data import Corpus, Floats
from services.supervisor.ports import free_port_base

COMMAND = Path(".venv-peers/bin/chroma")
_COLLECTIONS = "/api/v2/tenants/default_tenant/databases/default_database/collections"
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Chroma:
    """A server with one collection."""

    port: int
    path: str
    """Of the collection's queries."""


def installed() -> bool:
    """Whether `make bench` put it there."""
    return COMMAND.exists()


@asynccontextmanager
async def running(corpus: Corpus, *, ef_search: int) -> AsyncIterator[Chroma]:
    """A server that holds the corpus in a graph with the same links and candidates as ours."""
    port = free_port_base()
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        command = (str(COMMAND), "run", "--path", folder, "--port", str(port))
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
        try:
            await _wait_until_up(port)
            yield Chroma(port, await _fill(port, corpus, ef_search))
        finally:
            process.terminate()
            await process.wait()


async def _wait_until_up(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                connection = await load.HttpConnection.open("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                connection.close()
                return


async def _fill(port: int, corpus: Corpus, ef_search: int) -> str:
    graph = {"space": "cosine", "ef_search": ef_search, "ef_construction": 80, "max_neighbors": 16}
    async with load.connections(port, 1) as [connection]:
        created = await connection.post(_COLLECTIONS, orjson.dumps({"name": "bench", "configuration": {"hnsw": graph}}))
        path = f"{_COLLECTIONS}/{orjson.loads(created)['id']}"
        for begin in range(0, len(corpus.ids), _BATCH):
            end = begin + _BATCH
            body: dict[str, Any] = {
                "ids": corpus.ids[begin:end],
                "embeddings": corpus.vectors[begin:end].tolist(),
                "metadatas": corpus.metadata[begin:end],
            }
            await connection.post(f"{path}/add", orjson.dumps(body))
    return f"{path}/query"


def query_bodies(vectors: Floats, k: int) -> list[bytes]:
    """One request for each vector."""
    fields = {"n_results": k, "include": ["metadatas", "distances"]}
    return [orjson.dumps({"query_embeddings": [vector.tolist()], **fields}) for vector in vectors]


def found_ids(answer: bytes) -> list[str]:
    """The ids in an answer, nearest first."""
    ids: list[str] = orjson.loads(answer)["ids"][0]
    return ids
