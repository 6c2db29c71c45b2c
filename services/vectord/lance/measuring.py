"""Whether a table is worth an index, and how much of that index a search must look at: decided by measurement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from services.vectord.lance.ranking import Ranking
from services.vectord.lance.snapshot import CANDIDATES
from services.vectord.lance.view import Approximation, Selection, View
from services.vectord.segments.building import Stopped
from services.vectord.segments.metric import Floats
from services.vectord.tree.engine import Stop

RECALL = 0.98
"""The share of the ten nearest that must be found; with less, every row is compared."""

_INDEXED_FLOATS = 1 << 23  # a scan of so many numbers takes as long as two searches of an index
_INDEXED_ROWS = 4096
_TRAINED_ROWS = 256
_QUESTIONS = 64
_K = 10
_MOVED = 0.1
_ROUNDING = 1e-5
_ROWS_OF_A_PARTITION = 1024
_MOST_SMALL_PARTITIONS = 256
_ROWS_OF_A_LARGE_PARTITION = 4096


def worthwhile(view: View) -> bool:
    """Whether a search through an index would be faster than a scan."""
    return view.count >= _INDEXED_ROWS and view.count * view.dimension >= _INDEXED_FLOATS


def possible(view: View) -> bool:
    """Whether there are enough rows to train an index with."""
    return view.count >= _TRAINED_ROWS


def partitions(rows: int) -> int:
    """How many partitions: small ones are cheap to look into, many cost memory when they are trained."""
    few = min(rows // _ROWS_OF_A_PARTITION, _MOST_SMALL_PARTITIONS)
    return max(few, rows // _ROWS_OF_A_LARGE_PARTITION, 1)


def guess(count: int, view: View) -> Approximation:
    """How a new index is asked until it is measured: as the one before was; while there was none, not at all."""
    before = view.approximation
    probes = 0 if before is None else -(-before.probes * count // before.partitions)
    return Approximation(partitions=count, probes=probes, trained_rows=view.count)


def measure(view: View, *, stop: Stop) -> Approximation:
    """The fewest partitions that are enough. Costs one scan and 64 comparisons of every row. Raises Stopped."""
    known = view.approximation
    assert known is not None
    everything = Selection(blocked=np.empty(0, dtype=np.uint64))
    questions = _questions(view)
    truth = [Ranking(view.metric, question, _K) for question in questions]
    for rows in view.scan(everything):
        if stop():
            raise Stopped
        for ranking in truth:
            ranking.take(rows)
    worst = np.array([ranking.entries[-1][0] for ranking in truth])
    for probes in _steps(known.partitions):
        if stop():
            raise Stopped
        recall = _recall(view, questions, worst, everything, probes)
        if recall >= RECALL:
            return replace(known, probes=probes, recall=recall)
    return replace(known, probes=0, recall=1.0)


def _questions(view: View) -> Floats:
    """Vectors of the table, slightly moved; the same ones every time."""
    random = np.random.default_rng(view.count)
    places = np.sort(random.choice(view.count, min(_QUESTIONS, view.count), replace=False))
    taken = view.vectors_at(places)
    lengths = np.linalg.norm(taken, axis=1, keepdims=True)
    noise = random.normal(size=taken.shape).astype(np.float32)
    moved = taken + noise * (_MOVED * lengths / np.sqrt(view.dimension))
    if view.metric == "cosine":
        moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    questions: Floats = moved.astype(np.float32)
    return questions


def _steps(count: int) -> list[int]:
    """From a thirtieth of the partitions to all of them."""
    return sorted({max(1, round(count * share)) for share in (0.03, 0.05, 0.08, 0.12, 0.18, 0.27, 0.4, 0.6, 1.0)})


def _recall(view: View, questions: Floats, worst: npt.NDArray[np.float64], everything: Selection, probes: int) -> float:
    # By distance rather than by row: among equal vectors any of them is right.
    found = 0
    for question, limit in zip(questions, worst + np.abs(worst) * _ROUNDING, strict=True):
        ranking = Ranking(view.metric, question, _K)
        ranking.take_all(view.nearest(question, _K + 1, everything, probes=probes, refine=CANDIDATES))
        found += sum(bool(distance <= limit) for distance, _, _ in ranking.entries)
    return found / (_K * len(questions))
