"""Bleed across roles: the same client, city and words, another role. In each of the four phrasings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.labs.demands import STYLES
from services.labs.matrix import Answer, each
from services.labs.needs import Need, phrase, spoken
from services.labs.rest import Json
from services.labs.roles import RoleExtractor
from services.labs.sample import best_of, clusters
from services.labs.trades import PLACES
from services.labs.world import World

K = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What one phrasing did."""

    style: str
    questions: int
    extracted: int
    """Questions whose role was read right, by pattern."""
    bled: int
    """Questions whose answer was moved by an entry of another role, with role gate."""
    bled_without: int
    """The same without roles and without guard."""
    kept: int
    """Questions that have their own recorded answer on top, with role gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    text: str
    role: str
    """As it was read from the text."""
    need: Need
    answer: str


async def run(world: World) -> tuple[Style, ...]:
    """Records an answer for each role of each cluster, asks all again, counts what moved; nothing on own data."""
    return tuple([await _one(world, style) for style in STYLES]) if world.sample is not None else ()


async def _one(world: World, style: str) -> Style:
    assert world.sample is not None
    extractor = RoleExtractor(places=[place.city for place in PLACES])
    asked = []
    for cluster in clusters(world.sample, world.sample.size.clusters):
        for need in cluster.needs:
            best = best_of(world.sample.roster.values(), need)
            if best is not None:
                text = phrase(need, style)
                asked.append(_Asked(text=text, role=await extractor.role(text), need=need, answer=best.worker_id))
    playbook = world.playbook(f"roles_{style}")
    await world.client.drop_index(playbook)
    recorded = await world.client.record_all([_entry(world, one) for one in asked], playbook)
    owners = dict(zip(recorded, (one.need.role for one in asked), strict=True))

    async def gated(one: _Asked) -> Answer:
        return await _ask(world, playbook, one.text, one.role, guard=True)

    async def open_to_all(one: _Asked) -> Answer:
        return await _ask(world, playbook, one.text, "", guard=False)

    answers, without = await each(gated, asked), await each(open_to_all, asked)
    return Style(
        style=style,
        questions=len(asked),
        extracted=sum(_same(one.role, one.need.role) for one in asked),
        bled=_bled(asked, answers, owners),
        bled_without=_bled(asked, without, owners),
        kept=sum(answer.rank(one.answer) == 0 for one, answer in zip(asked, answers, strict=True)),
    )


def _entry(world: World, one: _Asked) -> Json:
    corpus = world.corpora[0 if one.answer.startswith("w-") else 1]
    return {"query_text": one.text, "answer_id": one.answer, "answer_corpus": corpus, "role": one.role}


async def _ask(world: World, playbook: str, text: str, role: str, *, guard: bool) -> Answer:
    request: Json = {
        "query_text": text,
        "corpora": list(world.corpora),
        "k": K,
        "use_playbook": True,
        "playbook_corpus": playbook,
        "constraint_guard": guard,
    }
    return await world.client.ask({**request, **({"query_role": role} if role else {})})


def _bled(asked: Sequence[_Asked], answers: Sequence[Answer], owners: Mapping[str, str]) -> int:
    return sum(
        any(hit.moved and owners.get(hit.playbook_id, one.need.role) != one.need.role for hit in answer.hits)
        for one, answer in zip(asked, answers, strict=True)
    )


def _same(extracted: str, role: str) -> bool:
    name = spoken(role).casefold()
    return extracted in (name, f"{name}s")
