"""Filters of any selectivity, wherever what passes them lies: k items, and the right ones (V5)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf.struct_pb2 import Struct

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.segments import sealed
from services.vectord.segments.filters import Filter, Range
from services.vectord.segments.metric import Floats
from services.vectord.segments.snapshot import Query
from services.vectord.segments.storage import STORAGE_TYPES
from services.vectord.tree.index import Index
from services.vectord.tree.items import Item

COUNT, DIMENSION, QUESTIONS = 10_000, 24, 80
RECALL = 0.99


def _vectors(count: int) -> Floats:
    random = np.random.default_rng(3)
    centres = random.standard_normal((80, DIMENSION))
    spread = 0.5 * random.standard_normal((count, DIMENSION))
    return (centres[random.integers(0, 80, count)] + spread).astype(np.float32)


VECTORS = _vectors(COUNT + QUESTIONS)
QUERIES = VECTORS[COUNT:]
# Permille of the items below a number: by chance, by direction, and by distance from the first question.
CHANCE = np.random.default_rng(4).permutation(COUNT) * 1000 // COUNT
RANKS = {
    "direction": VECTORS[:COUNT] @ np.random.default_rng(5).standard_normal(DIMENSION),
    "far": -((VECTORS[:COUNT] - QUERIES[0]) ** 2).sum(axis=1),
}


def _permille(values: Floats) -> npt.NDArray[np.int64]:
    return np.argsort(np.argsort(values)) * 1000 // COUNT


FIELDS = {"chance": CHANCE} | {name: _permille(values) for name, values in RANKS.items()}


@pytest.fixture(scope="module", params=STORAGE_TYPES)
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """One graph, some dead rows in it, and some fresh items beside it."""
    path: Path = tmp_path_factory.mktemp("planner") / "index"
    description = Description(name="planner", dimension=DIMENSION, metric="l2", storage_type=request.param)
    made = Index.create(path, description, VectorConfig())
    made.add([_item(row) for row in range(COUNT - 300)])
    made.compact()
    made.add([_item(row) for row in range(COUNT - 500, COUNT)])
    assert made.snapshot.parts[-1].segment.cost(11, None, COUNT) < COUNT, "there is a graph"
    yield made
    made.close()


def _item(row: int) -> Item:
    metadata = Struct()
    metadata.update({name: float(values[row]) for name, values in FIELDS.items()})
    return Item(id=f"{row:05d}", vector=VECTORS[row], metadata=metadata.SerializeToString())


def _recall(index: Index, condition: Filter | None = None, k: int = 10, **wanted: object) -> float:
    """How many of the right items are found; there must be k of them."""
    right = 0
    for vector in QUERIES:
        found, exact = (
            index.search([vector], Query(k=k, filter=condition, exact=exact, **wanted), ["vector"])[0]  # type: ignore[arg-type]
            for exact in (False, True)
        )
        assert len(found.ids) == len(exact.ids) == k
        right += len(set(found.ids) & set(exact.ids))
    return right / (k * len(QUERIES))


@pytest.fixture(params=["planned", "graph"])
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the costs say, and with the graph wherever it may answer at all, as in an index a hundred times larger."""
    if request.param == "graph":
        monkeypatch.setattr(sealed, "SCAN_PER_CANDIDATE", 0)


@pytest.mark.requirement("V5")
@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("permille", [500, 100, 10, 1])
def test_items_that_pass_by_chance_are_found_at_any_selectivity(index: Index, permille: int) -> None:
    assert _recall(index, Range(field="chance", lt=float(permille))) >= RECALL


@pytest.mark.requirement("V5")
@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("field", ["direction", "far"])
@pytest.mark.parametrize("permille", [500, 100, 10])
def test_items_that_pass_are_found_where_they_lie_far_from_the_question(
    index: Index, field: str, permille: int
) -> None:
    assert _recall(index, Range(field=field, lt=float(permille))) >= RECALL


@pytest.mark.requirement("V5")
@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("share", [2, 10, 100])
def test_a_choice_of_ids_is_planned_like_a_filter(index: Index, share: int) -> None:
    some = [f"{row:05d}" for row in range(0, COUNT, share)]
    assert _recall(index, only_ids=some) >= RECALL
    assert _recall(index, exclude_ids=some) >= RECALL
    few = [f"{row:05d}" for row in range(7)]
    for exact in (False, True):
        found = index.search([QUERIES[0]], Query(k=10, only_ids=few, exact=exact), ["vector"])[0]
        assert sorted(found.ids) == few


@pytest.mark.requirement("V3")
@pytest.mark.usefixtures("plan")
@pytest.mark.parametrize("k", [1, 50, 200])
def test_more_neighbours_are_found_as_well_as_ten(index: Index, k: int) -> None:
    assert _recall(index, k=k) >= RECALL
