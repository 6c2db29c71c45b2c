"""What a question asks for exactly: numbers, dates, negation, and values of the data.

An embedding hardly sees these: `with OSHA-30` and `without OSHA-30` lie nearer to each other than two
wordings of one question. They are read from the text instead, and compared as what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from services.matrixd.playbooks.language import (
    ABOVE,
    BELOW,
    DAYS,
    FUNCTION_WORDS,
    LESS,
    MONTHS,
    MORE,
    NEGATING_PAIRS,
    NEGATORS,
    NUMBERS,
    UNITS,
    singular,
)
from services.matrixd.playbooks.moments import Moment, moments_in
from services.matrixd.playbooks.vocabulary import Named, Piece, Vocabulary, pieces_of

_TOKEN = re.compile(
    r"""
      (?P<number>(?:(?<=\s)|(?<=^)|(?<=\())[-\u2212](?=\d))?(?P<digits>\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)*)
        (?P<suffix>[^\W\d_]{1,8}|[%\u00b0])?
    | (?P<word>[^\W\d_]+(?:['\u2019][^\W\d_]+)?)
    | (?P<mark>[^\w\s])
    """,
    re.VERBOSE,
)
_ORDINAL = frozenset(("st", "nd", "rd", "th"))
_CURRENCIES = frozenset("$€£")
_SCOPE = 4
_ENDS = frozenset(".,;:!?()")
_BOUND = FUNCTION_WORDS | UNITS.keys() | NUMBERS.keys() | MONTHS.keys() | DAYS.keys() | ABOVE | BELOW | MORE | LESS


class Number(NamedTuple):
    """A number asked for. `sense` is `<` for an upper limit, else empty; `near` are the words it stands beside.

    `counting` says that it tells how many of something are wanted, which does not change what is wanted.
    """

    value: str
    unit: str
    sense: str
    near: frozenset[str]
    negated: bool
    counting: bool = False


class Asked(NamedTuple):
    """A value of the data asked for, and every column that has it."""

    fields: frozenset[str]
    value: str
    negated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What one question asks for exactly."""

    numbers: tuple[Number, ...] = ()
    moments: frozenset[tuple[str, bool]] = frozenset()
    """Dates and times, each with whether it is negated."""
    values: tuple[Asked, ...] = ()
    negations: tuple[frozenset[str], ...] = ()
    """The words that each negation is about."""
    words: frozenset[str] = frozenset()
    free: tuple[str, ...] = ()
    """The words that belong to nothing above and carry a meaning of their own, in order."""


class _Token(NamedTuple):
    kind: str
    """`number`, `word` or `mark`; what is part of a date is `date`."""
    text: str
    start: int
    end: int
    unit: str = ""
    attached: bool = False
    """Whether a hyphen joins it to the word before."""


def extract(text: str, vocabulary: Vocabulary) -> Constraints:
    """Reads a question. About 60 us."""
    moments = list(moments_in(text))
    tokens = list(_tokens(text, moments))
    spans = list(_negated(tokens))
    pieces = pieces_of(text)
    found = [named for named in vocabulary.find(pieces) if not _measures(named.value, text[: named.start])]
    # What is part of a value is compared with it: the thirty of a certificate counts nothing.
    parts = {part for named in found for part in named.value.split() if len(part) == 1}
    numbers = [
        number for number, start in _numbers(tokens, spans) if not _inside(start, found) and number.value not in parts
    ]
    moments = [moment for moment in moments if not _inside(moment.start, found)]
    values = [Asked(named.fields, named.value, _within(named.start, spans)) for named in found]
    return Constraints(
        numbers=tuple(sorted(numbers, key=lambda one: (one.value, one.unit, one.sense, sorted(one.near)))),
        moments=frozenset((moment.value, _within(moment.start, spans)) for moment in moments),
        values=tuple(dict.fromkeys(values)),
        negations=tuple(span.words for span in spans),
        words=frozenset(singular(token.text) for token in tokens if token.kind == "word"),
        free=tuple(piece.norm for piece in pieces if _free(piece) and not _inside(piece.start, found)),
    )


def _measures(value: str, ahead: str) -> bool:
    """Whether a word is the unit of a number and no value: three days ask for no day shift."""
    return value in UNITS and ahead.rstrip(" -+")[-1:].isdigit()


def _free(piece: Piece) -> bool:
    word = piece.raw.casefold()
    return len(word) > 1 and not word[0].isdigit() and not {word, piece.norm} & _BOUND


def _tokens(text: str, moments: Sequence[Moment]) -> Iterator[_Token]:
    skipped = iter(moments)
    moment = next(skipped, None)
    end = -1
    for match in _TOKEN.finditer(text):
        while moment is not None and moment.end <= match.start():
            moment = next(skipped, None)
        attached = match.start() == end + 1 and text[end : end + 1] == "-"
        if moment is not None and match.start() >= moment.start:
            yield _Token("date", match.group().casefold(), match.start(), match.end())
        elif match["digits"] is not None:
            yield from _digits(match)
        elif match["word"] is not None:
            yield from _letters(text, match, attached)
        else:
            yield _Token("mark", match.group(), match.start(), match.end())
        if match["mark"] is None:
            end = match.end()


def _digits(match: re.Match[str]) -> Iterator[_Token]:
    digits = (
        match["digits"].replace(",", "") if re.fullmatch(r"\d+(,\d{3})+(\.\d+)?", match["digits"]) else match["digits"]
    )
    value = ("-" if match["number"] else "") + _plain(digits)
    suffix = (match["suffix"] or "").casefold()
    if suffix == "k":
        value, suffix = _plain(str(float(digits) * 1000)), ""
    unit = UNITS.get(suffix, "")
    if len(suffix) == 1 and not unit and suffix != "x":
        value, suffix = value + suffix, ""
    yield _Token("number", value, match.start(), match.end(), unit=unit)
    if suffix and not unit and suffix not in _ORDINAL and suffix != "x":
        yield _Token("word", suffix, match.start("suffix"), match.end())


def _letters(text: str, match: re.Match[str], attached: bool) -> Iterator[_Token]:
    raw = match["word"]
    word = raw.casefold().replace("\u2019", "'")
    if word.endswith("n't"):
        yield _Token("word", "not", match.start(), match.end())
        return
    word = word.removesuffix("'s")
    if len(word) == 1 and _designates(text, match, attached):
        yield _Token("number", word, match.start(), match.end())
        return
    count = NUMBERS.get(word)
    if count is not None and word != "one":
        yield _Token("number", str(count), match.start(), match.end())
        return
    yield _Token("word", word, match.start(), match.end(), attached=attached)


def _designates(text: str, match: re.Match[str], attached: bool) -> bool:
    """Whether a letter names a kind, as in `class A` and `CDL-B`, and is no article, initial or part of a word."""
    after = text[match.end() : match.end() + 1]
    if after and not after.isspace() and after not in _ENDS:
        return False
    if attached:
        return True
    ahead = text[: match.start()]
    if not match.group().isupper() or not ahead.rstrip() or ahead.rstrip()[-1] in ".!?:\n":
        return False
    return ahead[-1].isspace() and match.group() not in ("I",)


def _plain(digits: str) -> str:
    if digits.count(".") > 1:
        return digits
    whole, _, part = digits.partition(".")
    part = part.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{part}" if part else whole


class _Span(NamedTuple):
    start: int
    end: int
    words: frozenset[str]


def _negated(tokens: Sequence[_Token]) -> Iterator[_Span]:
    """What each negation is about: the next few words, up to the next clause or preposition."""
    for place, token in enumerate(tokens):
        first = place + 1
        if token.kind != "word":
            continue
        following = tokens[first] if first < len(tokens) else None
        if following is not None and (token.text, following.text) in NEGATING_PAIRS:
            first += 1
        elif token.text not in NEGATORS:
            continue
        elif following is not None and following.text in LESS | MORE | {"longer", "only", "matter"}:
            continue  # `no later than` is a limit
        words: list[str] = []
        end = token.end
        for other in tokens[first:]:
            if other.kind == "mark" and other.text in _ENDS:
                break
            if other.kind == "mark":
                continue
            if other.kind == "word" and other.text in FUNCTION_WORDS:
                if words and other.text not in ("or", "nor", "a", "an", "any", "the"):
                    break
                continue
            words.append(singular(other.text) if other.kind == "word" else other.text)
            end = other.end
            if len(words) == _SCOPE:
                break
        yield _Span(token.start, end, frozenset(words))


def _inside(place: int, found: Iterable[Named]) -> bool:
    return any(named.start <= place < named.end for named in found)


def _within(place: int, spans: Iterable[_Span]) -> bool:
    return any(span.start <= place < span.end for span in spans)


def _numbers(tokens: Sequence[_Token], spans: Sequence[_Span]) -> Iterator[tuple[Number, int]]:
    """The numbers, each with where it begins."""
    place = 0
    while place < len(tokens):
        token = tokens[place]
        if token.kind != "number":
            place += 1
            continue
        last, value = _compound(tokens, place)
        unit = token.unit or _unit(tokens, place, last)
        near = frozenset(_neighbours(tokens, place, last))
        sense = _sense(tokens, place, last)
        counting = not unit and not sense and value.isdigit() and _counts(tokens, place, last)
        yield Number(value, unit, sense, near, _within(token.start, spans), counting), token.start
        place = last + 1


def _compound(tokens: Sequence[_Token], place: int) -> tuple[int, str]:
    """Numbers in several words: `twenty-five`, `two hundred`. Returns where it ends and its value."""
    value, last = tokens[place].text, place
    follow = place + 1
    if follow < len(tokens) and tokens[follow].text == "-":
        follow += 1
    if follow < len(tokens) and value in ("20", "30", "40", "50", "60", "70", "80", "90"):
        ones = NUMBERS.get(tokens[follow].text, tokens[follow].text if tokens[follow].kind == "number" else "")
        spelled = tokens[place].end - tokens[place].start > 2
        if spelled and str(ones).isdigit() and 0 < int(ones) < 10:
            return follow, str(int(value) + int(ones))
    if last + 1 < len(tokens) and tokens[last + 1].kind == "number" and tokens[last + 1].text in ("100", "1000", "12"):
        other = tokens[last + 1]
        if value.isdigit() and other.end - other.start > 4:
            return last + 1, str(int(value) * int(other.text))
    return last, value


def _unit(tokens: Sequence[_Token], place: int, last: int) -> str:
    if place and tokens[place - 1].text in _CURRENCIES:
        return tokens[place - 1].text
    for other in tokens[last + 1 : last + 4]:
        if other.kind == "mark" and other.text in "+-%°":
            if other.text in UNITS:
                return other.text
            continue
        if other.kind in ("word", "date"):
            if other.text in ("or", "more", "plus", "to"):
                continue
            return UNITS.get(other.text, "") if len(other.text) > 1 or other.text == "h" else ""
        break
    return ""


def _counts(tokens: Sequence[_Token], place: int, last: int) -> bool:
    """Whether a number stands before what it counts, and after nothing that it could be the name of."""
    before = tokens[place - 1] if place else None
    after = tokens[last + 1] if last + 1 < len(tokens) else None
    free = before is None or (before.kind == "word" and before.text in FUNCTION_WORDS) or before.text in _ENDS
    noun = after is not None and after.kind == "word" and not after.attached and after.text not in FUNCTION_WORDS
    return (free and noun and len(tokens[place].text) < 4) or (before is not None and before.text == "x")


def _sense(tokens: Sequence[_Token], place: int, last: int) -> str:
    """`<` for an upper limit; a lower limit is what a plain number means more often than not."""
    ahead = [token.text for token in tokens[max(0, place - 3) : place] if token.text not in _CURRENCIES]
    behind = [token.text for token in tokens[last + 1 : last + 4]]
    negated = any(word in NEGATORS for word in ahead)
    if ahead[-1:] == ["than"] and len(ahead) > 1:
        if ahead[-2] in LESS:
            return "" if negated else "<"
        if ahead[-2] in MORE:
            return "<" if negated else ""
    if ahead[-2:] == ["up", "to"] or (ahead and ahead[-1] in BELOW) or ahead[-2:-1] == ["maximum"]:
        return "<"
    if ahead and ahead[-1] in ABOVE:
        return ""
    if any(one == "or" and two in LESS for one, two in pairwise(behind)):
        return "<"
    return "<" if any(word in ("max", "maximum") for word in behind[:2]) else ""


def _neighbours(tokens: Sequence[_Token], place: int, last: int) -> Iterator[str]:
    """The words right before and after a number, as far as no mark or other number stands between."""
    for step, start in ((-1, place - 1), (1, last + 1)):
        taken = 0
        at = start
        while 0 <= at < len(tokens) and taken < 1:
            token = tokens[at]
            if token.kind in ("number", "date") or (token.kind == "mark" and token.text not in "-+#"):
                break
            if token.kind == "word" and token.text not in FUNCTION_WORDS | ABOVE | BELOW:
                yield UNITS.get(token.text, singular(token.text))
                taken += 1
            elif token.kind == "word" and token.text in ("and", "or", "with"):
                break
            at += step
