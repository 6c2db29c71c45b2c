"""What vectord keeps in storaged: sealed segments, a manifest, and nothing of what was deleted (V6)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from lakehouse.storage.v1 import storage_pb2
from lakehouse.storage.v1.storage_pb2_grpc import StorageServiceStub
from lakehouse.vector.v1 import vector_pb2
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from services.mesh import SECTIONS, Mesh
from services.runtime.config import Settings
from services.runtime.errors import NotFound, ServiceError, Unavailable
from services.runtime.floats import set_floats
from services.supervisor.ports import free_port_base

SMALL = {"hot_bytes": 1, "quiet_seconds": 0.05}  # sealed from 256 rows on
NAMES = ["workers", "Bewerber 50%", "ünïcode ☂ 'quoted' \"too\"", "a:b;c,d", "x" * 128]


async def add(mesh: Mesh, name: str, start: int, count: int = 300) -> None:
    random = np.random.default_rng(start)
    request = vector_pb2.AddItemsRequest(name=name)
    for row in range(start, start + count):
        item = request.items.add(id=f"{row:05d}")
        set_floats(item, "vector", random.standard_normal(8).astype(np.float32))
        item.metadata.update({"row": row})
    await vectors(mesh).AddItems(request)


async def create(mesh: Mesh, name: str, bucket: str = "") -> vector_pb2.Index:
    request = vector_pb2.CreateIndexRequest(name=name, dimension=8, metric="l2", bucket=bucket)
    return (await vectors(mesh).CreateIndex(request)).index


def vectors(mesh: Mesh) -> VectorServiceStub:
    return VectorServiceStub(mesh.connect("vectord"))


async def ids(mesh: Mesh, name: str) -> list[str]:
    page = await vectors(mesh).ListItems(vector_pb2.ListItemsRequest(name=name, page_size=10_000))
    return [item.id for item in page.items]


async def index_of(mesh: Mesh, name: str) -> vector_pb2.Index:
    return (await vectors(mesh).GetIndex(vector_pb2.GetIndexRequest(name=name))).index


async def keys(mesh: Mesh, name: str = "", bucket: str = "primary") -> list[str]:
    prefix = f"_vectors/{name}/" if name else "_vectors/"
    stub = StorageServiceStub(mesh.connect("storaged"))
    page = await stub.ListObjects(storage_pb2.ListObjectsRequest(bucket=bucket, prefix=prefix, page_size=10_000))
    return [found.key for found in page.objects]


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - asks another daemon
            await asyncio.sleep(0.02)


async def stored(mesh: Mesh, name: str, bucket: str = "primary") -> list[str]:
    """The segments in storage, once there are as many as the index has and the manifest there names just them."""
    segments: list[str] = []

    async def whole() -> bool:
        nonlocal segments
        index, found = await index_of(mesh, name), await keys(mesh, name, bucket)
        segments = [key for key in found if key.endswith(".lhv1")]
        manifests = [key for key in found if key.endswith("/manifest")]
        if index.hot_count >= 256 or not index.segments == len(segments) > 0 or not manifests:
            return False
        named = re.findall(rb'"sha256":"([0-9a-f]{64})"', await content(mesh, manifests[0], bucket))
        return sorted(one.decode() for one in named) == sorted(map(digest_of, segments))

    await until(whole)
    return segments


async def content(mesh: Mesh, key: str, bucket: str = "primary") -> bytes:
    stub = StorageServiceStub(mesh.connect("storaged"))
    request = storage_pb2.GetObjectRequest(bucket=bucket, key=key)
    return b"".join([piece.data.data async for piece in stub.GetObject(request)])


def digest_of(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".lhv1")


@pytest.mark.requirement("V6")
@pytest.mark.settings(vector=SMALL)
@pytest.mark.parametrize("name", NAMES)
async def test_a_sealed_segment_becomes_an_object_named_by_its_content(mesh: Mesh, name: str) -> None:
    await create(mesh, name)
    await add(mesh, name, 0)
    for key in await stored(mesh, name):
        data = await content(mesh, key)
        assert hashlib.sha256(data).hexdigest() == digest_of(key)
        assert data[:4] == b"LHV1"


@pytest.mark.requirement("V6")
@pytest.mark.settings(vector=SMALL)
async def test_what_was_merged_leaves_storage_after_the_manifest_names_its_successor(mesh: Mesh) -> None:
    await create(mesh, "workers")
    for start in range(0, 3000, 300):
        await add(mesh, "workers", start)

    async def merged() -> bool:
        index, found = await index_of(mesh, "workers"), await keys(mesh, "workers")
        return (index.segments, index.hot_count, len(found)) == (1, 0, 2)

    await until(merged)


@pytest.mark.requirement("V6")
@pytest.mark.settings(vector=SMALL)
async def test_a_deleted_index_leaves_nothing_in_storage_and_its_name_can_be_used_again(mesh: Mesh) -> None:
    for name in ("Workers", "wORKERS"):
        await create(mesh, name)
        await add(mesh, name, 0)
        await stored(mesh, name)
        await vectors(mesh).DeleteIndex(vector_pb2.DeleteIndexRequest(name=name))
        assert await keys(mesh) == []


@pytest.mark.requirement("V6", "S7")
@pytest.mark.settings(vector=SMALL)
async def test_segments_go_to_the_bucket_of_the_index_and_an_unknown_one_is_refused(mesh: Mesh) -> None:
    stub = StorageServiceStub(mesh.connect("storaged"))
    with pytest.raises(NotFound) as refused:
        await create(mesh, "elsewhere", bucket="north")
    assert refused.value.reason == "BUCKET_NOT_FOUND"
    assert "primary" in refused.value.message
    await stub.CreateBucket(storage_pb2.CreateBucketRequest(name="north"))
    await create(mesh, "elsewhere", bucket="north")
    await add(mesh, "elsewhere", 0)
    assert await stored(mesh, "elsewhere", "north")
    assert await keys(mesh) == []


class Stack:
    """storaged and vectord, each started and stopped by itself, on one data directory."""

    def __init__(self, data: Path, ports: int) -> None:
        self._settings = Settings(SECTIONS, overrides={"mesh": {"data": data, "port_base": ports}, "vector": SMALL})
        self.indexes = data / "vectord" / "indexes"
        self.trash = data / "vectord" / "trash"
        self.meshes: dict[str, Mesh] = {}

    async def up(self, *names: str) -> None:
        for name in names:
            self.meshes[name] = Mesh(self._settings, instance_id=name, local=False)
            await self.meshes[name].start([name])
        # Channels of this process share connections, and those to a port that was closed are made anew after a while.
        await until(self._answers)

    async def _answers(self) -> bool:
        try:
            return "storaged" not in self.meshes or await keys(self.meshes["storaged"]) is not None
        except Unavailable:
            return False

    async def down(self, *names: str) -> None:
        for name in names:
            await self.meshes.pop(name).stop(grace=0)

    @property
    def mesh(self) -> Mesh:
        return self.meshes["vectord"]


@asynccontextmanager
async def stack_of(data: Path) -> AsyncIterator[Stack]:
    stack = Stack(data, free_port_base())
    try:
        await stack.up("storaged", "vectord")
        yield stack
    finally:
        await stack.down(*reversed(list(stack.meshes)))


@pytest.fixture
async def stack(tmp_path: Path) -> AsyncIterator[Stack]:
    async with stack_of(tmp_path / "data") as made:
        await create(made.mesh, "workers")
        await add(made.mesh, "workers", 0)
        await stored(made.mesh, "workers")
        yield made


ALL = [f"{row:05d}" for row in range(310)]


@pytest.mark.requirement("V6", "X11")
@pytest.mark.parametrize("damage", ["removed", "cut", "spoilt"])
async def test_a_segment_that_is_lost_here_comes_back_from_storage(stack: Stack, damage: str) -> None:
    await add(stack.mesh, "workers", 290, 20)
    await stack.down("vectord")
    for file in stack.indexes.glob("*/*.lhv1"):
        data = file.read_bytes()
        file.unlink()
        if damage != "removed":
            file.write_bytes(data[:-1] if damage == "cut" else data[:500] + b"\xff\xff" + data[502:])
    await stack.up("vectord")
    assert await ids(stack.mesh, "workers") == ALL
    assert list((await index_of(stack.mesh, "workers")).problems) == []


@pytest.mark.requirement("V6")
async def test_an_index_whose_directory_is_lost_comes_back_as_it_was_stored(stack: Stack) -> None:
    await stack.down("vectord")
    shutil.rmtree(stack.indexes)
    await stack.up("vectord")
    assert await ids(stack.mesh, "workers") == ALL[:300]
    await add(stack.mesh, "workers", 290, 20)
    await stack.down("vectord")
    await stack.up("vectord")
    assert await ids(stack.mesh, "workers") == ALL
    await vectors(stack.mesh).DeleteIndex(vector_pb2.DeleteIndexRequest(name="workers"))
    assert await keys(stack.meshes["storaged"]) == []


@pytest.mark.requirement("V6", "X11")
async def test_an_index_without_its_segments_waits_for_storage_and_the_others_are_served(stack: Stack) -> None:
    await create(stack.mesh, "whole")
    await add(stack.mesh, "whole", 0, 10)
    await stack.down("vectord", "storaged")
    for file in stack.indexes.glob("workers*/*.lhv1"):
        file.unlink()
    await stack.up("vectord")
    assert len(await ids(stack.mesh, "whole")) == 10
    with pytest.raises(Unavailable) as refused:
        await ids(stack.mesh, "workers")
    assert refused.value.reason == "INDEX_OPENING"
    with pytest.raises(ServiceError) as taken:
        await create(stack.mesh, "Workers")
    assert taken.value.reason == "INDEX_EXISTS"
    await stack.up("storaged")

    async def there() -> bool:
        try:
            return await ids(stack.mesh, "workers") == ALL[:300]
        except Unavailable:
            return False

    await until(there)


@pytest.mark.requirement("V6", "X11")
async def test_an_index_serves_and_takes_writes_while_storage_is_away(stack: Stack) -> None:
    await stack.down("storaged")
    await add(stack.mesh, "workers", 300, 400)
    await create(stack.mesh, "made meanwhile")

    async def told() -> bool:
        problems = (await index_of(stack.mesh, "workers")).problems
        return len(problems) == 1 and "wait to be stored" in problems[0]

    await until(told)
    assert len(await ids(stack.mesh, "workers")) == 700
    await stack.up("storaged")
    await stored(stack.mesh, "workers")

    async def mended() -> bool:
        return not (await index_of(stack.mesh, "workers")).problems

    await until(mended)
    assert len(await ids(stack.mesh, "workers")) == 700


@pytest.mark.requirement("V6", "X11")
async def test_what_storage_could_not_delete_it_deletes_later_and_never_brings_back(stack: Stack) -> None:
    await stack.down("storaged")
    await vectors(stack.mesh).DeleteIndex(vector_pb2.DeleteIndexRequest(name="workers"))
    await stack.down("vectord")
    await stack.up("storaged")
    assert await keys(stack.meshes["storaged"])
    await stack.up("vectord")
    assert await keys(stack.mesh) == []
    with pytest.raises(NotFound):
        await ids(stack.mesh, "workers")
    assert list(stack.trash.iterdir()) == []


@pytest.mark.requirement("V6", "X11")
async def test_a_deletion_that_a_crash_cut_short_is_completed(stack: Stack) -> None:
    await stack.down("vectord")
    (directory,) = stack.indexes.iterdir()
    directory.rename(stack.trash / directory.name)
    await stack.up("vectord")
    assert await keys(stack.mesh) == []
    assert list(stack.trash.iterdir()) == []
