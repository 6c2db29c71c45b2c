"""Stacks that outlive the terminal: start one, find it, end it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from services.runtime.errors import Unavailable
from services.supervisor import logs
from services.supervisor.state import StackState, clear_state, read_state

START_SECONDS = 120.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.1


class StackFailed(Unavailable):
    """A stack ended before it served."""

    reason = "STACK_FAILED"


def start(data: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> StackState:
    """Runs `lakehouse up` with `arguments` in a session of its own and waits until all of it serves.

    Raises StackFailed with the stack's last words.
    """
    console = logs.log_file(data, "console")
    with console.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli.main", "up", *arguments],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return _wait_until_ready(data, process, console)


def _wait_until_ready(data: Path, process: subprocess.Popen[bytes], console: Path) -> StackState:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StackFailed(_last_words(console, process.returncode), exit_code=process.returncode)
        state = read_state(data)
        if state is not None and state.owner.pid == process.pid and healthy(state):
            return state
        time.sleep(POLL_SECONDS)
    process.terminate()
    raise StackFailed(f"the stack did not serve within {START_SECONDS:.0f} s; its logs are in {console.parent}")


def _last_words(console: Path, code: int | None) -> str:
    lines = logs.last_lines(console, 5)
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return errors[-1] if errors else " ".join(lines) or f"it ended with exit code {code} and said nothing"


def healthy(state: StackState) -> bool:
    """Whether this very stack, and no other on its port, answers that all of it serves."""
    try:
        answer = httpx.get(f"http://{state.address}/health", timeout=5)
    except httpx.HTTPError:
        return False
    if answer.status_code != httpx.codes.OK:
        return False
    return all(daemon["instance_id"] == state.instance_id for daemon in answer.json()["daemons"])


def stop(data: Path, report: Callable[[str], None]) -> bool:
    """Ends the stack of a data directory; returns whether there was one."""
    state = read_state(data)
    owner = state.owner.find() if state is not None else None
    if state is None or owner is None:
        clear_state(data)
        return False
    report(f"stopping process {owner.pid} (gateway on {state.address})")
    owner.terminate()
    try:
        owner.wait(STOP_SECONDS)
    except psutil.TimeoutExpired:
        report(f"it did not stop within {STOP_SECONDS:.0f} s; ending it and what it started")
        for process in [owner, *(found for child in state.children if (found := child.find()) is not None)]:
            process.kill()
        owner.wait(STOP_SECONDS)
        clear_state(data)
    return True


def running(data: Path) -> StackState | None:
    """The stack that runs on a data directory, or None."""
    state = read_state(data) if os.path.isdir(data) else None
    return state if state is not None and state.owner.find() is not None else None
