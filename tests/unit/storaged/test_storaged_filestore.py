"""The file back end keeps S3's promises: whole objects or none, exact keys, one winner."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from services.runtime.errors import InvalidArgument
from services.storaged.backend import Stored
from services.storaged.errors import (
    BucketNotEmpty,
    BucketNotFound,
    ObjectDamaged,
    ObjectExists,
    ObjectNotFound,
)
from services.storaged.filestore import FileBackend, FileStore
from services.storaged.record import RECORD_BYTES


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileBackend(tmp_path).open_bucket("primary")


def put(
    store: FileStore, key: str, data: bytes, *, create_only: bool = False, content_type: str = "text/csv"
) -> Stored:
    sink = store.begin(key, content_type=content_type, size=None)
    try:
        sink.write(data)
        return sink.commit(sha256=hashlib.sha256(data).hexdigest(), create_only=create_only)
    finally:
        sink.discard()


def get(store: FileStore, key: str) -> bytes:
    source = store.open(key)
    try:
        return b"".join(source.stream(0, source.info.size))
    finally:
        source.close()


def keys(store: FileStore, prefix: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, after="", limit=1_000)]


def file_of(tmp_path: Path, key: str) -> Path:
    (found,) = tmp_path.glob(f"primary-*/objects/{key}.object")
    return found


def leftovers(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("*/incoming/*"))


@pytest.mark.parametrize(
    "key",
    [
        "a",
        "name with spaces/and 'quotes\".csv",
        "50%/100%25/a:b?c#d&e=f.parquet",
        "日本語/Ünïcode/🙂",
        ".hidden/.tmp-1234/.object",
        "x" * 255,
        "日" * 85 + "/" + "y" * 255 + "/" + "é" * 127,
        "/".join("k" * 255 for _ in range(4)),
        "/".join("a" * 512),
    ],
)
def test_every_legal_key_comes_back_exactly(store: FileStore, key: str) -> None:
    put(store, key, key.encode())
    assert get(store, key) == key.encode()
    assert keys(store) == [key]
    assert store.stat(key).key == key
    assert store.delete(key)
    assert keys(store) == []


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", ".", "a/..", "../a", "a\nb", "a\0b", "x" * 256])
def test_an_illegal_key_is_refused_before_any_path_is_made_of_it(store: FileStore, key: str) -> None:
    with pytest.raises(InvalidArgument):
        store.begin(key, content_type="", size=None)
    with pytest.raises(InvalidArgument):
        store.open(key)
    with pytest.raises(InvalidArgument):
        store.delete(key)


@pytest.mark.requirement("S3")
def test_a_key_and_keys_below_it_exist_side_by_side(store: FileStore) -> None:
    for key in ("a", "a/b", "a/b/c", "a.object", "a.object/b"):
        put(store, key, key.encode())
    assert keys(store) == ["a", "a.object", "a.object/b", "a/b", "a/b/c"]
    assert get(store, "a") == b"a"
    assert store.delete("a/b")
    assert get(store, "a/b/c") == b"a/b/c"


def test_keys_differ_by_case_and_by_unicode_form(store: FileStore) -> None:
    for key in ("a", "A", "é", unicodedata.normalize("NFD", "é")):
        put(store, key, key.encode())
    assert keys(store) == sorted(["a", "A", "é", unicodedata.normalize("NFD", "é")])


def test_what_is_known_of_an_object_is_what_was_stored(store: FileStore) -> None:
    stored = put(store, "a", b"123", content_type="text/x-y")
    assert stored.created
    assert stored.info == store.stat("a") == store.list("", after="", limit=1)[0]
    assert (stored.info.size, stored.info.content_type) == (3, "text/x-y")
    assert stored.info.sha256 == hashlib.sha256(b"123").hexdigest()


def test_the_longest_key_with_the_longest_media_type_fits_its_record(store: FileStore) -> None:
    key = "/".join('"' * 255 for _ in range(4))
    put(store, key, b"x", content_type="\\" * 255)
    assert store.stat(key).content_type == "\\" * 255


def test_an_empty_object_is_an_object(store: FileStore) -> None:
    put(store, "a", b"")
    assert get(store, "a") == b""
    assert store.stat("a").size == 0


def test_a_person_finds_an_object_and_its_record_without_our_tools(store: FileStore, tmp_path: Path) -> None:
    put(store, "datasets/workers/1.csv", b"id\n1\n")
    data = file_of(tmp_path, "datasets/workers/1.csv").read_bytes()
    assert b'"key":"datasets/workers/1.csv"' in data.split(b"\n", 1)[0]
    assert data[RECORD_BYTES:] == b"id\n1\n"


def test_a_reader_keeps_the_bytes_it_opened_when_the_key_is_overwritten_or_deleted(store: FileStore) -> None:
    put(store, "a", b"old" * 1_000_000)
    first = store.open("a")
    assert not put(store, "a", b"new").created
    second = store.open("a")
    assert store.delete("a")
    assert b"".join(first.stream(0, 3_000_000)) == b"old" * 1_000_000
    assert b"".join(second.stream(0, 3)) == b"new"
    first.close()
    second.close()


@pytest.mark.requirement("S2")
def test_nothing_is_seen_before_the_commit_and_nothing_remains_without_one(store: FileStore, tmp_path: Path) -> None:
    sink = store.begin("a", content_type="", size=None)
    sink.write(b"half")
    assert keys(store) == []
    with pytest.raises(ObjectNotFound):
        store.open("a")
    sink.discard()
    assert leftovers(tmp_path) == []
    assert keys(store) == []


def test_creating_only_leaves_an_existing_object_alone(store: FileStore, tmp_path: Path) -> None:
    put(store, "a", b"first", create_only=True)
    with pytest.raises(ObjectExists):
        put(store, "a", b"second", create_only=True)
    assert get(store, "a") == b"first"
    assert leftovers(tmp_path) == []


def test_of_many_concurrent_creators_exactly_one_wins(store: FileStore) -> None:
    winners: list[int] = []
    losers: list[int] = []
    barrier = threading.Barrier(16)

    def create(number: int) -> None:
        barrier.wait()
        try:
            put(store, "new/key", b"%d" % number, create_only=True)
            winners.append(number)
        except ObjectExists:
            losers.append(number)

    run_all([threading.Thread(target=create, args=(number,)) for number in range(16)])
    assert len(winners) == 1
    assert len(losers) == 15
    assert get(store, "new/key") == b"%d" % winners[0]


def test_of_many_concurrent_overwriters_exactly_one_creates(store: FileStore) -> None:
    created: list[bool] = []
    barrier = threading.Barrier(8)

    def overwrite(number: int) -> None:
        barrier.wait()
        created.append(put(store, "a", bytes([number]) * 70_000).created)

    run_all([threading.Thread(target=overwrite, args=(number,)) for number in range(8)])
    assert sorted(created) == [False] * 7 + [True]
    assert len(set(get(store, "a"))) == 1


def test_writers_and_deleters_in_one_directory_never_meet_a_missing_one(store: FileStore) -> None:
    failures: list[BaseException] = []

    def come_and_go(number: int) -> None:
        try:
            for _ in range(30):
                put(store, f"deep/er/{number}", b"x")
                assert store.delete(f"deep/er/{number}")
        except BaseException as error:
            failures.append(error)

    run_all([threading.Thread(target=come_and_go, args=(number,)) for number in range(4)])
    assert failures == []
    assert keys(store) == []


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_deleting_says_whether_the_object_was_there_and_leaves_no_directories(store: FileStore, tmp_path: Path) -> None:
    put(store, "a/b/c", b"x")
    assert store.delete("a/b/c")
    assert not store.delete("a/b/c")
    assert list(tmp_path.glob("primary-*/objects/*")) == []


@pytest.mark.parametrize("damage", ["shorter", "longer", "record", "empty"])
def test_a_damaged_file_fails_loudly_and_is_still_listed(store: FileStore, tmp_path: Path, damage: str) -> None:
    put(store, "a", b"0123456789")
    file = file_of(tmp_path, "a")
    data = file.read_bytes()
    changed = {"shorter": data[:-1], "longer": data + b"x", "record": b"LHO2" + data[4:], "empty": b""}[damage]
    file.write_bytes(changed)
    with pytest.raises(ObjectDamaged):
        store.open("a")
    (listed,) = store.list("", after="", limit=10)
    assert (listed.key, listed.sha256) == ("a", "")
    put(store, "a", b"mended")
    assert get(store, "a") == b"mended"


def test_a_file_moved_to_another_key_is_not_served_under_it(store: FileStore, tmp_path: Path) -> None:
    put(store, "a", b"x")
    file = file_of(tmp_path, "a")
    file.rename(file.with_name("b.object"))
    with pytest.raises(ObjectDamaged):
        store.stat("b")


def test_foreign_files_in_the_tree_hide_nothing(store: FileStore, tmp_path: Path) -> None:
    put(store, "d/a", b"x")
    file_of(tmp_path, "d/a").with_name("notes.txt").write_text("by hand")
    assert keys(store) == ["d/a"]


def test_a_bucket_with_an_object_is_not_destroyed(store: FileStore) -> None:
    put(store, "a/b", b"x")
    with pytest.raises(BucketNotEmpty):
        store.destroy()
    assert get(store, "a/b") == b"x"


def test_an_upload_into_a_bucket_destroyed_meanwhile_is_refused(store: FileStore, tmp_path: Path) -> None:
    sink = store.begin("a", content_type="", size=None)
    sink.write(b"x")
    store.destroy()
    with pytest.raises(BucketNotFound):
        sink.commit(sha256="", create_only=False)
    sink.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.requirement("S2")
def test_objects_survive_a_restart_and_interrupted_uploads_do_not(store: FileStore, tmp_path: Path) -> None:
    put(store, "a", b"x")
    sink = store.begin("b", content_type="", size=None)
    sink.write(b"half")
    again = FileBackend(tmp_path).open_bucket("primary")
    assert keys(again) == ["a"]
    assert leftovers(tmp_path) == []
    sink.discard()


def test_no_room_is_an_error_of_its_own_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files is the one way to fill a disk that every machine has.
    script = f"""
        import resource, signal
        from pathlib import Path
        from services.storaged.errors import StorageFull
        from services.storaged.filestore import FileBackend
        store = FileBackend(Path({str(tmp_path)!r})).open_bucket("primary")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        sink = store.begin("a", content_type="", size=None)
        try:
            sink.write(b"x" * 200_000)
        except StorageFull:
            sink.discard()
            print("full", len(store.list("", after="", limit=1)))
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert ran.stdout == "full 0\n"
    assert leftovers(tmp_path) == []


