"""How sure a figure is: bootstrap intervals, and the measures of ranked lists that the reports use.

Small on purpose: percentile bootstrap over cases, seeded, so that a report can be made again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over cases with the interval that holds it in 95 of 100 repetitions."""

    mean: float
    low: float
    high: float
    cases: int

    @property
    def above_zero(self) -> bool:
        """Whether even the lower end is more than nothing: the evidence for an improvement."""
        return self.cases > 0 and self.low > 0

    def document(self) -> dict[str, float | int]:
        """The JSON form, rounded to six digits."""
        return {
            "mean": round(self.mean, 6),
            "low": round(self.low, 6),
            "high": round(self.high, 6),
            "cases": self.cases,
        }

    def text(self, *, percent: bool = False, change: bool = False) -> str:
        """`0.123 [0.100, 0.150]`, in percent, or with signs for a change; a dash without cases."""
        if not self.cases:
            return "-"
        if percent:
            return f"{100 * self.mean:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"
        sign = "+" if change else ""
        return f"{self.mean:{sign}.3f} [{self.low:{sign}.3f}, {self.high:{sign}.3f}]"


NOTHING = Interval(mean=0.0, low=0.0, high=0.0, cases=0)
"""The interval of no cases at all."""


def mean_interval(values: Sequence[float], *, seed: int, resamples: int = RESAMPLES) -> Interval:
    """The mean of values and its percentile bootstrap interval; O(resamples x values), milliseconds for hundreds."""
    if not values:
        return NOTHING
    sample = np.asarray(values, dtype=np.float64)
    picks = np.random.default_rng(seed).integers(0, sample.size, size=(resamples, sample.size))
    means = sample[picks].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean=float(sample.mean()), low=float(low), high=float(high), cases=sample.size)


def paired_interval(before: Sequence[float], after: Sequence[float], *, seed: int) -> Interval:
    """The mean of the differences after - before, case by case. Raises ValueError for lists of different lengths."""
    return mean_interval([new - old for old, new in zip(before, after, strict=True)], seed=seed)


def share_interval(outcomes: Sequence[bool], *, seed: int) -> Interval:
    """A share of cases and its interval.

    When all cases agree, resampling them tells nothing, so that the open end is the exact binomial bound:
    20 of 20 is 1.000 [0.832, 1.000].
    """
    if not outcomes:
        return NOTHING
    found = mean_interval([float(outcome) for outcome in outcomes], seed=seed)
    bound = ((1 - LEVEL) / 2) ** (1 / len(outcomes))
    if all(outcomes):
        return Interval(mean=1.0, low=bound, high=1.0, cases=len(outcomes))
    if not any(outcomes):
        return Interval(mean=0.0, low=0.0, high=1 - bound, cases=len(outcomes))
    return found


def ndcg(gains: Sequence[float], ideal: Sequence[float], depth: int = 10) -> float | None:
    """nDCG@depth of a list's gains, given the gains of everything there is, best first; None when nothing has gain."""
    best = _dcg(sorted(ideal, reverse=True)[:depth])
    return None if best == 0 else _dcg(gains[:depth]) / best


def _dcg(gains: Sequence[float]) -> float:
    return math.fsum(gain / math.log2(place + 2) for place, gain in enumerate(gains))


def jaccard(one: Collection[str], other: Collection[str]) -> float:
    """Common members over all members; 1 for two empty collections."""
    left, right = set(one), set(other)
    return len(left & right) / len(left | right) if left or right else 1.0


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of the values do not exceed (nearest rank); 0 without values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
