"""One log file for each daemon, also when all of them share a process."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

from services.mesh import BY_NAME
from services.runtime.telemetry import JsonFormatter, current_call
from services.supervisor.state import edge_directory, log_directory

STACK = "stack"
EDGE = "envoy"
MAX_BYTES = 16 << 20
BACKUPS = 3

NAMES = (*BY_NAME, "meshd", EDGE, STACK)


def log_file(data: Path, name: str) -> Path:
    """The log of a daemon, of Envoy, or of the stack itself."""
    directory = edge_directory(data) if name == EDGE else log_directory(data)
    return directory / f"{name}.log"


class DaemonLogs(logging.Handler):
    """Routes a record to the log of the daemon it belongs to: by its logger, else by the call that runs."""

    def __init__(self, data: Path, default: str = STACK) -> None:
        super().__init__()
        self._data = data
        self._default = default
        self._files: dict[str, RotatingFileHandler] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one line."""
        name = owner(record) or self._default
        if name not in self._files:
            file = RotatingFileHandler(log_file(self._data, name), maxBytes=MAX_BYTES, backupCount=BACKUPS)
            file.setFormatter(JsonFormatter())
            self._files[name] = file
        self._files[name].emit(record)

    def close(self) -> None:
        """Closes every file."""
        for file in self._files.values():
            file.close()
        super().close()


def owner(record: logging.LogRecord) -> str | None:
    """The daemon a record belongs to."""
    parts = record.name.split(".")
    if len(parts) > 1 and parts[0] == "services" and parts[1] in NAMES:
        return parts[1]
    call = current_call()
    # "/lakehouse.storage.v1.StorageService/PutObject" belongs to storaged.
    word = call.method.split(".")[1] + "d" if call is not None and call.method.count(".") >= 3 else ""
    return word if word in NAMES else None


def configure(data: Path, level: str, *, default: str = STACK) -> None:
    """Sends every log line of this process to the files of `data`."""
    logging.basicConfig(level=level.upper(), handlers=[DaemonLogs(data, default)], force=True)


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines of a log."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.readlines()
    return [line.rstrip("\n") for line in lines[-count:]]


def follow(path: Path, wait: float = 0.25) -> Iterator[str]:
    """Yields lines as they are written, for ever; survives rotation."""
    while True:
        if not path.exists():
            time.sleep(wait)
            continue
        with path.open(encoding="utf-8", errors="replace") as file:
            inode = path.stat().st_ino
            file.seek(0, 2)
            while path.exists() and path.stat().st_ino == inode:
                line = file.readline()
                if line:
                    yield line.rstrip("\n")
                else:
                    time.sleep(wait)
