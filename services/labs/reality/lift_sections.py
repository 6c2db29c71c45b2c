"""The chapters of a lift report."""

from __future__ import annotations

from collections.abc import Sequence

from services.labs.intervals import mean_interval
from services.labs.reality.lift import Outcome
from services.labs.reality.lift_figures import Counts
from services.labs.reality.lift_passes import Round, Seen
from services.labs.reality.report import Section
from services.labs.world import World

_EXAMPLES = 12


def sections(world: World, outcome: Outcome, counts: Counts) -> list[Section]:
    """All chapters that there is something to say in."""
    made = [_learning(outcome, counts), _words(counts), _quality(counts), _honesty(outcome, counts)]
    made += [_roles(outcome), _lookalikes(world, outcome), _retrieval(outcome), _exact(outcome), _questions(outcome)]
    return [section for section in made if section is not None]


def _learning(outcome: Outcome, counts: Counts) -> Section:
    found = counts.discoveries
    beyond = sum(one.out_of_reach for one in found)
    text = (
        f"{len(outcome.rounds)} questions were asked cold. For {len(counts.recorded)} of them an answer was rated 4 or "
        f"more and recorded; for {len(found)} of these it had not been on top (a discovery). Asked again in the same "
        f"words, {sum(one.lifted for one in found)} of the {len(found)} come first. {beyond} lay more than twice as "
        "far as the first answer, where a halved distance cannot win. "
        f"In all warm searches {counts.boosts} hits were boosted and {counts.injections} injected; the distance of the "
        f"first answer changed by {counts.distance.text(change=True)}."
    )
    categories = list(dict.fromkeys(one.query.category for one in outcome.rounds))
    rows = [_category(name, [one for one in outcome.rounds if one.query.category == name]) for name in categories]
    columns = ("category", "questions", "recorded", "discoveries", "lifted")
    return Section(title="What was learned", text=text, columns=columns, rows=rows, plots=("ranks",))


def _category(name: str, rounds: Sequence[Round]) -> tuple[str, ...]:
    found = [one for one in rounds if one.discovery]
    numbers = (len(rounds), sum(one.recorded for one in rounds), len(found), sum(one.lifted for one in found))
    return (name, *map(str, numbers))


def _words(counts: Counts) -> Section | None:
    if not counts.paraphrases:
        return None
    rows = [
        (name, str(one.top.cases), *(part.text(percent=True) for part in (one.top_before, one.top, one.anywhere)))
        for name, one in counts.paraphrases.items()
    ]
    columns = ("asked", "questions", "on top before", "on top after", "anywhere among the hits after")
    return Section(
        title="In other words",
        text="The recorded answers, when the same is asked in words that were not recorded.",
        columns=columns,
        rows=rows,
    )


def _quality(counts: Counts) -> Section:
    text = (
        f"First answers were rated before and after, for every question, also those that nothing was recorded for: "
        f"{len(counts.improved)} are better, {len(counts.same)} the same, {len(counts.regressed)} worse; the mean "
        f"changed by {counts.quality.text(change=True)}."
    )
    rows = [
        (one.query.id, one.query.text, f"{one.cold.top_rating} → {one.warm.top_rating if one.warm else '-'}")
        for one in counts.regressed[:_EXAMPLES]
    ]
    columns = ("worse now", "question", "rating")
    return Section(title="Quality, judged again", text=text, columns=columns, rows=rows, plots=("ratings",))


def _honesty(outcome: Outcome, counts: Counts) -> Section | None:
    told = counts.honesty
    if not told["questions"]:
        return None
    text = (
        f"{told['questions']} questions ask for what the data do not have. The highest rating that any first answer to "
        f"them got is {told['highest_rating']}. "
    )
    if told["told_stretches"]:
        text += (
            f"{told['flagged']} of them were flagged as a stretch, and {told['in_domain_flagged']} of "
            f"{told['in_domain']} questions that the data can answer."
        )
    rows = [
        (
            one.query.text,
            str(one.cold.top_rating or "-"),
            _distance(one.cold),
            _flag(one.stretch),
        )
        for one in outcome.rounds
        if one.query.out_of_domain
    ]
    columns = ("question", "rating", "distance", "stretch")
    return Section(title="Honesty out of domain", text=text, columns=columns, rows=rows)


