"""Vectors of texts that were embedded before (E3)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float32]
Key = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The cache's figures since start. `hits` and `misses` count texts."""

    hits: int
    misses: int
    size: int
    capacity: int

    @property
    def hit_rate(self) -> float:
        """Hits among all texts; 0 before the first."""
        total = self.hits + self.misses
        return self.hits / total if total else 0.0


def cache_key(model_id: str, text: str) -> Key:
    """What a vector is remembered under: SHA-256 over the model's id and the text."""
    return hashlib.sha256(f"{model_id}\x1f{text}".encode()).digest()


class VectorCache:
    """Keeps the vectors that were used last, up to a capacity. Belongs to one event loop, so it needs no lock."""

    def __init__(self, capacity: int) -> None:
        """A capacity of 0 turns the cache off; it still counts."""
        self._capacity = capacity
        self._rows: OrderedDict[Key, Vector] = OrderedDict()
        self._hits = 0
        self._misses = 0

    def get(self, key: Key) -> Vector | None:
        """The vector if it is held, now the most recently used. 0.2 us."""
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: Key, row: Vector) -> None:
        """Remembers a vector and lets the least recently used go. Keeps the whole array that `row` is a view of."""
        rows = self._rows
        rows[key] = row
        rows.move_to_end(key)
        if len(rows) > self._capacity:
            rows.popitem(last=False)

    def find(self, keys: Iterable[Key]) -> dict[Key, Vector]:
        """Those of many vectors that are held, now the most recently used."""
        return {key: row for key in keys if (row := self.get(key)) is not None}

    def store(self, rows: Mapping[Key, Vector]) -> None:
        """Remembers the rows of a batch."""
        if self._capacity:
            for key, row in rows.items():
                self.put(key, _owned(row))

    def count(self, hits: int, misses: int) -> None:
        """Counts texts that needed no computing, and texts that did."""
        self._hits += hits
        self._misses += misses

    def stats(self) -> Stats:
        """The figures now."""
        return Stats(hits=self._hits, misses=self._misses, size=len(self._rows), capacity=self._capacity)


def _owned(row: Vector) -> Vector:
    # A row of a batch is a view that would keep the whole batch in memory.
    if row.base is not None and row.base.nbytes > row.nbytes:
        return row.copy()
    return row
