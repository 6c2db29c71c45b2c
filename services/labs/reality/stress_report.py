"""What a run of `lakehouse stress` says."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from services.labs.intervals import Interval, jaccard, mean_interval, paired_interval, percentile
from services.labs.reality.plots import Bars, Plot, Series
from services.labs.reality.report import Figure, Report, Section
from services.labs.reality.stress import Call, Log
from services.labs.reality.stress_contracts import NEWCOMERS, Contract
from services.labs.world import World

CALLS = "calls.jsonl"


def write_calls(log: Log, folder: Path) -> Path:
    """Writes every call as a line of JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CALLS
    lines = (json.dumps(call.document(), ensure_ascii=False) for call in log.calls)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


class Findings:
    """The figures of a run."""

    def __init__(self, world: World, contracts: Sequence[Contract], log: Log) -> None:
        self.log = log
        self.seed = world.seed
        base = log.of("baseline")
        self.across = [
            jaccard(one.ids, other.ids)
            for one, other in itertools.combinations(base, 2)
            if one.role and one.role == other.role and one.contract != other.contract
        ]
        self.within = [
            jaccard(one.ids, other.ids)
            for one, other in itertools.combinations(base, 2)
            if one.contract == other.contract and one.role != other.role
        ]
        again = {call.query_id: call for call in log.of("re-issue, retrieval only")}
        self.same = [jaccard(call.ids, again[call.query_id].ids) for call in base]
        self.same_order = sum(
            (call.ids, call.distances) == (again[call.query_id].ids, again[call.query_id].distances) for call in base
        )
        self.verbatim = self._hits(log.of("hand-over, verbatim"))
        self.paraphrased = self._hits(log.of("hand-over, paraphrased"))
        self.split = self._hits(log.of("split"))
        self.merged = self._hits(log.of("merge"))
        self.fresh = [call.ids[:1] == (call.query_id,) for call in log.of("fresh resumes")]
        before, after = log.of("swap, before")[0], log.of("swap, after")[0]
        self.swap = jaccard(before.ids, after.ids) if before.ids or after.ids else 0.0
        self.swapped, self.replaced = len(before.ids), len(after.ids)
        self.quality = self._quality(base, log.of("re-issue"))

    def _hits(self, calls: Sequence[Call]) -> list[bool]:
        """For each call about a recorded demand, whether its recorded answer comes first."""
        answers = self.log.answers
        return [call.ids[:1] == (answers[call.query_id],) for call in calls if call.query_id in answers]

    def _quality(self, before: Sequence[Call], after: Sequence[Call]) -> Interval:
        later = {call.query_id: call.top_rating for call in after}
        pairs = [
            (float(call.top_rating), float(rated))
            for call in before
            if call.top_rating is not None and (rated := later.get(call.query_id)) is not None
        ]
        return paired_interval([old for old, _ in pairs], [new for _, new in pairs], seed=self.seed)


def build(world: World, contracts: Sequence[Contract], log: Log, *, command: str) -> Report:
    """The report of a run."""
    found = Findings(world, contracts, log)
    figures = _figures(found)
    missed = [figure.name for figure in figures if figure.met is False]
    return Report(
        command=command,
        title="Stress: three coordinators, 48 hours",
        verdict=_verdict(found, missed),
        passed=not missed,
        setting={
            "data": world.label,
            "contracts": {
                contract.name: f"{len(contract.demands)} demands by {contract.coordinator}" for contract in contracts
            },
            "judge": world.judge.name,
            "seed": world.seed,
            "calls": f"{len(log.calls)}, each of them in {CALLS}",
            "before everything else": "three rows went in, and COUNT(*) said 3",
        },
        figures=figures,
        sections=_sections(found, log),
        not_measured=_not_measured(world, found),
        data=_data(found, log),
        plots=_plots(found, log),
        timings={
            "seconds of each phase": {name: round(seconds, 2) for name, _, seconds in log.phases},
            "milliseconds of a search, half of them and 99 %": [
                round(percentile([call.milliseconds for call in log.calls], share), 1) for share in (0.5, 0.99)
            ],
        },
    )


