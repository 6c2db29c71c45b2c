"""Settings of catalogd, section `[catalog]`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogConfig:
    """Everything catalogd can be told; the defaults run on a laptop with no file at all."""

    bucket: str = "primary"
    "The bucket that holds the manifests; another one starts another, empty catalog."

    load_concurrency: int = 16
    "Manifests read from storage at once when the daemon starts."

    def __post_init__(self) -> None:
        """Raises ValueError, `setting: problem`, for a value that cannot be used (X10)."""
        if self.load_concurrency < 1:
            raise ValueError(f"load_concurrency: must be at least 1, is {self.load_concurrency}")
