"""The corpora and playbooks, as vectord keeps them: every call to that neighbour is here.

A corpus is a vector index; a playbook is one too, marked as such in the properties of its source.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from lakehouse.vector.v1 import encoded_pb2, filter_pb2, vector_pb2

from services.matrixd.errors import CorpusFailed, CorpusNotFound
from services.runtime.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ServiceError,
    Violation,
)
from services.runtime.names import same_name

CORPUS = "corpus"
PLAYBOOK = "playbook"
IDS_PER_CALL = 10_000


class VectorStub(Protocol):
    """The methods of vectord that matrixd calls. Found metadata is only passed on, so it stays encoded."""

    def CreateIndex(self, request: vector_pb2.CreateIndexRequest) -> Awaitable[vector_pb2.CreateIndexResponse]: ...
    def ListIndexes(self, request: vector_pb2.ListIndexesRequest) -> Awaitable[vector_pb2.ListIndexesResponse]: ...
    def GetIndex(self, request: vector_pb2.GetIndexRequest) -> Awaitable[vector_pb2.GetIndexResponse]: ...
    def AddItems(self, request: vector_pb2.AddItemsRequest) -> Awaitable[vector_pb2.AddItemsResponse]: ...
    def DeleteItems(self, request: vector_pb2.DeleteItemsRequest) -> Awaitable[vector_pb2.DeleteItemsResponse]: ...
    def GetItems(self, request: vector_pb2.GetItemsRequest) -> Awaitable[vector_pb2.GetItemsResponse]: ...
    def ListItems(self, request: vector_pb2.ListItemsRequest) -> Awaitable[vector_pb2.ListItemsResponse]: ...
    def Search(self, request: vector_pb2.SearchRequest) -> Awaitable[encoded_pb2.EncodedHits]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusInfo:
    """What is known of a corpus or playbook. `model` and `dataset` are empty when unknown."""

    name: str
    dimension: int
    model: str
    dataset: str
    storage_type: str
    bucket: str
    identity: str
    """Another one for an index that was deleted and made anew under the same name."""
    updated: int = 0
    """When it last changed, in nanoseconds."""
    properties: Mapping[str, Any]

    @property
    def is_playbook(self) -> bool:
        """Whether matrixd made it to remember answers."""
        return self.properties.get("kind") == PLAYBOOK


class Corpora:
    """Calls vectord and says its errors in this daemon's words."""

    def __init__(self, stub: VectorStub, seconds: float) -> None:
        """`seconds` is how long a CorpusInfo is believed."""
        self._stub = stub
        self._seconds = seconds
        self._known: dict[str, tuple[float, CorpusInfo]] = {}

    async def get(self, name: str) -> CorpusInfo:
        """What is known of a corpus. Raises CorpusNotFound. 1 us when it was asked for lately."""
        known = self.known(name)
        if known is not None:
            return known
        key = same_name(name)
        try:
            response = await self._stub.GetIndex(vector_pb2.GetIndexRequest(name=name))
        except NotFound as error:
            self._known.pop(key, None)
            raise not_found(name) from error
        info = _info(response.index)
        self._known[key] = (time.monotonic() + self._seconds, info)
        return info

    def known(self, name: str) -> CorpusInfo | None:
        """What is known of a corpus without asking, because it was asked for lately."""
        known = self._known.get(same_name(name))
        return known[1] if known is not None and known[0] > time.monotonic() else None

    async def find(self, name: str) -> CorpusInfo | None:
        """What is known of a corpus; None when there is none."""
        try:
            return await self.get(name)
        except CorpusNotFound:
            return None

    def forget(self, names: Iterable[str]) -> bool:
        """Drops what is believed of some corpora; returns whether anything was."""
        dropped = [self._known.pop(same_name(name), None) for name in names]
        return any(known is not None for known in dropped)

    async def search(
        self,
        name: str,
        vector: Sequence[float],
        k: int,
        *,
        filter: filter_pb2.Filter | None = None,  # noqa: A002 - the contract's word
        exclude_ids: Sequence[str] = (),
        ids: Sequence[str] | None = None,
    ) -> Sequence[encoded_pb2.EncodedHit]:
        """The nearest items, among `ids` where they are given.

        Raises CorpusNotFound, InvalidArgument for the query, CorpusFailed for the rest.
        """
        request = vector_pb2.SearchRequest(name=name, vector=vector, k=k, exclude_ids=exclude_ids)
        if filter is not None:
            request.filter.CopyFrom(filter)
        if ids is not None:
            request.ids.extend(ids)
            request.restrict_to_ids = True
        try:
            return (await self._stub.Search(request)).hits
        except ServiceError as error:
            raise search_error(error, name) from error

    async def metadata(
        self,
        name: str,
        ids: Sequence[str],
        filter: filter_pb2.Filter | None = None,  # noqa: A002 - the contract's word
    ) -> dict[str, Struct]:
        """The metadata of those of the ids that exist and pass the filter. Raises CorpusNotFound."""
        found: dict[str, Struct] = {}
        for start in range(0, len(ids), IDS_PER_CALL):
            request = vector_pb2.GetItemsRequest(
                name=name, ids=ids[start : start + IDS_PER_CALL], filter=filter, without_vectors=True
            )
            try:
                response = await self._stub.GetItems(request)
            except NotFound as error:
                raise not_found(name) from error
            found.update((item.id, item.metadata) for item in response.items)
        return found

    async def create(self, request: vector_pb2.CreateIndexRequest) -> None:
        """Creates a corpus or playbook. Raises AlreadyExists when somebody was quicker."""
        await self._stub.CreateIndex(request)
        self.forget([request.name])

    async def add(self, request: vector_pb2.AddItemsRequest) -> vector_pb2.AddItemsResponse:
        """Adds or replaces items. Raises CorpusNotFound, InvalidArgument naming an item."""
        try:
            return await self._stub.AddItems(request)
        except NotFound as error:
            self.forget([request.name])
            raise not_found(request.name) from error

    async def delete(self, name: str, ids: Sequence[str]) -> int:
        """Deletes items; returns how many were there. Raises CorpusNotFound."""
        deleted = 0
        for start in range(0, len(ids), IDS_PER_CALL):
            request = vector_pb2.DeleteItemsRequest(name=name, ids=ids[start : start + IDS_PER_CALL])
            try:
                deleted += (await self._stub.DeleteItems(request)).deleted
            except NotFound as error:
                raise not_found(name) from error
        return deleted

    async def page(self, name: str, size: int, token: str) -> vector_pb2.ListItemsResponse:
        """A page of items without vectors, in the order of ids. Raises CorpusNotFound."""
        request = vector_pb2.ListItemsRequest(name=name, page_size=size, page_token=token)
        try:
            return await self._stub.ListItems(request)
        except NotFound as error:
            raise not_found(name) from error

    async def vectors(self, name: str, ids: Sequence[str]) -> dict[str, Sequence[float]]:
        """The vectors of those of the ids that exist; at most IDS_PER_CALL of them. Raises CorpusNotFound."""
        try:
            response = await self._stub.GetItems(vector_pb2.GetItemsRequest(name=name, ids=ids))
        except NotFound as error:
            raise not_found(name) from error
        return {item.id: item.vector for item in response.items}

    async def count(self, name: str) -> int:
        """How many items a corpus has now. Raises CorpusNotFound."""
        try:
            return (await self._stub.GetIndex(vector_pb2.GetIndexRequest(name=name))).index.count
        except NotFound as error:
            raise not_found(name) from error

    async def ids(self, name: str) -> AsyncIterator[list[str]]:
        """Every id of a corpus, page by page."""
        token = ""
        while True:
            response = await self.page(name, IDS_PER_CALL, token)
            yield [item.id for item in response.items]
            token = response.next_page_token
            if not token:
                return

    async def indexes(self, size: int, token: str) -> vector_pb2.ListIndexesResponse:
        """A page of corpora in the order of names."""
        return await self._stub.ListIndexes(vector_pb2.ListIndexesRequest(page_size=size, page_token=token))

    async def all(self) -> list[CorpusInfo]:
        """Every corpus and playbook."""
        infos: list[CorpusInfo] = []
        token = ""
        while True:
            response = await self.indexes(1_000, token)
            infos += [_info(index) for index in response.indexes]
            token = response.next_page_token
            if not token:
                return infos


