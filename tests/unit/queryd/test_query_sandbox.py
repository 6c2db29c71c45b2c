"""The worker process: time-outs, callers that go away, memory, and workers that die."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import orjson
import psutil
import pyarrow as pa
import pytest

from services.queryd.config import QueryConfig
from services.queryd.errors import EngineRestarted, InvalidQuery, OutOfMemory, QueryTimeout, StatementNotAllowed
from services.queryd.sandbox import Sandbox
from tests.unit.queryd.warehouse import Warehouse

ENDLESS = "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r) SELECT count(*) FROM r"
# One call of one function over one value: DuckDB looks for interrupts only between vectors.
DEAF = "SELECT levenshtein(repeat('a', {0}), repeat('b', {0}))"

MakeSandbox = Callable[..., Sandbox]


@pytest.fixture
async def make_sandbox(tmp_path: Path) -> AsyncIterator[MakeSandbox]:
    made: list[Sandbox] = []

    def make(*, deaf_seconds: float = 10, **settings: Any) -> Sandbox:
        (tmp_path / "cache").mkdir(exist_ok=True)
        config = QueryConfig(**{"memory_limit_bytes": 128 << 20, "threads": 1, "workers": 2, **settings})
        spill = tmp_path / f"spill-{len(made)}"
        made.append(Sandbox(files=tmp_path / "cache", spill=spill, config=config, deaf_seconds=deaf_seconds))
        return made[-1]

    yield make
    for sandbox in made:
        await sandbox.close()


@pytest.fixture
async def sandbox(make_sandbox: MakeSandbox) -> Sandbox:
    return make_sandbox()


async def rows(sandbox: Sandbox, text: str, seconds: float = 30) -> Any:
    """The rows of the JSON answer."""
    statement = await sandbox.check(text)
    return orjson.loads(await sandbox.json(statement.text, [], seconds))["rows"]


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.01)


async def test_answers_and_errors_come_through_unchanged(sandbox: Sandbox) -> None:
    assert await rows(sandbox, "SELECT 'é🦆' AS a, 2 AS b") == [["é🦆", 2]]
    statement = await sandbox.check("FROM b, a;  -- two")
    assert (statement.text, set(statement.tables)) == ("FROM b, a", {"a", "b"})
    assert (await sandbox.check("SHOW TABLES")).lists_tables
    with pytest.raises(StatementNotAllowed):
        await sandbox.check("DROP TABLE a")
    with pytest.raises(InvalidQuery) as caught:
        await rows(sandbox, "SELECT 'x'::INT")
    assert (caught.value.reason, caught.value.metadata["position"]) == ("INVALID_QUERY", "10")


async def test_data_files_are_read_by_the_worker(make_sandbox: MakeSandbox, warehouse: Warehouse) -> None:
    config = QueryConfig(threads=1)
    sandbox = Sandbox(files=warehouse.files, spill=warehouse.files.parent / "other", config=config)
    statement = await sandbox.check("SELECT name FROM workers WHERE id = 3")
    answer = orjson.loads(await sandbox.json(statement.text, warehouse.seen_by(statement.tables), 30))
    await sandbox.close()
    assert answer["rows"] == [["Çetin"]]


async def test_statements_run_side_by_side(sandbox: Sandbox) -> None:
    answers = await asyncio.gather(*(rows(sandbox, f"SELECT {n}, sum(i) FROM range(1000) t(i)") for n in range(20)))
    assert answers == [[[n, "499500"]] for n in range(20)]


@pytest.mark.requirement("Q4")
async def test_an_endless_statement_times_out_and_frees_its_thread(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox(workers=1)
    for _ in range(2):
        with pytest.raises(QueryTimeout) as caught:
            await rows(sandbox, ENDLESS, 0.1)
    assert caught.value.reason == "QUERY_TIMEOUT"
    assert await rows(sandbox, "SELECT 1") == [[1]]


@pytest.mark.requirement("Q4")
async def test_the_caller_of_a_deaf_statement_is_answered_in_time(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox(workers=1)
    await sandbox.ready()
    task = asyncio.create_task(rows(sandbox, DEAF.format(20_000), 0.05))
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done
    assert isinstance(task.exception(), QueryTimeout)
    assert await rows(sandbox, "SELECT 1") == [[1]]


@pytest.mark.requirement("Q4")
async def test_a_worker_that_stays_deaf_is_replaced_and_its_other_statements_run_again(
    make_sandbox: MakeSandbox,
) -> None:
    sandbox = make_sandbox(deaf_seconds=0.3)
    first = (await sandbox.ready()).pid
    other = asyncio.create_task(rows(sandbox, "SELECT count(*) FROM range(1_000_000_000) t(i) WHERE hash(i) = 7"))
    with pytest.raises(QueryTimeout):
        await rows(sandbox, DEAF.format(400_000), 0.1)
    await settled(lambda: not psutil.pid_exists(first))
    assert await rows(sandbox, "SELECT 1") == [[1]]
    assert (await sandbox.ready()).pid != first
    other.cancel()
    await asyncio.wait({other})


@pytest.mark.requirement("X6")
async def test_a_statement_whose_caller_went_away_ends(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox(workers=1)
    await sandbox.ready()
    caller = asyncio.create_task(rows(sandbox, ENDLESS, 60))
    await asyncio.sleep(0.05)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await rows(sandbox, "SELECT 1") == [[1]]


@pytest.mark.requirement("X6")
async def test_a_statement_that_waits_for_its_turn_can_time_out(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox(workers=1)
    busy = asyncio.create_task(rows(sandbox, ENDLESS, 60))
    await asyncio.sleep(0.05)
    with pytest.raises(QueryTimeout):
        await rows(sandbox, "SELECT 1", 0.05)
    busy.cancel()
    await asyncio.wait({busy})
    assert await rows(sandbox, "SELECT 2") == [[2]]


@pytest.mark.requirement("X6")
async def test_only_the_engine_s_time_counts_in_a_stream(sandbox: Sandbox) -> None:
    await sandbox.ready()
    received = b""
    async for piece in sandbox.pieces("SELECT i, i AS j FROM range(200_000) t(i)", [], 1.5):
        received += piece
        await asyncio.sleep(0.5)
    assert pa.ipc.open_stream(received).read_all().num_rows == 200_000


@pytest.mark.requirement("Q1")
async def test_a_slow_reader_costs_no_memory(sandbox: Sandbox) -> None:
    worker = psutil.Process((await sandbox.ready()).pid)
    async with aclosing(sandbox.pieces("SELECT i, hash(i) FROM range(100_000_000_000) t(i)", [], 60)) as pieces:
        for _ in range(3):
            await anext(pieces)
        before = worker.memory_info().rss
        await asyncio.sleep(0.3)
        assert worker.memory_info().rss - before < 32 << 20


@pytest.mark.requirement("X3")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("SELECT CASE WHEN i = 2000000 THEN error('late') ELSE i END FROM range(3000000) t(i)", InvalidQuery),
        ("SELECT i, hash(i) FROM range(100_000_000_000) t(i)", QueryTimeout),
    ],
)
async def test_a_stream_that_fails_late_is_no_arrow_stream(sandbox: Sandbox, text: str, error: type[Exception]) -> None:
    await sandbox.ready()
    received = bytearray()
    with pytest.raises(error):
        async for piece in sandbox.pieces(text, [], 0.5):
            received += piece
    assert len(received) > 1 << 20
    with pytest.raises((pa.ArrowInvalid, OSError)):
        pa.ipc.open_stream(bytes(received)).read_all()


@pytest.mark.requirement("X3", "X11")
async def test_a_stream_whose_worker_dies_is_no_arrow_stream(sandbox: Sandbox) -> None:
    received = b""
    with pytest.raises(EngineRestarted):
        async for piece in sandbox.pieces("SELECT i, hash(i) FROM range(100_000_000_000) t(i)", [], 60):
            if not received:
                os.kill((await sandbox.ready()).pid, signal.SIGKILL)
            received += piece
    with pytest.raises((pa.ArrowInvalid, OSError)):
        pa.ipc.open_stream(received).read_all()
    assert await rows(sandbox, "SELECT 1") == [[1]]


async def test_a_stream_that_fails_before_its_first_row_has_no_bytes(sandbox: Sandbox) -> None:
    received = []
    with pytest.raises(InvalidQuery):
        async for piece in sandbox.pieces("SELECT error('at once')", [], 10):
            received.append(piece)
    assert received == []


async def test_streams_left_behind_free_their_threads(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox(workers=1)
    for _ in range(5):
        async with aclosing(sandbox.pieces("SELECT i, hash(i) FROM range(100_000_000_000) t(i)", [], 60)) as pieces:
            await anext(pieces)
    assert await rows(sandbox, "SELECT 1") == [[1]]


@pytest.mark.requirement("Q4", "X7")
@pytest.mark.parametrize(
    "text",
    [
        "SELECT range(1_000_000_000)",
        "SELECT list_sum(range(4_000_000_000))",
        "SELECT repeat('x', 4_000_000_000)",
        "SELECT repeat('x', 10_000_000) FROM range(10_000)",
        "SELECT sum(len(repeat('x', 10_000_000 + i::INT))) FROM range(2048) t(i)",
        "SELECT replace(repeat('a', 1_000_000), 'a', repeat('b', 1_000_000))",
        "SELECT array_agg(i) FROM range(100_000_000) t(i)",
    ],
)
async def test_no_statement_takes_more_memory_than_the_worker_has(make_sandbox: MakeSandbox, text: str) -> None:
    sandbox = make_sandbox(max_json_bytes=1 << 40)
    worker = psutil.Process((await sandbox.ready()).pid)
    idle = worker.memory_info().rss
    with pytest.raises(OutOfMemory):
        await rows(sandbox, text)
    assert worker.memory_info().rss - idle < 1 << 30
    assert await rows(sandbox, "SELECT 1") == [[1]]
    assert (await sandbox.ready()).pid == worker.pid


@pytest.mark.requirement("X11")
async def test_a_worker_that_is_killed_is_started_again_and_nobody_notices(sandbox: Sandbox) -> None:
    for _ in range(3):
        assert await rows(sandbox, "SELECT 1") == [[1]]
        os.kill((await sandbox.ready()).pid, signal.SIGKILL)


@pytest.mark.requirement("X11")
async def test_a_statement_whose_worker_dies_runs_again_in_the_next(sandbox: Sandbox) -> None:
    text = "SELECT count(*) FROM range(200_000_000) t(i) WHERE hash(i) % 2 = 3"
    await sandbox.check(text)
    task = asyncio.create_task(rows(sandbox, text, 60))
    await asyncio.sleep(0.1)
    os.kill((await sandbox.ready()).pid, signal.SIGKILL)
    assert await task == [[0]]


@pytest.mark.requirement("X11")
async def test_a_statement_over_which_workers_keep_dying_is_given_up(sandbox: Sandbox) -> None:
    await sandbox.check(ENDLESS)
    task = asyncio.create_task(rows(sandbox, ENDLESS, 60))
    for _ in range(2):
        await asyncio.sleep(0.1)
        os.kill((await sandbox.ready()).pid, signal.SIGKILL)
        await asyncio.sleep(0.1)
    with pytest.raises(EngineRestarted) as caught:
        await task
    assert caught.value.retry_after == 1


@pytest.mark.requirement("X9")
async def test_the_worker_has_no_key_in_its_environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret")
    environment = psutil.Process((await sandbox.ready()).pid).environ()
    assert "sk-secret" not in environment.values()
    assert set(environment) <= {"PYTHONPATH", "PYTHONSAFEPATH", "PATH", "LANG", "LC_CTYPE", "MALLOC_ARENA_MAX"}


@pytest.mark.requirement("X5")
async def test_closing_leaves_no_process_behind(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox()
    pid = (await sandbox.ready()).pid
    busy = asyncio.create_task(rows(sandbox, ENDLESS, 60))
    await asyncio.sleep(0.05)
    busy.cancel()
    await asyncio.wait({busy})
    await sandbox.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.requirement("X12")
async def test_a_worker_ends_when_queryd_dies(sandbox: Sandbox) -> None:
    worker = await sandbox.ready()
    worker._writer.close()
    await settled(lambda: worker.exit_code is not None)
    assert worker.exit_code == 0
    assert await rows(sandbox, "SELECT 1") == [[1]]


async def test_many_first_statements_start_one_worker(make_sandbox: MakeSandbox) -> None:
    sandbox = make_sandbox()
    before = len(psutil.Process().children())
    waiting: list[Awaitable[Any]] = [rows(sandbox, f"SELECT {n}") for n in range(8)]
    await asyncio.gather(*waiting)
    assert len(psutil.Process().children()) == before + 1
