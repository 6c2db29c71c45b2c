"""Fixtures for end-to-end tests: real stacks as processes of their own, started by the command a user types."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from services.mesh import BY_NAME
from services.supervisor import detached
from services.supervisor.ports import free_port_base
from services.supervisor.state import read_state

COMMAND = (sys.executable, "-m", "services.cli.main")


@dataclass
class Stack:
    """A stack on a data directory of its own."""

    data: Path
    port_base: int
    environ: dict[str, str]

    @property
    def url(self) -> str:
        """The gateway."""
        return f"http://127.0.0.1:{self.port_base}"

    def address(self, name: str) -> str:
        """`host:port` of a daemon."""
        return f"127.0.0.1:{self.port_base + BY_NAME[name].offset}"

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this stack."""
        environ = {**self.environ, "LAKEHOUSE_ADDRESS": f"127.0.0.1:{self.port_base}"}
        return subprocess.run(
            [*COMMAND, *arguments], env=environ, capture_output=True, text=True, timeout=timeout, check=False
        )

    def up(self, *arguments: str) -> None:
        """Starts the stack in the background and waits until it serves."""
        done = self.run("up", "--detach", *arguments, timeout=150)
        assert done.returncode == 0, done.stderr + done.stdout

    def down(self) -> None:
        """Stops it."""
        done = self.run("down")
        assert done.returncode == 0, done.stderr

    def owner(self) -> psutil.Process:
        """The process that owns the stack."""
        state = read_state(self.data)
        assert state is not None
        return psutil.Process(state.owner.pid)

    def kill(self) -> None:
        """Kills the stack's process at once, as a crash or the kernel would."""
        process = self.owner()
        process.kill()
        process.wait(10)

    def client(self) -> httpx.Client:
        """A REST client."""
        return httpx.Client(base_url=self.url, timeout=60)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Polls, with a bound."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def clean_environment() -> dict[str, str]:
    """The environment without settings of the person who runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("LAKEHOUSE_")}


def new_stack(data: Path, **settings: str) -> Stack:
    """A stack that is not started yet; `settings` become environment variables."""
    base = free_port_base()
    environ = {**clean_environment(), "LAKEHOUSE_MESH_DATA": str(data), "LAKEHOUSE_MESH_PORT_BASE": str(base)}
    return Stack(data, base, {**environ, **settings})


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Makes stacks that are stopped after the test, whatever happened to them."""
    made: list[Stack] = []

    def make(**settings: str) -> Stack:
        made.append(new_stack(tmp_path / f"data-{len(made)}", **settings))
        return made[-1]

    yield make
    for stack in made:
        detached.stop(stack.data, lambda _: None)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests that leave it as they found it."""
    shared = new_stack(tmp_path_factory.mktemp("shared") / "data")
    shared.up()
    yield shared
    shared.down()


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    """A REST client of the shared stack."""
    with stack.client() as http:
        yield http


@pytest.fixture(scope="session")
def grpcurl() -> str:
    """The real grpcurl. Whoever lacks it skips; CI must have it."""
    found = shutil.which("grpcurl")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have grpcurl on PATH")
        pytest.skip("needs grpcurl: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest")
    return found
