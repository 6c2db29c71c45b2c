"""What one index promises: found at once, k of them, nearest first, whatever was sealed or deleted."""

from __future__ import annotations

import numpy as np
import pytest

from services.vectord.config import VectorConfig
from services.vectord.errors import AnswerTooLarge, FilterTooDeep, IndexNotFound, NotFinite, WrongDimension, ZeroNorm
from services.vectord.files.manifest import Description, Source
from services.vectord.segments.filters import Exists, Filter, Not
from services.vectord.segments.metric import METRICS, Floats, Metric
from services.vectord.segments.sealed import GRAPH_ROWS
from services.vectord.segments.snapshot import Found, Query
from services.vectord.tree import plan
from services.vectord.tree.index import Index
from services.vectord.tree.items import Item

from .conftest import Opener

DIMENSION = 16


def items(vectors: Floats, prefix: str = "id-", metadata: bytes | None = None) -> list[Item]:
    return [Item(id=f"{prefix}{row:05d}", vector=vector, metadata=metadata) for row, vector in enumerate(vectors)]


def search(index: Index, vector: Floats, query: Query) -> Found:
    return index.search([vector], query, ["vector"])[0]


def clustered(count: int, *, clusters: int = 40, dimension: int = DIMENSION, seed: int = 1) -> Floats:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, dimension))
    spread = 0.3 * random.standard_normal((count, dimension))
    return (centres[random.integers(0, clusters, count)] + spread).astype(np.float32)


def recall(index: Index, queries: Floats, k: int = 10) -> float:
    right = 0
    for vector in queries:
        found = search(index, vector, Query(k=k))
        exact = search(index, vector, Query(k=k, exact=True))
        right += len(set(found.ids) & set(exact.ids))
    return right / (k * len(queries))


@pytest.mark.requirement("V3", "V4")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("sealed", [False, True])
def test_an_added_vector_is_found_first_and_comes_back_as_it_was(opener: Opener, metric: Metric, sealed: bool) -> None:
    index = opener.create(metric)
    vectors = np.random.default_rng(0).standard_normal((50, DIMENSION)).astype(np.float32) * 3
    index.add(items(vectors))
    if sealed:
        index.compact()
    for row, vector in enumerate(vectors):
        found = search(index, vector, Query(k=3, with_vectors=True))
        assert found.distances == sorted(found.distances)
        assert found.vectors is not None
        if metric != "ip":
            assert found.ids[0] == f"id-{row:05d}"
            assert found.distances[0] == 0
            assert np.allclose(found.vectors[0], vector, rtol=1e-6)


@pytest.mark.requirement("V4")
def test_distances_are_those_of_the_metric(opener: Opener) -> None:
    expected: dict[Metric, list[float]] = {"cosine": [0, 1, 2], "l2": [1, 5, 9], "ip": [-1, 1, 3]}
    for metric, distances in expected.items():
        index = opener.create(metric, dimension=2, name=metric)
        index.add(items(np.array([[2, 0], [0, 2], [-2, 0]], dtype=np.float32)))
        assert search(index, np.array([1, 0], dtype=np.float32), Query(k=3)).distances == distances


def test_a_search_of_an_empty_index_finds_nothing(opener: Opener) -> None:
    index = opener.create()
    assert search(index, np.ones(DIMENSION, dtype=np.float32), Query(k=5, with_vectors=True)).ids == []
    index.compact()
    assert search(index, np.ones(DIMENSION, dtype=np.float32), Query(k=5)).ids == []


def test_a_bad_query_is_refused_by_its_field(opener: Opener) -> None:
    index = opener.create(dimension=2)
    index.add(items(np.ones((1, 2), dtype=np.float32)))
    deep: Filter = Exists(field="x")
    for _ in range(32):
        deep = Not(filter=deep)
    good = np.ones(2, dtype=np.float32)
    with pytest.raises(WrongDimension) as raised:
        index.search([good, np.ones(3, dtype=np.float32)], Query(k=1), ["vectors[0].values", "vectors[1].values"])
    assert raised.value.violations[0].field == "vectors[1].values"
    with pytest.raises(NotFinite):
        search(index, np.array([1, np.nan], dtype=np.float32), Query(k=1))
    with pytest.raises(ZeroNorm):
        search(index, np.zeros(2, dtype=np.float32), Query(k=1))
    with pytest.raises(FilterTooDeep):
        search(index, good, Query(k=1, filter=deep))
    with pytest.raises(FilterTooDeep):
        index.get(["id-00000"], condition=deep)


@pytest.mark.requirement("V3")
@pytest.mark.parametrize("metric", METRICS)
def test_a_graph_finds_what_a_scan_finds(opener: Opener, metric: Metric) -> None:
    index = opener.create(metric)
    vectors = clustered(GRAPH_ROWS + 2000)
    index.add(items(vectors[:-200]))
    index.compact()
    assert index.info().hot_count == 0
    assert index.info().segments == 1
    assert recall(index, vectors[-200:]) >= 0.99


