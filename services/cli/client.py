"""The mesh as the command line sees it: one gRPC channel through the gateway, and a stub for each daemon."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf.message import Message
from grpc import aio

from lakehouse.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from lakehouse.embed.v1.embed_pb2_grpc import EmbedServiceStub
from lakehouse.ingest.v1.ingest_pb2_grpc import IngestServiceStub
from lakehouse.matrix.v1.matrix_pb2_grpc import MatrixServiceStub
from lakehouse.mesh.v1.mesh_pb2_grpc import MeshServiceStub
from lakehouse.query.v1.query_pb2_grpc import QueryServiceStub
from lakehouse.storage.v1.storage_pb2_grpc import StorageServiceStub
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from services.runtime.connect import connect_remote

DEFAULT_TIMEOUT = 60.0


class Client:
    """Stubs over one channel. Their calls raise ServiceError."""

    def __init__(self, channel: aio.Channel, *, timeout: float | None) -> None:
        self.timeout = DEFAULT_TIMEOUT if timeout is None else timeout
        """Seconds for a call that is answered at once."""
        self.patience = timeout
        """Seconds for uploads and streamed answers, which have no limit unless one was asked for."""
        self.storage = StorageServiceStub(channel)
        self.catalog = CatalogServiceStub(channel)
        self.ingest = IngestServiceStub(channel)
        self.query = QueryServiceStub(channel)
        self.vector = VectorServiceStub(channel)
        self.embed = EmbedServiceStub(channel)
        self.matrix = MatrixServiceStub(channel)
        self.mesh = MeshServiceStub(channel)


@asynccontextmanager
async def connected(address: str, *, token: str | None, timeout: float | None) -> AsyncIterator[Client]:
    """Yields a client of the gateway at `host:port`. No connection is made before the first call."""
    channel = connect_remote(address, token=token)
    try:
        yield Client(channel, timeout=timeout)
    finally:
        await channel.close()


async def pages(method: Any, request: Message, *, timeout: float) -> AsyncIterator[Any]:
    """Yields every page of a List method, from the one that `request` names on."""
    while True:
        page = await method(request, timeout=timeout)
        yield page
        if not page.next_page_token:
            return
        setattr(request, "page_token", page.next_page_token)  # noqa: B010 - every List request has the field
