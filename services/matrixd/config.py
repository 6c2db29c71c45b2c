"""Settings of matrixd, section `matrix`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.matrixd.downgrade import WEAK_MODELS


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixConfig:
    """How far the playbook reaches, and how corpora are built."""

    boost_limits: Mapping[str, float] = field(default_factory=dict)
    """For an embedding model, how far a remembered question may lie to boost an answer; replaces the built-in value."""
    inject_limits: Mapping[str, float] = field(default_factory=dict)
    """For an embedding model, how far it may lie to inject an answer that the search missed."""
    half_life_days: float = 180.0
    """How long until a recorded answer counts half as much, and again half as much after as long; never for 0."""
    weak_models: tuple[str, ...] = WEAK_MODELS
    """Models that keep the full context; a list given here replaces the built-in one."""
    corpus_seconds: float = 1.0
    """How long what is known of a corpus (its model and dimension) is believed before it is asked for again."""
    concurrent_builds: int = 2
    """Corpora built at the same time; further jobs wait as `queued`."""
    batches_in_flight: int = 4
    """Batches of one build embedded at the same time; more of them keep a distant model busier and take more memory."""
    watch_seconds: float = 2.0
    """How often the catalog is asked whether anything with the policy `on_append` or `scheduled` is stale."""
    refresh_seconds: float = 3_600.0
    """How long after its last embedding a stale dataset with the policy `scheduled` is refreshed."""
    kept_jobs: int = 1_000
    """Jobs remembered; the oldest that have ended are forgotten first."""
    threads: int = 2
    """Threads that read rows and make items of them."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting that cannot be used."""
        for name, limits in (("boost_limits", self.boost_limits), ("inject_limits", self.inject_limits)):
            for model, limit in limits.items():
                if not 0 <= limit <= 2:
                    raise ValueError(f"{name}: must be between 0 and 2 for {model!r}, is {limit:g}")
        for name, seconds in (("watch_seconds", self.watch_seconds), ("refresh_seconds", self.refresh_seconds)):
            if not 0.01 <= seconds < float("inf"):
                raise ValueError(f"{name}: must be at least 0.01 and finite, is {seconds:g}")
        if not 0 <= self.half_life_days < float("inf"):
            raise ValueError(f"half_life_days: must be at least 0 and finite, is {self.half_life_days:g}")
        if not self.corpus_seconds >= 0:
            raise ValueError(f"corpus_seconds: must be at least 0, is {self.corpus_seconds:g}")
        for name, count in (
            ("concurrent_builds", self.concurrent_builds),
            ("batches_in_flight", self.batches_in_flight),
            ("kept_jobs", self.kept_jobs),
            ("threads", self.threads),
        ):
            if count < 1:
                raise ValueError(f"{name}: must be at least 1, is {count}")
