"""What a question asks for exactly, and when two questions ask for the same."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from services.matrixd.playbooks.agreement import difference, uncounted, unnamed
from services.matrixd.playbooks.constraints import Constraints, extract
from services.matrixd.playbooks.gates import Recollection
from services.matrixd.playbooks.guard import Guard
from services.matrixd.playbooks.moments import moments_in
from services.matrixd.playbooks.vocabularies import Reader
from services.matrixd.playbooks.vocabulary import Collector, Vocabulary

PEOPLE: tuple[dict[str, Any], ...] = tuple(
    {"role": role, "city": city, "state": state, "certificates": certificates, "shift": "Day", "note": "x " * 60}
    for role in ("Forklift Operator", "Order Picker", "Electrician")
    for city, state in (("Detroit", "MI"), ("Toledo", "OH"), ("Columbus", "OH"), ("Lafayette", "IN"))
    for certificates in ("OSHA-30; CPR", "First Aid", "AWS D1.1; OSHA-10")
)


def metadata(values: dict[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def learned(items: tuple[dict[str, Any], ...] = PEOPLE) -> Vocabulary:
    collector = Collector()
    collector.add_all(metadata(one) for one in items)
    return Vocabulary(collector.vocabulary(), collector.implications())


WORDS = learned()
READER = Reader(WORDS)
BASE = "Need 3 forklift operators in Detroit, MI at 6 am with OSHA-30 and at least 5 years, available now"


def read(text: str) -> Constraints:
    return extract(text, WORDS)


def values(text: str) -> set[tuple[str, str, bool]]:
    return {(field, one.value, one.negated) for one in read(text).values for field in one.fields}


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("3 ", "4 "),
        BASE.replace("5 years", "6 years"),
        BASE.replace("5 years", "5 months"),
        BASE.replace("at least 5", "at most 5"),
        BASE.replace("at least 5", "no more than 5"),
        BASE.replace("at least 5", "less than 5"),
        BASE.replace("Need 3", "Need 5").replace("least 5", "least 3"),
        BASE.replace("6 am", "6 pm"),
        BASE.replace("6 am", "7:30"),
        BASE.replace("Detroit, MI", "Toledo, OH"),
        BASE.replace("OSHA-30", "OSHA-10"),
        BASE.replace("OSHA-30", "OSHA-99"),
        BASE.replace("forklift operators", "order pickers"),
        BASE.replace("with OSHA-30", "without OSHA-30"),
        BASE.replace("with OSHA-30", "no OSHA-30"),
        BASE.replace("with OSHA-30", "excluding OSHA-30"),
        BASE.replace("in Detroit", "outside Detroit"),
        BASE.replace("in Detroit", "other than in Detroit"),
        BASE.replace("available now", "not available now"),
        BASE.replace("available", "unavailable"),
        BASE + " on Monday",
        BASE + " until 14 March",
    ],
)
@pytest.mark.requirement("M6", "M7")
def test_a_question_that_differs_in_one_thing_asks_for_something_else(other: str) -> None:
    assert other != BASE
    assert difference(read(BASE), read(other))
    assert difference(read(other), read(BASE))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BASE, "Looking for three forklift operators around Detroit MI from 06:00, OSHA 30, 5+ yrs, available now"),
        ("Two electricians with CPR for Monday", "For Monday we need 2 CPR electricians"),
        ("Who can work nights in Toledo this week?", "Night shift wanted in Toledo for this week"),
        ("for the weekend in Columbus", "on Saturday and Sunday in Columbus"),
        ("delivery on March 14, 2026", "delivery on 2026-03-14"),
        ("the pump in hall 4 makes a noise", "noise from the hall 4 pump"),
        ("at least twenty-five units", "25+ units"),
        ("nobody without a license", "nobody without a license, please"),
        ("costs 1,500.00 dollars", "costs $1500"),
        ("First Aid needed", "must have first-aid"),
    ],
)
def test_other_words_for_the_same_agree(one: str, other: str) -> None:
    assert difference(read(one), read(other)) == ""
    assert difference(read(other), read(one)) == ""


_PARTS = (
    "need 3 three 5 forklift operators order picker in Detroit MI OH without no not with OSHA-30 and at least most "
    "years 6:00 am Monday March 2026-03-14 hall , . unavailable available $20 % non- electrician -4 A CDL-B"
)
QUESTIONS = st.lists(
    st.sampled_from(_PARTS.split()),
    max_size=12,
).map(" ".join)


@given(QUESTIONS, QUESTIONS)
def test_agreement_is_symmetric_and_a_question_agrees_with_itself(one: str, other: str) -> None:
    assert bool(difference(read(one), read(other))) == bool(difference(read(other), read(one)))
    assert difference(read(one), read(one)) == ""
    assert unnamed(read(one), read(one)) == []
    assert uncounted(read(one), read(one)) == ""


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    assert difference(read(text), read(text)) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("at 6 am", ["06:00"]),
        ("6:30 pm", ["18:30"]),
        ("12 am", ["00:00"]),
        ("on 3/14/2026", ["2026-03-14"]),
        ("on 3/4/2026", ["3/4/2026"]),
        ("14th of March 2026", ["2026-03-14"]),
        ("the invoice for May", ["05"]),
        ("you may ask", []),
        ("March on", []),
        ("next week", ["next week"]),
        ("weekends", ["saturday", "sunday"]),
    ],
)
def test_dates_and_times_have_one_form(text: str, found: list[str]) -> None:
    assert [moment.value for moment in moments_in(text)] == found


def test_values_are_found_as_the_data_have_them() -> None:
    assert values("two forklift operators in columbus") == {
        ("role", "forklift operator", False),
        ("city", "columbus", False),
    }
    assert values("OSHA 30, but not AWS D1.1") == {
        ("certificates", "osha 30", False),
        ("certificates", "aws d 1.1", True),
    }


def test_a_short_value_in_capitals_is_no_word_of_the_language() -> None:
    assert values("a picker in IN") == {("state", "in", False)}
    assert values("a picker in Akron") == set()


def test_a_unit_of_a_number_is_no_value() -> None:
    assert values("for 3 days") == set()
    assert values("the day shift") == {("shift", "day", False)}


def test_long_texts_and_numbers_name_nothing() -> None:
    assert len(learned(({"note": "word " * 30, "zip": "00501", "years": 3},))) == 0


def entry(query_text: str, outcome: str = "accepted") -> Recollection:
    return Recollection(
        playbook_id="p",
        answer_id="a",
        answer_corpus="c",
        score=1,
        outcome=outcome,
        role="",
        distance=0.1,
        query_text=query_text,
    )


def judged(asked: str, recorded: str, answer: dict[str, Any] | None = None, outcome: str = "accepted") -> bool:
    guard = Guard(asked, READER)
    recollection = entry(recorded, outcome)
    if not guard.question(recollection).passed:
        return False
    return answer is None or guard.answer(recollection, metadata(answer).SerializeToString()) is None


DETROIT = {"role": "Forklift Operator", "city": "Detroit", "state": "MI", "certificates": "OSHA-30; CPR"}


def test_a_value_that_only_the_asked_question_names_must_be_the_answers_own() -> None:
    assert judged("forklift operator in Detroit", "forklift operator", DETROIT)
    assert not judged("forklift operator in Toledo", "forklift operator", DETROIT)
    assert not judged("forklift operator in Toledo", "forklift operator", {"role": "Forklift Operator"})


def test_an_answer_that_contradicts_the_question_is_refused_even_for_the_same_words() -> None:
    assert not judged("forklift operator in Toledo", "forklift operator in Toledo", DETROIT)
    assert not judged("forklift operator without OSHA-30", "forklift operator without OSHA-30", DETROIT)
    assert judged("forklift operator without AWS D1.1", "forklift operator without AWS D1.1", DETROIT)


def test_a_value_that_only_the_recorded_question_names_is_not_assumed() -> None:
    assert not judged("forklift operator", "forklift operator in Toledo")
    assert not judged("forklift operator in Detroit", "forklift operator in Detroit with OSHA-30")


def test_a_value_that_another_implies_need_not_be_named() -> None:
    assert judged("forklift operator in Detroit", "forklift operator in Detroit, MI")
    assert not judged("forklift operator in Detroit", "forklift operator in Detroit, OH")


def test_other_words_count_for_a_value_when_what_they_find_has_it() -> None:
    asked, recorded = "lift truck expert in Detroit", "forklift operator in Detroit"
    pickers = [metadata({"role": "Order Picker", "state": "MI"})] * 4
    drivers = [metadata({"role": "Forklift Operator", "state": "MI"})] * 6
    for found, passed in ((pickers + drivers[:2], False), (drivers + pickers[:1], True), ([], False)):
        guard = Guard(asked, READER)
        [doubt] = guard.doubts([entry(recorded)])
        assert doubt.words == "lift truck expert"
        guard.learn(doubt, found)
        assert guard.question(entry(recorded)).passed == passed


def test_a_count_may_be_left_out_but_not_added() -> None:
    assert judged("forklift operators in Detroit", "3 forklift operators in Detroit")
    assert not judged("3 forklift operators in Detroit", "forklift operators in Detroit")


def test_a_rejection_counts_where_at_least_as_much_is_asked() -> None:
    assert judged("forklift operator in Toledo", "forklift operator", outcome="rejected")
    assert not judged("forklift operator", "forklift operator in Toledo", outcome="rejected")


def test_while_values_are_unknown_only_the_same_words_agree() -> None:
    guard = Guard("forklift operator", None)
    assert guard.question(entry("forklift operator")).passed
    assert not guard.question(entry("a forklift operator")).passed