def _verdict(found: Findings, missed: Sequence[str]) -> str:
    handed = found.verbatim + found.paraphrased
    if missed:
        return f"The mesh did not hold up in every respect: {'; '.join(missed)}."
    return (
        f"The mesh held up for 48 hours: {len(found.log.calls)} searches answered, the same question always answered "
        f"the same, and {sum(handed)} of {len(handed)} recorded answers came first after the hand-over."
    )


def _share(outcomes: Sequence[bool]) -> str:
    return f"{sum(outcomes)} of {len(outcomes)}" if outcomes else "none to measure"


def _figures(found: Findings) -> list[Figure]:
    def all_of(name: str, outcomes: Sequence[bool]) -> Figure:
        return Figure(name=name, value=_share(outcomes), target="all", met=all(outcomes) if outcomes else None)

    same = mean_interval(found.same, seed=found.seed)
    made = [
        Figure(name="same role across contracts, Jaccard of answers", value=_jaccard(found.across, found.seed)),
        Figure(name="different roles within a contract, Jaccard", value=_jaccard(found.within, found.seed)),
        Figure(
            name="the same question after 48 hours, Jaccard",
            value=f"{same.mean:.3f}; {found.same_order} of {len(found.same)} to the last digit",
            target="1.000",
            met=same.mean == 1.0,
        ),
        all_of("hand-over in the same words, recorded answer first", found.verbatim),
        all_of("hand-over in other words, recorded answer first", found.paraphrased),
        all_of("split, recorded answer first", found.split),
        Figure(
            name=f"overlap after {found.swapped} answers were swapped out",
            value=f"{found.swap:.3f}, {found.replaced} replaced",
            target="0.000",
            met=found.swap == 0.0 and found.replaced > 0,
        ),
    ]
    if found.merged:
        made.append(all_of("merged playbooks, recorded answer first", found.merged))
    if found.fresh:
        made.append(all_of("fresh résumés that come first when asked for", found.fresh))
    made.append(Figure(name="change of the first answers' rating, hour 0 to 48", value=found.quality.text(change=True)))
    return made


def _jaccard(values: Sequence[float], seed: int) -> str:
    return mean_interval(values, seed=seed).text() + f", n = {len(values)}" if values else "empty: n = 0"


def _not_measured(world: World, found: Findings) -> list[str]:
    missing = ["The inbox as a daemon: recording and parsing of messages. Their searches were made."]
    if not world.abilities.merge:
        missing.append("Merging of playbooks: the mesh does not offer it.")
    if not found.fresh:
        missing.append("Fresh résumés: they are made for the sample data only.")
    if not found.across:
        missing.append("The same role across contracts: no two contracts ask for the same role (n = 0).")
    if not found.paraphrased:
        missing.append("Hand-over in other words: no demand with a recorded answer has a paraphrase.")
    return missing


def _sections(found: Findings, log: Log) -> list[Section]:
    rows = []
    for phase in dict.fromkeys(call.phase for call in log.calls):
        calls = log.of(phase)
        rated = [call.top_rating for call in calls if call.top_rating is not None]
        rows.append(
            (
                str(calls[0].hour),
                phase,
                str(len(calls)),
                str(sum(call.boosted for call in calls)),
                str(sum(call.injected for call in calls)),
                f"{sum(rated) / len(rated):.2f}" if rated else "-",
            )
        )
    columns = ("hour", "phase", "searches", "boosted", "injected", "mean rating of first answers")
    recorded = len(log.answers)
    return [
        Section(
            title="Hour by hour",
            text=f"{recorded} demands had an answer rated 4 or more, which was recorded in its coordinator's playbook.",
            columns=columns,
            rows=rows,
            plots=("held", "ratings"),
        ),
        Section(
            title="Do answers differ where they should?",
            text="A mesh that cycles gives everybody the same few answers. Low is good: the same role at another "
            "place, and other roles at the same place, should find others.",
            plots=("diversity",),
        ),
    ]


