"""Whether two questions ask for the same thing exactly, and what an answer has to show for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from services.matrixd.playbooks.constraints import Asked, Constraints, Number

_OPPOSITES = ("un", "non", "in", "im", "ir", "dis")


def difference(one: Constraints, other: Constraints) -> str:
    """What one question asks for and the other contradicts, in a few words; empty when they agree. Symmetric.

    What only one of them says about values or counts is no contradiction: `unnamed` and `uncounted` find it.
    """
    return (
        _numbers(one.numbers, other.numbers)
        or _moments(one, other)
        or _values(one, other)
        or _negations(one, other)
        or _opposites(one, other)
    )


def unnamed(asked: Constraints, recorded: Constraints) -> list[Asked]:
    """The values of `asked` for columns of which `recorded` names nothing."""
    named = _by_field(recorded)
    return [value for value in asked.values if not any(field in named for field in value.fields)]


def uncounted(asked: Constraints, recorded: Constraints) -> str:
    """How many `asked` wants where `recorded` does not say; empty when it says, or neither does."""
    counts = sorted(number.value for number in asked.numbers if number.counting)
    return _listing(counts) if counts and not any(number.counting for number in recorded.numbers) else ""


def _numbers(one: tuple[Number, ...], other: tuple[Number, ...]) -> str:
    if not any(number.counting for number in one) or not any(number.counting for number in other):
        one, other = (tuple(number for number in side if not number.counting) for side in (one, other))
    counted = [Counter((number.value, number.negated) for number in side) for side in (one, other)]
    if counted[0] != counted[1]:
        first, second = ({value for value, _ in (counted[i] - counted[1 - i])} for i in (0, 1))
        return f"other numbers: {_listing(first)} and {_listing(second)}"
    for value in {number.value for number in one}:
        units = [Counter(number.unit for number in side if number.value == value) for side in (one, other)]
        left, right = ({unit for unit in (units[i] - units[1 - i]) if unit} for i in (0, 1))
        if left and right:
            return f"{value} is of {_listing(left)} and of {_listing(right)}"
        senses = [Counter(number.sense for number in side if number.value == value) for side in (one, other)]
        if senses[0] != senses[1]:
            return f"{value} is an upper limit in one of them only"
    return _bindings(one, other)


def _bindings(one: tuple[Number, ...], other: tuple[Number, ...]) -> str:
    # `3 welders and 5 nurses` has the numbers of `5 welders and 3 nurses`.
    bound = [_bound(side) for side in (one, other)]
    for word in sorted(bound[0].keys() & bound[1].keys()):
        if bound[0][word].isdisjoint(bound[1][word]):
            return f"{word!r} goes with other numbers"
    return ""


def _bound(numbers: Iterable[Number]) -> dict[str, set[str]]:
    bound: dict[str, set[str]] = {}
    for number in numbers:
        for word in number.near:
            bound.setdefault(word, set()).add(number.value)
    return bound


def _moments(one: Constraints, other: Constraints) -> str:
    if one.moments == other.moments:
        return ""
    first, second = (
        {value for value, _ in side} for side in (one.moments - other.moments, other.moments - one.moments)
    )
    return f"other dates or times: {_listing(first)} and {_listing(second)}"


def _values(one: Constraints, other: Constraints) -> str:
    sides = [_by_field(one), _by_field(other)]
    for field in sorted(sides[0].keys() & sides[1].keys()):
        left, right = sides[0][field], sides[1][field]
        if left != right:
            return f"other {field}: {_signed(left - right)} and {_signed(right - left)}"
    return ""


def _by_field(constraints: Constraints) -> dict[str, set[tuple[str, bool]]]:
    fields: dict[str, set[tuple[str, bool]]] = {}
    for value in constraints.values:
        for field in value.fields:
            fields.setdefault(field, set()).add((value.value, value.negated))
    return fields


def _negations(one: Constraints, other: Constraints) -> str:
    for side, counter in ((one, other), (other, one)):
        for words in side.negations:
            if not any(words & others or not words | others for others in counter.negations):
                return f"only one of them negates {' '.join(sorted(words)) or 'something'!r}"
    if len(one.negations) != len(other.negations):
        return "one of them negates more"
    return ""


def _opposites(one: Constraints, other: Constraints) -> str:
    for side, counter in (
        (one.words - other.words, other.words - one.words),
        (other.words - one.words, one.words - other.words),
    ):
        for word in side:
            if any(prefix + word in counter for prefix in _OPPOSITES) and len(word) > 3:
                return f"one of them says the opposite of {word!r}"
            if word + "less" in counter:
                return f"one of them says the opposite of {word!r}"
    return ""


def _signed(values: Iterable[tuple[str, bool]]) -> str:
    return _listing(f"not {value}" if negated else value for value, negated in values)


def _listing(values: Iterable[str]) -> str:
    return ", ".join(sorted(values)) or "none"
