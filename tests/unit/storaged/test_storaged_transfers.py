"""Uploads end whole or leave nothing; downloads end whole or fail."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import threading
from pathlib import Path

import pytest

from services.runtime.errors import Cancelled, InvalidArgument
from services.storaged.backend import PIECE_BYTES
from services.storaged.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectNotFound,
    ObjectTooLarge,
    RangeNotSatisfiable,
    SizeMismatch,
)
from services.storaged.filestore import FileBackend, FileStore
from services.storaged.record import RECORD_BYTES
from services.storaged.transfers import Download, Upload, UploadRequest


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileBackend(tmp_path).open_bucket("primary")


def upload(
    store: FileStore,
    key: str = "a",
    *,
    declared: int | None = None,
    limit: int = 1 << 30,
    create_only: bool = False,
    content_type: str = "text/csv",
) -> Upload:
    request = UploadRequest(key=key, content_type=content_type, create_only=create_only, declared=declared, limit=limit)
    return Upload(store, request)


def stored(store: FileStore, data: bytes) -> str:
    sending = upload(store)
    sending.add(data)
    sha256 = sending.commit().info.sha256
    sending.close()
    return sha256


def received(store: FileStore, offset: int = 0, length: int | None = None) -> bytes:
    download = Download(store, "a", offset=offset, length=length)
    try:
        opened = download.open()
        data = opened.first + b"".join(iter(download.next_piece, b""))
        assert len(data) == opened.size
        return data
    finally:
        download.close()


def nothing_remains(store: FileStore, tmp_path: Path) -> bool:
    return store.list("", after="", limit=1) == [] and list(tmp_path.glob("*/incoming/*")) == []


def test_the_checksum_is_that_of_the_bytes(store: FileStore) -> None:
    data = bytes(range(256)) * 20_000
    assert stored(store, data) == hashlib.sha256(data).hexdigest()
    assert received(store) == data


def test_small_pieces_are_gathered_before_they_are_written(store: FileStore) -> None:
    sending = upload(store)
    asked_to_flush = [sending.add(b"x" * 65_536) for _ in range(16)]
    assert asked_to_flush == [False] * 15 + [True]
    sending.flush()
    assert not sending.add(b"x" * 65_536)
    assert sending.commit().info.size == 17 * 65_536
    sending.close()


def test_no_bytes_at_all_make_an_empty_object(store: FileStore) -> None:
    sending = upload(store)
    info = sending.commit().info
    sending.close()
    assert (info.size, info.sha256) == (0, hashlib.sha256().hexdigest())
    assert received(store) == b""


def test_a_declared_size_over_the_limit_is_refused_before_any_byte(store: FileStore) -> None:
    with pytest.raises(ObjectTooLarge):
        upload(store, declared=101, limit=100)


def test_an_undeclared_size_over_the_limit_is_refused_at_the_byte_that_is_too_many(
    store: FileStore, tmp_path: Path
) -> None:
    sending = upload(store, limit=2 * PIECE_BYTES)
    sending.add(b"x" * 2 * PIECE_BYTES)
    sending.flush()
    with pytest.raises(ObjectTooLarge):
        sending.add(b"x")
    sending.close()
    assert nothing_remains(store, tmp_path)


@pytest.mark.parametrize("size", [9, 11])
def test_another_size_than_declared_leaves_nothing(store: FileStore, tmp_path: Path, size: int) -> None:
    sending = upload(store, declared=10)
    with pytest.raises(SizeMismatch):
        sending.add(b"x" * size)
        sending.flush()
        sending.commit()
    sending.close()
    assert nothing_remains(store, tmp_path)


def test_a_taken_key_is_refused_before_the_first_byte_is_written(store: FileStore) -> None:
    stored(store, b"first")
    sending = upload(store, create_only=True)
    sending.add(b"second")
    with pytest.raises(ObjectExists):
        sending.flush()
    sending.close()
    assert received(store) == b"first"


@pytest.mark.parametrize("content_type", ["x" * 256, "text/csv\r\nevil: 1", "text/ß"])
def test_a_media_type_that_cannot_travel_in_a_header_is_refused(store: FileStore, content_type: str) -> None:
    with pytest.raises(InvalidArgument):
        upload(store, content_type=content_type)


def test_an_upload_given_up_leaves_nothing_and_cannot_go_on(store: FileStore, tmp_path: Path) -> None:
    sending = upload(store)
    sending.add(b"x" * PIECE_BYTES)
    sending.flush()
    sending.close()
    with pytest.raises(Cancelled):
        sending.flush()
    with pytest.raises(Cancelled):
        sending.commit()
    sending.close()
    assert nothing_remains(store, tmp_path)


def test_an_upload_can_be_given_up_while_it_writes(store: FileStore, tmp_path: Path) -> None:
    for _ in range(20):
        sending = upload(store)
        sending.add(b"x" * PIECE_BYTES)
        outcome: list[str] = []

        def write(sending: Upload = sending, outcome: list[str] = outcome) -> None:
            try:
                sending.flush()
                outcome.append("written")
            except Cancelled:
                outcome.append("cancelled")

        thread = threading.Thread(target=write)
        thread.start()
        sending.close()
        thread.join()
        assert len(outcome) == 1
        assert nothing_remains(store, tmp_path)


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [(0, None, b"0123456789"), (3, 4, b"3456"), (3, None, b"3456789"), (8, 100, b"89"), (10, None, b""), (2, 0, b"")],
)
def test_a_range_is_cut_at_the_end_of_the_object(
    store: FileStore, offset: int, length: int | None, expected: bytes
) -> None:
    stored(store, b"0123456789")
    assert received(store, offset, length) == expected


def test_a_range_behind_the_end_is_refused(store: FileStore) -> None:
    stored(store, b"0123456789")
    with pytest.raises(RangeNotSatisfiable):
        received(store, 11)


def test_a_missing_object_is_not_found(store: FileStore) -> None:
    with pytest.raises(ObjectNotFound):
        received(store)


def test_changed_bytes_never_arrive_as_a_complete_object(store: FileStore, tmp_path: Path) -> None:
    stored(store, b"x" * (3 * PIECE_BYTES))
    (file,) = tmp_path.glob("*/objects/a.object")
    with open(file, "r+b") as opened:
        opened.seek(RECORD_BYTES + 5)
        opened.write(b"y")
    download = Download(store, "a", offset=0, length=None)
    pieces = [download.open().first, download.next_piece()]
    with pytest.raises(ObjectDamaged):
        download.next_piece()
    download.close()
    assert sum(map(len, pieces)) < 3 * PIECE_BYTES


@pytest.mark.parametrize("length", [None, 2 * PIECE_BYTES])
def test_an_object_that_shrinks_while_it_is_read_fails(store: FileStore, tmp_path: Path, length: int | None) -> None:
    stored(store, b"x" * (3 * PIECE_BYTES))
    (file,) = tmp_path.glob("*/objects/a.object")
    download = Download(store, "a", offset=0, length=length)
    download.open()
    os.truncate(file, RECORD_BYTES + PIECE_BYTES + 10)
    assert len(download.next_piece()) == 10
    with pytest.raises(ObjectDamaged):
        download.next_piece()
    download.close()


def test_a_closed_download_has_ended(store: FileStore) -> None:
    stored(store, b"x" * (2 * PIECE_BYTES))
    download = Download(store, "a", offset=0, length=None)
    download.open()
    download.close()
    with pytest.raises(Cancelled):
        download.next_piece()
    download.close()


def test_a_download_can_be_given_up_while_it_opens_or_reads(store: FileStore) -> None:
    # A file that stays open would be a ResourceWarning, which fails the test.
    stored(store, b"x" * (4 * PIECE_BYTES))
    for _ in range(50):
        download = Download(store, "a", offset=0, length=None)

        def read(download: Download = download) -> None:
            with contextlib.suppress(Cancelled):
                download.open()
                while download.next_piece():
                    pass

        thread = threading.Thread(target=read)
        thread.start()
        download.close()
        thread.join()
    gc.collect()
