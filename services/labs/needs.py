"""What is asked of the sample data: structured needs, in four wordings, with the truth about who meets them.

Every condition of a need is a column of the workers, so that what is right is computed and never
searched for. The same need can be worded in many ways; two needs that differ in one condition are
worded alike but for that condition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from services.labs.staffing import Worker
from services.labs.statements import literal
from services.labs.trades import PLACES, TRADES, Place, Trade

_SHIFT_WORDS = {
    "day": ("for the day shift", "working days"),
    "evening": ("for the evening shift", "working evenings"),
    "night": ("for the night shift", "working nights"),
    "weekend": ("for the weekend shift", "working weekends"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A request for workers; what is empty or None is not asked for."""

    role: str
    city: str = ""
    state: str = ""
    """Two letters, for a need that takes any city of a state."""
    certificate: str = ""
    without: str = ""
    """A certificate that the worker must not have."""
    min_years: int | None = None
    shift: str = ""
    skill: str = ""
    active_since: date | None = None
    available: bool = False
    count: int = 1
    client: str = ""

    @property
    def trade(self) -> Trade | None:
        """The trade of the role; None for a role that no worker has."""
        return next((trade for trade in TRADES if trade.role == self.role), None)

    @property
    def place(self) -> Place | None:
        """The place of the city."""
        return next((place for place in PLACES if place.city == self.city), None)


def unmet(worker: Worker, need: Need) -> tuple[str, ...]:
    """Names the conditions that a worker does not meet, but for the role; empty when all are met."""
    checks = (
        ("city", not need.city or worker.city == need.city),
        ("state", not need.state or worker.state == need.state),
        ("certificate", not need.certificate or need.certificate in worker.certifications),
        ("without", not need.without or need.without not in worker.certifications),
        ("years", need.min_years is None or worker.experience_years >= need.min_years),
        ("shift", not need.shift or worker.shift == need.shift),
        ("skill", not need.skill or need.skill in worker.skills),
        ("active_since", need.active_since is None or worker.last_active.date() >= need.active_since),
        ("available", not need.available or worker.available),
    )
    return tuple(name for name, passed in checks if not passed)


def rating(worker: Worker, need: Need) -> int:
    """The true rating, 1 to 5.

    5: the role and every condition. 4: one year short, all else met. 3: one condition not met. 2: several not met,
    or another role with every condition met. 1: another role.
    """
    missing = unmet(worker, need)
    if worker.role != need.role:
        return 1 if missing else 2
    if not missing:
        return 5
    if missing == ("years",) and need.min_years is not None and worker.experience_years == need.min_years - 1:
        return 4
    return 3 if len(missing) == 1 else 2


def meets(workers: Iterable[Worker], need: Need) -> list[Worker]:
    """The workers who meet a need in every condition, best first: by rating, then experience, then id."""
    found = [worker for worker in workers if worker.role == need.role and not unmet(worker, need)]
    return sorted(found, key=lambda worker: (-worker.rating, -worker.experience_years, worker.worker_id))


def where(need: Need) -> str:
    """The need as a SQL condition over the workers' columns."""
    parts = [f"role = {literal(need.role)}"]
    if need.city:
        parts.append(f"city = {literal(need.city)}")
    if need.state:
        parts.append(f"state = {literal(need.state)}")
    if need.certificate:
        parts.append(f"contains(certifications, {literal(need.certificate)})")
    if need.without:
        parts.append(f"NOT coalesce(contains(certifications, {literal(need.without)}), false)")
    if need.min_years is not None:
        parts.append(f"experience_years >= {need.min_years:d}")
    if need.shift:
        parts.append(f"shift = {literal(need.shift)}")
    if need.skill:
        parts.append(f"contains(skills, {literal(need.skill)})")
    if need.active_since is not None:
        parts.append(f"CAST(last_active AS DATE) >= DATE {literal(need.active_since.isoformat())}")
    if need.available:
        parts.append("available")
    return " AND ".join(parts)


