"""Refreshing corpora: only what is new or changed is embedded, and nothing is called fresh that is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2

from lakehouse.catalog.v1 import catalog_pb2
from lakehouse.job.v1 import job_pb2
from lakehouse.matrix.v1 import corpus_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from services.runtime.errors import FailedPrecondition, InvalidArgument, NotFound
from tests.contract.corpus_factory import PEOPLE, Factory, eventually, reason_of
from tests.contract.matrix_client import HASH, ids

pytestmark = [HASH, pytest.mark.requirement("M11", "C5")]

HEAD = PEOPLE[0]
TEN = [HEAD, *((n, f"Name {n}", f"operator of crane {n}", "Detroit", n) for n in range(10))]
# 3 new, 2 changed, 1 removed.
NEXT = [
    HEAD,
    (1, "Name 1", "night nurse", "Detroit", 1),
    (2, "Name 2", "day nurse", "Toledo", 2),
    *TEN[4:],
    *((n, f"Name {n}", f"welder {n}", "Akron", n) for n in (20, 21, 22)),
]


@pytest.fixture
def factory(mesh: Mesh) -> Factory:
    return Factory(mesh)


def told(job: job_pb2.Job) -> dict[str, Any]:
    """What a job says it did."""
    assert job.state == "succeeded", job.error
    result = MessageToDict(job.result)
    names = ("rows", "embedded", "updated", "unchanged", "removed", "failed")
    return {name: int(result[name]) for name in names if result[name]}


async def asked(factory: Factory, job: Any) -> tuple[dict[str, Any], int]:
    """What a job did, and how many texts it had embedd embed."""
    before = await factory.texts_asked()
    return told(await job), await factory.texts_asked() - before


@pytest.mark.settings(embed={"cache_size": 0})
async def test_a_refresh_embeds_what_is_new_or_changed_and_the_next_one_nothing(factory: Factory) -> None:
    await factory.dataset(TEN)
    assert await asked(factory, factory.build()) == ({"rows": 10, "embedded": 10}, 11)  # one shows the model
    assert await factory.stale() == {}
    await factory.dataset(NEXT)
    assert await factory.stale() == {"people": ["workers"]}
    did, texts = await asked(factory, factory.refresh())
    assert (did, texts) == ({"rows": 12, "embedded": 5, "unchanged": 7, "removed": 1}, 5)
    assert await factory.stale() == {}
    items = await factory.items()
    assert set(items) == {f"w-{row[0]}" for row in NEXT[1:]}
    assert items["w-2"] == {"id": 2, "name": "Name 2", "city": "Toledo", "years": 2}
    assert ids(await factory.search("workers", query_text="day nurse"))[0] == "w-2"
    state = await factory.state()
    assert state.last_embedded_at.seconds > 1_700_000_000
    version = await factory.catalog.GetVersion(catalog_pb2.GetVersionRequest())
    assert await asked(factory, factory.refresh()) == ({}, 0)
    assert await factory.catalog.GetVersion(catalog_pb2.GetVersionRequest()) == version


async def test_building_again_embeds_nothing_and_mends_what_was_changed_by_hand(factory: Factory) -> None:
    await factory.dataset(TEN)
    await factory.build()
    assert await asked(factory, factory.build()) == ({"rows": 10, "unchanged": 10}, 1)
    await factory.vector.DeleteItems(vector_pb2.DeleteItemsRequest(name="workers", ids=["w-3"]))
    stranger = vector_pb2.AddItemsRequest(name="workers")
    stranger.items.add(id="stranger", vector=[1.0] * 64)
    stranger.items.add(id="w-4", vector=[1.0] * 64).metadata.update({"city": "nowhere"})
    await factory.vector.AddItems(stranger)
    did, _ = await asked(factory, factory.build())
    assert did == {"rows": 10, "embedded": 1, "updated": 1, "unchanged": 8, "removed": 1}
    items = await factory.items()
    assert set(items) == {f"w-{n}" for n in range(10)}
    assert items["w-4"]["city"] == "Detroit"


async def test_new_metadata_needs_no_embedding(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    request = vector_pb2.GetItemsRequest(name="workers", ids=["w-2"])
    before = (await factory.vector.GetItems(request)).items[0]
    await factory.dataset([*PEOPLE[:2], (2, "Ben", "night nurse", "Akron", 5), PEOPLE[3]])
    assert await asked(factory, factory.refresh()) == ({"rows": 3, "updated": 1, "unchanged": 2}, 0)
    after = (await factory.vector.GetItems(request)).items[0]
    assert MessageToDict(after.metadata) == {"id": 2, "name": "Ben", "city": "Akron", "years": 5}
    # Corpora keep float16: what comes back in is rounded once more.
    assert list(after.vector) == pytest.approx(list(before.vector), abs=1e-3)


@pytest.mark.settings(embed={"cache_size": 0})
async def test_a_text_that_many_rows_have_is_embedded_once(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    same = [(n, f"Name {n}", "the very same text", "Akron", n) for n in range(10, 20)]
    await factory.dataset([*PEOPLE, *same])
    assert await asked(factory, factory.refresh()) == ({"rows": 13, "embedded": 10, "unchanged": 3}, 1)
    assert len(await factory.items()) == 13


@pytest.mark.settings(embed={"cache_size": 0})
async def test_of_a_split_text_only_the_changed_pieces_are_embedded(factory: Factory) -> None:
    words = " ".join(f"word{n:03d}" for n in range(40))  # 8 characters a word
    rows = [("id", "bio"), (1, words), (2, words), (3, "short")]
    await factory.dataset(rows)
    await factory.build(chunk_size=40)
    assert len(await factory.items()) == 8 + 8 + 1
    await factory.dataset([rows[0], (1, words.replace("word039", "other39")), (3, "short " * 20)])
    did, texts = await asked(factory, factory.refresh())
    assert did == {"rows": 2, "embedded": 1 + 4, "unchanged": 7, "removed": 8}
    assert texts == 1 + 2  # three of the last text's pieces are the same
    await factory.dataset([rows[0], (1, words[:40]), (3, "short")])
    did, _ = await asked(factory, factory.refresh())
    assert did["removed"] == 7 + 3
    assert set(await factory.items()) == {"w-1#0", "w-3#0"}


async def test_a_text_that_comes_back_is_embedded_again(factory: Factory) -> None:
    other = [HEAD, (1, "Ann", "pastry cook", "Detroit", 3), *PEOPLE[2:]]
    await factory.dataset()
    await factory.build()
    for rows, question in ((other, "pastry cook"), (PEOPLE, "forklift operator"), (other, "pastry cook")):
        await factory.dataset(rows)
        assert told(await factory.refresh()) == {"rows": 3, "embedded": 1, "unchanged": 2}
        found = (await factory.search("workers", query_text=question)).hits[0]
        assert found.id == "w-1"
        assert found.distance == pytest.approx(0, abs=1e-6)


async def test_a_dataset_is_fresh_when_all_its_corpora_are(factory: Factory) -> None:
    await factory.dataset(TEN)
    await factory.build()
    await factory.build(corpus="named", text_columns=["name"], id_prefix="n-")
    assert await factory.stale() == {}
    await factory.dataset(NEXT)
    assert await factory.stale() == {"people": ["named", "workers"]}
    await factory.refresh(corpus="workers")
    assert await factory.stale() == {"people": ["named"]}
    job = await factory.refresh()
    assert told(job) == {"rows": 12, "embedded": 3, "updated": 2, "unchanged": 7, "removed": 1}
    result = MessageToDict(job.result)
    assert ([done["corpus"] for done in result["corpora"]], result["up_to_date"]) == (["named"], ["workers"])
    assert await factory.stale() == {}
    await factory.build(corpus="third", id_prefix="t-")
    assert await factory.stale() == {}


async def test_the_longest_stale_dataset_comes_first(factory: Factory) -> None:
    for name in ("a", "b", "never embedded"):
        await factory.dataset(name=name)
    for name in ("a", "b"):
        await factory.build(corpus=name, dataset=name, id_prefix=name)
    for name in ("never embedded", "b", "a", "b"):
        await factory.dataset([*PEOPLE, (9, name, name, name, 9)], name=name)
        await factory.dataset([*PEOPLE, (10, name, name, name, 9)], name=name)
    assert await factory.stale() == {"b": ["b"], "a": ["a"]}
    response = await factory.stub.ListStale(corpus_pb2.ListStaleRequest())
    first, second = response.datasets
    assert 1_700_000_000 < first.stale_since.ToNanoseconds() / 1e9 < second.stale_since.ToNanoseconds() / 1e9


async def test_rows_that_cannot_be_embedded_leave_the_dataset_stale(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    await factory.dataset([*PEOPLE, (4, "Dan", " ", "Akron", 1), (5, "Eve", "cook", "Akron", 1)])
    for embedded in ("1", "0"):
        job = await factory.refresh()
        assert (job.state, job.failed, reason_of(job)) == ("failed", 1, "ROWS_FAILED")
        assert details_of(job)["embedded"] == embedded
        assert await factory.stale() == {"people": ["workers"]}
    assert set(await factory.items()) == {"w-1", "w-2", "w-3", "w-5"}
    await factory.dataset([*PEOPLE, (5, "Eve", "cook", "Akron", 1)])
    assert told(await factory.refresh()) == {"rows": 4, "unchanged": 4}
    assert await factory.stale() == {}


def details_of(job: job_pb2.Job) -> dict[str, str]:
    info = error_details_pb2.ErrorInfo()
    assert job.error.details[0].Unpack(info)
    return dict(info.metadata)


async def test_a_first_build_that_is_not_whole_leaves_the_dataset_stale(factory: Factory) -> None:
    await factory.dataset([*PEOPLE, (4, "Dan", " ", "Akron", 1)])
    assert (await factory.build()).state == "failed"
    assert await factory.stale() == {"people": ["workers"]}
    await factory.dataset()
    await factory.refresh()
    assert await factory.stale() == {}
    many = [HEAD, *((n, f"Name {n}", f"worker {n}", "Detroit", n) for n in range(1_000))]
    await factory.dataset(many)
    await factory.refresh()
    job = await factory.start(corpus="second", id_prefix="s-", batch_size=8)
    async with asyncio.timeout(30):
        async for response in factory.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job.id)):
            if response.job.done:
                break
    assert await factory.stale() == {"people": ["second"]}
    await factory.stub.CancelJob(corpus_pb2.CancelJobRequest(job_id=job.id))
    embedded = (await factory.state()).last_embedded_at.ToNanoseconds()
    assert await factory.stale() == {"people": ["second"]}
    did = told(await factory.refresh())
    assert did["embedded"] + did["unchanged"] == 1_000
    assert await factory.stale() == {}
    assert (await factory.state()).last_embedded_at.ToNanoseconds() > embedded


async def test_a_dataset_that_changes_while_it_is_embedded_stays_stale(factory: Factory) -> None:
    many = [HEAD, *((n, f"Name {n}", f"worker {n}", "Detroit", n) for n in range(1_000))]
    await factory.dataset(many)
    job = await factory.start(batch_size=8)
    async with asyncio.timeout(30):
        async for response in factory.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job.id)):
            if response.job.done:
                break
    await factory.dataset([*many, (9_999, "Zoe", "welder", "Akron", 1)])
    assert (await factory.ended(job.id)).state == "succeeded"
    assert await factory.stale() == {"people": ["workers"]}
    assert told(await factory.refresh()) == {"rows": 1_001, "embedded": 1, "unchanged": 1_000}
    assert await factory.stale() == {}


async def test_a_changed_recipe_holds_for_later_refreshes(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    job = await factory.build(template="{name}, {bio}", metadata_columns=["city"])
    assert told(job) == {"rows": 3, "embedded": 3}
    await factory.dataset([*PEOPLE, (4, "Dan", "welder", "Akron", 1)])
    assert told(await factory.refresh()) == {"rows": 4, "embedded": 1, "unchanged": 3}
    assert (await factory.items())["w-4"] == {"city": "Akron"}
    found = await factory.search("workers", query_text="Dan, welder")
    assert found.hits[0].distance == pytest.approx(0, abs=1e-6)


async def test_a_corpus_that_was_deleted_and_made_anew_is_embedded_anew(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    await factory.vector.DeleteIndex(vector_pb2.DeleteIndexRequest(name="workers"))
    assert told(await factory.build()) == {"rows": 3, "embedded": 3}


async def test_a_cancelled_refresh_leaves_the_dataset_stale_and_the_next_one_goes_on(factory: Factory) -> None:
    many = [HEAD, *((n, f"Name {n}", f"worker {n}", "Detroit", n) for n in range(1_000))]
    await factory.dataset(many[:2])
    await factory.build(batch_size=8)
    await factory.dataset(many)
    request = corpus_pb2.RefreshCorpusRequest(dataset="people")
    job = (await factory.stub.RefreshCorpus(request)).job
    assert (job.kind, job.subject, job.unit, job.total) == ("corpus.refresh", "people", "rows", 1_000)
    with pytest.raises(FailedPrecondition) as raised:
        await factory.stub.RefreshCorpus(request)
    assert (raised.value.reason, raised.value.metadata["job_id"]) == ("BUILD_RUNNING", job.id)
    with pytest.raises(FailedPrecondition):
        await factory.start()
    async with asyncio.timeout(30):
        async for response in factory.stub.WatchJob(corpus_pb2.WatchJobRequest(job_id=job.id)):
            if response.job.done >= 100:
                break
    cancelled = (await factory.stub.CancelJob(corpus_pb2.CancelJobRequest(job_id=job.id))).job
    assert cancelled.state == "cancelled"
    assert await factory.stale() == {"people": ["workers"]}
    did = told(await factory.refresh())
    assert did["unchanged"] >= cancelled.done
    assert did["embedded"] + did["unchanged"] == 1_000
    assert await factory.stale() == {}


async def test_a_refresh_that_cannot_work_is_refused_at_once(factory: Factory) -> None:
    with pytest.raises(NotFound) as missing:
        await factory.refresh()
    assert missing.value.reason == "DATASET_NOT_FOUND"
    await factory.dataset()
    await factory.dataset(name="others")
    for corpus in ("", "workers"):
        with pytest.raises(NotFound) as missing:
            await factory.refresh(corpus=corpus)
        assert missing.value.reason == "CORPUS_NOT_FOUND"
    await factory.build()
    await factory.texts("foreign", {"a": "nurse"})
    for dataset, corpus in (("others", "workers"), ("people", "foreign")):
        with pytest.raises(InvalidArgument) as refused:
            await factory.refresh(dataset, corpus)
        assert refused.value.violations[0].field == "corpus"
    assert await factory.jobs("corpus.refresh") == []


async def test_a_corpus_that_no_longer_fits_its_dataset_has_to_be_built_again(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    await factory.catalog.DeregisterDataset(catalog_pb2.DeregisterDatasetRequest(name="people"))
    await factory.dataset([("id", "name"), (1, "Ann")])
    with pytest.raises(FailedPrecondition) as raised:
        await factory.refresh()
    assert (raised.value.reason, raised.value.metadata["corpus"]) == ("CANNOT_REFRESH", "workers")


QUICK = pytest.mark.settings(matrix={"watch_seconds": 0.02})


@QUICK
async def test_the_policy_on_append_refreshes_by_itself(factory: Factory) -> None:
    for name in ("people", "manual", "never"):
        await factory.dataset(name=name)
    await factory.build()
    await factory.build(corpus="other", dataset="manual", id_prefix="m-")
    for name in ("people", "never"):
        await factory.policy("on_append", name)
    for name in ("manual", "never", "people"):
        await factory.dataset([*PEOPLE, (4, "Dan", "welder", "Akron", 1)], name=name)
    await eventually(lambda: _is(factory, {"manual": ["other"]}))
    [job] = await factory.jobs("corpus.refresh")
    ended = await factory.ended(job.id)
    assert (ended.subject, told(ended)) == ("people", {"rows": 4, "embedded": 1, "unchanged": 3})
    state = await factory.state()
    assert state.refresh_policy == "on_append"
    await factory.dataset(PEOPLE)
    await eventually(lambda: _is(factory, {"manual": ["other"]}))
    assert set(await factory.items()) == {"w-1", "w-2", "w-3"}


@pytest.mark.settings(matrix={"watch_seconds": 0.02, "refresh_seconds": 1.0})
async def test_the_policy_scheduled_refreshes_when_its_time_has_come(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    embedded = (await factory.state()).last_embedded_at.ToNanoseconds() / 1e9
    await factory.policy("scheduled")
    await factory.dataset([*PEOPLE, (4, "Dan", "welder", "Akron", 1)])
    await eventually(lambda: _is(factory, {}))
    [job] = await factory.jobs("corpus.refresh")
    assert job.created_at.ToNanoseconds() / 1e9 >= embedded + 1.0


@QUICK
async def test_a_dataset_that_becomes_on_append_while_it_is_stale_is_refreshed(factory: Factory) -> None:
    await factory.dataset()
    await factory.build()
    await factory.dataset([*PEOPLE, (4, "Dan", "welder", "Akron", 1)])
    assert await factory.stale() == {"people": ["workers"]}
    await factory.policy("on_append")
    await eventually(lambda: _is(factory, {}))


async def _is(factory: Factory, expected: dict[str, list[str]]) -> bool:
    return await factory.stale() == expected
