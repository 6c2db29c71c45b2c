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
    weak_models: tuple[str, ...] = WEAK_MODELS
    """Models that keep the full context; a list given here replaces the built-in one."""
    corpus_seconds: float = 1.0
    """How long what is known of a corpus (its model and dimension) is believed before it is asked for again."""
    concurrent_builds: int = 2
    """Corpora built at the same time; further jobs wait as `queued`."""
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
        if not self.corpus_seconds >= 0:
            raise ValueError(f"corpus_seconds: must be at least 0, is {self.corpus_seconds:g}")
        for name, count in (
            ("concurrent_builds", self.concurrent_builds),
            ("kept_jobs", self.kept_jobs),
            ("threads", self.threads),
        ):
            if count < 1:
                raise ValueError(f"{name}: must be at least 1, is {count}")
