"""An index on Lance against the same model as one in memory: a dictionary and a sort."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule

from services.vectord.config import VectorConfig
from services.vectord.files.manifest import Description
from services.vectord.lance.index import LanceIndex
from services.vectord.tree.index import Index
from tests.unit.vectord.test_vectord_model import Model


class LanceModel(Model):
    """Every answer must be the dictionary's, whatever was sealed into the table, joined or undone."""

    def made(self, path: Path, description: Description) -> Index:
        return LanceIndex.make(path, description, VectorConfig())

    def opened(self, path: Path) -> Index:
        return LanceIndex.load(path, VectorConfig())

    @rule()
    def seal_only(self) -> None:
        self.index.seal()

    @rule()
    def tidy_everything(self) -> None:
        self.index.compact(fresh=True)


TestLanceModel = pytest.mark.requirement("V2", "V3", "V4", "V5", "V6")(LanceModel.TestCase)
TestLanceModel.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
