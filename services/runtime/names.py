"""What may be a name (X14) or an object key (S3), and how either becomes a path. Nothing else decides."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache

from services.runtime.errors import InvalidArgument

NAME_MAX_CHARACTERS = 128
KEY_MAX_BYTES = 1024
COMPONENT_MAX_BYTES = 255


def check_name(name: str, field: str = "name") -> str:
    """Returns the name in NFC, or raises InvalidArgument naming `field`.

    A name has 1-128 characters, no slash, backslash, control character or outer space. `.` and
    `..` are refused as well: HTTP clients rewrite them in paths before we could see them.
    """
    normal = unicodedata.normalize("NFC", name)
    if not normal:
        raise InvalidArgument.of(field, "must not be empty")
    if len(normal) > NAME_MAX_CHARACTERS:
        raise InvalidArgument.of(field, f"must have at most {NAME_MAX_CHARACTERS} characters, has {len(normal)}")
    if normal != normal.strip():
        raise InvalidArgument.of(field, "must not begin or end with a space")
    if normal in (".", ".."):
        raise InvalidArgument.of(field, "must not be '.' or '..'")
    for character in normal:
        if character in "/\\" or _is_control(character):
            raise InvalidArgument.of(field, f"must not contain {_shown(character)}")
    return normal


@lru_cache(maxsize=4096)
def same_name(name: str) -> str:
    """The form under which two names are the same name: NFC without regard to case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def check_key(key: str, field: str = "key") -> str:
    """Returns an object key unchanged, or raises InvalidArgument naming `field` (S3)."""
    if not key:
        raise InvalidArgument.of(field, "must not be empty")
    size = len(key.encode("utf-8", "surrogatepass"))
    if size > KEY_MAX_BYTES:
        raise InvalidArgument.of(field, f"must have at most {KEY_MAX_BYTES} bytes, has {size}")
    for character in key:
        if _is_control(character):
            raise InvalidArgument.of(field, f"must not contain {_shown(character)}")
    for component in key.split("/"):
        _check_component(component, field)
    return key


def _check_component(component: str, field: str) -> None:
    if component == "":
        raise InvalidArgument.of(field, "must not have an empty component (a leading, trailing or double '/')")
    if component in (".", ".."):
        raise InvalidArgument.of(field, f"must not have a component {component!r}")
    size = len(component.encode("utf-8", "surrogatepass"))
    if size > COMPONENT_MAX_BYTES:
        raise InvalidArgument.of(field, f"a component must have at most {COMPONENT_MAX_BYTES} bytes, has {size}")


def key_component(name: str) -> str:
    """The part of an object key that stands for a name: the name itself wherever that is legal."""
    return name if len(name.encode()) <= COMPONENT_MAX_BYTES else directory_name(name)


def directory_name(name: str) -> str:
    """A portable, unique directory or file name for any legal name, readable where it can be."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:48]
    digest = hashlib.sha256(same_name(name).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{slug}-{digest}" if slug else digest


def _is_control(character: str) -> bool:
    # Cc: controls, Cs: lone surrogates (not encodable), Zl/Zp: line ends in disguise.
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _shown(character: str) -> str:
    return repr(character) if character in "/\\" else f"the control character U+{ord(character):04X}"