def _distance(seen: Seen) -> str:
    return "-" if seen.top_distance is None else f"{seen.top_distance:.3f}"


def _flag(stretch: bool | None) -> str:
    return "not said" if stretch is None else "yes" if stretch else "no"


def _roles(outcome: Outcome) -> Section | None:
    if not outcome.styles:
        return None
    rows = [
        (one.style, *map(str, (one.questions, one.extracted, one.bled, one.bled_without, one.kept)))
        for one in outcome.styles
    ]
    columns = ("phrasing", "questions", "roles read", "bled", "bled without roles and guard", "own answer on top")
    text = (
        "Several roles are asked for by one client at one place, in words that differ in the role only. Roles are read "
        "from the words by pattern. Bled is a question that another role's answer moved in."
    )
    return Section(title="Across roles, in four phrasings", text=text, columns=columns, rows=rows)


def _lookalikes(world: World, outcome: Outcome) -> Section | None:
    suite = outcome.suite
    if suite is None:
        return None
    near = mean_interval(suite.trap_distances, seed=world.seed)
    far = mean_interval(suite.paraphrase_distances, seed=world.seed)
    text = (
        f"{len(suite.traps)} questions have a recorded answer and a twin that asks for something else; the answer is "
        f"wrong for the twin. Twins lie {near.mean:.3f} apart on average, true paraphrases {far.mean:.3f}: no "
        "limit of distance separates them."
    )
    rows = []
    for name, results in suite.results.items():
        recovered = [one.recovered for one in results if one.recovered is not None]
        anywhere = [one.recovered_anywhere for one in results if one.recovered_anywhere is not None]
        rows.append(
            (
                name,
                str(sum(one.injected for one in results)),
                str(sum(one.boosted for one in results)),
                str(sum(one.on_top for one in results)),
                f"{100 * sum(recovered) / len(recovered):.1f} %" if recovered else "-",
                f"{100 * sum(anywhere) / len(anywhere):.1f} %" if anywhere else "-",
            )
        )
    columns = (
        "before the playbook",
        "wrong injections",
        "wrong boosts",
        "wrong on top",
        "paraphrases on top",
        "paraphrases found",
    )
    plots = ("lookalikes", "distances")
    return Section(title="Questions that only look alike", text=text, columns=columns, rows=rows, plots=plots)


def _retrieval(outcome: Outcome) -> Section | None:
    arms = outcome.arms
    if arms is None:
        return None
    text = (
        f"{len(arms.queries)} questions. The fusion was tuned on one half and measured on the other, both ways round. "
        f"Best over all of them, to use from now on: {arms.chosen}."
    )
    rows = [
        (name, value.text(), arms.over[name].text(change=True) if name in arms.over else "")
        for name, value in arms.means.items()
    ]
    columns = ("retrieval", "nDCG@10", "tuned hybrid minus this")
    return Section(title="Dense, lexical, hybrid", text=text, columns=columns, rows=rows, plots=("retrieval",))


def _exact(outcome: Outcome) -> Section | None:
    found = outcome.narrowed
    if found is None:
        return None
    text = (
        f"Of the first ten hits {found.without.text(percent=True)} meet the need in every column; with the need as a "
        f"SQL condition {found.with_where.text(percent=True)}."
    )
    return Section(title="Exact needs", text=text)


def _questions(outcome: Outcome) -> Section:
    rows = [
        (
            one.query.id,
            one.query.text,
            one.best or "-",
            _place(one.cold.rank),
            _place(one.warm.rank if one.warm else None),
        )
        for one in outcome.rounds
        if one.discovery
    ]
    columns = ("id", "question", "recorded", "rank before", "rank after")
    text = "Every discovery; ranks are counted from 1. report.json has every question with all its hits and ratings."
    return Section(title="The discoveries", text=text, columns=columns, rows=rows)


def _place(rank: int | None) -> str:
    return "-" if rank is None else str(rank + 1)
