"""What the table adds to an index: its index, its files, its one writer."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct

from services.vectord.config import VectorConfig
from services.vectord.errors import BackendHasNoExport, IndexLocked, IndexNotFound
from services.vectord.files.manifest import DamagedManifest
from services.vectord.lance import measuring
from services.vectord.lance.index import LanceIndex
from services.vectord.segments.filters import In
from services.vectord.segments.metric import METRICS, Floats, Metric
from services.vectord.segments.recall import check
from services.vectord.segments.snapshot import Query
from services.vectord.tree.items import Item
from tests.unit.vectord_lance.conftest import Make

DIMENSION = 32
ROWS = 6000


def metadata(number: int) -> bytes:
    message = Struct()
    message.update({"bucket": number % 50, "half": "ab"[number % 2]})
    return message.SerializeToString(deterministic=True)


def clustered(rows: int, seed: int = 0) -> Floats:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(40, DIMENSION))
    vectors = centres[random.integers(0, 40, rows)] + 0.4 * random.normal(size=(rows, DIMENSION))
    return vectors.astype(np.float32)


def items(vectors: Floats, begin: int = 0) -> list[Item]:
    return [
        Item(id=f"id-{number:06d}", vector=vector, metadata=metadata(number))
        for number, vector in enumerate(vectors, start=begin)
    ]


def ids_of(index: LanceIndex, vector: Floats, query: Query) -> list[str]:
    return index.search([vector], query, ["vector"])[0].ids


@pytest.mark.requirement("V3", "V4", "V5")
@pytest.mark.parametrize("metric", METRICS)
def test_a_large_table_is_searched_through_an_index_that_finds_what_a_scan_finds(make: Make, metric: Metric) -> None:
    index = make(metric, DIMENSION)
    vectors = clustered(ROWS)
    index.add(items(vectors))
    index.compact(fresh=True)
    approximation = index.snapshot.view.approximation  # type: ignore[attr-defined]
    assert approximation is not None
    assert 0 < approximation.probes <= approximation.partitions
    found = check(index.snapshot, sample=50)
    assert found is not None
    assert found.recall >= 0.95
    for condition, passing in ((In(field="half", values=["a"]), 2), (In(field="bucket", values=[7.0]), 50)):
        own = right = 0
        for question in clustered(20, seed=1):
            wanted = Query(k=10, filter=condition)
            near = set(ids_of(index, question, wanted))
            exact = ids_of(index, question, Query(k=10, filter=condition, exact=True))
            assert len(near) == 10
            assert all(int(item_id[3:]) % passing == 7 % passing * (passing > 2) for item_id in exact)
            own, right = own + len(near.intersection(exact)), right + len(exact)
        assert own >= 0.95 * right


@pytest.mark.requirement("V3")
def test_what_was_written_after_the_index_was_trained_is_found_at_once(make: Make) -> None:
    index = make("cosine", DIMENSION)
    vectors = clustered(ROWS)
    index.add(items(vectors))
    index.compact(fresh=True)
    fresh = clustered(300, seed=2)
    index.add(items(fresh, begin=ROWS))
    index.delete(["id-000000"])
    for _ in ("hot", "sealed", "indexed"):
        for number in (0, 150, 299):
            assert ids_of(index, fresh[number], Query(k=1)) == [f"id-{ROWS + number:06d}"]
        assert "id-000000" not in ids_of(index, vectors[0], Query(k=20))
        index.seal() if index.info().hot_count else index.compact(fresh=True)


@pytest.mark.requirement("V4", "V5")
def test_all_ties_are_known_though_the_index_proposes_few(make: Make) -> None:
    index = make("l2", DIMENSION)
    vectors = clustered(ROWS)
    vectors[1000:4000] = vectors[0]
    index.add(items(vectors))
    index.compact(fresh=True)
    nearest = ["id-000000", *(f"id-{number:06d}" for number in range(1000, 1009))]
    assert ids_of(index, vectors[0], Query(k=10)) == nearest
    assert len(ids_of(index, vectors[0], Query(k=5000))) == 5000


@pytest.mark.requirement("V6")
def test_a_version_that_no_manifest_names_is_undone_and_the_log_replayed(make: Make, tmp_path: Path) -> None:
    index = make("l2", 4)
    index.add(items(np.eye(4, dtype=np.float32)))
    before = (index.path / "manifest").read_bytes()
    copy = tmp_path / "killed"
    shutil.copytree(index.path, copy)
    index.seal()
    # The table is the later one; manifest and log are those from before: a kill between commit and manifest.
    shutil.rmtree(copy / "table.lance")
    shutil.copytree(index.path / "table.lance", copy / "table.lance")
    assert (copy / "manifest").read_bytes() == before
    again = LanceIndex.load(copy, VectorConfig())
    try:
        assert again.info().count == 4
        assert [again.get([f"id-{number:06d}"]).metadata for number in range(4)] == [[metadata(n)] for n in range(4)]
        again.seal()
        assert again.page("", 10)[0].ids == [f"id-{number:06d}" for number in range(4)]
    finally:
        again.close()


@pytest.mark.requirement("V6")
def test_a_creation_that_was_interrupted_is_completed(make: Make, tmp_path: Path) -> None:
    index = make("l2", 4)
    index.close()
    copy = tmp_path / "copy"
    shutil.copytree(index.path, copy)
    shutil.rmtree(copy / "table.lance" / "_versions")
    with pytest.raises(DamagedManifest):
        LanceIndex.load(copy, VectorConfig())
    # The lock was given back.
    with pytest.raises(DamagedManifest):
        LanceIndex.load(copy, VectorConfig())


def test_a_second_writer_is_refused_in_this_process_and_in_another(make: Make) -> None:
    index = make("l2", 4)
    with pytest.raises(IndexLocked):
        LanceIndex.load(index.path, VectorConfig())
    program = (
        "import sys; from pathlib import Path\n"
        "from services.vectord.errors import IndexLocked\n"
        "from services.vectord.lance.lock import TableLock\n"
        "try: TableLock(Path(sys.argv[1]))\n"
        "except IndexLocked: sys.exit(7)\n"
    )
    command = [sys.executable, "-c", program, str(index.path)]
    assert subprocess.run(command, check=False).returncode == 7
    index.close()
    assert subprocess.run(command, check=False).returncode == 0


def test_without_the_library_it_is_said_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['lance'] = None\n"
        "from services.vectord.tree.backends import BACKENDS\n"
        "from services.vectord.errors import BackendNotInstalled\n"
        "try: BACKENDS['lance'].check()\n"
        "except BackendNotInstalled as error: print(error.metadata['install'])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "lakehouse[lance]"


def test_the_library_is_not_loaded_before_the_first_index_needs_it() -> None:
    program = "import sys; import services.mesh, services.vectord.tree.backends; sys.exit('lance' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.requirement("V3")
def test_a_search_that_has_begun_ends_well_when_the_index_is_deleted(make: Make) -> None:
    index = make("l2", DIMENSION)
    vectors = clustered(2000)
    index.add(items(vectors))
    index.seal()
    begun = threading.Event()
    failures: list[Exception] = []

    def search() -> None:
        while True:
            try:
                assert len(ids_of(index, vectors[0], Query(k=5, exact=True))) == 5
            except IndexNotFound:
                return
            except Exception as error:
                failures.append(error)
                return
            begun.set()

    searching = [threading.Thread(target=search) for _ in range(3)]
    for thread in searching:
        thread.start()
    assert begun.wait(30)
    assert index.retire() == 2000
    shutil.rmtree(index.path)
    for thread in searching:
        thread.join(30)
    assert not failures


@pytest.mark.requirement("V3")
def test_writes_and_searches_go_on_while_the_table_is_tidied(make: Make) -> None:
    index = make("l2", DIMENSION)
    index.add(items(clustered(600)))
    stop = threading.Event()
    failures: list[Exception] = []

    def tidy() -> None:
        try:
            while not stop.is_set():
                index.compact(fresh=True)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=tidy)
    thread.start()
    try:
        for number in range(40):
            vector = np.full(DIMENSION, 100.0 + number, dtype=np.float32)
            index.add([Item(id=f"id-{number:06d}", vector=vector)])
            assert ids_of(index, vector, Query(k=1)) == [f"id-{number:06d}"]
            assert index.get([f"id-{number:06d}"]).metadata == [metadata(number)]
    finally:
        stop.set()
        thread.join(60)
    assert not failures
    assert index.info().count == 600


def test_old_versions_are_removed(make: Make) -> None:
    index = make("l2", 4)
    for number in range(6):
        index.add(items(np.eye(4, dtype=np.float32), begin=4 * number))
        index.seal()
    index.compact(fresh=True)
    assert len(list((index.path / "table.lance" / "_versions").glob("*.manifest"))) == 1
    assert not index.chores()
    assert index.info().segments == 1


def test_there_is_no_export(make: Make) -> None:
    with pytest.raises(BackendHasNoExport):
        make().export()


def test_more_rows_get_more_partitions() -> None:
    assert [measuring.partitions(rows) for rows in (10, 5_000, 100_000, 1_000_000, 10_000_000)] == [1, 4, 97, 256, 2441]


@pytest.mark.requirement("V5")
def test_ids_are_what_they_are_whatever_they_look_like(make: Make) -> None:
    index = make("l2", 4)
    strange = ["it's", "'", "''; drop", 'a"b', "a\\b", "%", "a\nb", "\u2028", "é", "𝄞", "x" * 1024]
    index.add([Item(id=item_id, vector=np.ones(4, dtype=np.float32)) for item_id in strange])
    index.seal()
    assert index.get(strange).ids == strange
    assert index.page("", 100)[0].ids == sorted(strange)
    assert ids_of(index, np.ones(4, dtype=np.float32), Query(k=20, only_ids=strange[:3])) == sorted(strange[:3])
    applied, count = index.delete(strange[1:])
    assert (applied.deleted, count) == (len(strange) - 1, 1)
