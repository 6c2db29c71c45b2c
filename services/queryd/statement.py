"""What is known of a statement that passed the gate."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that passed."""

    text: str
    """The statement without the semicolons that end it."""
    tables: tuple[str, ...]
    """The tables it reads, as it spells them; they may or may not exist."""
    lists_tables: bool = False
    """Whether it is SHOW TABLES, which is answered from the catalog."""
