"""Models at model servers: what is sent, what is taken, and what every failure becomes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
import orjson
import pytest

from services.embedd.config import ModelConfig
from services.embedd.errors import UpstreamFailed
from services.embedd.remote import RemoteProvider
from services.embedd.upstream import MAX_ANSWER_BYTES, Upstream
from services.runtime.errors import TooLarge
from services.runtime.threads import Threads
from tests.upstream import OLLAMA, OLLAMA_OLD, OPENAI, FakeUpstream, Reply, vector_of

KEY = "sk-0123456789abcdef"
ENVIRON = {"EMBED_KEY": KEY}


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as running:
        yield running


class Subject:
    """A provider at the fake server, without pauses."""

    def __init__(self, upstream: FakeUpstream, provider: str, **settings: Any) -> None:
        url = upstream.url + ("/v1" if provider == "openai" else "")
        config = ModelConfig(**({"provider": provider, "model": "embedder", "url": url} | settings))
        self.threads = Threads("embedd-test", 1)
        self.provider = RemoteProvider("mine", config, Upstream("mine", config, ENVIRON, 0.001), self.threads)

    async def __aenter__(self) -> Subject:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.provider.close()
        self.threads.close()

    async def embed(self, *texts: str, seconds: float = 5) -> np.ndarray:
        return await self.provider.embed(texts, asyncio.get_running_loop().time() + seconds)

    async def failure(self, *texts: str, seconds: float = 5) -> UpstreamFailed:
        with pytest.raises(UpstreamFailed) as raised:
            await self.embed(*texts, seconds=seconds)
        return raised.value


def raw(*texts: str, dimension: int = 4) -> np.ndarray:
    return np.array([vector_of(text, dimension) for text in texts], dtype=np.float32)


def unit(*texts: str, dimension: int = 4) -> np.ndarray:
    rows = raw(*texts, dimension=dimension)
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


both = pytest.mark.parametrize("speaks", ["ollama", "openai"])


@pytest.mark.requirement("E2")
async def test_the_request_to_ollama_is_known(upstream: FakeUpstream) -> None:
    async with Subject(upstream, "ollama") as subject:
        await subject.embed("a", "ü")
    [request] = upstream.requests
    assert request.path == OLLAMA
    assert request.body == {"model": "embedder", "input": ["a", "ü"]}
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


@pytest.mark.requirement("E2")
async def test_the_request_to_an_openai_server_is_known(upstream: FakeUpstream) -> None:
    async with Subject(upstream, "openai", key_env="EMBED_KEY") as subject:
        await subject.embed("a", "ü")
    [request] = upstream.requests
    assert request.path == OPENAI
    assert request.body == {"model": "embedder", "input": ["a", "ü"]}
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.requirement("E2")
async def test_an_older_ollama_is_asked_text_by_text_from_then_on(upstream: FakeUpstream) -> None:
    upstream.routes = {OLLAMA_OLD}
    async with Subject(upstream, "ollama") as subject:
        assert np.allclose(await subject.embed("a", "b"), unit("a", "b"))
        assert np.allclose(await subject.embed("c"), unit("c"))
    assert [request.path for request in upstream.requests] == [OLLAMA, OLLAMA_OLD, OLLAMA_OLD, OLLAMA_OLD]
    assert upstream.requests[-1].body == {"model": "embedder", "prompt": "c"}


@pytest.mark.requirement("E2")
async def test_an_ollama_without_the_model_is_not_taken_for_an_older_one(upstream: FakeUpstream) -> None:
    async with Subject(upstream, "ollama", model="other") as subject:
        failure = await subject.failure("a", "b")
    assert failure.metadata == {"provider": "ollama", "model": "mine", "status": "404"}
    assert [request.path for request in upstream.requests] == [OLLAMA]


@both
@pytest.mark.requirement("E1", "E4")
async def test_vectors_come_in_order_and_with_length_one(upstream: FakeUpstream, speaks: str) -> None:
    async with Subject(upstream, speaks) as subject:
        texts = ["a", "bb", "ccc"]
        rows = await subject.embed(*texts)
        assert rows.dtype == np.float32
        assert np.allclose(rows, unit(*texts))
        assert np.allclose((await subject.embed("dddd"))[0], unit("dddd")[0])


@both
@pytest.mark.requirement("E4")
async def test_vectors_stay_as_they_are_where_that_is_configured(upstream: FakeUpstream, speaks: str) -> None:
    async with Subject(upstream, speaks, normalized=False) as subject:
        assert np.array_equal(await subject.embed("a", "bb"), raw("a", "bb"))
        assert not subject.provider.model.normalized


@both
async def test_a_dimension_is_learned_from_the_first_answer_and_another_one_refused(
    upstream: FakeUpstream, speaks: str
) -> None:
    async with Subject(upstream, speaks) as subject:
        assert subject.provider.model.dimension == 0
        await subject.embed("a")
        assert subject.provider.model.dimension == 4
        upstream.dimension = 6
        failure = await subject.failure("b")
        assert (failure.metadata["dimension"], failure.metadata["expected"]) == ("6", "4")
        assert {"6", "4"} <= set(failure.message.split())
        assert "'mine'" in failure.message
        upstream.dimension = 4
        await subject.embed("b")


@both
async def test_a_configured_dimension_is_insisted_on(upstream: FakeUpstream, speaks: str) -> None:
    async with Subject(upstream, speaks, dimension=768) as subject:
        assert subject.provider.model.dimension == 768
        failure = await subject.failure("a", "b")
        assert (failure.metadata["dimension"], failure.metadata["expected"]) == ("4", "768")


@both
@pytest.mark.parametrize("learned", [True, False])
async def test_a_big_batch_is_cut_into_calls_that_run_at_once_up_to_a_bound(
    upstream: FakeUpstream, speaks: str, learned: bool
) -> None:
    texts = [f"text {number}" for number in range(25)]
    async with Subject(upstream, speaks, batch_texts=2, calls=3, dimension=0 if learned else 4) as subject:
        if learned:
            await subject.embed("a")
        upstream.may_answer.clear()
        task = asyncio.create_task(subject.embed(*texts))
        for _ in range(3 + learned):
            await upstream.next_request()
        upstream.may_answer.set()
        assert np.allclose(await task, unit(*texts))
    assert upstream.most_at_once == 3
    assert sorted(text for request in upstream.requests for text in request.texts if text != "a") == sorted(texts)
    assert max(len(request.texts) for request in upstream.requests) == 2


async def test_long_texts_are_not_sent_together(upstream: FakeUpstream) -> None:
    texts = [letter * 200_000 for letter in "abc"]
    async with Subject(upstream, "ollama") as subject:
        await subject.embed(*texts)
    assert [len(request.texts) for request in upstream.requests] == [1, 1, 1]


async def test_a_batch_too_big_for_an_answer_ends_after_the_call_that_told_so(upstream: FakeUpstream) -> None:
    upstream.dimension = 1_000
    async with Subject(upstream, "ollama", batch_texts=1) as subject:
        with pytest.raises(TooLarge):
            await subject.embed(*[f"{number}" for number in range(20_000)])
    assert len(upstream.requests) == 1


BAD_VECTORS: dict[str, Any] = {
    "null": [1, None, 1, 1],
    "text": [1, "2", 1, 1],
    "nested": [[1, 2, 3, 4]],
    "ragged": [1, [2], 3, 4],
    "empty": [],
    "no list": 7,
    "too big": [1e300, 0, 0, 0],
    "truth": [True, False, True, True],
    "zero": [0, 0, 0, 0],
}


def answer_with(speaks: str, vectors: Sequence[Any]) -> bytes:
    if speaks == "ollama":
        return orjson.dumps({"embeddings": vectors})
    return orjson.dumps({"data": [{"embedding": vector} for vector in vectors]})


@both
@pytest.mark.parametrize("name", BAD_VECTORS)
@pytest.mark.requirement("E1")
async def test_a_vector_that_is_none_is_refused(upstream: FakeUpstream, speaks: str, name: str) -> None:
    upstream.replies.append(Reply(body=answer_with(speaks, [[1, 2, 3, 4], BAD_VECTORS[name]])))
    async with Subject(upstream, speaks) as subject:
        failure = await subject.failure("a", "b")
        assert failure.metadata == {"provider": speaks, "model": "mine", "status": "200"}
        assert np.allclose(await subject.embed("a", "b"), unit("a", "b"))


@both
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>hello</html>",
        b"[1, 2",
        b"[" * 100_000,
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"embeddings": {}, "data": {}}',
        b'{"embeddings": [NaN], "data": [NaN]}',
        b'{"embeddings": [[1, NaN], [1, 2]], "data": [{"embedding": [1, NaN]}, {"embedding": [1, 2]}]}',
        b'{"embeddings": [[1, 2]], "data": [{"embedding": [1, 2]}]}',
        b'{"embeddings": [[1], [1], [1]], "data": [{"embedding": [1]}, {"embedding": [1]}, {"embedding": [1]}]}',
        b'{"embeddings": [[1], [1, 2]], "data": [{"embedding": [1]}, {"embedding": [1, 2]}]}',
        b'{"error": "no", "data": [{"index": 1, "embedding": [1]}, {"index": 1, "embedding": [1]}]}',
        b'{"error": "no", "data": [{"index": true, "embedding": [1]}, {"index": 1.0, "embedding": [1]}]}',
    ],
    ids=range(16),
)
@pytest.mark.requirement("E1")
async def test_an_answer_that_cannot_be_used_is_a_failure_of_the_server(
    upstream: FakeUpstream, speaks: str, body: bytes
) -> None:
    upstream.replies.append(Reply(body=body))
    async with Subject(upstream, speaks) as subject:
        failure = await subject.failure("a", "b")
    assert failure.metadata["status"] == "200"
    assert len(upstream.requests) == 1


@both
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 301, 302, 307, 204])
@pytest.mark.requirement("E1")
async def test_what_trying_again_cannot_mend_is_tried_once(upstream: FakeUpstream, speaks: str, status: int) -> None:
    upstream.replies.append(Reply(status, b'{"error": "no"}', {"location": upstream.url + "/elsewhere"}))
    async with Subject(upstream, speaks, key_env="EMBED_KEY") as subject:
        failure = await subject.failure("a", "b")
    assert failure.metadata == {"provider": speaks, "model": "mine", "status": str(status)}
    assert KEY not in failure.message
    assert len(upstream.requests) == 1


@both
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(upstream: FakeUpstream, speaks: str, status: int) -> None:
    upstream.replies += [Reply(status), Reply(status)]
    async with Subject(upstream, speaks) as subject:
        assert np.allclose(await subject.embed("a", "b"), unit("a", "b"))
    assert len(upstream.requests) == 3


@both
@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.requirement("E1")
async def test_trying_again_is_bounded(upstream: FakeUpstream, speaks: str, status: int) -> None:
    upstream.replies += [Reply(status)] * 10
    async with Subject(upstream, speaks, attempts=2) as subject:
        failure = await subject.failure("a", "b")
    assert failure.metadata["status"] == str(status)
    assert len(upstream.requests) == 2


async def test_nothing_is_tried_that_cannot_end_in_time(upstream: FakeUpstream) -> None:
    upstream.replies.append(Reply(429, headers={"retry-after": "30"}))
    async with Subject(upstream, "ollama") as subject:
        failure = await subject.failure("a", "b", seconds=20)
    assert failure.metadata["status"] == "429"
    assert len(upstream.requests) == 1


@both
async def test_a_broken_connection_is_tried_again(upstream: FakeUpstream, speaks: str) -> None:
    upstream.replies.append(Reply(drop=True))
    async with Subject(upstream, speaks) as subject:
        assert np.allclose(await subject.embed("a", "b"), unit("a", "b"))
    assert len(upstream.requests) == 2


@both
@pytest.mark.requirement("E1")
async def test_a_server_that_is_not_there_is_unavailable(upstream: FakeUpstream, speaks: str) -> None:
    async with Subject(upstream, speaks) as subject:
        await upstream.stop()
        failure = await subject.failure("a")
    assert failure.metadata == {"provider": speaks, "model": "mine"}


@both
@pytest.mark.requirement("E1")
async def test_a_server_that_keeps_silent_is_unavailable(upstream: FakeUpstream, speaks: str) -> None:
    upstream.may_answer.clear()
    async with Subject(upstream, speaks, timeout_seconds=0.05) as subject:
        failure = await subject.failure("a")
    assert failure.metadata == {"provider": speaks, "model": "mine"}
    assert len(upstream.requests) == 1


async def test_an_answer_without_an_end_is_cut_off(upstream: FakeUpstream) -> None:
    upstream.replies.append(Reply(body=b" " * (MAX_ANSWER_BYTES + 1)))
    async with Subject(upstream, "openai") as subject:
        assert (await subject.failure("a")).metadata["status"] == "200"


async def test_a_compressed_answer_is_refused(upstream: FakeUpstream) -> None:
    upstream.replies.append(Reply(body=b"xx", headers={"content-encoding": "gzip"}))
    async with Subject(upstream, "openai") as subject:
        assert (await subject.failure("a", "b")).metadata["status"] == "200"


@pytest.mark.parametrize("key", ["", " ", "sk-\n1", "sk-ü"])
@pytest.mark.requirement("X9")
async def test_without_a_key_every_call_is_refused_by_the_name_of_its_variable(
    upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setitem(ENVIRON, "EMBED_KEY", key)
    async with Subject(upstream, "openai", key_env="EMBED_KEY") as subject:
        failure = await subject.failure("a")
    assert "EMBED_KEY" in failure.message
    assert upstream.requests == []


@pytest.mark.requirement("X9")
async def test_what_a_server_writes_about_the_key_is_not_passed_on(
    upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.key = "another"
    caplog.set_level("DEBUG")
    async with Subject(upstream, "openai", key_env="EMBED_KEY") as subject:
        failure = await subject.failure("a")
    assert KEY not in f"{failure.message} {failure.metadata} {failure!r}"
    assert KEY not in caplog.text


@both
async def test_texts_asked_for_one_by_one_share_calls(upstream: FakeUpstream, speaks: str) -> None:
    upstream.may_answer.clear()
    async with Subject(upstream, speaks) as subject:
        first = asyncio.create_task(subject.embed("first"))
        await upstream.next_request()
        texts = [f"text {number}" for number in range(20)]
        later = [asyncio.create_task(subject.embed(text)) for text in texts]
        await asyncio.sleep(0)
        upstream.may_answer.set()
        assert np.allclose(np.concatenate(await asyncio.gather(*later)), unit(*texts))
        await first
    assert [len(request.texts) for request in upstream.requests] == [1, 20]


@both
@pytest.mark.parametrize("fault", ["refused", "broken"])
async def test_a_text_that_cannot_be_embedded_fails_nobody_else(
    upstream: FakeUpstream, speaks: str, fault: str
) -> None:
    getattr(upstream, fault).update({"bad 1", "bad 2", "bad 3"})
    texts = ["bad 1", "bad 2", "a", "b", "c", "bad 3", "d", "e", "f"]
    async with Subject(upstream, speaks) as subject:
        calls = [subject.embed(text) for text in texts]
        outcomes: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    for text, outcome in zip(texts, outcomes, strict=True):
        if text.startswith("bad"):
            assert isinstance(outcome, UpstreamFailed)
        else:
            assert np.allclose(outcome, unit(text))


@both
async def test_a_server_that_fails_is_not_asked_text_by_text(upstream: FakeUpstream, speaks: str) -> None:
    upstream.replies += [Reply(500)] * 100
    async with Subject(upstream, speaks, attempts=2) as subject:
        outcomes = await asyncio.gather(*[subject.embed(f"{n}") for n in range(32)], return_exceptions=True)
    assert all(isinstance(outcome, UpstreamFailed) for outcome in outcomes)
    assert [len(request.texts) for request in upstream.requests] == [32, 32, 16, 8, 4, 2, 1, 1, 2, 1, 1]


async def test_a_server_that_refuses_the_key_is_not_asked_again_text_by_text(upstream: FakeUpstream) -> None:
    upstream.key = "another"
    async with Subject(upstream, "openai", key_env="EMBED_KEY") as subject:
        outcomes = await asyncio.gather(*[subject.embed(f"{n}") for n in range(8)], return_exceptions=True)
    assert all(isinstance(outcome, UpstreamFailed) for outcome in outcomes)
    assert len(upstream.requests) == 1


@both
async def test_a_caller_that_goes_away_ends_the_call_to_the_server(upstream: FakeUpstream, speaks: str) -> None:
    upstream.may_answer.clear()
    async with Subject(upstream, speaks) as subject:
        for texts in (["a"], ["a", "b"]):
            upstream.gone.clear()
            task = asyncio.create_task(subject.embed(*texts))
            await upstream.next_request()
            task.cancel()
            await asyncio.wait_for(upstream.gone.wait(), 5)


async def test_a_text_alone_gets_its_turn_beside_a_big_batch(upstream: FakeUpstream) -> None:
    async with Subject(upstream, "ollama", batch_texts=1, calls=2, dimension=4) as subject:
        big = asyncio.create_task(subject.embed(*[f"{number}" for number in range(300)]))
        await upstream.next_request()
        await subject.embed("alone")
        assert not big.done()
        await big
    place = next(place for place, request in enumerate(upstream.requests) if request.texts == ["alone"])
    assert place < 30


async def test_an_old_server_is_not_asked_more_at_once_than_allowed(upstream: FakeUpstream) -> None:
    upstream.routes = {OLLAMA_OLD}
    async with Subject(upstream, "ollama", calls=2) as subject:
        rows = await subject.embed(*[f"{number}" for number in range(70)])
        assert np.allclose(rows, unit(*[f"{number}" for number in range(70)]))
    assert upstream.most_at_once <= 2


async def test_big_answers_are_read_too(upstream: FakeUpstream) -> None:
    upstream.dimension = 1_536
    texts = [f"text {number}" for number in range(70)]
    async with Subject(upstream, "openai") as subject:
        rows = await subject.embed(*texts)
    assert np.allclose(rows, unit(*texts, dimension=1_536))
    assert math.isclose(float(np.linalg.norm(rows[7])), 1, abs_tol=1e-6)
