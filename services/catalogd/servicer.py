"""catalogd on the wire: its own contract towards callers, and storaged's towards the manifests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import orjson
from google.api import httpbody_pb2

from lakehouse.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.catalogd.catalog import Catalog
from services.catalogd.changes import Changes
from services.catalogd.config import CatalogConfig
from services.catalogd.manifest import Manifest
from services.catalogd.manifestfile import PREFIX, decode_manifest, encode_manifest, manifest_key
from services.catalogd.messages import embedding_state, manifest_message, registration
from services.catalogd.registration import LEGACY_BUCKETS, embedded, migrated, registered
from services.runtime.errors import Internal, NotFound
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.threads import Threads

VERSION_KEY = "_catalog/version.json"
RESERVED_VERSIONS = 64
PIECE_BYTES = 1 << 20

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Serves manifests from memory. All state is in storage."""

    def __init__(self, *, config: CatalogConfig, storage: storage_pb2_grpc.StorageServiceStub) -> None:
        self._threads = Threads("catalogd", 2)
        self._manifests = StoredManifests(storage, config, self._threads)
        self._catalog = Catalog()
        self._changes = Changes(self._catalog, self._manifests)

    async def start(self) -> None:
        """Reads every manifest. Raises when storage cannot be reached, rather than forget datasets."""
        self._catalog = await self._manifests.load()
        self._changes = Changes(self._catalog, self._manifests)

    async def close(self) -> None:
        """Waits for changes under way."""
        await self._changes.close()
        self._threads.close()

    async def RegisterDataset(
        self, request: catalog_pb2.RegisterDatasetRequest, context: Context
    ) -> catalog_pb2.RegisterDatasetResponse:
        wanted, now = registration(request), datetime.now(UTC)
        change = await self._changes.change(request.name, lambda before: registered(before, wanted, now))
        return catalog_pb2.RegisterDatasetResponse(
            manifest=manifest_message(change.shown), created=change.before is None, changed=change.changed
        )

    async def GetManifest(
        self, request: catalog_pb2.GetManifestRequest, context: Context
    ) -> catalog_pb2.GetManifestResponse:
        manifest = self._catalog.find(request.name)
        if manifest is None:
            # Looks for the nearest name, which can take milliseconds, and raises.
            manifest = await self._threads.run(self._catalog.get, request.name)
        return catalog_pb2.GetManifestResponse(manifest=manifest_message(manifest))

    async def ListDatasets(
        self, request: catalog_pb2.ListDatasetsRequest, context: Context
    ) -> catalog_pb2.ListDatasetsResponse:
        limit = page_size(request.page_size, 100, 1_000)
        page = self._catalog.page(decode_token(request.page_token), limit + 1)
        response = catalog_pb2.ListDatasetsResponse(
            next_page_token=encode_token(page[limit - 1].name) if len(page) > limit else "",
            version=self._catalog.version,
            problems=self._catalog.problems,
        )
        messages = await self._threads.run(lambda: [manifest_message(manifest) for manifest in page[:limit]])
        response.datasets.extend(messages)
        return response

    async def DeregisterDataset(
        self, request: catalog_pb2.DeregisterDatasetRequest, context: Context
    ) -> catalog_pb2.DeregisterDatasetResponse:
        change = await self._changes.change_existing(request.name, lambda before: None)
        return catalog_pb2.DeregisterDatasetResponse(manifest=manifest_message(change.shown), version=change.version)

    async def GetVersion(
        self, request: catalog_pb2.GetVersionRequest, context: Context
    ) -> catalog_pb2.GetVersionResponse:
        return catalog_pb2.GetVersionResponse(version=self._catalog.version)

    async def SetEmbeddingState(
        self, request: catalog_pb2.SetEmbeddingStateRequest, context: Context
    ) -> catalog_pb2.SetEmbeddingStateResponse:
        state, now = embedding_state(request.embedding), datetime.now(UTC)
        change = await self._changes.change_existing(request.name, lambda before: embedded(before, state, now))
        return catalog_pb2.SetEmbeddingStateResponse(manifest=manifest_message(change.shown))

    async def MigrateBuckets(
        self, request: catalog_pb2.MigrateBucketsRequest, context: Context
    ) -> catalog_pb2.MigrateBucketsResponse:
        legacy = LEGACY_BUCKETS - await self._manifests.buckets()
        now = datetime.now(UTC)
        response = catalog_pb2.MigrateBucketsResponse()
        for name in self._catalog.names():
            change = await self._changes.change(name, lambda before: before and migrated(before, legacy, now))
            objects = change.before.objects if change.before else ()
            renamed = sum(part.bucket in legacy for part in objects)
            response.renamed += renamed
            response.unchanged += len(objects) - renamed
        return response


