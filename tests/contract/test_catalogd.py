"""catalogd through its contract, on both legs, over a real storaged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.api import httpbody_pb2
from google.protobuf import timestamp_pb2

from lakehouse.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.mesh import SECTIONS, Mesh
from services.runtime.config import Settings
from services.runtime.errors import AlreadyExists, InvalidArgument, NotFound, TooLarge, Unimplemented

AWKWARD_NAMES = ["Größe 100%: 'x'", "日" * 128, "a%2Fb", "..x", 'it\'s "quoted"', "x" * 128]
NOW = datetime(2024, 5, 6, tzinfo=UTC)


@pytest.fixture
def catalog(mesh: Mesh) -> catalog_pb2_grpc.CatalogServiceStub:
    return catalog_pb2_grpc.CatalogServiceStub(mesh.connect("catalogd"))


@pytest.fixture
def storage(mesh: Mesh) -> storage_pb2_grpc.StorageServiceStub:
    return storage_pb2_grpc.StorageServiceStub(mesh.connect("storaged"))


def part(key: str, *, rows: int = 10, sha256: str = "ab", bucket: str = "") -> catalog_pb2.DataObject:
    return catalog_pb2.DataObject(bucket=bucket, key=key, size=rows * 100, sha256=sha256, row_count=rows)


def wanted(name: str, *keys: str, **fields: object) -> catalog_pb2.RegisterDatasetRequest:
    fields = {"schema_fingerprint": "f1", "objects": [part(key) for key in keys], **fields}
    return catalog_pb2.RegisterDatasetRequest(name=name, **fields)  # type: ignore[arg-type]  # names are the contract's


async def version(catalog: catalog_pb2_grpc.CatalogServiceStub) -> int:
    return (await catalog.GetVersion(catalog_pb2.GetVersionRequest())).version


async def manifest(catalog: catalog_pb2_grpc.CatalogServiceStub, name: str) -> catalog_pb2.Manifest:
    return (await catalog.GetManifest(catalog_pb2.GetManifestRequest(name=name))).manifest


async def names(catalog: catalog_pb2_grpc.CatalogServiceStub) -> list[str]:
    return [each.name for each in (await catalog.ListDatasets(catalog_pb2.ListDatasetsRequest())).datasets]


async def put(storage: storage_pb2_grpc.StorageServiceStub, key: str, data: bytes) -> None:
    async def requests() -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(key=key, data=httpbody_pb2.HttpBody(data=data))

    await storage.PutObject(requests())


@asynccontextmanager
async def restarted(mesh: Mesh, tmp_path: Path) -> AsyncIterator[Mesh]:
    """The same data under new daemons."""
    await mesh.stop(grace=0)
    settings = Settings(SECTIONS, overrides={"mesh": {"data": tmp_path / "data"}})
    again = Mesh(settings, instance_id="again", ephemeral=True)
    await again.start(["storaged", "catalogd"])
    yield again
    await again.stop(grace=0)


def moment(when: datetime) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromDatetime(when)
    return stamp


@pytest.mark.requirement("C2")
async def test_a_new_dataset_is_found_with_everything_that_was_said_of_it(
    catalog: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    request = wanted(
        "Workers",
        "datasets/a.parquet",
        "datasets/b.parquet",
        columns=[
            catalog_pb2.Column(name="id", type="int64"),
            catalog_pb2.Column(name="email", type="string", pii="email", sensitivity="pii"),
            catalog_pb2.Column(name="rate", type="double", scale=0),
        ],
        lineage=catalog_pb2.Lineage(
            source_system="postgres", source="postgres://u:hunter2@db/x", ingested_by="ingestd"
        ),
    )
    response = await catalog.RegisterDataset(request)
    assert (response.created, response.changed) == (True, True)
    found = response.manifest
    assert found.dataset_id == "331a2aba-b2ef-5294-b3e0-5267bc7dd51f"
    assert (found.row_count, found.size, found.version) == (20, 2000, await version(catalog))
    assert [column.sensitivity for column in found.columns] == ["internal", "pii", "internal"]
    assert [column.HasField("scale") for column in found.columns] == [False, False, True]
    assert [each.bucket for each in found.objects] == ["primary", "primary"]
    assert found.lineage.source == "postgres://***@db/x"
    assert found.embedding == catalog_pb2.EmbeddingState(refresh_policy="manual")
    assert found.created_at == found.updated_at
    assert await manifest(catalog, "wORKERS") == found
    assert list((await catalog.ListDatasets(catalog_pb2.ListDatasetsRequest())).datasets) == [found]


async def test_the_same_again_changes_nothing_and_takes_no_version(
    catalog: catalog_pb2_grpc.CatalogServiceStub,
) -> None:
    first = await catalog.RegisterDataset(wanted("a", "k"))
    again = await catalog.RegisterDataset(wanted("a", "k"))
    assert (again.created, again.changed) == (False, False)
    assert again.manifest == first.manifest
    assert await version(catalog) == first.manifest.version


async def test_replacing_and_appending(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    first = (await catalog.RegisterDataset(wanted("a", "k1"))).manifest
    appended = (await catalog.RegisterDataset(wanted("a", "k2", "k1", mode="append"))).manifest
    assert [each.key for each in appended.objects] == ["k1", "k2"]
    replaced = await catalog.RegisterDataset(wanted("a", "k3"))
    assert [each.key for each in replaced.manifest.objects] == ["k3"]
    assert (replaced.created, replaced.changed) == (False, True)
    assert replaced.manifest.dataset_id == first.dataset_id
    assert first.version < appended.version < replaced.manifest.version


@pytest.mark.requirement("C1")
async def test_conflicts_change_nothing(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    first = (await catalog.RegisterDataset(wanted("Workers", "k"))).manifest
    with pytest.raises(AlreadyExists) as schema:
        await catalog.RegisterDataset(wanted("Workers", "k2", schema_fingerprint="f2"))
    assert schema.value.reason == "SCHEMA_CONFLICT"
    with pytest.raises(AlreadyExists) as name:
        await catalog.RegisterDataset(wanted("workers", "k2"))
    assert (name.value.reason, name.value.metadata) == ("NAME_CONFLICT", {"name": "Workers"})
    assert await manifest(catalog, "Workers") == first
    assert await version(catalog) == first.version


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("name", wanted("", "k")),
        ("name", wanted("a/b", "k")),
        ("schema_fingerprint", wanted("a", "k", schema_fingerprint="")),
        ("objects[1].key", wanted("a", "k", "")),
        ("objects[0].key", wanted("a", "k/../l")),
        ("mode", wanted("a", "k", mode="upsert")),
    ],
)
async def test_a_request_that_can_never_work_names_its_field(
    catalog: catalog_pb2_grpc.CatalogServiceStub, field: str, request_: catalog_pb2.RegisterDatasetRequest
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await catalog.RegisterDataset(request_)
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_more_rows_than_a_count_can_hold_are_refused(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    objects = [part("a", rows=2**31 - 1), part("b", rows=1)]
    with pytest.raises(TooLarge) as caught:
        await catalog.RegisterDataset(wanted("a", objects=objects))
    assert caught.value.reason == "TOO_MANY_ROWS"


@pytest.mark.parametrize("name", AWKWARD_NAMES)
async def test_a_legal_name_survives_everywhere(
    catalog: catalog_pb2_grpc.CatalogServiceStub, mesh: Mesh, tmp_path: Path, name: str
) -> None:
    made = (await catalog.RegisterDataset(wanted(name, "k"))).manifest
    assert made.name == name
    async with restarted(mesh, tmp_path) as again:
        found = catalog_pb2_grpc.CatalogServiceStub(again.connect("catalogd"))
        assert await manifest(found, name) == made


async def test_a_missing_dataset_is_not_found_on_every_route(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    await catalog.RegisterDataset(wanted("Workers", "k"))
    state = catalog_pb2.SetEmbeddingStateRequest(name="worker", embedding=catalog_pb2.EmbeddingState())
    for attempt in (
        catalog.GetManifest(catalog_pb2.GetManifestRequest(name="worker")),
        catalog.DeregisterDataset(catalog_pb2.DeregisterDatasetRequest(name="worker")),
        catalog.SetEmbeddingState(state),
    ):
        with pytest.raises(NotFound) as caught:
            await attempt
        assert (caught.value.reason, caught.value.metadata["nearest"]) == ("DATASET_NOT_FOUND", "Workers")


@pytest.mark.requirement("C4")
async def test_datasets_are_listed_in_pages_by_name(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    for name in ("c", "a", "b"):
        await catalog.RegisterDataset(wanted(name, "k"))
    first = await catalog.ListDatasets(catalog_pb2.ListDatasetsRequest(page_size=2))
    rest = await catalog.ListDatasets(catalog_pb2.ListDatasetsRequest(page_size=2, page_token=first.next_page_token))
    assert [each.name for each in (*first.datasets, *rest.datasets)] == ["a", "b", "c"]
    assert (rest.next_page_token, rest.version) == ("", await version(catalog))


async def test_appends_at_once_lose_nothing(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    await asyncio.gather(
        *(catalog.RegisterDataset(wanted("a", f"k{number:02}", mode="append")) for number in range(20)),
        *(catalog.RegisterDataset(wanted(f"other {number}", "k")) for number in range(5)),
    )
    assert sorted(each.key for each in (await manifest(catalog, "a")).objects) == [f"k{n:02}" for n in range(20)]
    assert await version(catalog) == 25


async def test_readers_see_the_old_objects_or_the_new_ones(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    sets = [[f"{number}/a", f"{number}/b", f"{number}/c"] for number in range(10)]
    await catalog.RegisterDataset(wanted("a", *sets[0]))

    async def replace() -> None:
        for keys in sets[1:]:
            await catalog.RegisterDataset(wanted("a", *keys))

    replacing = asyncio.create_task(replace())
    while not replacing.done():
        assert [each.key for each in (await manifest(catalog, "a")).objects] in sets
        # On the local leg a call from memory ends without giving anybody else a turn.
        await asyncio.sleep(0)
    await replacing


async def test_removing_a_dataset_leaves_its_objects_alone(
    catalog: catalog_pb2_grpc.CatalogServiceStub, storage: storage_pb2_grpc.StorageServiceStub
) -> None:
    await put(storage, "datasets/k", b"rows")
    made = (await catalog.RegisterDataset(wanted("Workers", "datasets/k"))).manifest
    removed = await catalog.DeregisterDataset(catalog_pb2.DeregisterDatasetRequest(name="workers"))
    assert removed.manifest == made
    assert removed.version == await version(catalog) == made.version + 1
    assert await names(catalog) == []
    await storage.StatObject(storage_pb2.StatObjectRequest(key="datasets/k"))
    renewed = await catalog.RegisterDataset(wanted("workers", "datasets/k", schema_fingerprint="f2"))
    assert renewed.created


@pytest.mark.requirement("C3")
async def test_everything_comes_back_after_a_restart(
    catalog: catalog_pb2_grpc.CatalogServiceStub, mesh: Mesh, tmp_path: Path
) -> None:
    made = [(await catalog.RegisterDataset(wanted(name, "k"))).manifest for name in ("a", "b")]
    async with restarted(mesh, tmp_path) as again:
        found = catalog_pb2_grpc.CatalogServiceStub(again.connect("catalogd"))
        response = await found.ListDatasets(catalog_pb2.ListDatasetsRequest())
        assert list(response.datasets) == made
        assert list(response.problems) == []
        assert response.version > made[-1].version


@pytest.mark.requirement("C4")
async def test_the_version_never_goes_back_even_when_the_newest_dataset_was_removed(
    catalog: catalog_pb2_grpc.CatalogServiceStub, mesh: Mesh, tmp_path: Path
) -> None:
    await catalog.RegisterDataset(wanted("a", "k"))
    await catalog.RegisterDataset(wanted("b", "k"))
    last = (await catalog.DeregisterDataset(catalog_pb2.DeregisterDatasetRequest(name="b"))).version
    async with restarted(mesh, tmp_path) as again:
        found = catalog_pb2_grpc.CatalogServiceStub(again.connect("catalogd"))
        assert await version(found) > last
        assert (await found.RegisterDataset(wanted("c", "k"))).manifest.version > last + 1


async def test_the_manifests_alone_tell_the_version_when_its_own_object_is_damaged(
    catalog: catalog_pb2_grpc.CatalogServiceStub,
    storage: storage_pb2_grpc.StorageServiceStub,
    mesh: Mesh,
    tmp_path: Path,
) -> None:
    made = (await catalog.RegisterDataset(wanted("a", "k"))).manifest
    await put(storage, "_catalog/version.json", b"{")
    async with restarted(mesh, tmp_path) as again:
        found = catalog_pb2_grpc.CatalogServiceStub(again.connect("catalogd"))
        assert await version(found) > made.version
        problems = (await found.ListDatasets(catalog_pb2.ListDatasetsRequest())).problems
        assert [problem.partition(":")[0] for problem in problems] == ["_catalog/version.json"]


@pytest.mark.requirement("C3")
async def test_a_bad_manifest_is_reported_and_skipped_until_it_is_replaced(
    catalog: catalog_pb2_grpc.CatalogServiceStub,
    storage: storage_pb2_grpc.StorageServiceStub,
    mesh: Mesh,
    tmp_path: Path,
) -> None:
    for name in ("a", "b", "c"):
        await catalog.RegisterDataset(wanted(name, "k"))
    await put(storage, "_catalog/manifests/b.parquet", b"PAR1 but no more")
    (file,) = (tmp_path / "data" / "storaged").glob("file/primary-*/objects/_catalog/manifests/c.parquet.object")
    file.write_bytes(file.read_bytes()[:-1])
    async with restarted(mesh, tmp_path) as again:
        found = catalog_pb2_grpc.CatalogServiceStub(again.connect("catalogd"))
        assert await names(found) == ["a"]
        problems = (await found.ListDatasets(catalog_pb2.ListDatasetsRequest())).problems
        assert sorted(problem.partition(":")[0] for problem in problems) == [
            "_catalog/manifests/b.parquet",
            "_catalog/manifests/c.parquet",
        ]
        assert (await found.RegisterDataset(wanted("b", "k"))).created
        assert len((await found.ListDatasets(catalog_pb2.ListDatasetsRequest())).problems) == 1
        assert await names(found) == ["a", "b"]


async def test_the_embedding_state_follows_the_rows(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    first = (await catalog.RegisterDataset(wanted("a", "k1"))).manifest
    report = catalog_pb2.SetEmbeddingStateRequest(
        name="A",
        embedding=catalog_pb2.EmbeddingState(
            last_embedded_at=moment(NOW), refresh_policy="on_append", embedded_version=first.version
        ),
    )
    told = (await catalog.SetEmbeddingState(report)).manifest
    assert told.embedding == report.embedding
    assert told.version == first.version + 1
    assert (await catalog.SetEmbeddingState(report)).manifest == told
    stale = (await catalog.RegisterDataset(wanted("a", "k2", mode="append"))).manifest
    assert stale.embedding.HasField("stale_since")
    assert (await catalog.SetEmbeddingState(report)).manifest.embedding.HasField("stale_since")
    report.embedding.last_embedded_at.CopyFrom(moment(NOW + timedelta(hours=1)))
    report.embedding.embedded_version = stale.version
    assert not (await catalog.SetEmbeddingState(report)).manifest.embedding.HasField("stale_since")


async def test_a_moment_that_no_calendar_has_is_refused(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    await catalog.RegisterDataset(wanted("a", "k"))
    state = catalog_pb2.EmbeddingState(last_embedded_at=timestamp_pb2.Timestamp(seconds=2**62))
    with pytest.raises(InvalidArgument):
        await catalog.SetEmbeddingState(catalog_pb2.SetEmbeddingStateRequest(name="a", embedding=state))


@pytest.mark.requirement("C6")
async def test_legacy_buckets_are_renamed_once_and_real_ones_never(
    catalog: catalog_pb2_grpc.CatalogServiceStub, storage: storage_pb2_grpc.StorageServiceStub
) -> None:
    await storage.CreateBucket(storage_pb2.CreateBucketRequest(name="local"))
    objects = [part("k1", bucket="data"), part("k2", bucket="local"), part("k3", bucket="primary"), part("k4")]
    await catalog.RegisterDataset(wanted("a", objects=objects))
    first = await catalog.MigrateBuckets(catalog_pb2.MigrateBucketsRequest())
    assert (first.renamed, first.unchanged) == (1, 3)
    buckets = [each.bucket for each in (await manifest(catalog, "a")).objects]
    assert buckets == ["primary", "local", "primary", "primary"]
    again = await catalog.MigrateBuckets(catalog_pb2.MigrateBucketsRequest())
    assert (again.renamed, again.unchanged) == (0, 4)


async def test_subjects_are_not_in_this_release(catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
    with pytest.raises(Unimplemented):
        await catalog.GetSubject(catalog_pb2.GetSubjectRequest(subject_id="s"))
