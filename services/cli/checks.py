"""The checks of `lakehouse doctor`. Each imports what it looks at, so that a missing package is a finding."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_PYTHON = ((3, 11), (3, 14))
_PACKAGES = ("grpcio", "protobuf", "pyarrow", "numpy", "httpx", "orjson", "psutil", "python-multipart", "uvloop")
_ROOM = 2 << 30
_MEMORY = 1 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One finding."""

    name: str
    state: str
    """`ok`, `warning` (it runs all the same) or `missing` (essential)."""
    detail: str
    remedy: str = ""
    """What to do about it."""


def local_checks(*, running: bool) -> list[Check]:
    """Looks at this machine; some 0.3 seconds. `running` says that a mesh answers, so its ports may be held."""
    checks = [python(), *(_guarded(name, check) for name, check in _ESSENTIAL)]
    return [*checks, *_settings_and_places(running)]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except ImportError as error:
        return Check(name, "missing", str(error), "pip install . in the application's environment")
    except Exception as error:
        return Check(name, "missing", f"{type(error).__name__}: {error}", "reinstall the application's packages")


def python() -> Check:
    """The interpreter's release."""
    low, high = _PYTHON
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if low <= sys.version_info[:2] < high:
        return Check("Python", "ok", found)
    return Check("Python", "missing", found, f"use Python {low[0]}.{low[1]} up to, not including, {high[0]}.{high[1]}")


def packages() -> Check:
    """The packages without which nothing starts."""
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", "missing", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Check("packages", "ok", ", ".join(versions))


def envoy() -> Check:
    """The gateway's program, run once to ask for its release."""
    from gateway.envoy import EnvoyNotFound, find_envoy

    try:
        path = find_envoy()
    except EnvoyNotFound as error:
        return Check("Envoy", "missing", "not found", str(error))
    answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True)
    release = next((part for part in answer.stdout.split("/") if part[:1].isdigit()), "unknown release")
    return Check("Envoy", "ok", f"{release}, {path}")


def faiss() -> Check:
    """The vector search, with a search."""
    numpy, library = importlib.import_module("numpy"), importlib.import_module("faiss")
    index = library.IndexHNSWFlat(4, 8)
    index.add(numpy.eye(4, dtype=numpy.float32))
    _, ids = index.search(numpy.eye(4, dtype=numpy.float32)[2:3], 1)
    if ids[0][0] != 2:
        return Check("FAISS", "missing", "a search gave a wrong answer", "reinstall faiss-cpu")
    return Check("FAISS", "ok", f"{library.__version__}, a search works")


def duckdb() -> Check:
    """The SQL engine, with a statement."""
    library = importlib.import_module("duckdb")
    library.connect().execute("SELECT 42").fetchall()
    return Check("DuckDB", "ok", f"{library.__version__}, a statement works")


def wordllama() -> Check:
    """The embedding model that ships with its package, loaded and used without a network."""
    library = importlib.import_module("wordllama")
    folder = Path(str(library.__file__)).parent
    model = library.WordLlama.load(cache_dir=folder, disable_download=True)
    dimension = model.embed(["hello"]).shape[1]
    version = importlib.metadata.version("wordllama")
    return Check("embedding model", "ok", f"wordllama {version}, {dimension} dimensions, loaded without a network")


_ESSENTIAL: tuple[tuple[str, Callable[[], Check]], ...] = (
    ("packages", packages),
    ("Envoy", envoy),
    ("FAISS", faiss),
    ("DuckDB", duckdb),
    ("embedding model", wordllama),
)


def _settings_and_places(running: bool) -> list[Check]:
    from services.mesh import DAEMONS, GATEWAY_OFFSET, MESHD_OFFSET, MeshConfig
    from services.runtime.config import FILE_NAME, ConfigError, Settings
    from services.supervisor.processes import config_path
    from services.supervisor.stack import ALL_SECTIONS

    path = config_path(os.environ)
    try:
        settings = Settings.load(ALL_SECTIONS, path=path, environ=os.environ)
        for name, section in ALL_SECTIONS.items():
            settings.section(name, section)
    except ConfigError as error:
        return [Check("settings", "missing", str(error), "mend the setting; docs/settings.md lists them all")]
    chosen = path or Path(FILE_NAME)
    found = str(chosen) if chosen.exists() else "no lakehouse.toml, defaults and environment"
    config = settings.section("mesh", MeshConfig)
    offsets = {"gateway": GATEWAY_OFFSET, "meshd": MESHD_OFFSET, **{d.name: d.offset for d in DAEMONS}}
    wanted = {name: config.port_base + offset for name, offset in offsets.items()}
    return [Check("settings", "ok", found), ports(wanted, running), data_directory(config.data), memory()]


def ports(wanted: dict[str, int], running: bool) -> Check:
    """Whether the ports are free, or who holds them. `wanted` maps what listens to its port."""
    import psutil

    busy = {port: name for name, port in wanted.items() if _listening(port)}
    span = f"{min(wanted.values())} to {max(wanted.values())}"
    if not busy:
        return Check("ports", "ok", f"{span} are free")
    if running:
        return Check("ports", "ok", f"{span}: held by the mesh that runs")
    listening = (found for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN)
    holders = {found.laddr.port: found.pid for found in listening if found.laddr}
    said = [f"{port} ({name}) by {_process(holders.get(port))}" for port, name in sorted(busy.items())]
    remedy = "stop that program, or choose other ports: lakehouse up --port-base 4110"
    return Check("ports", "warning", f"held: {', '.join(said)}", remedy)


def _listening(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _process(pid: int | None) -> str:
    import psutil

    if pid is None:
        return "another user's program"
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"


def data_directory(path: Path) -> Check:
    """Whether the data directory can be written, and how much room it has."""
    nearest = path if path.is_dir() else next(parent for parent in path.absolute().parents if parent.is_dir())
    try:
        # A probe that is gone at once, no state.
        with tempfile.NamedTemporaryFile(dir=nearest):
            free = shutil.disk_usage(nearest).free
    except OSError as error:
        remedy = "mend its permissions, or choose another: lakehouse up --data DIRECTORY"
        return Check("data directory", "missing", f"{path} cannot be written: {error.strerror}", remedy)
    detail = f"{path}{'' if path.is_dir() else ' (will be made)'}, {free / 2**30:,.1f} GiB free"
    if free < _ROOM:
        return Check("data directory", "warning", detail, "make room, or choose another disk with --data")
    return Check("data directory", "ok", detail)


def memory() -> Check:
    """How much memory is left for data."""
    import psutil

    free = psutil.virtual_memory().available
    detail = f"{free / 2**30:,.1f} GiB available, {os.cpu_count()} processors"
    if free < _MEMORY:
        return Check("memory", "warning", detail, "large corpora need more; close something")
    return Check("memory", "ok", detail)