def not_found(name: str) -> CorpusNotFound:
    """The error for a name that no corpus has."""
    return CorpusNotFound(f"no corpus {name!r}; the list of corpora has the names", corpus=name)


def search_error(error: ServiceError, corpus: str) -> ServiceError:
    """What a failed search of one corpus means for the whole search (M1)."""
    if isinstance(error, NotFound):
        return not_found(corpus)
    if isinstance(error, InvalidArgument):
        renamed = {"vector": "query_vector"}
        error.violations = tuple(
            Violation(renamed.get(violation.field, violation.field), violation.description)
            for violation in error.violations
        )
        error.metadata["corpus"] = corpus
        return error
    if isinstance(error, DeadlineExceeded | Cancelled):
        return error
    return CorpusFailed(f"corpus {corpus!r} cannot be searched now: {error.message}", corpus=corpus)


def _info(index: vector_pb2.Index) -> CorpusInfo:
    return CorpusInfo(
        name=index.name,
        dimension=index.dimension,
        model=index.source.embedding_model,
        dataset=index.source.dataset,
        storage_type=index.storage_type,
        bucket=index.bucket,
        identity=f"{index.created_at.ToNanoseconds()} {index.source.embedding_model} {index.dimension}",
        updated=index.updated_at.ToNanoseconds(),
        properties=MessageToDict(index.source.properties),
    )