class StoredManifests:
    """The catalog's state in storage: an object for each manifest, and one for the versions that may be taken."""

    def __init__(self, storage: storage_pb2_grpc.StorageServiceStub, config: CatalogConfig, threads: Threads) -> None:
        self._storage = storage
        self._config = config
        self._threads = threads
        self._reserving = asyncio.Lock()
        self._reserved = 0

    async def load(self) -> Catalog:
        """Reads all there is; what is damaged becomes a problem, what cannot be reached an error."""
        await self._make_bucket()
        slots = asyncio.Semaphore(self._config.load_concurrency)
        keys = [key async for key in self._keys()]
        loaded = await asyncio.gather(*(self._load(key, slots) for key in keys))
        problems = {key: found for key, found in zip(keys, loaded, strict=True) if isinstance(found, str)}
        manifests = [found for found in loaded if isinstance(found, Manifest)]
        return Catalog.rehydrated(manifests, version=await self._load_version(problems), problems=problems)

    async def reach(self, version: int) -> None:
        """Makes sure that the next start begins behind this version; writes once for many of them."""
        async with self._reserving:
            if version > self._reserved:
                reserved = version + RESERVED_VERSIONS - 1
                await self._put(VERSION_KEY, orjson.dumps({"reserved": reserved}), "application/json")
                self._reserved = reserved

    async def put(self, manifest: Manifest) -> None:
        """Stores or replaces a manifest."""
        data = await self._threads.run(encode_manifest, manifest)
        await self._put(manifest_key(manifest.name), data, "application/vnd.apache.parquet")

    async def remove(self, name: str) -> None:
        """Removes a manifest; the dataset's objects stay, to be collected later."""
        request = storage_pb2.DeleteObjectRequest(bucket=self._config.bucket, key=manifest_key(name))
        await self._storage.DeleteObject(request)

    async def buckets(self) -> frozenset[str]:
        """The names of the buckets there are."""
        names: set[str] = set()
        token = ""
        while True:
            request = storage_pb2.ListBucketsRequest(page_size=1_000, page_token=token)
            response = await self._storage.ListBuckets(request)
            names.update(bucket.name for bucket in response.buckets)
            token = response.next_page_token
            if not token:
                return frozenset(names)

    async def _make_bucket(self) -> None:
        try:
            await self._storage.GetBucket(storage_pb2.GetBucketRequest(bucket=self._config.bucket))
        except NotFound:
            await self._storage.CreateBucket(storage_pb2.CreateBucketRequest(name=self._config.bucket))

    async def _keys(self) -> AsyncIterator[str]:
        token = ""
        while True:
            request = storage_pb2.ListObjectsRequest(
                bucket=self._config.bucket, prefix=PREFIX, page_size=10_000, page_token=token
            )
            response = await self._storage.ListObjects(request)
            for part in response.objects:
                yield part.key
            token = response.next_page_token
            if not token:
                return

    async def _load(self, key: str, slots: asyncio.Semaphore) -> Manifest | str:
        async with slots:
            try:
                return await self._threads.run(decode_manifest, key, await self._get(key))
            except (NotFound, Internal) as error:
                return f"{key}: {error.message}"

    async def _load_version(self, problems: dict[str, str]) -> int:
        try:
            return int(orjson.loads(await self._get(VERSION_KEY))["reserved"])
        except NotFound:
            return 0
        except (Internal, ValueError, KeyError, TypeError):
            problems[VERSION_KEY] = f"{VERSION_KEY}: cannot be read; the version goes on from the manifests"
            return 0

    async def _get(self, key: str) -> bytes:
        request = storage_pb2.GetObjectRequest(bucket=self._config.bucket, key=key)
        return b"".join([response.data.data async for response in self._storage.GetObject(request)])

    async def _put(self, key: str, data: bytes, content_type: str) -> None:
        await self._storage.PutObject(self._pieces(key, data, content_type))

    async def _pieces(self, key: str, data: bytes, content_type: str) -> AsyncIterator[storage_pb2.PutObjectRequest]:
        body = httpbody_pb2.HttpBody(content_type=content_type, data=data[:PIECE_BYTES])
        yield storage_pb2.PutObjectRequest(bucket=self._config.bucket, key=key, size=len(data), data=body)
        for start in range(PIECE_BYTES, len(data), PIECE_BYTES):
            piece = httpbody_pb2.HttpBody(data=data[start : start + PIECE_BYTES])
            yield storage_pb2.PutObjectRequest(data=piece)
