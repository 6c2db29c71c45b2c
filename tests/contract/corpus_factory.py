"""What contract tests of builds and refreshes share: rows in, corpora out, and waiting for jobs."""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from google.api import httpbody_pb2
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2

from lakehouse.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from lakehouse.embed.v1 import embed_pb2
from lakehouse.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from lakehouse.job.v1 import job_pb2
from lakehouse.matrix.v1 import corpus_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from tests.contract.matrix_client import Matrix

PEOPLE = (
    ("id", "name", "bio", "city", "years"),
    (1, "Ann", "forklift operator", "Detroit", 3),
    (2, "Ben", "night nurse", "Toledo", 4),
    (3, "Cat", "crane operator", "Detroit", 5),
)


class Factory(Matrix):
    """Ingests rows, builds corpora of them, and waits."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh)
        self.ingest = ingest_pb2_grpc.IngestServiceStub(mesh.connect("ingestd"))
        self.catalog = catalog_pb2_grpc.CatalogServiceStub(mesh.connect("catalogd"))

    async def dataset(self, rows: Sequence[Sequence[Any]] = PEOPLE, name: str = "people") -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)

        async def pieces() -> AsyncIterator[ingest_pb2.IngestRequest]:
            body = httpbody_pb2.HttpBody(data=text.getvalue().encode())
            yield ingest_pb2.IngestRequest(name=name, format="csv", data=body)

        await self.ingest.Ingest(pieces())

    async def start(self, **fields: Any) -> job_pb2.Job:
        values: dict[str, Any] = {"corpus": "workers", "dataset": "people", "id_column": "id", "id_prefix": "w-"}
        if "template" not in fields:
            values["text_columns"] = ["bio"]
        response = await self.stub.BuildCorpus(corpus_pb2.BuildCorpusRequest(**(values | fields)))
        return response.job

    async def ended(self, job_id: str) -> job_pb2.Job:
        async with asyncio.timeout(30):
            states = [r.job async for r in self.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job_id))]
        return states[-1]

    async def build(self, **fields: Any) -> job_pb2.Job:
        return await self.ended((await self.start(**fields)).id)

    async def refresh(self, dataset: str = "people", corpus: str = "") -> job_pb2.Job:
        request = corpus_pb2.RefreshCorpusRequest(dataset=dataset, corpus=corpus)
        return await self.ended((await self.stub.RefreshCorpus(request)).job.id)

    async def stale(self) -> dict[str, list[str]]:
        """The stale datasets, longest stale first, with the corpora that lag."""
        response = await self.stub.ListStale(corpus_pb2.ListStaleRequest())
        return {found.dataset: list(found.corpora) for found in response.datasets}

    async def texts_asked(self) -> int:
        """Texts that embedd was ever asked for, computed or remembered."""
        stats = await self.embed.GetStats(embed_pb2.GetStatsRequest())
        return stats.hits + stats.misses

    async def policy(self, word: str, dataset: str = "people") -> None:
        state = catalog_pb2.EmbeddingState(refresh_policy=word)
        request = catalog_pb2.SetEmbeddingStateRequest(name=dataset, embedding=state)
        await self.catalog.SetEmbeddingState(request)

    async def state(self, dataset: str = "people") -> catalog_pb2.EmbeddingState:
        response = await self.catalog.GetManifest(catalog_pb2.GetManifestRequest(name=dataset))
        return response.manifest.embedding

    async def jobs(self, kind: str) -> list[job_pb2.Job]:
        """The jobs of a kind, oldest first."""
        response = await self.stub.ListJobs(corpus_pb2.ListJobsRequest(page_size=1000))
        return [job for job in reversed(response.jobs) if job.kind == kind]

    async def items(self, corpus: str = "workers") -> dict[str, dict[str, Any]]:
        response = await self.vector.ListItems(vector_pb2.ListItemsRequest(name=corpus, page_size=10_000))
        return {item.id: MessageToDict(item.metadata) for item in response.items}


def reason_of(job: job_pb2.Job) -> str:
    info = error_details_pb2.ErrorInfo()
    assert job.error.details[0].Unpack(info)
    return str(info.reason)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    """Waits for what a daemon does by itself, with a bound."""
    async with asyncio.timeout(seconds):
        for pause in itertools.repeat(0.01):
            if await condition():
                return
            await asyncio.sleep(pause)
