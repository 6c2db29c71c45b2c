"""One version of a Lance table, for reading: nothing in it changes, whatever is written meanwhile.

Vectors are read from disk when they are needed and not kept; ids are looked up in the table's own
index, which costs about 1 ms for one, 10 ms for 1,000.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from services.vectord.lance import addresses
from services.vectord.lance.addresses import Addresses, Offsets
from services.vectord.segments.metric import Floats, Metric
from services.vectord.tree.items import Norms

ADDRESS = "_rowaddr"
_IDS_AT_ONCE = 1000
_SCAN_BYTES = 4 << 20
_SCAN_ROWS = 8192
_BUFFER_BYTES = 32 << 20
_SAMPLED_IDS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A fragment of the table: its number, and its rows with those that were deleted."""

    number: int
    rows: int
    deleted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows that were read, column by column; what was not asked for is empty."""

    ids: list[str]
    addresses: Addresses
    vectors: Floats
    norms: Norms
    metadata: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows may be returned: those of `allowed` (None is all) without those of `blocked`."""

    allowed: Mapping[int, Offsets] | None = None
    blocked: Addresses

    @property
    def most(self) -> int | None:
        """More rows than that cannot be left; None when all are allowed."""
        return None if self.allowed is None else sum(map(len, self.allowed.values()))

    def options(self) -> dict[str, Any]:
        """The selection as options of a scan."""
        options: dict[str, Any] = {}
        if self.allowed is not None:
            options["row_addr_allowlist"] = addresses.encode(self.allowed)
        if len(self.blocked):
            options["row_addr_blocklist"] = addresses.encode(addresses.split(self.blocked))
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Approximation:
    """How the table's vector index is searched."""

    partitions: int
    probes: int
    """Partitions looked into; 0 when the index was measured to find too little, so that all rows are compared."""
    trained_rows: int
    """Rows of the table when the index was trained."""
    recall: float = 0.0
    """The share of the ten nearest that was found when it was measured; 0 before that."""


