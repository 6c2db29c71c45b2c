"""The sample world of the reality tests: two corpora of workers, questions about them, and the truth.

`workers` (ids `w-…`) and `ethereal_workers` (ids `e-…`) come from one generator and two seeds. Each of
the questions is a structured need, so that who is right is known for every worker in both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from services.labs.demands import STYLES
from services.labs.needs import Need, expected, meets, paraphrases, phrase, where
from services.labs.queries import Query
from services.labs.staffing import TODAY, Worker, workers, write_csv
from services.labs.trades import EMPLOYERS, PLACES, SHIFTS, TRADES, Place, Trade

WORKERS, ETHEREAL = "workers", "ethereal_workers"
CATEGORIES = ("certificate", "experience", "shift", "state", "skill", "negation", "recent")
PARAPHRASES = ("in other words", "another name for the trade, too")
"""What the two paraphrases of a question are."""
PER_CATEGORY, OUT_OF_DOMAIN = 10, 8

_STRANGE = (
    "Drone Surveyor",
    "Marine Biologist",
    "Opera Singer",
    "Patent Attorney",
    "Reactor Physicist",
    "Beekeeper",
    "Court Interpreter",
    "Glaciologist",
    "Falconer",
    "Sommelier",
)
_ATTEMPTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of the sample there is."""

    workers: int = 5_000
    ethereal: int = 10_000
    per_category: int = PER_CATEGORY
    out_of_domain: int = OUT_OF_DOMAIN
    more_per_category: int = 30
    """Questions of each category for comparing ways to retrieve."""
    pairs: int = 336
    """Pairs of the adversarial suite."""
    clusters: int = 6
    """Places with several roles, for the test of bleed across roles."""


