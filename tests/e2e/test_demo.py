"""`lakehouse demo`, whole: it shows a lift, leaves nothing behind, and works on anybody's file."""

from __future__ import annotations

import csv
import json
import re
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx
import psutil
import pytest

from services.supervisor import detached
from services.supervisor.ports import free_port_base, is_free
from tests.e2e.conftest import COMMAND, clean_environment


def demo(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the demonstration on free ports, with a directory of its own for temporary files."""
    base = [] if "--port-base" in arguments else ["--port-base", str(free_port_base())]
    environ = {**clean_environment(), "TMPDIR": str(temporary)}
    command = [*COMMAND, "demo", *base, *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=180, check=False)


def processes_of(temporary: Path) -> list[str]:
    """Command lines of processes that work in a directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(temporary) in line and process.status() != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    """Some two hundred rows of real prose: descriptions of the packages that are installed here, cut into pieces."""
    from importlib.metadata import distributions

    path = tmp_path / "articles, 2026.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["No.", "source", "words", "piece of text"])
        number = 0
        for distribution in sorted(distributions(), key=lambda found: found.name):
            paragraphs = re.split(r"\n\s*\n", (distribution.read_text("METADATA") or ""))
            for text in [text for text in paragraphs[1:] if 100 < len(text) < 2_000 and "://" not in text][:4]:
                number += 1
                writer.writerow([number, distribution.name, len(text.split()), text])
    assert number > 50
    return path


def test_the_sample_data_show_a_lift_in_the_same_and_in_other_words_and_nothing_remains(tmp_path: Path) -> None:
    done = demo(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ingest"]["row_count"] == 10_000
    assert told["sql"][0]["rows"] == [[10_000, 16, 16]]
    assert all(zip_code.startswith("0") for _, zip_code, _ in told["sql"][2]["rows"])
    assert told["corpus"]["done"] == 10_000
    lift = told["lift"]
    assert lift["discoveries"] >= 5
    assert lift["lifted"] >= lift["discoveries"] / 2
    assert lift["recovered_in_other_words"] >= lift["discoveries"] / 2
    for trial in lift["trials"]:
        if trial["recorded"]:
            assert trial["before"]["same_words"]["rank"] != 0
            assert trial["after"]["same_words"]["rank"] is not None
    assert lift["control"]["unchanged"] is True
    assert (lift["control"]["boosted"], lift["control"]["injected"]) == (0, 0)
    assert told["seconds"] < 90
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_an_own_file_is_shown_to_people_and_the_mesh_is_kept_until_it_is_stopped(
    tmp_path: Path, articles: Path
) -> None:
    data, base = tmp_path / "kept data", free_port_base()
    own = ["--csv", str(articles), "--id", "No.", "--text", "piece of text"]
    done = demo(tmp_path, *own, "--keep", "--data", str(data), "--port-base", str(base))
    try:
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert "before → after" in done.stdout
        assert "unaffected" in done.stdout
        told, _, advice = done.stdout.partition("The mesh keeps running.")
        assert max(map(len, told.splitlines())) <= 80
        assert f"lakehouse down --data {shlex.quote(str(data))}" in advice
        search = next(shlex.split(part) for part in advice.replace("\\\n", "").splitlines() if "matrix/search" in part)
        body = search[search.index("-d") + 1]
        answer = httpx.post(search[2], content=body, headers={"content-type": "application/json"}, timeout=30)
        assert answer.json()["hits"]
    finally:
        assert detached.stop(data, lambda _: None)
    assert is_free("127.0.0.1", base)


def test_columns_must_be_named_and_the_error_helps(tmp_path: Path, articles: Path) -> None:
    done = demo(tmp_path, "--csv", str(articles), "--json")
    error = json.loads(done.stderr)
    assert (done.returncode, error["error"]["reason"]) == (1, "COLUMNS_NOT_NAMED")
    assert "--id No. --text 'piece of text'" in error["error"]["hint"]


def test_ids_that_occur_twice_are_a_clear_error_and_nothing_remains(tmp_path: Path, articles: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = demo(temporary, "--csv", str(articles), "--id", "source", "--text", "piece of text")
    assert done.returncode == 1
    assert "does not tell the" in done.stderr
    assert "DUPLICATE_IDS" in done.stderr
    assert list(temporary.iterdir()) == []
    assert processes_of(temporary) == []


def test_a_port_that_is_taken_is_named_with_its_holder(tmp_path: Path) -> None:
    base = free_port_base()
    with socket.create_server(("127.0.0.1", base)):
        done = demo(tmp_path, "--port-base", str(base))
    assert done.returncode == 1
    assert str(base) in done.stderr
    assert list(tmp_path.iterdir()) == []


def wait_for_directory(place: Path) -> None:
    """Polls, with a bound, until the demonstration has made its directory: the mesh is about to start."""
    end = time.monotonic() + 60
    while not list(place.iterdir()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("moment", ["while the mesh starts", "while the story is told"])
def test_an_interrupt_at_any_time_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    environ = {**clean_environment(), "TMPDIR": str(tmp_path)}
    command = [*COMMAND, "demo", "--port-base", str(free_port_base())]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        if moment == "while the mesh starts":
            wait_for_directory(tmp_path)
        else:
            assert b"serves at" in running.stdout.readline()
        running.send_signal(signal.SIGINT)
        running.stdout.read()
        assert running.wait(120) == 130
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []
