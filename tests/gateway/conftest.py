"""A real Envoy in front of a small daemon, once for the whole session, and ways to call it."""

from __future__ import annotations

import asyncio
import importlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import httpx
import pytest
from google.api import http_pb2

from gateway import envoy
from gateway.envoy import Backend, EdgeConfig
from tests.gateway.echo_server import SERVICE, EchoServicer, serve

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOKEN = "s3cret-token"


@dataclass(frozen=True)
class Echo:
    """The daemon and what was generated from its contract."""

    pb: ModuleType
    stubs: ModuleType
    descriptors: bytes
    port: int
    servicer: EchoServicer


@dataclass(frozen=True)
class Running:
    """An edge that serves."""

    edge: envoy.Edge
    port: int
    directory: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def generate(out: Path) -> bytes:
    """Compiles the test contract into `out` and returns its descriptor set with imports and comments."""
    site = Path(http_pb2.__file__).parents[2]
    command = [sys.executable, "-m", "grpc_tools.protoc"]
    command += [f"-I{path}" for path in (HERE / "proto", ROOT / "proto", site)]
    described = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out / 'echo.binpb'}"]
    made = [f"--python_out={out}", f"--grpc_python_out={out}", "echo/v1/echo.proto"]
    subprocess.run([*command, *made], check=True)
    subprocess.run([*command, *described, "echo/v1/echo.proto", "google/rpc/error_details.proto"], check=True)
    return (out / "echo.binpb").read_bytes()


@pytest.fixture(scope="session")
async def echo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Echo]:
    """The daemon, serving."""
    out = tmp_path_factory.mktemp("echo")
    descriptors = generate(out)
    sys.path.insert(0, str(out))
    pb, stubs = importlib.import_module("echo.v1.echo_pb2"), importlib.import_module("echo.v1.echo_pb2_grpc")
    sys.path.remove(str(out))
    server, port, servicer = await serve(pb, stubs.add_EchoServiceServicer_to_server)
    yield Echo(pb, stubs, descriptors, port, servicer)
    await server.stop(grace=0)


async def run_edge(echo: Echo, directory: Path, **settings: Any) -> Running:
    """Starts an edge in front of the daemon."""
    config = EdgeConfig(port=free_port(), **settings)
    backend = Backend(name="echod", service=SERVICE, host="127.0.0.1", port=echo.port)
    envoy.write_files(directory, descriptors=echo.descriptors, backends=[backend], config=config)
    edge = await envoy.start(directory, config)
    await edge.wait_until_healthy()
    return Running(edge, config.port, directory)


@pytest.fixture(scope="session")
async def edge(echo: Echo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An edge that lets everybody in."""
    running = await run_edge(echo, tmp_path_factory.mktemp("edge"))
    yield running
    faults = await running.edge.admin("GET", "/stats?filter=lua.errors")
    await running.edge.stop()
    assert faults == "http.edge.lua.errors: 0\n"
    assert "edge filter" not in (running.directory / envoy.LOG_FILE).read_text()


@pytest.fixture(scope="session")
async def guarded(echo: Echo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An edge that wants a token and answers one web page's origin."""
    running = await run_edge(
        echo, tmp_path_factory.mktemp("guarded"), token=TOKEN, cors_origins=("https://console.example",)
    )
    yield running
    await running.edge.stop()


@pytest.fixture(scope="session")
async def walled(echo: Echo, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """An edge that lets in nobody who is on this machine."""
    running = await run_edge(echo, tmp_path_factory.mktemp("walled"), allowlist=("192.0.2.0/24", "2001:db8::1"))
    yield running
    await running.edge.stop()


@pytest.fixture(scope="session")
async def rest(edge: Running) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the open edge over HTTP/1.1."""
    async with httpx.AsyncClient(base_url=edge.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
async def connect(echo: Echo) -> AsyncIterator[Callable[[Running], Any]]:
    """Makes a native gRPC stub for an edge."""
    channels: list[grpc.aio.Channel] = []

    def stub(running: Running) -> Any:
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{running.port}"))
        return echo.stubs.EchoServiceStub(channels[-1])

    yield stub
    for channel in channels:
        await channel.close()


RawCall = Callable[[str, str, bytes], Awaitable[tuple[int, bytes]]]


@pytest.fixture(scope="session")
async def edge_raw(edge: Running) -> RawCall:
    """Calls the open edge with a path that no client library has touched."""

    async def call(verb: str, path: str, body: bytes) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        head = f"{verb} {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        head_bytes, _, rest = answer.partition(b"\r\n\r\n")
        return int(head_bytes.split()[1]), rest

    return call
