"""Trials: what one set of parameters achieved, and which of several wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import orjson

from services.runtime.errors import InvalidArgument, Violation
from services.vectord.errors import RecallTooLow
from services.vectord.segments.building import Parameters

MINIMUM_RECALL = 0.9
"""The share of right neighbours below which no parameters win, unless somebody says otherwise."""

GRID = tuple(
    Parameters(m=0, ef_construction=construction, ef_search=search)
    for construction, search in ((20, 30), (40, 30), (80, 30), (80, 60), (160, 30))
)
"""What autotune tries; a 0 is the index's own value."""

_BOUNDS = {"ef_construction": (10, 400), "ef_search": (10, 200)}

Starter = Literal["call", "autotune", "agent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One measurement. Times are what single searches took, one after the other."""

    id: str = ""
    parameters: Parameters
    eval_set: str
    recall: float
    """The share of the right neighbours that were found."""
    p50_ms: float
    p99_ms: float
    build_seconds: float
    items: int
    """Items in the graph: all of the index, or an even sample of it."""
    of: int
    """Items in the index at that time."""
    started_by: Starter
    ended_ns: int


def encode(trial: Trial) -> bytes:
    """A record of the journal."""
    return orjson.dumps(asdict(trial))


def decode(payload: bytes) -> Trial:
    """The trial in a record."""
    document: dict[str, Any] = orjson.loads(payload)
    return Trial(**{**document, "parameters": Parameters(**document["parameters"])})


def filled(given: Parameters, present: Parameters) -> Parameters:
    """Parameters with the index's own values where 0 is given."""
    return Parameters(
        m=given.m or present.m,
        ef_construction=given.ef_construction or present.ef_construction,
        ef_search=given.ef_search or present.ef_search,
    )


def check(given: Parameters, field: str) -> None:
    """Raises InvalidArgument naming what lies outside the bounds of a trial; 0 is always allowed."""
    violations = [
        Violation(f"{field}.{name}", f"must be between {least} and {most} in a trial, is {value}")
        for name, (least, most) in _BOUNDS.items()
        if (value := getattr(given, name)) and not least <= value <= most
    ]
    if violations:
        text = "; ".join(f"{violation.field}: {violation.description}" for violation in violations)
        raise InvalidArgument(text, violations=violations, field=violations[0].field)


def grid(given: Sequence[Parameters], present: Parameters) -> list[Parameters]:
    """What autotune tries, in the order given and each once. Raises InvalidArgument."""
    for place, parameters in enumerate(given):
        check(parameters, f"grid[{place}]")
    return list(dict.fromkeys(filled(parameters, present) for parameters in given or GRID))


def winner(trials: Sequence[Trial], minimum_recall: float = MINIMUM_RECALL) -> Trial | None:
    """The trial with the best recall, then the best p50; the earlier one if they are equal. None below the least."""
    good = [trial for trial in trials if trial.recall >= minimum_recall]
    return min(good, key=lambda trial: (-trial.recall, trial.p50_ms), default=None)


def check_promotable(trial: Trial, minimum_recall: float) -> None:
    """Raises RecallTooLow."""
    if trial.recall < minimum_recall:
        raise RecallTooLow(
            f"trial {trial.id} has a recall of {trial.recall:.4f}, and {minimum_recall:g} is the least",
            trial_id=trial.id,
            recall=trial.recall,
            minimum_recall=minimum_recall,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Parameters that an index was given, and the trial that spoke for them."""

    parameters: Parameters
    trial_id: str
    recall: float
    promoted_ns: int


HISTORY = 50
"""How many promotions an index remembers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The promotions of an index that count, latest first, and what it had before all of them."""

    promotions: tuple[Promotion, ...] = ()
    first: Parameters | None = None

    def promoted(self, promotion: Promotion, present: Parameters) -> Tuned:
        """With one more promotion; the oldest beyond the 50th are forgotten."""
        first = self.first if self.first is not None else present
        return Tuned(promotions=(promotion, *self.promotions)[:HISTORY], first=first)

    def rolled_back(self) -> tuple[Tuned, Parameters] | None:
        """Without the latest promotion, and the parameters that count then; None when there is none."""
        if not self.promotions or self.first is None:
            return None
        rest = self.promotions[1:]
        if not rest:
            return Tuned(), self.first
        return replace(self, promotions=rest), rest[0].parameters

    def document(self) -> dict[str, Any]:
        """A JSON object, as it is kept with the index."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Tuned:
        """What such a JSON object says."""
        promotions = [
            Promotion(**{**one, "parameters": Parameters(**one["parameters"])}) for one in document["promotions"]
        ]
        first = document["first"]
        return cls(promotions=tuple(promotions), first=Parameters(**first) if first is not None else None)
