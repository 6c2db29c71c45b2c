"""Every error has the one shape, whoever made it (X3)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Running

Rest = httpx.AsyncClient


async def fail(rest: Rest, **how: Any) -> httpx.Response:
    return await rest.post("/v1/fail", json={"message": "told to", "field": "items[0]", **how})


async def test_a_daemons_error_is_shown_whole(rest: Rest) -> None:
    answer = await fail(rest, code=5)
    assert answer.status_code == 404
    assert answer.json() == {
        "code": 5,
        "message": "told to",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TOLD_TO", "domain": "lakehouse",
             "metadata": {"field": "items[0]"}},
            {"@type": "type.googleapis.com/google.rpc.BadRequest",
             "field_violations": [{"field": "items[0]", "description": "told to", "reason": ""}]},
        ],
    }  # fmt: skip


async def test_the_edges_own_errors_look_the_same(rest: Rest) -> None:
    theirs, ours = await fail(rest, code=3), await rest.post("/v1/say", content='{"queryText": 1}')
    assert shape(ours.json()) == shape(theirs.json())
    assert list(ours.json()) == list(theirs.json())
    assert ours.headers["content-type"] == theirs.headers["content-type"] == "application/json"
    assert {"x-lakehouse-request-id"} <= ours.headers.keys() & theirs.headers.keys()


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if key != "suggestion"}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize(
    ("code", "status"),
    [(3, 400), (4, 504), (5, 404), (6, 409), (7, 403), (8, 429), (9, 400), (10, 409), (12, 501), (13, 500), (14, 503),
     (16, 401)],
)  # fmt: skip
async def test_codes_become_statuses(rest: Rest, code: int, status: int) -> None:
    answer = await fail(rest, code=code)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("late", [False, True])
async def test_a_daemon_can_ask_for_another_status(rest: Rest, late: bool) -> None:
    answer = await fail(rest, code=8, http_status="413", late=late)
    assert (answer.status_code, answer.json()["code"]) == (413, 8)
    assert "x-lakehouse-http-status" not in answer.headers
    assert answer.json()["details"][0]["reason"] == "TOLD_TO"


@pytest.mark.parametrize("wish", ["200", "99", "4x4", "1e9", "-1", ""])
async def test_a_wish_that_is_no_error_status_is_not_granted(rest: Rest, wish: str) -> None:
    answer = await fail(rest, code=8, http_status=wish)
    assert answer.status_code == 429
    assert "x-lakehouse-http-status" not in answer.headers


async def test_messages_of_any_text_stay_json(rest: Rest) -> None:
    message = 'quote " backslash \\ line\nbreak\x7f €'
    answer = await fail(rest, code=3, message=message)
    assert answer.json()["details"][1]["field_violations"][0]["description"] == message
    name = 'k"\\\n\x7f€'
    answer = await rest.post("/v1/say", json={name: 1})
    assert answer.json()["details"][0]["metadata"]["field"] == name


async def test_an_openai_route_fails_as_openai_does(rest: Rest) -> None:
    theirs = await rest.post("/v1/chat", content='{"fail": true}')
    assert theirs.status_code == 404
    assert theirs.json() == {
        "error": {"message": 'no model "x\\y"', "type": "invalid_request_error", "param": None, "code": "UNKNOWN"}
    }
    ours = await rest.post("/v1/chat", content="{")
    assert (ours.status_code, ours.json()["error"]["code"]) == (400, "MALFORMED_MESSAGE")


async def test_a_call_that_takes_too_long_is_504(rest: Rest) -> None:
    answer = await rest.post("/v1/little", content='{"wait": 20}')
    assert (answer.status_code, answer.json()["code"]) == (504, 4)
    assert answer.json()["details"][0]["reason"] == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: a\r\nx_underscore: 1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /health HTTP/1.1\r\nhost: a\r\n" + b"".join(b"x-%d: a\r\n" % i for i in range(110)) + b"\r\n", 431),
        (b"GET /health HTTP/1.0\r\n\r\n", 426),
        (b"POST /v1/say HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    ],
)
async def test_what_is_not_http_gets_the_one_shape_too(edge: Running, request_bytes: bytes, status: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request_bytes)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
    answer = json.loads(await reader.readexactly(length))
    writer.close()
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert answer["details"][0]["domain"] == "lakehouse"
    assert answer["message"]
