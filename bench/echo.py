"""The baseline of a search: the same guard and the same answer, but no work. `python -m bench.echo PORT`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any

import uvloop

import lakehouse.matrix.v1.matrix_pb2  # noqa: F401 - the service's descriptor, which its stubs do not import
from lakehouse.matrix.v1.matrix_pb2_grpc import MatrixServiceServicer, add_MatrixServiceServicer_to_server
from lakehouse.matrix.v1.search_pb2 import SearchRequest, SearchResponse

from services.runtime.auth import AuthConfig
from services.runtime.serve import DaemonServer, guarded


class Echo(MatrixServiceServicer):
    """Answers every search with one message."""

    def __init__(self, answer: SearchResponse) -> None:
        self._answer = answer

    async def Search(self, request: SearchRequest, context: Any) -> SearchResponse:
        return self._answer


async def serve(port: int, answer: bytes) -> None:
    """Serves until the process is ended."""
    auth = AuthConfig()
    servicer = Echo(SearchResponse.FromString(answer))
    handlers = guarded(partial(add_MatrixServiceServicer_to_server, servicer), auth)
    server = DaemonServer("lakehouse.matrix.v1.MatrixService", handlers, auth=auth, instance_id="echo")
    await server.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.stdin.buffer.read()))
