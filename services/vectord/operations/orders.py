"""What somebody wants done to an index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.vectord.segments.building import Parameters
from services.vectord.segments.storage import StorageType
from services.vectord.tuning.trial import MINIMUM_RECALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuild:
    """How an index is to be made anew; what is 0 or empty stays as it is."""

    parameters: Parameters
    storage_type: StorageType | None = None
    dest: str = ""
    alias: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Autotune:
    """What is to be tried, and what comes of the winner."""

    eval_set: str = ""
    grid: Sequence[Parameters] = ()
    minimum_recall: float = MINIMUM_RECALL
    promote: bool = False
