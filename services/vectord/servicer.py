"""VectorService: messages in, engine calls, messages out. The rules are in the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.api import httpbody_pb2

from lakehouse.storage.v1 import storage_pb2_grpc
from lakehouse.vector.v1 import encoded_pb2, vector_pb2, vector_pb2_grpc

from services.runtime.encoded import standing_for
from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.telemetry import current_call
from services.runtime.threads import Threads
from services.vectord import messages
from services.vectord.config import VectorConfig
from services.vectord.errors import IndexBusy
from services.vectord.files.storing import ObjectVault
from services.vectord.segments.snapshot import Query
from services.vectord.servicer_operations import OperationsServicer
from services.vectord.servicer_tuning import TuningServicer
from services.vectord.tree.engine import Engine
from services.vectord.tree.indexes import Indexes

DECLARED_SIZE_KEY = "x-lakehouse-content-length"
SIZE_KEY = "x-lakehouse-size"
CONTENT_TYPE = "application/x-lhv1"
PRIMARY = "primary"

_FEW_IDS = 100
_TRANSFERS = 4
_LOOK_SECONDS = 0.02
_TIME_TO_ANSWER = 0.2

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class VectorServicer(OperationsServicer, TuningServicer, vector_pb2_grpc.VectorServiceServicer):
    """Serves vector indexes. Short searches run on the event loop; reads and writes have threads of their own."""

    def __init__(self, *, config: VectorConfig, data: Path, storage: storage_pb2_grpc.StorageServiceStub) -> None:
        self._config = config
        self._data = data
        self._storage = storage
        self._reads = Threads("vectord-read", config.search_threads)
        self._writes = Threads("vectord-write", config.write_threads)
        self._transfers = Threads("vectord-transfer", _TRANSFERS)
        self._builders = Threads("vectord-build", config.concurrent_jobs)

    async def start(self) -> None:
        """Opens every index and begins to tidy them in the background."""
        self._vault = ObjectVault(self._storage, self._transfers)
        self._indexes = await self._writes.run(Indexes, self._data, self._config, self._vault)
        self._indexes.start()
        await self._start_operations(self._config, self._data)

    async def close(self) -> None:
        """Waits for running searches and writes, and stops the background work."""
        await self._close_operations()
        self._vault.close()
        self._reads.close()
        await self._writes.run(self._indexes.close)
        self._writes.close()
        self._transfers.close()

    async def CreateIndex(
        self, request: vector_pb2.CreateIndexRequest, context: Context
    ) -> vector_pb2.CreateIndexResponse:
        created = await self._writes.run(self._indexes.create, messages.description(request))
        return vector_pb2.CreateIndexResponse(index=self._described(created))

    async def ListIndexes(
        self, request: vector_pb2.ListIndexesRequest, context: Context
    ) -> vector_pb2.ListIndexesResponse:
        after, size = decode_token(request.page_token), page_size(request.page_size, 100, 1_000)
        return await self._reads.run(self._list_indexes, after, size)

    def _list_indexes(self, after: str, size: int) -> vector_pb2.ListIndexesResponse:
        page, more = self._indexes.page(after, size)
        return vector_pb2.ListIndexesResponse(
            indexes=[self._described(index) for index in page],
            next_page_token=encode_token(page[-1].description.name) if more else "",
        )

    async def GetIndex(self, request: vector_pb2.GetIndexRequest, context: Context) -> vector_pb2.GetIndexResponse:
        return vector_pb2.GetIndexResponse(index=self._described(self._indexes.get(request.name)))

    def _described(self, index: Engine) -> vector_pb2.Index:
        return messages.index(index.info(), self._indexes.aliases.of(index.description.name))

    async def DeleteIndex(
        self, request: vector_pb2.DeleteIndexRequest, context: Context
    ) -> vector_pb2.DeleteIndexResponse:
        return vector_pb2.DeleteIndexResponse(deleted=await self._writes.run(self._indexes.delete, request.name))

    async def AddItems(self, request: vector_pb2.AddItemsRequest, context: Context) -> vector_pb2.AddItemsResponse:
        index = self._indexes.get(request.name)
        await self._room(index)
        return await self._writes.run(self._add, request)

    async def _room(self, index: Engine) -> None:
        """Waits until an index takes writes in: here rather than in a thread, which others need."""
        call = current_call()
        remaining = None if call is None else call.remaining()
        seconds = self._config.busy_seconds
        end = time.monotonic() + (seconds if remaining is None else min(seconds, remaining - _TIME_TO_ANSWER))
        while index.busy:  # sealed by other threads, which cannot wake this one up cheaply
            if time.monotonic() >= end:
                raise IndexBusy(f"the index {index.description.name!r} takes in as much as it can; nothing was written")
            await asyncio.sleep(_LOOK_SECONDS)

    def _add(self, request: vector_pb2.AddItemsRequest) -> vector_pb2.AddItemsResponse:
        items = messages.items(request.items)
        with self._indexes.writing(request.name) as index:
            applied, count = index.add(items)
        return vector_pb2.AddItemsResponse(added=applied.added, updated=applied.updated, count=count)

    async def DeleteItems(
        self, request: vector_pb2.DeleteItemsRequest, context: Context
    ) -> vector_pb2.DeleteItemsResponse:
        index = self._indexes.get(request.name)
        await self._room(index)
        return await self._writes.run(self._delete, request)

    def _delete(self, request: vector_pb2.DeleteItemsRequest) -> vector_pb2.DeleteItemsResponse:
        with self._indexes.writing(request.name) as index:
            applied, count = index.delete(request.ids)
        return vector_pb2.DeleteItemsResponse(deleted=applied.deleted, missing=applied.missing, count=count)

    async def GetItems(self, request: vector_pb2.GetItemsRequest, context: Context) -> vector_pb2.GetItemsResponse:
        index = self._indexes.get(request.name)
        if len(request.ids) <= _FEW_IDS and index.immediate:
            return self._get(index, request)
        return await self._reads.run(self._get, index, request)

    def _get(self, index: Engine, request: vector_pb2.GetItemsRequest) -> vector_pb2.GetItemsResponse:
        condition = messages.condition(request.filter) if request.HasField("filter") else None
        found = index.get(request.ids, condition=condition, with_vectors=not request.without_vectors)
        response = vector_pb2.GetItemsResponse()
        messages.add_items(response, found)
        return response

    async def ListItems(self, request: vector_pb2.ListItemsRequest, context: Context) -> vector_pb2.ListItemsResponse:
        return await self._reads.run(self._list_items, self._indexes.get(request.name), request)

    def _list_items(self, index: Engine, request: vector_pb2.ListItemsRequest) -> vector_pb2.ListItemsResponse:
        after, size = decode_token(request.page_token), page_size(request.page_size, 100, 10_000)
        found, more = index.page(after, size, with_vectors=request.with_vectors)
        response = vector_pb2.ListItemsResponse(next_page_token=encode_token(found.ids[-1]) if more else "")
        messages.add_items(response, found)
        return response

    async def Search(self, request: vector_pb2.SearchRequest, context: Context) -> vector_pb2.SearchResponse:
        index, query = self._indexes.get(request.name), messages.query(request)
        if index.quick(query):
            return self._search(index, query, request)
        return await self._reads.run(self._search, index, query, request)

    def _search(self, index: Engine, query: Query, request: vector_pb2.SearchRequest) -> vector_pb2.SearchResponse:
        vector = np.asarray(request.vector, dtype=np.float32)
        hits = encoded_pb2.EncodedHits()
        messages.add_hits(hits, index.search([vector], query, ["vector"])[0])
        return standing_for(vector_pb2.SearchResponse, hits)

    async def BatchSearch(
        self, request: vector_pb2.BatchSearchRequest, context: Context
    ) -> vector_pb2.BatchSearchResponse:
        return await self._reads.run(self._batch_search, self._indexes.get(request.name), request)

    def _batch_search(self, index: Engine, request: vector_pb2.BatchSearchRequest) -> vector_pb2.BatchSearchResponse:
        vectors = [np.asarray(vector.values, dtype=np.float32) for vector in request.vectors]
        names = [f"vectors[{place}].values" for place in range(len(vectors))]
        response = encoded_pb2.EncodedResults()
        for found in index.search(vectors, messages.batch_query(request), names):
            messages.add_hits(response.results.add(), found)
        return standing_for(vector_pb2.BatchSearchResponse, response)

    async def MergeIndex(
        self, request: vector_pb2.MergeIndexRequest, context: Context
    ) -> vector_pb2.MergeIndexResponse:
        merged = await self._writes.run(
            self._indexes.merge, request.name, request.dest, clear_source=request.clear_source
        )
        return vector_pb2.MergeIndexResponse(
            merged=merged.merged,
            skipped=merged.skipped,
            failed=merged.failed,
            source_count=merged.source_count,
            dest_count=merged.dest_count,
        )

    async def CheckRecall(
        self, request: vector_pb2.CheckRecallRequest, context: Context
    ) -> vector_pb2.CheckRecallResponse:
        k = request.k if request.HasField("k") else 10
        sample = request.sample if request.HasField("sample") else 100
        index = self._indexes.get(request.name)
        checked = await self._reads.run(index.check_recall, k=k, sample=sample)
        return vector_pb2.CheckRecallResponse(recall=None if checked is None else messages.recall(checked))

    async def ExportIndex(
        self, request: vector_pb2.ExportIndexRequest, context: Context
    ) -> AsyncGenerator[vector_pb2.ExportIndexResponse, None]:
        export = await self._reads.run(self._indexes.get(request.name).export)
        await context.send_initial_metadata(((SIZE_KEY, str(export.size)),))
        while piece := await self._reads.run(next, export.pieces, b""):
            body = httpbody_pb2.HttpBody(content_type=CONTENT_TYPE, data=piece)
            yield vector_pb2.ExportIndexResponse(data=body)

    async def ImportIndex(
        self, requests: AsyncIterator[vector_pb2.ImportIndexRequest], context: Context
    ) -> vector_pb2.ImportIndexResponse:
        first = await anext(requests, vector_pb2.ImportIndexRequest())
        spool = self._indexes.spool(_declared_size(dict(context.invocation_metadata())))
        try:
            spool.add(first.data.data)
            async for request in requests:
                if spool.add(request.data.data):
                    await self._transfers.run(spool.flush)
            await self._transfers.run(spool.finish)
            made = await self._writes.run(self._indexes.adopt, first.name, first.bucket or PRIMARY, spool)
        finally:
            await self._transfers.run(spool.remove)
        return vector_pb2.ImportIndexResponse(index=self._described(made))


def _declared_size(metadata: Mapping[str, str]) -> int | None:
    given = metadata.get(DECLARED_SIZE_KEY, "")
    return int(given) if given.isascii() and given.isdigit() else None
