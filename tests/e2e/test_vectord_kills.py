"""A vectord that is killed at any moment; `python -m tests.soak.kills 200` is the long run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.kills import soak


@pytest.mark.requirement("V6", "X11")
@pytest.mark.timeout(180)
def test_what_was_acknowledged_is_there_once_however_often_the_daemon_is_killed(tmp_path: Path) -> None:
    assert soak(tmp_path, rounds=5) > 50
