"""An index as one file, out and in again."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from google.protobuf.struct_pb2 import Struct

from services.runtime.errors import ServiceError
from services.vectord.config import VectorConfig
from services.vectord.errors import DamagedSegment, ImportTooLarge, NewerVersion, NotFinite, NotLhv1, ZeroNorm
from services.vectord.files import envelope, importing, portable
from services.vectord.files.importing import Spool
from services.vectord.segments.metric import METRICS, Metric
from services.vectord.segments.native import faiss
from services.vectord.segments.snapshot import Query
from services.vectord.segments.storage import STORAGE_TYPES, StorageType
from services.vectord.tree.index import Index
from services.vectord.tree.items import Item
from tests.unit.vectord.conftest import Opener


def packed(**values: Any) -> bytes:
    message = Struct()
    message.update(values)
    return message.SerializeToString()


def fill(index: Index, start: int, count: int) -> None:
    random = np.random.default_rng(start)
    vectors = random.standard_normal((count, index.description.dimension)).astype(np.float32)
    metadata = [packed(row=row) if row % 3 else b"" for row in range(count)]
    index.add(
        [
            Item(id=f"{start + row:05d}", vector=vector, metadata=text)
            for row, (vector, text) in enumerate(zip(vectors, metadata, strict=True))
        ]
    )


def contents(index: Index) -> list[tuple[str, bytes, bytes]]:
    found, _ = index.page("", 100_000, with_vectors=True)
    assert found.vectors is not None
    return [
        (item_id, metadata, vector.tobytes())
        for item_id, metadata, vector in zip(found.ids, found.metadata, found.vectors, strict=True)
    ]


def exported(index: Index, file: Path) -> Path:
    export = index.export()
    pieces = list(export.pieces)
    assert sum(map(len, pieces)) == export.size
    assert max(map(len, pieces)) <= 1 << 20
    file.write_bytes(b"".join(pieces))
    return file


@pytest.fixture
def imported(tmp_path: Path, opener: Opener) -> Callable[[Path], Index]:
    """Imports a file and opens the index."""

    def make(file: Path) -> Index:
        found = portable.read(file)
        path = tmp_path / f"imported-{file.name}"
        importing.build(path, file, found, replace(found.description, name="imported"), VectorConfig())
        return opener.open(path)

    return make


def hot(index: Index) -> None:
    fill(index, 0, 300)


def sealed(index: Index) -> None:
    fill(index, 0, 4200)
    index.compact()


def mixed(index: Index) -> None:
    sealed(index)
    fill(index, 4100, 300)
    index.compact(0)
    index.delete([f"{row:05d}" for row in range(200)])
    fill(index, 6000, 50)


@pytest.mark.requirement("V6", "V8")
@pytest.mark.parametrize(
    ("made", "metric", "storage"),
    [
        (hot, "cosine", "float16"),
        *((sealed, "cosine", storage) for storage in STORAGE_TYPES),
        *((mixed, metric, "float32") for metric in METRICS),
        (mixed, "cosine", "int8"),
    ],
)
def test_an_index_is_the_same_after_export_and_import(
    opener: Opener,
    tmp_path: Path,
    imported: Callable[[Path], Index],
    made: Callable[[Index], None],
    metric: Metric,
    storage: StorageType,
) -> None:
    index = opener.create(metric, storage=storage)
    made(index)
    other = imported(exported(index, tmp_path / "file"))
    assert contents(other) == contents(index)
    assert replace(other.description, name="", created_ns=0) == replace(index.description, name="", created_ns=0)
    query = np.ones(index.description.dimension, dtype=np.float32)
    both = [one.search([query], Query(k=10, exact=True), ["vector"])[0] for one in (index, other)]
    assert both[0].ids == both[1].ids
    assert both[0].distances == both[1].distances
    other.compact(fresh=True)
    fill(other, 9000, 10)
    assert contents(other)[:-10] == contents(index)


@pytest.mark.requirement("V6")
def test_an_index_of_one_segment_keeps_its_graph_on_the_way(
    opener: Opener, tmp_path: Path, imported: Callable[[Path], Index]
) -> None:
    index = opener.create("cosine")
    sealed(index)
    other = imported(exported(index, tmp_path / "file"))
    assert other.due() is None
    listed = opener.create("cosine")
    mixed(listed)
    another = imported(exported(listed, tmp_path / "listed"))
    assert another.due() is not None
    another.compact()
    assert another.due() is None


@pytest.mark.requirement("V6")
def test_an_empty_index_can_be_exported_and_imported(
    opener: Opener, tmp_path: Path, imported: Callable[[Path], Index]
) -> None:
    other = imported(exported(opener.create(), tmp_path / "file"))
    assert (other.info().count, contents(other)) == (0, [])


@pytest.mark.requirement("V6")
def test_an_export_needs_little_memory_and_shows_one_moment(opener: Opener, tmp_path: Path) -> None:
    index = opener.create("l2", dimension=512)
    for start in (0, 4000, 8000):
        fill(index, start, 4000)
        index.seal()
    before = contents(index)
    tracemalloc.start()
    export = index.export()
    with open(tmp_path / "file", "wb") as file:
        file.write(next(export.pieces))
        index.delete([f"{row:05d}" for row in range(6000)])
        fill(index, 20_000, 10)
        written = sum(file.write(piece) for piece in export.pieces)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert written > 22 << 20
    assert peak < 10 << 20
    found = portable.read(tmp_path / "file")
    assert sorted(found.segment.ids) == [item_id for item_id, _, _ in before]


@pytest.fixture
def good(opener: Opener, tmp_path: Path) -> bytes:
    index = opener.create("l2")
    fill(index, 0, 4200)
    index.compact()
    return exported(index, tmp_path / "good").read_bytes()


@pytest.mark.requirement("V6", "X11")
def test_a_file_that_was_cut_or_changed_anywhere_is_refused(good: bytes, tmp_path: Path) -> None:
    file = tmp_path / "file"
    head = 8 + struct.unpack(">I", good[4:8])[0]
    ends = [0, 3, 7, 8, 100, head - 1, head, head + 3, head + 50, len(good) // 2, len(good) - 33, len(good) - 1]
    for end in ends:
        file.write_bytes(good[:end])
        with pytest.raises(NotLhv1 if end < 8 else DamagedSegment):
            portable.read(file)
    for place in (0, 2, 4, 9, 60, head - 70, head + 5, head + 40, len(good) // 2, len(good) - 40, len(good) - 1):
        file.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        with pytest.raises((NotLhv1, DamagedSegment, NewerVersion)):
            portable.read(file)
    file.write_bytes(good + b"more")
    with pytest.raises(DamagedSegment):
        portable.read(file)


def with_envelope(good: bytes, **changes: Any) -> bytes:
    size = struct.unpack(">I", good[4:8])[0]
    document = {**orjson.loads(good[8 : 8 + size]), **changes}
    text = orjson.dumps(document)
    return b"LHV1" + struct.pack(">I", len(text)) + text + good[8 + size :]


@pytest.mark.requirement("V6")
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 3}, NewerVersion),
        ({"version": "x"}, DamagedSegment),
        ({"ids": None, "checksum": ""}, DamagedSegment),
        ({"ids": ["a", "a"], "checksum": ""}, DamagedSegment),
        ({"dimension": 15, "about": {}, "checksum": ""}, DamagedSegment),
        ({"metric": "far", "checksum": ""}, DamagedSegment),
        ({"index_bytes": 1 << 40, "checksum": ""}, DamagedSegment),
        ({"sections": {"norms": [-8, 8]}, "checksum": ""}, DamagedSegment),
        ({"sections": {}, "checksum": ""}, DamagedSegment),
        ({"about": {"name": "x"}, "checksum": ""}, DamagedSegment),
    ],
)
def test_an_envelope_that_does_not_fit_is_refused(
    good: bytes, tmp_path: Path, changes: dict[str, Any], error: type[ServiceError]
) -> None:
    file = tmp_path / "file"
    file.write_bytes(with_envelope(good, **changes))
    with pytest.raises(error):
        portable.read(file)


def write(path: Path, index: Any, ids: list[str], *, metric: Metric = "l2", metadata: bytes = b"") -> Path:
    envelope.write(
        path,
        index=index,
        ids=ids,
        norms=np.ones(len(ids)),
        metadata=[metadata] * len(ids),
        metric=metric,
        storage_type="float32",
        ef_search=0,
    )
    return path


@pytest.mark.requirement("V2", "V6")
@pytest.mark.parametrize(
    ("row", "metric", "error"),
    [([1, np.nan], "l2", NotFinite), ([1, np.inf], "ip", NotFinite), ([0, 0], "cosine", ZeroNorm)],
)
def test_every_vector_of_a_file_is_checked(
    tmp_path: Path, row: list[float], metric: Metric, error: type[ServiceError]
) -> None:
    index = faiss.IndexFlat(2, faiss.METRIC_INNER_PRODUCT if metric == "ip" else faiss.METRIC_L2)
    index.add(np.array([[1, 0], row], dtype=np.float32))
    with pytest.raises(error) as refused:
        portable.read(write(tmp_path / "file", index, ["a", "b"], metric=metric))
    assert refused.value.metadata["field"] == "items[1].vector"


def test_metadata_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    index = faiss.IndexFlat(2, faiss.METRIC_L2)
    index.add(np.ones((1, 2), dtype=np.float32))
    with pytest.raises(DamagedSegment):
        portable.read(write(tmp_path / "file", index, ["a"], metadata=b"\xff\xff"))


@pytest.mark.requirement("V6")
def test_a_graph_that_leads_outside_is_refused_before_anyone_walks_it(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
    for spoil in (lambda graph: graph.neighbors.data(), lambda graph: None):
        index = faiss.IndexHNSWFlat(4, 8)
        index.add(vectors)
        if spoil(index.hnsw) is None:
            index.hnsw.entry_point = 100_000
        else:
            faiss.rev_swig_ptr(index.hnsw.neighbors.data(), 10)[:] = 100_000
        with pytest.raises(DamagedSegment):
            portable.read(write(tmp_path / "file", index, [str(row) for row in range(100)]))


@pytest.mark.requirement("V6")
def test_vectors_that_are_not_in_the_form_of_the_metric_are_brought_into_it(
    tmp_path: Path, imported: Callable[[Path], Index]
) -> None:
    index = faiss.IndexFlat(2, faiss.METRIC_L2)
    index.add(np.array([[3, 4], [0, 2]], dtype=np.float32))
    made = imported(write(tmp_path / "file", index, ["a", "b"], metric="cosine"))
    found, _ = made.page("", 10, with_vectors=True)
    assert found.vectors is not None
    assert found.vectors.tolist() == pytest.approx(np.array([[3, 4], [0, 2]]))
    hits = made.search([np.array([0, 1], dtype=np.float32)], Query(k=2), ["vector"])[0]
    assert hits.distances == pytest.approx([0, 0.2])


def version_1(path: Path, metadata: dict[str, Any], vectors: Any, **params: Any) -> Path:
    index = faiss.IndexHNSWFlat(2, 8)
    index.add(np.array(vectors, dtype=np.float32))
    text = orjson.dumps({"version": 1, "params": {"name": "old", **params}, "metadata": metadata})
    path.write_bytes(b"LHV1" + struct.pack(">I", len(text)) + text + faiss.serialize_index(index).tobytes())
    return path


@pytest.mark.requirement("V6")
def test_a_file_of_version_1_has_its_ids_from_its_metadata(tmp_path: Path, imported: Callable[[Path], Index]) -> None:
    file = version_1(tmp_path / "file", {"b": {"n": 1}, "a": None}, [[3, 4], [0, 2]], distance="euclidean", m=32)
    made = imported(file)
    assert (made.description.metric, made.description.parameters.m) == ("l2", 32)
    found, _ = made.page("", 10, with_vectors=True)
    assert found.vectors is not None
    assert (found.ids, found.metadata, found.vectors.tolist()) == (
        ["a", "b"],
        [b"", packed(n=1)],
        [[0, 2], [3, 4]],
    )


def test_a_file_of_version_1_with_other_ids_than_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DamagedSegment):
        portable.read(version_1(tmp_path / "file", {"a": {}}, [[3, 4], [0, 2]]))
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-10])
    with pytest.raises(DamagedSegment):
        portable.read(tmp_path / "file")


@pytest.mark.requirement("X7")
def test_a_file_over_the_cap_is_refused_when_announced_and_when_it_arrives(tmp_path: Path) -> None:
    with pytest.raises(ImportTooLarge):
        Spool(tmp_path, limit=10, declared=11)
    spool = Spool(tmp_path, limit=10, declared=None)
    spool.add(b"x" * 11)
    with pytest.raises(ImportTooLarge):
        spool.finish()
    short = Spool(tmp_path, limit=10, declared=5)
    short.add(b"x" * 4)
    with pytest.raises(DamagedSegment):
        short.finish()
    for one in (spool, short):
        one.remove()
    assert list(tmp_path.iterdir()) == []
