"""matrixd searching many corpora, through its stub, with its real neighbours, on both legs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from lakehouse.embed.v1 import embed_pb2
from lakehouse.matrix.v1 import corpus_pb2, search_pb2
from lakehouse.vector.v1 import vector_pb2

from services.mesh import Mesh
from services.runtime.errors import InvalidArgument, NotFound, Unimplemented
from tests.contract.matrix_client import HASH, Matrix, at, ids, reason_of, where


@pytest.fixture
def matrix(mesh: Mesh) -> Matrix:
    return Matrix(mesh)


@pytest.mark.requirement("M1", "M12")
async def test_corpora_are_searched_together_and_merged_by_distance(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {"a1": at(10), "a2": at(40)}, kind="alpha")
    await matrix.corpus("beta", {"b1": at(20), "b2": at(80)}, kind="beta")
    response = await matrix.search("alpha", "beta", query_vector=at(0), k=3)
    assert [(hit.corpus, hit.id) for hit in response.hits] == [("alpha", "a1"), ("beta", "b1"), ("alpha", "a2")]
    assert [hit.distance for hit in response.hits] == pytest.approx(
        [1 - math.cos(math.radians(d)) for d in (10, 20, 40)]
    )
    assert MessageToDict(response.hits[1].metadata) == {"name": "b1", "kind": "beta"}
    assert dict(response.per_corpus_counts) == {"alpha": 2, "beta": 2}
    assert (response.boosted, response.injected, response.embedding_model) == (0, 0, "")


async def test_equal_distances_are_ordered_by_corpus_then_id(matrix: Matrix) -> None:
    await matrix.corpus("beta", {"b": at(30), "a": at(30)})
    await matrix.corpus("alpha", {"z": at(30)})
    response = await matrix.search("beta", "alpha", query_vector=at(0))
    assert [(hit.corpus, hit.id) for hit in response.hits] == [("alpha", "z"), ("beta", "a"), ("beta", "b")]


async def test_each_corpus_gives_at_most_its_share(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {f"a{n}": at(n) for n in range(5)})
    await matrix.corpus("beta", {f"b{n}": at(50 + n) for n in range(5)})
    response = await matrix.search("alpha", "beta", query_vector=at(0), k=4, per_corpus_k=2)
    assert ids(response) == ["a0", "a1", "b0", "b1"]
    assert dict(response.per_corpus_counts) == {"alpha": 2, "beta": 2}


async def test_a_corpus_named_twice_is_searched_once(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {"a": at(10)})
    response = await matrix.search("alpha", "ALPHA", "alpha", query_vector=at(0))
    assert ids(response) == ["a"]
    assert dict(response.per_corpus_counts) == {"alpha": 1}


async def test_an_empty_corpus_counts_zero(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {"a": at(10)})
    await matrix.vector.DeleteItems(vector_pb2.DeleteItemsRequest(name="alpha", ids=["a"]))
    response = await matrix.search("alpha", query_vector=at(0))
    assert ids(response) == []
    assert dict(response.per_corpus_counts) == {"alpha": 0}


@HASH
async def test_a_text_is_embedded_by_the_model_of_the_corpora(matrix: Matrix) -> None:
    await matrix.texts("alpha", {"a": "forklift operator in Detroit", "b": "night nurse in Toledo"}, model="wordllama")
    response = await matrix.search("alpha", query_text="nurse for the night")
    assert ids(response) == ["b", "a"]
    assert response.embedding_model == "wordllama"
    expected = await matrix.distance("night nurse in Toledo", "nurse for the night", "wordllama")
    assert response.hits[0].distance == pytest.approx(expected, abs=1e-6)


@HASH
async def test_a_corpus_without_a_known_model_is_asked_with_the_default_one(matrix: Matrix) -> None:
    await matrix.texts("known", {"a": "forklift operator"})
    response = await matrix.embed.Embed(embed_pb2.EmbedRequest(texts=["night nurse"]))
    await matrix.corpus("unknown", {"b": list(response.embeddings[0].values)})
    assert (await matrix.search("unknown", query_text="night nurse")).embedding_model == "hash"
    assert ids(await matrix.search("known", "unknown", query_text="night nurse")) == ["b", "a"]


@HASH
async def test_a_vector_wins_over_a_text(matrix: Matrix) -> None:
    await matrix.texts("alpha", {"a": "forklift operator", "b": "night nurse"})
    response = await matrix.embed.Embed(embed_pb2.EmbedRequest(texts=["forklift operator"], model="hash"))
    both = await matrix.search("alpha", query_text="night nurse", query_vector=response.embeddings[0].values)
    assert ids(both) == ["a", "b"]
    assert both.embedding_model == ""


async def test_a_search_without_text_and_vector_is_refused(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {"a": at(10)})
    for fields in ({}, {"query_text": " \n"}):
        with pytest.raises(InvalidArgument) as raised:
            await matrix.search("alpha", **fields)
        assert reason_of(raised) == "MISSING_QUERY"


async def test_a_search_without_corpora_is_refused(matrix: Matrix) -> None:
    with pytest.raises(InvalidArgument) as raised:
        await matrix.search(query_text="a")
    assert raised.value.violations[0].field == "corpora"


@pytest.mark.requirement("M1")
@pytest.mark.parametrize("query", [{"query_text": "a"}, {"query_vector": [1.0, 0.0]}])
async def test_an_unknown_corpus_is_refused_by_name(matrix: Matrix, query: dict[str, Any]) -> None:
    await matrix.corpus("alpha", {"a": at(10)})
    with pytest.raises(NotFound) as raised:
        await matrix.search("alpha", "nowhere", **query)
    assert reason_of(raised) == "CORPUS_NOT_FOUND"
    assert raised.value.metadata["corpus"] == "nowhere"


async def test_a_vector_of_another_length_is_refused_naming_the_corpus(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {"a": at(10)})
    await matrix.corpus("beta", {"b": [1.0, 0.0, 0.0]})
    with pytest.raises(InvalidArgument) as raised:
        await matrix.search("alpha", "beta", query_vector=at(0))
    assert reason_of(raised) == "WRONG_DIMENSION"
    assert raised.value.metadata["corpus"] == "beta"


@HASH
async def test_one_text_for_corpora_of_different_models_is_refused(matrix: Matrix) -> None:
    await matrix.texts("alpha", {"a": "forklift"})
    await matrix.texts("beta", {"b": "forklift"}, model="wordllama")
    with pytest.raises(InvalidArgument) as raised:
        await matrix.search("alpha", "beta", query_text="forklift")
    assert reason_of(raised) == "MIXED_MODELS"


@HASH
async def test_a_corpus_that_was_made_anew_with_another_model_is_found_at_once(matrix: Matrix) -> None:
    await matrix.texts("alpha", {"a": "forklift"})
    assert (await matrix.search("alpha", query_text="forklift")).embedding_model == "hash"
    await matrix.vector.DeleteIndex(vector_pb2.DeleteIndexRequest(name="alpha"))
    await matrix.texts("alpha", {"a": "forklift"}, model="wordllama")
    assert (await matrix.search("alpha", query_text="forklift")).embedding_model == "wordllama"


@pytest.mark.requirement("M2")
async def test_excluded_ids_and_filtered_items_cost_no_places(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {f"a{n}": at(n) for n in range(4)}, shift="day")
    await matrix.corpus("beta", {f"b{n}": at(10 + n) for n in range(4)}, shift="night")
    excluded = await matrix.search("alpha", "beta", query_vector=at(0), k=3, exclude_ids=["a0", "a2", "b0"])
    assert ids(excluded) == ["a1", "a3", "b1"]
    filtered = await matrix.search("alpha", "beta", query_vector=at(0), k=3, filter=where("shift", "night"))
    assert ids(filtered) == ["b0", "b1", "b2"]
    assert dict(filtered.per_corpus_counts) == {"alpha": 0, "beta": 3}


async def test_a_judge_of_a_later_release_is_refused_by_name(matrix: Matrix) -> None:
    await matrix.corpus("alpha", {"a": at(1)})
    with pytest.raises(Unimplemented) as raised:
        await matrix.search("alpha", query_text="a", judge_gate=search_pb2.JudgeGate(judge="model"))
    assert (raised.value.reason, raised.value.metadata["judge"]) == ("JUDGE_NOT_AVAILABLE", "model")


@pytest.mark.requirement("M13")
async def test_corpora_are_listed_with_what_is_known_of_them(matrix: Matrix) -> None:
    await matrix.corpus("beta", {"b": at(1), "c": at(2)}, metric="l2")
    await matrix.corpus("alpha", {"a": at(1)}, model="hash")
    listed = (await matrix.stub.ListCorpora(corpus_pb2.ListCorporaRequest())).corpora
    assert [(c.name, c.dimension, c.count, c.embedding_model, c.metric) for c in listed] == [
        ("alpha", 2, 1, "hash", "cosine"),
        ("beta", 2, 2, "", "l2"),
    ]
    assert all(corpus.updated_at.seconds for corpus in listed)
    page = await matrix.stub.ListCorpora(corpus_pb2.ListCorporaRequest(page_size=1))
    rest = await matrix.stub.ListCorpora(corpus_pb2.ListCorporaRequest(page_size=5, page_token=page.next_page_token))
    assert [corpus.name for corpus in (*page.corpora, *rest.corpora)] == ["alpha", "beta"]


@pytest.mark.requirement("M3")
async def test_chunks_are_kept_or_dropped_with_their_signals(matrix: Matrix) -> None:
    focus = search_pb2.FocusFile(
        path="crates/queryd/src/db.rs", text="use catalogd::Registry;\npub struct Connector {}"
    )
    chunks = [
        search_pb2.Chunk(id="1", text="Registry of manifests"),
        search_pb2.Chunk(id="2", text="Connector of pools"),
        search_pb2.Chunk(id="3", text="bread"),
    ]
    response = await matrix.stub.FilterRelevance(search_pb2.FilterRelevanceRequest(focus=focus, chunks=chunks))
    assert [chunk.id for chunk in response.kept] == ["2"]
    assert [chunk.id for chunk in response.dropped] == ["3", "1"]
    assert response.dropped[0].score == 0.0
    assert response.threshold == 0.3
    assert {signal.signal for signal in response.kept[0].signals} == {"defined_symbol", "jaccard"}
    all_kept = search_pb2.FilterRelevanceRequest(focus=focus, chunks=chunks, threshold=-1)
    assert len((await matrix.stub.FilterRelevance(all_kept)).kept) == 3
    with pytest.raises(InvalidArgument):
        await matrix.stub.FilterRelevance(search_pb2.FilterRelevanceRequest(focus=focus))


@pytest.mark.requirement("M4")
@pytest.mark.settings(matrix={"weak_models": ("tiny",)})
async def test_a_strong_model_is_downgraded_unless_forced(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    async def decide(model: str, force: bool | None = None) -> str:
        request = search_pb2.DowngradeRequest(mode="lakehouse", model=model, force=force)
        return (await matrix.stub.Downgrade(request)).mode

    assert [await decide("grok"), await decide("tiny"), await decide("grok", True)] == [
        "isolation",
        "lakehouse",
        "lakehouse",
    ]
    monkeypatch.setenv("LH_FORCE_FULL_ENRICHMENT", "1")
    assert [await decide("grok"), await decide("grok", False)] == ["lakehouse", "isolation"]
    with pytest.raises(InvalidArgument):
        await matrix.stub.Downgrade(search_pb2.DowngradeRequest(mode="lakehouse"))
