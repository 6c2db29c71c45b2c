"""What a run of `lakehouse lift` says: a verdict, the figures with their intervals, every question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from services.labs.intervals import Interval, mean_interval, share_interval
from services.labs.reality import lift_guard
from services.labs.reality.lift import Outcome
from services.labs.reality.lift_figures import Counts, count, figures
from services.labs.reality.lift_passes import Round, Seen
from services.labs.reality.lift_sections import sections
from services.labs.reality.plots import Bars, Histogram, Journeys, Plot, Series
from services.labs.reality.report import Report
from services.labs.world import World

_SHOWN_JOURNEYS = 40


def build(world: World, outcome: Outcome, *, k: int, command: str) -> Report:
    """The report of a run."""
    counts = count(world, outcome.rounds)
    passed, verdict = _verdict(outcome, counts)
    return Report(
        command=command,
        title="Playbook lift: is the second time better?",
        verdict=verdict,
        passed=passed,
        setting={
            "data": world.label,
            "corpora": list(world.corpora),
            "questions": len(world.queries),
            "judge": world.judge.name,
            "hits judged for each question": k,
            "seed": world.seed,
            "before everything else": "three rows went in, and COUNT(*) said 3",
        },
        figures=figures(world, outcome, counts),
        sections=sections(world, outcome, counts),
        not_measured=_not_measured(world, outcome, counts),
        data=_data(world, outcome, counts),
        plots=_plots(outcome, counts),
        timings={"seconds": {name: round(value, 1) for name, value in outcome.seconds.items()}},
    )


def _verdict(outcome: Outcome, counts: Counts) -> tuple[bool, str]:
    if not counts.recorded:
        return False, "Nothing could be learned: no answer was rated high enough to be remembered."
    found, lifted = len(counts.discoveries), sum(one.lifted for one in counts.discoveries)
    better = counts.quality.mean > 0
    passed = (not found or 2 * lifted >= found) and len(counts.improved) > len(counts.regressed)
    said = (
        f"The second time is {'better' if better else 'not better'}: {lifted} of {found} answers that were found "
        f"but not on top come first now, {len(counts.improved)} first answers are judged better than before and "
        f"{len(counts.regressed)} worse (mean rating {counts.quality.text(change=True)})."
    )
    if outcome.suite is None:
        return passed, said
    results = outcome.suite.results
    if lift_guard.BOTH.name in results:
        caught = results[lift_guard.BOTH.name]
        wrong = sum(one.injected for one in caught)
        # One wrong injection is one too many: that is what the guard is for.
        passed = passed and wrong == 0
        return passed, f"{said} Of {len(caught)} questions that only look alike {wrong} were given a wrong answer."
    wrong = sum(one.injected for one in results[lift_guard.UNGUARDED.name])
    return passed, (
        f"{said} It can be worse unnoticed: {wrong} of {len(outcome.suite.traps)} questions that only look alike were "
        "given a wrong answer, and this release has no guard against it."
    )


def _not_measured(world: World, outcome: Outcome, counts: Counts) -> list[str]:
    able = world.abilities
    missing = []
    if not able.guard:
        missing.append("The constraint guard: the mesh names no constraints of a question, so it seems to have none.")
    if not able.lexical:
        missing.append("Lexical and hybrid retrieval: the mesh refuses them.")
    elif outcome.arms is None:
        missing.append("Dense against hybrid: fewer than four questions have a right answer that is known.")
    if not able.where:
        missing.append("Exact needs: the mesh passes over SQL conditions on a search.")
    elif outcome.narrowed is None:
        missing.append("Exact needs: no question has a SQL condition (`where`).")
    if not any(query.out_of_domain for query in world.queries):
        missing.append("Honesty: no question is marked `out_of_domain`.")
    elif not counts.honesty["told_stretches"]:
        missing.append("Stretches: the mesh does not flag far-fetched answers; their ratings were measured.")
    if outcome.suite is None:
        missing.append("Questions that only look alike: none names another one in `not_like`.")
    if not outcome.styles:
        missing.append("The four phrasings: they are made from the sample data only.")
    if not any(query.paraphrases for query in world.queries):
        missing.append("Paraphrases: no question has any.")
    return missing


def _data(world: World, outcome: Outcome, counts: Counts) -> dict[str, Any]:
    return {
        "recorded": len(counts.recorded),
        "discoveries": len(counts.discoveries),
        "lifted": sum(one.lifted for one in counts.discoveries),
        "verbatim_lift": share_interval([one.lifted for one in counts.discoveries], seed=world.seed).document(),
        "out_of_reach": sum(one.out_of_reach for one in counts.discoveries),
        "boosts": counts.boosts,
        "injections": counts.injections,
        "top_distance_change": counts.distance.document(),
        "rating_change": counts.quality.document(),
        "quality": {
            "lifted": len(counts.improved),
            "neutral": len(counts.same),
            "regressed": len(counts.regressed),
            "regressions": [one.query.id for one in counts.regressed],
        },
        "paraphrases": {name: shares.document() for name, shares in counts.paraphrases.items()},
        "honesty": counts.honesty,
        "cross_role": {
            "warm_pass": counts.strangers,
            "phrasings": [
                {
                    "style": one.style,
                    "questions": one.questions,
                    "roles_read": one.extracted,
                    "bled": one.bled,
                    "bled_without_roles_and_guard": one.bled_without,
                    "own_answer_on_top": one.kept,
                }
                for one in outcome.styles
            ],
        },
        "adversarial": _suite(outcome, world.seed),
        "retrieval": _arms(outcome),
        "exact_needs": None
        if outcome.narrowed is None
        else {
            "without_where": outcome.narrowed.without.document(),
            "with_where": outcome.narrowed.with_where.document(),
            "gained": outcome.narrowed.gained.document(),
        },
        "questions": [_round(one) for one in outcome.rounds],
    }


def _suite(outcome: Outcome, seed: int) -> dict[str, Any] | None:
    suite = outcome.suite
    if suite is None:
        return None
    variants = {}
    for name, results in suite.results.items():
        recovered = [one.recovered for one in results if one.recovered is not None]
        variants[name] = {
            "wrong_injections": sum(one.injected for one in results),
            "wrong_boosts": sum(one.boosted for one in results),
            "wrong_on_top": sum(one.on_top for one in results),
            "wrong_injections_by_kind": dict(Counter(one.trap.kind for one in results if one.injected)),
            "paraphrase_recovery": share_interval(recovered, seed=seed).document(),
        }
    return {
        "pairs": len(suite.traps),
        "kinds": dict(Counter(trap.kind for trap in suite.traps)),
        "variants": variants,
        "pair_distance": mean_interval(suite.trap_distances, seed=seed).document(),
        "paraphrase_distance": mean_interval(suite.paraphrase_distances, seed=seed).document(),
        "failures": _failures(outcome),
    }


def _failures(outcome: Outcome) -> list[dict[str, str]]:
    """The wrong injections that the strongest protection let through, each with both questions."""
    assert outcome.suite is not None
    name = list(outcome.suite.results)[-1]
    return [
        {"kind": one.trap.kind, "asked": one.trap.asked.text, "other": one.trap.other.text, "answer": one.trap.answer}
        for one in outcome.suite.results[name]
        if one.injected
    ]


def _arms(outcome: Outcome) -> dict[str, Any] | None:
    arms = outcome.arms
    if arms is None:
        return None
    return {
        "questions": len(arms.queries),
        "ndcg_at_10": {name: value.document() for name, value in arms.means.items()},
        "tuned_hybrid_minus": {name: value.document() for name, value in arms.over.items()},
        "fusion": arms.chosen,
    }


def _round(one: Round) -> dict[str, Any]:
    return {
        "id": one.query.id,
        "question": one.query.text,
        "category": one.query.category,
        "role": one.query.role,
        "ids": list(one.ids),
        "ratings": list(one.ratings),
        "recorded": one.best if one.recorded else None,
        "discovery": one.discovery,
        "stretch": one.stretch,
        "before": _seen(one.cold),
        "after": None if one.warm is None else _seen(one.warm),
        "paraphrases": [
            {"text": text, "before": _seen(before), "after": _seen(after)}
            for text, before, after in zip(
                one.query.paraphrases, one.cold_paraphrases, one.warm_paraphrases or one.cold_paraphrases, strict=True
            )
        ],
    }


def _seen(seen: Seen) -> dict[str, Any]:
    return {
        "rank": seen.rank,
        "distance": seen.distance,
        "top_id": seen.top_id,
        "top_distance": seen.top_distance,
        "top_rating": seen.top_rating,
        "boosted": seen.boosted,
        "injected": seen.injected,
    }


def _plots(outcome: Outcome, counts: Counts) -> list[Plot]:
    plots: list[Plot] = []
    if counts.discoveries:
        plots.append(_journeys(counts.discoveries))
    if counts.recorded:
        plots.append(_ratings(counts))
    if outcome.suite is not None:
        plots += [_wrong(outcome.suite.results), _distances(outcome)]
    if outcome.arms is not None:
        plots.append(_retrieval(outcome.arms.means))
    return plots


def _journeys(discoveries: Sequence[Round]) -> Plot:
    shown = discoveries[:_SHOWN_JOURNEYS]
    return Journeys(
        name="ranks",
        title="Where the right answer stood before and after it was recorded",
        labels=[one.query.id for one in shown],
        before=[(one.cold.rank or 0) + 1 for one in shown],
        after=[(one.warm.rank if one.warm and one.warm.rank is not None else len(one.ids)) + 1 for one in shown],
        axis="rank among the hits (1 is the first)",
    )


def _ratings(counts: Counts) -> Plot:
    cold = Counter(one.cold.top_rating for one in counts.judged)
    warm = Counter(one.warm.top_rating for one in counts.judged if one.warm)
    return Bars(
        name="ratings",
        title="How first answers are rated, before and after",
        labels=[f"rated {value}" for value in (5, 4, 3, 2, 1)],
        series=[
            Series(name="before", values=[cold[value] for value in (5, 4, 3, 2, 1)]),
            Series(name="after", values=[warm[value] for value in (5, 4, 3, 2, 1)]),
        ],
        axis="questions",
        form="{:.0f}",
    )


def _wrong(results: Mapping[str, Sequence[lift_guard.Sprung]]) -> Plot:
    first = next(iter(results.values()))
    kinds = list(dict.fromkeys(one.trap.kind for one in first))
    totals = Counter(one.trap.kind for one in first)

    def share(found: Sequence[lift_guard.Sprung], kind: str) -> float:
        return 100 * sum(one.injected for one in found if one.trap.kind == kind) / totals[kind]

    return Bars(
        name="lookalikes",
        title="Questions that only look alike and are given a wrong answer",
        labels=[f"another {kind}" if kind != "negation" else "negated" for kind in kinds],
        series=[Series(name=name, values=[share(found, kind) for kind in kinds]) for name, found in results.items()],
        axis="percent of the pairs of a kind, by what stands before the playbook",
        end=100,
        form="{:.0f} %",
    )


def _distances(outcome: Outcome) -> Plot:
    assert outcome.suite is not None
    return Histogram(
        name="distances",
        title="No distance tells a paraphrase from a question that only looks alike",
        series=[
            Series(name="the same in other words", values=outcome.suite.paraphrase_distances),
            Series(name="only looks alike", values=outcome.suite.trap_distances),
        ],
        axis="cosine distance between the two questions",
    )


def _retrieval(means: Mapping[str, Interval]) -> Plot:
    values = list(means.values())
    return Bars(
        name="retrieval",
        title="nDCG@10 of each way to retrieve, with 95 % intervals",
        labels=list(means),
        series=[
            Series(
                name="nDCG@10",
                values=[one.mean for one in values],
                low=[one.low for one in values],
                high=[one.high for one in values],
            )
        ],
        axis="nDCG@10 over the questions",
        form="{:.3f}",
    )
