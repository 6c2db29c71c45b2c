"""What coordinators ask for, in several wordings, and the truth about who fits.

A demand is structured; its truth is read off the workers' columns and never off a search. The
wordings are for people and for embedding models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.labs.staffing import Worker
from services.labs.trades import PLACES, TRADES, Place, Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """One structured request for workers."""

    role: str
    city: str
    certificate: str
    min_years: int
    count: int = 1
    client: str = "our client"

    @property
    def trade(self) -> Trade:
        """The trade of the role."""
        return next(trade for trade in TRADES if trade.role == self.role)

    @property
    def place(self) -> Place:
        """The place of the city."""
        return next(place for place in PLACES if place.city == self.city)


DEMANDS: tuple[Demand, ...] = (
    Demand(role="Forklift Operator", city="Detroit", certificate="OSHA-30", min_years=5, count=3, client="Union Depot"),
    Demand(role="Welder", city="Houston", certificate="AWS D1.1", min_years=8, client="Gulf Marine"),
    Demand(role="Nursing Assistant", city="Boston", certificate="CPR", min_years=3, count=2, client="Charles House"),
    Demand(role="Electrician", city="Chicago", certificate="NFPA 70E", min_years=6, client="Lakefront Towers"),
    Demand(role="Truck Driver", city="Memphis", certificate="Hazmat", min_years=4, count=2, client="Delta Freight"),
    Demand(role="Line Cook", city="Atlanta", certificate="ServSafe", min_years=2, client="Peachtree Grand"),
    Demand(role="HVAC Technician", city="Phoenix", certificate="EPA 608", min_years=5, client="Mesa Cold Storage"),
    Demand(role="Packaging Operator", city="Newark", certificate="GMP", min_years=3, count=2, client="Passaic Pharma"),
)

CONTROL = Demand(role="Receptionist", city="Columbus", certificate="HIPAA", min_years=2, client="Scioto Dental")
"""A demand of another kind that nobody ever records an answer for."""


def shortfalls(worker: Worker, demand: Demand) -> tuple[str, ...]:
    """Says in a few words each what keeps a worker from a demand; empty when the worker truly fits."""
    checks = (
        (worker.role == demand.role, f"is a {worker.role.lower()}"),
        (worker.city == demand.city, f"lives in {worker.city}"),
        (demand.certificate in worker.certifications, f"no {demand.certificate}"),
        (worker.experience_years >= demand.min_years, f"only {worker.experience_years} years"),
        (worker.available, "not available"),
    )
    return tuple(words for passed, words in checks if not passed)


def fits(worker: Worker, demand: Demand) -> bool:
    """Tells whether a worker truly satisfies a demand."""
    return not shortfalls(worker, demand)


def fitting(workers: Iterable[Worker], demand: Demand) -> list[Worker]:
    """Returns the workers who truly fit, best first: by rating, then experience, then id."""
    found = [worker for worker in workers if fits(worker, demand)]
    return sorted(found, key=lambda worker: (-worker.rating, -worker.experience_years, worker.worker_id))


def _need(demand: Demand, place: Place, name: str) -> str:
    who = f"{demand.count} {name}s" if demand.count > 1 else f"{_article(name)} {name}"
    return (
        f"Need {who} in {place.city}, {place.state} with {demand.certificate} "
        f"and at least {demand.min_years} years of experience, available now"
    )


def _client_first(demand: Demand, place: Place, name: str) -> str:
    return (
        f"{demand.client} in {place.city} asks for {_article(name)} {name} who holds {demand.certificate} "
        f"and brings {demand.min_years} years on the job"
    )


def _looking(demand: Demand, place: Place, name: str) -> str:
    return (
        f"Looking for an experienced {name} around {place.city}, {place.state_name}: {demand.min_years}+ years in the "
        f"trade, {demand.certificate} is a must, can start right away"
    )


def _shorthand(demand: Demand, place: Place, name: str) -> str:
    return f"{place.city} {place.state}, {name}, {demand.certificate}, {demand.min_years}+ yrs, asap"


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" or name.startswith("HVAC") else "a"


_WORDINGS: dict[str, Callable[[Demand, Place, str], str]] = {
    "need": _need,
    "client_first": _client_first,
    "looking": _looking,
    "shorthand": _shorthand,
}
STYLES: tuple[str, ...] = tuple(_WORDINGS)


def phrase(demand: Demand, style: str, *, synonym: int | None = None) -> str:
    """Words a demand in one of STYLES, calling the trade by its role or by one of its synonyms."""
    trade = demand.trade
    name = trade.synonyms[synonym % len(trade.synonyms)] if synonym is not None else _spoken(trade.role)
    return _WORDINGS[style](demand, demand.place, name)


def _spoken(role: str) -> str:
    first, _, rest = role.partition(" ")
    return role if first.isupper() else f"{first.lower()} {rest.lower()}".strip()


def verbatim(demand: Demand) -> str:
    """The wording in which a demand is asked first."""
    return phrase(demand, "need")


def paraphrases(demand: Demand) -> tuple[str, str]:
    """Two other wordings of the same demand, with other words for the trade."""
    return phrase(demand, "looking", synonym=0), phrase(demand, "client_first", synonym=1)
