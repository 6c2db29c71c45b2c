"""Objects go up and come down whole, or are seen to have failed (X3, S4)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.conftest import Running
from tests.gateway.echo_server import PIECE, object_bytes

Rest = httpx.AsyncClient

SIZES = [0, 1, 1023, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 1 << 20, (1 << 20) + 1, 5_000_000]
MEBIBYTE = 1 << 20


async def curl(*arguments: str, stdin: bytes = b"") -> tuple[int, bytes]:
    """Runs curl over HTTP/2 without TLS; returns its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--max-time", "20", "--http2-prior-knowledge", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate(stdin)
    return process.returncode or 0, output


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl for HTTP/2")


def is_whole(stored: dict[str, Any], body: bytes) -> bool:
    return (stored["size"], stored["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_goes_up_whole(rest: Rest, size: int) -> None:
    body = object_bytes(size)
    headers = {"content-type": "text/csv"}
    answer = await rest.put("/v1/objects/a%20b/c?note=hello", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    stored = answer.json()
    assert is_whole(stored, body)
    assert (stored["key"], stored["note"], stored["content_type"]) == ("a b/c", "hello", "text/csv")
    assert stored["declared"] == str(size)
    assert stored["pieces"] >= -(-size // MEBIBYTE)


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_an_object_of_undeclared_length_goes_up_whole(rest: Rest, size: int) -> None:
    body = object_bytes(size)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 70_000):
            yield body[start : start + 70_000]

    answer = await rest.put("/v1/objects/k", content=pieces())
    assert is_whole(answer.json(), body)
    assert answer.json()["declared"] == ""


@needs_curl
@pytest.mark.parametrize("size", [0, 1, 16_384, 65_537, 3_000_000])
async def test_an_object_goes_up_and_comes_down_over_http2(edge: Running, size: int) -> None:
    body = object_bytes(size)
    status, answer = await curl("--upload-file", "-", f"{edge.url}/v1/objects/k", stdin=body)
    assert status == 0
    assert is_whole(json.loads(answer), body)
    assert await curl(f"{edge.url}/v1/objects/k?size={size}") == (0, body)


async def test_an_upload_may_look_like_json(rest: Rest) -> None:
    answer = await rest.put("/v1/objects/k", content=b"{'not': json,}", headers={"content-type": "application/json"})
    assert is_whole(answer.json(), b"{'not': json,}")


async def test_a_multipart_form_keeps_its_boundary(rest: Rest) -> None:
    answer = await rest.put("/v1/objects/k", files={"file": ("a.csv", b"a,b\n1,2\n")})
    assert answer.json()["content_type"].startswith("multipart/form-data; boundary=")


async def test_an_upload_over_the_limit_is_refused_before_it_ends(edge: Running) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(MEBIBYTE)

    def put() -> httpx.Response:
        with httpx.Client() as client:
            headers = {"content-length": str(4 << 30)}
            return client.put(f"{edge.url}/v1/objects/k?limit=1000", content=endless(), headers=headers)

    assert (await asyncio.to_thread(put)).status_code == 413
    assert sent < 200


async def test_a_client_that_reads_while_it_writes_sees_the_refusal(edge: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(
        b"PUT /v1/objects/k?limit=1000 HTTP/1.1\r\nhost: a\r\ncontent-length: 4294967296\r\n\r\n" + bytes(1000)
    )
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()


@pytest.mark.parametrize("size", SIZES)
async def test_an_object_comes_down_whole_with_its_length_and_tag(rest: Rest, size: int) -> None:
    answer = await rest.get(f"/v1/objects/k?size={size}")
    assert (answer.status_code, answer.content) == (200, object_bytes(size))
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["etag"] == hashlib.sha256(answer.content).hexdigest()
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "x-lakehouse-size" not in answer.headers


@pytest.mark.parametrize("pieces", [1, 2])
async def test_a_download_that_fails_half_way_is_seen_to_fail(rest: Rest, pieces: int) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await rest.get(f"/v1/objects/k?size={PIECE * 3}&fail_after={pieces}")


@needs_curl
async def test_a_download_that_fails_half_way_over_http2_is_seen_to_fail(edge: Running) -> None:
    status, body = await curl(f"{edge.url}/v1/objects/k?size={PIECE * 3}&fail_after=2")
    assert status != 0
    assert len(body) < PIECE * 3


async def test_a_download_leaves_an_http2_connection_open_and_closes_an_http1_one(edge: Running, rest: Rest) -> None:
    assert (await rest.get("/v1/objects/k?size=10")).headers["connection"] == "close"
    assert "connection" not in (await rest.post("/v1/say")).headers


async def test_a_stream_of_messages_is_a_json_array(rest: Rest) -> None:
    assert (await rest.get("/v1/count/3")).json() == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert (await rest.get("/v1/count/0")).json() == []


async def test_a_stream_that_fails_at_once_is_an_error(rest: Rest) -> None:
    answer = await rest.get("/v1/count/-1")
    assert (answer.status_code, answer.json()["message"]) == (400, "cannot count there")


async def test_zero_empty_and_false_are_printed_and_absent_is_absent(rest: Rest) -> None:
    answer = (await rest.post("/v1/say")).json()
    assert (answer["zero"], answer["room"]) == (0, "")
    assert "absent" not in answer
