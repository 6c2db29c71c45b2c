"""How far apart paraphrases and different questions lie, for one embedding model.

The playbook's distance limits (services/matrixd/limits.py) rest on this table. Run it for another
model before trusting its limits:  python -m bench.playbook_limits --model wordllama

Four kinds of pairs, from staffing and from other domains:
  paraphrase   the same question in other words: an answer to one answers the other
  near miss    one thing differs that decides (role, city, certificate, number): it must not
  same form    the same kind of question about something else altogether
  unrelated    questions about different things in different forms
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

import numpy as np

from services.embedd.config import EmbedConfig
from services.embedd.registry import build_registry
from services.runtime.threads import Threads

PARAPHRASES = [
    (
        "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30",
        "Looking for three forklift drivers in Detroit, Michigan starting 6:00, with OSHA-30",
    ),
    (
        "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30",
        "Beacon Freight in Detroit wants 3 people who can drive a forklift, OSHA 30, early shift",
    ),
    ("Who can work nights as a picker in Toledo this week?", "Night shift picker wanted in Toledo for this week"),
    (
        "Hazmat certified warehouse worker comfortable with cold storage",
        "Warehouse worker with Hazmat certification and experience in cold storage",
    ),
    (
        "CDL-A driver for a long haul from Chicago to Dallas",
        "Truck driver with a class A CDL to go from Chicago down to Dallas",
    ),
    ("Two welders with MIG experience in Cleveland for Monday", "For Monday we need 2 MIG welders in Cleveland"),
    (
        "Registered nurse for the weekend in Columbus OH",
        "We are short of an RN in Columbus, Ohio on Saturday and Sunday",
    ),
    (
        "Bilingual receptionist, Spanish and English, in San Antonio",
        "Front desk in San Antonio, somebody who speaks Spanish and English",
    ),
    (
        "Assemblers for second shift at the plant in Fort Wayne",
        "Fort Wayne plant needs assembly workers on the afternoon shift",
    ),
    (
        "Need an electrician in Chicago, IL with NFPA 70E and at least 6 years of experience, available now",
        "Looking for an experienced wireman around Chicago, Illinois: 6+ years, NFPA 70E is a must, right away",
    ),
    (
        "Need a line cook in Atlanta, GA with ServSafe and at least 2 years of experience, available now",
        "Looking for an experienced grill cook around Atlanta, Georgia: 2+ years, ServSafe is a must, right away",
    ),
    (
        "Need 2 truck drivers in Memphis, TN with Hazmat and at least 4 years of experience",
        "memphis - CDL driver x2, hazmat, 4 yrs+",
    ),
    ("How do I reset my password?", "I forgot my password, how can I set a new one?"),
    (
        "Why was my card declined when I paid online?",
        "My credit card was refused during an online payment, what is the reason?",
    ),
    ("The invoice for March has the wrong address", "Our address on the March invoice is not correct"),
    ("Which antibiotics are safe during pregnancy?", "What antibiotics can a pregnant woman take?"),
    ("How long does shipping to Norway take?", "When will an order arrive in Norway?"),
    ("Show me the quarterly revenue of the northern region", "What did the northern region earn each quarter?"),
    ("The pump in hall 4 makes a grinding noise", "Grinding sound from the hall 4 pump"),
    ("How do I cancel my subscription before the trial ends?", "Cancel a trial subscription"),
    ("Export the customer list to a spreadsheet", "Download all customers as an Excel file"),
]
SAME_FORM = [
    (
        "Need 3 forklift operators in Detroit, MI with OSHA-30 and at least 5 years of experience",
        "Need a welder in Houston, TX with AWS D1.1 and at least 8 years of experience",
    ),
    (
        "Need a line cook in Atlanta, GA with ServSafe and at least 2 years of experience",
        "Need 2 truck drivers in Memphis, TN with Hazmat and at least 4 years of experience",
    ),
    (
        "Need an electrician in Chicago, IL with NFPA 70E, available now",
        "Need 2 nursing assistants in Boston, MA with CPR, available now",
    ),
    ("Who can work nights as a picker in Toledo this week?", "Who can teach German as a tutor in Akron next month?"),
    ("How long does shipping to Norway take?", "How long does a visa for Japan take?"),
    ("The invoice for March has the wrong address", "The heater in room 12 has the wrong thermostat"),
    ("Show me the quarterly revenue of the northern region", "Show me the open incidents of the payment service"),
    ("Which antibiotics are safe during pregnancy?", "Which plants are safe around cats?"),
]
NEAR_MISSES = [
    (
        "Need 3 forklift operators in Detroit MI at 6 am for Beacon Freight",
        "Need 3 pickers in Detroit MI at 6 am for Beacon Freight",
    ),
    (
        "Need 3 forklift operators in Detroit MI at 6 am for Beacon Freight",
        "Need 3 CNC operators in Detroit MI at 6 am for Beacon Freight",
    ),
    (
        "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30",
        "Need 3 forklift operators in Phoenix AZ at 6 am, OSHA-30",
    ),
    (
        "Need 3 forklift operators in Detroit MI at 6 am, OSHA-30",
        "Need 3 forklift operators in Detroit MI at 6 am, no OSHA card",
    ),
    ("Who can work nights as a picker in Toledo this week?", "Who can work days as a picker in Toledo this week?"),
    ("CDL-A driver for a long haul from Chicago to Dallas", "CDL-B driver for local delivery in Chicago"),
    (
        "Two welders with MIG experience in Cleveland for Monday",
        "Two electricians with industrial experience in Cleveland for Monday",
    ),
    ("Registered nurse for the weekend in Columbus OH", "Nursing assistant for the weekend in Columbus OH"),
    (
        "Bilingual receptionist, Spanish and English, in San Antonio",
        "Bilingual receptionist, French and English, in San Antonio",
    ),
    ("How do I reset my password?", "How do I change my e-mail address?"),
    ("Why was my card declined when I paid online?", "Why was I charged twice when I paid online?"),
    ("The invoice for March has the wrong address", "The invoice for May has the wrong amount"),
    ("Which antibiotics are safe during pregnancy?", "Which painkillers are safe during pregnancy?"),
    ("How long does shipping to Norway take?", "How much does shipping to Norway cost?"),
    ("Show me the quarterly revenue of the northern region", "Show me the quarterly revenue of the southern region"),
    ("The pump in hall 4 makes a grinding noise", "The pump in hall 7 makes a grinding noise"),
]
UNRELATED = [
    ("Need 3 forklift operators in Detroit MI at 6 am, OSHA-30", "Registered nurse for the weekend in Columbus OH"),
    ("Need 3 forklift operators in Detroit MI at 6 am, OSHA-30", "Which antibiotics are safe during pregnancy?"),
    ("Who can work nights as a picker in Toledo this week?", "Why was my card declined when I paid online?"),
    ("How do I reset my password?", "How long does shipping to Norway take?"),
    (
        "CDL-A driver for a long haul from Chicago to Dallas",
        "Bilingual receptionist, Spanish and English, in San Antonio",
    ),
    ("The pump in hall 4 makes a grinding noise", "Export the customer list to a spreadsheet"),
    ("Show me the quarterly revenue of the northern region", "What is the best recipe for sourdough bread?"),
    ("The invoice for March has the wrong address", "Two welders with MIG experience in Cleveland for Monday"),
]


async def distances(model: str, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """The cosine distance of each pair."""
    threads = Threads("limits", 1)
    try:
        provider = build_registry(EmbedConfig(), threads, {}).resolve(model)
        rows = await provider.embed([text for pair in pairs for text in pair], deadline=float("inf"))
    finally:
        threads.close()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return [float(1 - one @ other) for one, other in zip(rows[::2], rows[1::2], strict=True)]


def summary(name: str, values: Sequence[float]) -> str:
    """One line: least, quartiles, most."""
    points = "  ".join(f"{point:.3f}" for point in np.percentile(values, [0, 25, 50, 75, 100]))
    return f"{name:<12} {len(values):>3} pairs   {points}"


def within(values: Sequence[float], limit: float) -> str:
    """How many of the pairs a limit lets through."""
    return f"{sum(value <= limit for value in values) / len(values):>5.0%}"


def main() -> None:
    """Prints the distances, and what each limit would let through."""
    parser = argparse.ArgumentParser(description="Distances of question pairs under one embedding model.")
    parser.add_argument("--model", default="wordllama")
    parser.add_argument("--pairs", action="store_true", help="print every pair")
    options = parser.parse_args()
    kinds = {"paraphrase": PARAPHRASES, "near miss": NEAR_MISSES, "same form": SAME_FORM, "unrelated": UNRELATED}
    found = {name: asyncio.run(distances(options.model, pairs)) for name, pairs in kinds.items()}
    print(f"{'':<22}    least   25 %    50 %    75 %    most")
    for name, values in found.items():
        print(summary(name, values))
    print("\nlimit   " + "  ".join(f"{name:>10}" for name in kinds))
    for limit in np.arange(0.05, 0.75, 0.05):
        print(f"{limit:>5.2f}   " + "  ".join(f"{within(values, limit):>10}" for values in found.values()))
    if options.pairs:
        for name, pairs in kinds.items():
            for value, (one, other) in sorted(zip(found[name], pairs, strict=True)):
                print(f"{value:.3f}  {name:<10}  {one}  |  {other}")


if __name__ == "__main__":
    main()
