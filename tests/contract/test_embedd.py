"""embedd through its stub, on both legs."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from lakehouse.embed.v1 import embed_pb2, embed_pb2_grpc

from services.mesh import Mesh
from services.runtime.errors import InvalidArgument, NotFound, TooLarge

QUESTION = "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30"
REWORDED = "Looking for three forklift drivers in Detroit, Michigan starting 6:00, with OSHA-30"
OTHER = "Which antibiotics are safe during pregnancy?"

Stub = embed_pb2_grpc.EmbedServiceStub


@pytest.fixture
def stub(mesh: Mesh) -> Stub:
    return Stub(mesh.connect("embedd"))


async def vectors(stub: Stub, *texts: str, model: str = "") -> np.ndarray:
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=texts, model=model))
    return np.array([embedding.values for embedding in response.embeddings], dtype=np.float32)


async def test_texts_become_vectors_of_the_default_model_in_order(stub: Stub) -> None:
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=[QUESTION, OTHER, QUESTION]))
    assert (response.model, response.dimension, response.normalized) == ("wordllama", 256, True)
    rows = np.array([embedding.values for embedding in response.embeddings])
    assert rows.shape == (3, 256)
    assert np.array_equal(rows[0], rows[2])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.array_equal((await vectors(stub, OTHER))[0], rows[1])


async def test_texts_of_one_meaning_are_nearer_than_others(stub: Stub) -> None:
    question, reworded, other = await vectors(stub, QUESTION, REWORDED, OTHER)
    assert question @ reworded > 0.7 > question @ other


async def test_a_model_is_chosen_by_its_id(stub: Stub) -> None:
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=["a"], model="hash"))
    assert (response.model, response.dimension, len(response.embeddings[0].values)) == ("hash", 64, 64)


async def test_hash_vectors_are_the_same_on_every_machine(stub: Stub) -> None:
    [row] = await vectors(stub, "forklift", model="hash")
    assert np.sign(row[:8]).tolist() == [1, 1, -1, -1, -1, -1, 1, -1]
    assert math.isclose(float(abs(row[0])), 1 / 8)


@pytest.mark.settings(embed={"default_model": "hash", "hash_dimension": 16})
async def test_the_default_model_is_a_setting(stub: Stub) -> None:
    response = await stub.Embed(embed_pb2.EmbedRequest(texts=["a"]))
    assert (response.model, response.dimension) == ("hash", 16)


async def test_models_are_listed_with_what_is_known_of_them(stub: Stub) -> None:
    models = (await stub.ListModels(embed_pb2.ListModelsRequest())).models
    assert [(m.id, m.provider, m.dimension, m.normalized, m.default) for m in models] == [
        ("hash", "hash", 64, True, False),
        ("wordllama", "wordllama", 256, True, True),
    ]


async def test_no_texts_are_refused(stub: Stub) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await stub.Embed(embed_pb2.EmbedRequest())
    assert raised.value.violations[0].field == "texts"


async def test_an_empty_text_is_refused_by_its_place(stub: Stub) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await stub.Embed(embed_pb2.EmbedRequest(texts=["a", "b", " \n"]))
    assert raised.value.violations[0].field == "texts[2]"


async def test_an_unknown_model_is_refused_with_those_there_are(stub: Stub) -> None:
    with pytest.raises(NotFound) as raised:
        await stub.Embed(embed_pb2.EmbedRequest(texts=["a"], model="gpt"))
    assert raised.value.reason == "MODEL_NOT_FOUND"
    assert raised.value.metadata["models"] == "hash, wordllama"


async def test_a_batch_whose_answer_would_not_fit_is_refused(stub: Stub) -> None:
    with pytest.raises(TooLarge):
        await stub.Embed(embed_pb2.EmbedRequest(texts=["a"] * 65_000))


async def test_stats_count_texts(stub: Stub) -> None:
    before = await stub.GetStats(embed_pb2.GetStatsRequest())
    assert (before.hits, before.misses, before.hit_rate, before.capacity) == (0, 0, 0.0, 10_000)
    await vectors(stub, "a", "b")
    await vectors(stub, "a", "b", "c", "a")
    after = await stub.GetStats(embed_pb2.GetStatsRequest())
    assert (after.hits, after.misses, after.size) == (3, 3, 3)
    assert after.hit_rate == 0.5


@pytest.mark.settings(embed={"cache_size": 0})
async def test_a_cache_of_zero_is_off(stub: Stub) -> None:
    first = await vectors(stub, "a")
    assert np.array_equal(await vectors(stub, "a"), first)
    stats = await stub.GetStats(embed_pb2.GetStatsRequest())
    assert (stats.hits, stats.misses, stats.size, stats.capacity) == (0, 2, 0, 0)


@pytest.mark.settings(embed={"cache_size": 2})
async def test_the_cache_lets_the_least_recently_used_go(stub: Stub) -> None:
    for text in ("a", "b", "a", "c", "a"):
        await vectors(stub, text)
    stats = await stub.GetStats(embed_pb2.GetStatsRequest())
    assert (stats.hits, stats.misses, stats.size) == (2, 3, 2)


async def test_a_big_batch_does_not_hold_up_others(stub: Stub) -> None:
    big = asyncio.create_task(vectors(stub, *[f"worker {n} on the night shift" for n in range(30_000)]))
    await vectors(stub, "a first question")
    small = asyncio.create_task(vectors(stub, "another question"))
    done, _ = await asyncio.wait({big, small}, return_when=asyncio.FIRST_COMPLETED)
    assert done == {small}
    assert (await big).shape == (30_000, 256)


async def test_many_callers_at_once_get_their_own_vectors(stub: Stub) -> None:
    texts = [[f"text {n % 7}", f"text {n}"] for n in range(50)]
    answers = await asyncio.gather(*[vectors(stub, *pair) for pair in texts])
    for pair, rows in zip(texts, answers, strict=True):
        assert np.array_equal(rows, await vectors(stub, *pair))
