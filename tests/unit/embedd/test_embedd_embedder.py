"""Batches, cache and shared work, with a provider that a test can hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from services.embedd.cache import VectorCache
from services.embedd.config import EmbedConfig
from services.embedd.embedder import Embedder
from services.embedd.errors import ModelNotFound, UpstreamFailed
from services.embedd.providers import Matrix, Model, Vector, check_answer_size, slices
from services.embedd.registry import Registry, build_registry
from services.runtime.errors import DeadlineExceeded, InvalidArgument, TooLarge
from services.runtime.threads import Threads


class SlowProvider:
    """A provider as a model server would be one: it answers when the test lets it."""

    model = Model(id="slow", provider="ollama", dimension=2, normalized=False)

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.deadlines: list[float] = []
        self.asked: asyncio.Queue[list[str]] = asyncio.Queue()
        self.cancelled = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.fails = False
        self.refused: set[str] = set()

    def embed_now(self, texts: Sequence[str]) -> Matrix | None:
        return None

    def embed_one_now(self, text: str) -> Vector | None:
        return None

    async def embed(self, texts: Sequence[str], deadline: float) -> Matrix:
        self.batches.append(list(texts))
        self.deadlines.append(deadline)
        self.asked.put_nowait(list(texts))
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.fails or self.refused & set(texts):
            raise UpstreamFailed("the model server does not answer", model=self.model.id)
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)

    async def load(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to close."""


def embedder(provider: SlowProvider, *, capacity: int = 10, deadline: float = 5) -> Embedder:
    return Embedder(Registry([provider], "slow"), VectorCache(capacity), deadline)


async def until_asked(provider: SlowProvider, batches: int) -> None:
    for _ in range(batches):
        await asyncio.wait_for(provider.asked.get(), 5)


async def lengths(subject: Embedder, texts: Sequence[str]) -> list[int]:
    return [int(row[0]) for row in (await subject.embed(texts, "")).rows]


async def test_vectors_come_in_the_order_of_the_texts() -> None:
    provider = SlowProvider()
    provider.may_answer.set()
    assert await lengths(embedder(provider), ["ccc", "a", "bb", "a"]) == [3, 1, 2, 1]


async def test_only_texts_that_are_not_remembered_are_sent() -> None:
    provider = SlowProvider()
    provider.may_answer.set()
    subject = embedder(provider)
    await subject.embed(["a", "bb"], "")
    assert await lengths(subject, ["a", "ccc", "bb"]) == [1, 3, 2]
    assert provider.batches == [["a", "bb"], ["ccc"]]
    stats = subject.stats()
    assert (stats.hits, stats.misses, stats.size) == (2, 3, 3)


async def test_a_text_that_comes_twice_in_a_batch_is_sent_once() -> None:
    provider = SlowProvider()
    provider.may_answer.set()
    await embedder(provider, capacity=0).embed(["a", "a", "bb"], "")
    assert provider.batches == [["a", "bb"]]


async def test_without_a_cache_every_call_computes() -> None:
    provider = SlowProvider()
    provider.may_answer.set()
    subject = embedder(provider, capacity=0)
    await subject.embed(["a"], "")
    await subject.embed(["a"], "")
    assert len(provider.batches) == 2
    assert subject.stats().misses == 2


async def test_identical_misses_at_once_share_one_call() -> None:
    provider = SlowProvider()
    subject = embedder(provider)
    calls = [asyncio.create_task(lengths(subject, ["a", "bb"])) for _ in range(5)]
    mixed = asyncio.create_task(lengths(subject, ["ccc", "bb"]))
    await until_asked(provider, 2)
    provider.may_answer.set()
    assert await asyncio.gather(*calls, mixed) == [[1, 2]] * 5 + [[3, 2]]
    assert provider.batches == [["a", "bb"], ["ccc"]]


async def test_a_caller_that_goes_away_leaves_the_others_undisturbed() -> None:
    provider = SlowProvider()
    subject = embedder(provider)
    first = asyncio.create_task(lengths(subject, ["a"]))
    await until_asked(provider, 1)
    second = asyncio.create_task(lengths(subject, ["a"]))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    provider.may_answer.set()
    assert await second == [1]
    assert not provider.cancelled.is_set()


