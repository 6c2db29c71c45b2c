"""The words of one corpus on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.matrixd.retrieval.lexical import LexicalIndex

TEXTS = {"a": "certified forklift operators", "b": "night nurse, OSHA-30", "c": "forklift and crane, forklift"}


def filled(path: Path, identity: str = "one") -> LexicalIndex:
    index = LexicalIndex(path, identity)
    index.put(TEXTS.items())
    index.finish(complete=True)
    return index


def found(index: LexicalIndex, text: str, **options: object) -> list[str]:
    return [item for item, _ in index.search(text, 10, **options)]  # type: ignore[arg-type]


def test_what_has_the_words_is_found_best_first(tmp_path: Path) -> None:
    index = filled(tmp_path)
    assert found(index, "forklift") == ["c", "a"]
    assert found(index, "an operator") == ["a"]
    assert found(index, "osha 30") == ["b"]
    assert found(index, "welder") == found(index, "") == found(index, "!") == []


def test_a_search_may_be_restricted_and_paged(tmp_path: Path) -> None:
    index = filled(tmp_path)
    scores = dict(index.search("forklift", 10))
    [(item, score)] = index.search("forklift", 10, ids=["a", "b", "z"])
    assert item == "a"
    assert score == pytest.approx(scores["a"])
    assert found(index, "forklift", ids=[]) == []
    assert found(index, "forklift", offset=1) == ["a"]


def test_texts_are_replaced_and_removed(tmp_path: Path) -> None:
    index = filled(tmp_path)
    index.put([("a", "welder")])
    index.remove(["b"])
    assert found(index, "operators") == ["a"]
    index.finish(complete=True)
    assert (found(index, "operators"), found(index, "welder"), found(index, "nurse")) == ([], ["a"], [])
    assert len(index) == 2


def test_words_outlive_the_process(tmp_path: Path) -> None:
    filled(tmp_path).close()
    again = LexicalIndex(tmp_path, "one")
    assert again.complete
    assert found(again, "forklift") == ["c", "a"]


def test_the_words_of_another_index_are_not_believed(tmp_path: Path) -> None:
    filled(tmp_path).close()
    other = LexicalIndex(tmp_path, "two")
    assert (other.complete, found(other, "forklift")) == (False, [])


@pytest.mark.parametrize("damage", ["unfinished", "state", "words"])
def test_what_was_not_finished_or_is_damaged_is_made_anew(tmp_path: Path, damage: str) -> None:
    index = filled(tmp_path)
    if damage == "unfinished":
        index.put([("d", "a text")])
    index.close()
    if damage == "state":
        (tmp_path / "state.json").write_bytes(b"{")
    if damage == "words":
        (tmp_path / "words" / "meta.json").write_bytes(b"{")
    again = LexicalIndex(tmp_path, "one")
    assert (again.complete, len(again)) == (False, 0)
    again.put(TEXTS.items())
    again.finish(complete=True)
    assert found(again, "forklift") == ["c", "a"]
