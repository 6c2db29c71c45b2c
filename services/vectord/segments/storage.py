"""How vectors are kept (V8): as float32, as float16, or as float16 with a graph over int8.

What comes in is rounded to what is kept, so an item has the same vector and the same distances in the
hot segment, in the log and after it was sealed.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from services.vectord.segments.metric import Floats, Metric, faiss_metric
from services.vectord.segments.native import faiss

StorageType = Literal["float32", "float16", "int8"]
STORAGE_TYPES: tuple[StorageType, ...] = get_args(StorageType)

LARGEST_HALF = 65504.0
"""The largest number in float16."""

_FLOAT16 = faiss.ScalarQuantizer.QT_fp16
_INT8 = faiss.ScalarQuantizer.QT_8bit


def is_half(storage: StorageType) -> bool:
    """Whether the kept vectors are float16."""
    return storage != "float32"


def rounded(vectors: Floats, storage: StorageType) -> Floats:
    """Vectors as an index of this type keeps them; what float16 cannot hold becomes infinite. 2 ns a number."""
    if not is_half(storage):
        return vectors
    with np.errstate(over="ignore"):
        return vectors.astype(np.float16).astype(np.float32)


def held(vectors: Floats, storage: StorageType) -> Floats:
    """Vectors of an index that was rebuilt as another type: what float16 cannot hold becomes the largest it can."""
    return np.clip(vectors, -LARGEST_HALF, LARGEST_HALF) if is_half(storage) else vectors


def flat_index(dimension: int, metric: Metric, storage: StorageType) -> Any:
    """An empty FAISS index of the vectors as they are kept, which is scanned."""
    if is_half(storage):
        return faiss.IndexScalarQuantizer(dimension, _FLOAT16, faiss_metric(metric))
    return faiss.IndexFlat(dimension, faiss_metric(metric))


def graph_index(dimension: int, metric: Metric, storage: StorageType, *, links: int) -> Any:
    """An empty FAISS graph; one over int8 must be trained before it is added to."""
    if storage == "float32":
        return faiss.IndexHNSWFlat(dimension, links, faiss_metric(metric))
    kind = _INT8 if storage == "int8" else _FLOAT16
    return faiss.IndexHNSWSQ(dimension, kind, links, faiss_metric(metric))


def storage_of(index: Any) -> StorageType:
    """How a FAISS index of ours keeps vectors; one that is only scanned never keeps int8."""
    codes = flat_of(index)
    if isinstance(codes, faiss.IndexFlat):
        return "float32"
    return "int8" if codes.sq.qtype == _INT8 else "float16"


def flat_of(index: Any) -> Any:
    """The list in a graph, or the list itself."""
    return faiss.downcast_index(index.storage) if is_graph(index) else index


def is_graph(index: Any) -> bool:
    """Whether an index is a graph rather than a list to scan."""
    return isinstance(index, faiss.IndexHNSW)


Ranges = tuple[Floats, Floats]
"""The smallest of each component, and from there to the largest."""


def ranges_of(index: Any) -> Ranges:
    """What a graph over int8 was trained for."""
    quantizer = flat_of(index).sq
    trained: Floats = faiss.vector_to_array(quantizer.trained)
    return trained[: index.d], trained[index.d :]


def within(vectors: Floats, ranges: Ranges) -> float:
    """The share of components that lie in the ranges; 1 without vectors."""
    smallest, width = ranges
    inside = (vectors >= smallest) & (vectors <= smallest + width)
    return float(inside.mean()) if inside.size else 1.0


def codes_of(flat: Any) -> npt.NDArray[np.uint8]:
    """The kept vectors in a list, as bytes, one row each. A view: the list must outlive it and not grow.

    As bytes, since in a file the numbers may stand at any offset, and of unaligned floats numpy copies all.
    """
    size = int(flat.code_size)
    if not flat.ntotal:
        return np.empty((0, size), dtype=np.uint8)
    codes: npt.NDArray[np.uint8] = faiss.rev_swig_ptr(flat.codes.data(), flat.ntotal * size).reshape(-1, size)
    return codes
