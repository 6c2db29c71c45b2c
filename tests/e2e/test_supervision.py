"""Stacks begin and end as a whole, and never touch another one."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable

import httpx
import psutil
import pytest

from services.mesh import DAEMONS
from services.supervisor.ports import is_free
from services.supervisor.state import read_state
from tests.e2e.conftest import Stack, wait_until


def healthy(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.url}/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def test_a_stack_begins_answers_and_ends_without_a_trace(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.up()
    state = read_state(stack.data)
    assert state is not None
    status = stack.run("status", "--json")
    assert status.returncode == 0, status.stderr
    assert {daemon["name"] for daemon in json.loads(status.stdout)["daemons"]} == {d.name for d in DAEMONS}
    logs = stack.run("logs", "storaged")
    assert "serves on port" in logs.stdout
    stack.down()
    assert state.owner.find() is None
    assert [child for child in state.children if child.find() is not None] == []
    assert is_free("127.0.0.1", stack.port_base)
    assert "no stack runs" in stack.run("down").stdout


def test_a_taken_port_is_a_start_up_error_that_names_port_and_holder(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", stack.port_base + DAEMONS[2].offset))
        holder.listen()
        for arguments in (("up",), ("up", "--detach")):
            done = stack.run(*arguments, timeout=60)
            assert done.returncode == 1
            assert str(stack.port_base + DAEMONS[2].offset) in done.stderr
            assert str(psutil.Process().pid) in done.stderr
            assert done.stderr.count("error:") == 1


@pytest.mark.requirement("X12")
def test_a_second_stack_on_the_same_data_is_refused_and_the_first_goes_on(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.up()
    done = stack.run("up", "--port-base", str(stack.port_base + 1000))
    assert done.returncode == 1
    assert "already" in done.stderr
    assert healthy(stack)


@pytest.mark.requirement("X10")
def test_an_unknown_setting_stops_start_up_by_name(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(LAKEHOUSE_QUERY_ROW_LIMITT="5")
    done = stack.run("up")
    assert done.returncode == 1
    assert "LAKEHOUSE_QUERY_ROW_LIMITT" in done.stderr
    assert "LAKEHOUSE_QUERY_ROW_LIMIT" in done.stderr.replace("LAKEHOUSE_QUERY_ROW_LIMITT", "")


def test_a_public_bind_without_a_token_is_refused(make_stack: Callable[..., Stack]) -> None:
    for variable in ("LAKEHOUSE_EDGE_HOST", "LAKEHOUSE_MESH_HOST"):
        done = make_stack(**{variable: "0.0.0.0"}).run("up")
        assert done.returncode == 1
        assert "LAKEHOUSE_AUTH_TOKEN" in done.stderr


@pytest.mark.timeout(180)
def test_each_daemon_as_a_process_comes_back_when_it_dies(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack()
    stack.up("--mesh")
    with stack.client() as client:
        answer = client.post("/v1/ingest", params={"name": "kept"}, content=b"a,b\n1,x\n")
        assert answer.status_code == 200, answer.text
        state = read_state(stack.data)
        assert state is not None
        pids = {child.name: child.pid for child in state.children}
        assert {d.name for d in DAEMONS} < pids.keys()
        victim = psutil.Process(pids["catalogd"])
        victim.send_signal(signal.SIGKILL)
        victim.wait(10)

        def back() -> bool:
            now = read_state(stack.data)
            pid = next((child.pid for child in now.children if child.name == "catalogd"), 0) if now else 0
            return pid not in (0, pids["catalogd"]) and healthy(stack)

        wait_until(back)
        answer = client.post("/v1/sql", json={"sql": "select b from kept"})
        assert answer.json()["rows"] == [["x"]]
    assert "died" in stack.run("logs", "stack").stdout
    stack.down()
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).name() == "python" for pid in pids.values())


@pytest.mark.requirement("X4")
def test_a_guarded_mesh_lets_in_who_has_the_token(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(LAKEHOUSE_AUTH_TOKEN="open-sesame")
    stack.up()
    with stack.client() as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"authorization": "open-sesame"}, {"authorization": "Bearer wrong"}):
            answer = client.get("/v1/catalog/list", headers=headers)
            assert answer.status_code == 401
            assert answer.json()["code"] == 16
        assert client.get("/v1/catalog/list", headers={"authorization": "Bearer open-sesame"}).status_code == 200
    assert stack.run("datasets", "list").returncode == 0
    for path in [*stack.data.glob("logs/*"), *stack.data.glob("edge/*.log")]:
        assert "open-sesame" not in path.read_text(encoding="utf-8", errors="replace")
    command_lines = [" ".join(process.cmdline()) for process in stack.owner().children(recursive=True)]
    assert not any("open-sesame" in line for line in command_lines)


def test_a_foreign_address_is_denied_at_the_edge(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(LAKEHOUSE_AUTH_ALLOWLIST="203.0.113.0/24")
    done = stack.run("up", "--detach")
    assert done.returncode == 0, done.stderr
    with stack.client() as client:
        assert client.get("/health").status_code == 200
        answer = client.get("/v1/catalog/list")
        assert answer.status_code == 403
        assert answer.json()["code"] == 7
