"""How the rows of several segments become one index, aside from all searches.

The largest graph among them is copied and added to, so that its rows are linked only once; every
other row is linked anew. Costs some 0.1 ms for each linked row of 256.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.vectord.items import Norms
from services.vectord.metric import Floats, Metric, Rows, faiss_metric
from services.vectord.native import faiss
from services.vectord.sealed import GRAPH_ROWS, SCAN_PER_CANDIDATE, SealedSegment
from services.vectord.segment import Segment

_CHUNK_ROWS = 512  # linked at most between two looks at whether to stop
_CHUNK_FLOATS = 1 << 19
PROBES = 64
"""Rows that are linked last: until then the graph is measured with them, as with queries it never saw."""

_FEWEST_PROBES = 16  # fewer say too little
_PROBE_K = 10
_RECALL = 0.995
_ROUNDING = 1e-5
_STEPS = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)


class Stopped(Exception):
    """The build was given up: the daemon stops, or the index is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How graphs are built and searched."""

    m: int = 16
    """Links of a node."""
    ef_construction: int = 80
    """Candidates looked at when a node is linked."""
    ef_search: int = 64
    """Fewest candidates looked at in a search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of a segment that go into a build."""

    segment: Segment
    rows: Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Everything that a sealed segment's file holds."""

    index: Any
    ef_search: int
    ids: list[str]
    norms: Norms
    metadata: list[bytes]


def build(
    base: SealedSegment | None,
    sources: Sequence[Source],
    *,
    probes: int,
    dimension: int,
    metric: Metric,
    parameters: Parameters,
    stop: Callable[[], bool],
) -> Built:
    """One index over all rows of `base`, in their order, and then those of `sources`. Raises Stopped.

    The last `probes` of the sources hold the rows with which the graph is measured.
    """
    index = _start(base, sum(len(source.rows) for source in sources), dimension, metric, parameters)
    first, last = sources[: len(sources) - probes], sources[len(sources) - probes :]
    _link(index, first, stop)
    ef_search = 0
    if is_graph(index):
        queries = _vectors(last, dimension)
        ef_search = base.ef_search if base is not None else parameters.ef_search
        if len(queries) >= _FEWEST_PROBES:
            ef_search = needed_candidates(index, queries, metric, parameters.ef_search)
    _link(index, last, stop)
    everything = sources if base is None else [Source(segment=base, rows=np.arange(base.count)), *sources]
    return Built(
        index=index,
        ef_search=ef_search,
        ids=[source.segment.ids[row] for source in everything for row in source.rows.tolist()],
        norms=np.concatenate([source.segment.norms(source.rows) for source in everything]),
        metadata=[source.segment.metadata[row] for source in everything for row in source.rows.tolist()],
    )


def _start(base: SealedSegment | None, rows: int, dimension: int, metric: Metric, parameters: Parameters) -> Any:
    if base is not None:
        return base.index_copy()
    if rows < GRAPH_ROWS:
        return faiss.IndexFlat(dimension, faiss_metric(metric))
    index = faiss.IndexHNSWFlat(dimension, parameters.m, faiss_metric(metric))
    index.hnsw.efConstruction = parameters.ef_construction
    return index


def _link(index: Any, sources: Sequence[Source], stop: Callable[[], bool]) -> None:
    chunk = max(1, min(_CHUNK_ROWS, _CHUNK_FLOATS // index.d))
    for source in sources:
        for begin in range(0, len(source.rows), chunk):
            if stop():
                raise Stopped
            index.add(source.segment.vectors(source.rows[begin : begin + chunk]))


def _vectors(sources: Sequence[Source], dimension: int) -> Floats:
    nothing = np.empty((0, dimension), dtype=np.float32)
    return np.concatenate([nothing, *(source.segment.vectors(source.rows) for source in sources)])


def is_graph(index: Any) -> bool:
    """Whether an index is a graph rather than a list to scan."""
    return isinstance(index, faiss.IndexHNSW)


def needed_candidates(index: Any, queries: Floats, metric: Metric, least: int) -> int:
    """The candidates with which a graph finds what a scan finds; 0 when a scan is cheaper than that.

    Costs a scan for each query.
    """
    flat = faiss.downcast_index(index.storage)
    # One at a time: FAISS compares many at once in another way, which is less exact.
    worst = np.concatenate([flat.search(query[None], _PROBE_K)[0][:, -1:] for query in queries])
    for step in _STEPS:
        candidates = round(least * step)
        if candidates * SCAN_PER_CANDIDATE > index.ntotal:
            break
        scores = index.search(queries, _PROBE_K, params=faiss.SearchParametersHNSW(efSearch=candidates))[0]
        if _recall(scores, worst, metric) >= _RECALL:
            return candidates
    return 0


def _recall(scores: Floats, worst: Floats, metric: Metric) -> float:
    # By distance rather than by row: among equal vectors any of them is right.
    slack = _ROUNDING * np.abs(worst)
    near = scores >= worst - slack if metric == "ip" else scores <= worst + slack
    return float(near.mean())
