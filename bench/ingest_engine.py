"""CSV to Parquet inside ingestd, without network and catalog, beside plain pyarrow with the same types.

    python -m bench.ingest_engine --rows 500000

Plain pyarrow reads values straight into their types. Ours reads text, finds the types by itself and
proves that each typed value is written back as the same text. Runs alternate, so that a busy
machine slows both; the figure to look at is the ratio of the medians. Peak memory is that of the
whole process above its start, in the first run, before any memory is kept.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import csv_data, plain
from services.ingestd.config import IngestConfig
from services.ingestd.conversion import Converted, convert
from services.ingestd.parquet import RowGroups
from services.ingestd.scratch import Scratch
from services.ingestd.source import Options

MIB = 1 << 20
SAMPLE_SECONDS = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One conversion: what came out, how long it took, and the most MiB above the start."""

    converted: Converted
    seconds: float
    peak: float


def ours(source: Path, scratch: Scratch) -> Run:
    """Converts a copy, as ingestd does with what it received; the copying is not timed."""
    config = IngestConfig()
    groups = RowGroups(rows=config.row_group_rows, bytes=config.row_group_bytes)
    folder = scratch.open()
    shutil.copyfile(source, folder.received)
    process = psutil.Process()
    start = process.memory_info().rss
    samples = [start]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            samples.append(process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begin = time.perf_counter()
    converted = convert(folder, format_name="csv", options=Options(), groups=groups)
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    folder.close()
    return Run(converted=converted, seconds=seconds, peak=(max(samples) - start) / MIB)


def main() -> None:
    """Reads the command line, runs both in turn, prints the comparison."""
    parser = argparse.ArgumentParser(description="Compare our CSV conversion with plain pyarrow.")
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory) / "workers.csv", Path(directory) / "plain.parquet"
        size = csv_data.write(source, arguments.rows) / MIB
        scratch = Scratch(Path(directory) / "scratch")
        first = ours(source, scratch)
        types = {column.name: column.type for column in first.converted.columns}
        baseline, runs = [], []
        for _ in range(arguments.rounds):
            baseline.append(plain.convert(str(source), str(target), types))
            runs.append(ours(source, scratch))
    expected, found = statistics.median(baseline), statistics.median(run.seconds for run in runs)
    print(f"{arguments.rows:,} rows, {len(types)} columns, {size:.0f} MiB of CSV")
    print(f"plain pyarrow {expected:6.2f} s {size / expected:6.0f} MiB/s")
    print(f"ingestd       {found:6.2f} s {size / found:6.0f} MiB/s, peak +{first.peak:.0f} MiB")
    print(f"ratio         {found / expected:6.2f}")


if __name__ == "__main__":
    main()
