"""The figures of a lift run: what was counted, and what it is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.labs.intervals import Interval, paired_interval, share_interval
from services.labs.reality import lift_guard
from services.labs.reality.lift import Outcome
from services.labs.reality.lift_passes import Round
from services.labs.reality.report import Figure
from services.labs.world import World

HONEST = 2
"""The highest rating that an answer to an out-of-domain question may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Paraphrases of one kind whose recorded answer was found."""

    top: Interval
    anywhere: Interval
    top_before: Interval
    """The share that had it on top before it was recorded."""

    def document(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "top_1": self.top.document(),
            "any_rank": self.anywhere.document(),
            "top_1_before": self.top_before.document(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the passes come to."""

    recorded: tuple[Round, ...]
    discoveries: tuple[Round, ...]
    judged: tuple[Round, ...]
    """Questions whose first answer was rated both times."""
    improved: tuple[Round, ...]
    same: tuple[Round, ...]
    regressed: tuple[Round, ...]
    quality: Interval
    """Change of the first answer's rating."""
    distance: Interval
    """Change of the first answer's distance, over the questions that something was recorded for."""
    boosts: int
    injections: int
    strangers: int
    paraphrases: Mapping[str, Shares]
    honesty: Mapping[str, Any]


def count(world: World, rounds: Sequence[Round]) -> Counts:
    """Counts."""
    recorded = tuple(one for one in rounds if one.recorded)
    judged = tuple(
        one
        for one in rounds
        if one.warm is not None and one.cold.top_rating is not None and one.warm.top_rating is not None
    )
    changes = {one.query.id: _after(one) - _before(one) for one in judged}
    asked = [one for one in recorded if one.warm is not None]
    return Counts(
        recorded=recorded,
        discoveries=tuple(one for one in recorded if one.discovery),
        judged=judged,
        improved=tuple(one for one in judged if changes[one.query.id] > 0),
        same=tuple(one for one in judged if changes[one.query.id] == 0),
        regressed=tuple(one for one in judged if changes[one.query.id] < 0),
        quality=paired_interval([_before(one) for one in judged], [_after(one) for one in judged], seed=world.seed),
        distance=paired_interval(
            [one.cold.top_distance or 0.0 for one in asked],
            [one.warm.top_distance or 0.0 for one in asked if one.warm],
            seed=world.seed,
        ),
        boosts=sum(one.warm.boosted for one in rounds if one.warm),
        injections=sum(one.warm.injected for one in rounds if one.warm),
        strangers=sum(
            seen.strangers for one in rounds for seen in (one.warm, *one.warm_paraphrases) if seen is not None
        ),
        paraphrases=_paraphrases(world, recorded),
        honesty=_honesty(rounds),
    )


def _before(one: Round) -> float:
    return float(one.cold.top_rating or 0)


def _after(one: Round) -> float:
    return float(one.warm.top_rating or 0) if one.warm else 0.0


def _paraphrases(world: World, recorded: Sequence[Round]) -> dict[str, Shares]:
    most = max((len(one.warm_paraphrases) for one in recorded), default=0)
    found = {}
    for place in range(most):
        name = world.paraphrases[place] if place < len(world.paraphrases) else f"paraphrase {place + 1}"
        mine = [one for one in recorded if place < len(one.warm_paraphrases)]
        found[name] = Shares(
            top=share_interval([one.warm_paraphrases[place].rank == 0 for one in mine], seed=world.seed),
            anywhere=share_interval([one.warm_paraphrases[place].rank is not None for one in mine], seed=world.seed),
            top_before=share_interval([one.cold_paraphrases[place].rank == 0 for one in mine], seed=world.seed),
        )
    return found


def _honesty(rounds: Sequence[Round]) -> dict[str, Any]:
    """Out-of-domain questions: the highest rating, and how many answers were called a stretch."""
    strange = [one for one in rounds if one.query.out_of_domain]
    home = [one for one in rounds if not one.query.out_of_domain]
    seen = [sight for one in strange for sight in (one.cold, one.warm) if sight is not None]
    return {
        "questions": len(strange),
        "highest_rating": max((sight.top_rating or 0 for sight in seen), default=0),
        "told_stretches": any(one.stretch is not None for one in rounds),
        "flagged": sum(one.stretch is True for one in strange),
        "in_domain_flagged": sum(one.stretch is True for one in home),
        "in_domain": len(home),
        "moved_by_playbook": sum(one.warm.boosted + one.warm.injected for one in strange if one.warm),
    }


