"""Options of `lift`, `stress` and `load` that do not go together are refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.reality import names


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "q.csv"
    path.write_text("query\nx\n", encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ["lift", "--corpora", "a"],
        ["lift", "--queries", "QUESTIONS"],
        ["lift", "--labels", "QUESTIONS"],
        ["lift", "--judge", "rubric"],
        ["stress", "--judge", "nobody"],
        ["load", "--scenario", "storm"],
        ["load", "--queries", "/no/such/file"],
    ],
    ids=" ".join,
)
def test_options_that_do_not_go_together_are_wrong_usage(words: list[str], questions: str) -> None:
    result = CliRunner().invoke(app, [word.replace("QUESTIONS", questions) for word in words])
    assert result.exit_code == 2, result.output


def test_questions_that_will_not_do_are_refused_with_their_reason(tmp_path: Path, unused_tcp_port: int) -> None:
    path = tmp_path / "q.json"
    path.write_text("{}", encoding="utf-8")
    words = ["lift", "-c", "a", "-q", str(path), "--address", f"127.0.0.1:{unused_tcp_port}", "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "WRONG_SHAPE" in result.stderr


def test_a_mesh_that_is_not_there_is_named(tmp_path: Path, questions: str, unused_tcp_port: int) -> None:
    words = ["load", "-c", "a", "-q", questions, "--address", f"127.0.0.1:{unused_tcp_port}"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "UNAVAILABLE" in result.stderr


def test_corpora_are_repeated_or_separated_by_commas() -> None:
    assert names(["a,b", " c ", "a"]) == ("a", "b", "c")
    assert names(None) == ()
