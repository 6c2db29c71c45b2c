"""The findings of `lakehouse doctor`."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli import checks
from services.cli.app import app


def test_a_free_port_is_fine_and_a_busy_one_names_its_holder(unused_tcp_port: int) -> None:
    assert checks.ports({"gateway": unused_tcp_port}, running=False).state == "ok"
    with socket.create_server(("127.0.0.1", unused_tcp_port)):
        busy = checks.ports({"gateway": unused_tcp_port}, running=False)
        assert busy.state == "warning"
        assert str(os.getpid()) in busy.detail
        assert busy.remedy
        assert checks.ports({"gateway": unused_tcp_port}, running=True).state == "ok"


def test_a_data_directory_is_probed_and_left_alone(tmp_path: Path) -> None:
    assert checks.data_directory(tmp_path).state == "ok"
    later = checks.data_directory(tmp_path / "a" / "b")
    assert later.state == "ok"
    assert "will be made" in later.detail
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("R7")
@pytest.mark.parametrize("check", [checks.python, checks.packages, checks.faiss, checks.duckdb, checks.wordllama])
def test_what_is_installed_here_is_found(check) -> None:  # type: ignore[no-untyped-def]
    assert check().state == "ok"


def test_a_missing_package_is_a_finding_and_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_PACKAGES", ("no-such-package-anywhere",))
    found = checks.packages()
    assert found.state == "missing"
    assert "pip install no-such-package-anywhere" in found.remedy


def test_doctor_reports_an_unusable_setting_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lakehouse.toml").write_text("[mesh]\nport_bass = 4110\n")
    result = CliRunner().invoke(app, ["doctor", "--json", "--address", f"127.0.0.1:{unused_tcp_port}"])
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["ok"] is False
    bad = next(check for check in report["checks"] if check["state"] == "missing")
    assert bad["name"] == "settings"
    assert "port_base" in bad["detail"]


@pytest.mark.requirement("R7")
def test_doctor_is_content_without_a_mesh_and_says_how_to_start_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAKEHOUSE_MESH_DATA", str(tmp_path / "data"))
    result = CliRunner().invoke(app, ["doctor", "--address", f"127.0.0.1:{unused_tcp_port}"])
    assert result.exit_code == 0
    assert "lakehouse up" in result.stdout
