"""Kills a vectord that is written to, read, merged and sealed, again and again, and checks what comes back.

`python -m tests.soak.kills 200` is the long run; tests/e2e/test_vectord_kills.py does a few rounds.

Every id belongs to one writer, which remembers for it the value that was acknowledged last, and the one
that was on its way when the process died: either may be there afterwards, nothing else, and once.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from lakehouse.vector.v1 import vector_pb2
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from services.mesh import BY_NAME
from services.runtime.floats import set_floats
from services.supervisor.ports import free_port_base
from services.supervisor.processes import INSTANCE_VARIABLE

DIMENSION = 8
IDS = 400
WRITERS = 4
INDEXES = ("main", "aside")
GONE = 0
"""The value of an item that is not there; others are counted up from 1."""


class Daemons:
    """storaged, which stays, and vectord, which is killed: processes of their own on one data directory."""

    def __init__(self, data: Path) -> None:
        self._base = free_port_base()
        self._log = open(data / "log", "ab")  # noqa: SIM115 - lives as long as the processes
        settings = {
            "LAKEHOUSE_MESH_DATA": str(data),
            "LAKEHOUSE_MESH_PORT_BASE": str(self._base),
            # Small figures, so that seals and merges are always under way.
            "LAKEHOUSE_VECTOR_HOT_BYTES": "1",
            "LAKEHOUSE_VECTOR_QUIET_SECONDS": "0.05",
            "LAKEHOUSE_VECTOR_UNSEALED_BYTES": "200000",
        }
        self._environ = {key: value for key, value in os.environ.items() if not key.startswith("LAKEHOUSE_")}
        self._environ |= settings | {INSTANCE_VARIABLE: "soak"}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Starts a daemon and waits until it serves."""
        command = [sys.executable, "-m", "services.supervisor.child", name]
        self._running[name] = subprocess.Popen(command, env=self._environ, stdout=self._log, stderr=self._log)
        with self.channel(name) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)

    def channel(self, name: str) -> grpc.Channel:
        """A channel to a daemon."""
        return grpc.insecure_channel(
            f"127.0.0.1:{self._base + BY_NAME[name].offset}", options=[("grpc.use_local_subchannel_pool", 1)]
        )

    def kill(self, name: str) -> None:
        """Ends a daemon at once, as a crash would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def close(self) -> None:
        """Ends all of them."""
        for name in list(self._running):
            self.kill(name)
        self._log.close()


@contextmanager
def daemons(data: Path) -> Iterator[Daemons]:
    """storaged and vectord, for as long as the block lasts."""
    made = Daemons(data)
    try:
        made.start("storaged")
        made.start("vectord")
        yield made
    finally:
        made.close()


def blocking(channel: grpc.Channel) -> Any:
    """A stub whose calls block; the generated types know only the asynchronous one."""
    stub: Any = VectorServiceStub
    return stub(channel)


class Writer(threading.Thread):
    """Writes items of its own to one index until the process dies."""

    def __init__(self, number: int, values: dict[str, int], seed: int) -> None:
        super().__init__(daemon=True)
        self.index = INDEXES[number % len(INDEXES)]
        self.ids = [f"{number}-{place:03d}" for place in range(IDS)]
        self.acknowledged = values
        self.under_way: dict[str, int] = {}
        self.writes = 0
        self._random = random.Random(seed)
        self.stub: Any = None

    def run(self) -> None:
        """Until the first error, which is the kill."""
        try:
            while True:
                self._write(self._random.sample(self.ids, self._random.choice([1, 3, 40])))
        except grpc.RpcError:
            return

    def _write(self, ids: list[str]) -> None:
        deletes = self._random.random() < 0.2
        value = GONE if deletes else 1 + max(self.acknowledged.values(), default=GONE)
        self.under_way = dict.fromkeys(ids, value)
        if deletes:
            call(self.stub.DeleteItems, vector_pb2.DeleteItemsRequest(name=self.index, ids=ids))
        else:
            call(self.stub.AddItems, adding(self.index, ids, value))
        self.acknowledged |= self.under_way
        self.under_way = {}
        self.writes += 1


def call(method: Any, request: object) -> None:
    """Calls until the daemon is not busy."""
    while True:
        try:
            method(request, timeout=30)
        except grpc.RpcError as error:
            if "takes in as much" not in (error.details() or ""):
                raise
        else:
            return


def adding(index: str, ids: list[str], value: int) -> vector_pb2.AddItemsRequest:
    """Items whose vector and metadata tell their value."""
    request = vector_pb2.AddItemsRequest(name=index)
    for item_id in ids:
        item = request.items.add(id=item_id)
        set_floats(item, "vector", np.full(DIMENSION, value, dtype=np.float32))
        item.metadata.update({"value": value})
    return request


class Reader(threading.Thread):
    """Searches, and merges into a third index, until the process dies."""

    def __init__(self, stub: Any) -> None:
        super().__init__(daemon=True)
        self._stub = stub
        self.searches = 0

    def run(self) -> None:
        """Until the first error, which is the kill."""
        try:
            while True:
                for index in INDEXES:
                    request = vector_pb2.SearchRequest(name=index, vector=[1.0] * DIMENSION, k=20)
                    hits = self._stub.Search(request, timeout=30).hits
                    assert len({hit.id for hit in hits}) == len(hits), "an item was found twice"
                    self.searches += 1
                self._stub.MergeIndex(vector_pb2.MergeIndexRequest(name="main", dest="copy"), timeout=30)
        except grpc.RpcError:
            return


def stored(stub: Any, index: str) -> dict[str, int]:
    """The value of every item, after checking that it is there once and that its parts agree."""
    found: dict[str, int] = {}
    token = ""
    while True:
        request = vector_pb2.ListItemsRequest(name=index, page_size=500, page_token=token, with_vectors=True)
        page = stub.ListItems(request, timeout=30)
        for item in page.items:
            assert item.id not in found, f"{item.id} is there twice"
            value = int(item.metadata.fields["value"].number_value)
            assert list(item.vector) == [value] * DIMENSION, f"{item.id} is half an item"
            found[item.id] = value
        token = page.next_page_token
        if not token:
            break
    described = stub.GetIndex(vector_pb2.GetIndexRequest(name=index), timeout=30).index
    assert described.count == len(found), f"{described.count} are counted, {len(found)} are there"
    harmless = ("unfinished write", "wait to be stored")
    assert all(any(words in one for words in harmless) for one in described.problems), list(described.problems)
    return found


def check(writer: Writer, found: dict[str, int]) -> None:
    """What a writer was told, or was about to be told, is there."""
    here = {item_id: found.get(item_id, GONE) for item_id in writer.ids}
    before = {item_id: writer.acknowledged.get(item_id, GONE) for item_id in writer.ids}
    after = before | writer.under_way
    assert here in (before, after), {
        item_id: (before[item_id], after[item_id], value)
        for item_id, value in here.items()
        if value not in (before[item_id], after[item_id])
    } or "half a batch"
    writer.acknowledged.clear()
    writer.acknowledged.update(here)


def soak(data: Path, rounds: int, *, seconds: float = 0.7, seed: int = 0) -> int:
    """Runs and kills that many times; returns how many writes were acknowledged."""
    values: list[dict[str, int]] = [{} for _ in range(WRITERS)]
    total = 0
    with daemons(data) as running:
        with running.channel("vectord") as channel:
            for name in (*INDEXES, "copy"):
                request = vector_pb2.CreateIndexRequest(name=name, dimension=DIMENSION, metric="l2")
                blocking(channel).CreateIndex(request, timeout=30)
        for number in range(rounds):
            writers = [Writer(place, values[place], seed + 1000 * number + place) for place in range(WRITERS)]
            total += _round(running, writers, random.Random(seed + number).uniform(0.2, 1) * seconds)
            running.start("vectord")
            with running.channel("vectord") as channel:
                stub = blocking(channel)
                found = {index: stored(stub, index) for index in INDEXES}
                stored(stub, "copy")
            known = {item_id for writer in writers for item_id in writer.ids}
            assert not {item_id for items in found.values() for item_id in items} - known, "items that nobody wrote"
            for writer in writers:
                check(writer, found[writer.index])
    return total


def _round(running: Daemons, writers: list[Writer], seconds: float) -> int:
    with running.channel("vectord") as channel:
        reader = Reader(blocking(channel))
        for writer in writers:
            writer.stub = blocking(channel)
        threads = [*writers, reader]
        for thread in threads:
            thread.start()
        # Not before everybody is at work; then at any moment.
        end = time.monotonic() + 30
        while time.monotonic() < end and not (reader.searches and all(writer.writes for writer in writers)):
            time.sleep(0.01)
        time.sleep(seconds)
        running.kill("vectord")
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "a call outlived the process it was made to"
        assert reader.searches, "nothing was searched"
    return sum(writer.writes for writer in writers)


def main() -> None:
    """Runs as often as the command line says."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    print(f"{rounds} kills, seed {seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        began = time.monotonic()
        writes = soak(Path(directory), rounds, seed=seed)
        print(f"{rounds} kills in {time.monotonic() - began:.0f} s, {writes} writes acknowledged: all there, once")


if __name__ == "__main__":
    main()
