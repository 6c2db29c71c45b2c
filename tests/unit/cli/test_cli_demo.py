"""The parts of the demonstration that need no mesh: its options, and how its outcome looks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from services.cli import lift_report
from services.cli.app import app
from services.cli.demo_plans import file_plan
from services.cli.failure import CommandError
from services.labs.lift import Case, Control, Lift, Standing, Trial
from services.labs.plan import ColdRound
from services.labs.rest import Hit

FILE = "ticket id,body,colour\n" + "".join(f't{i},"a longer text number {i} about things",red\n' for i in range(5))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tickets.csv"
    path.write_text(FILE)
    return path


def _hits(*ids: str) -> tuple[Hit, ...]:
    return tuple(Hit(id=ident, corpus="c", distance=0.3 + rank / 10, metadata={}) for rank, ident in enumerate(ids))


def _standing(rank: int | None) -> Standing:
    return Standing(rank=rank, distance=None if rank is None else 0.1234 + rank / 100)


def _trial(answer: str | None, cold: int | None, warm: int | None, paraphrase: int | None = 0) -> Trial:
    case = Case(
        label="[a] question with quite a number of words in it, more than fit into one line",
        question="a question with quite a number of words in it, more than fit into one line",
        paraphrase="the same in other words",
        choose=lambda hits: answer,
    )
    learnt = answer is not None and cold != 0
    return Trial(
        case=case,
        answer=answer,
        cold=_standing(cold),
        cold_paraphrase=_standing(cold),
        warm=_standing(warm) if learnt else None,
        warm_paraphrase=_standing(paraphrase) if learnt else None,
        hits_before=_hits("x", "y", "z"),
        hits_after=_hits(answer or "x", "y"),
    )


LIFT = Lift(
    trials=(_trial("w-1", 11, 0), _trial("w-2", None, 0, None), _trial("w-3", 0, None), _trial(None, None, None)),
    control=Control(question="something else", hits=100, unchanged=True, boosted=0, injected=0),
)


def _printed() -> str:
    page = io.StringIO()
    Console(width=80, file=page).print(lift_report.lift_table(LIFT))
    return page.getvalue()


def test_what_was_right_at_once_or_has_no_right_answer_is_no_discovery() -> None:
    assert [trial.answer for trial in LIFT.discoveries] == ["w-1", "w-2"]


def test_the_table_shows_each_answer_before_and_after_in_eighty_columns() -> None:
    shown = _printed()
    assert "#12 0.233 → #1 0.123" in shown
    assert ">100      → #1 0.123" in shown
    assert "on top at once" in shown
    assert "[a]" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_the_close_up_takes_the_longest_way_and_marks_the_right_answer() -> None:
    trial = lift_report.farthest(LIFT)
    assert trial is not None
    assert trial.answer == "w-2"
    lines = list(lift_report.close_up(trial, {"x": "another one", "w-2": "the right one"}))
    assert sum("✓" in line for line in lines) == 3
    assert all("w-2" in line for line in lines if "✓" in line)


def test_the_conclusion_counts_what_rose_and_admits_what_did_not() -> None:
    text = "\n".join(lift_report.conclusion(LIFT))
    assert "2 of 2 questions in the same words" in text
    assert "1 of 2 in other words" in text
    assert "unaffected" in text
    affected = Control(question="q", hits=10, unchanged=False, boosted=1, injected=0)
    assert "1 boosted" in "\n".join(lift_report.conclusion(Lift(trials=LIFT.trials, control=affected)))


def test_the_document_counts_ranks_from_zero_and_prints_zeros() -> None:
    cold = ColdRound(trials=LIFT.trials, asked=4, on_top=1, control="something else")
    document = lift_report.document(cold, LIFT)
    assert (document["discoveries"], document["lifted"], document["recovered_in_other_words"]) == (2, 2, 1)
    first = document["trials"][0]
    assert first["before"]["same_words"]["rank"] == 11
    assert first["after"]["same_words"]["rank"] == 0
    assert document["trials"][2]["after"] == {"same_words": None, "other_words": None}


def test_without_columns_the_error_lists_them_and_guesses(file: Path) -> None:
    with pytest.raises(CommandError) as caught:
        file_plan(file, "", [])
    assert caught.value.reason == "COLUMNS_NOT_NAMED"
    assert "ticket id, body, colour" in caught.value.message
    assert "--id 'ticket id' --text body" in caught.value.hint


@pytest.mark.parametrize(("ident", "texts"), [("ticket_id", ["body"]), ("ticket id", ["body", "nosuch"])])
def test_a_column_that_is_not_there_is_refused(file: Path, ident: str, texts: list[str]) -> None:
    with pytest.raises(CommandError) as caught:
        file_plan(file, ident, texts)
    assert caught.value.reason == "UNKNOWN_COLUMN"


def test_text_columns_are_given_one_by_one_or_separated_by_commas(file: Path) -> None:
    assert file_plan(file, "ticket id", ["body,colour"]).corpus["text_columns"] == ["body", "colour"]
    assert file_plan(file, "ticket id", ["body", "colour"]).corpus["text_columns"] == ["body", "colour"]
    assert file_plan(file, "ticket id", ["body"]).dataset == "tickets"


def test_what_is_no_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError):
        file_plan(path, "id", ["text"])


def test_columns_without_a_file_are_wrong_usage() -> None:
    assert CliRunner().invoke(app, ["demo", "--text", "body"]).exit_code == 2
