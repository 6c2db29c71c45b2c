"""An index against the simplest model of one: a dictionary and a sort."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.segments.filters import AllOf, Filter, In, Not, Range
from services.vectord.segments.metric import METRICS, Metric
from services.vectord.segments.snapshot import Query
from services.vectord.segments.storage import STORAGE_TYPES, StorageType
from services.vectord.tree import plan
from services.vectord.tree.index import Index
from services.vectord.tree.items import Item

DIMENSION = 3
IDS = st.sampled_from([f"id-{number}" for number in range(24)])
# Small whole numbers: distances are exact in float32, and ties are common.
VECTORS = st.lists(st.integers(-2, 2), min_size=DIMENSION, max_size=DIMENSION)
FIELDS: dict[str, st.SearchStrategy[Any]] = {"kind": st.sampled_from("ab"), "n": st.integers(0, 3)}
METADATA: st.SearchStrategy[dict[str, Any] | None] = st.one_of(st.none(), st.just({}), st.fixed_dictionaries(FIELDS))
FILTERS: dict[str, tuple[Filter, Callable[[dict[str, Any]], bool]]] = {
    "kind a": (In(field="kind", values=["a"]), lambda m: m.get("kind") == "a"),
    "n > 1": (Range(field="n", gt=1.0), lambda m: m.get("n", 0) > 1),
    "not kind b and n <= 2": (
        AllOf(filters=[Not(filter=In(field="kind", values=["b"])), Range(field="n", lte=2.0)]),
        lambda m: m.get("kind") != "b" and "n" in m and m["n"] <= 2,
    ),
}

EVERYTHING: tuple[None, Callable[[dict[str, Any]], bool]] = (None, lambda _: True)


def struct(values: dict[str, Any]) -> bytes:
    message = Struct()
    message.update(values)
    return message.SerializeToString(deterministic=True)


def distance(metric: Metric, query: list[int], vector: list[int]) -> float:
    """The definition, in float64."""
    ours, theirs = np.array(query, dtype=np.float64), np.array(vector, dtype=np.float64)
    if metric == "l2":
        return float(((ours - theirs) ** 2).sum())
    if metric == "ip":
        return float(1 - ours @ theirs)
    return float(1 - ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs))


class Model(RuleBasedStateMachine):
    """Adds, deletes, seals, reopens and crashes in any order; every answer must be the dictionary's."""

    @initialize(metric=st.sampled_from(METRICS), storage=st.sampled_from(STORAGE_TYPES))
    def create(self, metric: Metric, storage: StorageType) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.metric: Metric = metric
        # Whole numbers are exact in float16; under cosine it rounds to 11 binary digits.
        self.tolerance = 1e-6 if storage == "float32" else 2e-3
        self.items: dict[str, tuple[list[int], dict[str, Any]]] = {}
        described = Description(name="model", dimension=DIMENSION, metric=metric, storage_type=storage)
        self.index = self.made(self.root / "index", described)

    def made(self, path: Path, description: Description) -> Index:
        """An empty index; for another back end, another one."""
        return Index.create(path, description, VectorConfig())

    def opened(self, path: Path) -> Index:
        """The index in a directory."""
        return Index.open(path, VectorConfig())

    @rule(batch=st.lists(st.tuples(IDS, VECTORS, METADATA), min_size=1, max_size=12))
    def add(self, batch: list[tuple[str, list[int], dict[str, Any] | None]]) -> None:
        batch = [(item_id, vector if any(vector) else [1, 0, 0], metadata) for item_id, vector, metadata in batch]
        items = [
            Item(
                id=item_id,
                vector=np.array(vector, dtype=np.float32),
                metadata=None if metadata is None else struct(metadata),
            )
            for item_id, vector, metadata in batch
        ]
        applied, count = self.index.add(items)
        before = self.items
        last = {item_id: (vector, metadata) for item_id, vector, metadata in batch}
        self.items = before | {
            item_id: (vector, before.get(item_id, ([], {}))[1] if metadata is None else metadata)
            for item_id, (vector, metadata) in last.items()
        }
        assert applied.updated == len(before.keys() & last.keys())
        assert applied.added == len(last) - applied.updated
        assert count == len(self.items)

    @rule(ids=st.lists(IDS, min_size=1, max_size=6))
    def delete(self, ids: list[str]) -> None:
        applied, count = self.index.delete(ids)
        assert applied.deleted == len(self.items.keys() & set(ids))
        assert applied.missing == len(set(ids) - self.items.keys())
        for item_id in ids:
            self.items.pop(item_id, None)
        assert count == len(self.items)

    @rule(growth=st.sampled_from([plan.BUSY, plan.QUIET, 0]))
    def seal(self, growth: int) -> None:
        self.index.compact(growth)

    @rule()
    def abandon_a_build(self) -> None:
        self.index.compact(stop=lambda: True)

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = self.opened(self.root / "index")
        assert not self.index.info().problems

    @rule()
    def crash(self) -> None:
        copy = self.root / "copy"
        shutil.copytree(self.root / "index", copy)
        self.index.close()
        shutil.rmtree(self.root / "index")
        copy.rename(self.root / "index")
        self.index = self.opened(self.root / "index")

    @rule(
        query=VECTORS,
        k=st.integers(1, 30),
        named=st.sampled_from([None, *FILTERS]),
        exclude=st.lists(IDS, max_size=4),
        only=st.one_of(st.none(), st.lists(IDS, max_size=8)),
    )
    def search(self, query: list[int], k: int, named: str | None, exclude: list[str], only: list[str] | None) -> None:
        query = query if any(query) else [0, 1, 0]
        condition, passes = FILTERS[named] if named else EVERYTHING
        wanted = Query(k=k, filter=condition, exclude_ids=exclude, only_ids=only, with_vectors=True)
        found = self.index.search([np.array(query, dtype=np.float32)], wanted, ["vector"])[0]
        admitted = {
            item_id: distance(self.metric, query, vector)
            for item_id, (vector, metadata) in self.items.items()
            if passes(metadata) and item_id not in exclude and (only is None or item_id in only)
        }
        if self.metric == "cosine":
            self.check_rounded(found.ids, found.distances, admitted, k)
        else:
            expected = sorted((apart, item_id) for item_id, apart in admitted.items())[:k]
            assert list(zip(found.distances, found.ids, strict=True)) == expected
        assert found.vectors is not None
        kept = [self.items[item_id][0] for item_id in found.ids] or np.empty((0, 0))
        assert np.allclose(found.vectors, kept, atol=self.tolerance if self.metric == "cosine" else 1e-6)
        assert found.metadata == [struct(self.items[item_id][1]) for item_id in found.ids]

    def check_rounded(self, ids: list[str], distances: list[float], admitted: dict[str, float], k: int) -> None:
        """Cosine distances are rounded: near ties may change places, nothing else may."""
        assert len(set(ids)) == len(ids) == min(k, len(admitted))
        assert np.allclose(distances, [admitted[item_id] for item_id in ids], atol=self.tolerance)
        assert np.allclose(distances, sorted(admitted.values())[:k], atol=self.tolerance)
        assert list(zip(distances, ids, strict=True)) == sorted(zip(distances, ids, strict=True))

    @rule(ids=st.lists(IDS, max_size=8))
    def get(self, ids: list[str]) -> None:
        found = self.index.get(ids)
        assert found.ids == [item_id for item_id in ids if item_id in self.items]
        assert found.metadata == [struct(self.items[item_id][1]) for item_id in found.ids]

    @rule(size=st.integers(1, 9))
    def read_page_by_page(self, size: int) -> None:
        seen: list[str] = []
        more = True
        while more:
            found, more = self.index.page(seen[-1] if seen else "", size)
            assert len(found.ids) == size or not more
            seen += found.ids
        assert seen == sorted(self.items)

    @invariant()
    def counts_agree(self) -> None:
        if hasattr(self, "index"):
            info = self.index.info()
            assert info.count == len(self.items)
            assert 0 <= info.hot_count <= info.count

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.root)


TestModel = pytest.mark.requirement("V2", "V3", "V4", "V5", "V6")(Model.TestCase)
TestModel.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
