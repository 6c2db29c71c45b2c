"""Résumé texts: three to eight lines of plain language about one worker, in the words people really use."""

from __future__ import annotations

import random
from collections.abc import Sequence

from services.labs.trades import EMPLOYERS, TRAITS, Place, Trade

MAX_LINES = 8


def resume(
    pick: random.Random,
    *,
    name: str,
    trade: Trade,
    place: Place,
    years: int,
    certificates: Sequence[str],
    skills: Sequence[str],
) -> str:
    """Writes a résumé that tells trade, place, experience, certificates and specialities, in several lines.

    About every second one calls the trade by a synonym, so that exact words alone do not find it.
    Whether the worker is available is not in the text: that is what the columns are for.
    """
    title = trade.role if pick.random() < 0.5 else _capitalized(pick.choice(trade.synonyms))
    lines = [
        _headline(pick, name, title, place),
        _experience(pick, trade, years),
        _specialities(pick, trade),
        _certificates(pick, certificates),
    ]
    if pick.random() < 0.6:
        lines.append(f"Skills: {', '.join(skills)}.")
    lines += pick.sample(TRAITS, pick.choice((0, 1, 1, 2, 3)))
    text = "\n".join(line for line in lines if line)
    return "\n".join(text.split("\n")[:MAX_LINES])


def _capitalized(words: str) -> str:
    return words[:1].upper() + words[1:]


def _headline(pick: random.Random, name: str, title: str, place: Place) -> str:
    return pick.choice(
        (
            f"{name}, {title}, {place.city}, {place.state}",
            f"{title} in {place.city}, {place.state_name}: {name}",
            f"{name} is a {title.lower()} who lives in {place.city}, {place.state}.",
            f"{name}\n{title} | {place.city}, {place.state_name}",
        )
    )


def _experience(pick: random.Random, trade: Trade, years: int) -> str:
    work = pick.choice((trade.role.lower(), *trade.synonyms))
    employer = pick.choice(EMPLOYERS)
    if years == 0:
        return pick.choice((f"New to the trade; trained as {work} at {employer}.", f"First job as {work} in sight."))
    span = "one year" if years == 1 else f"{years} years"
    return pick.choice(
        (
            f"{_capitalized(span)} of experience as {work}, most recently at {employer}.",
            f"Has worked {span} as {work}; last employer {employer}.",
            f"{_capitalized(span)} on the job. Came from {employer}, where the title was {work}.",
        )
    )


def _specialities(pick: random.Random, trade: Trade) -> str:
    first, second = pick.sample(trade.specialities, 2)
    return pick.choice(
        (
            f"Known for {first} and {second}.",
            f"Specialities: {first}; {second}.",
            f"Best at {first}. Also {second}.",
            f"Knows {first}.",
        )
    )


def _certificates(pick: random.Random, certificates: Sequence[str]) -> str:
    if not certificates:
        return pick.choice(("No certificates on file yet.", ""))
    listed = ", ".join(certificates)
    return pick.choice((f"Certifications: {listed}.", f"Holds {listed}.", f"Current on {listed}."))
