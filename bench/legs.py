"""One call with the whole guard, on the local leg beside the same call over a unix socket."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from grpc import aio

from lakehouse.catalog.v1.catalog_pb2 import GetVersionRequest, GetVersionResponse
from lakehouse.catalog.v1.catalog_pb2_grpc import (
    CatalogServiceServicer,
    CatalogServiceStub,
    add_CatalogServiceServicer_to_server,
)

from bench import report
from services.runtime.auth import AuthConfig
from services.runtime.connect import connect_internal
from services.runtime.local import LocalChannel
from services.runtime.serve import add_handlers, guarded

ROUNDS, CALLS = 7, 2_000


class Version(CatalogServiceServicer):
    """The smallest method there is."""

    async def GetVersion(self, request: GetVersionRequest, context: Any) -> GetVersionResponse:
        return GetVersionResponse(version=7)


async def measure() -> list[report.Row]:
    """One call of the smallest method."""
    handlers = guarded(partial(add_CatalogServiceServicer_to_server, Version()), AuthConfig())
    local, socket = [], []
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{Path(folder) / 'leg.sock'}"
        server = await _serve(handlers, address)
        async with connect_internal(address) as channel:
            for number in range(ROUNDS + 1):
                times = (await _microseconds(LocalChannel(handlers)), await _microseconds(channel))
                if number > 0:
                    local.append(times[0])
                    socket.append(times[1])
        await server.stop(None)
    return [report.at_most("local leg / unix socket, one call", local, socket, 0.10, "us")]


async def _serve(handlers: dict[str, Any], address: str) -> aio.Server:
    server = aio.server()
    add_handlers(server, handlers)
    server.add_insecure_port(address)
    await server.start()
    return server


async def _microseconds(channel: aio.Channel) -> float:
    stub, request = CatalogServiceStub(channel), GetVersionRequest()
    begin = time.perf_counter()
    for _ in range(CALLS):
        await stub.GetVersion(request)
    return (time.perf_counter() - begin) / CALLS * 1e6
