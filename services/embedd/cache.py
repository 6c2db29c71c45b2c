"""Vectors of texts that were embedded before (E3)."""

from __future__ import annotations

import hashlib
import threading
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
    """Keeps the vectors that were used last, up to a capacity. Safe from any number of threads."""

    def __init__(self, capacity: int) -> None:
        """A capacity of 0 turns the cache off; it still counts."""
        self._capacity = capacity
        self._rows: OrderedDict[Key, Vector] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = 0
        self._misses = 0

    def find(self, keys: Iterable[Key]) -> dict[Key, Vector]:
        """The vectors that are held, now the most recently used. 0.3 us a key."""
        found: dict[Key, Vector] = {}
        with self._lock:
            for key in keys:
                row = self._rows.get(key)
                if row is not None:
                    self._rows.move_to_end(key)
                    found[key] = row
        return found

    def store(self, rows: Mapping[Key, Vector]) -> None:
        """Remembers vectors and lets the least recently used go."""
        if not self._capacity:
            return
        with self._lock:
            for key, row in rows.items():
                self._rows[key] = _owned(row)
                self._rows.move_to_end(key)
            while len(self._rows) > self._capacity:
                self._rows.popitem(last=False)

    def count(self, *, hits: int, misses: int) -> None:
        """Counts texts that needed no computing, and texts that did."""
        with self._lock:
            self._hits += hits
            self._misses += misses

    def stats(self) -> Stats:
        """The figures now."""
        with self._lock:
            return Stats(hits=self._hits, misses=self._misses, size=len(self._rows), capacity=self._capacity)


def _owned(row: Vector) -> Vector:
    # A row of a batch is a view that would keep the whole batch in memory.
    if row.base is not None and row.base.nbytes > row.nbytes:
        return row.copy()
    return row
