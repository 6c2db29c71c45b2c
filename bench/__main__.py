"""`make bench`: every comparison in one run, on this machine. Figures are ratios, not verdicts on machines."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import uvloop

from bench import adds, csv_data, ingest, large, legs, report, search, sql, vectors
from bench.stack import running_stack

ROWS = 500_000
STATEMENT = 'SELECT role, count(*), avg(hourly_rate) FROM "bench" GROUP BY role ORDER BY role'
PARTS = ("search", "ingest", "legs", "vectors", "adds", "large")


async def measure(parts: list[str]) -> list[report.Row]:
    """Runs the chosen parts, each against a fresh mesh."""
    rows: list[report.Row] = []
    if "legs" in parts:
        rows += await legs.measure()
    if "search" in parts:
        with running_stack() as stack:
            rows += await search.measure(stack)
    if "vectors" in parts:
        rows += await _vectors()
    if "adds" in parts:
        rows += await adds.measure()
    if "large" in parts:
        rows += await large.measure()
    if "ingest" in parts:
        with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder, running_stack() as stack:
            source = Path(folder) / "workers.csv"
            csv_data.write(source, ROWS)
            rows += await ingest.measure(stack, source)
            rows += await sql.measure(stack, ingest.DATASET, source.with_name("plain.parquet"), STATEMENT)
    return sorted(rows, key=lambda row: row.name)


async def _vectors() -> list[report.Row]:
    with running_stack() as stack:
        rows = await vectors.measure(stack, times_chroma=3)
    with running_stack("--mesh") as stack:
        meshed = await vectors.measure(stack, times_chroma=4)
    spread = [replace(row, name=f"{row.name}, a process each") for row in meshed if "REST" in row.name]
    return rows + spread


def main() -> None:
    """Prints the table and writes bench/results/latest.json."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help=f"which of {', '.join(PARTS)}; all when none")
    parts = parser.parse_args().parts or list(PARTS)
    rows = uvloop.run(measure(parts))
    report.show(rows)
    report.write(rows)
    sys.stdout.write(f"written to {report.RESULTS}\n")


if __name__ == "__main__":
    main()
