"""Fixtures for contract tests: a whole mesh in this process, on each leg of the seam."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.mesh import SECTIONS, Mesh
from services.runtime.config import Settings


def mesh_settings(request: pytest.FixtureRequest, data: Path) -> Settings:
    """The settings of a test's mesh: a data directory of its own, and what `@pytest.mark.settings` says."""
    overrides: dict[str, dict[str, Any]] = {"mesh": {"data": data}}
    for marker in request.node.iter_markers("settings"):
        for section, values in marker.kwargs.items():
            overrides.setdefault(section, {}).update(values)
    return Settings(SECTIONS, overrides=overrides)


@pytest.fixture(params=["local", "remote"])
async def mesh(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Mesh]:
    """Every daemon in this process on free ports; `mesh.connect("storaged")` is a channel on the leg under test."""
    settings = mesh_settings(request, tmp_path / "data")
    running = Mesh(settings, instance_id="test", local=request.param == "local", ephemeral=True)
    await running.start()
    yield running
    await running.stop(grace=0)
