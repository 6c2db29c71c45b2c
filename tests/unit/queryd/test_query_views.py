"""Datasets as views, and how they follow the catalog."""

from __future__ import annotations

import asyncio

import pytest

from services.queryd.errors import DatasetUnreadable, UnknownTable
from services.queryd.following import Follower
from services.queryd.views import DataFile, Dataset, Views
from services.runtime.errors import Unavailable

pytestmark = pytest.mark.requirement("Q2")


def dataset(name: str, *contents: str, sha256: str | None = None) -> Dataset:
    """A dataset whose files are told apart by one hexadecimal digit each."""
    files = (
        DataFile(dataset=name, bucket="", key=f"k{digit}", size=1, sha256=digit * 64 if sha256 is None else sha256)
        for digit in contents
    )
    return Dataset(name=name, files=tuple(files))


def test_a_table_is_found_under_any_spelling_of_its_name() -> None:
    views = Views()
    views.follow(1, [dataset("Straße", "a"), dataset("Workers", "b")])
    resolved = views.resolve(["workers", "WORKERS", "STRASSE"])
    assert [(name, found.name) for name, found in resolved] == [
        ("workers", "Workers"),
        ("WORKERS", "Workers"),
        ("STRASSE", "Straße"),
    ]


def test_a_dataset_that_left_the_catalog_is_gone_at_once() -> None:
    views = Views()
    views.follow(1, [dataset("a", "1"), dataset("b", "2")])
    views.follow(2, [dataset("b", "2")])
    assert views.names == ["b"]
    with pytest.raises(UnknownTable):
        views.resolve(["a"])


def test_equal_content_has_one_digest_and_other_content_another() -> None:
    assert dataset("x", "1", "2").digest == dataset("y", "1", "2").digest
    assert len({dataset("x", *files).digest for files in (["1", "2"], ["2", "1"], ["1"], [])}) == 4


@pytest.mark.parametrize(
    "broken",
    [
        dataset("broken"),
        dataset("broken", "1", sha256=""),
        dataset("broken", "1", sha256="../" * 21 + "x"),
        dataset("broken", "G"),
    ],
)
def test_a_broken_manifest_is_an_error_for_its_dataset_alone(broken: Dataset) -> None:
    views = Views()
    views.follow(1, [broken, dataset("good", "1")])
    with pytest.raises(DatasetUnreadable) as caught:
        views.resolve(["good", "broken"])
    assert caught.value.metadata["dataset"] == "broken"
    assert len(views.resolve(["good"])) == 1


@pytest.mark.parametrize(
    ("table", "suggestion"), [("worker", "Workers"), ("WROKERS", "Workers"), ("nothing like it", None), ("", None)]
)
def test_an_unknown_table_suggests_a_near_name(table: str, suggestion: str | None) -> None:
    views = Views()
    views.follow(1, [dataset("Workers", "1"), *(dataset(f"zz {n}", "2") for n in range(30))])
    with pytest.raises(UnknownTable) as caught:
        views.resolve([table])
    assert caught.value.metadata.get("suggestion") == suggestion
    assert len(caught.value.message) < 300


class Catalog:
    """A catalog that can be changed, held up and taken away."""

    def __init__(self) -> None:
        self.now = 1
        self.datasets = [dataset("first", "1")]
        self.lists = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()

    async def version(self) -> int:
        if self.away:
            raise Unavailable("the catalog is away")
        return self.now

    async def list(self) -> tuple[int, list[Dataset]]:
        self.lists += 1
        await self.open.wait()
        if self.away:
            raise Unavailable("the catalog is away")
        return self.now, self.datasets


def following(catalog: Catalog) -> tuple[Views, Follower]:
    views = Views()
    return views, Follower(views, version=catalog.version, datasets=catalog.list)


async def test_a_change_is_seen_by_the_next_look_and_listed_once() -> None:
    catalog = Catalog()
    views, follower = following(catalog)
    for _ in range(3):
        await follower.follow()
    assert (views.names, catalog.lists) == (["first"], 1)
    catalog.now, catalog.datasets = 2, [dataset("second", "2")]
    await follower.follow()
    assert (views.names, views.version, catalog.lists) == (["second"], 2, 2)


async def test_a_catalog_that_went_back_is_followed_too() -> None:
    catalog = Catalog()
    catalog.now = 9
    views, follower = following(catalog)
    await follower.follow()
    catalog.now, catalog.datasets = 3, []
    await follower.follow()
    assert (views.names, views.version) == ([], 3)


async def test_many_who_wait_cause_one_listing() -> None:
    catalog = Catalog()
    views, follower = following(catalog)
    catalog.open.clear()
    waiting = [asyncio.create_task(follower.follow()) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    catalog.open.set()
    await asyncio.gather(*waiting)
    assert (views.names, catalog.lists) == (["first"], 1)


async def test_while_the_catalog_is_away_what_is_known_keeps_serving() -> None:
    catalog = Catalog()
    views, follower = following(catalog)
    catalog.away = True
    with pytest.raises(Unavailable):
        await follower.follow()
    catalog.away = False
    await follower.follow()
    catalog.away = True
    await follower.follow()
    assert views.names == ["first"]


async def test_the_timer_survives_an_absent_catalog() -> None:
    catalog = Catalog()
    catalog.away = True
    views, follower = following(catalog)
    task = asyncio.create_task(follower.keep_following(0.001))
    try:
        async with asyncio.timeout(10):
            await asyncio.sleep(0.01)
            catalog.away = False
            while views.version is None:  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.001)
    finally:
        task.cancel()
    assert views.names == ["first"]
