"""Errors that only embedd raises."""

from __future__ import annotations

from services.runtime.errors import NotFound, Unavailable


class ModelNotFound(NotFound):
    """A request names a model that is not there; metadata `models` lists those that are."""

    reason = "MODEL_NOT_FOUND"


class UpstreamFailed(Unavailable):
    """What computes the vectors cannot do so now: its files or its server cannot be used.

    Metadata: `provider`, `model`, and `status`, the HTTP status that a server answered with.
    """

    reason = "UPSTREAM_FAILED"
    one_text: bool = False
    """Whether one text among several may be to blame; only where the error is made."""
