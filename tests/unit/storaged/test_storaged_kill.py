"""A process killed in the middle of its uploads leaves whole objects only, and all it acknowledged (X11)."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from services.storaged.filestore import FileBackend, FileStore

OBJECT_BYTES = 2 << 20

# Writes objects of one repeated byte, new keys and one key over and over, and says when each is stored.
WRITER = """
import hashlib, itertools, sys
from pathlib import Path
from services.storaged.filestore import FileBackend

store = FileBackend(Path(sys.argv[1])).open_bucket("primary")
size = int(sys.argv[2])
for number in itertools.count():
    data = bytes([number % 251]) * size
    for key in (f"new/{number}", "hot"):
        sink = store.begin(key, content_type="", size=None)
        for start in range(0, size, 65_536):
            sink.write(data[start : start + 65_536])
        sink.commit(sha256=hashlib.sha256(data).hexdigest(), create_only=False)
        print(key, flush=True)
"""


def write_until_killed(directory: Path, acknowledgements: int) -> list[str]:
    """Runs the writer, kills it right after some acknowledgements, returns the keys it acknowledged."""
    command = [sys.executable, "-c", WRITER, str(directory), str(OBJECT_BYTES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        keys = [process.stdout.readline().strip() for _ in range(acknowledgements)]
        process.kill()
        return keys + process.stdout.read().split()


def whole(store: FileStore, key: str) -> bytes:
    source = store.open(key)
    data = b"".join(source.stream(0, source.info.size))
    source.close()
    assert hashlib.sha256(data).hexdigest() == source.info.sha256
    return data


@pytest.mark.requirement("S2")
@pytest.mark.parametrize("acknowledgements", [1, 4, 7])
def test_a_kill_in_mid_upload_loses_nothing_acknowledged_and_tears_nothing(
    tmp_path: Path, acknowledgements: int
) -> None:
    acknowledged = write_until_killed(tmp_path, acknowledgements)
    store = FileBackend(tmp_path).open_bucket("primary")
    listed = [info.key for info in store.list("", after="", limit=10_000)]
    assert set(acknowledged) <= set(listed)
    for key in listed:
        data = whole(store, key)
        assert len(data) == OBJECT_BYTES
        assert len(set(data)) == 1
    assert list(tmp_path.glob("*/incoming/*")) == []
