"""How many candidates a graph needs for good recall: measured when it is built (V3).

A graph is asked with rows that are not linked yet, and what it finds is compared with a scan. From a
sample of n questions a recall is known to some 0.03 / sqrt(n), the spread between questions being that
large, and only a number of candidates counts whose recall is good with that much taken off: so graphs
are searched with a true recall@10 of 0.99 at least, 19 times out of 20.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from services.vectord.segments.kernel import HalfKernel
from services.vectord.segments.metric import Floats, Metric, Rows
from services.vectord.segments.native import faiss
from services.vectord.segments.sealed import MEASURED_REACH, SCAN_PER_CANDIDATE, proposed
from services.vectord.segments.storage import codes_of, flat_of

PROBES = 512
"""Rows that are linked last: until then the graph is measured with them, as with queries it never saw."""

FEWEST_PROBES = 64
"""Fewer say too little."""

_K = 10
_RECALL = 0.99
_ONE_SIDED = 1.645  # standard errors below which a recall lies one time in 20
_LEAST_SPREAD = 0.03  # between questions, so that a lucky sample without any miss says no more than it can
_ROUNDING = 1e-5
_LADDER = (*range(16, 64, 4), *range(64, 128, 8), *range(128, 256, 16), *range(256, 512, 32), *range(512, 4097, 128))

Search = Callable[[int], Floats]
"""The scores of the best _K rows for each probe, in any order, with so many candidates."""


def needed_candidates(index: Any, exact: Any | None, probes: Floats, metric: Metric, least: int) -> int:
    """The candidates, `least` or more, with which a graph finds what a scan finds; 0 when a scan is cheaper.

    `exact` is the FAISS index with the vectors, when the graph is over something coarser. Costs a scan for
    each probe, and some five rounds of graph searches.
    """
    flat = flat_of(index) if exact is None else exact
    # One at a time: FAISS compares many at once in another way, which is less exact.
    worst = np.concatenate([flat.search(probe[None], _K)[0][:, -1:] for probe in probes])
    search = _plain(index, probes) if exact is None else _coarse(index, exact, probes, metric)

    def suffices(candidates: int) -> bool:
        return _sure_recall(search(candidates), worst, metric) >= _RECALL

    ladder = [step for step in sorted({max(step, least) for step in _LADDER}) if _worthwhile(step, index.ntotal)]
    # Recall grows with the candidates.
    place = bisect_left(ladder, True, key=suffices)
    return ladder[place] if place < len(ladder) else 0


def _worthwhile(candidates: int, rows: int) -> bool:
    return candidates * SCAN_PER_CANDIDATE <= rows


def _plain(index: Any, probes: Floats) -> Search:
    return lambda candidates: _searched(index, probes, _K, candidates)[0]


def _coarse(index: Any, exact: Any, probes: Floats, metric: Metric) -> Search:
    kernel = HalfKernel(metric, codes_of(exact))

    def search(candidates: int) -> Floats:
        limit = proposed(MEASURED_REACH, candidates)
        found = _searched(index, probes, limit, candidates)[1]
        return np.stack([_rescored(kernel, probe, rows[rows >= 0]) for probe, rows in zip(probes, found, strict=True)])

    def _rescored(kernel: HalfKernel, probe: Floats, rows: Rows) -> Floats:
        scores = np.full(_K, -np.inf if metric == "ip" else np.inf, dtype=np.float32)
        found = np.sort(kernel.score(probe, rows)[1])
        best = found[::-1][:_K] if metric == "ip" else found[:_K]
        scores[: len(best)] = best
        return scores

    return search


def _searched(index: Any, probes: Floats, limit: int, candidates: int) -> tuple[Floats, Rows]:
    scores, rows = index.search(probes, limit, params=faiss.SearchParametersHNSW(efSearch=candidates))
    return scores, rows


def _sure_recall(scores: Floats, worst: Floats, metric: Metric) -> float:
    # By distance rather than by row: among equal vectors any of them is right.
    slack = _ROUNDING * np.abs(worst)
    near = scores >= worst - slack if metric == "ip" else scores <= worst + slack
    found: npt.NDArray[np.float64] = near.mean(axis=1)
    spread = max(float(found.std()), _LEAST_SPREAD)
    return float(found.mean()) - _ONE_SIDED * spread / math.sqrt(len(found))
