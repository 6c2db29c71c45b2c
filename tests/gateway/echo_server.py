"""The daemon behind the edge in these tests: says back what it was told, fails as it is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

SERVICE = "echo.v1.EchoService"
PIECE = 64 << 10

Context = grpc.aio.ServicerContext[Any, Any]


def metadata_of(context: Context) -> dict[str, str]:
    """The metadata that came with a call."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def code_of(number: int) -> grpc.StatusCode:
    """The status code with a number."""
    return next(code for code in grpc.StatusCode if code.value[0] == number)


class EchoServicer:
    """Serves the test contract. `pb` is its generated module, made at test time."""

    def __init__(self, pb: ModuleType) -> None:
        self.pb = pb
        self.calls: Counter[str] = Counter()
        self.waiting, self.cancelled = asyncio.Event(), asyncio.Event()

    async def Say(self, request: Any, context: Context) -> Any:
        heard = MessageToJson(request, indent=None, preserving_proto_field_name=True)
        return self.pb.SayResponse(room=request.room, heard=heard, metadata=metadata_of(context))

    async def SayLittle(self, request: Any, context: Context) -> Any:
        self.waiting.set()
        await asyncio.sleep(request.wait)
        return self.pb.SayLittleResponse(size=len(request.text))

    async def Chat(self, request: Any, context: Context) -> Any:
        if request.fail:
            await context.abort(grpc.StatusCode.NOT_FOUND, 'no model "x\\y"')
        return self.pb.ChatResponse(model=request.model)

    async def Fail(self, request: Any, context: Context) -> Any:
        if request.late:
            await context.send_initial_metadata((("x-early", "1"),))
        status = status_pb2.Status(code=request.code, message=request.message)
        info = error_details_pb2.ErrorInfo(reason="TOLD_TO", domain="lakehouse", metadata={"field": request.field})
        status.details.add().Pack(info)
        violation = error_details_pb2.BadRequest.FieldViolation(field=request.field, description=request.message)
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        trailing: list[tuple[str, str | bytes]] = [("grpc-status-details-bin", status.SerializeToString())]
        if request.http_status:
            trailing.append(("x-lakehouse-http-status", request.http_status))
        await context.abort(code_of(request.code), request.message, tuple(trailing))

    async def Recover(self, request: Any, context: Context) -> Any:
        return self.pb.RecoverResponse(calls=await self._call(request, context))

    async def Stumble(self, request: Any, context: Context) -> Any:
        return self.pb.StumbleResponse(calls=await self._call(request, context))

    async def _call(self, request: Any, context: Context) -> int:
        self.calls[request.word] += 1
        if self.calls[request.word] <= request.failures:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet", (("retry-after", "7"),))
        return self.calls[request.word]

    async def Wait(self, request: Any, context: Context) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def Put(self, requests: AsyncIterator[Any], context: Context) -> Any:
        digest, first = hashlib.sha256(), None
        answer = self.pb.PutResponse(declared=metadata_of(context).get("x-lakehouse-content-length", ""))
        async for request in requests:
            if first is None:
                first = request
                answer.key, answer.note, answer.content_type = request.key, request.note, request.data.content_type
                if request.limit and int(answer.declared or 0) > request.limit:
                    trailing = (("x-lakehouse-http-status", "413"),)
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too large", trailing)
            digest.update(request.data.data)
            answer.size += len(request.data.data)
            answer.pieces += bool(request.data.data)
        answer.sha256 = digest.hexdigest()
        return answer

    async def Get(self, request: Any, context: Context) -> AsyncIterator[Any]:
        body = object_bytes(request.size)
        announced = (("x-lakehouse-size", str(len(body))), ("etag", hashlib.sha256(body).hexdigest()))
        await context.send_initial_metadata(announced)
        for index, start in enumerate(range(0, max(len(body), 1), PIECE)):
            if request.HasField("fail_after") and index >= request.fail_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "lost half-way")
            piece = {"content_type": "application/octet-stream", "data": body[start : start + PIECE]}
            yield self.pb.GetResponse(data=piece)

    async def Count(self, request: Any, context: Context) -> AsyncIterator[Any]:
        if request.to < 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "cannot count there")
        for number in range(request.to):
            yield self.pb.CountResponse(number=number)

    async def GetHealth(self, request: Any, context: Context) -> Any:
        return self.pb.GetHealthResponse(status="serving")


def object_bytes(size: int) -> bytes:
    """The bytes of the test object of a size."""
    return bytes(range(256)) * (size // 256) + bytes(range(size % 256))


async def serve(pb: ModuleType, add_to_server: Any) -> tuple[grpc.aio.Server, int, EchoServicer]:
    """Starts the daemon on a free port."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    servicer = EchoServicer(pb)
    add_to_server(servicer, server)
    state = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    await state.set(SERVICE, HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port, servicer


PROTO = Path(__file__).parent / "proto"
