"""The cache of data files: whole or absent, within its budget, one download for all who wait."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from services.queryd.cache import FileCache
from services.queryd.errors import CacheBusy, CacheTooSmall, DatasetUnreadable
from services.queryd.views import DataFile, data_path
from services.runtime.errors import NotFound

pytestmark = pytest.mark.requirement("Q3")


class Store:
    """Objects that can be damaged, withheld and counted."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self.answers: dict[str, list[bytes]] = {}
        """What the next fetches of a key return in the place of the object."""
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        self.gate.set()

    def put(self, key: str, content: bytes) -> DataFile:
        self.objects[key] = content
        digest = hashlib.sha256(content).hexdigest()
        return DataFile(dataset=f"dataset of {key}", bucket="", key=key, size=len(content), sha256=digest)

    async def fetch(self, file: DataFile) -> AsyncGenerator[bytes, None]:
        self.fetched.append(file.key)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
            if file.key not in self.objects:
                raise NotFound(f"there is no object {file.key}")
            content = self.answers[file.key].pop(0) if self.answers.get(file.key) else self.objects[file.key]
            for start in range(0, len(content), 7):
                yield content[start : start + 7]
        finally:
            self.running -= 1


@pytest.fixture
async def store() -> Store:
    return Store()


MakeCache = Callable[..., Awaitable[FileCache]]


@pytest.fixture
async def make_cache(store: Store, tmp_path: Path) -> AsyncIterator[MakeCache]:
    made: list[FileCache] = []

    async def make(*, budget: int = 1_000, downloads: int = 4) -> FileCache:
        made.append(FileCache(tmp_path / "cache", budget=budget, downloads=downloads, fetch=store.fetch))
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


def held(tmp_path: Path) -> set[str]:
    return {path.stem for path in (tmp_path / "cache").iterdir()}


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.001)


async def test_a_file_is_fetched_once_and_then_found(store: Store, make_cache: MakeCache, tmp_path: Path) -> None:
    cache = await make_cache()
    file = store.put("a", b"x" * 100)
    for _ in range(3):
        async with cache.lease([file]):
            assert data_path(tmp_path / "cache", file.sha256).read_bytes() == b"x" * 100
    assert store.fetched == ["a"]
    assert (cache.stats.hits, cache.stats.misses, cache.stats.files, cache.stats.size) == (2, 1, 1, 100)


async def test_many_who_need_one_file_cause_one_download(store: Store, make_cache: MakeCache) -> None:
    cache = await make_cache()
    file = store.put("a", b"x" * 100)
    store.gate.clear()

    async def use() -> None:
        async with cache.lease([file]):
            pass

    users = [asyncio.create_task(use()) for _ in range(10)]
    await settled(lambda: store.running == 1)
    store.gate.set()
    await asyncio.gather(*users)
    assert store.fetched == ["a"]


async def test_files_of_one_lease_arrive_side_by_side_within_the_limit(store: Store, make_cache: MakeCache) -> None:
    cache = await make_cache(downloads=3)
    files = [store.put(f"f{n}", b"%d" % n) for n in range(8)]
    store.gate.clear()
    async with AsyncExitStack() as stack:
        lease = asyncio.create_task(stack.enter_async_context(cache.lease(files)))
        await settled(lambda: store.running == 3)
        store.gate.set()
        await lease
    assert store.most_running == 3
    assert len(store.fetched) == 8


async def test_the_least_recently_used_file_makes_room(store: Store, make_cache: MakeCache, tmp_path: Path) -> None:
    cache = await make_cache(budget=300)
    a, b, c, d = (store.put(key, key.encode() * 100) for key in "abcd")
    for file in (a, b, c, a, d):
        async with cache.lease([file]):
            pass
    assert held(tmp_path) == {a.sha256, c.sha256, d.sha256}
    assert cache.stats.evictions == 1


async def test_a_file_in_use_never_makes_room(store: Store, make_cache: MakeCache, tmp_path: Path) -> None:
    cache = await make_cache(budget=300)
    a, b, c, d = (store.put(key, key.encode() * 100) for key in "abcd")
    async with cache.lease([a]), cache.lease([b]):
        for file in (c, d, c):
            async with cache.lease([file]):
                assert {a.sha256, b.sha256, file.sha256} <= held(tmp_path)
        async with cache.lease([c]):
            with pytest.raises(CacheBusy) as caught:
                async with cache.lease([d]):
                    pass
    assert caught.value.retry_after == 1
    async with cache.lease([d, c, a]):
        assert held(tmp_path) == {d.sha256, c.sha256, a.sha256}


async def test_what_can_never_fit_is_refused_at_once(store: Store, make_cache: MakeCache) -> None:
    cache = await make_cache(budget=100)
    with pytest.raises(CacheTooSmall, match=r"query\.cache_bytes"):
        async with cache.lease([store.put("a", b"x" * 60), store.put("b", b"y" * 60)]):
            pass
    assert store.fetched == []


