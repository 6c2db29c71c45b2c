"""storaged on the wire: messages in, engine calls, messages out. The rules are in the engines."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from google.api import httpbody_pb2
from google.protobuf import timestamp_pb2

from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.runtime.auth import LOCAL_PEER
from services.runtime.errors import InvalidArgument
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.telemetry import INTERNAL_KEY
from services.runtime.threads import Threads
from services.storaged.backend import ObjectInfo, Stored
from services.storaged.buckets import PRIMARY, Bucket, Buckets
from services.storaged.config import StorageConfig
from services.storaged.filestore import FileBackend
from services.storaged.limits import Caps, UploadSlots
from services.storaged.transfers import Download, Upload, UploadRequest

DECLARED_SIZE_KEY = "x-lakehouse-content-length"
SIZE_KEY = "x-lakehouse-size"
CREATE_ONLY_KEY = "if-none-match"
DEFAULT_CONTENT_TYPE = "application/octet-stream"

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class StorageServicer(storage_pb2_grpc.StorageServiceServicer):
    """Serves objects in buckets. Reads and writes have threads of their own, so neither starves the other."""

    def __init__(self, *, config: StorageConfig, data: Path) -> None:
        self._config = config
        self._data = data
        self._caps = Caps(config.max_object_bytes, config.prefix_caps)
        self._slots = UploadSlots(config.max_uploads, config.max_internal_uploads)
        self._writes = Threads("storaged-write", config.max_uploads + config.max_internal_uploads)
        self._reads = Threads("storaged-read", 16)

    async def start(self) -> None:
        """Reads the registry of buckets and removes what interrupted uploads left."""
        self._buckets = await self._writes.run(self._open)

    def _open(self) -> Buckets:
        backends = {"file": FileBackend(self._data / "file")}
        return Buckets(self._data / "buckets", backends, self._config.default_backend)

    async def close(self) -> None:
        """Waits for running reads and writes."""
        self._reads.close()
        self._writes.close()

    async def PutObject(
        self, requests: AsyncIterator[storage_pb2.PutObjectRequest], context: Context
    ) -> storage_pb2.PutObjectResponse:
        metadata = dict(context.invocation_metadata())
        internal = INTERNAL_KEY in metadata or context.peer() == LOCAL_PEER
        async with self._slots.hold(internal=internal):
            first = await anext(requests, storage_pb2.PutObjectRequest())
            upload = Upload(self._buckets.store(first.bucket), self._upload_request(first, metadata))
            try:
                stored = await self._receive(upload, first, requests, context)
            except BaseException:
                await self._writes.run(upload.close)
                raise
        return storage_pb2.PutObjectResponse(object=_object(first.bucket, stored.info), created=stored.created)

    async def _receive(
        self,
        upload: Upload,
        first: storage_pb2.PutObjectRequest,
        rest: AsyncIterator[storage_pb2.PutObjectRequest],
        context: Context,
    ) -> Stored:
        upload.add(first.data.data)
        async for request in rest:
            if upload.add(request.data.data):
                await self._writes.run(upload.flush)
        return await self._writes.run(upload.commit)

    def _upload_request(self, first: storage_pb2.PutObjectRequest, metadata: Mapping[str, str]) -> UploadRequest:
        return UploadRequest(
            key=first.key,
            content_type=first.content_type or first.data.content_type or DEFAULT_CONTENT_TYPE,
            create_only=first.create_only or _create_only(metadata),
            declared=first.size if first.HasField("size") else _declared_size(metadata),
            limit=self._caps.limit(first.key),
        )

    async def GetObject(
        self, request: storage_pb2.GetObjectRequest, context: Context
    ) -> AsyncGenerator[storage_pb2.GetObjectResponse, None]:
        length = request.length if request.HasField("length") else None
        store = self._buckets.store(request.bucket)
        download = Download(store, request.key, offset=request.offset, length=length)
        try:
            opened = await self._reads.run(download.open)
            info, left = opened.info, opened.size - len(opened.first)
            await context.send_initial_metadata(((SIZE_KEY, str(opened.size)), ("etag", f'"{info.sha256}"')))
            body = httpbody_pb2.HttpBody(content_type=info.content_type, data=opened.first)
            yield storage_pb2.GetObjectResponse(object=_object(request.bucket, info), data=body)
            while left > 0:
                piece = await self._reads.run(download.next_piece)
                left -= len(piece)
                yield storage_pb2.GetObjectResponse(data=httpbody_pb2.HttpBody(data=piece))
        finally:
            download.close()

    async def StatObject(
        self, request: storage_pb2.StatObjectRequest, context: Context
    ) -> storage_pb2.StatObjectResponse:
        info = await self._reads.run(self._buckets.store(request.bucket).stat, request.key)
        return storage_pb2.StatObjectResponse(object=_object(request.bucket, info))

    async def ListObjects(
        self, request: storage_pb2.ListObjectsRequest, context: Context
    ) -> storage_pb2.ListObjectsResponse:
        return await self._reads.run(self._page, request)

    def _page(self, request: storage_pb2.ListObjectsRequest) -> storage_pb2.ListObjectsResponse:
        # In a thread as a whole: 10,000 messages alone take 40 ms.
        limit = page_size(request.page_size, 1_000, 10_000)
        store = self._buckets.store(request.bucket)
        infos = store.list(request.prefix, after=decode_token(request.page_token), limit=limit + 1)
        return storage_pb2.ListObjectsResponse(
            objects=[_object(request.bucket, info) for info in infos[:limit]],
            next_page_token=encode_token(infos[limit - 1].key) if len(infos) > limit else "",
        )

    async def DeleteObject(
        self, request: storage_pb2.DeleteObjectRequest, context: Context
    ) -> storage_pb2.DeleteObjectResponse:
        deleted = await self._writes.run(self._buckets.store(request.bucket).delete, request.key)
        return storage_pb2.DeleteObjectResponse(deleted=deleted)

    async def CreateBucket(
        self, request: storage_pb2.CreateBucketRequest, context: Context
    ) -> storage_pb2.CreateBucketResponse:
        bucket = await self._writes.run(self._buckets.create, request.name, request.backend)
        return storage_pb2.CreateBucketResponse(bucket=_bucket(bucket))

    async def GetBucket(self, request: storage_pb2.GetBucketRequest, context: Context) -> storage_pb2.GetBucketResponse:
        return storage_pb2.GetBucketResponse(bucket=_bucket(self._buckets.get(request.bucket)))

    async def ListBuckets(
        self, request: storage_pb2.ListBucketsRequest, context: Context
    ) -> storage_pb2.ListBucketsResponse:
        limit = page_size(request.page_size, 100, 1_000)
        buckets = self._buckets.list(after=decode_token(request.page_token), limit=limit + 1)
        return storage_pb2.ListBucketsResponse(
            buckets=[_bucket(bucket) for bucket in buckets[:limit]],
            next_page_token=encode_token(buckets[limit - 1].name) if len(buckets) > limit else "",
        )

    async def DeleteBucket(
        self, request: storage_pb2.DeleteBucketRequest, context: Context
    ) -> storage_pb2.DeleteBucketResponse:
        await self._writes.run(self._buckets.remove, request.bucket)
        return storage_pb2.DeleteBucketResponse()


def _object(bucket: str, info: ObjectInfo) -> storage_pb2.ObjectInfo:
    modified_at = timestamp_pb2.Timestamp()
    modified_at.FromDatetime(info.modified_at)
    return storage_pb2.ObjectInfo(
        bucket=bucket or PRIMARY,
        key=info.key,
        size=info.size,
        sha256=info.sha256,
        content_type=info.content_type,
        modified_at=modified_at,
    )


def _bucket(bucket: Bucket) -> storage_pb2.Bucket:
    created_at = timestamp_pb2.Timestamp()
    created_at.FromDatetime(bucket.created_at)
    return storage_pb2.Bucket(
        name=bucket.name, backend=bucket.backend, removable=bucket.removable, created_at=created_at
    )


def _create_only(metadata: Mapping[str, str]) -> bool:
    given = metadata.get(CREATE_ONLY_KEY, "").strip()
    if given not in ("", "*"):
        raise InvalidArgument.of(CREATE_ONLY_KEY, f"must be *, is {given!r}")
    return given == "*"


def _declared_size(metadata: Mapping[str, str]) -> int | None:
    given = metadata.get(DECLARED_SIZE_KEY)
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()):
        raise InvalidArgument.of(DECLARED_SIZE_KEY, f"must be a number of bytes, is {given!r}")
    return int(given)