def expected(need: Need) -> dict[str, Any]:
    """What a rubric can check: the fields that must have one value."""
    fields = {"role": need.role, "city": need.city, "state": need.state, "shift": need.shift}
    known: dict[str, Any] = {name: value for name, value in fields.items() if value}
    if need.certificate:
        known["certifications"] = [need.certificate]
    if need.skill:
        known["skills"] = [need.skill]
    if need.available:
        known["available"] = True
    return known


def phrase(need: Need, style: str, *, synonym: int | None = None, other: bool = False) -> str:
    """Words a need in one of STYLES.

    `synonym` calls the trade by another of its names; `other` takes another wording of each condition.
    """
    trade = need.trade
    name = trade.synonyms[synonym % len(trade.synonyms)] if trade and synonym is not None else spoken(need.role)
    if style == "shorthand":
        return _shorthand(need, name)
    who = f"{need.count} {name}s" if need.count > 1 else f"{_article(name)} {name}"
    told = _conditions(need, other=other)
    if style == "client_first":
        site = (
            f"{need.client or 'Our client'} in {_where(need, long=False)}" if _where(need, long=False) else need.client
        )
        return f"{site} needs {who} {', '.join(told)}".strip()
    if style == "looking":
        place = _where(need, long=True)
        around = f" around {place}" if place else ""
        return f"Looking for {who}{around}: {', '.join(told)}" if told else f"Looking for {who}{around}"
    place = _where(need, long=False)
    opening = f"Need {who} in {place}" if place else f"Need {who}"
    return ", ".join([opening, *told]) if other else " ".join([opening, ", ".join(told)]).strip()


def paraphrases(need: Need, style: str) -> tuple[str, str]:
    """The same need as somebody else would put it: in other words, and in other words for the trade, too."""
    others = ("looking", "need") if style in ("need", "client_first") else ("need", "client_first")
    return phrase(need, others[0], other=True), phrase(need, others[1], synonym=0, other=True)


def spoken(role: str) -> str:
    """A role as it is said within a sentence."""
    first, _, rest = role.partition(" ")
    return role if first.isupper() else f"{first.lower()} {rest.lower()}".strip()


def _where(need: Need, *, long: bool) -> str:
    if need.place is not None:
        return f"{need.city}, {need.place.state_name if long else need.place.state}"
    if need.state:
        return next(place.state_name for place in PLACES if place.state == need.state)
    return need.city


def _conditions(need: Need, *, other: bool) -> list[str]:
    pick = 1 if other else 0
    told = []
    if need.certificate:
        told.append((f"with {need.certificate}", f"{need.certificate} is a must")[pick])
    if need.without:
        told.append((f"without {need.without}", f"no {need.without} please")[pick])
    if need.min_years is not None:
        years = need.min_years
        told.append((f"with at least {years} years of experience", f"{years}+ years in the trade")[pick])
    if need.skill:
        told.append((f"skilled in {need.skill}", f"good at {need.skill}")[pick])
    if need.shift:
        told.append(_SHIFT_WORDS[need.shift][pick])
    if need.active_since is not None:
        day = need.active_since
        told.append((f"active since {day.isoformat()}", f"seen on or after {day.isoformat()}")[pick])
    if need.available:
        told.append(("available now", "can start right away")[pick])
    return told


def _shorthand(need: Need, name: str) -> str:
    place = need.place
    parts = [
        f"{need.city} {place.state}" if place else need.state or need.city,
        f"{need.count} {name}",
        need.certificate,
    ]
    parts.append(f"no {need.without}" if need.without else "")
    parts.append(f"{need.min_years}+ yrs" if need.min_years is not None else "")
    parts += [need.skill, need.shift]
    parts.append(f"active since {need.active_since.isoformat()}" if need.active_since else "")
    parts.append("asap" if need.available else "")
    return ", ".join(part for part in parts if part)


def _article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" or name.startswith("HVAC") else "a"
