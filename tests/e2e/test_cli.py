"""Every command against a real stack behind a real Envoy, as a person or a script would use it."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from services.labs.staffing import workers, write_csv
from tests.e2e.conftest import COMMAND, Stack

ROWS = 300
CSV = "ticket_id,product,stars,zip,open,body\n" + "".join(
    f"t{i},{'kettle' if i % 2 else 'toaster'},{i % 5 + 1},{i:05d},{str(i % 3 == 0).lower()},"
    f'"The {"kettle" if i % 2 else "toaster"} number {i} arrived broken,\nplease refund order {i * 7}"\n'
    for i in range(ROWS)
)


@pytest.fixture(scope="session")
def tickets(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset and a corpus of the same name."""
    path = tmp_path_factory.mktemp("cli") / "cli tickets.csv"
    path.write_text(CSV)
    report = said(stack, "ingest", str(path), "--string", "product")
    assert (report["name"], report["row_count"], report["created"]) == ("cli tickets", ROWS, True)
    job = said(stack, "corpus", "build", "cli tickets", "--id", "ticket_id", "--text", "body")
    assert (job["state"], job["done"]) == ("succeeded", ROWS)
    return "cli tickets"


def said(stack: Stack, *arguments: str) -> Any:
    """The JSON document of a command that succeeds."""
    done = stack.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failed(stack: Stack, *arguments: str) -> Any:
    """The error of a command that fails, from its JSON form."""
    done = stack.run(*arguments, "--json")
    assert (done.returncode, done.stdout) == (1, "")
    return json.loads(done.stderr)["error"]


