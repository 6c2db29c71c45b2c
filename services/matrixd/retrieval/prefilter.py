"""Structured conditions met exactly before anything is ranked: ids from SQL (M14)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from google.protobuf.struct_pb2 import Value

from lakehouse.vector.v1 import filter_pb2

from services.matrixd.corpora.corpora import CorpusInfo
from services.matrixd.corpora.datasets import Datasets
from services.matrixd.corpora.sql import select_where
from services.matrixd.corpora.values import as_text
from services.matrixd.errors import NoDataset, TooManyIds
from services.runtime.threads import Threads

MAX_IDS = 100_000
"""The most ids that one search is restricted to: each travels to vectord with the question."""
_PER_FILTER = 10_000


@dataclass(frozen=True, slots=True)
class Restriction:
    """What of a corpus may be ranked: these items, or the pieces of these documents."""

    ids: Sequence[str]
    documents: bool

    @property
    def empty(self) -> bool:
        """Whether nothing may."""
        return not self.ids


class Prefilter:
    """Turns conditions into ids."""

    def __init__(self, datasets: Datasets, threads: Threads) -> None:
        self._datasets = datasets
        self._threads = threads

    async def restrict(self, info: CorpusInfo, sql: str, where: str) -> Restriction:
        """The items of a corpus that a SELECT lists and whose rows meet a condition; either may be empty.

        Raises NoDataset for a condition on a corpus without one, TooManyIds, and what queryd says of the SQL.
        """
        prefix = str(info.properties.get("id_prefix") or "")
        allowed: dict[str, None] | None = None
        if where:
            id_column = info.properties.get("id_column")
            if not info.dataset or not id_column:
                raise NoDataset(
                    f"corpus {info.name!r} is made from no dataset: `where` has no columns", corpus=info.name
                )
            rows = await self._first_column(select_where(info.dataset, str(id_column), where))
            allowed = dict.fromkeys(prefix + one for one in rows)
        if sql:
            rows = await self._first_column(sql)
            # A SELECT may list rows of the dataset or items of the corpus: the prefix is added where it is missing.
            listed = dict.fromkeys(name for one in rows for name in _spellings(one, prefix))
            allowed = listed if allowed is None else dict.fromkeys(one for one in allowed if one in listed)
        ids = list(allowed or ())
        if len(ids) > MAX_IDS:
            message = f"{len(ids)} items would be ranked, at most {MAX_IDS} can be listed: narrow the condition"
            raise TooManyIds(message, corpus=info.name)
        return Restriction(ids, documents=info.properties.get("chunk_size") is not None)

    async def _first_column(self, sql: str) -> list[str]:
        stream = io.BytesIO()

        async def write(data: bytes) -> None:
            stream.write(data)

        await self._datasets.read(sql, write)
        return await self._threads.run(_column, stream)


def narrowed(
    condition: filter_pb2.Filter | None, restriction: Restriction
) -> tuple[filter_pb2.Filter | None, Sequence[str] | None]:
    """The filter and the ids that a restriction comes to."""
    if restriction.documents:
        return _with_documents(condition, restriction.ids), None
    return condition, restriction.ids


def _with_documents(condition: filter_pb2.Filter | None, documents: Sequence[str]) -> filter_pb2.Filter:
    """A filter for the pieces of some documents, beside a filter that may be given."""
    parts = [_among(documents[start : start + _PER_FILTER]) for start in range(0, len(documents), _PER_FILTER)]
    any_of = filter_pb2.Filter(any=filter_pb2.FilterList(filters=parts))
    if condition is None:
        return any_of
    return filter_pb2.Filter(all=filter_pb2.FilterList(filters=[condition, any_of]))


def _among(documents: Sequence[str]) -> filter_pb2.Filter:
    condition = filter_pb2.Filter()
    # `in` is a word of Python's own, so the field has no name here.
    getattr(condition, "in").CopyFrom(
        filter_pb2.In(field="document_id", values=[Value(string_value=one) for one in documents])
    )
    return condition


def _spellings(one: str, prefix: str) -> Iterable[str]:
    return (prefix + one, one) if prefix and one.startswith(prefix) else (prefix + one,)


def _column(stream: io.BytesIO) -> list[str]:
    stream.seek(0)
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    return [text for value in table.column(0).to_pylist() if (text := as_text(value))]