def _data(found: Findings, log: Log) -> dict[str, Any]:
    def of(values: Sequence[float]) -> dict[str, float | int] | None:
        return mean_interval(values, seed=found.seed).document() if values else None

    return {
        "diversity": {
            "same_role_across_contracts": of(found.across),
            "different_roles_in_one_contract": of(found.within),
        },
        "determinism": {"jaccard": of(found.same), "identical": found.same_order, "questions": len(found.same)},
        "hand_over": {
            "verbatim": [sum(found.verbatim), len(found.verbatim)],
            "paraphrased": [sum(found.paraphrased), len(found.paraphrased)],
        },
        "split": [sum(found.split), len(found.split)],
        "merge": None if log.merged is None else {**log.merged, "first": [sum(found.merged), len(found.merged)]},
        "swap": {"swapped": found.swapped, "replaced": found.replaced, "overlap": found.swap},
        "fresh_first": [sum(found.fresh), len(NEWCOMERS)] if found.fresh else None,
        "rating_change": found.quality.document(),
        "recorded": dict(sorted(log.answers.items())),
        "phases": [{"phase": name, "hour": hour} for name, hour, _ in log.phases],
    }


def _plots(found: Findings, log: Log) -> list[Plot]:
    held: dict[str, Sequence[float]] = {
        "same answers after 48 h": found.same,
        "hand-over, same words": found.verbatim,
        "hand-over, other words": found.paraphrased,
        "split": found.split,
        "merged playbooks": found.merged,
        "fresh résumés first": found.fresh,
    }
    shown = {name: values for name, values in held.items() if values}
    plots: list[Plot] = [
        Bars(
            name="held",
            title="What held up: 100 % is all of them",
            labels=[f"{name} (n = {len(values)})" for name, values in shown.items()],
            series=[Series(name="share", values=[100 * sum(values) / len(values) for values in shown.values()])],
            axis="percent",
            end=100,
            form="{:.0f} %",
        )
    ]
    diverse = {"same role, other contract": found.across, "other role, same contract": found.within}
    known = {name: mean_interval(values, seed=found.seed) for name, values in diverse.items() if values}
    if known:
        plots.append(
            Bars(
                name="diversity",
                title="Overlap of answers (Jaccard), with 95 % intervals",
                labels=[f"{name} (n = {one.cases})" for name, one in known.items()],
                series=[
                    Series(
                        name="overlap",
                        values=[one.mean for one in known.values()],
                        low=[one.low for one in known.values()],
                        high=[one.high for one in known.values()],
                    )
                ],
                axis="Jaccard overlap, 0 to 1",
                end=1.0,
                form="{:.3f}",
            )
        )
    return [*plots, *_ratings(found, log)]


def _ratings(found: Findings, log: Log) -> list[Plot]:
    """The mean rating of first answers, with playbooks and without."""
    phases = {
        "baseline": "hour 0, nothing recorded",
        "surge": "hour 18, with playbooks",
        "re-issue": "hour 48, with playbooks",
        "re-issue, retrieval only": "hour 48, retrieval only",
    }
    means = {}
    for phase, words in phases.items():
        rated = [float(call.top_rating) for call in log.of(phase) if call.top_rating is not None]
        if not rated:
            return []
        means[words] = mean_interval(rated, seed=found.seed)
    values = list(means.values())
    return [
        Bars(
            name="ratings",
            title="Mean rating of first answers to the same demands, with 95 % intervals",
            labels=list(means),
            series=[
                Series(
                    name="rating",
                    values=[one.mean for one in values],
                    low=[one.low for one in values],
                    high=[one.high for one in values],
                )
            ],
            axis="rating, 1 to 5",
            end=5,
        )
    ]
