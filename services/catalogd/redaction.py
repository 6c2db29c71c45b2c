"""Takes credentials out of an address before it is stored as lineage (C5, X9).

Better a host too much than a password too little: where an address could be read in two ways, the
reading that hides more wins.
"""

from __future__ import annotations

import re

HIDDEN = "***"

# password=…, "api_key": "…", ;AccountKey=…, &X-Amz-Signature=…; a quote left open hides the rest.
_NAMED_SECRET = re.compile(
    r"""
    ( (?: pass(?:word|wd|phrase)? | pwd | secret | token | credentials? | signature | sig | auth | authorization | sas
        | session | (?:api|access|account|private|shared|secret)[-_]?(?:access[-_]?)?key(?:[-_]?id)? )
      ["']? \s* (?: = | : (?!//) ) \s* (?: (?:bearer|basic) \s+ )? )
    (?: '(?:\\.|[^'\\])*'? | "(?:\\.|[^"\\])*"? | [^\s;&'"}] )+
    """,
    re.IGNORECASE | re.VERBOSE,
)
# Addresses without users, or whose user would stand before a colon: an @ further on is part of a path.
_NO_USER = re.compile(r"(?:https?|s3a?|gs|file)://[^/?#@:]*(?::\d+)?[/?#]", re.IGNORECASE)
_SCHEME = re.compile(r"(?:jdbc:)?[\w+.=-]+", re.IGNORECASE)
_WORD = re.compile(r"\S+")


def redacted(text: str) -> str:
    """The text with every credential replaced by `***`. Doing it twice changes nothing more."""
    return _NAMED_SECRET.sub(rf"\1{HIDDEN}", _WORD.sub(_without_user, text))


def _without_user(word: re.Match[str]) -> str:
    # Up to the last @, since careless passwords hold @, / and ? themselves.
    text = word.group()
    before, at, host = text.rpartition("@")
    if not at or (_NO_USER.match(text) and text.count("://") == 1):
        return text
    named = _NAMED_SECRET.search(text)
    scheme, separator, user = (before if named is None else text[: named.start()]).partition("://")
    if not separator and ":" not in scheme:
        return text
    shown = f"{scheme}://{HIDDEN}" if separator and _SCHEME.fullmatch(scheme) else HIDDEN
    return shown if named or "?" in user else f"{shown}@{host}"
