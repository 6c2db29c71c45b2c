"""Settings of embedd, section `embed`."""

from __future__ import annotations

from dataclasses import dataclass

MODELS = ("hash", "wordllama")
"""The ids of the models that this release computes by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig:
    """How embedd embeds and how much it remembers."""

    default_model: str = "wordllama"
    """The model of requests that name none: `wordllama` or `hash`."""
    cache_size: int = 10_000
    """Vectors remembered, least recently used out first; 0 turns the cache off."""
    deadline_seconds: float = 60.0
    """How long one batch may take."""
    threads: int = 2
    """Threads for batches that would hold up other calls."""
    hash_dimension: int = 64
    """Components of a vector of the `hash` model."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting that cannot be used."""
        if self.default_model not in MODELS:
            raise ValueError(f"default_model: must be one of {', '.join(MODELS)}, is {self.default_model!r}")
        if self.cache_size < 0:
            raise ValueError(f"cache_size: must be at least 0, is {self.cache_size}")
        if not self.deadline_seconds > 0:
            raise ValueError(f"deadline_seconds: must be more than 0, is {self.deadline_seconds:g}")
        if self.threads < 1:
            raise ValueError(f"threads: must be at least 1, is {self.threads}")
        if not 1 <= self.hash_dimension <= 65_536:
            raise ValueError(f"hash_dimension: must be between 1 and 65536, is {self.hash_dimension}")
