"""The commands in README.md work as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import Stack

ROOT = Path(__file__).resolve().parents[2]


def shell_block() -> str:
    """The one block of shell commands."""
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(block)


def test_the_commands_by_hand_work(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = make_stack()
    # The same words, on ports and with a data directory of this test's own.
    script = "set -e\n" + shell_block().replace(":3110", f":{stack.port_base}").replace("$PWD/", f"{ROOT}/")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**stack.environ, "PATH": path, "LAKEHOUSE_ADDRESS": f"127.0.0.1:{stack.port_base}"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"row_count":3' in done.stdout.replace(" ", "")
    assert '[["billing",1],["parcels",2]]' in done.stdout.replace(" ", "")
    assert "T-3" in done.stdout
    assert "stopped" in done.stdout


def test_the_make_targets_of_the_readme_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\$ make (\w+)", readme, re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets == {"demo", "test"}
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_every_file_the_docs_link_to_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
