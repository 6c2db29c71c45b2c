"""Items on their way in: checked as a whole, then in the form in which every segment keeps them (V2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.runtime.errors import Violation
from services.vectord.errors import EmptyId, IdTooLong, MetadataTooLarge, NotFinite, WrongDimension, ZeroNorm
from services.vectord.segments.metric import LONGEST, Floats, Metric
from services.vectord.segments.storage import LARGEST_HALF, StorageType, is_half, rounded

ID_MAX_BYTES = 1024
METADATA_MAX_BYTES = 1 << 20
"""Of one item's serialised metadata; items are for finding, not for keeping documents."""

_ID_SURELY_FITS = ID_MAX_BYTES // 4  # characters; UTF-8 takes at most four bytes for one

Norms = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item as a caller gives it: metadata is a serialised Struct, None leaves what is there."""

    id: str
    vector: Floats
    metadata: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Checked items with distinct ids.

    `vectors` has shape (n, dimension) in float32, and under cosine rows of length 1; `norms` has shape
    (n,) and holds the lengths they had, 1 under the other metrics.
    """

    ids: Sequence[str]
    vectors: Floats
    norms: Norms
    metadata: Sequence[bytes | None]

    def __len__(self) -> int:
        """How many items."""
        return len(self.ids)

    def take(self, positions: Sequence[int]) -> Batch:
        """Some of the items."""
        chosen = np.asarray(positions, dtype=np.int64)
        return Batch(
            ids=[self.ids[position] for position in positions],
            vectors=self.vectors[chosen],
            norms=self.norms[chosen],
            metadata=[self.metadata[position] for position in positions],
        )


def check(
    items: Sequence[Item], *, dimension: int, metric: Metric, storage: StorageType = "float32", field: str = "items"
) -> Batch:
    """Checks every item and returns them as they are kept, of several with one id the last; O(items x dimension).

    Raises EmptyId, IdTooLong, MetadataTooLarge, WrongDimension, NotFinite or ZeroNorm naming the first item
    at fault.
    """
    for position, item in enumerate(items):
        check_id(item.id, f"{field}[{position}].id")
        if item.metadata is not None and len(item.metadata) > METADATA_MAX_BYTES:
            raise _metadata_too_large(len(item.metadata), f"{field}[{position}].metadata")
    names = [f"{field}[{position}].vector" for position in range(len(items))]
    vectors, norms = normalise([item.vector for item in items], dimension=dimension, metric=metric, names=names)
    batch = Batch(
        ids=[item.id for item in items],
        vectors=_kept(vectors, storage, names),
        norms=norms,
        metadata=[item.metadata for item in items],
    )
    last = {item.id: position for position, item in enumerate(items)}
    return batch if len(last) == len(items) else batch.take(list(last.values()))


def _metadata_too_large(size: int, field: str) -> MetadataTooLarge:
    problem = f"must have at most {METADATA_MAX_BYTES} bytes, has {size}"
    violation = Violation(field, problem)
    return MetadataTooLarge(f"{field}: {problem}", violations=(violation,), field=field, size=size)


def check_id(item_id: str, field: str) -> None:
    """Raises EmptyId or IdTooLong."""
    if not item_id:
        raise EmptyId.of(field, "must not be empty")
    if len(item_id) > _ID_SURELY_FITS and (size := len(item_id.encode())) > ID_MAX_BYTES:
        raise IdTooLong.of(field, f"must have at most {ID_MAX_BYTES} bytes, has {size}", size=size)


def normalise(
    vectors: Sequence[Floats], *, dimension: int, metric: Metric, names: Sequence[str]
) -> tuple[Floats, Norms]:
    """Checks vectors and brings them into the metric's form: (n, dimension) and their former lengths.

    `names` are the fields they came in, for errors: WrongDimension, NotFinite, ZeroNorm.
    """
    for vector, name in zip(vectors, names, strict=True):
        if len(vector) != dimension:
            size = len(vector)
            raise WrongDimension.of(
                name, f"must have {dimension} components, has {size}", dimension=dimension, size=size
            )
    if len(vectors) == 1:
        return _one(vectors[0], metric, names)
    matrix = np.empty((len(vectors), dimension), dtype=np.float32)
    for row, vector in enumerate(vectors):
        matrix[row] = vector
    # In float64 no square of a float32 overflows: a length is finite exactly when its vector is.
    lengths = np.sqrt(np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64))
    finite = np.isfinite(lengths)
    if not finite.all():
        raise NotFinite.of(names[_first(~finite)], "must not hold NaN or infinity")
    return (matrix, _unit(matrix, lengths, names)) if metric == "cosine" else (matrix, _bounded(lengths, names))


def _one(vector: Floats, metric: Metric, names: Sequence[str]) -> tuple[Floats, Norms]:
    """The same for a single vector, as every search has it: a third of the cost."""
    wide = vector.astype(np.float64)
    length = math.sqrt(float(wide @ wide))
    if not math.isfinite(length):
        raise NotFinite.of(names[0], "must not hold NaN or infinity")
    lengths = np.array([length])
    if metric != "cosine":
        return vector[None].copy(), _bounded(lengths, names)
    if length == 0:
        raise ZeroNorm.of(names[0], "must not be all zeros: it has no direction")
    return (wide / length).astype(np.float32)[None], lengths


def _kept(matrix: Floats, storage: StorageType, names: Sequence[str]) -> Floats:
    if not is_half(storage):
        return matrix
    kept = rounded(matrix, storage)
    beyond = np.flatnonzero(~np.isfinite(kept).all(axis=1))
    if len(beyond):
        raise NotFinite.of(names[beyond[0]], f"must not hold numbers beyond {LARGEST_HALF:.0f} in {storage}")
    return kept


def _unit(matrix: Floats, lengths: Norms, names: Sequence[str]) -> Norms:
    if not lengths.all():
        raise ZeroNorm.of(names[_first(lengths == 0)], "must not be all zeros: it has no direction")
    np.divide(matrix, lengths[:, None], out=matrix, casting="same_kind")
    return lengths


def _bounded(lengths: Norms, names: Sequence[str]) -> Norms:
    if len(lengths) and lengths.max() > LONGEST:
        raise NotFinite.of(names[_first(lengths > LONGEST)], f"must not be longer than {LONGEST:.1e}")
    return np.ones(len(lengths))


def _first(mask: npt.NDArray[np.bool_]) -> int:
    return int(np.argmax(mask))
