"""The invariants of docs/ARCHITECTURE.md, each as a check on the source."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.mesh import DAEMONS

ROOT = Path(__file__).resolve().parents[2]
DAEMON_FOLDERS = [ROOT / "services" / daemon.name for daemon in DAEMONS] + [ROOT / "services" / "meshd"]
SOURCES = sorted([*(ROOT / "services").rglob("*.py"), *(ROOT / "gateway").rglob("*.py")])


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", DAEMON_FOLDERS, ids=lambda folder: folder.name)
def test_a_daemon_imports_no_other_daemon(folder: Path) -> None:
    allowed = (f"services.{folder.name}", "services.runtime")
    for path in folder.rglob("*.py"):
        for name in imports(path):
            assert not name.startswith("services.") or name.startswith(allowed), f"{path.name} imports {name}"
            assert not name.startswith("gateway"), f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", DAEMON_FOLDERS, ids=lambda folder: folder.name)
def test_only_the_servicer_of_a_daemon_knows_grpc(folder: Path) -> None:
    for path in folder.rglob("*.py"):
        if path.name != "servicer.py":
            for name in imports(path):
                assert name.partition(".")[0] != "grpc", f"{path.name} imports {name}"
                assert "_pb2_grpc" not in name, f"{path.name} imports {name}"


def test_the_runtime_knows_no_daemon() -> None:
    names = {daemon.name for daemon in DAEMONS}
    for path in (ROOT / "services" / "runtime").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not any(re.search(rf"\b{name}\b", text) for name in names), path.name
        for name in imports(path):
            assert not name.startswith("services.") or name.startswith("services.runtime"), (
                f"{path.name} imports {name}"
            )


def test_no_daemon_knows_staffing() -> None:
    words = re.compile(r"staffing|\bworkers?_profile|forklift|recruit", re.IGNORECASE)
    for folder in [*DAEMON_FOLDERS, ROOT / "services" / "runtime", ROOT / "gateway"]:
        for path in folder.rglob("*.py"):
            assert not words.search(path.read_text(encoding="utf-8")), path


def test_sql_text_is_built_in_modules_named_sql_only() -> None:
    statement = re.compile(r"\b(SELECT|INSERT|CREATE|DROP|DELETE FROM|UPDATE|COPY)\b\s")
    for path in SOURCES:
        if path.name == "sql.py" or {"labs", "cli"} & set(path.parts):
            continue  # clients send statements like any user
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
                assert not statement.search(text), f"{path.relative_to(ROOT)}:{node.lineno} builds SQL"


def test_files_and_functions_stay_small() -> None:
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 400, f"{path.relative_to(ROOT)} has over 400 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                # From the first statement: the options of a command line are a table, not code.
                length = node.end_lineno - node.body[0].lineno + 1
                assert length <= 60, f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {length} lines"


def test_nothing_committed_names_a_package_registry() -> None:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    hosts = re.compile(
        "|".join(re.escape(host) for host in ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org"))
    )
    for name in listing.splitlines():
        path = ROOT / name
        if path.is_file() and path.suffix not in (".binpb", ".png", ".parquet"):
            assert not hosts.search(path.read_text(encoding="utf-8", errors="replace")), name
