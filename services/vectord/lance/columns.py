"""The metadata of a table as columns, for filters: decoded fragment by fragment, kept while there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from services.vectord.lance.addresses import Offsets
from services.vectord.lance.view import Piece, View
from services.vectord.segments import filters
from services.vectord.segments.fields import Fields
from services.vectord.segments.filters import Filter

_READ_ROWS = 8192
_ENTRY_BYTES = 40
"""What a decoded column takes for each row, about."""


class _Texts:
    """The metadata of a fragment by place, read ahead; one thread reads at a time, in order."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece
        self._view: View | None = None
        self._begin = 0
        self._read: list[bytes] = []

    def __getitem__(self, row: int) -> bytes:
        if not self._begin <= row < self._begin + len(self._read):
            assert self._view is not None
            self._begin = row
            self._read = self._view.metadata_of(self._piece, row, min(_READ_ROWS, self._piece.rows - row))
        return self._read[row - self._begin]

    def turn(self, view: View | None) -> None:
        """Reads from this version of the table, in whichever the fragment is the same; keeps nothing of the last."""
        self._view, self._read = view, []


class _Entry:
    def __init__(self, piece: Piece) -> None:
        self.texts = _Texts(piece)
        self.fields = Fields(self.texts)
        self.rows = piece.rows
        self.lock = threading.Lock()

    @property
    def size(self) -> int:
        return len(self.fields) * self.rows * _ENTRY_BYTES


class Columns:
    """Safe from any number of threads. A row's metadata never changes, so what was decoded serves later versions."""

    def __init__(self, limit: int) -> None:
        """Keeps about `limit` bytes."""
        self._limit = limit
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def passing(self, condition: Filter, view: View) -> dict[int, Offsets]:
        """The rows that pass, by fragment, among them some that were deleted.

        Costs some 5 us a row for the first filter on a field, then 20 us for 10,000 rows and a condition.
        """
        passing: dict[int, Offsets] = {}
        for piece in view.pieces:
            entry = self._entry(piece)
            with entry.lock:
                entry.texts.turn(view)
                try:
                    mask = filters.passing(condition, entry.fields, piece.rows)
                finally:
                    entry.texts.turn(None)
            offsets = np.flatnonzero(mask)
            if len(offsets):
                passing[piece.number] = offsets
            self._make_room()
        return passing

    def _entry(self, piece: Piece) -> _Entry:
        with self._lock:
            entry = self._entries.get(piece.number)
            if entry is None:
                entry = self._entries[piece.number] = _Entry(piece)
            self._entries.move_to_end(piece.number)
            return entry

    def _make_room(self) -> None:
        with self._lock:
            size = sum(entry.size for entry in self._entries.values())
            while size > self._limit and len(self._entries) > 1:
                size -= self._entries.popitem(last=False)[1].size
