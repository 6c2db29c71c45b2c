"""What a reality test runs on: a mesh, corpora, questions and a judge. The sample data, or the user's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.labs.judges import Judge, LabelsJudge, RubricJudge, TruthJudge, from_answers, read_labels
from services.labs.matrix import MatrixClient
from services.labs.needs import Need
from services.labs.plan import UnfitData
from services.labs.queries import Query, read_queries
from services.labs.rest import Json
from services.labs.sample import PARAPHRASES, Sample
from services.runtime.errors import InvalidArgument, NotFound, ServiceError, Unimplemented

Say = Callable[[str], None]
"""Told what is being done now."""

_COUNT_SECONDS = 20.0
_READING_SECONDS = 15.0
_LOOK_EVERY, _STEADY, _SETTLING_ROUNDS = 0.1, 20, 600
_THOROUGH = {"m": 32, "ef_construction": 200, "ef_search": 1000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What this mesh can do of what the tests measure; found out by asking, not by its version."""

    guard: bool = False
    where: bool = False
    lexical: bool = False
    rubric: bool = False
    merge: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything a reality test needs."""

    client: MatrixClient
    corpora: tuple[str, ...]
    queries: tuple[Query, ...]
    judge: Judge
    abilities: Abilities
    seed: int
    label: str
    """What the data are, in a few words."""
    sample: Sample | None = None
    needs: Mapping[str, Need] = field(default_factory=dict)
    more_queries: tuple[Query, ...] = ()
    """Further questions that ways to retrieve are compared with; the questions themselves when empty."""
    paraphrases: tuple[str, ...] = ()
    """What the first, second, … paraphrase of each question is, where that is known."""

    def playbook(self, purpose: str) -> str:
        """The name of a playbook for one purpose, so that the user's own playbooks are left alone."""
        return f"reality_{purpose}"


async def sample_world(client: MatrixClient, sample: Sample, folder: Path, say: Say, *, exact: bool) -> World:
    """Ingests and embeds the sample. Raises ServiceError.

    A graph comes out a little different every time, by when what was sealed. For an `exact` world so many candidates
    are looked at that all of them find the same: only so the same seed gives the same report.
    """
    for name, path in sample.write(folder).items():
        say(f"ingesting {name}")
        await client.ingest(path, name, lambda done, total: None)
        say(f"embedding {name}")
        request = {"corpus": name, "dataset": name, "id_column": "worker_id", "text_columns": ["resume_text"]}
        await client.build_corpus(request, lambda done, total: None)
        await _settled(client, name)
        if exact:
            await client.rebuild(name, _THOROUGH)
            await _settled(client, name)
    asked = sample.queries()
    more = sample.more_queries()
    needs = {query.id: need for query, need in (*asked, *more)}
    queries = tuple(query for query, _ in asked)
    corpora = ("workers", "ethereal_workers")
    return World(
        client=client,
        corpora=corpora,
        queries=queries,
        judge=TruthJudge(sample.roster, needs),
        abilities=await find_abilities(client, corpora, queries[0]),
        seed=sample.seed,
        label=f"sample data, {sample.size.workers:,} workers and {sample.size.ethereal:,} ethereal workers",
        sample=sample,
        needs=needs,
        more_queries=tuple(query for query, _ in more),
        paraphrases=PARAPHRASES,
    )


async def own_world(
    client: MatrixClient, corpora: Sequence[str], file: Path, labels: Path | None, judge: str, seed: int
) -> World:
    """The user's corpora and questions; with the judge `none` nobody rates.

    Raises ServiceError, OSError, and UnfitData for files that will not do.
    """
    queries = read_queries(file)
    known = {corpus["name"] for corpus in await client.corpora()}
    missing = next((name for name in corpora if name not in known), None)
    if missing is not None:
        message = f"there is no corpus {missing!r}; there are: {', '.join(sorted(known)) or 'none'}"
        raise UnfitData(message, reason="CORPUS_NOT_FOUND")
    abilities = await find_abilities(client, corpora, queries[0])
    return World(
        client=client,
        corpora=tuple(corpora),
        queries=queries,
        judge=_judge(client, queries, labels, judge, abilities),
        abilities=abilities,
        seed=seed,
        label=f"{', '.join(corpora)}; {len(queries)} questions from {file.name}",
    )


