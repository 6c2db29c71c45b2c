"""Settings of vectord."""

from __future__ import annotations

from dataclasses import dataclass

_COUNTS = (
    "hot_bytes",
    "unsealed_bytes",
    "max_import_bytes",
    "search_threads",
    "write_threads",
    "load_threads",
    "merges",
    "build_threads",
    "trial_rows",
    "agent_trials_per_hour",
    "concurrent_jobs",
    "kept_jobs",
    "lance_cache_bytes",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorConfig:
    """When fresh items are sealed into graphs, and how many threads do what."""

    hot_bytes: int = 2 << 20
    """Bytes of vectors in the hot segment from which it is sealed; up to there a search scans it exactly."""

    unsealed_bytes: int = 64 << 20
    """Bytes of writes of one index that may wait to be sealed; while there are more, its writers wait."""

    busy_seconds: float = 10.0
    """Seconds that a writer waits for that, if its deadline allows; then it is told to come back later."""

    quiet_seconds: float = 1.0
    """Seconds without a write after which an index is tidied into fewer segments."""

    search_threads: int = 4
    """Searches that run beside the event loop at the same time; short ones run on it."""

    write_threads: int = 4
    """Batches that may be checked and written at the same time; each index has one writer at a time."""

    load_threads: int = 4
    """Segments that are read and checked at the same time when the daemon starts."""

    check_seconds: float = 300.0
    """Seconds between two checks of the recall of an index that changed."""

    max_import_bytes: int = 4 << 30
    """The largest file that can be imported."""

    merges: int = 2
    """Indexes whose segments are merged at the same time."""

    build_threads: int = 1
    """Threads that build a graph; one leaves the other cores to searches and builds the same graph every time."""

    lance_cache_bytes: int = 256 << 20
    """Bytes of indexes of Lance tables that are kept in memory, and the same of fields that filters name."""

    concurrent_jobs: int = 1
    """Rebuilds and trials that run at the same time; further jobs wait as `queued`."""

    kept_jobs: int = 1_000
    """Jobs remembered; the oldest that have ended are forgotten first."""

    trial_rows: int = 50_000
    """Items of which a trial builds a graph at most; of a larger index it takes an even sample."""

    agent: bool = False
    """Whether the autotune agent works by itself: tries parameters on new data, and promotes what is clearly better."""

    agent_trials_per_hour: int = 4
    """Trials that the agent runs in an hour at most, also when it is asked to."""

    agent_cool_down_seconds: float = 300.0
    """Seconds between two trials of the agent at least."""

    def __post_init__(self) -> None:
        """Raises ValueError for a value that cannot work."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        for name in ("quiet_seconds", "busy_seconds", "check_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be more than 0")
        if not self.agent_cool_down_seconds >= 0:
            raise ValueError("agent_cool_down_seconds: must be at least 0")
