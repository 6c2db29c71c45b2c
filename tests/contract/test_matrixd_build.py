"""Building corpora from datasets: a job from rows in to hits out, with every daemon between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from lakehouse.catalog.v1 import catalog_pb2
from lakehouse.matrix.v1 import corpus_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from services.runtime.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from tests.contract.corpus_factory import PEOPLE, Factory, reason_of
from tests.contract.matrix_client import HASH, ids

pytestmark = HASH


@pytest.fixture
def factory(mesh: Mesh) -> Factory:
    return Factory(mesh)


@pytest.mark.requirement("M11")
async def test_a_dataset_becomes_a_corpus_that_can_be_searched(factory: Factory) -> None:
    await factory.dataset()
    accepted = await factory.start()
    assert (accepted.kind, accepted.subject, accepted.unit, accepted.total) == ("corpus.build", "workers", "rows", 3)
    job = await factory.ended(accepted.id)
    assert (job.state, job.done, job.total, job.failed) == ("succeeded", 3, 3, 0)
    assert job.HasField("started_at")
    assert job.HasField("ended_at")
    assert not job.HasField("error")
    assert not job.HasField("eta_seconds")
    result = MessageToDict(job.result)
    assert (result["corpus"], result["items"], result["model"], result["dimension"]) == ("workers", 3, "hash", 64)
    found = await factory.search("workers", query_text="nurse")
    assert ids(found)[0] == "w-2"
    assert MessageToDict(found.hits[0].metadata) == {"id": 2, "name": "Ben", "city": "Toledo", "years": 4}
    assert found.embedding_model == "hash"
    [corpus] = (await factory.stub.ListCorpora(corpus_pb2.ListCorporaRequest())).corpora
    assert (corpus.name, corpus.count, corpus.embedding_model, corpus.dataset, corpus.metric) == (
        "workers",
        3,
        "hash",
        "people",
        "cosine",
    )


async def test_a_build_is_noted_in_the_catalog(factory: Factory) -> None:
    await factory.dataset()
    request = catalog_pb2.GetManifestRequest(name="people")
    version = (await factory.catalog.GetManifest(request)).manifest.version
    await factory.build()
    state = (await factory.catalog.GetManifest(request)).manifest.embedding
    assert state.embedded_version == version
    assert state.last_embedded_at.seconds > 1_700_000_000
    assert not state.HasField("stale_since")


async def test_a_template_a_model_and_metadata_columns_can_be_chosen(factory: Factory) -> None:
    await factory.dataset()
    job = await factory.build(
        template="{name}: {bio} in {city}", metadata_columns=["city"], model="wordllama", storage_type="float32"
    )
    assert job.state == "succeeded"
    assert await factory.items() == {"w-1": {"city": "Detroit"}, "w-2": {"city": "Toledo"}, "w-3": {"city": "Detroit"}}
    found = await factory.search("workers", query_text="Cat: crane operator in Detroit")
    assert (found.hits[0].id, found.embedding_model) == ("w-3", "wordllama")
    assert found.hits[0].distance == pytest.approx(0, abs=1e-3)


async def test_many_small_batches_make_the_same_corpus(factory: Factory) -> None:
    rows = [("id", "bio"), *((n, f"worker {n}") for n in range(250))]
    await factory.dataset(rows)
    job = await factory.build(batch_size=7)
    assert (job.state, job.done, job.total) == ("succeeded", 250, 250)
    assert set(await factory.items()) == {f"w-{n}" for n in range(250)}


@pytest.mark.requirement("M11")
async def test_long_texts_are_split_and_keep_their_document(factory: Factory) -> None:
    await factory.dataset(
        [("id", "bio", "city"), (1, "alpha beta gamma delta epsilon zeta", "Detroit"), (2, "short", "Toledo")]
    )
    assert (await factory.build(chunk_size=16, chunk_overlap=4)).state == "succeeded"
    items = await factory.items()
    assert {item_id.partition("#")[0] for item_id in items} == {"w-1", "w-2"}
    assert items["w-2#0"] == {"id": 2, "city": "Toledo", "document_id": "w-2", "chunk": 0}
    assert items["w-1#1"]["document_id"] == "w-1"
    assert items["w-1#1"]["chunk"] == 1


@pytest.mark.requirement("M11")
async def test_bad_rows_fail_alone_and_the_job_says_so(factory: Factory) -> None:
    rows = [("id", "bio"), ("a", "nurse"), ("", "nobody"), ("b", " "), ("a", "again"), ("c", "welder")]
    await factory.dataset(rows)
    job = await factory.build()
    assert (job.state, job.done, job.failed) == ("failed", 5, 3)
    assert reason_of(job) == "ROWS_FAILED"
    assert len(job.failures) == 3
    assert not job.HasField("result")
    assert set(await factory.items()) == {"w-a", "w-c"}
    assert ids(await factory.search("workers", query_text="welder"))[0] == "w-c"


async def test_building_again_updates_and_removes_what_is_gone(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    changed = [PEOPLE[0], (2, "Ben", "day nurse", "Akron", 4), (4, "Dan", "welder", "Dayton", 1)]
    await factory.dataset(changed)
    job = await factory.build()
    assert job.state == "succeeded"
    assert MessageToDict(job.result)["removed"] == 2
    items = await factory.items()
    assert set(items) == {"w-2", "w-4"}
    assert items["w-2"]["city"] == "Akron"
    assert ids(await factory.search("workers", query_text="welder"))[0] == "w-4"


async def test_large_integers_dates_and_missing_values_are_kept(factory: Factory) -> None:
    await factory.dataset(
        [
            ("id", "bio", "big", "day", "rate"),
            (1, "nurse", 9007199254740993, "2026-03-01", 1.5),
            (2, "cook", 7, "2026-03-02", ""),
        ]
    )
    assert (await factory.build()).state == "succeeded"
    items = await factory.items()
    assert items["w-1"] == {"id": 1, "big": "9007199254740993", "day": "2026-03-01", "rate": 1.5}
    assert items["w-2"]["rate"] is None


async def test_names_with_quotes_and_spaces_work(factory: Factory) -> None:
    rows = [("the id", 'bio "x"'), (1, "nurse")]
    await factory.dataset(rows, 'my "people"')
    job = await factory.build(
        dataset='my "people"', corpus="Bewerber 50%", id_column="the id", text_columns=['bio "x"'], id_prefix=""
    )
    assert job.state == "succeeded"
    assert set(await factory.items("Bewerber 50%")) == {"1"}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"id_column": "ident"}, "id_column"),
        ({"id_column": ""}, "id_column"),
        ({"text_columns": ["bios"]}, "text_columns"),
        ({"metadata_columns": ["town"]}, "metadata_columns"),
        ({"template": "{nickname}"}, "template"),
        ({"text_columns": []}, "text_columns"),
        ({"chunk_size": 16, "chunk_overlap": 16}, "chunk_overlap"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
async def test_a_build_that_cannot_work_is_refused_at_once(
    factory: Factory, fields: dict[str, Any], field: str
) -> None:
    await factory.dataset()
    with pytest.raises(InvalidArgument) as raised:
        await factory.start(**fields)
    assert raised.value.violations[0].field == field
    assert (await factory.stub.ListJobs(corpus_pb2.ListJobsRequest())).jobs == []


async def test_an_unknown_dataset_or_model_is_not_found(factory: Factory) -> None:
    with pytest.raises(NotFound) as raised:
        await factory.start(dataset="nowhere")
    assert raised.value.reason == "DATASET_NOT_FOUND"
    await factory.dataset()
    with pytest.raises(NotFound) as raised:
        await factory.start(model="gpt")
    assert raised.value.reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("difference", [{"model": "wordllama"}, {"dataset": "others"}, {"storage_type": "int8"}])
async def test_a_corpus_made_from_something_else_is_a_conflict(factory: Factory, difference: dict[str, Any]) -> None:
    await factory.dataset()
    await factory.dataset(name="others")
    await factory.build()
    with pytest.raises(AlreadyExists) as raised:
        await factory.start(**difference)
    assert raised.value.reason == "CORPUS_CONFLICT"


async def test_an_index_that_no_build_made_is_a_conflict(factory: Factory) -> None:
    await factory.dataset()
    await factory.texts("workers", {"a": "nurse"})
    with pytest.raises(AlreadyExists) as raised:
        await factory.start()
    assert raised.value.reason == "CORPUS_CONFLICT"


async def test_ids_that_mean_something_else_elsewhere_need_a_prefix(factory: Factory) -> None:
    await factory.dataset()
    await factory.dataset([("id", "bio"), (2, "another"), (99, "more")], "others")
    assert (await factory.build(id_prefix="")).state == "succeeded"
    with pytest.raises(InvalidArgument) as raised:
        await factory.start(corpus="second", dataset="others", id_prefix="")
    assert raised.value.reason == "SHARED_IDS"
    assert raised.value.violations[0].field == "id_prefix"
    assert (await factory.build(corpus="second", dataset="others", id_prefix="e-")).state == "succeeded"
    assert (await factory.build(corpus="again", id_prefix="")).state == "succeeded"


async def test_a_corpus_is_built_by_one_job_at_a_time_and_a_job_can_be_cancelled(factory: Factory) -> None:
    await factory.dataset([("id", "bio"), *((n, f"worker {n} of the night shift") for n in range(20_000))])
    job = await factory.start(batch_size=16, model="wordllama")
    with pytest.raises(FailedPrecondition) as raised:
        await factory.start(corpus="Workers", model="wordllama")
    assert raised.value.reason == "BUILD_RUNNING"
    assert raised.value.metadata["job_id"] == job.id
    async with asyncio.timeout(30):
        async for response in factory.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job.id)):
            if response.job.done >= 32:
                break
    cancelled = (await factory.stub.CancelJob(corpus_pb2.CancelJobRequest(job_id=job.id))).job
    assert cancelled.state == "cancelled"
    assert 32 <= cancelled.done < 20_000
    count = len(await factory.items())
    assert 32 <= count < 20_000
    again = await factory.ended(job.id)
    assert (again.state, again.done) == ("cancelled", cancelled.done)


async def test_a_running_job_tells_rate_and_time_left(factory: Factory) -> None:
    await factory.dataset([("id", "bio"), *((n, f"worker {n}") for n in range(3_000))])
    job = await factory.start(batch_size=10)
    states = [r.job async for r in factory.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job.id))]
    running = [state for state in states if state.state == "running" and state.done > 20]
    assert running
    assert all(state.rate > 0 and state.eta_seconds >= 0 and state.total == 3_000 for state in running)
    assert [state.done for state in states] == sorted(state.done for state in states)
    assert states[-1].rate > 0


async def test_two_builds_of_one_corpus_at_once_make_one_job(factory: Factory) -> None:
    await factory.dataset()
    results = await asyncio.gather(factory.start(), factory.start(), return_exceptions=True)
    refused = [result for result in results if isinstance(result, FailedPrecondition)]
    assert [error.reason for error in refused] == ["BUILD_RUNNING"]
    [job] = (await factory.stub.ListJobs(corpus_pb2.ListJobsRequest())).jobs
    assert (await factory.ended(job.id)).state == "succeeded"


async def test_jobs_are_listed_newest_first(factory: Factory) -> None:
    await factory.dataset()
    made = [(await factory.build(corpus=f"c{n}")).id for n in range(3)]
    page = await factory.stub.ListJobs(corpus_pb2.ListJobsRequest(page_size=2))
    rest = await factory.stub.ListJobs(corpus_pb2.ListJobsRequest(page_token=page.next_page_token))
    assert [job.id for job in (*page.jobs, *rest.jobs)] == made[::-1]
    assert (await factory.stub.GetJob(corpus_pb2.GetJobRequest(job_id=made[0]))).job == rest.jobs[0]
    with pytest.raises(InvalidArgument) as raised:
        await factory.stub.ListJobs(corpus_pb2.ListJobsRequest(page_token="ü"))
    assert raised.value.violations[0].field == "page_token"


async def test_an_unknown_job_is_not_found_on_every_route(factory: Factory) -> None:
    with pytest.raises(NotFound) as raised:
        await factory.stub.GetJob(corpus_pb2.GetJobRequest(job_id="x"))
    assert raised.value.reason == "JOB_NOT_FOUND"
    with pytest.raises(NotFound):
        await factory.stub.CancelJob(corpus_pb2.CancelJobRequest(job_id="x"))
    with pytest.raises(NotFound):
        await factory.ended("x")


async def test_a_deleted_corpus_ends_its_build_with_a_reason(factory: Factory) -> None:
    await factory.dataset([("id", "bio"), *((n, f"worker {n} of the night shift") for n in range(10_000))])
    job = await factory.start(batch_size=16)
    async with asyncio.timeout(30):
        async for response in factory.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job.id)):
            if response.job.done:
                break
    await factory.vector.DeleteIndex(vector_pb2.DeleteIndexRequest(name="workers"))
    ended = await factory.ended(job.id)
    assert ended.state == "failed"
    assert reason_of(ended) == "CORPUS_NOT_FOUND"


async def test_a_dataset_without_rows_makes_an_empty_corpus(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    await factory.dataset([PEOPLE[0], PEOPLE[1]])
    assert set(await factory.items()) == {"w-1", "w-2", "w-3"}
    assert (await factory.build()).state == "succeeded"
    assert set(await factory.items()) == {"w-1"}
