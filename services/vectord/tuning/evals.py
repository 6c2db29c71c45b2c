"""Eval sets: questions with which an index is measured, given by somebody or made from its items."""

from __future__ import annotations

import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

import numpy as np
import orjson

from services.vectord.errors import IndexEmpty
from services.vectord.files.manifest import Description
from services.vectord.segments.metric import Floats, Rows
from services.vectord.segments.snapshot import Part, Snapshot
from services.vectord.tree import items

GENERATED = "generated"
"""The name of the eval set that is made when none is named."""

SAMPLE = 100
SEED = 42
K = 10
GROWTH = 0.2
"""The share by which an index must have grown or shrunk for its data to count as new."""

_NOISE = 0.1
"""How far a question lies from the item it was made from, as a share of that item's length."""

_MOST_FLOATS = 1 << 26


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvalSet:
    """Questions as they came, shape (n, dimension), and how many neighbours of each count."""

    name: str
    queries: Floats
    k: int
    origin: Literal["given", "generated"]
    seed: int | None = None
    of: int = 0
    """Items in the index when it was made."""
    created_ns: int


def given(description: Description, queries: Sequence[Floats], *, name: str, k: int) -> EvalSet:
    """Somebody's own questions. Raises WrongDimension, NotFinite, ZeroNorm naming the one at fault."""
    names = [f"queries[{place}].values" for place in range(len(queries))]
    items.normalise(queries, dimension=description.dimension, metric=description.metric, names=names)
    return EvalSet(name=name, queries=np.array(queries), k=k, origin="given", created_ns=time.time_ns())


def generate(snapshot: Snapshot, *, name: str, sample: int, seed: int, k: int) -> EvalSet:
    """Questions near `sample` of the items: the same ones for the same items and seed, however they are kept.

    Fewer when there are fewer items, or when their vectors would not fit into memory. Raises IndexEmpty.
    Costs 1 us for each item of the index.
    """
    check_measurable(snapshot, name)
    places = _chosen(snapshot, sample, seed)
    vectors = _vectors(places)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = np.random.default_rng(abs(seed)).standard_normal(vectors.shape)
    moved = vectors + directions * (_NOISE * lengths / np.sqrt(vectors.shape[1]))
    return EvalSet(
        name=name,
        queries=moved.astype(np.float32),
        k=k,
        origin="generated",
        seed=seed,
        of=snapshot.count,
        created_ns=time.time_ns(),
    )


def check_measurable(snapshot: Snapshot, name: str) -> None:
    """Raises IndexEmpty."""
    if not snapshot.count:
        raise IndexEmpty("the index is empty: add items first", eval_set=name)


def outdated(questions: EvalSet, count: int) -> bool:
    """Whether generated questions are of other times: the index has grown or shrunk by a fifth since."""
    grown = max(count, questions.of) > (1 + GROWTH) * min(count, questions.of)
    return questions.origin == "generated" and grown


def _chosen(snapshot: Snapshot, sample: int, seed: int) -> list[tuple[Part, int]]:
    """The items whose ids have the smallest digests, so that neither segments nor new items matter much."""
    key = seed.to_bytes(8, "big", signed=True)
    digests = (
        (blake2b(part.segment.ids[row].encode(), digest_size=8, key=key).digest(), part.segment.ids[row], place, row)
        for place, part in enumerate(snapshot.parts)
        for row in part.live_rows().tolist()
    )
    return [(snapshot.parts[place], row) for _, _, place, row in heapq.nsmallest(sample, digests)]


def _vectors(places: list[tuple[Part, int]]) -> Floats:
    first = _row(*places[0])
    room = max(1, _MOST_FLOATS // first.shape[1])
    return np.concatenate([first, *(_row(part, row) for part, row in places[1:room])])


def _row(part: Part, row: int) -> Floats:
    rows: Rows = np.array([row])
    vector: Floats = (part.segment.vectors(rows) * part.segment.norms(rows)[:, None]).astype(np.float32)
    return vector


def encode(questions: EvalSet) -> bytes:
    """The eval set as it is kept: a line of JSON, then the numbers."""
    head = {
        "name": questions.name,
        "k": questions.k,
        "origin": questions.origin,
        "seed": questions.seed,
        "of": questions.of,
        "created_ns": questions.created_ns,
        "dimension": questions.queries.shape[1],
    }
    return orjson.dumps(head) + b"\n" + questions.queries.astype("<f4").tobytes()


def decode(payload: bytes) -> EvalSet:
    """The eval set that was kept."""
    line, _, numbers = payload.partition(b"\n")
    head = orjson.loads(line)
    queries = np.frombuffer(numbers, dtype="<f4").astype(np.float32).reshape(-1, head.pop("dimension"))
    return EvalSet(**head, queries=queries)
