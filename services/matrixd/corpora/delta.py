"""What of a corpus has to change: texts to embed, metadata to replace, and what may stay (M11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct

from services.matrixd.corpora.ledger import Ledger
from services.matrixd.corpora.rows import Piece

GROUP_BYTES = 8 << 20
"""What one call to a neighbour carries at most, far below what it takes; a larger piece goes alone."""
GROUP_PIECES = 512
"""Items in one call at most, so that a slow model ends before its deadline."""


@dataclass(slots=True)
class Delta:
    """Pieces by what has to be done. `fresh` are embedded, `touched` keep their vector and get new metadata."""

    fresh: list[Piece] = field(default_factory=list)
    touched: list[Piece] = field(default_factory=list)
    unchanged: int = 0


def compare(pieces: Sequence[Piece], stored: Mapping[str, Struct], ledger: Ledger) -> Delta:
    """Sorts pieces by what the index holds and what the ledger knows of it. 10 us a piece.

    A piece is embedded unless the index has its item and the ledger knows that item's text to be the same.
    """
    delta = Delta()
    for piece in pieces:
        there = stored.get(piece.id)
        if there is None or ledger.get(piece.id) != piece.digest:
            delta.fresh.append(piece)
        elif there != _struct(piece):
            delta.touched.append(piece)
        else:
            delta.unchanged += 1
    return delta


def grouped(pieces: Sequence[Piece], dimension: int) -> Iterator[Sequence[Piece]]:
    """Cuts pieces into groups that one call can carry, in order."""
    start, size = 0, 0
    for index, piece in enumerate(pieces):
        weight = len(piece.text.encode()) + 4 * dimension + len(repr(piece.metadata))
        if index > start and (size + weight > GROUP_BYTES or index - start == GROUP_PIECES):
            yield pieces[start:index]
            start, size = index, 0
        size += weight
    if start < len(pieces):
        yield pieces[start:]


def _struct(piece: Piece) -> Struct:
    struct = Struct()
    struct.update(piece.metadata)
    return struct