async def test_work_stops_when_every_caller_is_gone() -> None:
    provider = SlowProvider()
    subject = embedder(provider)
    call = asyncio.create_task(lengths(subject, ["a"]))
    await until_asked(provider, 1)
    call.cancel()
    await asyncio.wait([call])
    again = asyncio.create_task(lengths(subject, ["a"]))
    await until_asked(provider, 1)
    provider.may_answer.set()
    assert await again == [1]
    assert provider.cancelled.is_set()


async def test_a_batch_that_takes_too_long_is_ended() -> None:
    provider = SlowProvider()
    with pytest.raises(DeadlineExceeded):
        await embedder(provider, deadline=0.01).embed(["a"], "")
    await asyncio.wait_for(provider.cancelled.wait(), 5)


async def test_a_failing_model_server_is_unavailable_and_nothing_is_remembered() -> None:
    provider = SlowProvider()
    provider.fails = True
    provider.may_answer.set()
    subject = embedder(provider)
    with pytest.raises(UpstreamFailed):
        await subject.embed(["a"], "")
    provider.fails = False
    assert await lengths(subject, ["a"]) == [1]


@pytest.mark.parametrize("empty", ["", " ", "\n\t", "\u2003"])
async def test_an_empty_text_is_refused_by_its_place(empty: str) -> None:
    provider = SlowProvider()
    with pytest.raises(InvalidArgument) as raised:
        await embedder(provider).embed(["a", empty, ""], "")
    assert [violation.field for violation in raised.value.violations] == ["texts[1]"]
    assert provider.batches == []


async def test_an_unknown_model_is_refused_with_the_models_there_are() -> None:
    with pytest.raises(ModelNotFound) as raised:
        await embedder(SlowProvider()).embed(["a"], "other")
    assert raised.value.metadata["models"] == "slow"


def test_a_batch_whose_answer_would_not_fit_is_refused() -> None:
    check_answer_size(60_000, 256)
    with pytest.raises(TooLarge):
        check_answer_size(65_536, 256)


async def test_big_batches_and_small_ones_give_the_same_vectors() -> None:
    threads = Threads("embedd-test", 2)
    try:
        registry = build_registry(EmbedConfig(default_model="hash"), threads, {})
        subject = Embedder(registry, VectorCache(0), 5)
        texts = [f"text number {number}" for number in range(300)]
        cold = await subject.embed(texts[:1], "")
        whole = await subject.embed(texts, "")
        single = [(await subject.embed([text], "")).rows[0] for text in texts]
        assert np.array_equal(cold.rows[0], whole.rows[0])
        assert np.array_equal(np.array(whole.rows), np.array(single))
    finally:
        threads.close()


@pytest.mark.parametrize(
    ("lengths_of_texts", "expected"),
    [([], []), ([1], [(0, 1)]), ([40_000, 1, 1], [(0, 1), (1, 3)]), ([1] * 65, [(0, 64), (64, 65)])],
)
def test_a_batch_is_cut_into_slices(lengths_of_texts: list[int], expected: list[tuple[int, int]]) -> None:
    assert list(slices(["x" * length for length in lengths_of_texts])) == expected


async def test_a_caller_does_not_suffer_for_a_batch_of_another_that_holds_its_text() -> None:
    provider = SlowProvider()
    provider.refused = {"bad"}
    subject = embedder(provider)
    first = asyncio.create_task(lengths(subject, ["a", "bad"]))
    await until_asked(provider, 1)
    second = asyncio.create_task(lengths(subject, ["a"]))
    third = asyncio.create_task(lengths(subject, ["ccc", "a"]))
    await until_asked(provider, 1)
    provider.may_answer.set()
    with pytest.raises(UpstreamFailed):
        await first
    assert [await second, await third] == [[1], [3, 1]]
    assert provider.batches == [["a", "bad"], ["ccc"], ["a"]]


async def test_one_text_waits_no_longer_than_its_own_deadline() -> None:
    provider = SlowProvider()
    subject = embedder(provider, deadline=0.05)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    calls = [asyncio.create_task(subject.embed(texts, "")) for texts in (["a"], ["a", "bb"])]
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, DeadlineExceeded)
    assert provider.deadlines[0] == pytest.approx(begin + 0.05, abs=0.04)
