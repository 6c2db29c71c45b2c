"""Enforces what the contracts declare about fields: REQUIRED, allowed words, ranges, names, keys (X3, X13, X14).

A checker is compiled once for each message type; messages without rules cost nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from lakehouse.options.v1 import options_pb2

from services.runtime.errors import InvalidArgument, Violation
from services.runtime.names import check_key, check_name

FieldCheck = Callable[[Any], Iterable[Violation]]
"""Gets the value of a field that was sent."""
ValueCheck = Callable[[Any], str | None]


class MissingField(InvalidArgument):
    """A field that the contract requires is absent or empty."""

    reason = "MISSING_FIELD"


class InvalidField(InvalidArgument):
    """A field breaks a rule of the contract."""

    reason = "INVALID_FIELD"


def check(message: Message) -> None:
    """Raises MissingField or InvalidField naming every field that breaks a rule; names become NFC."""
    found = violations(message)
    if not found:
        return
    missing = all(violation.description == _MISSING for violation in found)
    text = "; ".join(f"{violation.field}: {violation.description}" for violation in found)
    error_class = MissingField if missing else InvalidField
    raise error_class(text, violations=found, field=found[0].field)


def violations(message: Message) -> list[Violation]:
    """Every rule that the message breaks. Costs about 1 us for each field that was sent."""
    rules = _rules(message.DESCRIPTOR)
    found = [missing for is_missing, missing in rules.required if is_missing(message)]
    for field, value in message.ListFields():
        for field_check in rules.checks.get(field.number, ()):
            found += field_check(value)
        if field.number in rules.names and not found and not value.isascii():
            setattr(message, field.name, check_name(value))
    return found


_MISSING = "is required"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What is to be checked of one message type."""

    required: tuple[tuple[Callable[[Any], bool], Violation], ...]
    checks: dict[int, tuple[FieldCheck, ...]]
    names: frozenset[int]


@cache
def _rules(descriptor: Descriptor) -> _Rules:
    checks = {field.number: tuple(_checks(field)) for field in descriptor.fields}
    names = [field.number for field in descriptor.fields if _rule(field).name and not field.is_repeated]
    return _Rules(
        required=tuple((_absent(f), Violation(f.name, _MISSING)) for f in descriptor.fields if _is_required(f)),
        checks={number: found for number, found in checks.items() if found},
        names=frozenset(names),
    )


def _rule(field: FieldDescriptor) -> options_pb2.FieldRule:
    rule: options_pb2.FieldRule = field.GetOptions().Extensions[options_pb2.field]
    return rule


def _checks(field: FieldDescriptor) -> Iterator[FieldCheck]:
    rule = _rule(field)
    if rule.min_items or rule.max_items:
        yield _counted(field.name, rule.min_items, rule.max_items)
    value_check = _value_check(field, rule)
    if value_check is not None:
        yield _each(field.name, value_check) if field.is_repeated else _single(field.name, value_check)
    inner = field.message_type
    if inner is not None and not inner.GetOptions().map_entry and not rule.checked_by_daemon and _has_rules(inner):
        yield _nested_each(field.name) if field.is_repeated else _nested(field.name)


@cache
def _has_rules(descriptor: Descriptor) -> bool:
    """Whether any message reachable from this one has a rule."""
    reached = {descriptor.full_name: descriptor}
    waiting = [descriptor]
    while waiting:
        for field in waiting.pop().fields:
            if _is_required(field) or field.GetOptions().HasExtension(options_pb2.field):
                return True
            inner = field.message_type
            if inner is not None and inner.full_name not in reached:
                reached[inner.full_name] = inner
                waiting.append(inner)
    return False


def _is_required(field: FieldDescriptor) -> bool:
    behaviours = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.REQUIRED in behaviours


def _absent(field: FieldDescriptor) -> Callable[[Any], bool]:
    name = field.name
    if field.has_presence:
        return lambda message: not message.HasField(name)
    return lambda message: not getattr(message, name)


def _counted(name: str, least: int, most: int) -> FieldCheck:
    def check_count(values: Any) -> Iterable[Violation]:
        count = len(values)
        if count < least:
            return (Violation(name, f"must have at least {least} elements, has {count}"),)
        if most and count > most:
            return (Violation(name, f"must have at most {most} elements, has {count}"),)
        return ()

    return check_count


def _single(name: str, value_check: ValueCheck) -> FieldCheck:
    def check_value(value: Any) -> Iterable[Violation]:
        text = value_check(value)
        return () if text is None else (Violation(name, text),)

    return check_value


def _each(name: str, value_check: ValueCheck) -> FieldCheck:
    def check_elements(values: Any) -> Iterable[Violation]:
        return [Violation(f"{name}[{i}]", text) for i, value in enumerate(values) if (text := value_check(value))]

    return check_elements


def _nested(name: str) -> FieldCheck:
    return lambda inner: [Violation(f"{name}.{v.field}", v.description) for v in violations(inner)]


def _nested_each(name: str) -> FieldCheck:
    def check_elements(values: Any) -> Iterable[Violation]:
        found: list[Violation] = []
        for i, inner in enumerate(values):
            found += [Violation(f"{name}[{i}].{v.field}", v.description) for v in violations(inner)]
        return found

    return check_elements


def _value_check(field: FieldDescriptor, rule: options_pb2.FieldRule) -> ValueCheck | None:
    checks: list[ValueCheck] = []
    if rule.one_of:
        checks.append(_one_of(tuple(rule.one_of)))
    if rule.HasField("minimum") or rule.HasField("maximum"):
        checks.append(_between(rule))
    if rule.max_bytes:
        checks.append(_short(rule.max_bytes))
    if rule.name:
        checks.append(_legal(check_name, field.name))
    if rule.key:
        checks.append(_legal(check_key, field.name))
    if len(checks) <= 1:
        return checks[0] if checks else None
    return lambda value: next((text for one in checks if (text := one(value))), None)


def _one_of(words: tuple[str, ...]) -> ValueCheck:
    allowed = frozenset(words)
    listing = ", ".join(repr(word) for word in words)

    def check_word(value: str) -> str | None:
        if not value or value in allowed:
            return None
        near = difflib.get_close_matches(value.lower(), words, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"must be one of {listing}{hint}"

    return check_word


def _between(rule: options_pb2.FieldRule) -> ValueCheck:
    low = rule.minimum if rule.HasField("minimum") else float("-inf")
    high = rule.maximum if rule.HasField("maximum") else float("inf")
    if high == float("inf"):
        text = f"must be at least {low:g}"
    elif low == float("-inf"):
        text = f"must be at most {high:g}"
    else:
        text = f"must be between {low:g} and {high:g}"
    # Written so that NaN fails.
    return lambda value: None if low <= value <= high else f"{text}, is {value:g}"


def _short(limit: int) -> ValueCheck:
    def check_size(value: str) -> str | None:
        # A character has at most four bytes: most texts need no encoding to be known short.
        if len(value) * 4 <= limit or len(value.encode()) <= limit:
            return None
        return f"must have at most {limit} bytes, has {len(value.encode())}"

    return check_size


def _legal(legal: Callable[[str, str], str], name: str) -> ValueCheck:
    def check_text(value: str) -> str | None:
        try:
            legal(value, name)
        except InvalidArgument as error:
            return error.violations[0].description
        return None

    return check_text
