"""How tests are dealt out to processes."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a file in one process; those of the gateway all together.

    They share a daemon that runs in the test's own process: tests of other kinds in between, which
    block it for seconds, would make Envoy take the daemon for dead.
    """
    for item in items:
        path = item.path.relative_to(HERE)
        group = path.parts[0] if path.parts[0] == "gateway" else str(path)
        item.add_marker(pytest.mark.xdist_group(group))
