"""Bytes as they arrive: raw or in a form, whole or cut, within the limit or over it (I1, I7)."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingestd.errors import (
    BrokenMultipart,
    EmptyFile,
    FileTooLarge,
    MissingFile,
    ScratchFull,
    UploadSizeMismatch,
)
from services.ingestd.scratch import Folder, Scratch
from services.ingestd.upload import PIECE_BYTES, Received, Upload
from services.runtime.errors import Cancelled, UnknownField


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Scratch(tmp_path / "scratch").open()


FORM = "multipart/form-data; boundary=xyz"


def part(name: str, data: bytes, file_name: str = "") -> bytes:
    file = f'; filename="{file_name}"' if file_name else ""
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + data + b"\r\n"


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def received(
    folder: Folder,
    body: bytes,
    *,
    content_type: str = "text/csv",
    limit: int = 1_000_000,
    declared: int | None = None,
    size: int = 1_000,
) -> Received:
    upload = Upload(folder, content_type=content_type, limit=limit, declared=declared)
    for piece in pieces(body, size):
        upload.add(piece)
        upload.flush()
    return upload.finish()


def test_a_raw_body_is_the_file(folder: Folder) -> None:
    answer = received(folder, b"a,b\n1,2\n")

    assert folder.received.read_bytes() == b"a,b\n1,2\n"
    assert answer == Received(size=8, sha256=hashlib.sha256(b"a,b\n1,2\n").hexdigest(), file_name="")


@pytest.mark.parametrize("size", [1, 7, 1_000, 1 << 20])
def test_a_form_carries_the_file_and_its_name(folder: Folder, size: int) -> None:
    data = b"a,b\r\n1,--xyz\r\n\r\n--xy\r\n"
    body = part("file", data, "größe.csv") + b"--xyz--\r\n"

    answer = received(folder, body, content_type=FORM, declared=len(body), size=size)

    assert folder.received.read_bytes() == data
    assert (answer.size, answer.file_name) == (len(data), "größe.csv")


def test_a_quoted_boundary_is_a_boundary(folder: Folder) -> None:
    body = part("file", b"a\n1\n") + b"--xyz--"

    assert received(folder, body, content_type='Multipart/Form-Data; charset=utf-8; boundary="xyz"').size == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a,b\n1,2\n",
        b"--abc\r\n\r\nx\r\n--abc--",
        part("file", b"a,b\n1,2\n"),
        part("file", b"a,b\n1,2\n")[:40],
        part("file", b"a\n") + b"--xyz",
        part("file", b"a\n") + part("file", b"b\n") + b"--xyz--",
        b"--xyz\r\n\r\na,b\r\n--xyz--",
        b"--xyz\r\nContent Disposition: form-data\r\n\r\na,b\r\n--xyz--",
    ],
)
def test_a_broken_form_is_refused(folder: Folder, body: bytes) -> None:
    with pytest.raises(BrokenMultipart):
        received(folder, body, content_type=FORM)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 300])
def test_a_form_without_a_usable_boundary_is_refused(folder: Folder, content_type: str) -> None:
    with pytest.raises(BrokenMultipart):
        received(folder, part("file", b"a"), content_type=content_type)


@pytest.mark.parametrize("body", [b"--xyz--\r\n", part("upload", b"a\n1\n", "x.csv") + b"--xyz--"])
def test_a_form_without_the_file_is_refused(folder: Folder, body: bytes) -> None:
    with pytest.raises(MissingFile):
        received(folder, body, content_type=FORM)


@pytest.mark.parametrize("others_first", [True, False])
def test_a_form_field_beside_the_file_is_refused_by_name(folder: Folder, others_first: bool) -> None:
    parts = [part("mode", b"append"), part("file", b"a\n1\n", "x.csv")]
    body = b"".join(parts if others_first else reversed(parts)) + b"--xyz--"

    with pytest.raises(UnknownField) as caught:
        received(folder, body, content_type=FORM)

    assert caught.value.metadata["field"] == "mode"
    assert folder.received.read_bytes() == b"a\n1\n"


def test_a_form_of_unknown_fields_is_no_way_around_the_limit(folder: Folder) -> None:
    with pytest.raises(FileTooLarge):
        received(folder, part("x", b"x" * 100_000) + b"--xyz--", content_type=FORM, limit=5_000)


@pytest.mark.parametrize(
    ("body", "content_type"), [(b"", ""), (b"", "text/csv"), (part("file", b"") + b"--xyz--", FORM)]
)
def test_no_bytes_are_no_file(folder: Folder, body: bytes, content_type: str) -> None:
    with pytest.raises(EmptyFile):
        received(folder, body, content_type=content_type)


def test_a_file_of_the_limit_is_taken(folder: Folder) -> None:
    assert received(folder, b"x" * 5_000, limit=5_000, declared=5_000).size == 5_000


def test_a_declared_file_over_the_limit_is_refused_before_a_byte_is_read(folder: Folder) -> None:
    with pytest.raises(FileTooLarge) as caught:
        Upload(folder, content_type="", limit=5_000, declared=5_001)

    assert caught.value.metadata["limit"] == "5000"
    assert "5,000" in caught.value.message
    assert not folder.received.exists()


@pytest.mark.parametrize(("content_type", "head"), [("text/csv", b""), (FORM, part("file", b"")[:-2])])
def test_a_file_over_the_limit_is_refused_while_it_comes(folder: Folder, content_type: str, head: bytes) -> None:
    with pytest.raises(FileTooLarge):
        received(folder, head + b"x" * 5_001, content_type=content_type, limit=5_000)

    assert folder.received.stat().st_size <= 5_000


@pytest.mark.parametrize("declared", [7, 9])
def test_a_file_of_another_size_than_declared_is_refused(folder: Folder, declared: int) -> None:
    with pytest.raises(UploadSizeMismatch):
        received(folder, b"a,b\n1,2\n", declared=declared)


def test_bytes_wait_until_there_is_a_piece(folder: Folder) -> None:
    upload = Upload(folder, content_type="", limit=1 << 30, declared=None)

    assert [upload.add(b"x" * (PIECE_BYTES // 2)) for _ in range(2)] == [False, True]
    assert not folder.received.exists()
    assert upload.finish().size == PIECE_BYTES


def test_scratch_of_an_interrupted_run_is_cleared(tmp_path: Path) -> None:
    Scratch(tmp_path / "scratch").open().received.write_bytes(b"left")

    Scratch(tmp_path / "scratch")

    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_closed_folder_is_gone_and_takes_nothing_more(tmp_path: Path, folder: Folder) -> None:
    upload = Upload(folder, content_type="", limit=1 << 30, declared=None)
    upload.add(b"a\n")
    upload.flush()

    folder.close()

    upload.add(b"1\n")
    with pytest.raises(Cancelled):
        upload.flush()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_closing_a_folder_waits_for_the_work_in_it(tmp_path: Path, folder: Folder) -> None:
    working = threading.Event()

    def work() -> None:
        with folder.use():
            working.set()
            folder.stop.wait(10)
            folder.converted.write_bytes(b"late")

    thread = threading.Thread(target=work)
    thread.start()
    assert working.wait(10)
    folder.close()
    thread.join(10)

    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_full_disk_is_said_to_be_full(folder: Folder) -> None:
    with pytest.raises(ScratchFull), folder.use():
        raise OSError(errno.ENOSPC, "No space left on device")
