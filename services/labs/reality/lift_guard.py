"""The adversarial suite: questions alike in words that ask for something else. Nobody's answer may be given to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.labs.adversarial import suite
from services.labs.judges import ACCEPTED, Judge, TruthJudge
from services.labs.matrix import Answer, each
from services.labs.queries import Query
from services.labs.reality.lift_passes import Round
from services.labs.rest import Json
from services.labs.world import World

PURPOSE = "adversarial"
K = 10
_EMBEDDED_AT_ONCE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """A question with a recorded answer, and another one that looks the same."""

    kind: str
    """What differs."""
    asked: Query
    """Its first paraphrase, if any, should still be given the answer."""
    answer: str
    corpus: str
    other: Query


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """How the searches were protected."""

    name: str
    guard: bool
    roles: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sprung:
    """What one trap caught, under one protection."""

    trap: Trap
    injected: bool
    """The playbook brought in an answer that is wrong here."""
    boosted: bool
    """It moved up an answer that is wrong here."""
    on_top: bool
    """Such an answer stands first."""
    recovered: bool | None
    """Whether the paraphrase has the recorded answer on top; None without a paraphrase."""
    recovered_anywhere: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The suite's results for each protection, and how far apart the questions lie."""

    traps: tuple[Trap, ...]
    results: Mapping[str, tuple[Sprung, ...]]
    trap_distances: tuple[float, ...]
    paraphrase_distances: tuple[float, ...]


UNGUARDED = Variant(name="nothing", guard=False, roles=False)
GUARD = Variant(name="constraint guard", guard=True, roles=False)
BOTH = Variant(name="constraint guard and role gate", guard=True, roles=True)
ROLES = Variant(name="role gate", guard=False, roles=True)


async def run(world: World, rounds: Sequence[Round]) -> Suite | None:
    """Records every trap's answer and asks its other question; None when the questions hold no trap."""
    judge: Judge = world.judge
    if world.sample is not None:
        traps, judge = _sample_traps(world)
    else:
        traps = _own_traps(world, rounds)
    if not traps:
        return None
    playbook = world.playbook(PURPOSE)
    await world.client.drop_index(playbook)
    await world.client.record_all([_entry(trap) for trap in traps], playbook)
    variants = (UNGUARDED, ROLES, GUARD, BOTH) if world.abilities.guard else (UNGUARDED, ROLES)
    results = {}
    for variant in variants:
        prober = _Prober(world, judge, variant)
        results[variant.name] = tuple(await each(prober.spring, traps))
    return Suite(
        traps=traps,
        results=results,
        trap_distances=await _distances(world, [(trap.asked.text, trap.other.text) for trap in traps]),
        paraphrase_distances=await _distances(
            world, [(trap.asked.text, trap.asked.paraphrases[0]) for trap in traps if trap.asked.paraphrases]
        ),
    )


def _sample_traps(world: World) -> tuple[tuple[Trap, ...], Judge]:
    assert world.sample is not None
    pairs = suite(world.sample, world.sample.size.pairs)
    traps = tuple(
        Trap(
            kind=pair.kind,
            asked=Query(id=f"asked-{n}", text=pair.question, paraphrases=(pair.paraphrase,), role=pair.need.role),
            answer=pair.answer,
            corpus=world.corpora[0 if pair.answer.startswith("w-") else 1],
            other=Query(id=f"other-{n}", text=pair.other, role=pair.other_need.role),
        )
        for n, pair in enumerate(pairs)
    )
    needs = {f"other-{n}": pair.other_need for n, pair in enumerate(pairs)}
    return traps, TruthJudge(world.sample.roster, needs)


def _own_traps(world: World, rounds: Sequence[Round]) -> tuple[Trap, ...]:
    """Questions of the user's that name another one in `not_like`."""
    by_id = {one.query.id: one for one in rounds}
    return tuple(
        Trap(
            kind=one.query.category,
            asked=by_id[one.query.not_like].query,
            answer=by_id[one.query.not_like].best,
            corpus=by_id[one.query.not_like].best_corpus,
            other=one.query,
        )
        for one in rounds
        if one.query.not_like and by_id[one.query.not_like].best
    )


def _entry(trap: Trap) -> Json:
    entry: Json = {"query_text": trap.asked.text, "answer_id": trap.answer, "answer_corpus": trap.corpus}
    return {**entry, **({"role": trap.asked.role} if trap.asked.role else {})}


class _Prober:
    """Asks the other question and the paraphrase of traps, under one protection."""

    def __init__(self, world: World, judge: Judge, variant: Variant) -> None:
        self._world = world
        self._judge = judge
        self._variant = variant

    async def spring(self, trap: Trap) -> Sprung:
        answer = await self._ask(trap.other.text, trap.other.role)
        moved = [hit for hit in answer.hits if hit.moved]
        rated = await self._judge.rate(trap.other, moved)
        wrong = [
            hit
            for hit, value in zip(moved, rated, strict=True)
            # An answer that nobody rated is wrong here when it is the one the trap is about.
            if (hit.id == trap.answer if value is None else value < ACCEPTED)
        ]
        recovered = anywhere = None
        if trap.asked.paraphrases:
            reworded = await self._ask(trap.asked.paraphrases[0], trap.asked.role)
            rank = reworded.rank(trap.answer)
            recovered, anywhere = rank == 0, rank is not None
        return Sprung(
            trap=trap,
            injected=any(hit.injected for hit in wrong),
            boosted=any(not hit.injected for hit in wrong),
            on_top=bool(answer.hits) and answer.hits[0] in wrong,
            recovered=recovered,
            recovered_anywhere=anywhere,
        )

    async def _ask(self, text: str, role: str) -> Answer:
        request: Json = {
            "query_text": text,
            "corpora": list(self._world.corpora),
            "k": K,
            "use_playbook": True,
            "playbook_corpus": self._world.playbook(PURPOSE),
            "constraint_guard": self._variant.guard,
        }
        if role and self._variant.roles:
            request["query_role"] = role
        return await self._world.client.ask(request)


async def _distances(world: World, pairs: Sequence[tuple[str, str]]) -> tuple[float, ...]:
    """The cosine distance of each pair of texts."""
    texts = [text for pair in pairs for text in pair]
    vectors: list[list[float]] = []
    for start in range(0, len(texts), _EMBEDDED_AT_ONCE):
        vectors += await world.client.embed(texts[start : start + _EMBEDDED_AT_ONCE])
    if not vectors:
        return ()
    units = np.asarray(vectors, dtype=np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return tuple(float(value) for value in 1 - np.sum(units[0::2] * units[1::2], axis=1))
