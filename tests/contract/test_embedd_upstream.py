"""embedd in front of a model server, through its stub, on both legs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lakehouse.embed.v1 import embed_pb2, embed_pb2_grpc

from services.mesh import SECTIONS, Mesh
from services.runtime.config import Settings
from services.runtime.errors import DeadlineExceeded, InvalidArgument, Unavailable
from tests.upstream import OLLAMA, OPENAI, FakeUpstream, Reply, vector_of

Stub = embed_pb2_grpc.EmbedServiceStub
KEY = "sk-0123456789abcdef"


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as running:
        yield running


@pytest.fixture(params=["local", "remote"])
async def stub(
    request: pytest.FixtureRequest, tmp_path: Path, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stub]:
    """embedd alone, with models `nomic` (Ollama's, the default), `small` (OpenAI's) and `locked` (has no key)."""
    monkeypatch.setenv("EMBED_TEST_KEY", KEY)
    openai = {"provider": "openai", "model": "embedder", "url": f"{upstream.url}/v1"}
    models = {
        "nomic": {"provider": "ollama", "model": "embedder", "url": upstream.url},
        "small": {**openai, "key_env": "EMBED_TEST_KEY", "dimension": 4, "normalized": False},
        "locked": {**openai, "key_env": "EMBED_TEST_KEY_THAT_IS_NOT_SET"},
    }
    embed: dict[str, Any] = {"default_model": "nomic", "models": models}
    for marker in request.node.iter_markers("settings"):
        embed |= marker.kwargs.get("embed", {})
    settings = Settings(SECTIONS, overrides={"mesh": {"data": tmp_path}, "embed": embed})
    running = Mesh(settings, instance_id="test", local=request.param == "local", ephemeral=True)
    await running.start(["embedd"])
    yield Stub(running.connect("embedd"))
    await running.stop(grace=0)


async def vectors(stub: Stub, *texts: str, model: str = "") -> np.ndarray:
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=texts, model=model))
    return np.array([embedding.values for embedding in response.embeddings], dtype=np.float32)


def raw(*texts: str) -> np.ndarray:
    return np.array([vector_of(text, 4) for text in texts], dtype=np.float32)


def unit(*texts: str) -> np.ndarray:
    rows: np.ndarray = raw(*texts) / np.linalg.norm(raw(*texts), axis=1, keepdims=True)
    return rows


@pytest.mark.requirement("E1", "E2", "E4")
async def test_the_answer_says_which_model_made_it_and_whether_it_is_scaled(stub: Stub, upstream: FakeUpstream) -> None:
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=["a", "bb"]))
    assert (response.model, response.dimension, response.normalized) == ("nomic", 4, True)
    assert np.allclose([embedding.values for embedding in response.embeddings], unit("a", "bb"))
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=["a", "bb"], model="small"))
    assert (response.model, response.dimension, response.normalized) == ("small", 4, False)
    assert np.array_equal([embedding.values for embedding in response.embeddings], raw("a", "bb"))
    assert [request.path for request in upstream.requests] == [OLLAMA, OPENAI]
    assert upstream.requests[1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.requirement("E2")
async def test_a_dimension_is_listed_once_it_is_known(stub: Stub) -> None:
    async def listed() -> list[tuple[str, str, int, bool, bool]]:
        models = (await stub.ListModels(embed_pb2.ListModelsRequest())).models
        return [(m.id, m.provider, m.dimension, m.normalized, m.default) for m in models]

    expected = [
        ("hash", "hash", 64, True, False),
        ("locked", "openai", 0, True, False),
        ("nomic", "ollama", 0, True, True),
        ("small", "openai", 4, False, False),
        ("wordllama", "wordllama", 256, True, False),
    ]
    assert await listed() == expected
    await vectors(stub, "a")
    expected[2] = ("nomic", "ollama", 4, True, True)
    assert await listed() == expected


@pytest.mark.requirement("E3")
async def test_only_misses_are_sent_and_models_do_not_share_vectors(stub: Stub, upstream: FakeUpstream) -> None:
    await vectors(stub, "a", "bb")
    assert np.allclose(await vectors(stub, "bb", "ccc", "a", model="nomic"), unit("bb", "ccc", "a"))
    assert np.array_equal(await vectors(stub, "a", model="small"), raw("a"))
    assert [request.texts for request in upstream.requests] == [["a", "bb"], ["ccc"], ["a"]]


@pytest.mark.requirement("E3")
async def test_identical_misses_at_once_share_one_call(stub: Stub, upstream: FakeUpstream) -> None:
    upstream.may_answer.clear()
    calls = [asyncio.create_task(vectors(stub, "a")) for _ in range(10)]
    await upstream.next_request()
    upstream.may_answer.set()
    for rows in await asyncio.gather(*calls):
        assert np.allclose(rows, unit("a"))
    assert len(upstream.requests) == 1


async def test_different_misses_at_once_share_calls(stub: Stub, upstream: FakeUpstream) -> None:
    upstream.may_answer.clear()
    first = asyncio.create_task(vectors(stub, "first"))
    await upstream.next_request()
    texts = [f"text {number}" for number in range(30)]
    calls = [asyncio.create_task(vectors(stub, text)) for text in texts]
    await upstream.next_request()
    upstream.may_answer.set()
    assert np.allclose(np.concatenate(await asyncio.gather(*calls)), unit(*texts))
    await first
    assert len(upstream.requests) < 10


@pytest.mark.requirement("E1")
@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(401, b'{"error": "no"}'), "401"),
        (Reply(307, headers={"location": "http://127.0.0.1:1/"}), "307"),
        (Reply(body=b"hello"), "200"),
        (Reply(body=b'{"embeddings": []}'), "200"),
        (Reply(body=b'{"embeddings": [[1, null, 2, 3]]}'), "200"),
    ],
    ids=["refused", "redirect", "not JSON", "count", "null"],
)
async def test_a_failing_server_is_unavailable_and_nothing_is_remembered(
    stub: Stub, upstream: FakeUpstream, reply: Reply, status: str
) -> None:
    upstream.replies.append(reply)
    with pytest.raises(Unavailable) as raised:
        await vectors(stub, "a")
    assert raised.value.reason == "UPSTREAM_FAILED"
    assert raised.value.metadata == {"provider": "ollama", "model": "nomic", "status": status}
    assert np.allclose(await vectors(stub, "a"), unit("a"))


@pytest.mark.requirement("E1")
async def test_a_server_that_is_not_there_is_unavailable_and_the_daemon_serves_on(
    stub: Stub, upstream: FakeUpstream
) -> None:
    await upstream.stop()
    with pytest.raises(Unavailable) as raised:
        await vectors(stub, "a")
    assert raised.value.reason == "UPSTREAM_FAILED"
    assert "127.0.0.1" not in raised.value.message
    assert (await vectors(stub, "a", model="wordllama")).shape == (1, 256)


@pytest.mark.requirement("X9")
async def test_a_model_without_its_key_is_refused_by_the_name_of_the_variable(
    stub: Stub, upstream: FakeUpstream
) -> None:
    with pytest.raises(Unavailable) as raised:
        await vectors(stub, "a", model="locked")
    assert raised.value.reason == "UPSTREAM_FAILED"
    assert "EMBED_TEST_KEY_THAT_IS_NOT_SET" in raised.value.message
    assert upstream.requests == []


@pytest.mark.requirement("E1")
@pytest.mark.settings(embed={"deadline_seconds": 0.2})
async def test_a_batch_over_its_deadline_is_ended(stub: Stub, upstream: FakeUpstream) -> None:
    upstream.may_answer.clear()
    for texts in (["a"], ["a", "bb"]):
        upstream.gone.clear()
        with pytest.raises(DeadlineExceeded):
            await vectors(stub, *texts)
        await asyncio.wait_for(upstream.gone.wait(), 5)


@pytest.mark.requirement("X6")
async def test_a_callers_own_deadline_ends_its_call_and_no_other(stub: Stub, upstream: FakeUpstream) -> None:
    upstream.may_answer.clear()
    patient = asyncio.create_task(vectors(stub, "a"))
    await upstream.next_request()
    for text in ("a", "bb"):
        with pytest.raises(DeadlineExceeded):
            await stub.Embed(embed_pb2.EmbedRequest(texts=[text]), timeout=0.05)
    upstream.may_answer.set()
    assert np.allclose(await patient, unit("a"))


async def test_one_callers_bad_text_fails_nobody_else(stub: Stub, upstream: FakeUpstream) -> None:
    upstream.refused = {"bad"}
    calls = [vectors(stub, text) for text in ("a", "bad", "ccc")]
    outcomes: list[Any] = await asyncio.gather(*calls, vectors(stub, "a", "bad", "x"), return_exceptions=True)
    assert np.allclose(outcomes[0], unit("a"))
    assert np.allclose(outcomes[2], unit("ccc"))
    for bad in (outcomes[1], outcomes[3]):
        assert isinstance(bad, Unavailable)
        assert bad.metadata["status"] == "400"


async def test_an_empty_text_is_refused_before_anything_is_sent(stub: Stub, upstream: FakeUpstream) -> None:
    with pytest.raises(InvalidArgument):
        await vectors(stub, "a", " ")
    assert upstream.requests == []


async def test_a_cancelled_call_ends_the_call_to_the_server(stub: Stub, upstream: FakeUpstream) -> None:
    upstream.may_answer.clear()
    call = stub.Embed(embed_pb2.EmbedRequest(texts=["a"]))
    task = asyncio.ensure_future(_answer(call))
    await upstream.next_request()
    call.cancel()
    await asyncio.wait_for(upstream.gone.wait(), 5)
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)


async def _answer(call: Any) -> Any:
    return await call


async def test_a_big_batch_of_a_server_comes_back_whole(stub: Stub, upstream: FakeUpstream) -> None:
    texts = [f"text {number}" for number in range(500)]
    assert np.allclose(await vectors(stub, *texts), unit(*texts))
    assert sum(len(request.texts) for request in upstream.requests) == 500
