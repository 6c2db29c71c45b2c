"""Which retrieval ranks best: the dense arm, the lexical one, or both fused. nDCG@10 with paired intervals.

The fusion is tuned on one half of the questions and measured on the other, and the other way round, so
that no question is measured with a fusion that it helped to choose.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.labs.intervals import Interval, mean_interval, ndcg, paired_interval
from services.labs.judges import gain
from services.labs.matrix import Answer, each
from services.labs.queries import Query
from services.labs.rest import Json
from services.labs.world import World

DEPTH = 10
DENSE, LEXICAL, HYBRID = "dense", "lexical", "tuned hybrid"

GRID: tuple[Json, ...] = (
    *({"method": "rrf", "rrf_k": k, "lexical_weight": w} for k in (10, 60) for w in (0.5, 1.0, 2.0)),
    *({"method": "dbsf", "lexical_weight": w} for w in (0.25, 0.5, 1.0, 2.0)),
)
"""The fusions that are tried; the dense arm's weight is 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """The comparison."""

    means: Mapping[str, Interval]
    """nDCG@10 of each arm."""
    over: Mapping[str, Interval]
    """Tuned hybrid minus each arm, question by question."""
    chosen: Json
    """The fusion that is best over all questions, to use from now on."""
    values: Mapping[str, tuple[float, ...]]
    """nDCG@10 of each arm, question by question."""
    queries: tuple[str, ...]
    """The ids of the questions that were compared; those nothing is right for are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowed:
    """The share of the first ten hits that meet the need in all its columns."""

    without: Interval
    with_where: Interval
    gained: Interval


async def compare(world: World, seed: int) -> Arms | None:
    """Compares the arms; None when this mesh has only one, or when fewer than four questions can be measured."""
    if not world.abilities.lexical:
        return None
    queries = [query for query in world.more_queries or world.queries if not query.out_of_domain]
    settings: list[Json] = [{"retrieval": "dense"}, {"retrieval": "lexical"}]
    settings += [{"retrieval": "hybrid", "fusion": fusion} for fusion in GRID]

    async def measure(query: Query) -> list[float] | None:
        return await _measure(world, query, settings)

    measured = [
        (query.id, values)
        for query, values in zip(queries, await each(measure, queries), strict=True)
        if values is not None
    ]
    if len(measured) < 4:
        return None
    return _compared([ident for ident, _ in measured], [values for _, values in measured], seed)


def _compared(ids: Sequence[str], table: Sequence[Sequence[float]], seed: int) -> Arms:
    order = list(range(len(table)))
    random.Random(f"folds {seed}").shuffle(order)
    folds = (order[0::2], order[1::2])
    tuned = [0.0] * len(table)
    for train, test in (folds, folds[::-1]):
        choice = _best_fusion([table[row] for row in train])
        for row in test:
            tuned[row] = table[row][2 + choice]
    values = {DENSE: [row[0] for row in table], LEXICAL: [row[1] for row in table], HYBRID: tuned}
    return Arms(
        means={name: mean_interval(found, seed=seed) for name, found in values.items()},
        over={name: paired_interval(values[name], tuned, seed=seed) for name in (DENSE, LEXICAL)},
        chosen=GRID[_best_fusion(table)],
        values={name: tuple(found) for name, found in values.items()},
        queries=tuple(ids),
    )


def _best_fusion(rows: Sequence[Sequence[float]]) -> int:
    """The fusion with the highest mean; the first of equals."""
    means = [sum(row[2 + fusion] for row in rows) for fusion in range(len(GRID))]
    return means.index(max(means))


async def _measure(world: World, query: Query, settings: Sequence[Json]) -> list[float] | None:
    """nDCG@10 under each setting; None when nothing is right for the question."""
    answers = [await _ask(world, query, setting) for setting in settings]
    pool: dict[str, int] = {}
    gains = []
    for answer in answers:
        ratings = await world.judge.rate(query, answer.hits)
        pool |= {hit.id: value for hit, value in zip(answer.hits, ratings, strict=True) if value is not None}
        gains.append([gain(value) for value in ratings])
    ideal = world.judge.ideal(query, pool)
    found = [ndcg(list_, ideal, DEPTH) for list_ in gains]
    return None if any(value is None for value in found) else [value for value in found if value is not None]


async def narrowed(world: World, seed: int) -> Narrowed | None:
    """Asks with the need as a SQL condition and without; None when no question has one or the mesh cannot."""
    queries = [query for query in world.queries if query.where and not query.out_of_domain]
    if not world.abilities.where or not queries:
        return None

    async def share(asked: tuple[Query, bool]) -> float:
        query, with_where = asked
        answer = await _ask(world, query, {"where": query.where} if with_where else {})
        ratings = await world.judge.rate(query, answer.hits)
        return sum(value == 5 for value in ratings) / len(ratings) if ratings else 1.0

    plain = await each(share, [(query, False) for query in queries])
    exact = await each(share, [(query, True) for query in queries])
    return Narrowed(
        without=mean_interval(plain, seed=seed),
        with_where=mean_interval(exact, seed=seed),
        gained=paired_interval(plain, exact, seed=seed),
    )


async def _ask(world: World, query: Query, setting: Json) -> Answer:
    request: Json = {"query_text": query.text, "corpora": list(world.corpora), "k": DEPTH}
    return await world.client.ask({**request, **setting})
