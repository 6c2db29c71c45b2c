"""Settings of storaged, section `[storage]`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MIB = 1 << 20
BACKENDS = ("file",)


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """Everything storaged can be told; the defaults run on a laptop with no file at all."""

    default_backend: str = "file"
    "The back end of a bucket that is made without naming one: `file`."

    max_object_bytes: int = 256 * MIB
    "The largest object in bytes, wherever prefix_caps does not say otherwise."

    prefix_caps: Mapping[str, int] = field(default_factory=lambda: {"_vectors/": 4096 * MIB})
    "The largest object in bytes by key prefix; the longest prefix that fits wins."

    max_uploads: int = 4
    "Uploads of clients at once; the next is refused and told when to come back."

    max_internal_uploads: int = 16
    "Uploads of other daemons at once; the next waits within its deadline."

    def __post_init__(self) -> None:
        """Raises ValueError, `setting: problem`, for a value that cannot be used (X10)."""
        if self.default_backend not in BACKENDS:
            raise ValueError(f"default_backend: must be one of {', '.join(BACKENDS)}, is {self.default_backend!r}")
        for name in ("max_object_bytes", "max_uploads", "max_internal_uploads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1, is {getattr(self, name)}")
        for prefix, limit in self.prefix_caps.items():
            if limit < 1:
                raise ValueError(f"prefix_caps: must be at least 1 for {prefix!r}, is {limit}")
