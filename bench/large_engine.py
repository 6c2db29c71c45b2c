"""What vectord's engine costs beside bare FAISS, in a process of its own.

`python -m bench.large_engine DATA VECTORS` reads the data directory of a stopped mesh and the vectors it was
filled with (.npy), and prints figures as JSON.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from bench.data import Floats, structured
from services.vectord.config import VectorConfig
from services.vectord.segments.native import faiss, use_threads
from services.vectord.segments.snapshot import Query
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes

ROUNDS, QUERIES, K = 5, 500, 10
_PIECE = 1 << 20


def measure(folder: Path, vectors: Floats) -> dict[str, list[float]]:
    """Search and build beside FAISS in microseconds and seconds, start beside a cold read in seconds."""
    use_threads(1)
    files = [path for path in folder.rglob("*") if path.is_file()]
    opened, read = [], []
    for _ in range(ROUNDS):
        _forget(files)
        read.append(_timed(lambda: _checksum(files)))
        _forget(files)
        opened.append(_timed(lambda: _open_and_search(folder, vectors[0])))
    index = Indexes(folder, VectorConfig()).get("large")
    assert isinstance(index, Index), "made by bench.large, which asks for no other engine"
    questions = structured(QUERIES, vectors.shape[1], seed=2)
    described = index.info().description.parameters
    bare, seconds = _faiss_graph(vectors, described.m, described.ef_construction)
    ef_search = max(segment.ef_search for segment in sealed(index))
    ours, theirs = [], []
    parameters = faiss.SearchParametersHNSW(efSearch=ef_search)
    for _ in range(ROUNDS):
        ours.append(_each(questions, lambda question: index.search([question], Query(k=K), ["vector"])))
        theirs.append(_each(questions, lambda question: bare.search(question[None], K, params=parameters)))
    return {
        "open": opened,
        "read": read,
        "faiss_build": [seconds],
        "search": ours,
        "faiss_search": theirs,
        "recall": [_recall(index, vectors, questions)],
    }


def sealed(index: Index) -> list[Any]:
    """The sealed segments with a graph."""
    segments = [part.segment for part in index.snapshot.parts]
    return [segment for segment in segments if getattr(segment, "has_graph", False)]


def _faiss_graph(vectors: Floats, m: int, ef_construction: int) -> tuple[Any, float]:
    bare = faiss.IndexHNSWSQ(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, m)
    bare.hnsw.efConstruction = ef_construction
    bare.train(vectors[:1])
    begin = time.process_time()
    bare.add(vectors)
    return bare, time.process_time() - begin


def _open_and_search(folder: Path, question: Floats) -> None:
    indexes = Indexes(folder, VectorConfig())
    indexes.get("large").search([question], Query(k=K), ["vector"])
    indexes.close()


def _forget(files: list[Path]) -> None:
    """Asks the system to drop what it has cached of files, so that they are read from the disk."""
    for path in files:
        handle = os.open(path, os.O_RDONLY)
        os.fdatasync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def _checksum(files: list[Path]) -> None:
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                digest.update(piece)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _each(questions: Floats, search: Callable[[Floats], object]) -> float:
    """Microseconds of a search at the median."""
    times = [_timed(lambda question=question: search(question)) for question in questions]  # type: ignore[misc]
    return float(np.median(times)) * 1e6


def _recall(index: Index, vectors: Floats, questions: Floats) -> float:
    shares = []
    for question in questions[:200]:
        right = {f"item-{row:06d}" for row in np.argpartition(-(vectors @ question), K)[:K]}
        shares.append(len(right.intersection(index.search([question], Query(k=K), ["vector"])[0].ids)) / K)
    return float(np.mean(shares))


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(measure(Path(sys.argv[1]) / "vectord", np.load(sys.argv[2]))))
