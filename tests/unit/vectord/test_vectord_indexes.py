"""All indexes: named, listed, deleted, merged, kept tidy, and independent of each other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.runtime.errors import InvalidArgument
from services.vectord.config import VectorConfig
from services.vectord.errors import (
    DimensionsDiffer,
    IndexExists,
    IndexNotFound,
    SelfMerge,
)
from services.vectord.files.manifest import Description
from services.vectord.segments.building import Parameters
from services.vectord.segments.metric import Metric
from services.vectord.segments.snapshot import Query
from services.vectord.tree.engine import Engine, Stop, never
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Indexes]:
    opened = Indexes(tmp_path, VectorConfig())
    yield opened
    opened.close()


def described(name: str, *, dimension: int = 2, metric: Metric = "l2") -> Description:
    return Description(name=name, dimension=dimension, metric=metric)


def fill(index: Engine, numbers: range, metadata: bytes = b"") -> None:
    index.add([Item(id=f"{n:04d}", vector=np.array([n, 1], dtype=np.float32), metadata=metadata) for n in numbers])


def compact(index: Engine, stop: Stop = never) -> None:
    assert isinstance(index, Index)
    index.compact(stop=stop)


def ids(index: Engine) -> list[str]:
    return index.page("", 10_000)[0].ids


def eventually(holds: Callable[[], bool]) -> None:
    """Waits until something holds, ten seconds at most."""
    end = time.monotonic() + 10
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < end, "it never came about"
        pause.wait(0.02)


@pytest.mark.requirement("X14", "V1")
def test_a_name_is_taken_without_regard_to_case_and_normal_form(indexes: Indexes) -> None:
    indexes.create(described("Caf\N{LATIN SMALL LETTER E WITH ACUTE}"))
    with pytest.raises(IndexExists) as raised:
        indexes.create(described("CAFE\N{COMBINING ACUTE ACCENT}"))
    assert raised.value.metadata["existing"] == "Caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    assert indexes.get("cafe\N{COMBINING ACUTE ACCENT}").description.name.startswith("Caf")


@pytest.mark.parametrize("name", ["", " a", "a/b", "..", "a\nb", "x" * 129])
def test_a_bad_name_is_refused(indexes: Indexes, name: str) -> None:
    with pytest.raises(InvalidArgument):
        indexes.create(described(name))
    assert indexes.all() == []


@pytest.mark.requirement("X14")
@pytest.mark.parametrize("name", ["a b", "50%", "a:b", "'\"", "\N{SNOWMAN}", "_", "x" * 128, "\N{GRINNING FACE}" * 128])
def test_any_legal_name_survives_a_restart(tmp_path: Path, name: str) -> None:
    first = Indexes(tmp_path, VectorConfig())
    fill(first.create(described(name)), range(3))
    first.close()
    second = Indexes(tmp_path, VectorConfig())
    assert [index.description.name for index in second.all()] == [name]
    assert ids(second.get(name)) == ["0000", "0001", "0002"]
    second.close()


def test_of_many_creators_of_one_name_exactly_one_wins(indexes: Indexes) -> None:
    def create(number: int) -> bool:
        try:
            indexes.create(described("same" if number % 2 else "SAME"))
        except IndexExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(16))) == 1
    assert len(indexes.all()) == 1


def test_what_cannot_be_built_is_refused(indexes: Indexes) -> None:
    with pytest.raises(InvalidArgument):
        indexes.create(Description(name="a", dimension=2, metric="l2", parameters=Parameters(m=1)))
    assert indexes.all() == []


def test_pages_hold_the_indexes_in_the_order_of_their_names(indexes: Indexes) -> None:
    for name in ("c", "a", "d", "b"):
        indexes.create(described(name))
    first, more = indexes.page("", 3)
    assert ([index.description.name for index in first], more) == (["a", "b", "c"], True)
    rest, more = indexes.page("c", 3)
    assert ([index.description.name for index in rest], more) == (["d"], False)


@pytest.mark.requirement("V6")
def test_a_deleted_index_leaves_nothing_and_its_name_is_free(indexes: Indexes, tmp_path: Path) -> None:
    fill(indexes.create(described("Gone")), range(5))
    assert indexes.delete("GONE") == 5
    with pytest.raises(IndexNotFound):
        indexes.get("gone")
    with pytest.raises(IndexNotFound):
        indexes.delete("gone")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert ids(indexes.create(described("gone"))) == []
    assert indexes.get("Gone").info().count == 0


def test_an_index_deleted_while_it_is_sealed_leaves_nothing(indexes: Indexes, tmp_path: Path) -> None:
    index = indexes.create(described("gone"))
    fill(index, range(2000))

    def delete_and_create_again() -> bool:
        if "gone" in [index.description.name for index in indexes.all()]:
            indexes.delete("gone")
            indexes.create(described("gone", dimension=3))
        return False

    compact(index, delete_and_create_again)
    assert list(tmp_path.rglob("*.lhv1")) == []
    assert indexes.get("gone").info().count == 0


@pytest.mark.requirement("X11")
def test_an_index_that_cannot_be_opened_does_not_keep_the_others_from_opening(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Indexes(tmp_path, VectorConfig())
    for name in ("one", "two", "three"):
        fill(first.create(described(name)), range(3))
    first.close()
    next((tmp_path / "indexes").glob("two-*/manifest")).write_bytes(b"nonsense")
    with caplog.at_level(logging.ERROR):
        second = Indexes(tmp_path, VectorConfig())
    assert [index.description.name for index in second.all()] == ["one", "three"]
    assert "two-" in caplog.text
    assert len(list((tmp_path / "indexes").glob("two-*/*.log"))) == 1
    second.close()


def test_a_creation_that_was_interrupted_leaves_nothing(tmp_path: Path) -> None:
    half = tmp_path / "indexes" / "half-0123"
    half.mkdir(parents=True)
    (half / "00000001.log").touch()
    (half / ".tmp-0123").write_bytes(b"LHR1")
    Indexes(tmp_path, VectorConfig()).close()
    assert not half.exists()


def test_indexes_are_sealed_and_tidied_in_the_background(tmp_path: Path) -> None:
    indexes = Indexes(tmp_path, VectorConfig(hot_bytes=1, quiet_seconds=0.05))
    indexes.start()
    index = indexes.create(described("busy"))
    fill(index, range(500))
    eventually(lambda: index.info().hot_count == 0)
    fill(index, range(500, 700))
    eventually(lambda: (index.info().segments, index.info().hot_count) == (1, 0))
    found = index.search([np.array([600, 1], dtype=np.float32)], Query(k=1), ["vector"])[0]
    assert found.ids == ["0600"]
    indexes.close()


def test_a_failing_seal_does_not_end_the_background_work(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    indexes = Indexes(tmp_path, VectorConfig(hot_bytes=1))
    failing, working = indexes.create(described("failing")), indexes.create(described("working"))
    (failing.path / "00000001.lhv1").mkdir()
    fill(failing, range(300))
    fill(working, range(300))
    with caplog.at_level(logging.ERROR):
        indexes.start()
        eventually(lambda: working.info().segments == 1)
    assert "failing" in caplog.text
    assert ids(failing) == ids(working)
    indexes.close()


@pytest.mark.requirement("V7")
def test_a_merge_copies_what_is_missing_and_may_be_repeated(indexes: Indexes) -> None:
    source, dest = indexes.create(described("source")), indexes.create(described("dest"))
    fill(source, range(2500), metadata=b"\n\x00")
    compact(source)
    fill(dest, range(2400, 2600), metadata=b"")
    merged = indexes.merge("source", "dest", clear_source=False)
    assert (merged.merged, merged.skipped, merged.failed) == (2400, 100, 0)
    assert (merged.source_count, merged.dest_count) == (2500, 2600)
    assert dest.get(["0000", "2400"]).metadata == [b"\n\x00", b""]
    again = indexes.merge("SOURCE", "DEST", clear_source=False)
    assert (again.merged, again.skipped, again.dest_count) == (0, 2500, 2600)


@pytest.mark.requirement("V7")
def test_a_merge_may_clear_the_source_of_what_is_in_the_destination(indexes: Indexes) -> None:
    source, dest = indexes.create(described("source")), indexes.create(described("dest", metric="cosine"))
    fill(source, range(1, 20))
    source.add([Item(id="zero", vector=np.zeros(2, dtype=np.float32))])
    fill(dest, range(10, 12))
    merged = indexes.merge("source", "dest", clear_source=True)
    assert (merged.merged, merged.skipped, merged.failed) == (17, 2, 1)
    assert (merged.source_count, merged.dest_count) == (1, 19)
    assert ids(source) == ["zero"]


@pytest.mark.requirement("V7")
def test_what_changed_in_the_source_during_a_merge_stays_there(indexes: Indexes) -> None:
    source = indexes.create(described("source"))
    fill(source, range(4))
    seen, _ = source.page("", 10, with_vectors=True)
    source.add([Item(id="0001", vector=np.array([9, 9], dtype=np.float32))])
    source.add([Item(id="0002", vector=np.array([2, 1], dtype=np.float32), metadata=b"\n\x00")])
    compact(source)
    assert source.delete_unchanged(seen).deleted == 2
    assert ids(source) == ["0001", "0002"]


@pytest.mark.requirement("V7")
def test_a_merge_that_makes_no_sense_is_refused(indexes: Indexes) -> None:
    indexes.create(described("a"))
    indexes.create(described("b", dimension=3))
    with pytest.raises(SelfMerge):
        indexes.merge("a", "A", clear_source=True)
    with pytest.raises(DimensionsDiffer) as raised:
        indexes.merge("a", "b", clear_source=True)
    assert raised.value.reason == "WRONG_DIMENSION"
    with pytest.raises(IndexNotFound):
        indexes.merge("a", "c", clear_source=True)
    with pytest.raises(IndexNotFound):
        indexes.merge("c", "a", clear_source=True)
