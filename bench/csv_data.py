"""Writes a large, seeded, realistic CSV in a stream: the same seed and rows give the same bytes everywhere.

    python -m bench.csv_data --rows 500000 --output workers.csv

Eighteen columns of worker profiles: ids, names, addresses, ZIP codes and phones that look like
numbers, integers, decimals of fixed and of free scale, dates, timestamps, booleans, and a
multi-line quoted text of some 370 bytes. 500,000 rows are about 280 MB.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

HEADER = (
    "worker_id,badge,full_name,email,phone,street,city,state,zip,role,skills,"
    "hourly_rate,rating,shifts,hired_on,updated_at,active,resume"
)

_FIRST = (
    "Ada",
    "Bruno",
    "Carla",
    "Dmitri",
    "Elena",
    "Farid",
    "Grace",
    "Hugo",
    "Inez",
    "Jamal",
    "Keiko",
    "Lars",
    "Maya",
    "Nils",
    "Olga",
    "Pedro",
    "Quinn",
    "Rosa",
)
_LAST = (
    "Adler",
    "Bauer",
    "Castillo",
    "Dubois",
    "Ekström",
    "Fischer",
    "García",
    "Haddad",
    "Ivanov",
    "Jensen",
    "Kowalski",
    "Lindqvist",
    "Moreau",
)
_PLACES = (
    ("Detroit", "MI", 48201),
    ("Boston", "MA", 2101),
    ("Newark", "NJ", 7101),
    ("Chicago", "IL", 60601),
    ("Columbus", "OH", 43085),
    ("Austin", "TX", 73301),
)
_STREETS = ("Main St", "Oak Ave", "2nd St", "Harbor Blvd", "Mill Rd", "Station Way")
_ROLES = ("Forklift Operator", "Warehouse Associate", "Welder", "Machinist", "Line Cook", "Electrician")
_SKILLS = ("OSHA-30", "forklift", "TIG welding", "CNC", "blueprints", "food safety", "Spanish", "first aid")
_PHRASES = (
    "Known for arriving early, and for leaving the station cleaner than it was.",
    'Foreman\'s note: ""reliable, asks before guessing"".',
    "Moved 1,200 pallets in a quarter without a single incident report.",
    "Comfortable with night shifts, short notice and cold storage.",
    "Trained four newcomers; two of them now lead their own crew.",
    "Keeps certificates up to date: renewal dates are on file.",
    "Prefers day work, will travel up to 40 miles; own car.",
)


def rows(count: int, seed: int = 7) -> Iterator[str]:
    """Yields `count` CSV records without their line end; some 12 microseconds each."""
    pick = random.Random(seed)
    for number in range(count):
        yield _row(number, pick)


def _row(number: int, pick: random.Random) -> str:
    first, last = pick.choice(_FIRST), pick.choice(_LAST)
    city, state, zip_base = pick.choice(_PLACES)
    role = pick.choice(_ROLES)
    digits = pick.getrandbits(53)
    phrases = "\n".join(pick.sample(_PHRASES, 5))
    return (
        f"w-{number:07d},{100_000 + digits % 8_999_999},{first} {last},"
        f"{first.lower()}.{number}@example.com,({200 + digits % 799}) 555-{digits % 10_000:04d},"
        f"{1 + digits % 9_800} {pick.choice(_STREETS)},{city},{state},{zip_base + digits % 90:05d},{role},"
        f'"{pick.choice(_SKILLS)}, {pick.choice(_SKILLS)}",{12 + digits % 60}.{digits % 100:02d},'
        f"{digits % 10_000 / 1000:g},{digits % 3_000},{2005 + digits % 20}-{1 + digits % 12:02d}-{1 + digits % 28:02d},"
        f"2026-{1 + digits % 9:02d}-{1 + digits % 27:02d}T{digits % 24:02d}:{digits % 60:02d}:{digits % 59:02d},"
        f"{'true' if digits & 1024 else 'false'},"
        f'"{first} {last}, {role} in {city} since {1990 + digits % 35}.\n{phrases}\nFile {digits:x}."'
    )


def write(path: Path, count: int, seed: int = 7) -> int:
    """Writes header and rows to `path`, a few thousand rows in memory at a time; returns the bytes written."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(HEADER + "\n")
        batch: list[str] = []
        for record in rows(count, seed):
            batch.append(record)
            if len(batch) == 5_000:
                file.write("\n".join(batch) + "\n")
                batch.clear()
        file.writelines(record + "\n" for record in batch)
    return path.stat().st_size


def main() -> None:
    """Reads the command line and writes one file."""
    parser = argparse.ArgumentParser(description="Write a large, seeded, realistic CSV.")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    size = write(arguments.output, arguments.rows, arguments.seed)
    print(f"{arguments.output}: {arguments.rows:,} rows, {size:,} bytes")


if __name__ == "__main__":
    main()
