"""Jobs: states, progress, watching, cancelling, and what a restart finds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from services.matrixd.errors import RowsFailed
from services.runtime.jobs.job import Job, JobError, decode, encode
from services.runtime.jobs.jobs import JobNotFound, Jobs, Progress
from services.runtime.jobs.progress import Meter
from services.runtime.jobs.store import JobStore
from services.runtime.threads import Threads


@asynccontextmanager
async def opened(path: Path, *, concurrent: int = 2, kept: int = 100) -> AsyncIterator[Jobs]:
    threads = Threads("jobs-test", 1)
    jobs = Jobs(JobStore(path), threads, concurrent=concurrent, kept=kept)
    await jobs.load()
    try:
        yield jobs
    finally:
        await jobs.close()
        threads.close()


async def finished(progress: Progress) -> Mapping[str, Any]:
    progress.advance(3)
    return {"rows": 3}


class Held:
    """Work that goes on when the test lets it."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, progress: Progress) -> Mapping[str, Any]:
        progress.advance(1)
        self.begun.set()
        await self.may_end.wait()
        return {}


async def ended(jobs: Jobs, job_id: str) -> Job:
    async with asyncio.timeout(5):
        return [job async for job in jobs.watch(job_id)][-1]


async def test_work_that_ends_well_succeeds_with_its_result(tmp_path: Path) -> None:
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=3, work=finished)
        assert job.state == "queued"
        last = await ended(jobs, job.id)
    assert (last.state, last.done, last.failed, last.result, last.eta_seconds) == ("succeeded", 3, 0, {"rows": 3}, None)
    assert last.started_at is not None
    assert last.ended_at is not None
    assert last.created_at <= last.started_at <= last.ended_at


async def test_work_that_raises_a_known_error_fails_with_it(tmp_path: Path) -> None:
    async def work(progress: Progress) -> Mapping[str, Any]:
        progress.advance(2, ["row 1 is bad"])
        raise RowsFailed("1 row failed", failed=1)

    async with opened(tmp_path) as jobs:
        last = await ended(jobs, (await jobs.submit("test", "a", unit="rows", total=2, work=work)).id)
    assert (last.state, last.done, last.failed, last.failures, last.result) == ("failed", 2, 1, ("row 1 is bad",), None)
    assert last.error == JobError(code=9, message="1 row failed", reason="ROWS_FAILED", metadata={"failed": "1"})


async def test_an_unexpected_failure_shows_nothing_of_itself(tmp_path: Path) -> None:
    async def work(progress: Progress) -> Mapping[str, Any]:
        raise ZeroDivisionError("secret")

    async with opened(tmp_path) as jobs:
        last = await ended(jobs, (await jobs.submit("test", "a", unit="rows", total=None, work=work)).id)
    assert last.error is not None
    assert (last.state, last.error.reason) == ("failed", "INTERNAL")
    assert "secret" not in last.error.message


async def test_only_the_first_ten_failures_are_kept(tmp_path: Path) -> None:
    async def work(progress: Progress) -> Mapping[str, Any]:
        for number in range(25):
            progress.advance(1, [f"row {number}"])
        return {}

    async with opened(tmp_path) as jobs:
        last = await ended(jobs, (await jobs.submit("test", "a", unit="rows", total=25, work=work)).id)
    assert last.failed == 25
    assert last.failures == tuple(f"row {number}" for number in range(10))


async def test_a_cancelled_job_has_stopped_when_cancel_answers(tmp_path: Path) -> None:
    work = Held()
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=2, work=work)
        await asyncio.wait_for(work.begun.wait(), 5)
        cancelled = await jobs.cancel(job.id)
        assert (cancelled.state, cancelled.done) == ("cancelled", 1)
        assert (await jobs.cancel(job.id)).state == "cancelled"


async def test_a_job_can_be_cancelled_before_its_first_step(tmp_path: Path) -> None:
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=3, work=finished)
        assert (await jobs.cancel(job.id)).state == "cancelled"


async def test_cancelling_an_ended_job_leaves_it_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=3, work=finished)
        last = await ended(jobs, job.id)
        assert await jobs.cancel(job.id) == last


async def test_jobs_beyond_the_limit_wait_as_queued(tmp_path: Path) -> None:
    first, second = Held(), Held()
    async with opened(tmp_path, concurrent=1) as jobs:
        one = await jobs.submit("test", "a", unit="rows", total=1, work=first)
        other = await jobs.submit("test", "b", unit="rows", total=1, work=second)
        await asyncio.wait_for(first.begun.wait(), 5)
        assert (jobs.get(one.id).state, jobs.get(other.id).state) == ("running", "queued")
        first.may_end.set()
        await asyncio.wait_for(second.begun.wait(), 5)
        second.may_end.set()
        assert (await ended(jobs, other.id)).state == "succeeded"