def piped(stack: Stack, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command with something on its standard input."""
    environ = {**stack.environ, "LAKEHOUSE_ADDRESS": f"127.0.0.1:{stack.port_base}"}
    command = [*COMMAND, *arguments]
    return subprocess.run(command, env=environ, input=text, capture_output=True, text=True, timeout=60, check=False)


def test_status_names_every_daemon(stack: Stack) -> None:
    health = said(stack, "status")
    assert health["status"] == "serving"
    assert {"storaged", "matrixd"} <= {daemon["name"] for daemon in health["daemons"]}
    assert "storaged" in stack.run("status").stdout


def test_an_ingest_report_for_people_lists_columns_and_personal_data(stack: Stack, tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    write_csv(path, workers(50))
    done = stack.run("ingest", str(path), "--name", "cli people")
    assert "50 rows, 18 columns" in done.stdout
    assert "phone" in done.stdout
    assert "\x1b" not in done.stdout
    again = stack.run("ingest", str(path), "--name", "cli people")
    assert "unchanged" in again.stdout


def test_a_file_can_come_through_a_pipe_and_be_added_to(stack: Stack) -> None:
    assert piped(stack, "a,b\n1,x\n", "ingest", "-", "--name", "cli pipe").returncode == 0
    more = piped(stack, "a,b\n2,y\n", "ingest", "-", "--name", "cli pipe", "--append", "--json")
    assert json.loads(more.stdout)["dataset_row_count"] == 2
    assert said(stack, "sql", 'SELECT b FROM "cli pipe" ORDER BY a')["rows"] == [["x"], ["y"]]


def test_sql_answers_the_document_of_the_rest_interface(stack: Stack, tickets: str) -> None:
    statement = (
        f"SELECT count(*) AS n, 9007199254740993 AS big, 0.1::FLOAT AS f, DATE '2026-01-02' AS d, "
        f"1.50::DECIMAL(5,2) AS c, [1, 2] AS l, {{'x': 1}} AS s, 'nan'::DOUBLE AS bad, "
        f"INTERVAL 14 MONTH AS i, NULL AS nothing, "
        f"TIMESTAMP '2026-01-02 03:04:05.60' AS t, '\\xAB'::BLOB AS b, true AS yes FROM \"{tickets}\""
    )
    with stack.client() as http:
        expected = http.post("/v1/sql", json={"sql": statement}).json()
    assert said(stack, "sql", statement) == expected


def test_sql_gives_every_row_as_csv_and_the_first_ones_to_people(stack: Stack, tickets: str) -> None:
    statement = "SELECT range AS n FROM range(25000)"
    rows = list(csv.reader(io.StringIO(stack.run("sql", statement, "--csv").stdout, newline="")))
    assert rows[0] == ["n"]
    assert [int(value) for (value,) in rows[1:]] == list(range(25_000))
    shown = stack.run("sql", statement).stdout
    assert "there are more" in shown
    assert len(shown.splitlines()) < 60
    assert piped(stack, statement, "sql", "-", "--limit", "3").stdout.count("\n") < 10


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["sql", "SELECT * FROM nosuch"], "UNKNOWN_TABLE"),
        (["sql", "DROP TABLE x"], "STATEMENT_NOT_ALLOWED"),
        (["datasets", "show", "nosuch"], "DATASET_NOT_FOUND"),
        (["search", "x", "--corpus", "nosuch"], "CORPUS_NOT_FOUND"),
        (["jobs", "show", "nosuch"], "JOB_NOT_FOUND"),
        (["jobs", "watch", "nosuch"], "JOB_NOT_FOUND"),
        (["objects", "get", "no/such", "-o", "/dev/null"], "OBJECT_NOT_FOUND"),
        (["corpus", "build", "cli x", "--dataset", "nosuch", "--id", "a", "--text", "b"], "DATASET_NOT_FOUND"),
        (["playbook", "rm", "nosuch"], "PLAYBOOK_NOT_FOUND"),
        (["ingest", "/no/such/file.csv"], "FILE_PROBLEM"),
    ],
)
def test_a_failure_has_a_reason_and_a_message(stack: Stack, arguments: list[str], reason: str) -> None:
    error = failed(stack, *arguments)
    assert error["reason"] == reason
    assert error["message"]


def test_datasets_are_listed_shown_and_removed(stack: Stack, tickets: str) -> None:
    assert tickets in {dataset["name"] for dataset in said(stack, "datasets", "list")["datasets"]}
    manifest = said(stack, "datasets", "show", tickets)
    types = {column["name"]: column["type"] for column in manifest["columns"]}
    assert (types["zip"], types["stars"], types["product"]) == ("string", "int64", "string")
    assert "ticket_id" in stack.run("datasets", "show", tickets).stdout
    assert piped(stack, "a\n1\n", "ingest", "-", "--name", "cli gone").returncode == 0
    assert said(stack, "datasets", "rm", "cli gone", "--yes")["manifest"]["name"] == "cli gone"
    assert failed(stack, "datasets", "show", "cli gone")["reason"] == "DATASET_NOT_FOUND"


def test_search_filters_on_metadata_and_shows_distances(stack: Stack, tickets: str) -> None:
    conditions = ["--filter", "product=kettle", "--filter", "stars>=4", "--filter", "open=true"]
    answer = said(stack, "search", "broken kettle", "-c", tickets, "-k", "50", *conditions)
    assert answer["hits"]
    for hit in answer["hits"]:
        metadata = hit["metadata"]
        assert (metadata["product"], metadata["open"]) == ("kettle", True)
        assert metadata["stars"] >= 4
    shown = stack.run("search", "broken kettle", "-c", tickets, "-k", "3").stdout
    assert answer["hits"][0]["id"][0] == "t"
    assert "distance" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_recorded_answer_comes_first_and_says_why_until_it_is_taken_back(stack: Stack, tickets: str) -> None:
    question, playbook = "the kettle came in pieces", f"cli {uuid.uuid4().hex}"
    cold = said(stack, "search", question, "-c", tickets, "-k", "20")
    answer = cold["hits"][9]["id"]
    recorded = said(stack, "playbook", "record", question, answer, "-c", tickets, "--playbook-name", playbook)
    warm = said(stack, "search", question, "-c", tickets, "-k", "20", "--playbook-name", playbook, "--explain")
    assert warm["hits"][0]["id"] == answer
    assert warm["hits"][0]["explanation"]["cold_rank"] == 9
    shown = stack.run("search", question, "-c", tickets, "--playbook-name", playbook, "--explain").stdout
    assert "was #10" in shown
    listed = said(stack, "playbook", "list", "--playbook-name", playbook)["playbooks"]
    assert [entry["answer_id"] for entry in listed] == [answer]
    said(stack, "playbook", "rm", recorded["playbook_id"][:10], "--playbook-name", playbook)
    after = said(stack, "search", question, "-c", tickets, "-k", "20", "--playbook-name", playbook)
    assert [hit["id"] for hit in after["hits"]] == [hit["id"] for hit in cold["hits"]]


def test_corpora_and_their_jobs_are_listed_and_removed(stack: Stack, tickets: str) -> None:
    build = ["corpus", "build", "cli short", "--dataset", tickets, "--id", "ticket_id"]
    job = said(stack, *build, "--template", "{product} with {stars} stars", "--detach")
    assert said(stack, "jobs", "watch", job["id"])["state"] == "succeeded"
    assert said(stack, "jobs", "cancel", job["id"])["state"] == "succeeded"
    assert job["id"] in {listed["id"] for listed in said(stack, "jobs", "list")["jobs"]}
    assert {"cli short", tickets} <= {corpus["name"] for corpus in said(stack, "corpus", "list")["corpora"]}
    assert "cli short" in stack.run("corpus", "show", "cli short").stdout
    assert said(stack, "corpus", "rm", "cli short", "--yes")["deleted"] == ROWS
    assert failed(stack, "corpus", "show", "cli short")["reason"] == "INDEX_NOT_FOUND"


def test_objects_go_in_and_come_out_unchanged(stack: Stack, tmp_path: Path) -> None:
    source, copy = tmp_path / "source.bin", tmp_path / "copy.bin"
    source.write_bytes(os.urandom(3 << 20))
    key = f"cli/{uuid.uuid4().hex} ü.bin"
    assert said(stack, "objects", "put", str(source), key)["created"] is True
    assert said(stack, "objects", "put", str(source), key)["created"] is False
    assert stack.run("objects", "put", str(source), key, "--create-only").returncode == 1
    assert [item["key"] for item in said(stack, "objects", "ls", "cli/")["objects"]] == [key]
    said(stack, "objects", "get", key, "--output", str(copy))
    assert copy.read_bytes() == source.read_bytes()
    said(stack, "objects", "get", key, "--output", os.devnull)
    assert Path(os.devnull).is_char_device()
    assert said(stack, "objects", "rm", key, "--yes")["deleted"] is True
    failed(stack, "objects", "get", key, "--output", str(tmp_path / "none"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.bin", "source.bin"]


def test_an_empty_file_is_an_object_too(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert said(stack, "objects", "put", str(tmp_path / "empty"), "cli-empty")["object"]["size"] == "0"
    said(stack, "objects", "get", "cli-empty", "--output", str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == b""
    said(stack, "objects", "rm", "cli-empty", "--yes")


def test_doctor_is_content_beside_a_running_mesh(stack: Stack) -> None:
    report = said(stack, "doctor")
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert report["ok"] is True
    assert (states["mesh"], states["ports"], states["Envoy"]) == ("ok", "ok", "ok")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_that_waits_can_be_interrupted(stack: Stack, number: signal.Signals, code: int) -> None:
    environ = {**stack.environ, "LAKEHOUSE_ADDRESS": f"127.0.0.1:{stack.port_base}"}
    reading, writing = os.pipe()
    arguments = [*COMMAND, "ingest", "-", "--name", f"cli never {code}"]
    with subprocess.Popen(
        arguments, env=environ, stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as waiting:
        os.close(reading)
        # A first piece is read as soon as the upload runs; the pipe stays open, so it can only wait then.
        os.write(writing, b"a,b\n" + b"1,2\n" * 20_000)
        waiting.send_signal(number)
        assert waiting.wait(30) == code
        os.close(writing)
    assert failed(stack, "datasets", "show", f"cli never {code}")["reason"] == "DATASET_NOT_FOUND"


def test_whoever_reads_no_further_ends_the_command_quietly(stack: Stack) -> None:
    environ = {**stack.environ, "LAKEHOUSE_ADDRESS": f"127.0.0.1:{stack.port_base}"}
    arguments = [*COMMAND, "sql", "SELECT * FROM range(3000000)", "--csv"]
    with subprocess.Popen(arguments, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline() == b"range\n"
        command.stdout.close()
        assert command.wait(60) == 141
        assert command.stderr.read() == b""


def test_a_token_is_shown_from_a_file_and_never_on_the_command_line(tmp_path: Path, make_stack: Any) -> None:
    guarded: Stack = make_stack(LAKEHOUSE_AUTH_TOKEN="secret-word-1")
    guarded.up()
    assert said(guarded, "datasets", "list")["datasets"] == []
    stranger = Stack(guarded.data, guarded.port_base, {**guarded.environ, "LAKEHOUSE_AUTH_TOKEN": "wrong"})
    error = failed(stranger, "datasets", "list")
    assert error["reason"] == "UNAUTHENTICATED"
    assert "secret-word-1" not in json.dumps(error)
    (tmp_path / "token").write_text("secret-word-1\n")
    assert said(stranger, "--token-file", str(tmp_path / "token"), "datasets", "list")["datasets"] == []
    assert said(stranger, "status")["status"] == "serving"
