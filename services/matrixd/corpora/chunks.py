"""Long texts in pieces, each short enough to embed well (M11)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunking:
    """The longest piece, and how much two neighbours share; both in characters, overlap < size."""

    size: int
    overlap: int


def split(text: str, chunking: Chunking) -> Iterator[str]:
    """Pieces that cover the whole text, each at most `size` long, cut after a word where there is one.

    Two neighbours share `overlap` characters. Pieces of white space alone are left out.
    """
    start = 0
    while True:
        stop = _stop(text, start, chunking)
        piece = text[start:stop]
        if not piece.isspace():
            yield piece
        if stop == len(text):
            return
        start = stop - chunking.overlap


def _stop(text: str, start: int, chunking: Chunking) -> int:
    limit = start + chunking.size
    if limit >= len(text):
        return len(text)
    # A cut in the first half would make many small pieces, and one within the overlap would never end.
    earliest = start + max(chunking.size // 2, chunking.overlap + 1)
    for position in range(limit, earliest, -1):
        if text[position - 1].isspace():
            return position
    return limit