async def test_a_watcher_sees_progress_and_the_end(tmp_path: Path) -> None:
    work = Held()
    seen: list[tuple[str, int]] = []
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=1, work=work)
        async with asyncio.timeout(5):
            async for state in jobs.watch(job.id):
                seen.append((state.state, state.done))
                if state.done == 1:
                    work.may_end.set()
    assert seen[0] == ("queued", 0)
    assert ("running", 1) in seen
    assert seen[-1] == ("succeeded", 1)


async def test_an_ended_job_is_watched_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=3, work=finished)
        last = await ended(jobs, job.id)
        assert [state async for state in jobs.watch(job.id)] == [last]


async def test_an_active_job_is_found_by_its_subject(tmp_path: Path) -> None:
    work = Held()
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "Workers", unit="rows", total=1, work=work)
        assert jobs.active("test", lambda subject: subject == "Workers") is not None
        assert jobs.active("test", lambda subject: subject == "other") is None
        assert jobs.active("other", lambda subject: subject == "Workers") is None
        work.may_end.set()
        await ended(jobs, job.id)
        assert jobs.active("test", lambda subject: subject == "Workers") is None


async def test_jobs_are_listed_newest_first_page_by_page(tmp_path: Path) -> None:
    async with opened(tmp_path) as jobs:
        made = [(await jobs.submit("test", str(n), unit="rows", total=3, work=finished)).id for n in range(5)]
        first, token = jobs.page(2, "")
        second, token_two = jobs.page(2, token)
        third, end = jobs.page(2, token_two)
    assert [job.id for job in [*first, *second, *third]] == made[::-1]
    assert end == ""


async def test_the_oldest_ended_jobs_are_forgotten(tmp_path: Path) -> None:
    async with opened(tmp_path, kept=3) as jobs:
        made = []
        for number in range(5):
            job = await jobs.submit("test", str(number), unit="rows", total=3, work=finished)
            await ended(jobs, job.id)
            made.append(job.id)
        assert [job.id for job in jobs.page(10, "")[0]] == made[:1:-1]
    assert len(JobStore(tmp_path).load()) == 3


async def test_an_unknown_job_is_not_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as jobs:
        with pytest.raises(JobNotFound):
            jobs.get("nothing")


async def test_a_stop_interrupts_what_runs_and_a_restart_still_knows_it(tmp_path: Path) -> None:
    work = Held()
    async with opened(tmp_path) as jobs:
        job = await jobs.submit("test", "a", unit="rows", total=2, work=work)
        await asyncio.wait_for(work.begun.wait(), 5)
    async with opened(tmp_path) as jobs:
        assert jobs.get(job.id).state == "interrupted"


async def test_a_kill_leaves_jobs_that_the_next_start_finds_interrupted(tmp_path: Path) -> None:
    running = Job(id=f"{7:024x}", kind="test", subject="a", unit="rows", state="running", created_at=datetime.now(UTC))
    done = Job(id=f"{8:024x}", kind="test", subject="a", unit="rows", state="succeeded", created_at=datetime.now(UTC))
    store = JobStore(tmp_path)
    store.save(running)
    store.save(done)
    async with opened(tmp_path) as jobs:
        assert jobs.get(running.id).state == "interrupted"
        assert jobs.get(running.id).ended_at is not None
        assert jobs.get(done.id) == done
    assert {job.id: job.state for job in store.load()} == {running.id: "interrupted", done.id: "succeeded"}


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"id": 7}'])
async def test_a_damaged_job_file_is_skipped_and_the_others_load(tmp_path: Path, damage: bytes) -> None:
    job = Job(id=f"{8:024x}", kind="test", subject="a", unit="rows", state="succeeded", created_at=datetime.now(UTC))
    store = JobStore(tmp_path)
    store.save(job)
    tmp_path.joinpath(f"{9:024x}.json").write_bytes(damage)
    assert store.load() == [job]


def test_a_job_survives_its_file() -> None:
    now = datetime.now(UTC)
    job = Job(
        id=f"{7:024x}",
        kind="corpus.build",
        subject="workers",
        unit="rows",
        state="failed",
        done=5,
        total=10,
        failed=2,
        rate=2.5,
        created_at=now,
        started_at=now,
        ended_at=now,
        error=JobError(code=9, message="bad", reason="ROWS_FAILED", metadata={"a": "b"}),
        failures=("one", "two"),
    )
    assert decode(encode(job)) == job


def test_the_rate_is_that_of_the_last_seconds() -> None:
    now = 100.0
    meter = Meter(lambda: now)
    assert meter.rate() == 0.0
    assert meter.eta(1_000) is None
    for _ in range(10):
        now += 1
        meter.mark(round((now - 100) * 10))
    assert meter.rate() == pytest.approx(10.0)
    for step in range(1, 11):
        now += 1
        meter.mark(100 + step * 50)
    assert meter.rate() == pytest.approx(50.0)
    assert meter.eta(1_000) == pytest.approx(8.0)
    assert meter.eta(None) is None
    assert meter.eta(10) == 0.0
