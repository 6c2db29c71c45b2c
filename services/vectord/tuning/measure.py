"""How well and how fast a snapshot answers questions: its own search against its own exact scan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.vectord.segments.building import Stopped
from services.vectord.segments.metric import Floats, tie_limit
from services.vectord.segments.native import use_threads
from services.vectord.segments.snapshot import Query, Snapshot

_WARM_UP = 20
_LEAST_TIMES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came out; times in milliseconds of single searches."""

    recall: float
    p50_ms: float
    p99_ms: float


def measure(snapshot: Snapshot, queries: Floats, *, k: int, ef: int | None, stop: Callable[[], bool]) -> Measured:
    """Asks every question exactly, then as a search would with `ef` candidates, in the same order each time.

    The queries have shape (n, dimension) and are in the metric's form. A neighbour is right when it is
    as near as the k-th of the exact answer: among equal vectors any of them is. Raises Stopped. Costs a
    scan for each question, and 300 searches or more.
    """
    use_threads(1)
    usual = Query(k=k, ef=ef)
    for query in queries[:_WARM_UP]:
        _ask(snapshot, query, usual, stop)
    right = asked = 0
    nanoseconds: list[int] = []
    while len(nanoseconds) < _LEAST_TIMES:
        nanoseconds += [_ask(snapshot, query, usual, stop)[1] for query in queries]
    for query in queries:
        best, _ = _ask(snapshot, query, Query(k=k, exact=True), stop)
        found, _ = _ask(snapshot, query, usual, stop)
        limit = tie_limit(snapshot.metric, best[-1]) if best else 0.0
        right += sum(distance <= limit for distance in found)
        asked += len(best)
    times = np.array(nanoseconds) / 1e6
    return Measured(
        recall=right / asked if asked else 1.0,
        p50_ms=float(np.percentile(times, 50)),
        p99_ms=float(np.percentile(times, 99)),
    )


def _ask(snapshot: Snapshot, query: Floats, how: Query, stop: Callable[[], bool]) -> tuple[list[float], int]:
    if stop():
        raise Stopped
    begin = time.perf_counter_ns()
    found = snapshot.search(query[None], how)[0]
    return found.distances, time.perf_counter_ns() - begin
