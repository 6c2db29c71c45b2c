"""Rebuilds while everything else goes on: nothing is missing, and a kill leaves one state or the other."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.vectord.config import VectorConfig
from services.vectord.errors import IndexExists, IndexHasAlias, IndexNotFound, NotFinite
from services.vectord.files.manifest import Description
from services.vectord.operations.rebuild import rebuild_into
from services.vectord.operations.watch import Watch
from services.vectord.segments.building import Parameters, Stopped
from services.vectord.segments.snapshot import Query
from services.vectord.segments.storage import StorageType
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item
from services.vectord.tuning.trial import Promotion, Tuned

from .conftest import Opener

DIMENSION = 8
ROWS = 4500  # enough for a graph
OTHER = Parameters(m=8, ef_construction=40, ef_search=32)


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Indexes]:
    opened = Indexes(tmp_path / "data", VectorConfig(hot_bytes=1, quiet_seconds=0.05))
    opened.start()
    yield opened
    opened.close()


def vector(number: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    # Whole numbers: the same in float16.
    chance = random.Random(number)
    return np.array([chance.randint(-200, 200) for _ in range(DIMENSION)], dtype=np.float32)


def item(number: int) -> Item:
    return Item(id=f"{number:06d}", vector=vector(number), metadata=str(number).encode())


def put(index: Index, numbers: range) -> None:
    index.add([item(number) for number in numbers])


def described(name: str = "source") -> Description:
    return Description(name=name, dimension=DIMENSION, metric="l2")


def contents(index: Index) -> dict[str, tuple[bytes, tuple[float, ...]]]:
    found, more = index.page("", 100_000, with_vectors=True)
    assert not more
    assert found.vectors is not None
    vectors = [tuple(one) for one in found.vectors.tolist()]
    return dict(zip(found.ids, zip(found.metadata, vectors, strict=True), strict=True))


def expected(numbers: set[int]) -> dict[str, tuple[bytes, tuple[float, ...]]]:
    return {f"{number:06d}": (str(number).encode(), tuple(vector(number).tolist())) for number in numbers}


def between(*steps: Callable[[], object]) -> Watch:
    """Does one step each time that some rows were linked."""
    rest = list(steps)

    def advance(rows: int) -> None:
        if rest:
            rest.pop(0)()

    return Watch(advance=advance)


@pytest.mark.requirement("V10", "V8")
@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_writes_seals_and_merges_go_on_while_an_index_is_rebuilt(opener: Opener, storage: StorageType) -> None:
    index = opener.describe(described())
    put(index, range(ROWS))
    index.seal()
    put(index, range(ROWS, ROWS + 300))
    watch = between(
        lambda: index.delete(["000001", "004600"]),
        lambda: put(index, range(5000, 5300)),
        index.seal,
        lambda: index.delete(["000002", "005001"]),
        lambda: put(index, range(3)),
        index.seal,
        index.compact,
        lambda: index.delete(["000000", "005002"]),
    )
    tuned = Tuned().promoted(Promotion(parameters=OTHER, trial_id="1", recall=1.0, promoted_ns=1), Parameters())
    index.rebuild(replace(described(), parameters=OTHER, storage_type=storage), tuned=tuned, watch=watch)
    there = expected(set(range(ROWS + 300)) | set(range(5000, 5300)) - {5001, 5002}) | expected({1, 2})
    for gone in ("000000", "004600", "005001", "005002"):
        there.pop(gone, None)
    assert contents(index) == there
    assert (index.description.parameters, index.description.storage_type) == (OTHER, storage)
    index.close()
    again = opener.open(index.path)
    assert contents(again) == there
    assert (again.description.parameters, again.tuned) == (OTHER, tuned)
    again.compact(fresh=True)
    assert contents(again) == there
    assert again.info().segments == 1
    found = again.search([vector(4000)], Query(k=1), ["vector"])[0]
    assert (found.ids, found.distances) == (["004000"], [0.0])


@pytest.mark.requirement("V10", "X11")
def test_a_kill_during_a_rebuild_leaves_the_old_index_and_one_after_it_the_new(opener: Opener, tmp_path: Path) -> None:
    index = opener.describe(described())
    put(index, range(ROWS))
    killed: list[tuple[Path, int]] = []

    def kill() -> None:
        number = len(killed)
        put(index, range(6000 + number, 6001 + number))
        if number % 2:
            index.seal()
        copy = tmp_path / f"killed-{number}"
        shutil.copytree(index.path, copy)
        killed.append((copy, number))

    index.rebuild(replace(described(), parameters=OTHER), watch=between(*[kill] * 6))
    assert len(killed) == 6
    kill()
    for copy, number in killed:
        opened = opener.open(copy)
        assert contents(opened) == expected(set(range(ROWS)) | set(range(6000, 6001 + number)))
        assert (opened.description.parameters == OTHER) == (number == 6)
        assert len(list(copy.glob("*.lhv1"))) == opened.info().segments


@pytest.mark.requirement("V10")
def test_a_rebuild_that_is_stopped_leaves_the_index_as_it_was(opener: Opener) -> None:
    index = opener.describe(described())
    put(index, range(ROWS))
    index.seal()
    files = sorted(index.path.glob("*.lhv1"))
    looks = iter([False] * 5)
    with pytest.raises(Stopped):
        index.rebuild(replace(described(), parameters=OTHER), watch=Watch(stop=lambda: next(looks, True)))
    assert index.description == described()
    assert sorted(index.path.glob("*.lhv1")) == files
    assert contents(index) == expected(set(range(ROWS)))
    index.compact()


@pytest.mark.requirement("V10", "V8")
def test_vectors_that_float16_cannot_hold_keep_an_index_from_becoming_one(opener: Opener, indexes: Indexes) -> None:
    half = replace(described(), storage_type="float16")
    long = Item(id="long", vector=np.full(DIMENSION, 70_000, dtype=np.float32))
    index = opener.describe(described())
    put(index, range(ROWS))
    for when in (lambda: index.add([long]), index.seal):
        with pytest.raises(NotFinite):
            index.rebuild(half, watch=between(when))
        assert index.description == described()
    source = indexes.create(described())
    assert isinstance(source, Index)
    source.add([long])
    with pytest.raises(NotFinite):
        rebuild_into(indexes, source, replace(half, name="half"), "", Watch())
    assert [one.description.name for one in indexes.all()] == ["source"]


class Writers:
    """Write, read what they wrote, and delete, through an alias, until they are told to stop."""

    def __init__(self, indexes: Indexes, seed: int) -> None:
        self._indexes = indexes
        self._seed = seed
        self.there: set[int] = set()
        self.gone: set[int] = set()

    def run(self, done: threading.Event) -> None:
        begin = number = self._seed * 1_000_000
        while not done.is_set():
            with self._indexes.writing("live") as index:
                index.add([item(number), item(number + 1)])
            self.there |= {number, number + 1}
            found = self._indexes.get("live").search([vector(number)], Query(k=1), ["vector"])[0]
            assert found.distances == [0.0]
            if number > begin:
                with self._indexes.writing("live") as index:
                    assert index.delete([f"{number - 1:06d}"])[0].deleted == 1
                self.there.discard(number - 1)
            number += 2


@pytest.mark.requirement("V10", "X12")
def test_nothing_is_missing_in_an_index_that_took_over_under_writers(indexes: Indexes) -> None:
    source = indexes.create(described("generation 0"))
    assert isinstance(source, Index)
    put(source, range(ROWS))
    indexes.set_alias("live", "generation 0")
    done = threading.Event()
    writers = [Writers(indexes, seed) for seed in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(writer.run, done) for writer in writers]
        for generation in (1, 2, 3):
            present = indexes.graphs("live")
            made = rebuild_into(
                indexes, present, replace(present.description, name=f"generation {generation}"), "live", Watch()
            )
            assert indexes.get("live") is made
            made.rebuild(replace(made.description, parameters=OTHER if generation % 2 else Parameters()))
        done.set()
        for one in running:
            one.result(30)
    there = set(range(ROWS)).union(*(writer.there for writer in writers))
    assert contents(indexes.graphs("live")) == expected(there)
    assert indexes.aliases.get("live").previous == ("generation 2", "generation 1", "generation 0")


@pytest.mark.requirement("V10", "X11")
def test_what_was_being_made_is_gone_after_a_kill_and_what_was_published_is_there(tmp_path: Path) -> None:
    first = Indexes(tmp_path / "data", VectorConfig())
    source = first.create(described())
    assert isinstance(source, Index)
    put(source, range(50))
    made = first.begin(described("made"), "live")
    made.fill(source.snapshot)
    with pytest.raises(IndexNotFound):
        first.get("made")
    for name in ("MADE", "live"):
        with pytest.raises(IndexExists):
            first.create(described(name))
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    rebuild_into(first, source, described("other"), "old", Watch())
    first.discard(made, "live")
    first.create(described("made"))
    first.set_alias("live", "source")
    first.close()
    killed = Indexes(tmp_path / "killed", VectorConfig())
    assert [one.description.name for one in killed.all()] == ["source"]
    assert len(list((tmp_path / "killed" / "indexes").iterdir())) == 1
    killed.close()
    again = Indexes(tmp_path / "data", VectorConfig())
    assert [one.description.name for one in again.all()] == ["made", "other", "source"]
    assert contents(again.graphs("old")) == contents(again.graphs("source")) == expected(set(range(50)))
    assert again.aliases.get("LIVE").index == "source"
    with pytest.raises(IndexHasAlias):
        again.delete("other")
    again.delete_alias("old")
    again.delete("other")
    again.close()
