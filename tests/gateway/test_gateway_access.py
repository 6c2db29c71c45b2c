"""Who gets past the edge (X4), and which web pages may ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest

from gateway.envoy import EdgeConfig
from services.runtime.config import ConfigError
from tests.gateway.conftest import TOKEN, Echo, Running


async def call(running: Running, path: str = "/v1/say", verb: str = "POST", **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=running.url) as client:
        return await client.request(
            verb, path, headers={key.replace("_", "-"): value for key, value in headers.items()}
        )


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_right_token_opens(guarded: Running, scheme: str) -> None:
    answer = await call(guarded, authorization=f"{scheme} {TOKEN}")
    assert answer.status_code == 200
    assert answer.json()["metadata"]["authorization"] == f"{scheme} {TOKEN}"


@pytest.mark.parametrize(
    "authorization",
    [None, "", TOKEN, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
     f"Bearer{TOKEN}", f"Bearer {TOKEN} {TOKEN}", f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer x{TOKEN[1:]}"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/say", "/v1/nowhere", "/health/", "/health/x"])
async def test_anything_else_is_401(guarded: Running, path: str, authorization: str | None) -> None:
    answer = await call(guarded, path, **({} if authorization is None else {"authorization": authorization}))
    assert (answer.status_code, answer.json()["code"]) == (401, 16)
    assert answer.json()["details"][0]["reason"] == "UNAUTHENTICATED"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert TOKEN not in answer.text


async def test_health_needs_no_token_and_no_address(guarded: Running, walled: Running) -> None:
    for running in (guarded, walled):
        answer = await call(running, "/health?", "GET")
        assert (answer.status_code, answer.json()) == (200, {"status": "serving"})


async def test_a_foreign_address_is_403(walled: Running) -> None:
    answer = await call(walled)
    assert (answer.status_code, answer.json()["code"]) == (403, 7)
    assert answer.json()["details"][0]["reason"] == "PERMISSION_DENIED"
    assert answer.headers["x-lakehouse-request-id"]


async def test_no_header_makes_an_address_another(walled: Running) -> None:
    answer = await call(
        walled, x_forwarded_for="192.0.2.7", x_envoy_external_address="192.0.2.7", x_real_ip="192.0.2.7"
    )
    assert answer.status_code == 403


async def test_native_calls_are_held_to_the_same(
    echo: Echo, guarded: Running, walled: Running, connect: Callable[[Running], Any]
) -> None:
    stub, request = connect(guarded), echo.pb.SayRequest(room="a")
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await stub.Say(request)
    assert denied.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "Bearer" in (denied.value.details() or "")
    answer = await stub.Say(request, metadata=(("authorization", f"Bearer {TOKEN}"),))
    assert answer.room == "a"
    assert (await stub.GetHealth(echo.pb.GetHealthRequest())).status == "serving"
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await connect(walled).Say(request)
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_token_is_in_no_file_that_others_can_read(guarded: Running) -> None:
    holders = [path for path in guarded.directory.iterdir() if path.is_file() and TOKEN in path.read_text("latin-1")]
    assert [path.name for path in holders] == ["edge.lua"]
    assert holders[0].stat().st_mode & 0o077 == 0


async def test_a_page_of_a_known_origin_may_ask(guarded: Running) -> None:
    asked = {"origin": "https://console.example", "access_control_request_method": "POST"}
    preflight = await call(guarded, verb="OPTIONS", **asked, access_control_request_headers="authorization")
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://console.example"
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for authorization in (f"Bearer {TOKEN}", "Bearer wrong"):
        answer = await call(guarded, origin="https://console.example", authorization=authorization)
        assert answer.headers["access-control-allow-origin"] == "https://console.example"
        assert "x-lakehouse-request-id" in answer.headers["access-control-expose-headers"]


async def test_a_page_of_another_origin_may_not(guarded: Running, edge: Running) -> None:
    for running in (guarded, edge):
        answer = await call(running, origin="https://evil.example", authorization=f"Bearer {TOKEN}")
        assert "access-control-allow-origin" not in answer.headers
        preflight = await call(
            running, verb="OPTIONS", origin="https://evil.example", access_control_request_method="POST"
        )
        assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    ("settings", "setting"),
    [
        ({"host": "0.0.0.0"}, "mesh.host"),
        ({"host": "::"}, "mesh.host"),
        ({"host": "example.org", "token": "t"}, "edge.host"),
        ({"token": ""}, "auth.token"),
        ({"token": " t"}, "auth.token"),
        ({"token": "tokén"}, "auth.token"),
        ({"allowlist": ("10.0.0.0/33",)}, "auth.allowlist"),
        ({"allowlist": ("",)}, "auth.allowlist"),
    ],
)
def test_an_edge_that_would_be_open_or_unusable_is_refused(settings: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError) as refused:
        EdgeConfig(**settings)
    assert refused.value.setting == setting
