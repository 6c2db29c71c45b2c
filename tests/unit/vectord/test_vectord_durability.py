"""What was acknowledged survives a kill at any moment; what is damaged is reported and never served (X11, V6)."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from services.vectord.config import VectorConfig
from services.vectord.errors import IndexStopped, LogUnwritable
from services.vectord.files import manifest
from services.vectord.files.manifest import DamagedManifest
from services.vectord.segments.hot import HotSegment
from services.vectord.segments.snapshot import Query
from services.vectord.tree.index import Index
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item

from .conftest import Opener

# Adds, replaces and deletes items in batches while they are sealed in the background; says what it
# is about to do and what was acknowledged. The version of an item is its vector and its metadata.
WRITER = """
import random, sys
from pathlib import Path
import numpy as np
from services.vectord.config import VectorConfig
from services.vectord.tree.indexes import Indexes
from services.vectord.tree.items import Item
from services.vectord.files.manifest import Description

data, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
indexes = Indexes(data, VectorConfig(hot_bytes=1, quiet_seconds=0.05))
indexes.start()
if not indexes.all():
    indexes.create(Description(name="killed", dimension=4, metric="l2"))
index = indexes.get("killed")
version = seed * 1_000_000
while True:
    version += 1
    ids = [str(number) for number in chance.sample(range(3000), chance.randint(1, 120))]
    if chance.random() < 0.2:
        print("try", 0, *ids, flush=True)
        index.delete(ids)
        print("ok", 0, *ids, flush=True)
    else:
        print("try", version, *ids, flush=True)
        vector = np.full(4, version, dtype=np.float32)
        index.add([Item(id=i, vector=vector, metadata=str(version).encode()) for i in ids])
        print("ok", version, *ids, flush=True)
