"""The score of single rows: squared L2 distance, or inner product. One kernel for each way of keeping rows.

A graph, a scan and a gathered scan round differently, so they only propose rows. What decides is computed
here, and equal rows get equal scores wherever they lie (V4).
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from services.vectord.segments.metric import Floats, Metric, Rows, faiss_metric
from services.vectord.segments.native import faiss

_swig_ptr = faiss.swig_ptr
_squares_by_row = faiss.fvec_L2sqr_by_idx
_products_by_row = faiss.fvec_inner_products_by_idx

_GATHERED_BYTES = 1 << 21
_local = threading.local()

Codes = npt.NDArray[np.uint8]


class Kernel(Protocol):
    """Scores rows of one segment."""

    def score(self, query: Floats, rows: Rows) -> tuple[Rows, Floats]:
        """The same rows, in some order, with their scores."""
        ...

    def best(self, query: Floats, rows: Rows, limit: int) -> Rows:
        """The `limit` best of some rows, unordered. Costs about twice what a scan of as many rows does."""
        ...


class FullKernel:
    """Rows of float32. 1 us for 10 rows of 256: they are read where they lie."""

    def __init__(self, metric: Metric, place: Any, dimension: int) -> None:
        """`place` is a pointer of FAISS's to the first row, which must outlive this."""
        self._metric = metric
        self._place = place
        self._dimension = dimension

    def score(self, query: Floats, rows: Rows) -> tuple[Rows, Floats]:
        """The same rows with their scores."""
        count = len(rows)
        scores = np.empty(count, dtype=np.float32)
        kernel = _products_by_row if self._metric == "ip" else _squares_by_row
        kernel(_swig_ptr(scores), _swig_ptr(query), self._place, _swig_ptr(rows), self._dimension, 1, count)
        return rows, scores

    def best(self, query: Floats, rows: Rows, limit: int) -> Rows:
        """The `limit` best of some rows, unordered."""
        if limit >= len(rows):
            return rows
        scores = self.score(query, rows)[1]
        order = np.argpartition(-scores if self._metric == "ip" else scores, limit - 1)
        return rows[order[:limit]]


class HalfKernel:
    """Rows of float16. 4 us for 10 rows of 256."""

    def __init__(self, metric: Metric, codes: Codes) -> None:
        """`codes` holds the bytes of a vector in each row."""
        self._metric = metric
        self._codes = codes

    def score(self, query: Floats, rows: Rows) -> tuple[Rows, Floats]:
        """The same rows, in some order, with their scores."""
        return self._run(query, rows, len(rows))

    def best(self, query: Floats, rows: Rows, limit: int) -> Rows:
        """The `limit` best of some rows, unordered."""
        return rows if limit >= len(rows) else self._run(query, rows, limit)[0]

    def _run(self, query: Floats, rows: Rows, limit: int) -> tuple[Rows, Floats]:
        scores = np.full(limit, -np.inf if self._metric == "ip" else np.inf, dtype=np.float32)
        found = np.empty(limit, dtype=np.int64)
        step = max(1, _GATHERED_BYTES // self._codes.shape[1])
        scanner = _scanner(self._metric, len(query))
        scanner.set_query(_swig_ptr(query))
        results = (_swig_ptr(scores), _swig_ptr(found), limit)
        for begin in range(0, len(rows), step):
            some = rows[begin : begin + step] if len(rows) > step else rows
            codes = self._codes.take(some, axis=0)
            scanner.scan_codes(len(some), _swig_ptr(codes), _swig_ptr(some), *results)
        return found, scores


def _scanner(metric: Metric, dimension: int) -> Any:
    """FAISS's scanner of float16 for this thread: it remembers the query, so no two threads may share one."""
    scanners: dict[tuple[Metric, int], tuple[Any, Any]] | None = getattr(_local, "scanners", None)
    if scanners is None:
        scanners = _local.scanners = {}
    known = scanners.get((metric, dimension))
    if known is None:
        quantizer = faiss.ScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16)
        scanner = quantizer.select_InvertedListScanner(faiss_metric(metric), None, False, None, False)
        known = scanners[metric, dimension] = (scanner, quantizer)
    return known[0]
