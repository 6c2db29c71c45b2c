"""Storage as the engines' threads see it: blocking calls, carried out on the event loop by storaged's stub."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from google.api import httpbody_pb2

from lakehouse.storage.v1 import storage_pb2

from services.runtime.durable import atomic_file
from services.runtime.errors import Unavailable
from services.runtime.threads import Threads

T = TypeVar("T")

_PIECE_BYTES = 1 << 20
_SECONDS = 15.0
_SECONDS_FOR_A_BYTE = 1e-6
_CONTENT_TYPE = "application/x-lhv1"


class ObjectVault:
    """A vault in storaged. Its methods block, so they must not be called on the event loop."""

    def __init__(self, storage: Any, threads: Threads) -> None:
        """`storage` is storaged's stub, `threads` read and write files. To be made on the event loop."""
        self._storage = storage
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._closed = False
        self._running: set[Future[Any]] = set()

    def close(self) -> None:
        """Gives up what is under way and refuses everything from now on."""
        self._closed = True
        for future in list(self._running):
            future.cancel()

    def put(self, bucket: str, key: str, source: Path | bytes) -> None:
        """See Vault."""
        # Opened in this thread: the event loop must not wait for the disk.
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(0)
            self._wait(self._put(bucket, key, file, size))

    def get(self, bucket: str, key: str, target: Path) -> None:
        """See Vault."""
        # Synced in this thread, too.
        with atomic_file(target) as file:
            self._wait(self._get(bucket, key, file))

    def delete(self, bucket: str, key: str) -> None:
        """See Vault."""
        self._wait(self._delete(bucket, key))

    def keys(self, bucket: str, prefix: str) -> Sequence[str]:
        """See Vault."""
        return self._wait(self._keys(bucket, prefix))

    def buckets(self) -> Sequence[str]:
        """See Vault."""
        return self._wait(self._buckets())

    def check_bucket(self, bucket: str) -> None:
        """See Vault."""
        self._wait(self._check_bucket(bucket))

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            call.close()
            raise Unavailable("the daemon stops")
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        self._running.add(future)
        try:
            return future.result()
        except CancelledError as error:
            raise Unavailable("the daemon stops") from error
        finally:
            self._running.discard(future)

    async def _put(self, bucket: str, key: str, file: BinaryIO, size: int) -> None:
        timeout = _SECONDS + size * _SECONDS_FOR_A_BYTE
        await self._storage.PutObject(self._pieces(bucket, key, file, size), timeout=timeout)

    async def _pieces(
        self, bucket: str, key: str, file: BinaryIO, size: int
    ) -> AsyncIterator[storage_pb2.PutObjectRequest]:
        yield storage_pb2.PutObjectRequest(bucket=bucket, key=key, size=size, content_type=_CONTENT_TYPE)
        while piece := await self._threads.run(file.read, _PIECE_BYTES):
            yield storage_pb2.PutObjectRequest(data=httpbody_pb2.HttpBody(data=piece))

    async def _get(self, bucket: str, key: str, file: BinaryIO) -> None:
        async for answer in self._storage.GetObject(storage_pb2.GetObjectRequest(bucket=bucket, key=key)):
            await self._threads.run(file.write, answer.data.data)

    async def _delete(self, bucket: str, key: str) -> None:
        await self._storage.DeleteObject(storage_pb2.DeleteObjectRequest(bucket=bucket, key=key), timeout=_SECONDS)

    async def _keys(self, bucket: str, prefix: str) -> list[str]:
        keys: list[str] = []
        token = ""
        while True:
            request = storage_pb2.ListObjectsRequest(bucket=bucket, prefix=prefix, page_size=10_000, page_token=token)
            page = await self._storage.ListObjects(request, timeout=_SECONDS)
            keys += [found.key for found in page.objects]
            token = page.next_page_token
            if not token:
                return keys

    async def _buckets(self) -> list[str]:
        names: list[str] = []
        token = ""
        while True:
            request = storage_pb2.ListBucketsRequest(page_size=1_000, page_token=token)
            page = await self._storage.ListBuckets(request, timeout=_SECONDS)
            names += [bucket.name for bucket in page.buckets]
            token = page.next_page_token
            if not token:
                return names

    async def _check_bucket(self, bucket: str) -> None:
        await self._storage.GetBucket(storage_pb2.GetBucketRequest(bucket=bucket), timeout=_SECONDS)
