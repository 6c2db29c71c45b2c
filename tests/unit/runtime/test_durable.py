"""Durable files and logs: whole or not at all, and damage never stops a start."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.runtime.durable import Log, atomic_file, atomic_write, frame, sweep_temporaries


class Interrupted(Exception):
    """Ends a write half-way."""


def payloads(path: Path) -> list[bytes]:
    log = Log(path)
    found = [record.payload for record in log.records()]
    log.close()
    return found


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    atomic_write(path, b"old")
    with pytest.raises(Interrupted), atomic_file(path) as file:
        file.write(b"half of the new")
        raise Interrupted
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123").write_bytes(b"half")
    atomic_write(tmp_path / "state", b"whole")
    assert sweep_temporaries(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_records_come_back_in_order_with_their_numbers(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    assert [log.append(b"a"), log.append(b""), log.append(b"c")] == [1, 2, 3]
    assert [(record.sequence, record.payload) for record in log.records()] == [(1, b"a"), (2, b""), (3, b"c")]
    log.close()


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Log(tmp_path / "log")
    first.append(b"a")
    first.close()
    second = Log(tmp_path / "log")
    assert second.append(b"b") == 2
    second.close()


@given(cut=st.integers(min_value=1, max_value=40))
@settings(max_examples=30, deadline=None)
def test_a_torn_tail_is_set_aside_and_the_next_append_is_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    whole, torn = frame(1, b"whole"), frame(2, b"x" * 20)
    path.write_bytes(whole + torn[: -min(cut, len(torn) - 1)])
    log = Log(path)
    assert [damage.torn_tail for damage in log.damage] == [True]
    log.append(b"next")
    assert [record.payload for record in log.records()] == [b"whole", b"next"]
    log.close()
    assert path.with_name("log.torn").exists()
    assert payloads(path) == [b"whole", b"next"]


@given(position=st.integers(min_value=0, max_value=24), flip=st.integers(min_value=1, max_value=255))
@settings(max_examples=60, deadline=None)
def test_a_damaged_record_in_the_middle_costs_only_itself(
    tmp_path_factory: pytest.TempPathFactory, position: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    first, middle, last = frame(1, b"first"), bytearray(frame(2, b"middle")), frame(3, b"last")
    middle[position] ^= flip
    path.write_bytes(first + bytes(middle) + last)
    log = Log(path)
    assert [record.payload for record in log.records()] == [b"first", b"last"]
    assert [(damage.offset, damage.torn_tail) for damage in log.damage] == [(len(first), False)]
    log.close()


def test_concurrent_appends_are_all_there_once(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    threads = [
        threading.Thread(target=lambda n=n: [log.append(b"%d-%d" % (n, i)) for i in range(50)]) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = payloads(tmp_path / "log")
    assert sorted(found) == sorted(b"%d-%d" % (n, i) for n in range(8) for i in range(50))


def test_an_append_that_cannot_be_written_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.append(b"kept")
    log._file.close()
    log._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115 - a disk that is full
    with pytest.raises(OSError):
        log.append(b"lost")
    log.close()
    assert payloads(tmp_path / "log") == [b"kept"]
