"""What a build and a search make of a neighbour that refuses, or is away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.api import httpbody_pb2

from lakehouse.catalog.v1 import catalog_pb2
from lakehouse.embed.v1 import embed_pb2
from lakehouse.query.v1 import query_pb2
from lakehouse.vector.v1 import vector_pb2

from services.matrixd.build import Build, Neighbours, Target
from services.matrixd.corpora import Corpora, search_error
from services.matrixd.datasets import Dataset, Datasets
from services.matrixd.errors import CorpusFailed, CorpusNotFound
from services.matrixd.plan import BuildRequest, make_plan
from services.matrixd.texts import Texts
from services.matrixd.together import together
from services.runtime.errors import (
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ServiceError,
    TooLarge,
    Unavailable,
    Violation,
)
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs
from services.runtime.jobs.store import JobStore
from services.runtime.threads import Threads

ROWS = 40


class Outside:
    """Every neighbour as seen over the wire: refuses some texts and ids, and is away for some calls."""

    def __init__(self, *, refused_texts: Iterable[str] = (), refused_ids: Iterable[str] = (), away: int = 0) -> None:
        self.refused_texts = frozenset(refused_texts)
        self.refused_ids = frozenset(refused_ids)
        self.away = away
        self.stored: set[str] = set()
        self.embedded: catalog_pb2.EmbeddingState | None = None

    async def Embed(self, request: embed_pb2.EmbedRequest) -> embed_pb2.EmbedResponse:
        if self.away:
            self.away -= 1
            raise Unavailable("just restarting")
        if not self.refused_texts.isdisjoint(request.texts):
            raise TooLarge("a text is too large")
        embeddings = [embed_pb2.Embedding(values=[1, len(text)]) for text in request.texts]
        return embed_pb2.EmbedResponse(model="m", dimension=2, embeddings=embeddings)

    async def AddItems(self, request: vector_pb2.AddItemsRequest) -> vector_pb2.AddItemsResponse:
        if any(item.id in self.refused_ids for item in request.items):
            raise InvalidArgument.of("items[0]", "is refused")
        self.stored.update(item.id for item in request.items)
        return vector_pb2.AddItemsResponse(added=len(request.items))

    async def QueryArrow(self, request: query_pb2.QueryArrowRequest) -> AsyncIterator[query_pb2.QueryArrowResponse]:
        table = pa.table({"id": list(range(ROWS)), "text": [f"text {number}" for number in range(ROWS)]})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        yield query_pb2.QueryArrowResponse(data=httpbody_pb2.HttpBody(data=sink.getvalue().to_pybytes()))

    async def SetEmbeddingState(
        self, request: catalog_pb2.SetEmbeddingStateRequest
    ) -> catalog_pb2.SetEmbeddingStateResponse:
        self.embedded = request.embedding
        return catalog_pb2.SetEmbeddingStateResponse()


async def built(outside: Any, path: Path) -> Job:
    """The job that builds a corpus of all rows, once it has ended."""
    neighbours = Neighbours(corpora=Corpora(outside, 1), texts=Texts(outside), datasets=Datasets(outside, outside))
    request = BuildRequest(corpus="c", dataset="d", id_column="id", text_columns=["text"])
    dataset = Dataset(name="d", columns=("id", "text"), rows=ROWS, version=7, refresh_policy="manual")
    threads = Threads("refusals-test", 1)
    jobs = Jobs(JobStore(path / "jobs"), threads, concurrent=1, kept=10)
    try:
        build = Build(
            make_plan(request, dataset.columns),
            dataset,
            Target(model="m", dimension=2, new=True),
            neighbours,
            threads=threads,
            scratch=path,
        )
        job = await jobs.submit("test", "c", unit="rows", total=ROWS, work=build.run)
        async with asyncio.timeout(10):
            return [state async for state in jobs.watch(job.id)][-1]
    finally:
        await jobs.close()
        threads.close()


async def test_only_the_row_that_a_neighbour_refuses_fails(tmp_path: Path) -> None:
    outside = Outside(refused_texts={"text 7"}, refused_ids={"11", "39"})
    job = await built(outside, tmp_path)
    assert (job.state, job.done, job.failed) == ("failed", ROWS, 3)
    assert outside.stored == {str(number) for number in range(ROWS)} - {"7", "11", "39"}
    assert sorted(sentence.partition(" ")[0] for sentence in job.failures) == ["'11'", "'39'", "'7'"]
    assert outside.embedded is None


async def test_a_neighbour_that_is_away_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    outside = Outside(away=2)
    job = await built(outside, tmp_path)
    assert (job.state, job.done, job.failed) == ("succeeded", ROWS, 0)
    assert len(outside.stored) == ROWS
    assert outside.embedded is not None
    assert (outside.embedded.embedded_version, outside.embedded.refresh_policy) == (7, "manual")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NotFound("no index"), CorpusNotFound),
        (Unavailable("disk"), CorpusFailed),
        (PermissionDenied("no"), CorpusFailed),
        (DeadlineExceeded("late"), DeadlineExceeded),
    ],
)
def test_a_failed_corpus_fails_the_search_by_name(error: ServiceError, expected: type[ServiceError]) -> None:
    translated = search_error(error, "workers")
    assert type(translated) is expected
    assert translated.metadata.get("corpus", "workers") == "workers"


def test_a_bad_query_is_told_in_the_words_of_the_search() -> None:
    error = InvalidArgument("vector: too short", violations=[Violation("vector", "too short")])
    translated = search_error(error, "workers")
    assert [violation.field for violation in translated.violations] == ["query_vector"]
    assert translated.metadata["corpus"] == "workers"


async def test_the_first_failure_ends_the_others() -> None:
    ended = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        await asyncio.sleep(0)
        raise Unavailable("gone")

    with pytest.raises(Unavailable):
        await together([slow(), failing()])
    await asyncio.wait_for(ended.wait(), 5)
