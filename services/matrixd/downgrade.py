"""Whether a model is better off without the lakehouse's context (M4).

Too much context hurts a strong model and helps a weak one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from services.runtime.errors import InvalidArgument

FULL = "lakehouse"
ISOLATION = "isolation"
WEAK_MODELS = ("qwen3.5:latest", "qwen3:latest")
FORCE_VARIABLE = "LH_FORCE_FULL_ENRICHMENT"


@dataclass(frozen=True, slots=True)
class Decision:
    """The mode to use, and why."""

    mode: str
    downgraded: bool
    reason: str


def decide(mode: str, model: str, *, force: bool, weak_models: Collection[str]) -> Decision:
    """Turns mode `lakehouse` into `isolation` for a strong model that is not forced. Raises InvalidArgument."""
    if not mode.strip():
        raise InvalidArgument.of("mode", "must not be empty")
    if not model.strip():
        raise InvalidArgument.of("model", "must not be empty")
    if mode != FULL:
        return Decision(mode, False, f"only mode {FULL!r} is ever downgraded")
    if force:
        return Decision(mode, False, "the full context is forced")
    if is_weak(model, weak_models):
        return Decision(mode, False, f"{model!r} is a weak model and needs the context")
    return Decision(ISOLATION, True, f"{model!r} is a strong model, which the context would only distract")


def is_weak(model: str, weak_models: Collection[str]) -> bool:
    """Whether a model is on the list, or is a free tier by its id."""
    return model in weak_models or ":free" in model


def force_from(environ: Mapping[str, str]) -> bool:
    """What the environment says for callers that leave `force` out."""
    return environ.get(FORCE_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")
