"""The check of an index's own recall: now and then in the background, or when somebody asks."""

from __future__ import annotations

import time

from services.vectord.segments import recall
from services.vectord.tree.core import Core
from services.vectord.tree.engine import Checked, Stop, never


class Checks:
    """Remembers the last check and says when the next is due. Safe from any number of threads."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._checked: set[str] = set()
        self._not_before = 0.0
        self.last: Checked | None = None
        """None before the first check since the daemon started."""

    def due(self) -> bool:
        """Whether segments have come since the last check, some time has passed, and the index is quiet."""
        core, now = self._core, time.monotonic()
        if now < self._not_before or now - core.written_at < core.config.quiet_seconds:
            return False
        return not self._segments() <= self._checked

    def _segments(self) -> set[str]:
        return {entry.file for entry in self._core.directory.manifest.segments}

    def run(self, *, k: int = 10, sample: int = 100, stop: Stop = never) -> Checked | None:
        """Measures and remembers; None when the index is empty. Costs an exact search for each question."""
        segments = self._segments()
        found = recall.check(self._core.snapshot, k=k, sample=sample, stop=lambda: self._core.gone or stop())
        self._checked = segments
        self._not_before = time.monotonic() + self._core.config.check_seconds
        if found is None:
            return None
        self.last = Checked(recall=found, checked_ns=time.time_ns())
        return self.last
