"""VectorService: messages in, engine calls, messages out. The rules are in the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lakehouse.vector.v1 import vector_pb2, vector_pb2_grpc

from services.runtime.paging import decode_token, encode_token, page_size
from services.runtime.threads import Threads
from services.vectord import messages
from services.vectord.config import VectorConfig
from services.vectord.index import Index
from services.vectord.indexes import Indexes
from services.vectord.snapshot import Query

_FEW_IDS = 100

Context = Any  # grpc.aio.ServicerContext, or the local leg's


class VectorServicer(vector_pb2_grpc.VectorServiceServicer):
    """Serves vector indexes. Short searches run on the event loop; reads and writes have threads of their own."""

    def __init__(self, *, config: VectorConfig, data: Path) -> None:
        self._config = config
        self._data = data
        self._reads = Threads("vectord-read", config.search_threads)
        self._writes = Threads("vectord-write", config.write_threads)

    async def start(self) -> None:
        """Opens every index and begins to tidy them in the background."""
        self._indexes = await self._writes.run(Indexes, self._data, self._config)
        self._indexes.start()

    async def close(self) -> None:
        """Waits for running searches and writes, and stops the background work."""
        self._reads.close()
        await self._writes.run(self._indexes.close)
        self._writes.close()

    async def CreateIndex(
        self, request: vector_pb2.CreateIndexRequest, context: Context
    ) -> vector_pb2.CreateIndexResponse:
        created = await self._writes.run(self._indexes.create, messages.description(request))
        return vector_pb2.CreateIndexResponse(index=messages.index(created.info()))

    async def ListIndexes(
        self, request: vector_pb2.ListIndexesRequest, context: Context
    ) -> vector_pb2.ListIndexesResponse:
        after, size = decode_token(request.page_token), page_size(request.page_size, 100, 1_000)
        return await self._reads.run(self._list_indexes, after, size)

    def _list_indexes(self, after: str, size: int) -> vector_pb2.ListIndexesResponse:
        page, more = self._indexes.page(after, size)
        return vector_pb2.ListIndexesResponse(
            indexes=[messages.index(index.info()) for index in page],
            next_page_token=encode_token(page[-1].description.name) if more else "",
        )

    async def GetIndex(self, request: vector_pb2.GetIndexRequest, context: Context) -> vector_pb2.GetIndexResponse:
        return vector_pb2.GetIndexResponse(index=messages.index(self._indexes.get(request.name).info()))

    async def DeleteIndex(
        self, request: vector_pb2.DeleteIndexRequest, context: Context
    ) -> vector_pb2.DeleteIndexResponse:
        return vector_pb2.DeleteIndexResponse(deleted=await self._writes.run(self._indexes.delete, request.name))

    async def AddItems(self, request: vector_pb2.AddItemsRequest, context: Context) -> vector_pb2.AddItemsResponse:
        return await self._writes.run(self._add, self._indexes.get(request.name), request)

    def _add(self, index: Index, request: vector_pb2.AddItemsRequest) -> vector_pb2.AddItemsResponse:
        applied, count = index.add(messages.items(request.items))
        return vector_pb2.AddItemsResponse(added=applied.added, updated=applied.updated, count=count)

    async def DeleteItems(
        self, request: vector_pb2.DeleteItemsRequest, context: Context
    ) -> vector_pb2.DeleteItemsResponse:
        index = self._indexes.get(request.name)
        applied, count = await self._writes.run(index.delete, request.ids)
        return vector_pb2.DeleteItemsResponse(deleted=applied.deleted, missing=applied.missing, count=count)

    async def GetItems(self, request: vector_pb2.GetItemsRequest, context: Context) -> vector_pb2.GetItemsResponse:
        index = self._indexes.get(request.name)
        if len(request.ids) <= _FEW_IDS:
            return self._get(index, request)
        return await self._reads.run(self._get, index, request)

    def _get(self, index: Index, request: vector_pb2.GetItemsRequest) -> vector_pb2.GetItemsResponse:
        condition = messages.condition(request.filter) if request.HasField("filter") else None
        found = index.get(request.ids, condition=condition, with_vectors=not request.without_vectors)
        response = vector_pb2.GetItemsResponse()
        messages.add_items(response, found)
        return response

    async def ListItems(self, request: vector_pb2.ListItemsRequest, context: Context) -> vector_pb2.ListItemsResponse:
        return await self._reads.run(self._list_items, self._indexes.get(request.name), request)

    def _list_items(self, index: Index, request: vector_pb2.ListItemsRequest) -> vector_pb2.ListItemsResponse:
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

    def _search(self, index: Index, query: Query, request: vector_pb2.SearchRequest) -> vector_pb2.SearchResponse:
        vector = np.asarray(request.vector, dtype=np.float32)
        response = vector_pb2.SearchResponse()
        messages.add_hits(response, index.search([vector], query, ["vector"])[0])
        return response

    async def BatchSearch(
        self, request: vector_pb2.BatchSearchRequest, context: Context
    ) -> vector_pb2.BatchSearchResponse:
        return await self._reads.run(self._batch_search, self._indexes.get(request.name), request)

    def _batch_search(self, index: Index, request: vector_pb2.BatchSearchRequest) -> vector_pb2.BatchSearchResponse:
        vectors = [np.asarray(vector.values, dtype=np.float32) for vector in request.vectors]
        names = [f"vectors[{place}].values" for place in range(len(vectors))]
        response = vector_pb2.BatchSearchResponse()
        for found in index.search(vectors, messages.batch_query(request), names):
            messages.add_hits(response.results.add(), found)
        return response

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
