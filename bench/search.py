"""Matrix text search: through gRPC beside an echo of the same answer, and through Envoy beside gRPC."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import orjson
from grpc import aio

from lakehouse.embed.v1.embed_pb2 import EmbedRequest
from lakehouse.embed.v1.embed_pb2_grpc import EmbedServiceStub
from lakehouse.matrix.v1.matrix_pb2_grpc import MatrixServiceStub
from lakehouse.matrix.v1.search_pb2 import SearchRequest
from lakehouse.vector.v1.vector_pb2 import AddItemsRequest, CreateIndexRequest, IndexSource
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from bench import load, report
from bench.stack import BenchStack
from services.runtime.connect import connect_remote
from services.runtime.floats import set_floats
from services.supervisor.ports import free_port_base

CORPUS = "bench"
ITEMS, BATCH = 20_000, 1_000
CALLERS, SECONDS, ROUNDS = 10, 2.0, 7
# More than the embedding cache holds: every question is embedded anew.
QUESTIONS = 30_000
TEXT = """
forklift operator warehouse night shift licence crane welder certified electrician apprentice nurse ward
driver route delivery city harbour assembly line machine safety training experience years reliable team
lead inventory stock picking packing quality control inspection maintenance hydraulic solar roof painter
"""
WORDS = TEXT.split()


async def measure(stack: BenchStack) -> list[report.Row]:
    """Rows (a) and (b)."""
    async with connect_remote(stack.address("matrixd")) as channel:
        matrix = MatrixServiceStub(channel)
        await _build(stack)
        queries = [SearchRequest(query_text=text, corpora=[CORPUS], k=10) for text in _texts(QUESTIONS, seed=2)]
        await _wait_until_sealed(stack)
        answer = await matrix.Search(queries[0])
        async with _echo(answer.SerializeToString()) as echo, _rest(stack) as connections:
            return await _rounds(matrix, echo, connections, queries)


async def _rounds(
    matrix: MatrixServiceStub,
    echo: MatrixServiceStub,
    connections: list[load.HttpConnection],
    queries: list[SearchRequest],
) -> list[report.Row]:
    bodies = [orjson.dumps({"query_text": q.query_text, "corpora": [CORPUS], "k": 10}) for q in queries]
    counter = iter(range(10**9))
    found: dict[str, list[float]] = {"echo": [], "grpc": [], "rest": []}

    async def grpc_call(stub: MatrixServiceStub) -> None:
        await stub.Search(queries[next(counter) % len(queries)])

    async def rest_call(number: int) -> None:
        await connections[number].post("/v1/matrix/search", bodies[next(counter) % len(bodies)])

    for number in range(ROUNDS + 1):
        rounds = {
            "echo": await load.run(lambda _: grpc_call(echo), callers=CALLERS, seconds=SECONDS),
            "grpc": await load.run(lambda _: grpc_call(matrix), callers=CALLERS, seconds=SECONDS),
            "rest": await load.run(rest_call, callers=CALLERS, seconds=SECONDS),
        }
        if number > 0:  # the first round warms everything up
            for name, result in rounds.items():
                found[name].append(result.calls_per_second)
    return [
        report.at_least("(a) matrix search, gRPC / echo", found["grpc"], found["echo"], 0.40, "calls/s"),
        report.at_least("(b) matrix search, REST / gRPC", found["rest"], found["grpc"], 0.70, "calls/s"),
    ]


async def _build(stack: BenchStack) -> None:
    async with connect_remote(stack.address("embedd")) as embedd, connect_remote(stack.address("vectord")) as vectord:
        embed, vector = EmbedServiceStub(embedd), VectorServiceStub(vectord)
        first = await embed.Embed(EmbedRequest(texts=["a"]))
        source = IndexSource(embedding_model=first.model)
        await vector.CreateIndex(CreateIndexRequest(name=CORPUS, dimension=first.dimension, source=source))
        texts = _texts(ITEMS, seed=1)
        for begin in range(0, ITEMS, BATCH):
            batch = texts[begin : begin + BATCH]
            embedded = await embed.Embed(EmbedRequest(texts=batch))
            request = AddItemsRequest(name=CORPUS)
            for offset, embedding in enumerate(embedded.embeddings):
                item = request.items.add(id=f"item-{begin + offset:06d}")
                set_floats(item, "vector", np.asarray(embedding.values, dtype=np.float32))
                item.metadata.update(_metadata(begin + offset))
            await vector.AddItems(request)


def _metadata(number: int) -> dict[str, str | float | bool]:
    return {
        "name": f"Person {number}",
        "role": WORDS[number % len(WORDS)],
        "city": WORDS[number % 7],
        "years": float(number % 30),
        "available": number % 2 == 0,
        "rating": 3.5,
    }


async def _wait_until_sealed(stack: BenchStack) -> None:
    """Lets background index building finish, so that a steady state is measured."""
    async with asyncio.timeout(60):
        cpu = 100.0
        stack.process.cpu_percent()
        while cpu > 10:
            await asyncio.sleep(1)
            cpu = stack.process.cpu_percent()


def _texts(count: int, *, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=int(random.integers(6, 14)))) for _ in range(count)]


@asynccontextmanager
async def _echo(answer: bytes) -> AsyncIterator[MatrixServiceStub]:
    """A server behind the same guard that returns the same message, in a process of its own."""
    port = free_port_base()
    command = (sys.executable, "-m", "bench.echo", str(port))
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None, "asked for above"
    process.stdin.write(answer)
    process.stdin.close()
    channel: aio.Channel = connect_remote(f"127.0.0.1:{port}")
    try:
        await asyncio.wait_for(channel.channel_ready(), 30)
        yield MatrixServiceStub(channel)
    finally:
        await channel.close()
        process.terminate()
        await process.wait()


@asynccontextmanager
async def _rest(stack: BenchStack) -> AsyncIterator[list[load.HttpConnection]]:
    connections = [await load.HttpConnection.open("127.0.0.1", stack.port_base) for _ in range(CALLERS)]
    yield connections
    for connection in connections:
        connection.close()
