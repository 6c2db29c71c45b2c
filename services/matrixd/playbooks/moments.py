"""Dates and times of day in a text, each in one form however it is written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from services.matrixd.playbooks.language import DAYS, DOUBTFUL, MONTHS, PERIODS, RELATIVE, singular

_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_PATTERNS = re.compile(
    rf"""
      (?P<iso>\b(?P<iy>\d{{4}})-(?P<im>\d{{1,2}})-(?P<id>\d{{1,2}})(?!\d))
    | (?P<slash>\b(?P<s1>\d{{1,2}})/(?P<s2>\d{{1,2}})/(?P<sy>\d{{4}}|\d{{2}})(?!\d))
    | (?P<month_day>\b(?P<mm>{_MONTH})\b\.?\s+(?:the\s+)?(?P<md>\d{{1,2}})(?:st|nd|rd|th)?(?![\d:\w])
        (?:,?\s+(?P<my>\d{{4}})\b)?)
    | (?P<day_month>\b(?P<dd>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<dm>{_MONTH})\b\.?(?:,?\s+(?P<dy>\d{{4}})\b)?)
    | (?P<month_year>\b(?P<ym>{_MONTH})\b\.?,?\s+(?P<yy>\d{{4}})\b)
    | (?P<clock>\b(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?!\d)(?:\s*(?P<half>[ap])\.?m\b\.?)?)
    | (?P<half_day>\b(?P<hhour>\d{{1,2}})\s*(?P<hhalf>[ap])\.?m\b\.?)
    | (?P<oclock>\b(?P<ohour>\d{{1,2}})\s*o['\u2019]?clock\b)
    | (?P<word>[^\W\d_]+)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SENTENCE_ENDS = ".!?:;\n"


class Moment(NamedTuple):
    """A date or time of day, and where it stands in the text."""

    value: str
    start: int
    end: int


def moments_in(text: str) -> Iterator[Moment]:
    """The dates and times in a text, in order. 20 us for a question."""
    before = ""
    for match in _PATTERNS.finditer(text):
        kind = str(match.lastgroup) if match.lastgroup in _READERS else _kind(match)
        if kind == "word":
            word = match.group().casefold()
            for value in _word(text, match, word, before):
                yield Moment(value, match.start(), match.end())
            before = word
        else:
            yield Moment(_READERS[kind](match), match.start(), match.end())
            before = ""


def _kind(match: re.Match[str]) -> str:
    return next(kind for kind in (*_READERS, "word") if match.group(kind) is not None)


def _word(text: str, match: re.Match[str], word: str, before: str) -> tuple[str, ...]:
    plain = singular(word)
    if before in RELATIVE and plain in PERIODS:
        return (f"{before} {plain}", *DAYS.get(plain, ()))
    if word in DOUBTFUL and not _capital(text, match):
        return ()
    if word in MONTHS:
        return (f"{MONTHS[word]:02d}",)
    return DAYS.get(word) or DAYS.get(plain) or ()


def _capital(text: str, match: re.Match[str]) -> bool:
    """Whether a word has a capital that no beginning of a sentence gave it."""
    ahead = text[: match.start()].rstrip()
    return match.group()[0].isupper() and bool(ahead) and ahead[-1] not in _SENTENCE_ENDS


def _date(year: str | None, month: int, day: int) -> str:
    return f"{year}-{month:02d}-{day:02d}" if year else f"{month:02d}-{day:02d}"


def _iso(match: re.Match[str]) -> str:
    return _date(match["iy"], int(match["im"]), int(match["id"]))


def _slash(match: re.Match[str]) -> str:
    first, second = int(match["s1"]), int(match["s2"])
    year = match["sy"] if len(match["sy"]) == 4 else f"20{match['sy']}"
    if first > 12 >= second:
        return _date(year, second, first)
    if second > 12 >= first:
        return _date(year, first, second)
    return f"{first}/{second}/{year}"  # which is the month, nobody knows: it equals only itself


def _month_day(match: re.Match[str]) -> str:
    return _date(match["my"], MONTHS[match["mm"].casefold()], int(match["md"]))


def _day_month(match: re.Match[str]) -> str:
    return _date(match["dy"], MONTHS[match["dm"].casefold()], int(match["dd"]))


def _month_year(match: re.Match[str]) -> str:
    return f"{match['yy']}-{MONTHS[match['ym'].casefold()]:02d}"


def _clock(match: re.Match[str]) -> str:
    return _time(int(match["hour"]), int(match["minute"]), match["half"])


def _half_day(match: re.Match[str]) -> str:
    return _time(int(match["hhour"]), 0, match["hhalf"])


def _oclock(match: re.Match[str]) -> str:
    return _time(int(match["ohour"]), 0, None)


def _time(hour: int, minute: int, half: str | None) -> str:
    if half is not None:
        hour = hour % 12 + (12 if half.casefold() == "p" else 0)
    return f"{hour:02d}:{minute:02d}"


_READERS = {
    "iso": _iso,
    "slash": _slash,
    "month_day": _month_day,
    "day_month": _day_month,
    "month_year": _month_year,
    "clock": _clock,
    "half_day": _half_day,
    "oclock": _oclock,
}