"""


def write_until_killed(data: Path, seed: int, lines: int) -> list[list[str]]:
    """Runs the writer, kills it after some lines, returns what it said."""
    command = [sys.executable, "-c", WRITER, str(data), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        said += process.stdout.readlines()
    # The last line may be cut.
    return [line.split() for line in said if line.endswith("\n")]


@pytest.mark.requirement("V6", "X11")
def test_nothing_acknowledged_is_lost_and_nothing_else_appears_when_the_process_is_killed(tmp_path: Path) -> None:
    acknowledged: dict[str, int] = {}
    for seed in (1, 2):
        under_way: dict[str, int] = {}
        for word, version, *ids in write_until_killed(tmp_path, seed, lines=150 * seed):
            if word == "ok":
                acknowledged |= dict.fromkeys(ids, int(version))
                under_way = {}
            else:
                under_way = dict.fromkeys(ids, int(version))
        stored = read_back(tmp_path)
        expected = {item_id: version for item_id, version in acknowledged.items() if version}
        with_the_last = {item_id: version for item_id, version in (acknowledged | under_way).items() if version}
        assert stored in (expected, with_the_last)
        acknowledged = stored


def read_back(data: Path) -> dict[str, int]:
    """The version of every item, after checking that its parts agree and that it is there once."""
    indexes = Indexes(data, VectorConfig())
    found, more = indexes.get("killed").page("", 10_000, with_vectors=True)
    problems = indexes.get("killed").info().problems
    indexes.close()
    assert not more
    assert all("unfinished write" in problem for problem in problems)
    assert len(set(found.ids)) == len(found.ids)
    versions = [int(one) for one in found.metadata]
    assert found.vectors is not None
    assert not found.ids or np.array_equal(found.vectors[:, 0], np.array(versions, dtype=np.float32))
    return dict(zip(found.ids, versions, strict=True))


def fill(index: Index, start: int, count: int, *, scale: float = 1.0) -> None:
    random = np.random.default_rng(start)
    vectors = scale * random.standard_normal((count, 16)).astype(np.float32)
    index.add([Item(id=f"{start + row:05d}", vector=vector, metadata=b"") for row, vector in enumerate(vectors)])


def contents(index: Index) -> list[tuple[str, bytes]]:
    found, _ = index.page("", 100_000, with_vectors=True)
    assert found.vectors is not None
    return [(item_id, vector.tobytes()) for item_id, vector in zip(found.ids, found.vectors, strict=True)]


@pytest.fixture
def twice_sealed(opener: Opener) -> Index:
    """Two sealed segments, rows that died since, and a log with writes."""
    index = opener.create("l2")
    fill(index, 0, 1000)
    index.compact()
    fill(index, 1000, 300)
    index.compact(growth=0)
    assert index.info().segments == 2
    fill(index, 900, 200, scale=2)
    index.delete([f"{row:05d}" for row in range(50)])
    return index


@pytest.mark.requirement("V6", "X11")
def test_a_kill_while_a_segment_is_built_leaves_the_state_before(twice_sealed: Index, opener: Opener) -> None:
    before = contents(twice_sealed)
    copies: list[Path] = []

    def copy() -> bool:
        copies.append(shutil.copytree(twice_sealed.path, twice_sealed.path.with_name(f"copy-{len(copies)}")))
        return False

    twice_sealed.compact(stop=copy)
    assert copies
    for path in copies:
        reopened = opener.open(path)
        assert contents(reopened) == before
        fill(reopened, 5000, 10)
        reopened.compact()
        assert len(contents(reopened)) == len(before) + 10


@pytest.mark.requirement("V6", "X11")
def test_a_kill_between_the_segment_and_the_manifest_leaves_the_state_before(
    twice_sealed: Index, opener: Opener
) -> None:
    before = contents(twice_sealed)
    copy = twice_sealed.path.with_name("copy")
    shutil.copytree(twice_sealed.path, copy)
    twice_sealed.compact(growth=100)
    built = [file for file in twice_sealed.path.glob("*.lhv1") if not (copy / file.name).exists()]
    assert len(built) == 1
    shutil.copy(built[0], copy)
    (copy / "00000009.log").touch()
    reopened = opener.open(copy)
    assert contents(reopened) == before
    assert not (copy / built[0].name).exists()


@pytest.mark.requirement("V6", "X11")
def test_a_kill_after_the_manifest_leaves_the_state_after(twice_sealed: Index, opener: Opener) -> None:
    before = contents(twice_sealed)
    copy = twice_sealed.path.with_name("copy")
    shutil.copytree(twice_sealed.path, copy)
    old = {file.name for file in copy.iterdir()}
    twice_sealed.compact(growth=100)
    shutil.copytree(twice_sealed.path, copy, dirs_exist_ok=True)
    reopened = opener.open(copy)
    assert contents(reopened) == before
    assert reopened.info().segments == 1
    assert {file.name for file in copy.glob("*.lhv1")}.isdisjoint(old)


@pytest.mark.requirement("V6", "X11")
def test_a_build_that_fails_leaves_the_index_as_it_was_and_the_next_one_succeeds(twice_sealed: Index) -> None:
    before = contents(twice_sealed)
    # The next segment's name is taken by a directory, so that it cannot be written.
    obstacle = twice_sealed.path / "00000003.lhv1"
    obstacle.mkdir()
    with pytest.raises(OSError):
        twice_sealed.compact(growth=100)
    assert contents(twice_sealed) == before
    fill(twice_sealed, 5000, 10)
    assert twice_sealed.due() is not None
    obstacle.rmdir()
    twice_sealed.compact(growth=100)
    assert len(contents(twice_sealed)) == len(before) + 10
    info = twice_sealed.info()
    assert (info.segments, info.hot_count) == (1, 0)


@pytest.mark.requirement("V6", "X11")
def test_a_write_that_the_disk_refuses_changes_nothing(opener: Opener) -> None:
    index = opener.create("l2")
    fill(index, 0, 10)
    before = contents(index)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((index.path / "00000001.log").stat().st_size + 100, usual[1]))
    try:
        with pytest.raises(LogUnwritable):
            fill(index, 10, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert contents(index) == before
    fill(index, 20, 5)
    index.close()
    reopened = opener.open(index.path)
    assert (len(contents(reopened)), reopened.info().problems) == (15, ())


@pytest.mark.requirement("V6", "X11")
@pytest.mark.parametrize("rows", [300, 6000])
def test_a_disk_that_is_full_in_the_middle_of_a_seal_or_a_merge_costs_nothing(opener: Opener, rows: int) -> None:
    index = opener.create("l2")
    for start in range(0, rows, 300):
        fill(index, start, 300)
        if start:
            index.seal()
    before = contents(index)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Enough for a manifest, and for what stands before the vectors in a segment.
    resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, usual[1]))
    try:
        with pytest.raises(OSError):
            index.compact(growth=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert contents(index) == before
    index.close()
    reopened = opener.open(index.path)
    assert (contents(reopened), reopened.info().problems) == (before, ())
    reopened.compact(growth=100)
    assert (contents(reopened), reopened.info().segments) == (before, 1)
    named = {entry.file for entry in manifest.read(reopened.path / "manifest").segments}
    assert {file.name for file in reopened.path.glob("*.lhv1")} == named
    assert not list(reopened.path.glob(".tmp-*"))


@pytest.mark.requirement("V6", "X11")
def test_a_seal_never_waits_for_a_merge_and_both_survive_a_kill_at_any_moment(opener: Opener) -> None:
    index = opener.create("l2")
    for start in range(0, 1350, 150):
        fill(index, start, 150)
        index.seal()
    states: list[list[tuple[str, bytes]]] = []
    copies: list[Path] = []

    def seal_meanwhile() -> bool:
        number = len(states)
        if number < 6:
            fill(index, 75 + 300 * number, 200, scale=number + 2)
            index.delete([f"{row:05d}" for row in range(200 * number, 200 * number + 50)])
            if number != 3:
                index.seal()
            states.append(contents(index))
            copies.append(shutil.copytree(index.path, index.path.with_name(f"copy-{number}")))
        return False

    index.compact(growth=100, stop=seal_meanwhile)
    assert len(states) == 6
    assert contents(index) == states[-1]
    copies.append(shutil.copytree(index.path, index.path.with_name("after")))
    states.append(states[-1])
    for path, state in zip(copies, states, strict=True):
        reopened = opener.open(path)
        assert contents(reopened) == state
        reopened.compact(growth=100)
        assert contents(reopened) == state
    fill(index, 0, 10, scale=50)
    index.seal()
    expected = contents(index)
    index.close()
    assert contents(opener.open(index.path)) == expected


def spoil(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 0xFF
    file.write_bytes(data)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.requirement("V6", "X11")
@pytest.mark.parametrize(
    "damage",
    [
        lambda file: spoil(file, 0),
        lambda file: spoil(file, 6),
        lambda file: spoil(file, 500),
        lambda file: spoil(file, -1),
        cut_short,
        lambda file: file.write_bytes(b""),
        Path.unlink,
    ],
)
def test_a_damaged_segment_is_reported_and_the_rest_is_served(
    twice_sealed: Index, opener: Opener, damage: Callable[[Path], object]
) -> None:
    before = dict(contents(twice_sealed))
    twice_sealed.close()
    damage(twice_sealed.path / "00000001.lhv1")
    reopened = opener.open(twice_sealed.path)
    left = {item_id: vector for item_id, vector in before.items() if item_id >= "00900"}
    assert dict(contents(reopened)) == left
    assert len(reopened.search([np.ones(16, dtype=np.float32)], Query(k=1000), ["vector"])[0].ids) == len(left)
    assert ["1000 items are lost" in problem for problem in reopened.info().problems] == [True]
    # It is not forgotten when the log is cut, and the file, if any, is kept for whoever can mend it.
    fill(reopened, 5000, 10)
    reopened.compact()
    reopened.close()
    again = opener.open(twice_sealed.path)
    assert len(again.info().problems) == 1
    assert len(contents(again)) == len(left) + 10
    assert (twice_sealed.path / "00000001.lhv1.damaged").exists() == (damage is not Path.unlink)


@pytest.mark.requirement("V6", "X11")
def test_a_damaged_write_is_reported_and_the_others_are_kept(opener: Opener) -> None:
    index = opener.create("l2")
    for start in range(0, 50, 10):
        fill(index, start, 10)
    before = contents(index)
    index.close()
    log = index.path / "00000001.log"
    spoil(log, log.stat().st_size // 2)
    reopened = opener.open(index.path)
    assert contents(reopened) == before[:20] + before[30:]
    assert len(reopened.info().problems) == 1
    reopened.compact()
    reopened.close()
    again = opener.open(index.path)
    assert contents(again) == before[:20] + before[30:]
    assert len(again.info().problems) == 1
    assert (index.path / "00000001.log.damaged").exists()


@pytest.mark.requirement("V6", "X11")
def test_an_unfinished_write_is_set_aside_and_soon_forgotten(opener: Opener) -> None:
    index = opener.create("l2")
    fill(index, 0, 10)
    before = contents(index)
    fill(index, 10, 10)
    index.close()
    cut_short(index.path / "00000001.log")
    reopened = opener.open(index.path)
    assert contents(reopened) == before
    assert len(reopened.info().problems) == 1
    fill(reopened, 20, 5)
    reopened.close()
    again = opener.open(index.path)
    assert (len(contents(again)), again.info().problems) == (15, ())


@pytest.mark.requirement("V6", "X11")
def test_a_damaged_manifest_is_an_error_of_that_index_alone(opener: Opener) -> None:
    index = opener.create()
    index.close()
    spoil(index.path / "manifest", 60)
    with pytest.raises(DamagedManifest):
        opener.open(index.path)


@pytest.mark.requirement("V3")
def test_writers_readers_and_seals_do_not_disturb_each_other(opener: Opener) -> None:
    index = opener.create("l2", config=VectorConfig(hot_bytes=1))
    done = threading.Event()
    problems: list[str] = []
    added: list[list[int]] = [[], []]

    def write(writer: int) -> None:
        for number in range(writer, 500, 2):
            vector = np.full(16, number, dtype=np.float32)
            index.add([Item(id=f"{number}", vector=vector), Item(id=f"again-{writer}", vector=vector)])
            added[writer].append(number)

    def read(writer: int) -> None:
        while not done.is_set():
            known = list(added[writer][-1:]) + list(added[writer][:: max(1, len(added[writer]) // 5)])
            for number in known:
                found = index.search([np.full(16, number, dtype=np.float32)], Query(k=2), ["vector"])[0]
                if f"{number}" not in found.ids or found.distances[0] != 0:
                    problems.append(f"{number} was not found but {found.ids}")
                if len(index.get([f"{number}", f"again-{writer}"]).ids) != 2:
                    problems.append(f"{number} could not be read")

    def seal() -> None:
        while not done.is_set():
            growth = index.due()
            if growth is not None:
                index.compact(growth)

    helpers = [threading.Thread(target=work, args=arguments) for work, *arguments in ((read, 0), (read, 1), (seal,))]
    writers = [threading.Thread(target=write, args=(writer,)) for writer in (0, 1)]
    for thread in [*helpers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in helpers:
        thread.join()
    assert not problems
    assert index.info().count == 502
    assert index.info().segments >= 1
    reopened = opener.open(index.path)
    assert reopened.info().count == 502


@pytest.mark.requirement("X11")
def test_an_index_that_cannot_apply_what_it_logged_stops_rather_than_forget_it(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opener.create("l2")
    fill(index, 0, 10)
    before = contents(index)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(HotSegment, "append", fail)
        with pytest.raises(MemoryError):
            fill(index, 10, 10)
    with pytest.raises(IndexStopped):
        fill(index, 20, 10)
    assert contents(index) == before
    assert len(index.info().problems) == 1
    index.close()
    reopened = opener.open(index.path)
    assert (len(contents(reopened)), reopened.info().problems) == (20, ())
    fill(reopened, 20, 10)


@pytest.mark.requirement("X11")
def test_memory_that_cannot_be_had_is_noticed_before_the_log_is_written(
    opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opener.create("l2")
    fill(index, 0, 10)
    before = contents(index)

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(HotSegment, "reserve", fail)
        with pytest.raises(MemoryError):
            fill(index, 10, 10)
    assert contents(index) == before
    fill(index, 20, 10)
    index.close()
    assert len(contents(opener.open(index.path))) == 20
