"""However vectors are kept, an index gives the same answers before and after it seals them (V8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.vectord.config import VectorConfig
from services.vectord.errors import NotFinite
from services.vectord.files.manifest import Description
from services.vectord.segments.metric import METRICS, Floats, Metric
from services.vectord.segments.sealed import GRAPH_ROWS
from services.vectord.segments.snapshot import Found, Query
from services.vectord.segments.storage import LARGEST_HALF, STORAGE_TYPES, StorageType
from services.vectord.tree import plan
from services.vectord.tree.engine import Engine
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item

from .conftest import Opener

DIMENSION = 32
SMALLER: list[StorageType] = ["float16", "int8"]


def clustered(count: int, *, clusters: int = 60, seed: int = 1) -> Floats:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, DIMENSION))
    spread = 0.4 * random.standard_normal((count, DIMENSION))
    return (centres[random.integers(0, clusters, count)] + spread).astype(np.float32)


def fill(index: Engine, vectors: Floats, prefix: str = "id-") -> None:
    index.add([Item(id=f"{prefix}{row:05d}", vector=vector) for row, vector in enumerate(vectors)])


def search(index: Engine, vector: Floats, k: int = 10, **wanted: Any) -> Found:
    return index.search([vector], Query(k=k, **wanted), ["vector"])[0]


def recall(index: Index, queries: Floats, k: int = 10) -> float:
    right = sum(
        len(set(search(index, vector, k).ids) & set(search(index, vector, k, exact=True).ids)) for vector in queries
    )
    return right / (k * len(queries))


@pytest.mark.requirement("V4", "V8")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("storage", STORAGE_TYPES)
@pytest.mark.parametrize("count", [300, GRAPH_ROWS + 500])
def test_distances_and_vectors_are_the_same_fresh_sealed_and_opened_again(
    opener: Opener, metric: Metric, storage: StorageType, count: int
) -> None:
    index = opener.create(metric, dimension=DIMENSION, storage=storage)
    vectors = clustered(count + 30)
    fill(index, vectors[:count])
    queries = [*vectors[:10], *vectors[count:]]

    def answers() -> list[list[tuple[str, float, bytes]]]:
        found = [search(index, query, exact=True, with_vectors=True) for query in queries]
        return [
            [
                (item_id, apart, vector.tobytes())
                for item_id, apart, vector in zip(one.ids, one.distances, one.vectors, strict=True)
            ]
            for one in found
            if one.vectors is not None
        ]

    fresh = answers()
    assert len(fresh) == len(queries)
    index.compact()
    assert answers() == fresh
    index.close()
    index = opener.open(index.path)
    assert index.description.storage_type == storage
    assert answers() == fresh


@pytest.mark.requirement("V4", "V8")
@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("storage", SMALLER)
def test_an_inserted_vector_is_found_first_and_comes_back_rounded(
    opener: Opener, metric: Metric, storage: StorageType
) -> None:
    index = opener.create(metric, dimension=DIMENSION, storage=storage)
    vectors = clustered(GRAPH_ROWS + 500)
    fill(index, vectors)
    for _ in range(2):
        for row in range(0, len(vectors), 101):
            found = search(index, vectors[row], with_vectors=True)
            assert found.ids[0] == f"id-{row:05d}"
            assert found.distances[0] <= 1e-5
            assert found.vectors is not None
            assert np.allclose(found.vectors[0], vectors[row], rtol=1e-3, atol=1e-3)
        index.compact()


@pytest.mark.requirement("V3", "V8")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("storage", SMALLER)
def test_a_smaller_graph_finds_what_a_scan_finds(opener: Opener, metric: Metric, storage: StorageType) -> None:
    index = opener.create(metric, dimension=DIMENSION, storage=storage)
    vectors = clustered(GRAPH_ROWS + 2400)
    fill(index, vectors[:GRAPH_ROWS])
    index.compact()
    fill(index, vectors[GRAPH_ROWS:-400], prefix="later-")
    index.compact(plan.QUIET)
    info = index.info()
    assert (info.segments, info.hot_count) == (1, 0)
    # Built for 0.99; what 400 questions say is good to some 0.003.
    assert recall(index, vectors[-400:]) >= 0.985


@pytest.mark.requirement("V3", "V8")
def test_int8_learns_anew_when_items_lie_where_none_did(opener: Opener) -> None:
    index = opener.create("l2", dimension=DIMENSION, storage="int8")
    vectors = clustered(2 * GRAPH_ROWS)
    fill(index, vectors[:GRAPH_ROWS])
    index.compact()
    fill(index, 20 * vectors[GRAPH_ROWS:], prefix="far-")
    index.compact(plan.QUIET)
    assert index.info().segments == 1
    queries = np.concatenate([vectors[:100], 20 * vectors[-100:]]) + np.float32(0.01)
    assert recall(index, queries) >= 0.985


@pytest.mark.requirement("V3", "V8")
def test_a_graph_of_another_storage_type_is_made_anew_when_it_is_merged(opener: Opener) -> None:
    index = opener.create("l2", dimension=DIMENSION)
    vectors = clustered(GRAPH_ROWS + 500)
    vectors[7] = 1e6
    fill(index, vectors[:GRAPH_ROWS])
    index.compact()
    index.describe(replace(index.description, storage_type="float16"))
    fill(index, vectors[GRAPH_ROWS:], prefix="later-")
    index.compact(plan.QUIET)
    assert index.info().segments == 1
    assert recall(index, vectors[-100:]) >= 0.985
    assert np.isfinite(search(index, vectors[7], k=GRAPH_ROWS + 500).distances).all()


@pytest.mark.requirement("V2", "V8")
@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("storage", SMALLER)
def test_what_float16_cannot_hold_is_refused_by_its_place(opener: Opener, metric: Metric, storage: StorageType) -> None:
    index = opener.create(metric, dimension=2, storage=storage)
    largest = Item(id="largest", vector=np.array([LARGEST_HALF, -LARGEST_HALF], dtype=np.float32))
    beyond = Item(id="beyond", vector=np.array([1, -70_000], dtype=np.float32))
    with pytest.raises(NotFinite) as raised:
        index.add([largest, beyond])
    assert [violation.field for violation in raised.value.violations] == ["items[1].vector"]
    assert index.info().count == 0
    index.add([largest])
    assert search(index, beyond.vector).ids == ["largest"]


@pytest.mark.requirement("V7", "V8")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("kept", "wanted"), [("float32", "float16"), ("float16", "int8"), ("int8", "float32")])
def test_indexes_of_different_storage_types_merge(
    tmp_path: Any, metric: Metric, kept: StorageType, wanted: StorageType
) -> None:
    indexes = Indexes(tmp_path, VectorConfig())
    source = indexes.create(Description(name="source", dimension=DIMENSION, metric=metric, storage_type=kept))
    dest = indexes.create(Description(name="dest", dimension=DIMENSION, metric=metric, storage_type=wanted))
    vectors = clustered(200)
    fill(source, vectors[:150])
    assert isinstance(source, Index)
    source.compact()
    fill(dest, vectors[150:])
    merged = indexes.merge("source", "dest", clear_source=True)
    assert (merged.merged, merged.skipped, merged.failed, merged.source_count) == (100, 50, 0, 0)
    if metric != "ip":
        assert [search(dest, vectors[row], k=1).ids for row in (120, 130)] == [["id-00120"], ["id-00130"]]
    indexes.close()


@pytest.mark.requirement("V7", "V8")
def test_an_item_that_the_destination_cannot_hold_stays_in_the_source(tmp_path: Any) -> None:
    indexes = Indexes(tmp_path, VectorConfig())
    source = indexes.create(Description(name="source", dimension=2, metric="l2"))
    indexes.create(Description(name="dest", dimension=2, metric="l2", storage_type="float16"))
    source.add([Item(id=str(size), vector=np.array([size, 0], dtype=np.float32)) for size in (1, 1e6, 2)])
    merged = indexes.merge("source", "dest", clear_source=True)
    assert (merged.merged, merged.failed, merged.source_count, merged.dest_count) == (2, 1, 1, 2)
    indexes.close()
