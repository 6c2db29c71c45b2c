"""An index can be asked how much it finds."""

from __future__ import annotations

import numpy as np
import pytest

from services.vectord.files.manifest import Description
from services.vectord.segments import recall
from services.vectord.segments.building import Parameters
from services.vectord.segments.metric import METRICS, Floats, Metric
from services.vectord.segments.sealed import GRAPH_ROWS
from services.vectord.segments.snapshot import Query, Snapshot
from services.vectord.segments.storage import STORAGE_TYPES, StorageType
from services.vectord.tree.index import Index
from services.vectord.tree.items import Item

from .conftest import Opener

DIMENSION = 16


def clustered(count: int, seed: int = 1) -> Floats:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((40, DIMENSION))
    return (centres[random.integers(0, 40, count)] + 0.3 * random.standard_normal((count, DIMENSION))).astype("f4")


def fill(index: Index, vectors: Floats) -> None:
    index.add([Item(id=f"id-{row:05d}", vector=vector) for row, vector in enumerate(vectors)])


def state(index: Index) -> Snapshot:
    return index.snapshot


@pytest.mark.requirement("V3", "V8")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("storage", STORAGE_TYPES)
def test_a_sound_index_is_found_sound_and_the_same_every_time(
    opener: Opener, metric: Metric, storage: StorageType
) -> None:
    index = opener.create(metric, storage=storage)
    fill(index, clustered(GRAPH_ROWS + 500))
    index.compact()
    index.delete([f"id-{row:05d}" for row in range(0, 500, 3)])
    fill(index, clustered(200, seed=2))
    first = recall.check(state(index), sample=60)
    assert first is not None
    assert (first.k, first.sample) == (10, 60)
    assert first.recall >= 0.985
    assert recall.check(state(index), sample=60) == first
    exact = recall.check(state(index), sample=20, k=GRAPH_ROWS)
    assert exact == recall.Recall(recall=1.0, k=GRAPH_ROWS, sample=20)


def test_a_small_or_empty_index_can_be_asked_too(opener: Opener) -> None:
    index = opener.create("l2")
    assert recall.check(state(index)) is None
    fill(index, np.zeros((3, DIMENSION), dtype=np.float32))
    assert recall.check(state(index)) == recall.Recall(recall=1.0, k=3, sample=3)
    assert recall.check(state(index), stop=lambda: True) is None


class Forgetful(Snapshot):
    """A state whose own search loses every second item."""

    def search(self, vectors: Floats, query: Query) -> list[object]:  # type: ignore[override]
        found = super().search(vectors, query)
        if not query.exact:
            for one in found:
                del one.distances[::2]
        return list(found)


def test_a_search_that_misses_is_found_out(opener: Opener) -> None:
    index = opener.describe(Description(name="test", dimension=DIMENSION, metric="l2", parameters=Parameters(m=8)))
    fill(index, clustered(500))
    measured = recall.check(Forgetful("l2", state(index).parts), sample=50)
    assert measured == recall.Recall(recall=0.5, k=10, sample=50)
