"""The agent: the same journal, clock and indexes, the same decision; never over its limits, never twice the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.vectord.segments.building import Parameters
from services.vectord.tuning import rules
from services.vectord.tuning.agent_journal import AgentJournal, Done, Promoted
from services.vectord.tuning.rules import Begun, Known, Limits, Skip, Try
from services.vectord.tuning.trial import Trial

SECOND = 1_000_000_000
HOUR = 3600 * SECOND
PRESENT = Parameters()
FREE = Limits(trials_per_hour=1_000_000, cool_down_seconds=0)
LIMITS = st.builds(Limits, trials_per_hour=st.integers(1, 6), cool_down_seconds=st.floats(0, 2000))
RECALLS = st.lists(st.floats(0, 1), min_size=40, max_size=40)


def known(count: int = 5000, name: str = "workers", **fields: object) -> Known:
    given = {"key": f"{name}/1", "name": name, "count": count, "parameters": PRESENT, "trials": ()}
    return Known(**{**given, **fields})  # type: ignore[arg-type]


def began(decision: Try, at_ns: int, about: Known, number: int) -> Begun:
    return Begun(
        number=number,
        at_ns=at_ns,
        key=about.key,
        index=about.name,
        action=decision.action,
        parameters=decision.parameters,
        of=about.count,
        detail=decision.detail,
    )


def ended(decision: Try, about: Known, recall: float, p50_ms: float = 1.0) -> Trial:
    return Trial(
        id=f"{len(about.trials) + 1:08d}",
        parameters=decision.parameters,
        eval_set="generated",
        recall=recall,
        p50_ms=p50_ms,
        p99_ms=2.0,
        build_seconds=1.0,
        items=about.count,
        of=about.count,
        started_by="agent",
        ended_ns=1,
    )


@pytest.mark.requirement("V10")
@settings(deadline=None)
@given(limits=LIMITS, waits=st.lists(st.floats(0, 4000), max_size=60))
def test_no_hour_has_more_trials_than_allowed_and_none_comes_before_the_cool_down(
    limits: Limits, waits: list[float]
) -> None:
    begun: list[Begun] = []
    now = HOUR
    for wait in waits:
        now += round(wait * SECOND)
        decision = rules.decide(begun, now, known(), limits)
        if isinstance(decision, Try):
            begun.append(began(decision, now, known(), len(begun)))
        elif decision.until_ns:
            assert now < decision.until_ns == rules.free_at(begun, limits)
            assert rules.wakes(begun, now, [known()], limits) is None
            assert not isinstance(rules.decide(begun, decision.until_ns, known(), limits), Skip) or len(begun) > 25
    moments = [entry.at_ns for entry in begun]
    for place, moment in enumerate(moments):
        assert rules.last_hour(begun[: place + 1], moment) <= limits.trials_per_hour
    for before, after in pairwise(moments):
        assert after - before >= round(limits.cool_down_seconds * SECOND)


@pytest.mark.requirement("V10")
@settings(max_examples=40, deadline=None)
@given(recalls=RECALLS, fails=st.sets(st.integers(0, 30)))
def test_it_tries_the_present_parameters_first_then_every_other_once_and_then_stops(
    recalls: list[float], fails: set[int]
) -> None:
    begun: list[Begun] = []
    about = known()
    while isinstance(decision := rules.decide(begun, HOUR, about, FREE), Try):
        assert decision == rules.decide(list(begun), HOUR, replace(about, trials=list(about.trials)), FREE)
        begun.append(began(decision, HOUR, about, len(begun)))
        if len(begun) not in fails:
            about = replace(about, trials=[*about.trials, ended(decision, about, recalls[len(begun)])])
    tried = [entry.parameters for entry in begun]
    assert tried[0] == PRESENT
    assert len(set(tried)) == len(tried) == 1 + len(rules.CONSTRUCTIONS) * len(rules.SEARCHES)
    assert {entry.action for entry in begun} <= {"explored", "exploited"}


@pytest.mark.requirement("V10")
def test_it_explores_about_one_time_in_four() -> None:
    first = ended(Try(action="exploited", parameters=PRESENT, detail=""), known(), 0.9)
    actions = []
    for number in range(2000):
        decision = rules.decide([], HOUR, known(key=str(number), trials=[first]), FREE)
        assert isinstance(decision, Try)
        actions.append(decision.action)
    assert 0.2 < actions.count("explored") / len(actions) < 0.3


@pytest.mark.requirement("V10")
def test_what_it_exploits_lies_next_to_the_best_so_far() -> None:
    best = ended(
        Try(action="explored", parameters=Parameters(ef_construction=160, ef_search=30), detail=""), known(), 1
    )
    worse = ended(Try(action="explored", parameters=PRESENT, detail=""), known(), 0.5)
    near = {(80, 30), (320, 30), (160, 20)}
    seen = set()
    for number in range(200):
        decision = rules.decide([], HOUR, known(key=str(number), trials=[worse, best]), FREE)
        assert isinstance(decision, Try)
        if decision.action == "exploited":
            seen.add((decision.parameters.ef_construction, decision.parameters.ef_search))
    assert seen <= near | {(160, 20)}
    assert seen


@pytest.mark.requirement("V10")
def test_by_itself_it_stops_after_some_trials_until_the_data_has_grown() -> None:
    begun: list[Begun] = []
    about, small = known(), known(10, "small")
    while (woken := rules.wakes(begun, HOUR, [small, about], FREE)) is not None:
        index, decision = woken
        assert index is about
        begun.append(began(decision, HOUR, about, len(begun)))
        about = replace(about, trials=[*about.trials, ended(decision, about, 0.95)])
    assert len(begun) == rules.TRIES
    assert isinstance(rules.decide(begun, HOUR, about, FREE), Try)  # whoever asks gets more
    assert rules.wakes(begun, HOUR, [replace(about, count=5900)], FREE) is None
    woken = rules.wakes(begun, HOUR, [replace(about, count=6100)], FREE)
    assert woken is not None
    assert woken[1].parameters == PRESENT


@pytest.mark.requirement("V10")
def test_it_turns_to_the_index_that_it_left_longest_ago() -> None:
    one, other = known(name="one"), known(name="other")
    attempt = Try(action="explored", parameters=PRESENT, detail="")
    begun = [began(attempt, HOUR, other, 0), began(attempt, 2 * HOUR, one, 1)]
    woken = rules.wakes(begun, 3 * HOUR, [one, other], FREE)
    assert woken is not None
    assert woken[0] is other


@pytest.mark.requirement("V10")
def test_it_promotes_only_what_is_clearly_better_than_the_parameters_in_use() -> None:
    present = Try(action="exploited", parameters=PRESENT, detail="")
    other = Try(action="explored", parameters=Parameters(ef_construction=160, ef_search=30), detail="")

    def better(now: tuple[float, float], then: tuple[float, float]) -> bool:
        return rules.better(known(trials=[ended(present, known(), *now), ended(other, known(), *then)])) is not None

    assert better((0.95, 1.0), (0.96, 5.0))
    assert better((0.95, 1.0), (0.95, 0.7))
    assert not better((0.95, 1.0), (0.952, 1.0))
    assert not better((0.95, 1.0), (0.95, 0.9))
    assert not better((0.5, 1.0), (0.89, 0.1))
    assert rules.better(known(trials=[ended(other, known(), 1.0)])) is None
    outdated = replace(ended(present, known(), 0.5), of=100)
    assert rules.better(known(trials=[outdated, ended(other, known(), 1.0)])) is None


@pytest.mark.requirement("V10", "X11")
def test_the_journal_is_the_same_after_a_restart(tmp_path: Path) -> None:
    journal = AgentJournal(tmp_path / "agent.log")
    attempt = Try(action="explored", parameters=PRESENT, detail="why")
    for number in range(3):
        journal.begin(known(), attempt, number)
        if number < 2:
            failure = "" if number else "no reason"
            journal.note(Done(number=number * 2, at_ns=number, trial_id="0001" if number else "", failure=failure))
    journal.note(Promoted(at_ns=9, index="workers", trial_id="0001", detail="better"))
    assert [step.action for step in journal.steps()] == ["promoted", "explored", "explored", "failed"]
    assert [step.trial_id for step in journal.steps()] == ["0001", "", "0001", ""]
    assert "no reason" in journal.steps()[3].detail
    journal.close()
    again = AgentJournal(tmp_path / "agent.log")
    assert again.steps() == journal.steps()
    assert again.begun() == journal.begun()
    again.close()
