"""CSV ingest of 500,000 rows x 18 columns, over gRPC and REST, beside pyarrow alone; and its memory."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lakehouse.ingest.v1.ingest_pb2 import IngestRequest, IngestResponse
from lakehouse.ingest.v1.ingest_pb2_grpc import IngestServiceStub

from bench import report
from bench.stack import BenchStack
from services.runtime.connect import connect_remote

ROUNDS = 5
PIECE = 1 << 20
SAMPLE_SECONDS = 0.02
DATASET = "bench"


async def measure(stack: BenchStack, source: Path) -> list[report.Row]:
    """Leaves the dataset `bench` in the mesh and pyarrow's `plain.parquet` beside the source."""
    idle = stack.process.memory_info().rss
    warm = await _over_grpc(stack, source, DATASET)
    types = {column.name: column.type for column in warm.columns}
    plain, grpc, rest, peaks = [], [], [], []
    for number in range(ROUNDS):
        plain.append(_plain(source, types))
        await asyncio.sleep(0.5)
        with _peak_memory(stack.process, idle) as peak:
            grpc.append(await _timed_grpc(stack, source, f"grpc {number}"))
            rest.append(await asyncio.to_thread(_timed_rest, stack, source, f"rest-{number}"))
        peaks.append(peak[0])
    return [
        report.at_most("ingest over gRPC / pyarrow", grpc, plain, 1.8, "s"),
        report.at_most("ingest over REST / pyarrow", rest, plain, 2.5, "s"),
        report.limit("peak memory above idle", max(peaks), 450, "MiB"),
    ]


def _plain(source: Path, types: dict[str, str]) -> float:
    target = source.with_name("plain.parquet")
    command = [sys.executable, "-m", "bench.plain", str(source), str(target), json.dumps(types)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


async def _timed_grpc(stack: BenchStack, source: Path, name: str) -> float:
    begin = time.perf_counter()
    await _over_grpc(stack, source, name)
    return time.perf_counter() - begin


async def _over_grpc(stack: BenchStack, source: Path, name: str) -> IngestResponse:
    async with connect_remote(stack.address("ingestd")) as channel:
        return await IngestServiceStub(channel).Ingest(_pieces(source, name))


async def _pieces(source: Path, name: str) -> AsyncIterator[IngestRequest]:
    with source.open("rb") as file:
        request = IngestRequest(name=name, size=os.fstat(file.fileno()).st_size)
        while data := file.read(PIECE):
            request.data.data = data
            yield request
            request = IngestRequest()


def _timed_rest(stack: BenchStack, source: Path, name: str) -> float:
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port_base, timeout=300, blocksize=PIECE)
    with source.open("rb") as file:
        headers = {"content-type": "text/csv", "content-length": str(source.stat().st_size)}
        connection.request("POST", f"/v1/ingest?name={name}", body=file, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    connection.close()
    if answer.status != http.client.OK:
        raise RuntimeError(body.decode())
    return time.perf_counter() - begin


@contextmanager
def _peak_memory(process: psutil.Process, idle: int) -> Iterator[list[float]]:
    """Yields a list whose one element is, after the block, the most MiB the process held above `idle` bytes."""
    peak = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], (process.memory_info().rss - idle) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()