class View:
    """Safe from any number of threads."""

    def __init__(self, dataset: Any, *, dimension: int, metric: Metric, approximation: Approximation | None) -> None:
        """Wraps a dataset that nobody changes."""
        self.dataset = dataset
        self.dimension = dimension
        self.metric = metric
        self.approximation = approximation
        self.version = int(dataset.version)
        self.pieces = [_piece(fragment) for fragment in dataset.get_fragments()]
        self.count = sum(piece.rows - piece.deleted for piece in self.pieces)
        self.unindexed: int | None = None
        """See table.unindexed."""
        self._bounds: list[str] | None = None

    def locate(self, ids: Sequence[str]) -> dict[str, int]:
        """The addresses of those ids that are in the table."""
        return dict(zip(*self._located(ids, ["id", ADDRESS]), strict=True))

    def metadata(self, ids: Sequence[str]) -> dict[str, bytes]:
        """The metadata of those ids that are in the table."""
        return dict(zip(*self._located(ids, ["id", "metadata"]), strict=True))

    def _located(self, ids: Sequence[str], columns: list[str]) -> tuple[list[Any], list[Any]]:
        found: tuple[list[Any], list[Any]] = ([], [])
        for table in self._by_id(ids, columns):
            for values, column in zip(found, columns, strict=True):
                values += table.column(column).to_pylist()
        return found

    def _by_id(self, ids: Sequence[str], columns: list[str]) -> Iterator[pa.Table]:
        if not self.count:
            return
        for begin in range(0, len(ids), _IDS_AT_ONCE):
            names = ", ".join(map(_literal, ids[begin : begin + _IDS_AT_ONCE]))
            yield self.dataset.scanner(columns=columns, filter=f"id in ({names})").to_table()

    def read(self, ids: Sequence[str], *, with_vectors: bool) -> Rows:
        """Rows by id, in any order; ids that are not there are left out."""
        columns = ["id", ADDRESS, "metadata", *(["vector", "norm"] if with_vectors else [])]
        return joined([self._rows(table) for table in self._by_id(ids, columns)], self.dimension)

    def at(self, rows: Addresses, *, with_vectors: bool) -> Rows:
        """Rows by address, in any order; 1.5 ms for ten."""
        if not len(rows):
            return joined([], self.dimension)
        columns = ["id", ADDRESS, "metadata", *(["vector", "norm"] if with_vectors else [])]
        selected = addresses.encode(addresses.split(rows))
        return self._rows(self.dataset.scanner(columns=columns, row_addr_allowlist=selected).to_table())

    def ids_after(self, after: str, limit: int, hidden: Callable[[Addresses], Any]) -> list[str]:
        """At least the first `limit` ids after `after`, in order, unless fewer follow.

        `hidden` says of addresses which are to be left out. Costs some ms; the first call reads all ids.
        """
        bounds = self.bounds()
        step = 1 + limit * len(bounds) // max(1, self.count) * 2
        place = bisect_right(bounds, after)
        found: list[str] = []
        while len(found) < limit:
            upper = bounds[place + step - 1] if place + step - 1 < len(bounds) else None
            found += self._ids_between(after, upper, hidden)
            if upper is None:
                break
            after, place = upper, place + step
        return found

    def _ids_between(self, after: str, upper: str | None, hidden: Callable[[Addresses], Any]) -> list[str]:
        until = "" if upper is None else f" and id <= {_literal(upper)}"
        table = self.dataset.scanner(columns=["id", ADDRESS], filter=f"id > {_literal(after)}{until}").to_table()
        shown = table.filter(pa.array(~hidden(table.column(ADDRESS).to_numpy())))
        return sorted(_strings(shown))

    def bounds(self) -> list[str]:
        """Ids that part the table into pieces of about the same size, ascending."""
        if self._bounds is None:
            self._bounds = self._sampled()
        return self._bounds

    def _sampled(self) -> list[str]:
        every = self.count // _SAMPLED_IDS
        if every < 2:
            return []
        sample: list[str] = []
        seen = 0
        for batch in self._scanned(["id"]):
            sample += _strings(batch.take(np.arange(-seen % every, batch.num_rows, every)))
            seen += batch.num_rows
        # Ids may come in the order of the rows, so this is only about even; it decides about cost alone.
        return sorted(sample)

    def asked(self, approximation: Approximation) -> View:
        """The same version, with its index asked in another way."""
        view = View(self.dataset, dimension=self.dimension, metric=self.metric, approximation=approximation)
        view.take_bounds(self)
        return view

    def take_bounds(self, older: View) -> None:
        """Goes on with the bounds of an earlier version while they are about even still."""
        if older._bounds and older.count // 2 <= self.count <= older.count * 2:
            self._bounds = older._bounds

    def scan(self, selection: Selection) -> Iterator[Rows]:
        """Ids, addresses and vectors of all rows of a selection, in batches of a few MiB."""
        for batch in self._scanned(["id", ADDRESS, "vector"], **selection.options()):
            yield self._rows(batch)

    def _scanned(self, columns: list[str], **options: Any) -> Iterator[pa.RecordBatch]:
        if not self.count:
            return
        scanner = self.dataset.scanner(
            columns=columns,
            batch_size=max(1, min(_SCAN_ROWS, _SCAN_BYTES // (4 * self.dimension))),
            batch_readahead=4,
            io_buffer_size=_BUFFER_BYTES,
            **options,
        )
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield batch

    def nearest(self, query: Floats, limit: int, selection: Selection, *, probes: int, refine: int) -> Rows:
        """About the `limit` nearest rows of a selection, with vectors: fewer only when there are no more."""
        nearest = {
            "column": "vector",
            "q": query,
            "k": limit,
            "metric": lance_metric(self.metric),
            "minimum_nprobes": probes,
            "refine_factor": refine,
        }
        scanner = self.dataset.scanner(
            columns=["id", ADDRESS, "vector"],
            nearest=nearest,
            prefilter=True,
            disable_scoring_autoprojection=True,
            **selection.options(),
        )
        return self._rows(scanner.to_table())

    def vectors_at(self, places: Offsets) -> Floats:
        """Vectors by their place among the rows that are not deleted."""
        return _matrix(self.dataset.take(places.tolist(), columns=["vector"]).column("vector"), self.dimension)

    def metadata_of(self, piece: Piece, begin: int, count: int) -> list[bytes]:
        """The metadata of rows of a fragment by their place in it, deleted ones too."""
        fragment = self.dataset.get_fragment(piece.number)
        table = fragment.scanner(
            columns=["metadata"], offset=begin, limit=count, include_deleted_rows=True, with_row_id=True
        ).to_table()
        return _texts(table)

    def _rows(self, table: pa.Table | pa.RecordBatch) -> Rows:
        names = table.schema.names
        count = table.num_rows
        return Rows(
            ids=_strings(table),
            addresses=table.column(ADDRESS).to_numpy().astype(np.uint64, copy=False),
            vectors=_matrix(table.column("vector"), self.dimension)
            if "vector" in names
            else np.empty((count, 0), dtype=np.float32),
            norms=table.column("norm").to_numpy() if "norm" in names else np.empty(0),
            metadata=_texts(table) if "metadata" in names else [],
        )


def joined(parts: Sequence[Rows], dimension: int) -> Rows:
    """Several reads as one."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        ids=[item_id for part in parts for item_id in part.ids],
        addresses=np.concatenate([np.empty(0, dtype=np.uint64), *(part.addresses for part in parts)]),
        vectors=np.concatenate([part.vectors for part in parts])
        if parts
        else np.empty((0, dimension), dtype=np.float32),
        norms=np.concatenate([np.empty(0), *(part.norms for part in parts)]),
        metadata=[text for part in parts for text in part.metadata],
    )


def lance_metric(metric: Metric) -> str:
    """The order by which Lance knows the metric; vectors under cosine have length 1 already."""
    return "dot" if metric == "ip" else "l2"


def _piece(fragment: Any) -> Piece:
    described = fragment.metadata
    deletions = described.deletion_file
    return Piece(
        number=int(fragment.fragment_id),
        rows=int(described.physical_rows),
        deleted=int(deletions.num_deleted_rows or 0) if deletions is not None else 0,
    )


def _strings(table: pa.Table | pa.RecordBatch) -> list[str]:
    ids: list[Any] = table.column("id").to_pylist()
    return ids


def _texts(table: pa.Table | pa.RecordBatch) -> list[bytes]:
    texts: list[Any] = table.column("metadata").to_pylist()
    return texts


def _matrix(column: Any, dimension: int) -> Floats:
    whole: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    # flatten, unlike values, knows where a slice begins.
    numbers = whole.flatten().to_numpy().reshape(len(whole), dimension)
    floats: Floats = numbers.astype(np.float32, copy=False)
    return floats


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
