"""How searches rank when their request does not say: what counts now, and what counted before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from services.matrixd.errors import NothingToRollBack
from services.matrixd.retrieval.fusion import Fusion
from services.runtime.durable import atomic_write

log = logging.getLogger(__name__)

_KEPT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Defaults of a search. Limits are None for those of the embedding model."""

    retrieval: str = "dense"
    fusion: Fusion = field(default_factory=Fusion)
    boost_limit: float | None = None
    inject_limit: float | None = None
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """Corpora to search instead of others."""


@dataclass(frozen=True, slots=True)
class Promoted:
    """A tuning and the experiment that spoke for it; no experiment for the first."""

    tuning: Tuning
    experiment: str = ""


class Tunings:
    """What counts, on disk. A file that cannot be read is reported, and everything is as at first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current, self._history = self._load()

    @property
    def current(self) -> Promoted:
        """What counts now."""
        return self._current

    @property
    def previous(self) -> int:
        """How many promotions can be rolled back."""
        return len(self._history)

    def promote(self, promoted: Promoted) -> None:
        """Makes a tuning count. One disk write; nothing for the one that counts already."""
        if promoted != self._current:
            self._save(promoted, [*self._history, self._current][-_KEPT:])

    def roll_back(self) -> Tuning:
        """Goes back to what counted before. One disk write. Raises NothingToRollBack."""
        if not self._history:
            raise NothingToRollBack("nothing was promoted that could be rolled back")
        *others, last = self._history
        self._save(last, others)
        return last.tuning

    def _save(self, current: Promoted, history: list[Promoted]) -> None:
        state = {"current": asdict(current), "history": [asdict(one) for one in history]}
        atomic_write(self._path, orjson.dumps(state))
        self._current, self._history = current, history

    def _load(self) -> tuple[Promoted, list[Promoted]]:
        try:
            state = orjson.loads(self._path.read_bytes())
            return _promoted(state["current"]), [_promoted(one) for one in state["history"]]
        except FileNotFoundError:
            pass  # nothing was promoted yet
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("what was promoted cannot be read, and counts no more: %s", error)
        return Promoted(Tuning()), []


def tuning_from(values: Mapping[str, Any]) -> Tuning:
    """The tuning in such JSON. Raises TypeError, KeyError."""
    return Tuning(**{**values, "fusion": Fusion(**values["fusion"])})


def _promoted(values: Mapping[str, Any]) -> Promoted:
    return Promoted(tuning_from(values["tuning"]), values["experiment"])
