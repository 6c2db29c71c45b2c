"""What a run of `lakehouse load` says."""

from __future__ import annotations

from collections.abc import Sequence

from services.labs.intervals import mean_interval, percentile
from services.labs.reality.load import LEFT_OUT, MULTITIER, WARM_UP, Measured, Scenario, Tally
from services.labs.reality.plots import Bars, Lines, Plot, Series
from services.labs.reality.report import Figure, Report, Section
from services.labs.world import World


def build(
    world: World, measured: Measured, scenarios: Sequence[Scenario], *, callers: int, seconds: float, command: str
) -> Report:
    """The report of a run."""
    multitier = len(scenarios) > 1
    unit = "scenarios" if multitier else "searches"
    everything = [value for tally in measured.tallies.values() for value in tally.milliseconds]
    rate = measured.done / measured.seconds if measured.seconds else 0.0
    half, most = percentile(everything, 0.5), percentile(everything, 0.99)
    ends = " without a failure" if not measured.failed else f", and {measured.failed:,} of them failed"
    left_out = [
        f"{one.name}: {one.left_out} needs daemons that this release lacks" for one in scenarios if one.left_out
    ]
    return Report(
        command=command,
        title="Load: many callers at once",
        verdict=(
            f"{rate:,.0f} {unit} a second at {callers} at a time, half of them within {half:.1f} ms and 99 % within "
            f"{most:.1f} ms: {measured.done:,} in {measured.seconds:.0f} s{ends}."
        ),
        passed=measured.failed == 0 and measured.done > 0,
        setting={
            "data": world.label,
            "corpora": list(world.corpora),
            "callers": callers,
            "seconds": seconds,
            "warm-up that is not counted": f"{min(WARM_UP, seconds):g} s",
            "questions in turn": len(world.queries),
            "seed": world.seed,
            "transport": "REST through the gateway, one kept-alive connection for each caller",
        },
        figures=_figures(measured, rate, unit, everything),
        sections=[_scenarios(measured, scenarios), _statuses(measured)],
        not_measured=[*left_out, LEFT_OUT] if scenarios is MULTITIER else [],
        data={"scenarios": [one.name for one in scenarios], "failures": _failures(measured)},
        plots=_plots(measured, scenarios),
        timings={
            "per_second": rate,
            "done": measured.done,
            "seconds": measured.seconds,
            "statuses": {str(status): count for status, count in sorted(measured.statuses.items())},
            "milliseconds": {name: _percentiles(tally) for name, tally in measured.tallies.items()},
        },
    )


def _percentiles(tally: Tally) -> dict[str, float | int]:
    values = tally.milliseconds
    shares = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 1.0))
    return {
        "count": len(values),
        "failed": tally.failures.total(),
        **{name: round(percentile(values, share), 2) for name, share in shares},
    }


def _figures(measured: Measured, rate: float, unit: str, everything: Sequence[float]) -> list[Figure]:
    return [
        Figure(name=f"{unit} a second", value=f"{rate:,.1f}"),
        *(
            Figure(name=f"p{int(100 * share)}, ms", value=f"{percentile(everything, share):.1f}")
            for share in (0.5, 0.95, 0.99)
        ),
        Figure(name=f"failed {unit}", value=f"{measured.failed:,}", target="0", met=measured.failed == 0),
    ]


def _scenarios(measured: Measured, scenarios: Sequence[Scenario]) -> Section:
    rows = []
    for one in scenarios:
        tally = measured.tallies[one.name]
        told = _percentiles(tally)
        share = 100 * tally.failures.total() / len(tally.milliseconds) if tally.milliseconds else 0.0
        numbers = (f"{told[name]:.1f}" for name in ("p50", "p95", "p99"))
        rows.append((one.name, str(one.weight), f"{told['count']:,}", f"{share:.2f} %", *numbers, one.left_out or "-"))
    columns = ("scenario", "of 100", "count", "failed", "p50 ms", "p95 ms", "p99 ms", "left out")
    return Section(
        title="By scenario",
        text="A scenario's time is that of all its calls together; it fails when any of them does not answer 2xx or "
        "answers something it must not.",
        columns=columns,
        rows=rows,
        plots=("latency", "pace"),
    )


def _statuses(measured: Measured) -> Section:
    rows = [(str(status or "connection lost"), f"{count:,}") for status, count in sorted(measured.statuses.items())]
    reasons = [
        f"{name}: {reason} ({count:,})" for name, found in _failures(measured).items() for reason, count in found
    ]
    return Section(
        title="Answers by status", text="; ".join(reasons) or "No failure.", columns=("status", "answers"), rows=rows
    )


def _failures(measured: Measured) -> dict[str, list[tuple[str, int]]]:
    return {name: sorted(tally.failures.items()) for name, tally in measured.tallies.items() if tally.failures}


def _plots(measured: Measured, scenarios: Sequence[Scenario]) -> list[Plot]:
    tallies = [measured.tallies[one.name] for one in scenarios]
    plots: list[Plot] = [
        Bars(
            name="latency",
            title="How long callers waited",
            labels=[one.name for one in scenarios],
            series=[
                Series(name=f"p{int(100 * share)}", values=[percentile(tally.milliseconds, share) for tally in tallies])
                for share in (0.5, 0.95, 0.99)
            ],
            axis="milliseconds",
            form="{:.1f}",
        )
    ]
    # The last second is rarely a whole one.
    whole = range(int(measured.seconds))
    if len(whole) > 1:
        paces = [measured.per_second[second] for second in whole]
        steady = mean_interval(paces, seed=0).mean
        plots.append(
            Lines(
                name="pace",
                title="The pace, second by second",
                places=[second + 1 for second in whole],
                series=[Series(name="done", values=paces), Series(name="mean", values=[steady] * len(paces))],
                across="second",
                axis="done in that second",
            )
        )
    return plots
