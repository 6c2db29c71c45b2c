"""Which columns hold personal data, judged by their name and a sample of their values (I9).

Cheap and cautious: a pattern must fit most of the sample. A flag protects a column and never
changes a value, so a wrong flag costs little and a missing one is what later review finds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_MOST = 0.6
"""The share of non-empty sample values that must fit."""

_EMAIL = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[A-Za-z]{2,}")
_SSN = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}")
_SSN_DIGITS = re.compile(r"\d{9}")
_PHONE = re.compile(
    r"(?:\+?1[-. ]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[-. ])\d{3}[-. ]\d{4}(?: ?x\d+)?"
    r"|\+\d[\d ().-]{6,18}\d"
)
_PHONE_DIGITS = re.compile(r"\+?\d{7,15}")
_PERSON = re.compile(r"[^\W\d_][\w'’.-]*(?: [^\W\d_][\w'’.-]*){0,4}")  # noqa: RUF001 - both apostrophes
_STREET = re.compile(r".*\d.*[^\W\d_].*|.*[^\W\d_].*\d.*", re.DOTALL)
_DATE = re.compile(r"\d{4}-\d\d-\d\d.*|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}")

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PHONE_WORDS = {"phone", "mobile", "cell", "tel", "telephone", "fax"}
_PERSON_WORDS = {"first", "last", "full", "middle", "given", "family", "maiden", "person", "employee", "worker"}
_PERSON_WORDS |= {"candidate", "patient", "contact", "applicant"}
_PERSON_NAMES = {("name",), ("surname",), ("firstname",), ("lastname",), ("fullname",), ("forename",)}
_BIRTH_NAMES = {("dob",), ("birthday",), ("birthdate",), ("birth", "date"), ("date", "of", "birth")}
_NOT_POSTAL = {"ip", "mac", "web", "url", "email", "mail"}


def kind_of(name: str, values: Sequence[str | None]) -> str:
    """Returns the kind of personal data in a column, or an empty text; about 1 us a value.

    `values` is a sample as text; empty ones do not count. Kinds are those of the contract: email,
    phone, ssn, name, address, date_of_birth.
    """
    filled = [value for value in values if value]
    if not filled:
        return ""
    words = tuple(word.lower() for word in _WORD.findall(name))
    for kind, applies, pattern in _RULES:
        if applies(words) and _mostly(pattern, filled):
            return kind
    return ""


def sensitivity_of(kind: str) -> str:
    """How sensitive a column with this kind of personal data is."""
    return "pii" if kind else "internal"


def _mostly(pattern: re.Pattern[str], values: Sequence[str]) -> bool:
    return sum(pattern.fullmatch(value) is not None for value in values) >= _MOST * len(values)


def _any_name(words: tuple[str, ...]) -> bool:
    return True


def _ssn_name(words: tuple[str, ...]) -> bool:
    return "ssn" in words or {"social", "security"} <= set(words)


def _phone_name(words: tuple[str, ...]) -> bool:
    return not _PHONE_WORDS.isdisjoint(words)


def _person_name(words: tuple[str, ...]) -> bool:
    return words in _PERSON_NAMES or (words[-1:] == ("name",) and not _PERSON_WORDS.isdisjoint(words))


def _birth_name(words: tuple[str, ...]) -> bool:
    return any(words[-len(name) :] == name for name in _BIRTH_NAMES)


def _address_name(words: tuple[str, ...]) -> bool:
    return ("street" in words or "address" in words) and _NOT_POSTAL.isdisjoint(words)


_RULES: tuple[tuple[str, Callable[[tuple[str, ...]], bool], re.Pattern[str]], ...] = (
    ("email", _any_name, _EMAIL),
    ("ssn", _any_name, _SSN),
    ("ssn", _ssn_name, _SSN_DIGITS),
    ("phone", _any_name, _PHONE),
    ("phone", _phone_name, _PHONE_DIGITS),
    ("date_of_birth", _birth_name, _DATE),
    ("name", _person_name, _PERSON),
    ("address", _address_name, _STREET),
)
