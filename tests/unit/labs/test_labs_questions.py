"""Questions made from rows: known answers without a judge."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.labs.questions import ask, common_words, words_of

TEXT = "Replaced the cracked hydraulic hose near pump seven, pressure tested the line and logged the serial numbers."


def test_a_question_consists_of_words_of_the_row_in_another_order() -> None:
    question = ask("r-1", TEXT)
    assert question is not None
    asked = question.text.split()
    assert set(asked) <= set(words_of(TEXT))
    assert asked != [word for word in words_of(TEXT) if word in asked]
    assert len(asked) < len(words_of(TEXT))


def test_the_paraphrase_keeps_most_words_and_brings_others_of_the_same_row() -> None:
    question = ask("r-1", TEXT)
    assert question is not None
    asked, reworded = set(question.text.split()), set(question.paraphrase.split())
    assert asked - reworded
    assert reworded - asked
    assert len(asked & reworded) > len(asked) / 2
    assert reworded <= set(words_of(TEXT))


def test_the_same_row_gives_the_same_question_and_another_id_another_one() -> None:
    assert ask("r-1", TEXT) == ask("r-1", TEXT)
    assert ask("r-1", TEXT) != ask("r-2", TEXT)


def test_later_attempts_ask_in_fewer_words() -> None:
    sizes = [len(question.text.split()) for attempt in range(3) if (question := ask("r", TEXT, attempt=attempt))]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_a_text_with_too_few_words_gives_no_question() -> None:
    assert ask("r", "too short") is None
    assert ask("r", "") is None


def test_words_that_many_rows_share_are_left_out() -> None:
    texts = [f"ticket number about topic{i} printer{i} paper{i} toner{i} floor{i} noise{i}" for i in range(20)]
    common = common_words(texts)
    assert {"ticket", "number", "about"} <= common
    question = ask("r", texts[0], common=common)
    assert question is not None
    assert not set(question.text.split()) & common


def test_words_are_found_once_and_keep_their_spelling() -> None:
    assert words_of("OSHA-30, osha-30 and Zoë's C++ v2.1!") == ["OSHA-30", "and", "Zoë's", "v2.1"]


@given(st.text(max_size=400), st.text(max_size=20), st.integers(0, 2))
def test_any_text_gives_a_sound_question_or_none(text: str, row: str, attempt: int) -> None:
    question = ask(row, text, attempt=attempt)
    if question is not None:
        assert question.text.strip()
        assert question.paraphrase.strip()
        assert question.text != question.paraphrase
