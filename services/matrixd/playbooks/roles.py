"""When two words for a role mean the same one (M8)."""

from __future__ import annotations


def same_role(one: str, other: str) -> bool:
    """Whether two roles are equal but for case, spaces and plural endings `-s` and `-es`."""
    words = one.casefold().split()
    others = other.casefold().split()
    return len(words) == len(others) and all(
        not _singulars(word).isdisjoint(_singulars(counterpart))
        for word, counterpart in zip(words, others, strict=True)
    )


def _singulars(word: str) -> set[str]:
    # No dictionary: `coaches` may be the plural of `coach` or of `coache`, so both count.
    forms = {word}
    if word.endswith("s"):
        forms.add(word[:-1])
    if word.endswith("es"):
        forms.add(word[:-2])
    return forms
