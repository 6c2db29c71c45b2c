"""gRPC face of ingestd: a stream of bytes in, a registered dataset out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.api import httpbody_pb2

from lakehouse.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from lakehouse.ingest.v1 import ingest_pb2, ingest_pb2_grpc
from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.ingestd.config import IngestConfig
from services.ingestd.conversion import Converted, convert
from services.ingestd.dataset import Column, dataset_name, object_key
from services.ingestd.parquet import RowGroups
from services.ingestd.scratch import Folder, Scratch
from services.ingestd.source import Options
from services.ingestd.upload import PIECE_BYTES, Received, Upload
from services.runtime.errors import AlreadyExists, InvalidArgument
from services.runtime.threads import Threads

Context = Any  # grpc.aio.ServicerContext, or the local leg's

DECLARED_SIZE_KEY = "x-lakehouse-content-length"
CONTENT_TYPE = "application/vnd.apache.parquet"
PRIMARY = "primary"


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """Turns files into datasets. Receiving never waits for a conversion."""

    def __init__(
        self,
        *,
        config: IngestConfig,
        data: Path,
        storage: storage_pb2_grpc.StorageServiceStub,
        catalog: catalog_pb2_grpc.CatalogServiceStub,
    ) -> None:
        """Keeps nothing but scratch, in `data/scratch`."""
        self._config = config
        self._data = data
        self._storage = storage
        self._catalog = catalog
        self._groups = RowGroups(rows=config.row_group_rows, bytes=config.row_group_bytes)
        self._files = Threads("ingestd-files", 8)
        self._conversions = Threads("ingestd-convert", config.max_conversions)

    async def start(self) -> None:
        """Clears what an interrupted run left."""
        self._scratch = await self._files.run(Scratch, self._data / "scratch")

    async def close(self) -> None:
        """Waits for running conversions."""
        self._conversions.close()
        self._files.close()

    async def Ingest(
        self, requests: AsyncIterator[ingest_pb2.IngestRequest], context: Context
    ) -> ingest_pb2.IngestResponse:
        first = await anext(requests, ingest_pb2.IngestRequest())
        name = dataset_name(first.name)
        if first.bucket:
            # An unknown bucket is said before the file is sent, not after.
            await self._storage.GetBucket(storage_pb2.GetBucketRequest(bucket=first.bucket))
        async with self._folder() as folder:
            declared = _declared_size(first, dict(context.invocation_metadata()))
            received = await self._receive(first, requests, folder, declared)
            options = Options(string_columns=tuple(first.string_columns), delimiter=first.delimiter)
            converted = await self._conversions.run(
                convert, folder, format_name=first.format, options=options, groups=self._groups
            )
            stored = _data_object(name, first.bucket or PRIMARY, converted)
            await self._store(stored, folder)
        lineage = _lineage(first, received, converted)
        registered = await self._catalog.RegisterDataset(_registration(name, first.mode, stored, converted, lineage))
        return _response(registered, stored, received, converted)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Folder]:
        folder = self._scratch.open()
        try:
            yield folder
        finally:
            await self._files.run(folder.close)

    async def _receive(
        self,
        first: ingest_pb2.IngestRequest,
        rest: AsyncIterator[ingest_pb2.IngestRequest],
        folder: Folder,
        declared: int | None,
    ) -> Received:
        limit = self._config.max_ingest_bytes
        upload = Upload(folder, content_type=first.data.content_type, limit=limit, declared=declared)
        if upload.add(first.data.data):
            await self._files.run(upload.flush)
        async for request in rest:
            if upload.add(request.data.data):
                await self._files.run(upload.flush)
        return await self._files.run(upload.finish)

    async def _store(self, stored: catalog_pb2.DataObject, folder: Folder) -> None:
        try:
            await self._storage.PutObject(self._pieces(stored, folder))
        except AlreadyExists:
            return  # The key says what the bytes are, so they are there already (I6).

    async def _pieces(
        self, stored: catalog_pb2.DataObject, folder: Folder
    ) -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(
            bucket=stored.bucket, key=stored.key, create_only=True, size=stored.size, content_type=CONTENT_TYPE
        )
        with await self._files.run(folder.converted.open, "rb") as file:
            while data := await self._files.run(file.read, PIECE_BYTES):
                yield storage_pb2.PutObjectRequest(data=httpbody_pb2.HttpBody(data=data))


def _declared_size(first: ingest_pb2.IngestRequest, metadata: Mapping[str, str]) -> int | None:
    if first.HasField("size"):
        return first.size
    given = metadata.get(DECLARED_SIZE_KEY)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()):
        raise InvalidArgument.of(DECLARED_SIZE_KEY, f"must be a number of bytes, is {given!r}")
    return int(given)


def _data_object(name: str, bucket: str, converted: Converted) -> catalog_pb2.DataObject:
    written = converted.written
    return catalog_pb2.DataObject(
        bucket=bucket,
        key=object_key(name, converted.schema_fingerprint, written.sha256),
        size=written.size,
        sha256=written.sha256,
        row_count=written.row_count,
    )


def _lineage(first: ingest_pb2.IngestRequest, received: Received, converted: Converted) -> catalog_pb2.Lineage:
    return catalog_pb2.Lineage(
        source_system=converted.format,
        source=first.file_name or received.file_name,
        ingested_by="ingestd",
        source_sha256=received.sha256,
    )


def _registration(
    name: str, mode: str, stored: catalog_pb2.DataObject, converted: Converted, lineage: catalog_pb2.Lineage
) -> catalog_pb2.RegisterDatasetRequest:
    return catalog_pb2.RegisterDatasetRequest(
        name=name,
        schema_fingerprint=converted.schema_fingerprint,
        columns=[_column(column) for column in converted.columns],
        objects=[stored],
        mode=mode,
        lineage=lineage,
    )


def _column(column: Column) -> catalog_pb2.Column:
    return catalog_pb2.Column(
        name=column.name, type=column.type, pii=column.pii, sensitivity=column.sensitivity, scale=column.scale
    )


def _response(
    registered: catalog_pb2.RegisterDatasetResponse,
    stored: catalog_pb2.DataObject,
    received: Received,
    converted: Converted,
) -> ingest_pb2.IngestResponse:
    return ingest_pb2.IngestResponse(
        dataset_id=registered.manifest.dataset_id,
        name=registered.manifest.name,
        row_count=stored.row_count,
        schema_fingerprint=converted.schema_fingerprint,
        columns=[
            ingest_pb2.IngestedColumn(name=column.name, type=column.type, pii=column.pii, widened=column.widened)
            for column in converted.columns
        ],
        bucket=stored.bucket,
        key=stored.key,
        bytes_received=received.size,
        bytes_written=stored.size,
        created=registered.created,
        changed=registered.changed,
        dataset_row_count=registered.manifest.row_count,
    )
