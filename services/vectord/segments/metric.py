"""How far apart two vectors are (V4): cosine distance 0..2, squared L2, or 1 - inner product.

Under cosine, vectors are kept with length 1, and half their squared L2 distance is their cosine
distance: the same order, and exactly 0 between equal vectors, which 1 - x.y is not.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from services.vectord.segments.native import faiss

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

Metric = Literal["cosine", "l2", "ip"]
METRICS: tuple[Metric, ...] = get_args(Metric)

# Two vectors no longer than this have a finite squared distance and inner product in float32.
LONGEST = 2.0**62
GATHERED_SHARE = 4
"""When one row in so many is admitted, looking at them one by one beats a scan that passes over the others."""

# Rounding in float32 sums; what is nearer together than this may be a tie.
_ROUNDING = 1e-6
_MOVED = 0.1
_FARTHEST = 4.0  # the square of the distance between opposite vectors of length 1


def faiss_metric(metric: Metric) -> int:
    """The constant by which FAISS knows the metric's order."""
    return int(faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2)


def distances(metric: Metric, query: Floats, vectors: Floats) -> npt.NDArray[np.float64]:
    """Distances from a query to each row of `vectors`; 3 us for 10 rows of 256.

    The same numbers as `kernel.FullKernel` gives for rows of a segment.
    """
    vectors = np.ascontiguousarray(vectors)
    count, dimension = vectors.shape
    scores = np.empty(count, dtype=np.float32)
    rows = np.arange(count)
    kernel = faiss.fvec_inner_products_by_idx if metric == "ip" else faiss.fvec_L2sqr_by_idx
    places = (faiss.swig_ptr(array) for array in (scores, query, vectors, rows))
    kernel(*places, dimension, 1, count)
    return np.array(as_distances(metric, scores))


def as_distances(metric: Metric, scores: Floats) -> list[float]:
    """Squared L2 distances, or inner products, as distances of the metric."""
    numbers: list[float] = scores.tolist()
    if metric == "cosine":
        return [0.5 * square if square < _FARTHEST else 2.0 for square in numbers]
    return [1.0 - product for product in numbers] if metric == "ip" else numbers


def moved(vectors: Floats, metric: Metric, random: np.random.Generator) -> Floats:
    """Vectors a tenth of their length away from given ones, in the metric's form: what may be asked for."""
    away = random.standard_normal(vectors.shape)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    away *= _MOVED * np.where(lengths > 0, lengths, 1.0) / np.linalg.norm(away, axis=1, keepdims=True)
    places = vectors + away
    if metric == "cosine":
        places /= np.linalg.norm(places, axis=1, keepdims=True)
    return places.astype(np.float32)


def tie_limit(metric: Metric, distance: float) -> float:
    """The largest distance that rounding may have moved away from `distance`."""
    magnitude = abs(1.0 - distance) if metric == "ip" else distance
    return distance + magnitude * _ROUNDING


def scan(metric: Metric, query: Floats, vectors: Floats, count: int, limit: int, selector: Any | None) -> Rows:
    """Rows among the first `count` that are nearest to a query, unordered; exact.

    `limit` must not exceed the rows that `selector` lets through. Costs one pass over the rows:
    some 20 us for 1,000 rows of 256. Releases the GIL.
    """
    found = np.empty(limit, dtype=np.int64)
    scores = np.empty(limit, dtype=np.float32)
    places = (faiss.swig_ptr(query), faiss.swig_ptr(vectors), vectors.shape[1], 1, count, limit)
    results = (faiss.swig_ptr(scores), faiss.swig_ptr(found))
    if metric == "ip":
        faiss.knn_inner_product(*places, *results, selector)
    else:
        faiss.knn_L2sqr(*places, *results, None, selector)
    return found