FULL = Size()
QUICK = Size(workers=600, ethereal=900, per_category=2, out_of_domain=2, more_per_category=3, pairs=40, clusters=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The workers of both corpora, by id."""

    size: Size
    seed: int
    roster: dict[str, Worker] = field(repr=False)

    @classmethod
    def draw(cls, size: Size, seed: int) -> Sample:
        """Generates both corpora; some 40 microseconds for each worker."""
        roster = {worker.worker_id: worker for worker in workers(size.workers, seed=seed, prefix="w")}
        roster |= {worker.worker_id: worker for worker in workers(size.ethereal, seed=seed + 1, prefix="e")}
        return cls(size=size, seed=seed, roster=roster)

    def write(self, folder: Path) -> dict[str, Path]:
        """Writes a CSV file for each corpus; returns their paths by the corpora's names."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for name, prefix in ((WORKERS, "w-"), (ETHEREAL, "e-")):
            paths[name] = folder / f"{name}.csv"
            write_csv(paths[name], (worker for ident, worker in self.roster.items() if ident.startswith(prefix)))
        return paths

    def queries(self) -> tuple[tuple[Query, Need], ...]:
        """The questions of every category and the out-of-domain ones, with their needs. Deterministic."""
        pick = random.Random(f"queries {self.seed}")
        made = self._drawn(pick, self.size.per_category, "")
        for number, role in enumerate(_STRANGE[: self.size.out_of_domain]):
            need = Need(role=role, city=_place(pick).city, min_years=pick.randint(2, 6), client=pick.choice(EMPLOYERS))
            query = as_query(need, f"out-of-domain-{number + 1}", "out of domain", STYLES[number % 4])
            made.append((query, need))
        return tuple(made)

    def more_queries(self) -> tuple[tuple[Query, Need], ...]:
        """Other questions of the same categories: as many as telling ways to retrieve apart takes."""
        return tuple(self._drawn(random.Random(f"more queries {self.seed}"), self.size.more_per_category, "more-"))

    def _drawn(self, pick: random.Random, per_category: int, prefix: str) -> list[tuple[Query, Need]]:
        made: list[tuple[Query, Need]] = []
        taken: set[tuple[str, str]] = set()
        for category in CATEGORIES:
            for number in range(per_category):
                need = self.answerable(pick, _MAKERS[category], taken)
                made.append((as_query(need, f"{prefix}{category}-{number + 1}", category, STYLES[number % 4]), need))
            if prefix:
                taken.clear()
        return made

    def answerable(
        self,
        pick: random.Random,
        make: Callable[[random.Random, Trade, Place], Need],
        taken: set[tuple[str, str]],
    ) -> Need:
        """Draws needs until one has three workers who meet it and another pair of role and place than those taken."""
        need = make(pick, _trade(pick), _place(pick))
        for _ in range(_ATTEMPTS):
            if (need.role, need.city or need.state) not in taken and len(meets(self.roster.values(), need)) >= 3:
                break
            need = make(pick, _trade(pick), _place(pick))
        taken.add((need.role, need.city or need.state))
        return need


def as_query(need: Need, ident: str, category: str, style: str) -> Query:
    """A need as a question; the role comes with the request, as it does in production."""
    return Query(
        id=ident,
        text=phrase(need, style),
        paraphrases=paraphrases(need, style),
        role=need.role,
        category=category,
        expected=expected(need),
        out_of_domain=need.trade is None,
        where=where(need),
    )


def _trade(pick: random.Random) -> Trade:
    return pick.choices(TRADES, [trade.weight for trade in TRADES])[0]


def _place(pick: random.Random) -> Place:
    return pick.choices(PLACES, [place.weight for place in PLACES])[0]


def _certificate(pick: random.Random, trade: Trade) -> str:
    return pick.choice([name for name, share in trade.certificates if share >= 0.2] or [trade.certificates[0][0]])


def days(pick: random.Random) -> date:
    """A day on which some workers have been active since."""
    return TODAY - timedelta(days=pick.randint(5, 11))


def with_certificate(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, city, certificate, some years."""
    years = pick.randint(2, 4)
    return _need(pick, trade, place, certificate=_certificate(pick, trade), min_years=years)


def with_experience(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, city, many years."""
    return _need(pick, trade, place, min_years=pick.randint(6, 15), available=True)


def with_shift(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, city, shift."""
    return _need(pick, trade, place, shift=pick.choice([name for name, _ in SHIFTS]))


def in_state(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, state, certificate."""
    client = pick.choice(EMPLOYERS)
    return Need(
        role=trade.role, state=place.state, certificate=_certificate(pick, trade), available=True, client=client
    )


def with_skill(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, city, skill."""
    return _need(pick, trade, place, skill=pick.choice(trade.skills), available=True)


def with_negation(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, city, a certificate that must be missing."""
    return _need(pick, trade, place, without=_certificate(pick, trade), min_years=pick.randint(1, 4))


def recently_active(pick: random.Random, trade: Trade, place: Place) -> Need:
    """Role, city, active since a day."""
    return _need(pick, trade, place, active_since=days(pick), certificate=_certificate(pick, trade))


def _need(
    pick: random.Random,
    trade: Trade,
    place: Place,
    *,
    certificate: str = "",
    without: str = "",
    min_years: int | None = None,
    shift: str = "",
    skill: str = "",
    active_since: date | None = None,
    available: bool = False,
) -> Need:
    return Need(
        role=trade.role,
        city=place.city,
        certificate=certificate,
        without=without,
        min_years=min_years,
        shift=shift,
        skill=skill,
        active_since=active_since,
        available=available,
        count=pick.choice((1, 1, 2, 3)),
        client=pick.choice(EMPLOYERS),
    )


_MAKERS: dict[str, Callable[[random.Random, Trade, Place], Need]] = {
    "certificate": with_certificate,
    "experience": with_experience,
    "shift": with_shift,
    "state": in_state,
    "skill": with_skill,
    "negation": with_negation,
    "recent": recently_active,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Requests for several roles by one client in one city."""

    client: str
    needs: tuple[Need, ...]


def clusters(sample: Sample, count: int, roles: int = 3) -> tuple[Cluster, ...]:
    """Clients who ask for several roles at one place, in the same words but for the role."""
    pick = random.Random(f"clusters {sample.seed}")
    places = pick.sample(PLACES[:10], count)
    made = []
    for place in places:
        client = pick.choice(EMPLOYERS)
        trades = pick.sample(TRADES, roles)
        needs = tuple(Need(role=t.role, city=place.city, min_years=2, available=True, client=client) for t in trades)
        made.append(Cluster(client=client, needs=needs))
    return tuple(made)


def best_of(roster: Iterable[Worker], need: Need) -> Worker | None:
    """The best worker who truly meets a need; None when nobody does."""
    found: Sequence[Worker] = meets(roster, need)
    return found[0] if found else None
