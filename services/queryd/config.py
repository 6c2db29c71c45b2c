"""Settings of queryd."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryConfig:
    """Limits on what one statement, and all of them together, may cost."""

    statement_timeout: float = 60.0
    """Seconds a statement may run; a caller may ask for less, never for more."""

    row_limit: int = 10_000
    """Most rows in a JSON answer; larger results are streamed as Arrow."""

    max_json_bytes: int = 32 << 20
    """Most bytes in a JSON answer, whatever its number of rows."""

    memory_limit_bytes: int = 2 << 30
    """Memory DuckDB may use for all statements together."""

    spill_limit_bytes: int = 8 << 30
    """Disk DuckDB may use for sorts, joins and groups that exceed its memory."""

    threads: int = 0
    """Threads DuckDB computes with; 0 means one for each core."""

    workers: int = 8
    """Statements that run at the same time; the others wait for their turn."""

    cache_bytes: int = 20 << 30
    """Disk for local copies of data files; the least recently used ones make room."""

    downloads: int = 4
    """Data files that are fetched at the same time."""

    refresh_every: float = 30.0
    """Seconds between looks at the catalog while no statement asks for it."""

    def __post_init__(self) -> None:
        for setting in (
            *("statement_timeout", "row_limit", "max_json_bytes", "memory_limit_bytes", "spill_limit_bytes"),
            *("workers", "cache_bytes", "downloads", "refresh_every"),
        ):
            if getattr(self, setting) <= 0:
                raise ValueError(f"{setting}: must be more than 0, is {getattr(self, setting)}")
        if self.threads < 0:
            raise ValueError(f"threads: must be 0 or more, is {self.threads}")
