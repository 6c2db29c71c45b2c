"""gRPC face of queryd: statements in, JSON or Arrow out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from google.api import httpbody_pb2

from lakehouse.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from lakehouse.query.v1 import query_pb2, query_pb2_grpc
from lakehouse.storage.v1 import storage_pb2, storage_pb2_grpc

from services.queryd import sql
from services.queryd.cache import FileCache
from services.queryd.config import QueryConfig
from services.queryd.following import Follower
from services.queryd.process import WorkerLost
from services.queryd.sandbox import Sandbox
from services.queryd.views import DataFile, Dataset, View, Views
from services.runtime.errors import InvalidArgument

log = logging.getLogger(__name__)

Context = Any  # grpc.aio.ServicerContext, or the local leg's

JSON = "application/json"
ARROW = "application/vnd.apache.arrow.stream"
_DATASETS_PER_PAGE = 1_000
_LIST_ATTEMPTS = 3
_WARM_UP_AFTER = 2.0
"""Seconds after the start at which the engine is started even if no statement has asked for it."""


class QueryServicer(query_pb2_grpc.QueryServiceServicer):
    """Runs read-only SQL over the datasets of the catalog."""

    def __init__(
        self,
        *,
        config: QueryConfig,
        data: Path,
        storage: storage_pb2_grpc.StorageServiceStub,
        catalog: catalog_pb2_grpc.CatalogServiceStub,
    ) -> None:
        """Keeps data files in `data/cache` and spills to `data/spill`; both can be deleted while it does not run."""
        self._config = config
        self._data = data
        self._storage = storage
        self._catalog = catalog
        self._views = Views()
        self._follower = Follower(self._views, version=self._version, datasets=self._datasets)

    async def start(self) -> None:
        """Opens the engine. Fetches nothing: files come when a statement needs them."""
        config, files = self._config, self._data / "cache"
        self._cache = FileCache(files, budget=config.cache_bytes, downloads=config.downloads, fetch=self._fetch)
        self._sandbox = Sandbox(files=files, spill=self._data / "spill", config=config)
        self._background = [
            asyncio.create_task(self._follower.keep_following(config.refresh_every)),
            asyncio.create_task(self._warm_up()),
        ]

    async def close(self) -> None:
        """Ends the engine, and with it every statement."""
        for task in self._background:
            task.cancel()
        await asyncio.wait(self._background)
        await self._sandbox.close()
        await self._cache.close()

    async def Query(self, request: query_pb2.QueryRequest, context: Context) -> query_pb2.QueryResponse:
        seconds = self._seconds(request)
        async with self._prepared(request.sql) as (text, views):
            answer = await self._sandbox.json(text, views, seconds)
        return query_pb2.QueryResponse(body=httpbody_pb2.HttpBody(content_type=JSON, data=answer))

    async def QueryArrow(
        self, request: query_pb2.QueryArrowRequest, context: Context
    ) -> AsyncGenerator[query_pb2.QueryArrowResponse, None]:
        seconds = self._seconds(request)
        async with (
            self._prepared(request.sql) as (text, views),
            aclosing(self._sandbox.pieces(text, views, seconds)) as pieces,
        ):
            async for piece in pieces:
                yield query_pb2.QueryArrowResponse(data=httpbody_pb2.HttpBody(content_type=ARROW, data=piece))

    async def GetCache(self, request: query_pb2.GetCacheRequest, context: Context) -> query_pb2.GetCacheResponse:
        stats = self._cache.stats
        return query_pb2.GetCacheResponse(
            files=stats.files,
            size=stats.size,
            budget=self._cache.budget,
            hits=stats.hits,
            misses=stats.misses,
            evictions=stats.evictions,
        )

    @asynccontextmanager
    async def _prepared(self, given: str) -> AsyncIterator[tuple[str, list[View]]]:
        """A statement that may run, and its views with their files in place while the block lasts."""
        statement = await self._sandbox.check(given)
        if statement.tables or statement.lists_tables:
            await self._follower.follow()
        if statement.lists_tables:
            yield sql.list_names(self._views.names), []
            return
        read = self._views.resolve(statement.tables)
        async with self._cache.lease([file for _, dataset in read for file in dataset.files]):
            yield statement.text, [dataset.view(name) for name, dataset in read]

    def _seconds(self, request: query_pb2.QueryRequest | query_pb2.QueryArrowRequest) -> float:
        if not request.HasField("timeout"):
            return self._config.statement_timeout
        seconds = request.timeout.seconds + request.timeout.nanos / 1e9
        if seconds <= 0:
            raise InvalidArgument.of("timeout", f"must be more than nothing, is {seconds:g} s")
        return min(seconds, self._config.statement_timeout)

    async def _warm_up(self) -> None:
        await asyncio.sleep(_WARM_UP_AFTER)
        try:
            await self._sandbox.ready()
        except WorkerLost:
            log.warning("the SQL engine did not start; the next statement tries again")

    async def _fetch(self, file: DataFile) -> AsyncGenerator[bytes, None]:
        async for piece in self._storage.GetObject(storage_pb2.GetObjectRequest(bucket=file.bucket, key=file.key)):
            yield piece.data.data

    async def _version(self) -> int:
        return (await self._catalog.GetVersion(catalog_pb2.GetVersionRequest())).version

    async def _datasets(self) -> tuple[int, list[Dataset]]:
        """Every dataset of one catalog version; of several when it keeps changing, under the oldest of them."""
        for _ in range(_LIST_ATTEMPTS):
            pages = [page async for page in self._pages()]
            if pages[0].version == pages[-1].version:
                break
        return pages[0].version, [_dataset(manifest) for page in pages for manifest in page.datasets]

    async def _pages(self) -> AsyncIterator[catalog_pb2.ListDatasetsResponse]:
        token = ""
        while True:
            request = catalog_pb2.ListDatasetsRequest(page_size=_DATASETS_PER_PAGE, page_token=token)
            page = await self._catalog.ListDatasets(request)
            yield page
            token = page.next_page_token
            if not token:
                return


def _dataset(manifest: catalog_pb2.Manifest) -> Dataset:
    return Dataset(
        name=manifest.name,
        files=tuple(
            DataFile(dataset=manifest.name, bucket=o.bucket, key=o.key, size=o.size, sha256=o.sha256)
            for o in manifest.objects
        ),
    )
