"""Settings of embedd, section `embed`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

BUILT_IN = ("hash", "wordllama")
"""The ids of the models that this release computes by itself."""
PROVIDERS = ("ollama", "openai")
"""What a model server may speak."""
MAX_DIMENSION = 65_536

_MODEL_ID = re.compile(r"[\w.:/+-]{1,128}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """One model of a model server. Section `embed.models.<id>`; requests name it by this id."""

    provider: str
    """What the server speaks: `ollama`, or `openai` for everything that is compatible with it."""
    model: str
    """The model's name at the server."""
    url: str
    """The server's base address, for example `http://127.0.0.1:11434` or `https://api.example.com/v1`."""
    key_env: str = ""
    """The environment variable that holds the server's key; empty when the server wants none."""
    dimension: int = 0
    """Components of a vector; 0 learns it from the first answer. An answer of another dimension is refused."""
    normalized: bool = True
    """Whether vectors are scaled to length 1; otherwise they stay as the server made them."""
    batch_texts: int = 32
    """Most texts in one call to the server."""
    calls: int = 4
    """Calls to the server at once."""
    attempts: int = 3
    """How often a call is tried when the server answers 429 or 5xx or cannot be reached."""
    timeout_seconds: float = 30.0
    """How long the server may keep silent."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting that cannot be used."""
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider: must be one of {', '.join(PROVIDERS)}, is {self.provider!r}")
        if not self.model.strip():
            raise ValueError("model: must not be empty")
        check_url(self.url)
        if self.key_env and not _VARIABLE.fullmatch(self.key_env):
            # Not shown: whoever writes a key here has mistaken the setting.
            raise ValueError("key_env: must be the name of an environment variable")
        if not 0 <= self.dimension <= MAX_DIMENSION:
            raise ValueError(f"dimension: must be between 0 and {MAX_DIMENSION}, is {self.dimension}")
        if not 1 <= self.batch_texts <= 2_048:
            raise ValueError(f"batch_texts: must be between 1 and 2048, is {self.batch_texts}")
        if not 1 <= self.calls <= 64:
            raise ValueError(f"calls: must be between 1 and 64, is {self.calls}")
        if not 1 <= self.attempts <= 10:
            raise ValueError(f"attempts: must be between 1 and 10, is {self.attempts}")
        if not self.timeout_seconds > 0:
            raise ValueError(f"timeout_seconds: must be more than 0, is {self.timeout_seconds:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig:
    """How embedd embeds and how much it remembers."""

    default_model: str = "wordllama"
    """The model of requests that name none: `wordllama`, `hash`, or one of `models`."""
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    """Models of model servers, each a section `[embed.models.<id>]`."""
    cache_size: int = 10_000
    """Vectors remembered, least recently used out first; 0 turns the cache off."""
    deadline_seconds: float = 60.0
    """How long one batch may take."""
    threads: int = 2
    """Threads for batches that would hold up other calls."""
    hash_dimension: int = 64
    """Components of a vector of the `hash` model."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting that cannot be used."""
        for model_id in self.models:
            if model_id in BUILT_IN:
                raise ValueError(f"models.{model_id}: is a built-in model; choose another id")
            if not _MODEL_ID.fullmatch(model_id):
                raise ValueError(f"models.{model_id}: an id has 1-128 letters, digits or any of _ . : / + -")
        known = sorted((*BUILT_IN, *self.models))
        if self.default_model not in known:
            raise ValueError(f"default_model: must be one of {', '.join(known)}, is {self.default_model!r}")
        if self.cache_size < 0:
            raise ValueError(f"cache_size: must be at least 0, is {self.cache_size}")
        if not self.deadline_seconds > 0:
            raise ValueError(f"deadline_seconds: must be more than 0, is {self.deadline_seconds:g}")
        if self.threads < 1:
            raise ValueError(f"threads: must be at least 1, is {self.threads}")
        if not 1 <= self.hash_dimension <= MAX_DIMENSION:
            raise ValueError(f"hash_dimension: must be between 1 and {MAX_DIMENSION}, is {self.hash_dimension}")


def check_url(url: str) -> None:
    """Raises ValueError naming `url` if it is no base address. Never shows it: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("url: cannot be read as an address") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("url: must begin with http:// or https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("url: must not hold a user or a password; name the key's variable in key_env")
    if not host or parts.query or parts.fragment or not url.isascii() or any(c.isspace() for c in url):
        raise ValueError("url: must be a host, perhaps a port and a path, and nothing after them")
