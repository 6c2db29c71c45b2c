"""Vector search of 20,000 x 256: over REST beside a Chroma server, over gRPC beside an echo, and filtered."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import orjson

from lakehouse.vector.v1.filter_pb2 import Filter
from lakehouse.vector.v1.vector_pb2 import GetIndexRequest, SearchRequest, SearchResponse
from lakehouse.vector.v1.vector_pb2_grpc import VectorServiceStub

from bench import chroma, data, echo, load, report
from bench.data import Corpus, Floats
from bench.stack import BenchStack
from services.runtime.connect import connect_remote
from services.runtime.floats import set_floats

INDEX = "vectors"
ITEMS, QUERIES, JUDGED, K = 20_000, 4_000, 300, 10
CALLERS, SECONDS, ROUNDS = 10, 2.0, 5
SELECTIVITIES = {"50 %": 500, "10 %": 100, "1 %": 10, "0.1 %": 1}
"""Of 1,000 parts, how many pass."""


async def measure(stack: BenchStack, *, times_chroma: float) -> list[report.Row]:
    """Against Chroma, against an echo, and filtered; `times_chroma` is the target of this way to run the mesh."""
    corpus = data.corpus_of(await data.embedded(stack, data.texts(ITEMS, seed=1)))
    questions = await data.embedded(stack, data.texts(QUERIES, seed=2))
    await data.fill(stack, INDEX, corpus, storage_type="float16")
    await stack.wait_until_idle()
    async with connect_remote(stack.address("vectord")) as channel:
        vector = VectorServiceStub(channel)
        rows = await _against_chroma(stack, vector, corpus, questions, times_chroma)
        rows += await _against_echo(vector, questions)
        return rows + await _filtered(vector, corpus, questions)


def requests(questions: Floats, condition: Filter | None = None) -> list[SearchRequest]:
    """A search for each question."""
    made = []
    for question in questions:
        request = SearchRequest(name=INDEX, k=K, filter=condition)
        set_floats(request, "vector", question)
        made.append(request)
    return made


async def _against_chroma(
    stack: BenchStack, vector: VectorServiceStub, corpus: Corpus, questions: Floats, target: float
) -> list[report.Row]:
    if not chroma.installed():
        sys.stderr.write(f"{chroma.COMMAND} is not there: `make bench` installs it. Its rows are left out.\n")
        return []
    index = (await vector.GetIndex(GetIndexRequest(name=INDEX))).index
    path = f"/v1/vectors/index/{INDEX}/search"
    bodies = [orjson.dumps({"vector": question.tolist(), "k": K}) for question in questions]
    async with (
        chroma.running(corpus, ef_search=max(index.parameters.ef_search, 64)) as peer,
        load.connections(peer.port, CALLERS) as theirs,
        load.connections(stack.port_base, CALLERS) as ours,
    ):
        asked = chroma.query_bodies(questions, K)
        answers = [await ours[0].post(path, body) for body in bodies[:JUDGED]]
        recalls = [
            _recall(corpus, questions, [[hit["id"] for hit in orjson.loads(answer)["hits"]] for answer in answers]),
            _recall(
                corpus, questions, [chroma.found_ids(await theirs[0].post(peer.path, body)) for body in asked[:JUDGED]]
            ),
        ]
        rounds = await load.alternate(
            {
                "chroma": lambda number, turn: theirs[number].post(peer.path, asked[turn % QUERIES]),
                "mesh": lambda number, turn: ours[number].post(path, bodies[turn % QUERIES]),
            },
            callers=CALLERS,
            seconds=SECONDS,
            rounds=ROUNDS,
        )
    mesh, peer_rounds = rounds["mesh"], rounds["chroma"]
    p99s = [one.p99_ms for one in mesh], [one.p99_ms for one in peer_rounds]
    return [
        report.at_least(
            "vector search REST / Chroma",
            [one.calls_per_second for one in mesh],
            [one.calls_per_second for one in peer_rounds],
            target,
            "calls/s",
        ),
        report.at_most("vector search REST p99 / Chroma's", *p99s, 1, "ms"),
        report.least("vector search recall@10", recalls[0], 0.99),
        report.least("vector search recall@10, Chroma", recalls[1], 0.99),
    ]


async def _against_echo(vector: VectorServiceStub, questions: Floats) -> list[report.Row]:
    asked = requests(questions)
    async with echo.running("vector", await vector.Search(asked[0])) as channel:
        silent = VectorServiceStub(channel)
        rounds = await load.alternate(
            {
                "echo": lambda _, turn: silent.Search(asked[turn % QUERIES]),
                "mesh": lambda _, turn: vector.Search(asked[turn % QUERIES]),
            },
            callers=CALLERS,
            seconds=SECONDS,
            rounds=ROUNDS,
        )
    speeds = {name: [one.calls_per_second for one in found] for name, found in rounds.items()}
    return [report.at_least("vector search gRPC / echo", speeds["mesh"], speeds["echo"], 0.5, "calls/s")]


async def _filtered(vector: VectorServiceStub, corpus: Corpus, questions: Floats) -> list[report.Row]:
    parts = np.array([metadata["part"] for metadata in corpus.metadata])
    free = requests(questions)
    rows = []
    for word, passing in SELECTIVITIES.items():
        condition = Filter()
        condition.range.field = "part"
        condition.range.lt.number_value = passing
        asked = requests(questions, condition)
        answers: list[SearchResponse] = [await vector.Search(request) for request in asked[:JUDGED]]
        ids = [[hit.id for hit in answer.hits] for answer in answers]
        rounds = await load.alternate(
            {
                "free": lambda _, turn: vector.Search(free[turn % QUERIES]),
                "filtered": lambda _, turn, asked=asked: vector.Search(asked[turn % QUERIES]),  # type: ignore[misc]
            },
            callers=CALLERS,
            seconds=SECONDS / 2,
            rounds=ROUNDS,
        )
        speeds = {name: [one.calls_per_second for one in found] for name, found in rounds.items()}
        rows.append(report.least(f"filtered {word}: recall@10", _recall(corpus, questions, ids, parts < passing), 0.99))
        rows.append(report.beside(f"filtered {word} / unfiltered", speeds["filtered"], speeds["free"], "calls/s"))
    return rows


def _recall(
    corpus: Corpus, questions: Floats, answers: Sequence[Sequence[str]], mask: np.ndarray | None = None
) -> float:
    right = [
        len(corpus.nearest(question, K, mask).intersection(ids)) / K
        for question, ids in zip(questions, answers, strict=False)
    ]
    return float(np.mean(right))
