"""The generated pages say what the code says."""

from __future__ import annotations

from pathlib import Path

from docs import tables

DOCS = Path(tables.__file__).parent


def test_every_error_is_documented() -> None:
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == tables.errors(), "run `make gen`"


def test_every_setting_is_documented() -> None:
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == tables.settings(), "run `make gen`"
