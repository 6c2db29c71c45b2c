"""Questions that are alike in words and ask for something else, so that one's answer must not be given to the other.

For each pair the first question's answer is recorded, and the second is asked. That the answer is wrong
there is known from the columns of the worker it names.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from services.labs.demands import STYLES
from services.labs.needs import Need, meets, paraphrases, phrase, rating
from services.labs.sample import (
    Sample,
    in_state,
    recently_active,
    with_certificate,
    with_experience,
    with_negation,
    with_shift,
    with_skill,
)
from services.labs.staffing import Worker
from services.labs.trades import PLACES, SHIFTS, TRADES, Place, Trade

ACCEPTED = 4
"""The lowest rating of an answer that is right."""

_ATTEMPTS = 2_000
Maker = Callable[[random.Random, Trade, Place], Need]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A question with its answer, and another question that must not be given that answer."""

    kind: str
    """What differs: number, negation, city, state, certificate, role, date or shift."""
    question: str
    paraphrase: str
    """The question in other words, which should be given the answer."""
    other: str
    need: Need
    other_need: Need
    answer: str
    """The id of the worker who is right for the question and wrong for the other."""


def _number(pick: random.Random, need: Need, worker: Worker) -> Need:
    return replace(need, min_years=worker.experience_years + pick.randint(2, 6))


def _negation(pick: random.Random, need: Need, worker: Worker) -> Need:
    if need.certificate:
        return replace(need, certificate="", without=need.certificate)
    return replace(need, without="", certificate=need.without)


def _city(pick: random.Random, need: Need, worker: Worker) -> Need:
    return replace(need, city=pick.choice([place.city for place in PLACES if place.city != need.city]))


def _state(pick: random.Random, need: Need, worker: Worker) -> Need:
    return replace(need, state=pick.choice([place.state for place in PLACES if place.state != need.state]))


def _certificate(pick: random.Random, need: Need, worker: Worker) -> Need:
    trade = need.trade
    held = [name for name, _ in trade.certificates if name not in worker.certifications] if trade else []
    return replace(need, certificate=pick.choice(held)) if held else need


def _role(pick: random.Random, need: Need, worker: Worker) -> Need:
    return replace(need, role=pick.choice([trade.role for trade in TRADES if trade.role != need.role]))


def _date(pick: random.Random, need: Need, worker: Worker) -> Need:
    return replace(need, active_since=worker.last_active.date() + timedelta(days=pick.randint(1, 6)))


def _shift(pick: random.Random, need: Need, worker: Worker) -> Need:
    return replace(need, shift=pick.choice([name for name, _ in SHIFTS if name != need.shift]))


KINDS: dict[str, tuple[tuple[Maker, ...], Callable[[random.Random, Need, Worker], Need]]] = {
    "number": ((with_experience, with_certificate), _number),
    "negation": ((with_certificate, with_negation), _negation),
    "city": ((with_certificate, with_shift, with_skill), _city),
    "state": ((in_state,), _state),
    "certificate": ((with_certificate, recently_active), _certificate),
    "role": ((with_experience, with_shift), _role),
    "date": ((recently_active,), _date),
    "shift": ((with_shift,), _shift),
}


def suite(sample: Sample, count: int) -> tuple[Pair, ...]:
    """About `count` pairs, the same number of each kind; deterministic, and no question occurs twice."""
    pick = random.Random(f"pairs {sample.seed}")
    pairs: list[Pair] = []
    asked: set[str] = set()
    for kind in KINDS:
        made = 0
        for attempt in range(_ATTEMPTS):
            if made == count // len(KINDS):
                break
            pair = _pair(sample, pick, kind, STYLES[attempt % len(STYLES)])
            if pair is not None and pair.question not in asked and pair.other not in asked:
                asked |= {pair.question, pair.other}
                pairs.append(pair)
                made += 1
    return tuple(pairs)


def _pair(sample: Sample, pick: random.Random, kind: str, style: str) -> Pair | None:
    makers, change = KINDS[kind]
    need = pick.choice(makers)(pick, pick.choice(TRADES), pick.choice(PLACES))
    found = meets(sample.roster.values(), need)
    if not found:
        return None
    worker = pick.choice(found[:5])
    other = change(pick, need, worker)
    if rating(worker, other) >= ACCEPTED:
        return None
    return Pair(
        kind=kind,
        question=phrase(need, style),
        paraphrase=paraphrases(need, style)[0],
        other=phrase(other, style),
        need=need,
        other_need=other,
        answer=worker.worker_id,
    )
