"""Where an object lies below its bucket's directory: any legal key to a path, and back (S3).

A key is a path a person can follow: `datasets/workers/1.parquet` lies in the directory
`datasets/workers` as `1.parquet.object`. Three rules make this hold for every key:

- The suffix `.object` keeps the file of `a` apart from the directory of `a/b`. A directory whose
  own name could be mistaken for something else gets a `~` at its end.
- A file name has at most 255 bytes, as has a component; so one of 200 bytes or more is cut in two
  and its rest lies in a directory `<first part>.more`.
- Everything with the same first part is then in that directory, so that listing directories in
  order lists keys in order.

Names are never folded or normalised: `A` and `a` are two objects.
"""

from __future__ import annotations

import re

OBJECT_SUFFIX = ".object"
MORE_SUFFIX = ".more"

_WHOLE_BYTES = 200
# Names of directories that mean something else: our suffixes, nothing at all, and the two dots,
# which may be what is left of a long component.
_AMBIGUOUS = re.compile(r"(^\.{0,2}|\.object|\.more)~*$")
_MARKED = re.compile(r"(^\.{0,2}|\.object|\.more)~+$")


def object_path(key: str) -> str:
    """The relative path of the file that holds an object. `key` was checked."""
    *parents, last = key.split("/")
    *more, name = _cut(last)
    return "/".join([*_directories(parents), *more, name + OBJECT_SUFFIX])


def directory_path(parent: str) -> str:
    """The relative path of the directory with all keys that begin with `parent` and a slash."""
    return "/".join(_directories(parent.split("/")))


def sort_text(entry: str) -> str:
    """What every key below a directory entry begins with, relative to the directory.

    An object's entry gives the key itself, a directory's ends with a slash, and one with the rest
    of long names ends where they were cut. Entries in the order of these texts are keys in order.
    """
    if entry.endswith(OBJECT_SUFFIX):
        return entry[: -len(OBJECT_SUFFIX)]
    if entry.endswith(MORE_SUFFIX):
        return entry[: -len(MORE_SUFFIX)]
    return (entry[:-1] if _MARKED.search(entry) else entry) + "/"


def is_object(entry: str) -> bool:
    """Whether a directory entry is an object, and not a directory with more of them."""
    return entry.endswith(OBJECT_SUFFIX)


def _directories(components: list[str]) -> list[str]:
    names: list[str] = []
    for component in components:
        *more, name = _cut(component)
        names += [*more, name + "~" if _AMBIGUOUS.search(name) else name]
    return names


def _cut(component: str) -> list[str]:
    """A short component alone, or a `.more` directory and the rest, which may be empty.

    The cut is at the first character that starts at byte 200 or later, so that it is the same for
    all components with the same first part.
    """
    data = component.encode()
    if len(data) < _WHOLE_BYTES:
        return [component]
    cut = _WHOLE_BYTES
    while cut < len(data) and data[cut] & 0xC0 == 0x80:
        cut += 1
    return [data[:cut].decode() + MORE_SUFFIX, data[cut:].decode()]
