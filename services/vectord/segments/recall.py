"""How many of the right neighbours an index's own search finds, asked of the index itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.vectord.segments.metric import Floats, moved, tie_limit
from services.vectord.segments.native import use_threads
from services.vectord.segments.snapshot import Query, Snapshot

_LEAST_SAMPLE = 10
_MOST_NUMBERS = 30_000_000_000  # compared by all exact searches together: some 3 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What a check found."""

    recall: float
    """The share of the right neighbours found, 0 to 1."""
    k: int
    """How many neighbours counted."""
    sample: int
    """How many questions were asked."""


def check(
    snapshot: Snapshot,
    *,
    k: int = 10,
    sample: int = 100,
    seed: int = 42,
    stop: Callable[[], bool] = lambda: False,
) -> Recall | None:
    """Measures recall@k with items of the index, slightly moved, against exact searches for the same.

    None when the index is empty, or `stop` said so before anything was asked. The same state and seed
    give the same questions. Costs an exact search for each question, so fewer are asked of a very
    large index, but never fewer than 10. An item as near as the last right one counts as right.
    """
    use_threads(1)
    found = asked = 0
    k = min(k, snapshot.count)
    for question in _questions(snapshot, sample, seed):
        if stop():
            break
        own = snapshot.search(question[None], Query(k=k))[0]
        right = snapshot.search(question[None], Query(k=k, exact=True))[0]
        limit = tie_limit(snapshot.metric, right.distances[-1])
        found += sum(distance <= limit for distance in own.distances)
        asked += 1
    return Recall(recall=found / (k * asked), k=k, sample=asked) if asked else None


def _questions(snapshot: Snapshot, sample: int, seed: int) -> Floats:
    """Some items, each moved in a direction of its own; under cosine of length 1 again."""
    random = np.random.default_rng(seed)
    total = snapshot.count
    chosen = np.sort(random.permutation(total)[:sample]) if total else np.empty(0, dtype=np.int64)
    if not total:
        return np.empty((0, 0), dtype=np.float32)
    matrix = random.permutation(snapshot.some_vectors(chosen))
    matrix = matrix[: max(_LEAST_SAMPLE, _MOST_NUMBERS // (total * matrix.shape[1]))]
    return moved(matrix, snapshot.metric, random)