@pytest.mark.requirement("X11")
@pytest.mark.parametrize("damage", [b"", b"x" * 99, b"y" * 100, b"x" * 101, b"x" * 10_000])
async def test_a_damaged_download_is_thrown_away_and_tried_again(
    store: Store, make_cache: MakeCache, tmp_path: Path, damage: bytes
) -> None:
    cache = await make_cache()
    file = store.put("a", b"x" * 100)
    store.answers["a"] = [damage]
    async with cache.lease([file]):
        assert data_path(tmp_path / "cache", file.sha256).read_bytes() == b"x" * 100
    assert store.fetched == ["a", "a"]


@pytest.mark.requirement("X11")
async def test_an_object_that_stays_damaged_is_an_error_and_leaves_nothing(
    store: Store, make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = await make_cache()
    file = store.put("a", b"x" * 100)
    store.answers["a"] = [b"y" * 100, b"y" * 100]
    with pytest.raises(DatasetUnreadable) as caught:
        async with cache.lease([file]):
            pass
    assert caught.value.metadata["dataset"] == file.dataset
    assert held(tmp_path) == set()
    async with cache.lease([file]):
        assert held(tmp_path) == {file.sha256}


async def test_an_object_that_is_not_there_names_each_dataset_that_waits(store: Store, make_cache: MakeCache) -> None:
    cache = await make_cache()
    here = store.put("here", b"h")
    gone = store.put("gone", b"g")
    del store.objects["gone"]
    store.gate.clear()

    async def use(dataset: str) -> str:
        file = DataFile(dataset=dataset, bucket="", key="gone", size=1, sha256=gone.sha256)
        with pytest.raises(DatasetUnreadable) as caught:
            async with cache.lease([here, file]):
                pass
        return caught.value.metadata["dataset"]

    users = [asyncio.create_task(use(name)) for name in ("one", "two")]
    await settled(lambda: store.running == 2)
    store.gate.set()
    assert await asyncio.gather(*users) == ["one", "two"]
    assert cache.stats.size == 1


@pytest.mark.requirement("X6")
async def test_a_download_ends_when_the_last_who_waits_goes_away(
    store: Store, make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = await make_cache(budget=100)
    file = store.put("a", b"x" * 100)
    store.gate.clear()

    async def use() -> None:
        async with cache.lease([file]):
            pass

    first, second = asyncio.create_task(use()), asyncio.create_task(use())
    await settled(lambda: store.running == 1)
    first.cancel()
    await asyncio.wait({first})
    assert store.running == 1
    second.cancel()
    await settled(lambda: store.running == 0)
    store.gate.set()
    async with cache.lease([store.put("b", b"y" * 100)]):
        assert len(held(tmp_path)) == 1


@pytest.mark.requirement("X11")
async def test_files_of_an_earlier_run_are_checked_before_they_are_read(
    store: Store, make_cache: MakeCache, tmp_path: Path
) -> None:
    files = [store.put(key, key.encode() * 100) for key in "abc"]
    async with (await make_cache()).lease(files):
        pass
    data_path(tmp_path / "cache", files[1].sha256).write_bytes(b"?" * 100)
    data_path(tmp_path / "cache", files[2].sha256).write_bytes(b"torn")
    (tmp_path / "cache" / "arriving-0123").write_bytes(b"half")
    later = await make_cache()
    assert later.stats.files == 3
    async with later.lease(files):
        for file in files:
            assert data_path(tmp_path / "cache", file.sha256).read_bytes() == store.objects[file.key]
    assert sorted(store.fetched) == ["a", "b", "b", "c", "c"]
    assert held(tmp_path) == {file.sha256 for file in files}
    assert later.stats.size == 300


async def test_a_smaller_budget_takes_effect_at_start(store: Store, make_cache: MakeCache, tmp_path: Path) -> None:
    async with (await make_cache()).lease([store.put(key, key.encode() * 100) for key in "abc"]):
        pass
    await make_cache(budget=150)
    assert len(held(tmp_path)) == 1


async def test_a_file_that_somebody_deleted_is_fetched_again(
    store: Store, make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = await make_cache()
    file = store.put("a", b"x" * 100)
    async with cache.lease([file]):
        pass
    data_path(tmp_path / "cache", file.sha256).unlink()
    async with cache.lease([file]):
        assert held(tmp_path) == {file.sha256}
    assert store.fetched == ["a", "a"]


async def test_under_a_storm_of_users_the_budget_holds_and_every_file_is_right(
    store: Store, make_cache: MakeCache, tmp_path: Path
) -> None:
    cache = await make_cache(budget=400, downloads=2)
    files = [store.put(f"{n}", b"%02d" % n * 50) for n in range(12)]

    @asynccontextmanager
    async def watched(chosen: list[DataFile]) -> AsyncIterator[None]:
        async with cache.lease(chosen):
            for file in chosen:
                assert data_path(tmp_path / "cache", file.sha256).read_bytes() == store.objects[file.key]
            yield

    async def use(seed: int) -> None:
        for step in range(12):
            chosen = [files[(seed * 5 + step * 3) % 12], files[(seed + step * 7) % 12]]
            try:
                async with asyncio.timeout(0.001 if step % 4 == 3 else 10), watched(chosen):
                    await asyncio.sleep(0)
            except (CacheBusy, TimeoutError):
                continue
            assert cache.stats.size <= 400

    await asyncio.gather(*(use(seed) for seed in range(8)))
    await settled(lambda: store.running == 0)
    await cache.close()
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) == cache.stats.size <= 400
