"""The rows to embed: every call to catalogd and queryd is here."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from lakehouse.catalog.v1 import catalog_pb2
from lakehouse.query.v1 import query_pb2


class CatalogStub(Protocol):
    """The methods of catalogd that matrixd calls."""

    def GetManifest(self, request: catalog_pb2.GetManifestRequest) -> Awaitable[catalog_pb2.GetManifestResponse]: ...
    def SetEmbeddingState(
        self, request: catalog_pb2.SetEmbeddingStateRequest
    ) -> Awaitable[catalog_pb2.SetEmbeddingStateResponse]: ...


class QueryStub(Protocol):
    """The methods of queryd that matrixd calls."""

    def QueryArrow(self, request: query_pb2.QueryArrowRequest) -> AsyncIterable[query_pb2.QueryArrowResponse]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """What a build needs to know of a dataset. `version` is the catalog version of its rows."""

    name: str
    columns: tuple[str, ...]
    rows: int
    version: int
    refresh_policy: str


class Datasets:
    """Calls catalogd and queryd."""

    def __init__(self, catalog: CatalogStub, query: QueryStub) -> None:
        self._catalog = catalog
        self._query = query

    async def get(self, name: str) -> Dataset:
        """What is known of a dataset. Raises NotFound (DATASET_NOT_FOUND)."""
        manifest = (await self._catalog.GetManifest(catalog_pb2.GetManifestRequest(name=name))).manifest
        return Dataset(
            name=manifest.name,
            columns=tuple(column.name for column in manifest.columns),
            rows=manifest.row_count,
            version=manifest.version,
            refresh_policy=manifest.embedding.refresh_policy,
        )

    async def read(self, sql: str, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Runs a SELECT and hands its answer, an Arrow IPC stream, to `write` piece by piece."""
        async for response in self._query.QueryArrow(query_pb2.QueryArrowRequest(sql=sql)):
            await write(response.data.data)

    async def mark_embedded(self, dataset: Dataset, at: datetime) -> None:
        """Tells catalogd that the rows of this version are embedded, so that they are not stale."""
        state = catalog_pb2.EmbeddingState(refresh_policy=dataset.refresh_policy, embedded_version=dataset.version)
        state.last_embedded_at.FromDatetime(at)
        await self._catalog.SetEmbeddingState(catalog_pb2.SetEmbeddingStateRequest(name=dataset.name, embedding=state))