@pytest.mark.requirement("V3")
def test_a_graph_over_noise_gives_way_to_a_scan(opener: Opener) -> None:
    index = opener.create(dimension=128)
    vectors = np.random.default_rng(5).standard_normal((GRAPH_ROWS + 1100, 128)).astype(np.float32)
    index.add(items(vectors[:-100]))
    index.compact()
    assert recall(index, vectors[-100:]) >= 0.99


@pytest.mark.requirement("V3")
def test_a_graph_is_added_to_and_keeps_finding(opener: Opener) -> None:
    index = opener.create()
    vectors = clustered(GRAPH_ROWS + 3000)
    index.add(items(vectors[:GRAPH_ROWS]))
    index.compact()
    index.add(items(vectors[GRAPH_ROWS : GRAPH_ROWS + 2800], prefix="later-"))
    index.delete([f"id-{row:05d}" for row in range(300)])
    index.compact()
    info = index.info()
    assert (info.segments, info.hot_count, info.count, info.tombstones) == (1, 0, GRAPH_ROWS + 2500, 300)
    assert recall(index, vectors[-200:]) >= 0.99
    for row in range(300, GRAPH_ROWS, 97):
        assert search(index, vectors[row], Query(k=1)).ids == [f"id-{row:05d}"]
    for row in range(0, 2800, 97):
        assert search(index, vectors[GRAPH_ROWS + row], Query(k=1)).ids == [f"later-{row:05d}"]


@pytest.mark.requirement("V4")
def test_deleted_items_cost_no_places_in_the_result(opener: Opener) -> None:
    index = opener.create()
    vectors = clustered(GRAPH_ROWS + 1000)
    index.add(items(vectors))
    index.compact()
    gone = search(index, vectors[7], Query(k=900)).ids
    index.delete(gone)
    found = search(index, vectors[7], Query(k=500))
    assert len(found.ids) == 500
    assert not set(found.ids) & set(gone)
    assert len(search(index, vectors[7], Query(k=10_000)).ids) == GRAPH_ROWS + 100


def test_a_neighbourhood_that_was_thinned_out_is_searched_as_well(opener: Opener) -> None:
    index = opener.create()
    vectors = clustered(GRAPH_ROWS + 1000)
    index.add(items(vectors[:-1]))
    index.compact()
    near = search(index, vectors[-1], Query(k=150, exact=True)).ids
    for thinned in (near[:20], near[20:60], near[60:100:2], near[100:]):
        index.delete(thinned)
        found = search(index, vectors[-1], Query(k=10))
        assert len(set(found.ids) & set(search(index, vectors[-1], Query(k=10, exact=True)).ids)) >= 9
    excluded = search(index, vectors[-1], Query(k=60)).ids[::2]
    found = search(index, vectors[-1], Query(k=10, exclude_ids=excluded))
    exact = search(index, vectors[-1], Query(k=10, exclude_ids=excluded, exact=True))
    assert len(set(found.ids) & set(exact.ids)) >= 9


def test_excluded_items_cost_no_places_in_the_result(opener: Opener) -> None:
    index = opener.create()
    vectors = clustered(GRAPH_ROWS + 1000)
    index.add(items(vectors))
    index.compact()
    nearest = search(index, vectors[7], Query(k=40)).ids
    found = search(index, vectors[7], Query(k=20, exclude_ids=[*nearest[:20], "unknown"]))
    assert found.ids == nearest[20:]


@pytest.mark.requirement("V4")
def test_equal_vectors_come_in_the_order_of_their_ids_from_a_graph_too(opener: Opener) -> None:
    index = opener.create("l2")
    few = clustered(60)
    vectors = np.repeat(few, 100, axis=0)
    index.add(items(vectors))
    before = [search(index, vector, Query(k=7)) for vector in few]
    index.compact()
    assert [search(index, vector, Query(k=7)) for vector in few] == before
    assert before[3].ids == [f"id-{row:05d}" for row in range(300, 307)]


def test_only_the_named_items_are_searched(opener: Opener) -> None:
    index = opener.create()
    vectors = clustered(GRAPH_ROWS + 100)
    index.add(items(vectors))
    index.compact()
    wanted = [f"id-{row:05d}" for row in range(0, GRAPH_ROWS, 500)]
    assert set(search(index, vectors[1], Query(k=100, only_ids=[*wanted, "unknown"])).ids) == set(wanted)
    assert search(index, vectors[1], Query(k=100, only_ids=[])).ids == []


def test_several_vectors_are_searched_on_one_state(opener: Opener) -> None:
    index = opener.create()
    vectors = clustered(300)
    index.add(items(vectors))
    names = [f"vectors[{place}]" for place in range(300)]
    together = index.search(list(vectors), Query(k=5), names)
    assert together == [search(index, vector, Query(k=5)) for vector in vectors]


@pytest.mark.requirement("V2")
def test_metadata_left_out_stays_and_empty_metadata_clears(opener: Opener) -> None:
    index = opener.create()
    one = np.ones((1, DIMENSION), dtype=np.float32)
    index.add(items(one, metadata=b"\n\x03\n\x01a"))
    index.compact()
    index.add(items(2 * one))
    assert index.get(["id-00000"]).metadata == [b"\n\x03\n\x01a"]
    index.add(items(one, metadata=b""))
    assert index.get(["id-00000"]).metadata == [b""]


