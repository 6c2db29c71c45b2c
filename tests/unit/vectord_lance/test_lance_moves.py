"""Moves between memory and Lance: interrupted anywhere, one whole index is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct

from services.runtime.names import check_name
from services.vectord.config import VectorConfig
from services.vectord.errors import IndexNotFound
from services.vectord.files.manifest import Description, Source
from services.vectord.operations.migrating import migrate
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Parameters, Stopped
from services.vectord.segments.snapshot import Query
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item
from services.vectord.tuning import evals

Open = Callable[[Path], Indexes]
DIMENSION = 8
ITEMS = 1200
MOVES = [("memory", "lance"), ("lance", "memory")]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens all indexes below a directory, and closes them at the end."""
    with ExitStack() as stack:

        def open_all(data: Path) -> Indexes:
            indexes = Indexes(data, VectorConfig(hot_bytes=1))
            stack.callback(indexes.close)
            return indexes

        yield open_all


def metadata(number: int) -> bytes:
    message = Struct()
    message.update({"n": number})
    return message.SerializeToString()


def filled(indexes: Indexes, backend: str) -> Index:
    described = Description(
        name=check_name("workers"),
        dimension=DIMENSION,
        metric="l2",
        parameters=Parameters(m=8),
        source=Source(dataset="people", properties=metadata(1)),
        backend=backend,
    )
    index = indexes.create(described)
    assert isinstance(index, Index)
    vectors = np.random.default_rng(1).normal(size=(ITEMS, DIMENSION)).astype(np.float32)
    index.add([Item(id=f"{n:05d}", vector=vector, metadata=metadata(n)) for n, vector in enumerate(vectors)])
    return index


def contents(indexes: Indexes) -> list[tuple[str, bytes, bytes]]:
    """Everything in the index, as one comparable value."""
    found, more = indexes.get("workers").page("", 10_000, with_vectors=True)
    assert not more
    assert found.vectors is not None
    vectors = [vector.tobytes() for vector in found.vectors]
    return list(zip(found.ids, found.metadata, vectors, strict=True))


@pytest.mark.requirement("V6", "V10")
@pytest.mark.parametrize(("origin", "target"), MOVES)
def test_everything_moves(opened: Open, tmp_path: Path, origin: str, target: str) -> None:
    indexes = opened(tmp_path)
    source = filled(indexes, origin)
    indexes.set_alias("staff", "workers")
    questions = evals.generate(source.snapshot, name="q", sample=10, seed=1, k=5)
    source.tuning.replace(questions)
    before = contents(indexes)
    done: list[int] = []
    moved = migrate(indexes, source, target, Watch(advance=done.append))
    assert sum(done) == ITEMS
    assert moved.description == replace(source.description, backend=target)
    assert indexes.get("STAFF") is moved
    assert contents(indexes) == before
    assert moved.tuning.eval_set("q").name == questions.name
    # Only the new one is on disk, also after a restart.
    assert [path.name for path in (tmp_path / "indexes").iterdir()] == [moved.path.name]
    indexes.close()
    again = opened(tmp_path)
    assert again.get("staff").description.backend == target
    assert contents(again) == before


@pytest.mark.requirement("V6", "V10")
@pytest.mark.parametrize(("origin", "target"), MOVES)
def test_a_kill_leaves_the_old_index_before_the_switch_and_the_new_one_after(
    opened: Open, tmp_path: Path, origin: str, target: str
) -> None:
    data = tmp_path / "data"
    indexes = opened(data)
    source = filled(indexes, origin)
    before = contents(indexes)
    copies: dict[str, Path] = {}

    def kill(name: str) -> None:
        copies[name] = tmp_path / name
        shutil.copytree(data, copies[name])

    dest = indexes.begin_successor(source, target)
    found, _ = source.page("", 10_000, with_vectors=True)
    assert found.vectors is not None
    columns = zip(found.ids, found.vectors, found.metadata, strict=True)
    dest.add([Item(id=item_id, vector=vector, metadata=text) for item_id, vector, text in columns])
    kill("copied")
    dest.finish(replaces=source.path.name)
    kill("switched")
    for name, backend in (("copied", origin), ("switched", target)):
        again = opened(copies[name])
        assert [index.description.backend for index in again.all()] == [backend], name
        assert contents(again) == before
        assert len(list((copies[name] / "indexes").iterdir())) == 1
    dest.close()


@pytest.mark.requirement("V10")
@pytest.mark.parametrize(("origin", "target"), MOVES)
def test_a_move_that_is_stopped_changes_nothing(opened: Open, tmp_path: Path, origin: str, target: str) -> None:
    indexes = opened(tmp_path)
    source = filled(indexes, origin)
    before = contents(indexes)
    with pytest.raises(Stopped):
        migrate(indexes, source, target, Watch(stop=lambda: True))
    assert indexes.get("workers") is source
    assert contents(indexes) == before
    assert [path.name for path in (tmp_path / "indexes").iterdir()] == [source.path.name]
    migrate(indexes, source, target, Watch())
    assert contents(indexes) == before


@pytest.mark.requirement("V10")
@pytest.mark.parametrize(("origin", "target"), MOVES)
def test_writes_at_any_moment_of_a_move_arrive(opened: Open, tmp_path: Path, origin: str, target: str) -> None:
    indexes = opened(tmp_path)
    source = filled(indexes, origin)
    numbers = iter(range(10_000))

    def write(_: int = 0) -> None:
        number = next(numbers)
        with indexes.writing("workers") as index:
            index.add([Item(id=f"new {number}", vector=np.full(DIMENSION, number, dtype=np.float32))])
            index.delete([f"{number:05d}"])

    moved = migrate(indexes, source, target, Watch(advance=write))
    write()
    count = next(numbers)
    assert count >= 3
    ids = [entry[0] for entry in contents(indexes)]
    assert ids == [f"{n:05d}" for n in range(count, ITEMS)] + sorted(f"new {n}" for n in range(count))
    question = np.full(DIMENSION, 1, dtype=np.float32)
    assert moved.search([question], Query(k=1), ["vector"])[0].ids == ["new 1"]


@pytest.mark.requirement("V10")
def test_an_index_that_is_deleted_while_it_moves_is_gone(opened: Open, tmp_path: Path) -> None:
    indexes = opened(tmp_path)
    source = filled(indexes, "memory")
    dest = indexes.begin_successor(source, "lance")
    indexes.delete("workers")

    @contextmanager
    def last() -> Iterator[None]:
        yield

    with pytest.raises(IndexNotFound):
        indexes.exchange(source, dest, last)
    indexes.discard(dest, "")
    assert not list((tmp_path / "indexes").iterdir())


@pytest.mark.requirement("V3")
def test_who_still_holds_the_old_index_reads_the_new_one(opened: Open, tmp_path: Path) -> None:
    indexes = opened(tmp_path)
    source = filled(indexes, "lance")
    source.seal()
    migrate(indexes, source, "memory", Watch())
    assert source.get(["00003"]).metadata == [metadata(3)]
    assert source.page("", 3)[0].ids == ["00000", "00001", "00002"]
    assert len(source.search([np.ones(DIMENSION, dtype=np.float32)], Query(k=5), ["vector"])[0].ids) == 5
