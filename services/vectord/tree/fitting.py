"""Whether vectors can be kept as another storage type: float16 ends at 65,504."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.vectord.errors import NotFinite
from services.vectord.segments.metric import Floats, Rows
from services.vectord.segments.sealed import SealedSegment
from services.vectord.segments.storage import StorageType, is_half, rounded
from services.vectord.tree.state import Slot

_CHUNK_FLOATS = 1 << 22


def fits(vectors: Floats, storage: StorageType) -> bool:
    """Whether every number is still finite when it is kept so."""
    return not is_half(storage) or bool(np.isfinite(rounded(vectors, storage)).all())


def check_fits(rows: Iterable[tuple[Slot, Rows]], storage: StorageType) -> None:
    """Raises NotFinite for the first item that does not fit. Costs a read of the vectors that are not float16."""
    for slot, some in rows:
        segment = slot.segment
        if not is_half(storage) or not len(some) or (isinstance(segment, SealedSegment) and is_half(segment.storage)):
            continue
        chunk = max(1, _CHUNK_FLOATS // segment.vectors(some[:1]).shape[1])
        for begin in range(0, len(some), chunk):
            vectors = segment.vectors(some[begin : begin + chunk])
            if not fits(vectors, storage):
                row = int(some[begin + int(np.argmin(np.isfinite(rounded(vectors, storage)).all(axis=1)))])
                item_id = segment.ids[row]
                raise NotFinite(f"the vector of item {item_id!r} is too long to be kept as {storage}", id=item_id)
