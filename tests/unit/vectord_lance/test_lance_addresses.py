"""Sets of rows, as Lance reads them."""

from __future__ import annotations

import lance
import numpy as np
import pyarrow as pa
import pytest

from services.vectord.lance import addresses
from services.vectord.lance.view import ADDRESS


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    """Three fragments, the second larger than one container of a roaring bitmap."""
    path = tmp_path_factory.mktemp("rows") / "table"
    dataset = None
    for rows in (100, 70_000, 5):
        numbers = pa.table({"n": np.arange(rows)})
        dataset = lance.write_dataset(numbers, path, mode="create" if dataset is None else "append")
    assert dataset is not None
    return dataset


@pytest.mark.parametrize("share", [0.0005, 0.03, 0.5, 1.0])
def test_lance_reads_exactly_the_rows_of_a_set(table: lance.LanceDataset, share: float) -> None:
    everything = table.scanner(columns=[ADDRESS]).to_table().column(ADDRESS).to_numpy()
    chosen = np.random.default_rng(7).permutation(everything)[: int(share * len(everything))]
    encoded = addresses.encode(addresses.split(chosen))
    allowed = table.scanner(columns=[ADDRESS], row_addr_allowlist=encoded).to_table().column(ADDRESS).to_numpy()
    assert np.array_equal(np.sort(allowed), np.sort(chosen))
    left = table.scanner(columns=[ADDRESS], row_addr_blocklist=encoded).to_table().num_rows
    assert left == len(everything) - len(chosen)


def test_no_rows_are_a_set_too() -> None:
    assert addresses.split(np.empty(0, dtype=np.uint64)) == {}
