"""How values are written as text, and which text may therefore become a typed value (I2).

A value fits a type only if writing it back gives the same text. So a type alone is not enough to
judge by: `1.5`, `1.50` and `15e-1` are one double and three texts. A notation is one way to write
the values of one type, given as a pattern; text that matches it and parses is written back
unchanged, and a column keeps its type as long as one notation fits all of its values.

For doubles the pattern is the whole proof: a decimal text of at most 15 significant digits
survives the way into a double and back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

_BLANK = pa.scalar("")
_SIGNIFICANT = 15
_ISO_DATE = r"(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-[0-9]{2}-[0-9]{2}"
_ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d([T ])\d\d:\d\d(:\d\d(?:\.(\d{1,6}))?)?(Z?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notation:
    """One way to write the values of one type."""

    type: str
    """Our name of the type."""
    arrow: pa.DataType
    """The type in memory and in Parquet."""
    pattern: str
    """RE2 pattern of the whole text."""
    scale: int | None = None
    """Digits after the point, for doubles that all have the same number."""

    def read(self, texts: pa.StringArray) -> pa.Array[Any] | None:
        """Returns the typed values, or None if one text does not fit; nulls stay. About 60 ns a value."""
        if pc.all(pc.match_substring_regex(texts, self.pattern)).as_py() is False:
            return None
        try:
            values = texts.cast(self.arrow)
        except pa.ArrowInvalid:
            return None  # The pattern knows neither the calendar nor the range of an integer.
        return values.view(pa.timestamp("us")) if self.arrow == _UTC else values


_UTC = pa.timestamp("us", tz="UTC")


def infer(sample: pa.StringArray) -> tuple[Notation, ...]:
    """Returns every notation of the first type that fits the whole sample; none means string."""
    texts = without_blanks(sample).drop_null()
    if len(texts) == 0:
        return ()
    for family in _families(texts[0].as_py()):
        fitting = fitting_notations(family, texts)
        if fitting:
            return fitting
    return ()


def fitting_notations(notations: Iterable[Notation], texts: pa.StringArray) -> tuple[Notation, ...]:
    """The notations in which every one of the texts is written."""
    return tuple(notation for notation in notations if notation.read(texts) is not None)


def without_blanks(texts: pa.StringArray) -> pa.StringArray:
    """Turns empty text into null: a typed column has no other way to say nothing."""
    shortest = pc.min(pc.binary_length(texts)).as_py()
    if shortest != 0:
        return texts
    return cast(pa.StringArray, pc.if_else(pc.equal(texts, _BLANK), pa.scalar(None, pa.string()), texts))


def _families(first: str) -> Iterable[tuple[Notation, ...]]:
    yield _BOOLEANS
    yield (_INT64,)
    yield tuple(_doubles(first))
    yield (_DATE,)
    yield tuple(_timestamps(first))


_BOOLEANS = tuple(
    Notation(type="boolean", arrow=pa.bool_(), pattern=f"^(?:{yes}|{no})$")
    for yes, no in (("true", "false"), ("True", "False"), ("TRUE", "FALSE"))
)
_INT64 = Notation(type="int64", arrow=pa.int64(), pattern=r"^(?:0|-?[1-9][0-9]{0,18})$")
_DATE = Notation(type="date", arrow=pa.date32(), pattern=f"^{_ISO_DATE}$")


def _doubles(first: str) -> Iterable[Notation]:
    yield _decimal_notation(whole_has_point=False)
    yield _decimal_notation(whole_has_point=True)
    scale = len(first.partition(".")[2])
    if 0 < scale <= _SIGNIFICANT:
        yield _fixed_notation(scale)


@cache
def _decimal_notation(*, whole_has_point: bool) -> Notation:
    """The shortest decimal text: `2.5`, and for whole numbers either `3` or `3.0`."""
    whole = r"\.0" if whole_has_point else ""
    forms = [rf"0(?:{whole}|\.0{{0,20}}(?:[1-9]|[1-9][0-9]{{0,{_SIGNIFICANT - 2}}}[1-9]))"]
    for digits in range(1, _SIGNIFICANT + 1):
        fraction = _SIGNIFICANT - digits
        tail = rf"{whole}|\.[0-9]{{0,{fraction - 1}}}[1-9]" if fraction else whole
        forms.append(rf"[1-9][0-9]{{{digits - 1}}}(?:{tail})")
    return Notation(type="double", arrow=pa.float64(), pattern=f"^-?(?:{'|'.join(forms)})$")


@cache
def _fixed_notation(scale: int) -> Notation:
    """Always the same number of decimals: `12.50`, `3.00`."""
    before = _SIGNIFICANT - scale
    whole = rf"(?:0|[1-9][0-9]{{0,{before - 1}}})" if before else "0"
    pattern = rf"^-?{whole}\.[0-9]{{{scale}}}$"
    return Notation(type="double", arrow=pa.float64(), pattern=pattern, scale=scale)


def _timestamps(first: str) -> Iterable[Notation]:
    form = _ISO_TIME.fullmatch(first)
    if form is None:
        return
    separator, seconds, fraction, zone = form.groups()
    time = "[0-9]{2}:[0-9]{2}"
    if seconds:
        time += ":[0-9]{2}"
    if fraction:
        time += rf"\.[0-9]{{{len(fraction)}}}"
    arrow = _UTC if zone else pa.timestamp("us")
    yield Notation(type="timestamp", arrow=arrow, pattern=f"^{_ISO_DATE}{separator}{time}{zone}$")
