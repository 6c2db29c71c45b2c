"""Words of the English language that carry numbers, dates and negation. No word of any domain is here."""

from __future__ import annotations

from collections.abc import Mapping

_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth"

NUMBERS: Mapping[str, int] = {
    **{word: value for value, word in enumerate(f"{_SMALL} seventeen eighteen nineteen".split())},
    **{word: 10 * value for value, word in enumerate(_TENS.split(), 2)},
    **{word: value for value, word in enumerate(_ORDINALS.split())},
    "couple": 2,
    "twice": 2,
    "dozen": 12,
    "hundred": 100,
    "thousand": 1_000,
}
"""What a word counts. `one` is left to the caller: it is a pronoun as often as a number."""

_UNITS = {
    "year": "years yr yrs annum",
    "month": "months mo mos",
    "week": "weeks wk wks",
    "day": "days",
    "hour": "hours hr hrs h",
    "minute": "minutes min mins",
    "second": "seconds sec secs",
    "%": "percent pct",
    "$": "usd dollar dollars",
    "€": "eur euro euros",
    "£": "gbp pound_sterling",
    "kilometre": "kilometres kilometer kilometers km",
    "mile": "miles mi",
    "metre": "metres meter meters m",
    "centimetre": "centimetres centimeter centimeters cm",
    "millimetre": "millimetres millimeter millimeters mm",
    "foot": "feet ft",
    "inch": "inches",
    "kilogram": "kilograms kg kilo kilos",
    "gram": "grams g",
    "milligram": "milligrams mg",
    "tonne": "tonnes ton tons",
    "pound": "pounds lb lbs",
    "litre": "litres liter liters l",
    "millilitre": "millilitres milliliter milliliters ml",
    "kilobyte": "kilobytes kb",
    "megabyte": "megabytes mb",
    "gigabyte": "gigabytes gb",
    "volt": "volts v",
    "watt": "watts w",
    "degree": "degrees °",
}
UNITS: Mapping[str, str] = {word: unit for unit, words in _UNITS.items() for word in (unit, *words.split())}
"""A word or sign after a number, and the measure it stands for."""

_MONTHS = "january february march april may june july august september october november december"
MONTHS: Mapping[str, int] = {
    **{name: number for number, name in enumerate(_MONTHS.split(), 1)},
    **{name[:3]: number for number, name in enumerate(_MONTHS.split(), 1)},
    "sept": 9,
}
_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday"
DAYS: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in _WEEKDAYS.split()},
    **{name[:3]: (name,) for name in _WEEKDAYS.split()},
    "tues": ("tuesday",),
    "thur": ("thursday",),
    "thurs": ("thursday",),
    "weekend": ("saturday", "sunday"),
    "weekday": ("weekday",),
    "today": ("today",),
    "tomorrow": ("tomorrow",),
    "yesterday": ("yesterday",),
    "tonight": ("today", "night"),
    "overnight": ("night",),
    "night": ("night",),
    "morning": ("morning",),
    "afternoon": ("afternoon",),
    "evening": ("evening",),
    "noon": ("12:00",),
    "midnight": ("00:00",),
}
"""Words for days and parts of them."""
DOUBTFUL = frozenset(("may", "march", "mar", "sat", "sun", "mon", "wed", "jun", "jan", "dec"))
"""Names of months and days that are other words, too: they count with a capital or beside a number only."""
RELATIVE = frozenset(("this", "next", "last", "previous", "coming", "following"))
PERIODS = frozenset(("week", "month", "quarter", "year", "weekend", "day", *_WEEKDAYS.split()))

_NEGATORS = (
    "no not non without never none nobody nothing nor neither cannot except excepting exclude excluding excluded "
    "besides minus lacking avoid avoiding outside"
)
NEGATORS = frozenset(_NEGATORS.split())
NEGATING_PAIRS = frozenset(
    (("other", "than"), ("rather", "than"), ("instead", "of"), ("apart", "from"), ("but", "not"))
)

ABOVE = frozenset(("least", "over", "above", "min", "minimum", "beyond", "exceeding", "after", "since", "longer"))
BELOW = frozenset(("most", "under", "below", "max", "maximum", "before", "until", "till", "within"))
MORE, LESS = frozenset(("more", "greater", "later", "higher", "plus")), frozenset(("less", "fewer", "earlier", "lower"))

_FUNCTION_WORDS = (
    "a about all also an and any anybody anyone are as at be been but by can could did do does each either for from "
    "get had has have having he her here him his how i if in into is it its just like may me might more most much "
    "must my need needed needs of off ok on once only onto or other our out over please per shall she should so "
    "some somebody someone such than that the their them then there these they this those through to too under up "
    "us very was we were what when where which while who whom whose why will with within would yes you your looking "
    "want wanted wants find show give tell"
)
FUNCTION_WORDS = NEGATORS.union(_FUNCTION_WORDS.split())
"""Words that no value of a column stands for by themselves, and that bind no number to anything."""


def singular(word: str) -> str:
    """A word without a plural ending, so that both forms are one. Not a dictionary: `glasses` becomes `glass`."""
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1]
