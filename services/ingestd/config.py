"""Settings of ingestd, section `[ingest]`."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """Limits on what is taken in, and on how much memory taking it in may cost."""

    max_ingest_bytes: int = 1 << 30
    """Largest file in bytes, before conversion; a larger one is refused with 413."""

    max_conversions: int = 2
    """Files converted at the same time, each in 250 MB, or 350 MB with very long rows; the others wait on disk."""

    row_group_rows: int = 122_880
    """Most rows in one Parquet row group: the unit in which DuckDB reads."""

    row_group_bytes: int = 32 << 20
    """Most bytes of decoded rows held back for one row group, so that wide rows cost no memory."""

    def __post_init__(self) -> None:
        """Raises ValueError, `setting: problem`, for a value that cannot be used."""
        for setting in fields(self):
            if getattr(self, setting.name) < 1:
                raise ValueError(f"{setting.name}: must be at least 1, is {getattr(self, setting.name)}")
