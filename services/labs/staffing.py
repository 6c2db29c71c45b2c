"""A staffing data set: seeded, deterministic, with the distributions and the awkward values of real ones.

    python -m services.labs.staffing --rows 10000 --output workers.csv

The same seed gives the same bytes on every machine; the first n workers of a longer list are the
same n workers. ZIP codes keep leading zeros, résumés are quoted texts of several lines that use
the trades' synonyms, and a few optional values are empty.
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from pathlib import Path

from services.labs.resumes import resume
from services.labs.trades import FIRST_NAMES, LAST_NAMES, PLACES, SHIFTS, TRADES, Place, Trade

SEED = 7
TODAY = date(2026, 10, 1)
"""The day on which the data were drawn up; fixed, so that the bytes never change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker; the fields in order are the columns of the file."""

    worker_id: str
    name: str
    email: str
    phone: str
    role: str
    city: str
    state: str
    zip: str
    experience_years: int
    hourly_rate: str
    """Dollars with two decimals, as text, so that 18.50 stays 18.50."""
    certifications: tuple[str, ...]
    skills: tuple[str, ...]
    shift: str
    available: bool
    hired_on: date
    last_active: datetime
    rating: float
    """1.0 to 5.0."""
    resume_text: str


COLUMNS: tuple[str, ...] = tuple(field.name for field in fields(Worker))
_SHIFT_NAMES, _SHIFT_WEIGHTS = zip(*SHIFTS, strict=True)
_TRADE_WEIGHTS = [trade.weight for trade in TRADES]
_PLACE_WEIGHTS = [place.weight for place in PLACES]


def workers(count: int, *, seed: int = SEED, prefix: str = "w") -> Iterator[Worker]:
    """Yields `count` workers with ids `<prefix>-00001` and on; some 40 microseconds each."""
    pick = random.Random(seed)
    for number in range(1, count + 1):
        yield _worker(number, prefix, pick)


def _worker(number: int, prefix: str, pick: random.Random) -> Worker:
    trade = pick.choices(TRADES, _TRADE_WEIGHTS)[0]
    place = pick.choices(PLACES, _PLACE_WEIGHTS)[0]
    first, last = pick.choice(FIRST_NAMES), pick.choice(LAST_NAMES)
    years = int(34 * pick.random() ** 2)  # many beginners, few veterans
    certificates = tuple(name for name, share in trade.certificates if pick.random() < share)
    skills = tuple(pick.sample(trade.skills, pick.randint(2, 4)))
    available = pick.random() < 0.62
    text = resume(
        pick, name=f"{first} {last}", trade=trade, place=place, years=years, certificates=certificates, skills=skills
    )
    return Worker(
        worker_id=f"{prefix}-{number:05d}",
        name=f"{first} {last}",
        email=_email(first, last, number),
        phone=f"({place.area_code}) 555-{pick.randrange(10_000):04d}" if pick.random() < 0.97 else "",
        role=trade.role,
        city=place.city,
        state=place.state,
        zip=_zip(place, pick),
        experience_years=years,
        hourly_rate=_rate(trade, years, pick),
        certifications=certificates,
        skills=skills,
        shift=pick.choices(_SHIFT_NAMES, _SHIFT_WEIGHTS)[0],
        available=available,
        hired_on=TODAY - timedelta(days=pick.randrange(30, 30 + 365 * min(years + 1, 12))),
        last_active=_last_active(available, pick),
        rating=round(min(5.0, max(1.0, 4.1 + 0.9 * _spread(pick))), 1),
        resume_text=text,
    )


def _email(first: str, last: str, number: int) -> str:
    plain = f"{first}.{last}".lower().replace("'", "")
    return f"{plain}{number}@example.com"


def _zip(place: Place, pick: random.Random) -> str:
    return f"{place.zip_base + pick.randrange(30):05d}"


def _rate(trade: Trade, years: int, pick: random.Random) -> str:
    low, high = trade.rate
    rate = low + (high - low) * min(years, 20) / 20 + 2 * _spread(pick)
    return f"{max(12.0, round(rate * 4) / 4):.2f}"


def _spread(pick: random.Random) -> float:
    # Bell-shaped within -2..2 by plain additions, so that every machine rounds it alike.
    return pick.random() + pick.random() + pick.random() + pick.random() - 2


def _last_active(available: bool, pick: random.Random) -> datetime:
    days = pick.randrange(14) if available else pick.randrange(20, 200)
    return datetime.combine(TODAY - timedelta(days=days), time(pick.randrange(5, 23), pick.randrange(60), 0))


def write_csv(path: Path, rows: Iterable[Worker]) -> int:
    """Streams workers to a CSV file (RFC 4180, UTF-8); returns the bytes written."""
    # The file is a product for the caller, no state of the mesh: hence a plain open.
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(worker) for worker in rows)
    return path.stat().st_size


def _cells(worker: Worker) -> tuple[object, ...]:
    return (
        worker.worker_id,
        worker.name,
        worker.email,
        worker.phone,
        worker.role,
        worker.city,
        worker.state,
        worker.zip,
        worker.experience_years,
        worker.hourly_rate,
        "; ".join(worker.certifications),
        "; ".join(worker.skills),
        worker.shift,
        "true" if worker.available else "false",
        worker.hired_on.isoformat(),
        worker.last_active.isoformat(),
        worker.rating,
        worker.resume_text,
    )


def main() -> None:
    """Reads the command line and writes one file."""
    parser = argparse.ArgumentParser(description="Write a staffing data set as CSV.")
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--prefix", default="w", help="what stands before the number in a worker's id")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    size = write_csv(arguments.output, workers(arguments.rows, seed=arguments.seed, prefix=arguments.prefix))
    print(f"{arguments.output}: {arguments.rows:,} rows, {size:,} bytes")


if __name__ == "__main__":
    main()
