"""What the edge bears, how long it waits, and when it tries again (X6, X7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from gateway import envoy
from gateway.envoy import Backend, EdgeConfig
from tests.gateway.conftest import Echo, Running, free_port, run_edge

Rest = httpx.AsyncClient
MEBIBYTE = 1 << 20


@pytest.mark.parametrize("path", ["/v1/little", "/v1/rooms/a%20b/little"])
async def test_a_json_body_over_its_routes_limit_is_413(rest: Rest, path: str) -> None:
    assert (await rest.post(path, content=b'{"text": "%s"}' % (b"x" * 1000))).json() == {"size": 1000}
    answer = await rest.post(path, content=b'{"text": "%s"}' % (b"x" * 10_000))
    assert (answer.status_code, answer.json()["code"]) == (413, 8)
    assert answer.json()["details"][0]["reason"] == "TOO_LARGE"
    assert "8192" in answer.json()["message"]


@pytest.mark.parametrize("thousands", [9, 100, 2000])
async def test_so_is_one_that_did_not_say_how_long_it_is(rest: Rest, thousands: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(thousands):
            yield b" " * 1000

    answer = await rest.post("/v1/little", content=pieces())
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (413, "TOO_LARGE")


@pytest.mark.parametrize("declared", [True, False])
async def test_400_mib_of_json_is_413_and_the_edge_stays_small(edge: Running, declared: bool) -> None:
    total = 400 * MEBIBYTE

    def body() -> Iterator[bytes]:
        yield b'{"query_text": "'
        for _ in range(400):
            yield b"x" * MEBIBYTE

    def post() -> httpx.Response:
        headers = {"content-length": str(total)} if declared else {}
        with httpx.Client(timeout=60) as client:
            return client.post(f"{edge.url}/v1/say", content=body(), headers=headers)

    posting = asyncio.create_task(asyncio.to_thread(post))
    process, largest = psutil.Process(edge.edge.pid), 0
    while not posting.done():
        largest = max(largest, process.memory_info().rss)
        await asyncio.sleep(0.005)
    answer = posting.result()
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (413, "TOO_LARGE")
    assert largest < 200 * MEBIBYTE


async def test_a_large_body_within_the_limit_passes(rest: Rest) -> None:
    answer = await rest.post("/v1/say", json={"tags": ["x" * 1000] * 3000})
    assert answer.status_code == 200


async def test_the_daemon_learns_how_long_the_edge_waits(rest: Rest) -> None:
    assert (await rest.post("/v1/say")).json()["metadata"]["x-envoy-expected-rq-timeout-ms"] == "60000"


async def test_a_call_that_may_be_repeated_is_tried_again(rest: Rest) -> None:
    assert (await rest.get("/v1/recover/once?failures=1")).json() == {"calls": 2}


async def test_a_call_that_may_not_be_repeated_is_not(rest: Rest) -> None:
    answer = await rest.get("/v1/stumble/twice?failures=1")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert (await rest.get("/v1/stumble/twice?failures=1")).json() == {"calls": 2}


async def test_a_daemon_that_is_gone_is_503_at_once(echo: Echo, tmp_path: Path) -> None:
    config = EdgeConfig(port=free_port())
    backend = Backend(name="echod", service="echo.v1.EchoService", host="127.0.0.1", port=free_port())
    envoy.write_files(tmp_path, descriptors=echo.descriptors, backends=[backend], config=config)
    edge = await envoy.start(tmp_path, config)
    try:
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"http://127.0.0.1:{config.port}/v1/say")
        assert (answer.status_code, answer.json()["code"]) == (503, 14)
        assert answer.json()["details"][0]["reason"] == "UNAVAILABLE"
    finally:
        await edge.stop()


async def test_native_calls_pass_as_they_are(echo: Echo, edge: Running, connect: Callable[[Running], Any]) -> None:
    stub = connect(edge)
    metadata = (("x-lakehouse-internal", "1"), ("x-lakehouse-content-length", "1"), ("x-custom", "kept"))
    answer = await stub.Say(echo.pb.SayRequest(room="größe", k=3), metadata=metadata)
    assert answer.room == "größe"
    assert answer.metadata["x-custom"] == "kept"
    assert not {"x-lakehouse-internal", "x-lakehouse-content-length"} & answer.metadata.keys()
    assert [item.number async for item in stub.Count(echo.pb.CountRequest(to=3))] == [0, 1, 2]
    pieces = iter([echo.pb.PutRequest(key="k", data={"data": b"ab"}), echo.pb.PutRequest(data={"data": b"c"})])
    assert (await stub.Put(pieces)).size == 3


async def test_native_errors_keep_their_details_and_lose_the_hint(
    echo: Echo, edge: Running, connect: Callable[[Running], Any]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await connect(edge).Fail(echo.pb.FailRequest(code=8, message="told to", http_status="413"))
    trailing = dict(failed.value.trailing_metadata() or ())
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert b"TOLD_TO" in trailing["grpc-status-details-bin"]
    assert "x-lakehouse-http-status" not in trailing


async def test_what_is_not_in_the_contract_is_not_reached(edge: Running) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.port}") as channel:
        for path in (
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1alpha.ServerReflection/Info",
            "/a.B/C",
            "/v1/say",
        ):
            call: Any = channel.unary_unary(path)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"")
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_caller_that_goes_away_ends_the_call(echo: Echo, edge: Running) -> None:
    echo.servicer.cancelled.clear()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"{edge.url}/v1/wait", timeout=0.2)
    await asyncio.wait_for(echo.servicer.cancelled.wait(), 5)


async def test_run_edges_do_not_disturb_each_other(echo: Echo, edge: Running, tmp_path: Path) -> None:
    other = await run_edge(echo, tmp_path)
    await other.edge.stop()
    assert await edge.edge.is_live()