class AgainstModel(RuleBasedStateMachine):
    """Any sequence of puts and deletes leaves what a dictionary would hold."""

    directory: Path
    numbers: Iterator[int]
    some_keys = st.sampled_from(["a", "a/b", "a/b/c", "a-b", "a.object", "b", "b/" + "x" * 220, "b/" + "x" * 230])

    def __init__(self) -> None:
        super().__init__()
        self.store = FileBackend(self.directory / str(next(self.numbers))).open_bucket("primary")
        self.model: dict[str, bytes] = {}

    @rule(key=some_keys, data=st.binary(max_size=8), create_only=st.booleans())
    def put(self, key: str, data: bytes, create_only: bool) -> None:
        if create_only and key in self.model:
            with pytest.raises(ObjectExists):
                put(self.store, key, data, create_only=True)
        else:
            assert put(self.store, key, data, create_only=create_only).created == (key not in self.model)
            self.model[key] = data

    @rule(key=some_keys)
    def delete(self, key: str) -> None:
        assert self.store.delete(key) == (self.model.pop(key, None) is not None)

    @invariant()
    def lists_what_the_model_holds(self) -> None:
        assert keys(self.store) == sorted(self.model)
        assert all(get(self.store, key) == data for key, data in self.model.items())


def test_any_sequence_of_puts_and_deletes_agrees_with_a_model(tmp_path: Path) -> None:
    AgainstModel.directory = tmp_path
    AgainstModel.numbers = iter(range(10_000))
    run_state_machine_as_test(AgainstModel, settings=settings(max_examples=25, stateful_step_count=15, deadline=None))
