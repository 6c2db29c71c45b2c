"""The baseline of a search: the same guard and the same answer, but no work. `python -m bench.echo PORT SERVICE`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvloop
from google.protobuf.message import Message
from grpc import aio

import lakehouse.matrix.v1.matrix_pb2  # noqa: F401 - the service's descriptor, which its stubs do not import
from lakehouse.matrix.v1 import matrix_pb2_grpc, search_pb2
from lakehouse.vector.v1 import vector_pb2, vector_pb2_grpc

from services.runtime.auth import AuthConfig
from services.runtime.connect import connect_remote
from services.runtime.serve import DaemonServer, guarded
from services.supervisor.ports import free_port_base


class MatrixEcho(matrix_pb2_grpc.MatrixServiceServicer):
    """Answers every search with one message."""

    def __init__(self, answer: bytes) -> None:
        self._answer = search_pb2.SearchResponse.FromString(answer)

    async def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:
        return self._answer


class VectorEcho(vector_pb2_grpc.VectorServiceServicer):
    """Answers every search with one message."""

    def __init__(self, answer: bytes) -> None:
        self._answer = vector_pb2.SearchResponse.FromString(answer)

    async def Search(self, request: vector_pb2.SearchRequest, context: Any) -> vector_pb2.SearchResponse:
        return self._answer


ECHOES: dict[str, tuple[str, Callable[[bytes], Any], Callable[[Any, Any], None]]] = {
    "matrix": (
        "lakehouse.matrix.v1.MatrixService",
        MatrixEcho,
        matrix_pb2_grpc.add_MatrixServiceServicer_to_server,
    ),
    "vector": (
        "lakehouse.vector.v1.VectorService",
        VectorEcho,
        vector_pb2_grpc.add_VectorServiceServicer_to_server,
    ),
}


@asynccontextmanager
async def running(word: str, answer: Message) -> AsyncIterator[aio.Channel]:
    """A channel to an echo in a process of its own that returns `answer`; `word` is `matrix` or `vector`."""
    port = free_port_base()
    command = (sys.executable, "-m", "bench.echo", str(port), word)
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None, "asked for above"
    process.stdin.write(answer.SerializeToString())
    process.stdin.close()
    channel: aio.Channel = connect_remote(f"127.0.0.1:{port}")
    try:
        await asyncio.wait_for(channel.channel_ready(), 30)
        yield channel
    finally:
        await channel.close()
        process.terminate()
        await process.wait()


async def serve(port: int, word: str, answer: bytes) -> None:
    """Serves until the process is ended."""
    auth = AuthConfig()
    service, echo, register = ECHOES[word]
    server = DaemonServer(service, guarded(partial(register, echo(answer)), auth), auth=auth, instance_id="echo")
    await server.start("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2], sys.stdin.buffer.read()))
