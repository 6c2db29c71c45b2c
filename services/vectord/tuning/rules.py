"""What the autotune agent does next: decided by its journal, the clock and the state of the indexes alone.

It measures the parameters in use first, then others: mostly the untried ones nearest to the best so
far, now and then any. It never tries the same twice on the same data, keeps to its limits whoever
wakes it, and promotes only what is clearly better.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from services.vectord.segments.building import Parameters
from services.vectord.segments.sealed import GRAPH_ROWS
from services.vectord.tuning.evals import GROWTH
from services.vectord.tuning.trial import MINIMUM_RECALL, Trial, winner

EXPLORE = 0.25
"""How often it tries any parameters instead of the ones nearest to the best."""

TRIES = 8
"""Trials that it starts by itself on the same data."""

CONSTRUCTIONS = (20, 40, 80, 160, 320)
SEARCHES = (20, 30, 60, 100, 200)
_SEED = 42
_USUAL = 64  # candidates that are measured for a graph when no number is given
_HOUR_NS = 3_600_000_000_000
_BETTER_RECALL = 0.005
_FASTER = 0.8

Action = Literal["explored", "exploited", "promoted", "skipped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much it may do."""

    trials_per_hour: int
    cool_down_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an index: `key` tells it from others that had its name."""

    key: str
    name: str
    count: int
    parameters: Parameters
    trials: Sequence[Trial]
    """Of whoever, the oldest first."""

    def current(self, of: int) -> bool:
        """Whether something measured when there were `of` items still says something."""
        return of <= self.count * (1 + GROWTH) and self.count <= of * (1 + GROWTH)

    def present_trials(self) -> list[Trial]:
        """The trials that still say something."""
        return [trial for trial in self.trials if self.current(trial.of)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A trial that the agent began; what became of it is told by `Done`."""

    number: int
    at_ns: int
    key: str
    index: str
    action: Action
    parameters: Parameters
    of: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A trial to begin now."""

    action: Action
    parameters: Parameters
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """Nothing to do, and why; `until_ns` is when that may change by time alone."""

    detail: str
    until_ns: int = 0


def free_at(begun: Sequence[Begun], limits: Limits) -> int:
    """The first moment at which the limits allow a trial, in ns; 0 when nothing was begun."""
    moments = [entry.at_ns for entry in begun]
    if not moments:
        return 0
    free = moments[-1] + round(limits.cool_down_seconds * 1e9)
    if len(moments) >= limits.trials_per_hour:
        free = max(free, moments[-limits.trials_per_hour] + _HOUR_NS)
    return free


def last_hour(begun: Sequence[Begun], now_ns: int) -> int:
    """Trials begun in the hour before now."""
    return sum(entry.at_ns > now_ns - _HOUR_NS for entry in begun)


def decide(begun: Sequence[Begun], now_ns: int, known: Known, limits: Limits) -> Try | Skip:
    """What to do for an index when somebody asks for it. The same arguments, the same answer."""
    until = free_at(begun, limits)
    if now_ns < until:
        return Skip(
            detail=f"the limits allow no trial for another {math.ceil((until - now_ns) / 1e9)} s", until_ns=until
        )
    if known.count < GRAPH_ROWS:
        return Skip(detail=f"an index of fewer than {GRAPH_ROWS} items is scanned: there is nothing to tune")
    own = [entry for entry in begun if entry.key == known.key]
    tried = {trial.parameters for trial in known.present_trials()}
    tried |= {entry.parameters for entry in own if known.current(entry.of)}
    if known.parameters not in tried:
        return Try(action="exploited", parameters=known.parameters, detail="the parameters in use, to compare with")
    rest = [parameters for parameters in _lattice(known.parameters.m) if parameters not in tried]
    if not rest:
        return Skip(detail="every parameters were tried on this data")
    return _choose(rest, known, random.Random(f"{_SEED}/{known.key}/{len(own)}"))


def _choose(rest: Sequence[Parameters], known: Known, chance: random.Random) -> Try:
    best = winner(known.present_trials(), minimum_recall=0.0)
    if best is None or chance.random() < EXPLORE:
        return Try(action="explored", parameters=chance.choice(rest), detail="any that was not tried yet")
    nearest = min(_apart(parameters, best.parameters) for parameters in rest)
    near = [parameters for parameters in rest if _apart(parameters, best.parameters) == nearest]
    return Try(action="exploited", parameters=chance.choice(near), detail=f"near trial {best.id}, the best so far")


def _lattice(m: int) -> list[Parameters]:
    return [
        Parameters(m=m, ef_construction=construction, ef_search=search)
        for construction in CONSTRUCTIONS
        for search in SEARCHES
    ]


def _apart(one: Parameters, other: Parameters) -> float:
    pairs = ((one.ef_construction, other.ef_construction), (one.ef_search or _USUAL, other.ef_search or _USUAL))
    # Twice as many is one step.
    return round(sum(abs(math.log2(a / b)) for a, b in pairs), 6)


def wakes(begun: Sequence[Begun], now_ns: int, indexes: Sequence[Known], limits: Limits) -> tuple[Known, Try] | None:
    """The index to which the agent turns by itself, if any: of those with new data the one it left longest ago."""
    if now_ns < free_at(begun, limits):
        return None
    last = {entry.key: entry.at_ns for entry in begun}
    for known in sorted(indexes, key=lambda known: (last.get(known.key, 0), known.name)):
        tries = sum(entry.key == known.key and known.current(entry.of) for entry in begun)
        if tries < TRIES:
            decision = decide(begun, now_ns, known, limits)
            if isinstance(decision, Try):
                return known, decision
    return None


def better(known: Known) -> Trial | None:
    """The trial that should be promoted: clearly better than the parameters in use, measured on the same data."""
    trials = known.present_trials()
    best = winner(trials, MINIMUM_RECALL)
    present = [trial for trial in trials if trial.parameters == known.parameters]
    if best is None or not present or best.parameters == known.parameters:
        return None
    now = present[-1]
    if best.recall >= now.recall + _BETTER_RECALL:
        return best
    return best if best.recall >= now.recall and best.p50_ms <= now.p50_ms * _FASTER else None
