"""What every command has in common: help, options, output, exit codes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from services.cli.app import app
from services.cli.command import Session, command, shared_callback
from services.cli.failure import CommandError
from services.runtime.errors import InvalidArgument, NotFound, Unavailable

GROUPS = {
    "datasets": ["list", "show", "rm"],
    "corpus": ["build", "list", "show", "rm"],
    "playbook": ["record", "list", "rm"],
    "jobs": ["list", "show", "watch", "cancel"],
    "objects": ["ls", "put", "get", "rm"],
}
PLAIN = ["ingest", "sql", "search", "doctor", "demo", "status", "lift", "stress", "load"]
COMMANDS = [[name] for name in PLAIN] + [[group, name] for group, names in GROUPS.items() for name in names]


@pytest.fixture
def run() -> Callable[..., object]:
    return CliRunner().invoke


def _app(work: Callable[[Session], Awaitable[None]]) -> typer.Typer:
    made = typer.Typer()
    shared_callback(made)
    command(made, "work", examples="lakehouse work")(work)
    return made


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_has_examples_and_a_json_option(words: list[str]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert "Examples" in result.stdout
    assert f"lakehouse {' '.join(words)}" in result.stdout
    assert "--json" in result.stdout
    assert "--address" in result.stdout


@pytest.mark.parametrize("words", [[], *[[group] for group in GROUPS]], ids=" ".join)
def test_a_group_without_a_command_shows_what_there_is(words: list[str]) -> None:
    result = CliRunner().invoke(app, words, env={"COLUMNS": "100"})
    assert "Commands" in result.stdout + result.stderr


@pytest.mark.parametrize("words", [["sql"], ["search", "text"], ["nosuch"], ["sql", "SELECT 1", "--token", "x"]])
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 2


def test_shared_options_stand_before_or_after_the_command() -> None:
    seen: list[tuple[str, float | None, bool]] = []

    async def work(session: Session) -> None:
        seen.append((session.address, session.timeout, session.terminal.as_json))

    made = _app(work)
    CliRunner().invoke(made, ["--address", "h:1", "--timeout", "3", "--json", "work"])
    CliRunner().invoke(made, ["work", "--address", "h:1", "--timeout", "3", "--json"])
    CliRunner().invoke(made, ["--address", "other:2", "work", "--address", "http://h:1/", "--timeout", "3", "--json"])
    CliRunner().invoke(made, ["work", "--timeout", "3", "--json"], env={"LAKEHOUSE_ADDRESS": "h:1"})
    assert seen == [("h:1", 3.0, True)] * 4


@pytest.mark.parametrize("address", ["nowhere", "https://host:1", "host:port", ":1"])
def test_an_address_that_cannot_be_used_is_wrong_usage(address: str) -> None:
    assert CliRunner().invoke(app, ["status", "--address", address]).exit_code == 2


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    async def work(session: Session) -> None:
        seen.append(session.token())

    (tmp_path / "token").write_text("from-file\n")
    made = _app(work)
    monkeypatch.setenv("LAKEHOUSE_AUTH_TOKEN", "from-environment")
    CliRunner().invoke(made, ["work"])
    CliRunner().invoke(made, ["work", "--token-file", str(tmp_path / "token")])
    monkeypatch.delenv("LAKEHOUSE_AUTH_TOKEN")
    CliRunner().invoke(made, ["work"])
    assert seen == ["from-environment", "from-file", None]


def _failing(error: BaseException) -> typer.Typer:
    async def work(session: Session) -> None:
        raise error

    return _app(work)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotFound("no dataset 'x'"), "NOT_FOUND"),
        (CommandError("no such thing", reason="NO_SUCH_THING", hint="try another"), "NO_SUCH_THING"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), "FILE_PROBLEM"),
        (ZeroDivisionError("division by zero"), "INTERNAL"),
    ],
)
def test_a_failure_ends_with_1_a_line_for_people_and_an_object_for_programs(error: Exception, reason: str) -> None:
    human = CliRunner().invoke(_failing(error), ["work"])
    assert human.exit_code == 1
    assert human.stdout == ""
    assert human.stderr.startswith("error: ")
    assert f"reason: {reason}" in human.stderr
    assert "Traceback" not in human.stderr
    program = CliRunner().invoke(_failing(error), ["work", "--json"])
    assert program.exit_code == 1
    assert program.stdout == ""
    assert json.loads(program.stderr)["error"]["reason"] == reason


def test_bad_fields_are_named() -> None:
    result = CliRunner().invoke(_failing(InvalidArgument.of("k", "must be at least 1")), ["work", "--json"])
    assert json.loads(result.stderr)["error"]["field_violations"] == [
        {"field": "k", "description": "must be at least 1"}
    ]


def test_a_mesh_that_does_not_answer_is_said_in_plain_words() -> None:
    error = Unavailable("failed to connect to all addresses; last error: connection refused")
    result = CliRunner().invoke(_failing(error), ["work", "--address", "localhost:4444"])
    assert "no mesh answers at localhost:4444" in result.stderr
    assert "lakehouse up" in result.stderr


def test_a_real_refused_connection_is_such_a_mesh(unused_tcp_port: int) -> None:
    result = CliRunner().invoke(app, ["datasets", "list", "--address", f"127.0.0.1:{unused_tcp_port}"])
    assert result.exit_code == 1
    assert "no mesh answers at" in result.stderr


def test_an_interrupt_ends_with_130_and_a_polite_end_with_143() -> None:
    assert CliRunner().invoke(_failing(KeyboardInterrupt()), ["work"]).exit_code == 130
    assert CliRunner().invoke(_failing(asyncio.CancelledError()), ["work"]).exit_code == 143


@pytest.mark.parametrize("words", [["datasets", "rm", "x"], ["corpus", "rm", "x"], ["objects", "rm", "x"]])
def test_nothing_is_removed_when_nobody_can_be_asked(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert "--yes" in result.stderr


def test_a_missing_package_is_named_before_anything_else() -> None:
    program = "import sys; sys.modules['orjson'] = None; from services.cli.main import run; run()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "'orjson' is missing" in done.stderr
    assert "Traceback" not in done.stderr