def _judge(
    client: MatrixClient, queries: Sequence[Query], labels: Path | None, wanted: str, abilities: Abilities
) -> Judge:
    if wanted == "none":
        return LabelsJudge({})
    rubric = any(query.expected for query in queries)
    named = from_answers(queries)
    if wanted == "human" or (wanted == "auto" and labels is not None):
        if labels is None:
            raise UnfitData("the judge `human` needs a file of labels: --labels FILE", reason="NO_JUDGE")
        return LabelsJudge({**named, **read_labels(labels)})
    if wanted == "truth":
        raise UnfitData("the truth is known for the sample data only", reason="NO_JUDGE")
    if rubric:
        return RubricJudge(client if abilities.rubric else None)
    if named and wanted == "auto":
        return LabelsJudge(named)
    message = "nobody can judge: give the questions `expected` fields or right `answers`, or --labels FILE"
    raise UnfitData(message, reason="NO_JUDGE")


async def find_abilities(client: MatrixClient, corpora: Sequence[str], query: Query) -> Abilities:
    """Asks for each ability. Raises ServiceError when the corpora cannot be searched at all."""
    plain: Json = {"query_text": f"{query.text}, at least 12 of them", "corpora": list(corpora), "k": 1}
    answer = await client.ask(plain)
    try:
        # Where the option is passed over, something is found all the same.
        narrowed = not (await client.ask({**plain, "where": "1 = 0"})).hits
    except ServiceError:
        narrowed = False
    first = answer.hits[0] if answer.hits else None
    return Abilities(
        guard=await _guards(client, plain),
        where=narrowed,
        lexical=await _is_there(client.ask({**plain, "retrieval": "lexical"})),
        rubric=first is not None and await _is_there(client.rate("?", first.corpus, [first.id], {"x": 1})),
        merge=await _is_there(client.merge_playbooks("reality_none", "reality_nowhere")),
    )


async def _guards(client: MatrixClient, request: Json) -> bool:
    """Whether the mesh reads what a question asks for exactly; asked again, since it learns values first."""
    end = time.monotonic() + _READING_SECONDS
    while not (await client.ask(request)).constraints:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_LOOK_EVERY)
    return True


async def _is_there(call: Awaitable[object]) -> bool:
    """Whether the mesh has what a call asks for; that it finds nothing to work on is an answer, too."""
    try:
        await call
    except Unimplemented:
        return False
    except (NotFound, InvalidArgument):
        return True
    return True


async def _settled(client: MatrixClient, name: str) -> None:
    """Waits until an index has sealed what was added, so that the same search finds the same from now on."""
    seen: list[tuple[int, int, int]] = []
    for _ in range(_SETTLING_ROUNDS):
        index = await client.index(name)
        seen.append((index["segments"], index["hot_count"], index["count"]))
        if len(seen) >= _STEADY and len(set(seen[-_STEADY:])) == 1:
            return
        await asyncio.sleep(_LOOK_EVERY)


async def sanity(client: MatrixClient, folder: Path) -> float:
    """Three rows in, COUNT(*) = 3 out, before anything is believed; returns the seconds until the count was right.

    Raises ServiceError, and UnfitData when the count is not right in time.
    """
    name = "reality_probe"
    path = folder / f"{name}.csv"
    await client.drop_dataset(name)
    path.write_text("id,text\n1,one\n2,two\n3,three\n", encoding="utf-8")
    began = time.monotonic()
    await client.ingest(path, name, lambda done, total: None)
    counted: object = None
    try:
        while time.monotonic() - began < _COUNT_SECONDS:
            try:
                counted = (await client.sql(f"SELECT count(*) FROM {name}")).rows[0][0]
            except NotFound:
                counted = None
            if counted == 3:
                return time.monotonic() - began
            await asyncio.sleep(0.05)
    finally:
        await client.drop_dataset(name)
    raise UnfitData(f"three rows went in, and COUNT(*) says {counted}", reason="SANITY")
