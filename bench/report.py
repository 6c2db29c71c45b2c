"""Rows of a benchmark and how they are shown. A figure is a ratio to a baseline measured in the same run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison."""

    name: str
    value: float
    baseline: float
    ratio: float
    target: str
    unit: str
    met: bool


def at_least(name: str, values: Sequence[float], baselines: Sequence[float], target: float, unit: str) -> Row:
    """A row whose ratio should be large. The samples are pairs, measured in turn."""
    ratio = _median_ratio(values, baselines)
    return _row(name, values, baselines, ratio, f">= {target:g}", unit, ratio >= target)


def at_most(name: str, values: Sequence[float], baselines: Sequence[float], target: float, unit: str) -> Row:
    """A row whose ratio should be small. The samples are pairs, measured in turn."""
    ratio = _median_ratio(values, baselines)
    return _row(name, values, baselines, ratio, f"<= {target:g}", unit, ratio <= target)


def difference(name: str, values: Sequence[float], baselines: Sequence[float], most: float, unit: str) -> Row:
    """A row about what is added to the baseline, not its multiple."""
    added = statistics.median(values) - statistics.median(baselines)
    ratio = statistics.median(values) / statistics.median(baselines)
    return _row(name, values, baselines, ratio, f"adds <= {most:g} {unit}, adds {added:.2f}", unit, added <= most)


def beside(name: str, values: Sequence[float], baselines: Sequence[float], unit: str) -> Row:
    """A row that only shows two figures beside each other. The samples are pairs, measured in turn."""
    return _row(name, values, baselines, _median_ratio(values, baselines), "shown", unit, True)


def least(name: str, value: float, target: float) -> Row:
    """A row about one share and what it must reach."""
    return Row(
        name=name,
        value=value,
        baseline=target,
        ratio=value / target,
        target=f">= {target:g}",
        unit="",
        met=value >= target,
    )


def limit(name: str, value: float, most: float, unit: str) -> Row:
    """A row about one figure and its limit."""
    return Row(
        name=name,
        value=value,
        baseline=most,
        ratio=value / most,
        target=f"<= {most:g} {unit}",
        unit=unit,
        met=value <= most,
    )


def _median_ratio(values: Sequence[float], baselines: Sequence[float]) -> float:
    return statistics.median(value / baseline for value, baseline in zip(values, baselines, strict=True))


def _row(
    name: str, values: Sequence[float], baselines: Sequence[float], ratio: float, target: str, unit: str, met: bool
) -> Row:
    value, baseline = statistics.median(values), statistics.median(baselines)
    return Row(name=name, value=value, baseline=baseline, ratio=ratio, target=target, unit=unit, met=met)


def show(rows: Sequence[Row]) -> None:
    """Prints the table."""
    table = Table(title="side by side, medians of one run")
    for column in ("name", "value", "baseline", "ratio", "target", "unit", "met"):
        table.add_column(column, justify="left" if column in ("name", "target", "unit") else "right")
    for row in rows:
        figures = (_figure(row.value), _figure(row.baseline), f"{row.ratio:.3f}")
        table.add_row(row.name, *figures, row.target, row.unit, "yes" if row.met else "NO")
    Console(width=None).print(table)


def _figure(value: float) -> str:
    return f"{value:,.4f}" if value < 10 else f"{value:,.1f}"


def write(rows: Sequence[Row]) -> None:
    """Writes the rows for programs."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_bytes(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
