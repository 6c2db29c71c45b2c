"""Which role a request is about, read from its wording: by pattern, by a fallback only where no pattern decides.

Four wordings are known, as coordinators really write them:

    need          Need 3 forklift operators in Detroit, MI with OSHA-30
    client_first  Union Depot in Detroit needs a forklift operator who holds OSHA-30
    looking       Looking for an experienced forklift operator around Detroit, Michigan
    shorthand     Detroit MI, forklift operator, OSHA-30, 5+ yrs  /  3 forklift operator Detroit MI

Anything else has no role by pattern. In production the role comes with the request; this is for the
texts of people who did not say it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Protocol

_COUNT = r"(?:an?|one|two|three|four|five|six|seven|eight|nine|ten|some|several|\d+)\s+"
_QUALITY = r"(?:(?:more|experienced|reliable|certified|good|additional)\s+)*"
_ROLE = r"(?P<role>[A-Za-z][\w/&.'-]*(?:\s+[A-Za-z][\w/&.'-]*){0,4}?)"
_WORDS_AFTER = (
    "in|at|around|near|for|with|without|who|that|to|starting|from|on|by|not|no|"
    "active|available|skilled|good|working|seen|trained|holding"
)
_END = rf"(?=\s+(?:{_WORDS_AFTER})\b|\s*[,;:.(]|\s*$)"

_LONG = (
    re.compile(rf"^\s*(?:we\s+)?need(?:ed)?\s+(?:{_COUNT})?{_QUALITY}{_ROLE}{_END}", re.IGNORECASE),
    re.compile(rf"^\s*looking\s+for\s+(?:{_COUNT})?{_QUALITY}{_ROLE}{_END}", re.IGNORECASE),
    re.compile(
        rf"^\s*\S.*?\s(?:needs|asks\s+for|wants|requests|is\s+looking\s+for)\s+(?:{_COUNT})?{_QUALITY}{_ROLE}{_END}",
        re.IGNORECASE,
    ),
)
_PLACE_FIRST = re.compile(
    r"^\s*(?:[A-Z][\w.' -]*\s)?[A-Z]{2}\s*,\s*(?:\d+\s*x?\s+)?(?P<role>[A-Za-z][\w/& .'-]*?)\s*(?:,|$)"
)
_COUNT_FIRST = re.compile(r"^\s*\d+\s*x?\s+(?P<rest>[A-Za-z].*)$")
_STATE = re.compile(r"^[A-Z]{2}$")
_LONGEST_PLACE = 3


class Fallback(Protocol):
    """Reads the role where no pattern decides, for example a model. Its answer may be empty, never a guess."""

    async def role(self, text: str) -> str:
        """The role, or nothing."""


class RoleExtractor:
    """Reads roles; asks the fallback at most once for a text."""

    def __init__(self, *, places: Collection[str] = (), fallback: Fallback | None = None) -> None:
        """`places` are names of places, which tell where a role ends in shorthand without commas."""
        self._places = frozenset(place.casefold() for place in places)
        self._fallback = fallback
        self._asked: dict[str, str] = {}

    async def role(self, text: str) -> str:
        """The role in lower case and as it stands there, singular or plural; empty when nothing tells it."""
        found = self.by_pattern(text)
        if found or self._fallback is None:
            return found
        if text not in self._asked:
            self._asked[text] = _clean(await self._fallback.role(text))
        return self._asked[text]

    def by_pattern(self, text: str) -> str:
        """The role as patterns alone see it; microseconds."""
        for pattern in _LONG:
            match = pattern.match(text)
            if match:
                return _clean(match["role"])
        place_first = _PLACE_FIRST.match(text)
        if place_first:
            return _clean(place_first["role"])
        count_first = _COUNT_FIRST.match(text)
        return self._before_place(count_first["rest"]) if count_first else ""

    def _before_place(self, rest: str) -> str:
        """The words before the first known place, else the small ones before the first capitalised ones and a state."""
        words = rest.split()
        plain = [word.strip(",;:.") for word in words]
        for start in range(1, len(words)):
            for length in range(_LONGEST_PLACE, 0, -1):
                if " ".join(plain[start : start + length]).casefold() in self._places:
                    return _clean(" ".join(plain[:start]))
            if plain[start] != words[start]:
                break
        state = next((place for place, word in enumerate(plain) if _STATE.match(word) and place > 1), None)
        if state is None:
            return ""
        small = [word for word in plain[:state] if word[:1].islower()]
        # "Forklift Operator Detroit MI" may be cut in two places, so patterns do not cut it.
        return _clean(" ".join(small)) if small and plain[: len(small)] == small else ""


def _clean(role: str) -> str:
    return " ".join(role.casefold().split())
