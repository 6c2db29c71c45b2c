"""Changes reach storage before memory, one at a time for a name, and whole."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from services.catalogd.catalog import Catalog
from services.catalogd.changes import Changes
from services.catalogd.errors import DatasetNotFound, SchemaConflict
from services.catalogd.manifest import DataObject, Manifest
from services.catalogd.registration import Registration, registered
from services.runtime.errors import Unavailable

NOW = datetime(2024, 5, 6, tzinfo=UTC)


class Memory:
    """Storage that can be slow, or away, and keeps what it was given in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.manifests: dict[str, Manifest] = {}
        self.open = asyncio.Event()
        self.open.set()
        self.entered = asyncio.Event()
        self.away = False

    async def _step(self, text: str) -> None:
        self.entered.set()
        await self.open.wait()
        if self.away:
            raise Unavailable("storage is away")
        self.steps.append(text)

    async def reach(self, version: int) -> None:
        await self._step(f"version {version}")

    async def put(self, manifest: Manifest) -> None:
        await self._step(f"put {manifest.name} {manifest.version}")
        self.manifests[manifest.name] = manifest

    async def remove(self, name: str) -> None:
        await self._step(f"remove {name}")
        del self.manifests[name]


def appended(name: str, key: str, fingerprint: str = "f") -> Registration:
    part = DataObject(bucket="", key=key, size=1, sha256="", row_count=1)
    return Registration(name=name, schema_fingerprint=fingerprint, objects=(part,), append=True)


async def append(changes: Changes, name: str, key: str, fingerprint: str = "f") -> Manifest:
    wanted = appended(name, key, fingerprint)
    change = await changes.change(name, lambda before: registered(before, wanted, NOW))
    return change.shown


@pytest.mark.requirement("C3")
async def test_storage_has_version_and_manifest_before_anybody_sees_the_change() -> None:
    catalog, storage = Catalog(), Memory()
    storage.open.clear()
    running = asyncio.create_task(append(Changes(catalog, storage), "a", "k"))
    await storage.entered.wait()
    assert (catalog.find("a"), catalog.version) == (None, 0)
    storage.open.set()
    manifest = await running
    assert storage.steps == ["version 1", "put a 1"]
    assert catalog.get("a") is manifest is storage.manifests["a"]
    assert (manifest.version, catalog.version) == (1, 1)


async def test_appends_to_one_name_at_once_lose_nothing() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    await asyncio.gather(*(append(changes, "a", f"k{number}") for number in range(20)))
    assert catalog.get("a").row_count == 20
    assert catalog.version == 20
    assert storage.manifests["a"] is catalog.get("a")


async def test_names_that_differ_in_case_wait_for_each_other() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    outcomes = await asyncio.gather(append(changes, "a", "k"), append(changes, "A", "k"), return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Manifest", "NameConflict"]


async def test_other_names_do_not_wait() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    storage.open.clear()
    slow = asyncio.create_task(append(changes, "a", "k"))
    await storage.entered.wait()
    storage.entered.clear()
    other = asyncio.create_task(append(changes, "b", "k"))
    await storage.entered.wait()
    storage.open.set()
    await asyncio.gather(slow, other)
    assert catalog.version == 2


async def test_nothing_changes_when_storage_refuses_and_the_next_change_works() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    first = await append(changes, "a", "k1")
    storage.away = True
    with pytest.raises(Unavailable):
        await append(changes, "a", "k2")
    assert catalog.get("a") is first
    storage.away = False
    assert (await append(changes, "a", "k3")).version == 3
    assert catalog.version == 3


async def test_a_refused_rule_touches_neither_storage_nor_version() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    await append(changes, "a", "k")
    with pytest.raises(SchemaConflict):
        await append(changes, "a", "k2", fingerprint="g")
    assert catalog.version == 1
    assert len(storage.steps) == 2


async def test_no_change_writes_nothing() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    first = await append(changes, "a", "k")
    assert await append(changes, "a", "k") is first
    assert storage.steps == ["version 1", "put a 1"]


async def test_a_change_begun_ends_although_its_caller_went_away() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    storage.open.clear()
    running = asyncio.create_task(append(changes, "a", "k"))
    await storage.entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    storage.open.set()
    await changes.close()
    assert catalog.get("a") is storage.manifests["a"]
    assert (await append(changes, "a", "k2")).version == 2


async def test_a_caller_that_went_away_while_waiting_for_its_turn_changes_nothing() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    storage.open.clear()
    first = asyncio.create_task(append(changes, "a", "k1"))
    await storage.entered.wait()
    second = asyncio.create_task(append(changes, "a", "k2"))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    storage.open.set()
    await first
    assert catalog.get("a").row_count == 1
    assert (await append(changes, "a", "k3")).row_count == 2


async def test_a_removal_takes_a_version_first_and_a_second_one_finds_nothing() -> None:
    catalog, storage = Catalog(), Memory()
    changes = Changes(catalog, storage)
    await append(changes, "Workers", "k")
    change = await changes.change_existing("workers", lambda before: None)
    assert change.shown.name == "Workers"
    assert storage.steps[2:] == ["version 2", "remove Workers"]
    assert (catalog.version, catalog.names()) == (2, [])
    with pytest.raises(DatasetNotFound):
        await changes.change_existing("workers", lambda before: None)