@pytest.mark.requirement("V2")
def test_a_refused_batch_changes_nothing(opener: Opener) -> None:
    index = opener.create()
    good = items(np.ones((3, DIMENSION), dtype=np.float32))
    with pytest.raises(WrongDimension):
        index.add([*good, Item(id="bad", vector=np.ones(3, dtype=np.float32))])
    assert index.info().count == 0
    assert opener.open(index.path).info().count == 0


def test_a_deleted_index_takes_no_more_writes_but_ends_its_searches(opener: Opener) -> None:
    index = opener.create()
    index.add(items(np.ones((3, DIMENSION), dtype=np.float32)))
    assert index.retire() == 3
    with pytest.raises(IndexNotFound):
        index.add(items(np.ones((1, DIMENSION), dtype=np.float32)))
    with pytest.raises(IndexNotFound):
        index.delete(["id-00000"])
    index.compact()
    assert len(search(index, np.ones(DIMENSION, dtype=np.float32), Query(k=9)).ids) == 3


@pytest.mark.requirement("V9")
def test_an_index_remembers_how_it_was_described(opener: Opener) -> None:
    description = Description(
        name="Bewerber \N{SNOWMAN} 100%",
        dimension=2,
        metric="ip",
        source=Source(dataset="workers", dataset_version=3, embedding_model="m", properties=b"\x00\xff"),
        bucket="rescue",
        created_ns=5,
    )
    index = opener.describe(description)
    index.close()
    assert opener.open(index.path).info().description == description


def test_the_time_of_the_last_write_survives(opener: Opener) -> None:
    index = opener.create()
    index.add(items(np.ones((1, DIMENSION), dtype=np.float32)))
    written = index.info().updated_ns
    assert written > index.description.created_ns
    index.close()
    index = opener.open(index.path)
    assert index.info().updated_ns == written
    index.compact()
    index.close()
    assert opener.open(index.path).info().updated_ns == written


def test_an_index_is_due_when_its_hot_segment_is_full_and_again_when_it_is_quiet(opener: Opener) -> None:
    index = opener.create(config=VectorConfig(hot_bytes=1, quiet_seconds=1e-9))
    vectors = clustered(1000)
    index.add(items(vectors[: plan.LEAST_HOT_ROWS - 1]))
    assert index.due() is None
    index.add(items(vectors[:1], prefix="one-"))
    assert index.due() == plan.BUSY
    index.compact(plan.BUSY)
    assert index.due() is None
    index.add(items(vectors[:50], prefix="few-"))
    assert index.due() == plan.QUIET
    index.compact(plan.QUIET)
    assert (index.due(), index.info().segments, index.info().hot_count) == (None, 1, 0)


def test_an_index_is_due_when_much_of_a_segment_is_dead(opener: Opener) -> None:
    index = opener.create()
    index.add(items(clustered(400)))
    index.compact()
    index.delete([f"id-{row:05d}" for row in range(101)])
    assert index.due() == plan.BUSY
    index.compact()
    assert (index.due(), index.info().tombstones, index.info().count) == (None, 0, 299)


def test_an_index_of_which_everything_was_deleted_is_empty_on_disk_too(opener: Opener) -> None:
    index = opener.create()
    index.add(items(clustered(400)))
    index.compact()
    index.delete([f"id-{row:05d}" for row in range(400)])
    index.compact()
    info = index.info()
    assert (info.count, info.segments, info.hot_count, info.tombstones) == (0, 0, 0, 0)
    assert info.size < 2000


@pytest.mark.requirement("X7")
def test_an_answer_that_would_not_fit_into_memory_is_refused(opener: Opener) -> None:
    index = opener.create(dimension=65_536)
    vectors = np.random.default_rng(0).standard_normal((70, 65_536)).astype(np.float32)
    index.add(items(vectors))
    assert len(index.get([f"id-{row:05d}" for row in range(70)]).ids) == 70
    with pytest.raises(AnswerTooLarge):
        index.get(["id"] * 257)
    assert index.get(["id"] * 257, with_vectors=False).ids == []
    with pytest.raises(AnswerTooLarge):
        search(index, vectors[0], Query(k=257, with_vectors=True))
    found = search(index, vectors[3], Query(k=257))
    assert (found.ids[0], len(found.ids), found.distances) == ("id-00003", 70, sorted(found.distances))
    assert [len(page.ids) for page in (index.page("", 300, with_vectors=True)[0], index.page("", 60)[0])] == [70, 60]


def test_short_searches_stay_on_the_event_loop_and_long_ones_do_not(opener: Opener) -> None:
    index = opener.create()
    index.add(items(clustered(100)))
    assert index.quick(Query(k=10))
    assert not index.quick(Query(k=10), vectors=10_000)
    assert not index.quick(Query(k=10, filter=Exists(field="x")))
    assert not index.quick(Query(k=10, only_ids=[]))
