"""Three coordinators, three contracts: who asks for what in the 48 hours of the stress test."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from services.labs.judges import TruthJudge
from services.labs.needs import Need, expected, paraphrases, phrase, where
from services.labs.plan import UnfitData
from services.labs.queries import Query
from services.labs.world import World

COORDINATORS = ("alice", "bob", "carol")
FRESH = "reality_fresh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What one coordinator has to fill."""

    name: str
    coordinator: str
    demands: tuple[Query, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Somebody whose résumé comes in on the way, and the question that asks for exactly them."""

    id: str
    text: str
    question: str


NEWCOMERS = (
    Newcomer(
        id="f-00001",
        text="Rosa Lindqvist, senior tower crane rigger, Chicago, IL.\nTwelve years of signalling and rigging for "
        "tower cranes on high-rise sites. NCCCO Rigger Level II and Signalperson.",
        question="Senior rigger for a tower crane in Chicago with NCCCO",
    ),
    Newcomer(
        id="f-00002",
        text="Tomás Ibarra, bilingual safety trainer, Indianapolis, Indiana.\nTeaches OSHA-10 and OSHA-30 in Spanish "
        "and English; authorised outreach trainer since 2014.",
        question="Trainer in Indianapolis who teaches OSHA courses in Spanish and English",
    ),
    Newcomer(
        id="f-00003",
        text="Priya Novak, drone surveyor, Chicago, IL.\nFAA Part 107 pilot. Photogrammetry and volume surveys of "
        "construction sites from the air.",
        question="Surveyor with an FAA Part 107 licence who flies drones over construction sites in Chicago",
    ),
)

_SITES: Mapping[str, tuple[str, str, tuple[tuple[str, str, int], ...]]] = {
    # Three roles are asked for everywhere, so that the same role can be compared across contracts.
    "distribution": (
        "Detroit",
        "Union Depot",
        (
            ("Warehouse Associate", "OSHA-10", 2),
            ("Forklift Operator", "OSHA-30", 3),
            ("Electrician", "OSHA-30", 2),
            ("Truck Driver", "Hazmat", 3),
        ),
    ),
    "manufacturing": (
        "Chicago",
        "Beacon Manufacturing",
        (
            ("Warehouse Associate", "Forklift License", 2),
            ("Forklift Operator", "Forklift License", 4),
            ("Electrician", "NFPA 70E", 3),
            ("Machinist", "NIMS Level I", 3),
        ),
    ),
    "construction": (
        "Houston",
        "Summit Builders",
        (
            ("Warehouse Associate", "First Aid", 1),
            ("Forklift Operator", "OSHA-10", 2),
            ("Electrician", "Journeyman License", 4),
            ("Welder", "AWS D1.1", 3),
        ),
    ),
}


def contracts_of(world: World) -> tuple[World, tuple[Contract, ...]]:
    """The contracts, and the world with their demands as its questions. Raises UnfitData when there are none."""
    if world.sample is not None:
        return _sample(world)
    named = list(dict.fromkeys(query.contract for query in world.queries if query.contract))
    if len(named) < 2:
        message = (
            "the questions must say whose request they are: the field `contract` with at least two different names"
        )
        raise UnfitData(message, reason="NO_CONTRACTS")
    contracts = tuple(
        Contract(
            name=name,
            coordinator=COORDINATORS[number] if number < len(COORDINATORS) else f"coordinator {number + 1}",
            demands=tuple(query for query in world.queries if query.contract == name),
        )
        for number, name in enumerate(named)
    )
    return world, contracts


def _sample(world: World) -> tuple[World, tuple[Contract, ...]]:
    assert world.sample is not None
    needs: dict[str, Need] = {}
    contracts = []
    for coordinator, (name, (city, client, asked)) in zip(COORDINATORS, _SITES.items(), strict=True):
        demands = []
        for number, (role, certificate, count) in enumerate(asked, 1):
            need = Need(
                role=role, city=city, certificate=certificate, min_years=2, available=True, count=count, client=client
            )
            ident = f"{name}-{number}"
            needs[ident] = need
            demands.append(
                Query(
                    id=ident,
                    text=phrase(need, "need"),
                    paraphrases=paraphrases(need, "need"),
                    role=role,
                    category=name,
                    expected=expected(need),
                    where=where(need),
                    contract=name,
                )
            )
        contracts.append(Contract(name=name, coordinator=coordinator, demands=tuple(demands)))
    queries = tuple(demand for contract in contracts for demand in contract.demands)
    judge = TruthJudge(world.sample.roster, needs)
    return replace(world, queries=queries, judge=judge, needs=needs), tuple(contracts)


async def admit(world: World, folder: Path) -> None:
    """Takes the newcomers in as a small corpus of their own beside the large ones. Raises ServiceError."""
    path = _resumes(folder)
    await world.client.ingest(path, FRESH, lambda done, total: None)
    request = {"corpus": FRESH, "dataset": FRESH, "id_column": "worker_id", "text_columns": ["resume_text"]}
    await world.client.build_corpus(request, lambda done, total: None)


def _resumes(folder: Path) -> Path:
    path = folder / f"{FRESH}.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = [[person.id, person.text] for person in NEWCOMERS]
        csv.writer(file).writerows([["worker_id", "resume_text"], *rows])
    return path
