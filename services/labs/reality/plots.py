"""Plots as plain descriptions, and the one place that draws them. matplotlib is loaded only to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

COLOURS = ("#8a94a6", "#1f6f8b", "#d1603d", "#5b8c5a", "#7a5c99", "#c9a227")
_FEW = 60
_INK, _FAINT = "#222831", "#d9dde3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Named values; `low` and `high` are the ends of their intervals, if they have any."""

    name: str
    values: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Groups of horizontal bars, one bar for each series."""

    name: str
    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    axis: str
    end: float | None = None
    """Where the axis ends; by the values when None."""
    form: str = "{:.2f}"
    """How a value is written at its bar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How values are spread; each series counts for itself."""

    name: str
    title: str
    series: Sequence[Series]
    axis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Journeys:
    """Where things stood before and stand now: a line from one point to the other for each."""

    name: str
    title: str
    labels: Sequence[str]
    before: Sequence[float]
    after: Sequence[float]
    axis: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Values over something that goes on, such as time."""

    name: str
    title: str
    places: Sequence[float]
    series: Sequence[Series]
    across: str
    axis: str


Plot = Bars | Histogram | Journeys | Lines


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(plots: Sequence[Plot], folder: Path) -> dict[str, Path] | None:
    """Draws each plot as `<name>.png`; None without matplotlib. Some 0.2 s each."""
    if not can_draw():
        return None
    import matplotlib as mpl

    # A renderer without a window, whatever the environment says.
    mpl.use("Agg", force=True)
    from matplotlib import pyplot

    drawn = {}
    for plot in plots:
        with mpl.rc_context(_STYLE):
            figure = _figure(pyplot, plot)
            drawn[plot.name] = folder / f"{plot.name}.png"
            figure.savefig(drawn[plot.name], dpi=144, bbox_inches="tight", metadata={"Software": None})
            pyplot.close(figure)
    return drawn


_STYLE: Any = {
    "figure.facecolor": "white",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titlepad": 14,
    "axes.axisbelow": True,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "legend.frameon": False,
}


def _figure(pyplot: Any, plot: Plot) -> Any:
    drawer = _DRAWERS[type(plot)]
    rows = len(plot.labels) * len(plot.series) if isinstance(plot, Bars) else 0
    tall = max(2.2, 0.9 + 0.3 * rows + 0.25 * len(getattr(plot, "labels", ()))) if rows else 4.0
    if isinstance(plot, Journeys):
        tall = 1.2 + 0.24 * len(plot.labels)
    figure, axes = pyplot.subplots(figsize=(8.4, tall))
    drawer(axes, plot)
    axes.set_title(plot.title)
    return figure


def _bars(axes: Any, plot: Bars) -> None:
    count = len(plot.series)
    thick = 0.8 / count
    end = plot.end or max([max([*one.values, *one.high], default=0.0) for one in plot.series] + [1e-9]) * 1.02
    for number, one in enumerate(plot.series):
        places = [row + (number - (count - 1) / 2) * thick for row in range(len(plot.labels))]
        colour = COLOURS[(number + (1 if count == 1 else 0)) % len(COLOURS)]
        axes.barh(places, one.values, height=thick * 0.88, color=colour, label=one.name)
        for row, value in enumerate(one.values):
            tip = max(value, one.high[row]) if one.high else value
            if one.low and one.high:
                axes.plot([one.low[row], one.high[row]], [places[row]] * 2, color=_INK, linewidth=1.1)
            axes.annotate(
                plot.form.format(value), (tip, places[row]), xytext=(5, 0), textcoords="offset points", va="center"
            )
    axes.set_yticks(range(len(plot.labels)), plot.labels)
    axes.invert_yaxis()
    axes.set_xlim(0, end * 1.1)
    axes.set_xlabel(plot.axis)
    axes.grid(axis="x")
    axes.tick_params(length=0)
    if count > 1:
        _legend(axes)


def _histogram(axes: Any, plot: Histogram) -> None:
    values = [value for one in plot.series for value in one.values]
    low, high = min(values, default=0.0), max(values, default=1.0)
    bins = [low + (high - low or 1.0) * step / 30 for step in range(31)]
    for number, one in enumerate(plot.series, 1):
        colour = COLOURS[number % len(COLOURS)]
        axes.hist(one.values, bins=bins, color=colour, alpha=0.55, label=f"{one.name} ({len(one.values)})")
    axes.set_xlabel(plot.axis)
    axes.set_ylabel("pairs")
    axes.grid(axis="y")
    axes.tick_params(length=0)
    _legend(axes)


def _journeys(axes: Any, plot: Journeys) -> None:
    for row, (before, after) in enumerate(zip(plot.before, plot.after, strict=True)):
        axes.plot([before, after], [row, row], color=_FAINT, linewidth=2.2, zorder=1)
    rows = range(len(plot.labels))
    axes.scatter(plot.before, rows, color=COLOURS[0], s=34, label="before", zorder=2)
    axes.scatter(plot.after, rows, color=COLOURS[1], s=34, label="after", zorder=3)
    axes.set_yticks(rows, plot.labels, fontsize=8)
    axes.set_ylim(len(plot.labels) - 0.4, -0.6)
    axes.set_xlabel(plot.axis)
    axes.grid(axis="x")
    axes.tick_params(length=0)
    most = int(max([*plot.before, *plot.after]))
    axes.set_xlim(0.6, most + 0.4)
    axes.set_xticks(range(1, most + 1) if most <= 12 else [1, *range(5, most + 1, 5)])
    _legend(axes)


def _legend(axes: Any) -> None:
    """Below the plot, the same gap whatever its height."""
    tall = axes.get_figure().get_size_inches()[1] * axes.get_position().height
    axes.legend(loc="upper left", bbox_to_anchor=(0, -0.5 / tall), ncols=4, borderaxespad=0, handlelength=1.4)


def _lines(axes: Any, plot: Lines) -> None:
    for number, one in enumerate(plot.series, 1):
        colour = COLOURS[number % len(COLOURS)]
        marker = "o" if len(plot.places) <= _FEW else ""
        axes.plot(plot.places, one.values, color=colour, label=one.name, marker=marker, markersize=4, linewidth=1.6)
    axes.set_xlabel(plot.across)
    axes.set_ylabel(plot.axis)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y")
    axes.tick_params(length=0)
    if len(plot.series) > 1:
        _legend(axes)


_DRAWERS: Mapping[type, Any] = {Bars: _bars, Histogram: _histogram, Journeys: _journeys, Lines: _lines}
