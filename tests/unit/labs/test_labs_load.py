"""The load generator, against a small HTTP server: nothing that fails is counted as done well."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.labs.queries import Query
from services.labs.reality.http import LOST, Connection
from services.labs.reality.load import MULTITIER, SEARCHES, Measured, Scenario, run

QUERIES = (Query(id="1", text="one"), Query(id="2", text="two", role="welder"))
Reply = Callable[[str, dict[str, Any]], tuple[int, Any]]


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[str]:
    """A server that answers every POST with what `reply` says; status 0 hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                status, body = reply(head.split(b" ")[1].decode(), json.loads(await reader.readexactly(length)))
                if not status:
                    break
                data = json.dumps(body).encode()
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def found(path: str, body: dict[str, Any]) -> tuple[int, Any]:
    excluded = set(body.get("exclude_ids", ()))
    hits = [{"id": ident, "corpus": "c"} for ident in ("a", "b", "c", "d") if ident not in excluded]
    return 200, {"hits": hits}


async def loaded(reply: Reply, scenarios: tuple[Scenario, ...]) -> Measured:
    async with serving(reply) as url:
        return await run(url, None, ["c"], QUERIES, scenarios, callers=3, seconds=0.2, seed=1, told=lambda n: None)


@pytest.mark.requirement("R5")
async def test_every_answer_is_counted_with_its_status_and_time() -> None:
    measured = await loaded(found, SEARCHES)
    assert measured.failed == 0
    assert measured.done == measured.statuses[200] == sum(measured.per_second.values()) > 10
    assert measured.seconds >= 0.2


@pytest.mark.requirement("R5")
@pytest.mark.parametrize(("status", "reason"), [(503, "status 503"), (404, "status 404"), (0, "connection lost")])
async def test_anything_but_success_is_a_failure(status: int, reason: str) -> None:
    measured = await loaded(lambda path, body: (status, {}), SEARCHES)
    assert measured.failed == measured.done > 0
    assert measured.statuses[status] == measured.done
    assert set(measured.tallies["search"].failures) == {reason}


@pytest.mark.requirement("R4")
async def test_the_scenarios_ask_what_they_promise_in_their_weights() -> None:
    measured = await loaded(found, MULTITIER)
    assert measured.failed == 0
    counts = {name: len(tally.milliseconds) for name, tally in measured.tallies.items()}
    assert max(counts, key=lambda name: counts[name]) == "search"
    assert all(counts.values())
    assert sum(scenario.weight for scenario in MULTITIER) == 90


@pytest.mark.requirement("R4")
async def test_a_worker_who_comes_back_after_the_swap_is_a_failure() -> None:
    swap = tuple(scenario for scenario in MULTITIER if scenario.name == "swap")
    measured = await loaded(lambda path, body: (200, {"hits": [{"id": "a", "corpus": "c"}]}), swap)
    assert set(measured.tallies["swap"].failures) == {"a worker who was swapped out came back"}


@pytest.mark.requirement("R4")
async def test_an_answer_that_changes_and_one_that_is_forgotten_are_failures() -> None:
    turn = 0

    def changing(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        nonlocal turn
        turn += 1
        return 200, {"hits": [{"id": str(turn), "corpus": "c"}]}

    for name in ("repeat", "record and ask again"):
        measured = await loaded(changing, tuple(one for one in MULTITIER if one.name == name))
        assert measured.failed == measured.done > 0


async def test_a_connection_that_nobody_answers_is_lost_and_no_exception(unused_tcp_port: int) -> None:
    connection = Connection("127.0.0.1", unused_tcp_port, "token")
    assert await connection.post("/x", b"{}") == (LOST, b"")
