"""What a running stack writes down about itself, so that `down` ends this stack and no other (X12).

`<data>/run/stack.json` names processes by pid and start time: a pid alone may have been given to
somebody else since. `<data>/run/lock` is held by the stack's own process as long as it lives.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from services.runtime.config import ConfigError
from services.runtime.durable import atomic_write, make_directory, remove_file


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """One process, named so that nobody else can be meant."""

    name: str
    pid: int
    started: float
    """Seconds since the epoch, as the operating system tells."""

    @classmethod
    def of(cls, name: str, pid: int) -> ProcessId:
        """Names a process that runs now."""
        return cls(name=name, pid=pid, started=psutil.Process(pid).create_time())

    def find(self) -> psutil.Process | None:
        """The process itself, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 1.0
        except psutil.Error:
            return None
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """A stack as it wrote itself down."""

    instance_id: str
    host: str
    port_base: int
    owner: ProcessId
    children: tuple[ProcessId, ...] = field(default=())

    @property
    def address(self) -> str:
        """Where the gateway listens."""
        return f"{self.host}:{self.port_base}"


def run_directory(data: Path) -> Path:
    """Where a stack keeps its own state."""
    return make_directory(data / "run")


def edge_directory(data: Path) -> Path:
    """Where Envoy's configuration and log are."""
    return make_directory(data / "edge")


def log_directory(data: Path) -> Path:
    """Where a stack's processes write their logs, one file each."""
    return make_directory(data / "logs")


def write_state(data: Path, state: StackState) -> None:
    """Writes the stack down durably, for this user only."""
    atomic_write(run_directory(data) / "stack.json", json.dumps(asdict(state), indent=1).encode(), mode=0o600)


def read_state(data: Path) -> StackState | None:
    """The stack of a data directory as it was written last; it may have ended since."""
    path = data / "run" / "stack.json"
    try:
        raw = json.loads(path.read_bytes())
        children = tuple(ProcessId(**child) for child in raw.pop("children"))
        return StackState(owner=ProcessId(**raw.pop("owner")), children=children, **raw)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(str(path), f"cannot be read ({error}); remove it when no stack runs") from error


def clear_state(data: Path) -> None:
    """Forgets a stack that has ended."""
    remove_file(data / "run" / "stack.json")


@contextmanager
def data_lock(data: Path) -> Iterator[None]:
    """Holds the data directory for one stack. Raises ConfigError when another stack has it."""
    descriptor = os.open(run_directory(data) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError("mesh.data", _held(data)) from error
        yield
    finally:
        os.close(descriptor)


def _held(data: Path) -> str:
    state = read_state(data)
    owner = f" (process {state.owner.pid}, gateway on {state.address})" if state else ""
    return f"a stack runs on {data} already{owner}; stop it with 'lakehouse down', or choose another --data"


def end_leftovers(data: Path) -> None:
    """Ends what a killed stack of this data directory left running. Call with the lock held."""
    state = read_state(data)
    if state is None:
        return
    processes = [process for child in state.children if (process := child.find()) is not None]
    for process in processes:
        process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=5)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=5)
    clear_state(data)
