"""`lakehouse lift`, `stress` and `load`, whole: on the sample data, and on data of the user's own."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.supervisor.ports import free_port_base
from tests.e2e.conftest import COMMAND, Stack, clean_environment

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    "parcels": ("The parcel arrived broken", "A package that is late", "Where is my delivery"),
    "billing": ("The invoice has a wrong address", "My card was charged twice", "Refund for a cancelled order"),
    "accounts": ("I forgot my password", "Please close my account", "The login code never comes"),
    "outages": ("The site is down since noon", "Pages load very slowly", "Uploads end with an error"),
}


def run(temporary: Path, *arguments: str) -> dict[str, Any]:
    """Runs a command on a mesh of its own and returns its document."""
    environ = {**clean_environment(), "TMPDIR": str(temporary)}
    command = [*COMMAND, *arguments, "--quick", "--json", "--port-base", str(free_port_base())]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.requirement("R1", "R2")
def test_the_lift_is_measured_on_the_sample_data_and_nothing_remains(tmp_path: Path) -> None:
    out = tmp_path / "report"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    told = run(temporary, "lift", "--out", str(out))
    assert told["data"]["recorded"] > 0
    assert told["data"]["lifted"] <= told["data"]["discoveries"]
    assert told["data"]["honesty"]["highest_rating"] <= 2
    assert [one["style"] for one in told["data"]["cross_role"]["phrasings"]] == [
        "need",
        "client_first",
        "looking",
        "shorthand",
    ]
    assert all(one["bled"] == 0 for one in told["data"]["cross_role"]["phrasings"])
    assert all(one["roles_read"] == one["questions"] for one in told["data"]["cross_role"]["phrasings"])
    assert told["data"]["adversarial"]["pairs"] == 40
    assert told["data"]["adversarial"]["variants"]["nothing"]["wrong_injections"] > 0
    assert json.loads((out / "report.json").read_text())["verdict"] == told["verdict"]
    assert told["verdict"] in (out / "report.md").read_text()
    assert (out / "lookalikes.png").stat().st_size > 1_000
    assert list(temporary.iterdir()) == []


@pytest.mark.requirement("R3")
def test_the_stress_of_48_hours_holds_on_the_sample_data(tmp_path: Path) -> None:
    told = run(tmp_path, "stress", "--out", str(tmp_path / "report"))
    data = told["data"]
    assert data["determinism"] == {"jaccard": data["determinism"]["jaccard"], "identical": 12, "questions": 12}
    assert data["hand_over"]["verbatim"] == [len(data["recorded"]) and data["hand_over"]["verbatim"][1]] * 2
    assert data["swap"]["overlap"] == 0.0
    assert data["swap"]["replaced"] == 200
    assert data["fresh_first"] == [3, 3]
    calls = [json.loads(line) for line in (tmp_path / "report" / "calls.jsonl").read_text().splitlines()]
    assert {call["hour"] for call in calls} >= {0, 6, 12, 18, 24, 36, 42, 48}
    assert {call["coordinator"] for call in calls} == {"alice", "bob", "carol"}
    assert all(len(call["ids"]) == len(call["distances"]) > 0 and call["per_corpus"] for call in calls)


def _own_data(stack: Stack, folder: Path) -> tuple[str, Path]:
    """Sixty tickets as a corpus of the shared stack, and questions about them."""
    rows = []
    for number in range(60):
        topic = list(TOPICS)[number % len(TOPICS)]
        text = TOPICS[topic][number // len(TOPICS) % 3]
        rows.append([f"T-{number}", topic, f"{text}, said customer {number} from street {number * 7}"])
    with open(folder / "reality_tickets.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["ticket", "topic", "body"], *rows])
    for arguments in (
        ("ingest", str(folder / "reality_tickets.csv")),
        ("corpus", "build", "reality_tickets", "--id", "ticket", "--text", "body"),
    ):
        done = stack.run(*arguments)
        assert done.returncode == 0, done.stderr
    asked = [
        {
            "query": f"{text} {word}",
            "paraphrases": [f"{word} {text.lower()}"],
            "category": topic,
            "expected": {"topic": topic},
            "contract": ("north", "south", "west")[place],
        }
        for topic, texts in TOPICS.items()
        for place, (text, word) in enumerate(zip(texts, ("today", "again", "please"), strict=True))
    ]
    (folder / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    return "reality_tickets", folder / "questions.json"


@pytest.mark.requirement("R1", "R3", "R5")
def test_all_three_run_on_data_of_the_users_own_and_leave_the_mesh_as_it_was(stack: Stack, tmp_path: Path) -> None:
    corpus, questions = _own_data(stack, tmp_path)
    try:
        before = stack.run("corpus", "list", "--json").stdout
        own = ("--corpora", corpus, "--queries", str(questions), "--json")
        for command, more in (("lift", ()), ("stress", ()), ("load", ("--duration", "0.5", "--scenario", "multitier"))):
            done = stack.run(command, *own, *more, "--out", str(tmp_path / command), timeout=110)
            assert done.returncode == 0, done.stderr
            told = json.loads(done.stdout)
            assert told["verdict"]
            assert (tmp_path / command / "report.md").is_file()
            if command == "lift":
                assert told["setting"]["judge"].startswith("rubric")
                assert told["data"]["recorded"] == len(json.loads(questions.read_text()))
            if command == "load":
                assert told["passed"]
                assert set(told["timings"]["statuses"]) <= {"200", "201"}
        assert stack.run("corpus", "list", "--json").stdout == before
        shown = stack.run("datasets", "list", "--json").stdout
        assert "reality_probe" not in shown
    finally:
        stack.run("corpus", "rm", corpus, "--yes")
        stack.run("datasets", "rm", corpus, "--yes")


@pytest.mark.requirement("R1")
def test_the_commands_of_the_page_on_learning_work_as_they_stand_there(stack: Stack, tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "learning.md").read_text(encoding="utf-8"), re.DOTALL)
    # The same words, with a dataset of this test's own.
    script = "set -e\n" + block.replace("tickets", "learning_tickets")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**stack.environ, "PATH": path, "LAKEHOUSE_ADDRESS": f"127.0.0.1:{stack.port_base}"}
    try:
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "lift" / "report.md").is_file()
        assert (tmp_path / "load" / "report.json").is_file()
    finally:
        stack.run("corpus", "rm", "learning_tickets", "--yes")
        stack.run("datasets", "rm", "learning_tickets", "--yes")
