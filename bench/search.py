"""Matrix text search: through gRPC beside an echo of the same answer, and through Envoy beside gRPC."""

from __future__ import annotations

import orjson

from lakehouse.embed.v1.embed_pb2 import EmbedRequest
from lakehouse.embed.v1.embed_pb2_grpc import EmbedServiceStub
from lakehouse.matrix.v1.matrix_pb2_grpc import MatrixServiceStub
from lakehouse.matrix.v1.search_pb2 import SearchRequest

from bench import data, echo, load, report
from bench.stack import BenchStack
from services.runtime.connect import connect_remote

CORPUS = "bench"
ITEMS = 20_000
CALLERS, SECONDS, ROUNDS = 10, 2.0, 7
# More than the embedding cache holds: every question is embedded anew.
QUESTIONS = 30_000


async def measure(stack: BenchStack) -> list[report.Row]:
    """Searches a corpus by text; every question is new to the embedding cache."""
    async with connect_remote(stack.address("matrixd")) as channel:
        matrix = MatrixServiceStub(channel)
        await _build(stack)
        queries = [SearchRequest(query_text=text, corpora=[CORPUS], k=10) for text in data.texts(QUESTIONS, seed=2)]
        await stack.wait_until_idle()
        answer = await matrix.Search(queries[0])
        async with echo.running("matrix", answer) as silent, load.connections(stack.port_base, CALLERS) as connections:
            return await _rounds(matrix, MatrixServiceStub(silent), connections, queries)


async def _rounds(
    matrix: MatrixServiceStub,
    silent: MatrixServiceStub,
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
            "echo": await load.run(lambda _: grpc_call(silent), callers=CALLERS, seconds=SECONDS),
            "grpc": await load.run(lambda _: grpc_call(matrix), callers=CALLERS, seconds=SECONDS),
            "rest": await load.run(rest_call, callers=CALLERS, seconds=SECONDS),
        }
        if number > 0:  # the first round warms everything up
            for name, result in rounds.items():
                found[name].append(result.calls_per_second)
    return [
        report.at_least("matrix text search, gRPC / echo", found["grpc"], found["echo"], 0.40, "calls/s"),
        report.at_least("matrix text search, REST / gRPC", found["rest"], found["grpc"], 0.70, "calls/s"),
    ]


async def _build(stack: BenchStack) -> None:
    # As BuildCorpus makes it, without a dataset behind it.
    async with connect_remote(stack.address("embedd")) as channel:
        model = (await EmbedServiceStub(channel).Embed(EmbedRequest(texts=["a"]))).model
    corpus = data.corpus_of(await data.embedded(stack, data.texts(ITEMS, seed=1)))
    await data.fill(stack, CORPUS, corpus, storage_type="float16", model=model)
