"""What a source file is about: the symbols it defines, those it imports, and its words.

Patterns, not parsers, for Rust, TypeScript and Python: quick on any text, and enough for a score.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

_NAME = r"[A-Za-z_]\w*"
_WORD = re.compile(r"[A-Za-z_]\w{2,}", re.ASCII)

_DEFINED = {
    "rust": re.compile(
        r"^\s*(?:pub(?:\([^)]*\))?\s+)?(?:(?:async|unsafe|default|const|extern(?:\s+\"\w+\")?)\s+)*"
        rf"(?:fn|struct|enum|trait|type|mod|union|static|const|macro_rules!)\s+(?:mut\s+)?({_NAME})",
        re.MULTILINE,
    ),
    "typescript": re.compile(
        r"^\s*(?:export\s+)?(?:default\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?"
        rf"(?:function\s*\*?|class|interface|type|enum|namespace|const|let|var)\s+({_NAME})",
        re.MULTILINE,
    ),
    "python": re.compile(rf"^\s*(?:async\s+def|def|class)\s+({_NAME})", re.MULTILINE),
}
_IMPORTED = {
    "rust": re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.MULTILINE),
    "typescript": re.compile(r"^\s*import\s+([^'\";]+?)\s+from\b", re.MULTILINE),
    "python": re.compile(r"^\s*(?:from\s+[\w.]+\s+)?import\s+(\([^)]*\)|[^\n]+)", re.MULTILINE),
}
# A word that a path goes on after is a module on the way, not the thing imported.
_LEAF = re.compile(rf"\b({_NAME})\b(?!\s*(?:::|\.))")
_COMMENT = re.compile(r"(?:#|//)[^\n]*")

_LANGUAGES = {
    ".rs": "rust",
    ".ts": "typescript",
    ".tsx": "typescript",
    ".js": "typescript",
    ".jsx": "typescript",
    ".mjs": "typescript",
    ".py": "python",
    ".pyi": "python",
}

_STOP_WORDS = """
    about all also and any are because been but can could does each for from had has have here how into its
    just like may more most must not only other our out over should some such than that the their them then
    there these they this those through too under until use used uses using very was were what when where
    which while who why will with would you your
    abstract async await bool boolean break case catch class const continue crate def default del dyn elif
    else enum except export extends extern false final finally fn func function get global impl implements
    import int interface lambda let loop main match mod module mut namespace new nil none null number object
    package pass private protected pub public raise ref return self set static str string struct super switch
    test tests throw trait true try type typeof undefined union unsafe usize var void where yield
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Words of English and of programming languages that say nothing about what a text is about."""


def defined_symbols(text: str, path: str) -> set[str]:
    """What the file defines. About 1 us a line."""
    return _meaningful(name for pattern in _patterns(_DEFINED, path) for name in pattern.findall(text))


def imported_symbols(text: str, path: str) -> set[str]:
    """What the file imports and does not define itself."""
    names: list[str] = []
    for pattern in _patterns(_IMPORTED, path):
        for clause in pattern.findall(text):
            names += _LEAF.findall(_COMMENT.sub("", clause))
    return _meaningful(name for name in names if name != "as") - defined_symbols(text, path)


def words(text: str) -> set[str]:
    """The words of a text that mean something, in lower case: three characters at least, no stop words."""
    return {word for word in map(str.lower, _WORD.findall(text)) if word not in STOP_WORDS}


def _patterns(patterns: dict[str, re.Pattern[str]], path: str) -> list[re.Pattern[str]]:
    language = _LANGUAGES.get(PurePosixPath(path).suffix.lower())
    return [patterns[language]] if language else list(patterns.values())


def _meaningful(names: Iterable[str]) -> set[str]:
    return {name for name in names if len(name) > 2 and name.lower() not in STOP_WORDS}
