"""The search options that the contract offers and this release refuses, in one place.

Whole methods that are not in this release are refused by the runtime: the servicer leaves them out.
"""

from __future__ import annotations

from services.matrixd.errors import OptionNotAvailable


def refuse_options(*, retrieval: str, fusion: bool, judge: str, rate_top: bool, sql: str) -> None:
    """Raises OptionNotAvailable naming the first search option that this release does not have."""
    if retrieval not in ("", "dense"):
        raise _refused("retrieval", f"retrieval {retrieval!r}")
    if fusion:
        raise _refused("fusion", "fusion of several retrievals")
    if judge or rate_top:
        raise _refused("judge_gate", "a judge")
    if sql:
        raise _refused("sql", "ranking the ids of a SELECT")


def _refused(option: str, what: str) -> OptionNotAvailable:
    return OptionNotAvailable(f"{what} is not in this release: leave {option!r} out", option=option)
