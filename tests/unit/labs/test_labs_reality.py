"""Reports of the reality tests: what they say, what they say could not be measured, and how they are drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from services.labs.judges import LabelsJudge
from services.labs.matrix import Answer, MatrixClient, Ranked
from services.labs.queries import Query
from services.labs.reality import lift_arms, lift_report
from services.labs.reality.lift import Outcome
from services.labs.reality.lift_arms import GRID
from services.labs.reality.lift_guard import BOTH, UNGUARDED, Sprung, Suite, Trap
from services.labs.reality.lift_passes import Round, Seen
from services.labs.reality.plots import Bars, Histogram, Journeys, Lines, Series, draw
from services.labs.reality.report import Figure, Report, Section, write
from services.labs.world import Abilities, World


def world(**able: bool) -> World:
    return World(
        client=MatrixClient("http://127.0.0.1:1"),
        corpora=("c",),
        queries=(Query(id="q", text="a question"),),
        judge=LabelsJudge({}),
        abilities=Abilities(**able),
        seed=7,
        label="made up",
    )


def seen(rank: int | None, top: int, *, distance: float = 0.3) -> Seen:
    return Seen(rank=rank, distance=distance, top_id="t", top_distance=0.2, top_rating=top)


def one_round(ident: str, before: Seen, after: Seen) -> Round:
    return Round(
        query=Query(id=ident, text=ident, paraphrases=("other",)),
        ids=("t", "a"),
        ratings=(2, 5),
        best="a",
        best_corpus="c",
        best_rating=5,
        cold=before,
        warm=after,
        cold_paraphrases=(before,),
        warm_paraphrases=(after,),
        playbook_id="p",
    )


def outcome(rounds: tuple[Round, ...], suite: Suite | None = None) -> Outcome:
    return Outcome(rounds=rounds, suite=suite, styles=(), arms=None, narrowed=None, seconds={})


def suite(*, guarded_fail: bool) -> Suite:
    trap = Trap(
        kind="number",
        asked=Query(id="a", text="3", paraphrases=("three",)),
        answer="x",
        corpus="c",
        other=Query(id="b", text="4"),
    )

    def sprung(wrong: bool) -> Sprung:
        return Sprung(trap=trap, injected=wrong, boosted=False, on_top=wrong, recovered=True, recovered_anywhere=True)

    return Suite(
        traps=(trap,),
        results={UNGUARDED.name: (sprung(True),), BOTH.name: (sprung(guarded_fail),)},
        trap_distances=(0.02,),
        paraphrase_distances=(0.2,),
    )


BETTER = one_round("better", seen(1, 2), seen(0, 5, distance=0.1))
WORSE = one_round("worse", seen(1, 4), seen(1, 3))


@pytest.mark.requirement("R1")
def test_the_verdict_passes_when_half_is_lifted_and_more_is_better_than_worse() -> None:
    good = lift_report.build(world(), outcome((BETTER, BETTER, WORSE)), k=10, command="lakehouse lift")
    assert good.passed
    assert good.data["quality"] == {"lifted": 2, "neutral": 0, "regressed": 1, "regressions": ["worse"]}
    assert (good.data["discoveries"], good.data["lifted"]) == (3, 2)
    bad = lift_report.build(world(), outcome((BETTER, WORSE, WORSE)), k=10, command="lakehouse lift")
    assert not bad.passed


@pytest.mark.requirement("R1")
def test_one_wrong_injection_behind_the_guard_fails_the_run() -> None:
    assert lift_report.build(world(guard=True), outcome((BETTER,), suite(guarded_fail=False)), k=2, command="").passed
    failed = lift_report.build(world(guard=True), outcome((BETTER,), suite(guarded_fail=True)), k=2, command="")
    assert not failed.passed
    assert failed.data["adversarial"]["failures"] == [{"kind": "number", "asked": "3", "other": "4", "answer": "x"}]


@pytest.mark.requirement("R1")
def test_what_the_mesh_cannot_do_is_named_and_never_counted() -> None:
    report = lift_report.build(world(), outcome((BETTER,)), k=2, command="")
    said = " ".join(report.not_measured)
    for word in ("guard", "hybrid", "SQL", "Honesty", "look alike", "phrasings"):
        assert word in said
    assert report.data["retrieval"] is None
    assert report.data["adversarial"] is None
    nothing = lift_report.build(world(), outcome(()), k=2, command="")
    assert not nothing.passed


@pytest.mark.requirement("R1")
async def test_a_fusion_is_never_measured_with_questions_that_chose_it() -> None:
    # Each fusion is right for one half only; whoever tunes on all questions would look perfect.
    table = [[0.5, 0.5, *[1.0 if place == row else 0.0 for place in range(len(GRID))]] for row in range(len(GRID))]
    found = lift_arms._compared([str(row) for row in range(len(table))], table, 7)
    assert found.means[lift_arms.HYBRID].mean == 0.0
    assert not found.over[lift_arms.DENSE].above_zero


def test_a_hit_counts_as_moved_only_when_a_playbook_entry_changed_it() -> None:
    plain = Ranked(id="a", corpus="c", distance=0.1, metadata={})
    boosted = Ranked(id="a", corpus="c", distance=0.1, metadata={}, playbook_id="p", boost_factor=0.5)
    injected = Ranked(id="a", corpus="c", distance=0.1, metadata={}, playbook_id="p", injected=True)
    assert [hit.moved for hit in (plain, boosted, injected)] == [False, True, True]
    assert Answer(hits=(plain,)).rank("b") is None


def report(*plots: Bars | Histogram | Journeys | Lines) -> Report:
    return Report(
        command="lakehouse lift",
        title="Title",
        verdict="It is so.",
        passed=True,
        setting={"seed": 7},
        figures=[Figure(name="a|b", value="1", target="1", met=False)],
        sections=[Section(title="Part", text="Words.", columns=("x",), rows=[("1",)], plots=("bars",))],
        not_measured=["This."],
        data={"number": 1 / 3},
        plots=plots,
        timings={"seconds": 1.0},
    )


PLOTS = (
    Bars(name="bars", title="Bars", labels=["a", "b"], axis="x", series=[Series(name="s", values=[1, 2])]),
    Histogram(name="spread", title="Spread", axis="x", series=[Series(name="s", values=[0.1, 0.2])]),
    Journeys(name="ways", title="Ways", labels=["a"], before=[9], after=[1], axis="rank"),
    Lines(name="lines", title="Lines", places=[1, 2], series=[Series(name="s", values=[1, 2])], across="t", axis="y"),
)


def test_a_report_is_written_for_people_and_programs_with_its_plots(tmp_path: Path) -> None:
    files = write(report(*PLOTS), tmp_path / "out")
    assert [file.name for file in files] == [
        "report.md",
        "report.json",
        "bars.png",
        "spread.png",
        "ways.png",
        "lines.png",
    ]
    assert all(file.stat().st_size > 100 for file in files)
    text = files[0].read_text(encoding="utf-8")
    assert text.index("It is so.") < text.index("a\\|b") < text.index("Not measured") < text.index("Part")
    assert "![bars](bars.png)" in text
    document = json.loads(files[1].read_text(encoding="utf-8"))
    assert document["verdict"] == "It is so."
    assert document["data"] == {"number": 0.333333}


def test_the_same_plots_are_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first, second = draw(PLOTS, tmp_path / "a"), draw(PLOTS, tmp_path / "b")
    assert first is not None
    assert second is not None
    assert [path.read_bytes() for path in first.values()] == [path.read_bytes() for path in second.values()]


def test_without_matplotlib_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.labs.reality.plots.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    files = write(report(*PLOTS), tmp_path)
    assert [file.name for file in files] == ["report.md", "report.json"]
    assert "matplotlib is not installed" in files[0].read_text(encoding="utf-8")
