"""When a refresh begins by itself, and how long it waits after one that failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse.catalog.v1 import catalog_pb2

from services.matrixd.corpora.datasets import Datasets
from services.matrixd.corpora.policies import Policies
from services.matrixd.errors import BuildRunning, CannotRefresh, RowsFailed
from services.runtime.errors import ServiceError, Unavailable
from services.runtime.jobs.job import Job
from services.runtime.jobs.jobs import Jobs, Progress
from services.runtime.jobs.store import JobStore
from services.runtime.threads import Threads

pytestmark = pytest.mark.requirement("C5")


class Catalog:
    """catalogd as seen over the wire: some datasets, and a version that grows with every change."""

    def __init__(self) -> None:
        self.manifests: dict[str, catalog_pb2.Manifest] = {}
        self.version = 0
        self.listed = 0
        self.away = False

    def put(self, name: str, policy: str, *, stale: bool = True, embedded: float | None = 0, rows: str = "a") -> None:
        """A dataset that was embedded so many seconds ago, never when None."""
        self.version += 1
        manifest = catalog_pb2.Manifest(name=name, version=self.version)
        manifest.objects.add(key=rows)
        manifest.embedding.refresh_policy = policy
        if stale:
            manifest.embedding.stale_since.FromDatetime(datetime.now(UTC))
        if embedded is not None:
            manifest.embedding.last_embedded_at.FromDatetime(datetime.now(UTC) - timedelta(seconds=embedded))
        self.manifests[name] = manifest

    async def GetVersion(self, request: catalog_pb2.GetVersionRequest) -> catalog_pb2.GetVersionResponse:
        if self.away:
            raise Unavailable("away")
        return catalog_pb2.GetVersionResponse(version=self.version)

    async def ListDatasets(self, request: catalog_pb2.ListDatasetsRequest) -> catalog_pb2.ListDatasetsResponse:
        self.listed += 1
        return catalog_pb2.ListDatasetsResponse(datasets=self.manifests.values(), version=self.version)


class Scene:
    """Policies over a catalog, real jobs, and a clock that is set by hand."""

    def __init__(self, path: Path) -> None:
        self.catalog = Catalog()
        self.threads = Threads("policies-test", 1)
        self.jobs = Jobs(JobStore(path), self.threads, concurrent=9, kept=100)
        self.now = 100.0
        self.started: list[str] = []
        self.refusal: ServiceError | None = None
        self.outcome: ServiceError | None = None
        self.held: asyncio.Event | None = None
        catalog: Any = self.catalog
        self.policies = Policies(Datasets(catalog, catalog), self.jobs, self.start, seconds=600, clock=lambda: self.now)

    async def start(self, dataset: str) -> Job:
        if self.refusal is not None:
            raise self.refusal
        self.started.append(dataset)
        return await self.jobs.submit("corpus.refresh", dataset, unit="rows", total=1, work=self.work)

    async def work(self, progress: Progress) -> dict[str, Any]:
        if self.held is not None:
            await self.held.wait()
        if self.outcome is not None:
            raise self.outcome
        return {}

    async def look(self) -> list[str]:
        """Looks once, waits for what was begun unless it is held, and returns which datasets were begun."""
        before = len(self.started)
        await self.policies.look()
        if self.held is None:
            await self.ended()
        return self.started[before:]

    async def ended(self) -> None:
        """Returns when every job has ended."""
        page, _ = self.jobs.page(100, "")
        async with asyncio.timeout(10):
            for job in page:
                _ = [state async for state in self.jobs.watch(job.id)]


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    yield made
    await made.jobs.close()
    made.threads.close()


async def test_only_stale_datasets_with_a_policy_are_due(scene: Scene) -> None:
    scene.catalog.put("appended", "on_append")
    scene.catalog.put("manual", "manual")
    scene.catalog.put("fresh", "on_append", stale=False)
    scene.catalog.put("soon", "scheduled", embedded=500)
    scene.catalog.put("now", "scheduled", embedded=601)
    assert await scene.look() == ["appended", "now"]


async def test_while_nothing_changes_the_datasets_are_not_read_again(scene: Scene) -> None:
    scene.catalog.put("fresh", "on_append", stale=False)
    for _ in range(5):
        await scene.look()
    assert scene.catalog.listed == 1


async def test_one_refresh_of_a_dataset_at_a_time(scene: Scene) -> None:
    scene.held = asyncio.Event()
    scene.catalog.put("a", "on_append")
    assert await scene.look() == ["a"]
    scene.catalog.put("a", "on_append", rows="b")
    assert await scene.look() == []
    scene.held.set()
    scene.held = None
    await scene.ended()
    assert await scene.look() == ["a"]


async def test_after_failures_the_pause_grows_up_to_a_minute(scene: Scene) -> None:
    scene.catalog.put("a", "on_append")
    scene.outcome = Unavailable("the model is away")
    pauses = []
    for _ in range(8):
        assert await scene.look() == ["a"]
        begun = scene.now
        while not await scene_would_begin(scene):
            scene.now += 1
        pauses.append(scene.now - begun)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


async def scene_would_begin(scene: Scene) -> bool:
    """Whether the next look begins a refresh; it is refused for another builder's sake, which counts as nothing."""
    asked = False

    async def refuse(dataset: str) -> Job:
        nonlocal asked
        asked = True
        raise BuildRunning("busy")

    start, scene.policies._start = scene.policies._start, refuse
    await scene.policies.look()
    scene.policies._start = start
    return asked


async def test_rows_that_failed_are_tried_again_when_there_are_others(scene: Scene) -> None:
    scene.catalog.put("a", "on_append")
    scene.outcome = RowsFailed("one")
    assert await scene.look() == ["a"]
    assert await scene.look() == []
    scene.catalog.put("a", "on_append", rows="b")
    assert await scene.look() == ["a"]
    assert await scene.look() == []
    scene.now += 1_000
    assert await scene.look() == ["a"]


async def test_a_refresh_that_is_refused_waits_too_but_not_for_a_build_that_runs(scene: Scene) -> None:
    scene.catalog.put("a", "on_append")
    scene.refusal = BuildRunning("busy")
    assert await scene.look() == []
    scene.refusal = CannotRefresh("unknown")
    assert await scene.look() == []
    scene.refusal = None
    assert await scene.look() == []
    scene.now += 2
    assert await scene.look() == ["a"]


async def test_a_catalog_that_is_away_is_waited_for(scene: Scene) -> None:
    scene.catalog.away = True
    scene.catalog.put("a", "on_append")
    watching = asyncio.create_task(scene.policies.keep_watching(0.001))
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        assert scene.started == []
        scene.catalog.away = False
        while not scene.started:  # noqa: ASYNC110 - what is waited for is another task's doing
            await asyncio.sleep(0.001)
    watching.cancel()
    await asyncio.wait([watching])
