"""Settings of vectord."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorConfig:
    """When fresh items are sealed into graphs, and how many threads do what."""

    hot_bytes: int = 2 << 20
    """Bytes of vectors in the hot segment from which it is sealed; up to there a search scans it exactly."""

    quiet_seconds: float = 1.0
    """Seconds without a write after which an index is tidied into fewer segments."""

    search_threads: int = 4
    """Searches that run beside the event loop at the same time; short ones run on it."""

    write_threads: int = 4
    """Batches that may be checked and written at the same time; each index has one writer at a time."""

    build_threads: int = 1
    """Threads that build a graph; one leaves the other cores to searches and builds the same graph every time."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value that cannot work."""
        for name in ("hot_bytes", "search_threads", "write_threads", "build_threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.quiet_seconds <= 0:
            raise ValueError("quiet_seconds: must be more than 0")
