"""`lakehouse stress`: three coordinators, three contracts, 48 simulated hours, and every call kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.labs.judges import ACCEPTED
from services.labs.matrix import Answer, each
from services.labs.queries import Query
from services.labs.reality.stress_contracts import FRESH, NEWCOMERS, Contract, admit
from services.labs.rest import Json
from services.labs.world import Say, World, sanity

K = 10
SWAPPED = 200
"""Workers who are taken out of one demand's answers at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One search, as it is kept."""

    phase: str
    hour: int
    coordinator: str
    contract: str
    role: str
    query_id: str
    query: str
    playbook: str
    k: int
    excluded: int
    ids: tuple[str, ...]
    distances: tuple[float, ...]
    per_corpus: Mapping[str, int]
    boosted: int
    injected: int
    top_rating: int | None
    milliseconds: float

    def document(self) -> dict[str, Any]:
        """The JSON form, a line of calls.jsonl."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


@dataclass(slots=True, kw_only=True)
class Log:
    """What happened: all calls in order, what was recorded, and what was found out beside the calls."""

    calls: list[Call] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """The recorded answer of each demand, by its id."""
    merged: Json | None = None
    phases: list[tuple[str, int, float]] = field(default_factory=list)
    """Name, hour and seconds of each phase."""

    def of(self, phase: str) -> list[Call]:
        """The calls of a phase."""
        return [call for call in self.calls if call.phase == phase]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ask:
    """A search to make."""

    demand: Query
    coordinator: str
    text: str = ""
    playbook: str = ""
    k: int = K
    exclude: Sequence[str] = ()
    fresh: bool = False


class Stress:
    """The phases, in the order of the clock."""

    def __init__(self, world: World, contracts: Sequence[Contract], folder: Path, say: Say) -> None:
        self._world = world
        self._contracts = contracts
        self._folder = folder
        self._say = say
        self._remembering: set[str] = set()
        """Coordinators who have recorded something."""
        self.log = Log()

    async def run(self) -> Log:
        """Runs every phase. Raises ServiceError, and UnfitData when three rows are not three."""
        await sanity(self._world.client, self._folder)
        for contract in self._contracts:
            await self._world.client.drop_index(self._playbook(contract.coordinator))
        await self._world.client.drop_index(self._world.playbook("merged"))
        phases = (
            ("baseline", 0, self._baseline),
            ("fresh resumes", 6, self._fresh),
            ("inbox burst", 12, self._inbox),
            ("surge", 18, self._surge),
            ("swap", 24, self._swap),
            ("merge", 30, self._merge),
            ("hand-over", 36, self._hand_over),
            ("split", 42, self._split),
            ("re-issue", 48, self._reissue),
        )
        for name, hour, work in phases:
            self._say(f"hour {hour}: {name}")
            began = time.monotonic()
            await work(hour)
            self.log.phases.append((name, hour, time.monotonic() - began))
        return self.log

    async def clean_up(self) -> None:
        """Removes what the run put up."""
        for contract in self._contracts:
            await self._world.client.drop_index(self._playbook(contract.coordinator))
        await self._world.client.drop_index(self._world.playbook("merged"))
        if self._world.sample is not None:
            await self._world.client.drop_index(FRESH)
            await self._world.client.drop_dataset(FRESH)

    def _playbook(self, coordinator: str) -> str:
        return self._world.playbook(coordinator.replace(" ", "_"))

    async def _baseline(self, hour: int) -> None:
        """Everybody asks for everything cold, and records the best answer in a playbook of their own."""
        for contract in self._contracts:
            asked = [_Ask(demand=demand, coordinator=contract.coordinator) for demand in contract.demands]
            answers = await self._search("baseline", hour, asked)
            entries = [
                await self._entry(demand, answer) for demand, answer in zip(contract.demands, answers, strict=True)
            ]
            kept = [entry for entry in entries if entry is not None]
            await self._world.client.record_all(kept, self._playbook(contract.coordinator))
            if kept:
                self._remembering.add(contract.coordinator)

    async def _entry(self, demand: Query, answer: Answer) -> Json | None:
        """The best rated hit, if it is worth remembering; the first one where nobody can judge."""
        ratings = await self._world.judge.rate(demand, answer.hits)
        known = [(-(value or 0), rank) for rank, value in enumerate(ratings) if value is not None]
        if not answer.hits or (known and -min(known)[0] < ACCEPTED):
            return None
        hit = answer.hits[min(known)[1] if known else 0]
        self.log.answers[demand.id] = hit.id
        entry: Json = {"query_text": demand.text, "answer_id": hit.id, "answer_corpus": hit.corpus}
        return {**entry, **({"role": demand.role} if demand.role else {})}

    async def _fresh(self, hour: int) -> None:
        """Résumés come in, and are asked for at once."""
        if self._world.sample is None:
            return
        await self._world.client.drop_index(FRESH)
        await self._world.client.drop_dataset(FRESH)
        await admit(self._world, self._folder)
        asked = [
            _Ask(demand=Query(id=person.id, text=person.question), coordinator="carol", fresh=True)
            for person in NEWCOMERS
        ]
        await self._search("fresh resumes", hour, asked)

    async def _inbox(self, hour: int) -> None:
        """Messages in other words, all at once."""
        asked = [
            _Ask(demand=demand, coordinator=contract.coordinator, text=demand.paraphrases[-1])
            for contract in self._contracts
            for demand in contract.demands[:2]
            if demand.paraphrases
        ]
        await self._search("inbox burst", hour, asked)

    async def _surge(self, hour: int) -> None:
        """Everybody asks for everything again at the same moment, with their playbooks."""
        await self._search("surge", hour, self._own())

    def _own(self) -> list[_Ask]:
        return [
            _Ask(demand=demand, coordinator=contract.coordinator, playbook=self._playbook(contract.coordinator))
            for contract in self._contracts
            for demand in contract.demands
        ]

    async def _swap(self, hour: int) -> None:
        """Two hundred answers to one demand are taken out, and others must take their place."""
        first = self._contracts[0]
        asked = _Ask(
            demand=first.demands[0],
            coordinator=first.coordinator,
            playbook=self._playbook(first.coordinator),
            k=SWAPPED,
        )
        (before,) = await self._search("swap, before", hour, [asked])
        replaced = _Ask(
            demand=asked.demand, coordinator=asked.coordinator, playbook=asked.playbook, k=SWAPPED, exclude=before.ids
        )
        await self._search("swap, after", hour, [replaced])

    async def _merge(self, hour: int) -> None:
        """Two contracts become one: their playbooks are merged, and all demands are asked of the merged one."""
        merging = [contract for contract in self._contracts[:2] if contract.coordinator in self._remembering]
        if not self._world.abilities.merge or not merging:
            return
        client, dest = self._world.client, self._world.playbook("merged")
        for contract in merging:
            self.log.merged = await client.merge_playbooks(self._playbook(contract.coordinator), dest)
        owner = self._contracts[0].coordinator
        asked = [
            _Ask(demand=demand, coordinator=owner, playbook=dest) for contract in merging for demand in contract.demands
        ]
        await self._search("merge", hour, asked)

    async def _hand_over(self, hour: int) -> None:
        """The second coordinator takes over the first one's contract and reads the first one's playbook."""
        first, second = self._contracts[0], self._contracts[1]
        playbook = self._playbook(first.coordinator)
        verbatim = [_Ask(demand=demand, coordinator=second.coordinator, playbook=playbook) for demand in first.demands]
        await self._search("hand-over, verbatim", hour, verbatim)
        reworded = [
            _Ask(demand=demand, coordinator=second.coordinator, text=demand.paraphrases[0], playbook=playbook)
            for demand in first.demands
            if demand.paraphrases
        ]
        await self._search("hand-over, paraphrased", hour, reworded)

    async def _split(self, hour: int) -> None:
        """The first contract is split between the other coordinators, who read its playbook."""
        first, others = self._contracts[0], self._contracts[1:]
        asked = [
            _Ask(
                demand=demand,
                coordinator=others[number % len(others)].coordinator,
                playbook=self._playbook(first.coordinator),
            )
            for number, demand in enumerate(first.demands)
        ]
        await self._search("split", hour, asked)

    async def _reissue(self, hour: int) -> None:
        """Everything is asked once more: with the playbooks, and without, as at hour 0."""
        await self._search("re-issue", hour, self._own())
        cold = [_Ask(demand=one.demand, coordinator=one.coordinator) for one in self._own()]
        await self._search("re-issue, retrieval only", hour, cold)

    async def _search(self, phase: str, hour: int, asked: Sequence[_Ask]) -> list[Answer]:
        timed = await each(self._one, asked)
        for one, (answer, seconds) in zip(asked, timed, strict=True):
            rated = (
                await self._world.judge.rate(one.demand, answer.hits[:1]) if not one.fresh and answer.hits else [None]
            )
            self.log.calls.append(_call(phase, hour, one, answer, rated[0], seconds))
        return [answer for answer, _ in timed]

    async def _one(self, one: _Ask) -> tuple[Answer, float]:
        corpora = [*self._world.corpora, *([FRESH] if one.fresh else [])]
        request: Json = {"query_text": one.text or one.demand.text, "corpora": corpora, "k": one.k}
        if one.playbook:
            request |= {"use_playbook": True, "playbook_corpus": one.playbook}
        if one.demand.role:
            request["query_role"] = one.demand.role
        if one.exclude:
            request["exclude_ids"] = list(one.exclude)
        began = time.perf_counter()
        return await self._world.client.ask(request), time.perf_counter() - began


def _call(phase: str, hour: int, one: _Ask, answer: Answer, rated: int | None, seconds: float) -> Call:
    return Call(
        phase=phase,
        hour=hour,
        coordinator=one.coordinator,
        contract=one.demand.contract,
        role=one.demand.role,
        query_id=one.demand.id,
        query=one.text or one.demand.text,
        playbook=one.playbook,
        k=one.k,
        excluded=len(one.exclude),
        ids=answer.ids,
        distances=tuple(hit.distance for hit in answer.hits),
        per_corpus=dict(sorted(answer.per_corpus.items())),
        boosted=answer.boosted,
        injected=answer.injected,
        top_rating=rated,
        milliseconds=1000 * seconds,
    )