def figures(world: World, outcome: Outcome, counts: Counts) -> list[Figure]:
    """The table that a reader decides by."""
    lift = share_interval([one.lifted for one in counts.discoveries], seed=world.seed)
    made = [
        Figure(
            name="recorded answers that come first in the same words, of those that did not (lift)",
            value=f"{lift.text(percent=True)}, {sum(one.lifted for one in counts.discoveries)} of {lift.cases}",
            target="at least 50 %",
            met=lift.mean >= 0.5 if lift.cases else None,
        ),
        Figure(
            name="first answers judged better, same, worse than before",
            value=f"{len(counts.improved)}, {len(counts.same)}, {len(counts.regressed)}",
            target="more better than worse",
            met=len(counts.improved) > len(counts.regressed),
        ),
        Figure(
            name="change of the first answer's rating",
            value=counts.quality.text(change=True),
            target="interval above 0",
            met=counts.quality.above_zero,
        ),
    ]
    made += [
        Figure(name=f"recorded answer on top {name}", value=f"{shares.top.text(percent=True)}")
        for name, shares in counts.paraphrases.items()
    ]
    return made + _honest(counts) + _bleed(outcome, counts) + _guarded(outcome) + _arms(outcome)


def _honest(counts: Counts) -> list[Figure]:
    told = counts.honesty
    if not told["questions"]:
        return []
    rated = Figure(
        name=f"highest rating of an answer to {told['questions']} out-of-domain questions",
        value=str(told["highest_rating"]),
        target=f"at most {HONEST}",
        met=told["highest_rating"] <= HONEST,
    )
    if not told["told_stretches"]:
        return [rated]
    others = f"{told['in_domain_flagged']} of {told['in_domain']} others"
    flagged = Figure(
        name="of these, flagged as a stretch",
        value=f"{told['flagged']} of {told['questions']} (and {others})",
        target="all",
        met=told["flagged"] == told["questions"],
    )
    return [rated, flagged]


def _bleed(outcome: Outcome, counts: Counts) -> list[Figure]:
    made = [
        Figure(
            name="answers moved by an entry of another role, in all warm searches",
            value=str(counts.strangers),
            target="0",
            met=counts.strangers == 0,
        )
    ]
    if outcome.styles:
        bled = sum(one.bled for one in outcome.styles)
        without = sum(one.bled_without for one in outcome.styles)
        asked = sum(one.questions for one in outcome.styles)
        made.append(
            Figure(
                name="questions that another role's answer bled into, in four phrasings",
                value=f"{bled} of {asked} ({without} without roles and guard)",
                target="0",
                met=bled == 0,
            )
        )
    return made


def _guarded(outcome: Outcome) -> list[Figure]:
    if outcome.suite is None:
        return []
    made = []
    for name, results in outcome.suite.results.items():
        strongest = name == lift_guard.BOTH.name
        wrong = sum(one.injected for one in results)
        recovered = [one.recovered for one in results if one.recovered is not None]
        share = sum(recovered) / len(recovered) if recovered else 0.0
        made.append(
            Figure(
                name=f"wrong injections in {len(results)} pairs that look alike; before the playbook: {name}",
                value=f"{wrong}, with {100 * share:.1f} % of paraphrases recovered on top",
                target="0 and at least 90 %" if strongest else "",
                met=(wrong == 0 and share >= 0.9) if strongest else None,
            )
        )
    return made


def _arms(outcome: Outcome) -> list[Figure]:
    if outcome.arms is None:
        return []
    return [
        Figure(
            name=f"nDCG@10 of tuned hybrid minus {name}, on questions it was not tuned with",
            value=gained.text(change=True),
            target="interval above 0",
            met=gained.above_zero,
        )
        for name, gained in outcome.arms.over.items()
    ]
