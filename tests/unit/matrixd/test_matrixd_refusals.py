"""What a build and a search make of a neighbour that refuses, or is away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.api import httpbody_pb2

from lakehouse.embed.v1 import embed_pb2
from lakehouse.query.v1 import query_pb2
from lakehouse.vector.v1 import vector_pb2

from services.matrixd.corpora.build import Build, Neighbours, Target
from services.matrixd.corpora.corpora import Corpora, search_error
from services.matrixd.corpora.datasets import Datasets
from services.matrixd.corpora.ledger import Ledger
from services.matrixd.corpora.passes import summary
from services.matrixd.corpora.plan import BuildRequest, make_plan
from services.matrixd.corpora.rows import Piece
from services.matrixd.corpora.texts import Texts
from services.matrixd.errors import CorpusFailed, CorpusNotFound
from services.matrixd.retrieval.together import together
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
from services.runtime.jobs.jobs import Jobs, Progress
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


class Slow(Outside):
    """A model that is far away: its first answer comes when it was asked twice."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = self.most = 0
        self.two = asyncio.Event()

    async def Embed(self, request: embed_pb2.EmbedRequest) -> embed_pb2.EmbedResponse:
        self.busy += 1
        self.most = max(self.most, self.busy)
        if self.busy == 2:
            self.two.set()
        await self.two.wait()
        try:
            return await super().Embed(request)
        finally:
            self.busy -= 1


class Cut(Outside):
    """An index that has every item, takes new ones, and is never heard of again."""

    async def GetItems(self, request: vector_pb2.GetItemsRequest) -> vector_pb2.GetItemsResponse:
        response = vector_pb2.GetItemsResponse()
        for item_id in request.ids:
            response.items.add(id=item_id).metadata.update({"id": int(item_id)})
        return response

    async def AddItems(self, request: vector_pb2.AddItemsRequest) -> vector_pb2.AddItemsResponse:
        await super().AddItems(request)
        raise DeadlineExceeded("no answer")


async def built(outside: Any, path: Path, known: Mapping[str, str] | None = None) -> tuple[Job, Ledger]:
    """The job that builds a corpus of all rows, once it has ended, and what it noted of their texts."""
    neighbours = Neighbours(corpora=Corpora(outside, 1), texts=Texts(outside), datasets=Datasets(outside, outside))
    request = BuildRequest(corpus="c", dataset="d", id_column="id", text_columns=["text"], batch_size=5)
    plan = make_plan(request, ("id", "text"))
    ledger = Ledger(path / "ledger", "c")
    ledger.note(known or {})
    threads = Threads("refusals-test", 1)
    jobs = Jobs(JobStore(path / "jobs"), threads, concurrent=1, kept=10)
    try:
        target = Target(model="m", dimension=2, new=known is None)
        build = Build(plan, target, neighbours, ledger, threads=threads, scratch=path, in_flight=2)

        async def work(progress: Progress) -> dict[str, Any]:
            return summary(await build.run(progress))

        job = await jobs.submit("test", "c", unit="rows", total=ROWS, work=work)
        async with asyncio.timeout(10):
            return [state async for state in jobs.watch(job.id)][-1], ledger
    finally:
        await jobs.close()
        threads.close()
        ledger.close()


async def test_only_the_row_that_a_neighbour_refuses_fails(tmp_path: Path) -> None:
    outside = Outside(refused_texts={"text 7"}, refused_ids={"11", "39"})
    job, ledger = await built(outside, tmp_path)
    assert (job.state, job.done, job.failed) == ("succeeded", ROWS, 3)
    assert job.result is not None
    assert (job.result["rows"], job.result["embedded"], job.result["failed"]) == (ROWS, ROWS - 3, 3)
    assert outside.stored == {str(number) for number in range(ROWS)} - {"7", "11", "39"}
    assert {str(number) for number in range(ROWS) if ledger.get(str(number))} == outside.stored
    assert sorted(sentence.partition(" ")[0] for sentence in job.failures) == ["'11'", "'39'", "'7'"]


async def test_a_neighbour_that_is_away_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    outside = Outside(away=2)
    job, ledger = await built(outside, tmp_path)
    assert (job.state, job.done, job.failed) == ("succeeded", ROWS, 0)
    assert len(outside.stored) == len(ledger) == ROWS


async def test_a_text_is_forgotten_before_its_item_changes(tmp_path: Path) -> None:
    cut = Cut()
    known = {str(number): Piece(0, "", f"text {number}", {}).digest for number in range(ROWS) if number != 13}
    job, ledger = await built(cut, tmp_path, {**known, "13": "of an older text"})
    assert (job.state, cut.stored) == ("failed", {"13"})
    assert ledger.get("13") is None
    assert len(ledger) == ROWS - 1


async def test_several_batches_are_embedded_at_once_but_only_so_many(tmp_path: Path) -> None:
    slow = Slow()
    job, _ = await built(slow, tmp_path)
    assert (job.state, job.done, slow.most) == ("succeeded", ROWS, 2)
    assert len(slow.stored) == ROWS


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
