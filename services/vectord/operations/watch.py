"""How long work is watched from outside: told to stop, asked how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """`stop` says whether to give up, `advance` takes units that are done. Both from any thread."""

    stop: Callable[[], bool] = lambda: False
    advance: Callable[[int], None] = lambda _: None
